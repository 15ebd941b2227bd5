"""Power series with a bounded remainder: what is left near a root or a removable singularity.

A model of order n on |u| ≤ r is c₀ + c₁u + … + cₙ₋₁uⁿ⁻¹ + ρ uⁿ, where the ball ρ encloses what
is left for every such u. Sums, products and quotients of models are models, and so are functions
of one, by Taylor's theorem; numerator and denominator that vanish together are divided by u first.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
from flint import arb, arb_series, ctx

from handgrad.repair.normal import Field, OutsideField
from handgrad.repair.terms import (
    SYMBOLS,
    Expression,
    argument,
    as_ball,
    ball_at,
    constant,
    subterms,
)
from handgrad.verify.ulp import ulp

PRECISION = 256
SPARE = 8
"""Terms more than the degree asked for: a quotient 0/0 uses some up."""
DEGREES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18)
PARTS = 32
"""Parts of an interval over each of which the values of a model are enclosed."""
MOST_TERMS = DEGREES[-1] + SPARE

Model = list[arb]


class NoSeries(Exception):  # noqa: N818
    """A term that has no power series there, or none that is known."""


@dataclass(frozen=True)
class LocalPolynomial:
    """A polynomial that is the term to half an ulp on |x − centre| ≤ radius."""

    term: Expression
    low: float
    high: float
    truncation: float
    """A proved bound on the relative error of leaving out the higher powers."""


def model(term: Expression, centre: arb, radius: float, order: int) -> Model:
    """The model of a term in x = centre + u. Raises NoSeries where there is none."""
    u = arb(0, radius)
    known: dict[Expression, Model] = {}
    for part in subterms(term):
        operands = [known[arg] for arg in part.args]
        if part.op == "arg" and part.value == 0:
            known[part] = [centre, arb(1), *[arb(0)] * (order - 1)]
        elif part.op == "const":
            known[part] = [as_ball(part.value), *[arb(0)] * order]
        elif part.op in SYMBOLS:
            known[part] = [SYMBOLS[part.op][1](), *[arb(0)] * order]
        elif part.op == "pow":
            known[part] = _power(operands[0], part.value, u)
        elif part.op in OPERATIONS:
            known[part] = OPERATIONS[part.op](*operands, u)
        else:
            raise NoSeries(part.op)
    return known[term]


def _fit(a: Model, b: Model, u: arb) -> tuple[Model, Model]:
    order = min(len(a), len(b)) - 1
    return _shortened(a, order, u), _shortened(b, order, u)


def _shortened(a: Model, order: int, u: arb) -> Model:
    rest = arb(0)
    for coefficient in reversed(a[order:]):
        rest = rest * u + coefficient
    return [*a[:order], rest]


def _add(a: Model, b: Model, u: arb) -> Model:
    return [x + y for x, y in zip(*_fit(a, b, u), strict=True)]


def _subtract(a: Model, b: Model, u: arb) -> Model:
    return [x - y for x, y in zip(*_fit(a, b, u), strict=True)]


def _range(a: Model, u: arb) -> arb:
    """All values of a model: those over each part of the ball, together."""
    width = u.rad() / PARTS
    centres = (width * (2 * k + 1 - PARTS) for k in range(PARTS))
    values = [_shortened(a, 0, arb(centre.mid(), width))[0] for centre in centres]
    return functools.reduce(arb.union, values)


def _multiply(a: Model, b: Model, u: arb) -> Model:
    a, b = _fit(a, b, u)
    return _shortened(_convolved(a, b), len(a) - 1, u)


def _convolved(a: Sequence[arb], b: Sequence[arb]) -> list[arb]:
    product = [arb(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return product


def _compose(outer: Callable[[arb_series], arb_series], a: Model, u: arb) -> Model:
    """g(a) by Taylor's theorem: the last coefficient over all values that a takes."""
    order = len(a) - 1
    moving = [arb(0), *a[1:]]
    cap, ctx.cap = ctx.cap, order + 1  # flint cuts series off there
    try:
        at_centre = outer(arb_series([a[0], 1], prec=order + 1))
        anywhere = outer(arb_series([_range(a, u), 1], prec=order + 1))
    except (ValueError, ZeroDivisionError) as error:
        raise NoSeries(str(error)) from None
    finally:
        ctx.cap = cap
    result = [anywhere[order], *[arb(0)] * order]
    for k in reversed(range(order)):
        result = _multiply(result, moving, u)
        result[0] += at_centre[k]
    if not all(coefficient.is_finite() for coefficient in result):
        raise NoSeries("not finite")
    return result


