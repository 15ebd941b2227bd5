"""Functions of a vector of logits: log-sum-exp, softmax, and the losses made of them.

Two families are recognised from values at a few points, and then proved by the judge:

    f(z) = w·z − s log Σ eᶻ        ∂f/∂zᵢ = wᵢ − s pᵢ
    f(z) = Σ cᵢ pᵢ                 ∂f/∂zᵢ = pᵢ Σⱼ (cᵢ − cⱼ) pⱼ

with p = softmax(z). Where s = Σ w, as in every cross-entropy, wᵢ − s pᵢ cancels at the likely
class; wᵢ Σ_{j≠i} pⱼ − pᵢ Σ_{j≠i} wⱼ is the same number, and does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad._precision import x64
from handgrad.accuracy.measure import Computed, TrueValues, compare, compute
from handgrad.repair.terms import IMPORTS, WIDENING, as_ball, definition, rule

FEW = 64
"""Up to as many entries each may have a weight of its own."""
POINTS = 24
DRAWN = 512
SCALES = (0.1, 1.0, 4.0, 16.0, 40.0)

EXPONENTIALS = '''

def exponentials(z):
    """e^(z - max z); what z - max z rounds off is put back."""
    top = jnp.max(z)
    d = z - top
    lost = jnp.where(-z > jnp.abs(top), (z - d) - top, z - (d + top))
    return jnp.exp(d) * (1 + lost)  # e^d * lost may be too small for a number
'''
SOFTMAX = '''

def softmax(z):
    """e^z over the sum of all."""
    e = exponentials(z)
    return e / jnp.sum(e)
'''
OTHERS = '''

def others(a):
    """For each entry the sum of all others, added up from both ends: nothing is subtracted."""
    zero = jnp.zeros_like(a[:1])
    before = jnp.concatenate([zero, jnp.cumsum(a[:-1])])
    after = jnp.concatenate([jnp.cumsum(a[:0:-1])[::-1], zero])
    return before + after
'''


@dataclass(frozen=True)
class Logits:
    """A function of logits: its family and its weights, `label` if these are an argument's."""

    family: str
    weights: tuple[Fraction, ...]
    """One for each entry, or one for all."""
    scale: Fraction
    """s, or what the label is multiplied by."""
    label: int | None
    size: int

    @property
    def cancels(self) -> bool:
        """Whether s = Σ w, so that the gradient is written without a difference."""
        return self.label is not None or sum(self.all_weights()) == self.scale != 0

    def all_weights(self) -> list[Fraction]:
        """A weight for each entry."""
        return list(self.weights) * (self.size if len(self.weights) == 1 else 1)


def recognised(f: Callable, at: tuple) -> Logits | None:
    """The family that `f` seems to belong to, by its values at random logits; None for neither."""
    shape = np.shape(at[0])
    if len(shape) != 1 or shape[0] < 2:
        return None
    size = shape[0]
    rows = np.random.default_rng(0).normal(size=(max(POINTS, min(size, FEW) + 4), size)) * 2
    labels = [i for i in range(1, len(at)) if np.shape(at[i]) == shape]
    rest = [jnp.asarray(value, float) if np.ndim(value) else value for value in at[1:]]
    try:
        with x64():
            values = np.array([np.asarray(f(jnp.asarray(row), *rest)) for row in rows], float)
    except Exception:
        return None
    if values.shape != (len(rows),) or not np.isfinite(values).all():
        return None
    top = rows.max(axis=1)
    total = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
    p = np.exp(rows - total[:, None])
    for place in labels:
        y = np.asarray(at[place], float)
        found = _fit(np.stack([rows @ y - y.sum() * total], axis=1), values)
        if found is not None:
            return Logits("log", (), found[0], place, size)
    minus = -total[:, None]
    for own in (rows.sum(axis=1, keepdims=True), *([rows] if size <= FEW else [])):
        found = _fit(np.concatenate([own, minus], axis=1), values)
        if found is not None:
            return Logits("log", tuple(found[:-1]), found[-1], None, size)
    found = _fit(p, values) if size <= FEW else None
    return None if found is None else Logits("softmax", tuple(found), Fraction(0), None, size)


def _fit(columns: np.ndarray, values: np.ndarray) -> list[Fraction] | None:
    """Coefficients, simple fractions, that give all the values; None if there are none."""
    solution = np.linalg.lstsq(columns, values, rcond=None)[0]
    simple = [Fraction(float(number)).limit_denominator(4096) for number in solution]
    given = columns @ np.array([float(number) for number in simple])
    close = np.allclose(given, values, rtol=1e-11, atol=1e-11)
    return simple if close and any(simple) else None


def source(found: Logits, name: str, arguments: list[str]) -> str:
    """A module that runs by itself, as for a function of one number."""
    z, inputs = arguments[0], ", ".join(arguments)
    if found.label is not None:
        weights = arguments[found.label]
        factor = (
            "" if found.scale == 1 else "-" if found.scale == -1 else f"{_text(found.scale)} * "
        )
        value = f"{factor}jnp.sum({weights} * jax.nn.log_softmax({z}))"
        slope = [f"p = softmax({z})",
                 f"return {factor}({weights} * others(p) - p * others({weights}))"]  # fmt: skip
    else:
        value, slope = _fixed_weights(found, z)
    used = "\n".join([value, *slope])
    return "".join([
        IMPORTS + WIDENING,
        *([EXPONENTIALS] if "exponentials(" in used or " softmax(" in used else []),
        *([SOFTMAX] if " softmax(" in used else []),
        *([OTHERS] if "others(" in used else []),
        definition("value", arguments, "The function.", [f"return {value}"], widen=True),
        definition("derivative", arguments, f"Its gradient in {z}.", slope, widen=True),
        rule(name, arguments, f"jnp.sum(derivative({inputs}) * d{z})"),
    ])  # fmt: skip