def _divide(a: Model, b: Model, u: arb) -> Model:
    """q with a − q b = uⁿ r, the remainder r over all values of b; 0/0 is divided by u first."""
    while b[0].is_zero():
        if not a[0].is_zero() or len(a) < 3 or len(b) < 3:
            raise NoSeries("a pole")
        a, b = a[1:], b[1:]
    a, b = _fit(a, b, u)
    order, everywhere = len(a) - 1, _range(b, u)
    if everywhere.contains(0):
        raise NoSeries("a pole")
    quotient: list[arb] = []
    for k in range(order):
        done = sum((quotient[j] * b[k - j] for j in range(k)), arb(0))
        quotient.append((a[k] - done) / b[0])
    product = _convolved(quotient, b)
    left = [a[order] - product[order], *(-x for x in product[order + 1 :])]
    return [*quotient, _shortened(left, 0, u)[0] / everywhere]


def _power(a: Model, exponent: Fraction, u: arb) -> Model:
    if exponent.denominator != 1:
        rational = arb(exponent.numerator) / exponent.denominator
        return _compose(lambda s: (s.log() * rational).exp(), a, u)
    result = [arb(1), *[arb(0)] * (len(a) - 1)]
    for _ in range(abs(int(exponent))):
        result = _multiply(*_fit(result, a, u), u)
    return result if exponent > 0 else _divide([arb(1), *[arb(0)] * (len(a) - 1)], result, u)


def _function(outer: Callable[[arb_series], arb_series]) -> Callable[..., Model]:
    return lambda a, u: _compose(outer, a, u)


OPERATIONS: dict[str, Callable[..., Model]] = {
    "add": _add, "sub": _subtract, "mul": _multiply, "div": _divide,
    "neg": lambda a, u: [-x for x in a],
    **{name: _function(outer) for name, outer in {
        "exp": arb_series.exp, "log": arb_series.log, "sqrt": arb_series.sqrt,
        "rsqrt": arb_series.rsqrt, "sin": arb_series.sin, "cos": arb_series.cos,
        "tan": arb_series.tan, "atan": arb_series.atan, "asin": arb_series.asin,
        "acos": arb_series.acos, "erf": arb_series.erf, "erfc": arb_series.erfc,
        "lgamma": arb_series.lgamma,
        "expm1": lambda s: s.exp() - 1,
        "log1p": lambda s: (1 + s).log(),
        "logistic": lambda s: 1 / (1 + (-s).exp()),
        "tanh": lambda s: 1 - 2 / (1 + (2 * s).exp()),
        "sinh": lambda s: (s.exp() - (-s).exp()) / 2,
        "cosh": lambda s: (s.exp() + (-s).exp()) / 2,
        "asinh": lambda s: (s + (s * s + 1).sqrt()).log(),
        "atanh": lambda s: ((1 + s).log() - (1 - s).log()) / 2,
        "exp2": lambda s: (s * arb(2).log()).exp(),
    }.items()},
}  # fmt: skip


# --- a polynomial for the code --------------------------------------------------------------------


def near(term: Expression, centre: arb, is_root: bool, dtype: str) -> list[LocalPolynomial]:
    """Polynomials about `centre`, one for each radius at which some degree does for the dtype.

    About a root the centre is the nearest number of the dtype, so that x − centre is exact, and
    the polynomial begins with the tiny value there.
    """
    found: list[LocalPolynomial] = []
    try:
        field = Field()
        term = field.plain(field.of(term))  # one quotient: parts of it may have poles
    except OutsideField:
        return found
    middle = float(np.asarray(float(centre.mid())).astype(jnp.dtype(dtype)))
    spacing = float(ulp(middle, dtype)) if is_root else 0.0
    with ctx.workprec(PRECISION):
        for halvings in range(-1, 12):
            radius = 2.0**-halvings
            try:
                coefficients = model(term, arb(middle), radius, MOST_TERMS)
            except NoSeries:
                continue
            polynomial = _polynomial(coefficients, radius, spacing, jnp.finfo(dtype).nmant + 3)
            if polynomial is None:
                continue
            first, numbers, bound = polynomial
            offset = argument(0) - constant(middle)
            text = _as_term(offset, first, numbers)
            found.append(LocalPolynomial(text, middle - radius, middle + radius, bound))
            if len(numbers) <= 3:
                break
    return found


def _polynomial(
    coefficients: Model, radius: float, spacing: float, digits: int
) -> tuple[int, list[float], float] | None:
    """The first power, the numbers from it on, and the bound; None where no degree does.

    With a spacing h > 0 the root is within h/2 of the centre: f = c₀ + u q(u) with
    |c₀| ≤ h max|q|/2, and at inputs |u| ≥ h that |f| ≥ |u| (min|q| − |c₀|/h).
    """
    u = arb(0, radius)
    known = (k for k, c in enumerate(coefficients[:-1]) if not c.contains(0))
    first = 1 if spacing else next(known, None)
    if first is None or (any(not c.is_zero() for c in coefficients[:first]) and not spacing):
        return None
    whole = _range(coefficients[first:], u).abs_lower()  # f / u^first, everywhere
    if spacing:
        whole = (whole - abs(coefficients[0]) / spacing).lower()
    if not whole > 0:
        return None
    for degree in DEGREES:
        stop = first + degree
        if stop >= len(coefficients):
            break
        kept = _shortened(coefficients, stop, u)
        bound = abs(kept[stop]) * arb(radius) ** (stop - first) / whole
        numbers = kept[0 if spacing else first : stop]
        zeros = [k for k, c in enumerate(numbers) if c.contains(0)]  # left out, if not quite zero
        bound += sum((abs(numbers[k]) * arb(radius) ** k for k in zeros), arb(0)) / whole
        if bound < arb(2) ** -digits:
            return (
                0 if spacing else first,
                [0.0 if c.contains(0) else float(c.mid()) for c in numbers],
                float(bound.abs_upper()),
            )
    return None


def _as_term(u: Expression, first: int, numbers: list[float]) -> Expression:
    """u^first Σ cₖ uᵏ by Horner's scheme, in u² where every other number is 0."""
    step = 2 if len(numbers) > 2 and not any(numbers[1::2]) else 1
    kept = numbers[::step]
    power = u * u if step == 2 else u
    total = constant(kept[-1])
    for number in reversed(kept[:-1]):
        total = constant(number) + power * total
    for _ in range(first):
        total = total * u
    return total


def root_between(term: Expression, low: float, high: float) -> arb | None:
    """The root of a term that changes its sign between two inputs, to 180 bits; None if unsure."""
    with ctx.workprec(PRECISION):
        a, b = arb(low), arb(high)
        sign = _sign(term, a)
        if not sign:
            return None
        for _ in range(180):
            middle = ((a + b) / 2).mid()
            there = _sign(term, middle)
            if there == 0:
                return middle
            a, b = (middle, b) if there == sign else (a, middle)
        return a.union(b)


def _sign(term: Expression, at: arb) -> int:
    """The sign of a term at a point; 0 where the balls do not tell."""
    with ctx.workprec(4 * PRECISION):
        value = ball_at(term, at)
    return 1 if value > 0 else -1 if value < 0 else 0