def _fixed_weights(found: Logits, z: str) -> tuple[str, list[str]]:
    """The value, and the lines of the derivative, where the weights are numbers."""
    weights, scale, soft = found.weights, found.scale, found.family == "softmax"
    listed = ", ".join(map(_text, weights))
    single = len(weights) == 1
    array = f"jnp.full_like({z}, {listed})" if single else f"jnp.array([{listed}], {z}.dtype)"
    p = f"p = softmax({z})"
    hot = [place for place, number in enumerate(weights) if number and not single]
    if soft:
        value = f"jnp.sum({array} * softmax({z}))"
    elif not any(weights):
        return f"{_text(-scale)} * jax.nn.logsumexp({z})", [p, f"return {_text(-scale)} * p"]
    elif found.cancels:
        value = f"jnp.sum({array} * jax.nn.log_softmax({z}))"
    else:
        value = f"jnp.sum({array} * {z}) - {_text(scale)} * jax.nn.logsumexp({z})"
    if len(hot) == 1 and (soft or found.cancels):
        (k,) = hot
        factor = "" if weights[k] == 1 else f"{_text(weights[k])} * "
        own = f"e[{k}] / total * " if soft else ""
        return value, [
            f"at = jnp.arange({z}.size) == {k}", f"e = exponentials({z})",
            "rest = jnp.sum(jnp.where(at, 0, e))", f"total = e[{k}] + rest",
            f"return {factor}{own}jnp.where(at, rest, -e) / total",
        ]  # fmt: skip
    if single and found.cancels:  # Σⱼ pⱼ − pᵢ, of which one of two is exactly 0
        factor = "" if weights[0] == 1 else f"{_text(weights[0])} * "
        few = found.size <= FEW  # of many, Σ (e^d − 1) + n may be a small difference
        total = f"(s + {z}.size)" if few else "jnp.sum(jnp.exp(d))"
        return value, [
            f"d = {z} - jnp.max({z})", "m = jnp.expm1(d)", "s = jnp.sum(m)",
            f"return {factor}(s - {z}.size * m) / {total}",
        ]  # fmt: skip
    lines = [f"w = {array}", p]
    if soft:
        last = "p * jnp.sum((w[:, None] - w) * p, axis=1)"
    elif found.cancels:
        last = "w * others(p) - p * others(w)"
    else:
        last = f"w - {_text(scale)} * p"
    return value, [*lines, f"return {last}"]


def _text(number: Fraction) -> str:
    return (
        str(number) if number.denominator == 1 else f"({number.numerator} / {number.denominator})"
    )


# --- inputs and truth -------------------------------------------------------------------------


def drawn(size: int, dtype: str) -> np.ndarray:
    """Vectors of logits, close together and far apart, rounded to the dtype."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(DRAWN, size))
    scales = np.resize(SCALES, DRAWN)[:, None]
    return (rows * scales).astype(jnp.dtype(dtype)).astype(np.float64)


def true_gradients(found: Logits, rows: np.ndarray, labels: np.ndarray | None) -> TrueValues:
    """The gradient at each row over balls: the judge has proved it to be that of the function."""
    high, low, radius = np.zeros((3, *rows.shape))
    with ctx.workprec(640):
        w, scale = list(map(as_ball, found.all_weights())), as_ball(found.scale)
        if labels is not None:
            w = [scale * arb(float(y)) for y in labels]
            scale = sum(w, arb(0))
        for i, row in enumerate(rows):
            exponentials = [arb(float(z)).exp() for z in row]
            total = sum(exponentials, arb(0))
            p = [e / total for e in exponentials]
            mean = sum((a * b for a, b in zip(w, p, strict=True)), arb(0))
            soft = found.family == "softmax"
            for j, (weight, share) in enumerate(zip(w, p, strict=True)):
                exact = share * (weight - mean) if soft else weight - scale * share
                high[i, j] = first = float(exact.mid())
                low[i, j] = float((exact - arb(first)).mid())
    return TrueValues(high, low, radius)


def errors(
    function: Callable, found: Logits, at: tuple, rows: np.ndarray, dtype: str
) -> np.ndarray:
    """The error of a gradient in ulp, by row and coordinate; NaN where the truth is subnormal."""
    label = None if found.label is None else np.asarray(at[found.label], float)
    true = true_gradients(found, rows, label)
    values = on_rows(function, at, rows, dtype, repeats=0).values
    return compare(values, true, np.ones_like(rows), dtype=dtype).error


def on_rows(function: Callable, at: tuple, rows: np.ndarray, dtype: str, repeats: int) -> Computed:
    """A function of logits at each row, the other arguments as in `at`."""
    return compute(
        lambda z: function(z, *(jnp.asarray(np.asarray(value), dtype) for value in at[1:])),
        rows, dtype=dtype, repeats=repeats,
    )  # fmt: skip
