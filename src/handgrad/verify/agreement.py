"""Two witnesses: hand against autodiff, leaf by leaf and coordinate by coordinate.

`jax.grad` is taken in float64 at the very point the judged dtype sees. A coordinate agrees with
it if half of its digits do (two right forms of one derivative may lose that much: 1 − tanh² does),
or if the point explains the difference: `ALLOWANCE` times one ulp of the coordinate and what moving
the inputs by half an ulp does to it. Neither bound has an absolute part, or an array size in it.

This is quick enough for any data. It cannot say who is right where the two differ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._checks import called_by_keyword, dtype_of
from handgrad._notebook import card, cut, table
from handgrad._precision import x64
from handgrad.errors import InputError, describe_error
from handgrad.interop import as_arrays
from handgrad.verify.api import (
    calling_the_users_code,
    check_callable,
    check_options,
    read_gradient,
    read_loss,
)
from handgrad.verify.ulp import ALLOWANCE, ulp, ulp_error
from handgrad.verify.witnesses import (
    Argnums,
    autodiff,
    check_arguments,
    check_at,
    check_finite,
    counted_from_0,
    differentiated,
    is_float,
    named_leaves,
    positions_of,
    round_to,
    structure_fault,
)

NOISE_DRAWS = 4


@dataclass(frozen=True)
class LeafAgreement:
    """How one leaf of the gradient compares in one dtype; errors in ulp of that dtype."""

    dtype: str
    leaf: str
    compared: int
    hand_max_ulp: float
    autodiff_max_ulp: float
    conditioning_ulp: float
    worst_at: tuple[int, ...]
    hand: float
    autodiff: float
    fault: str | None


@dataclass(frozen=True)
class Agreement:
    """The outcome for one gradient: `ok`, what was compared, and the fault in words, if any."""

    name: str
    ok: bool
    compared: int
    structure: str
    leaves: tuple[LeafAgreement, ...]

    @property
    def fault(self) -> str | None:
        """The first thing that is wrong, or None."""
        if self.structure != "ok":
            return self.structure
        return next((leaf.fault for leaf in self.leaves if leaf.fault), None)

    def __repr__(self) -> str:
        return (
            f"Agreement(name={cut(self.name)}, ok={self.ok}, fault={cut(self.fault)}, "
            f"compared={self.compared}, leaves={len(self.leaves)})"
        )

    def _repr_html_(self) -> str:
        return as_html(self)


HEADS = ("dtype", "leaf", "numbers", "gradient", "jax.grad", "explained")
LEGEND = (
    "error against jax.grad in float64, in ulp, the gap between neighbouring numbers of the dtype; "
    "explained: by rounding the inputs"
)


def as_html(agreement: Agreement) -> str:
    """The outcome for a notebook: a line for each leaf in each dtype."""
    said = "agrees with jax.grad" if agreement.ok else f"differs from jax.grad: {agreement.fault}"
    rows = [
        (
            leaf.dtype, leaf.leaf, f"{leaf.compared:,}", f"{leaf.hand_max_ulp:.3g}",
            f"{leaf.autodiff_max_ulp:.3g}", f"{leaf.conditioning_ulp:.3g}",
        )
        for leaf in agreement.leaves
    ]  # fmt: skip
    body = table(HEADS, rows) + f'<p class="quiet">{LEGEND}</p>' if rows else ""
    return card(f"{agreement.name} {said}", body, tone="right" if agreement.ok else "wrong")


@called_by_keyword(
    "a gradient, then of= and at= by name", "agree(gradient, of=loss, at=(x, y))", "of", "at"
)
def agree(
    gradient: Callable,
    *,
    of: Callable,
    at: tuple,
    argnums: Argnums = 0,
    dtypes: tuple[str, ...] = ("float32", "float64"),
    name: str | None = None,
    seed: int = 0,
) -> Agreement:
    """Compare `gradient(*at)` with `jax.grad(of, argnums)(*at)` in each dtype.

    Both may be written in NumPy or PyTorch, as for `verify`.

    Raises InputError if `at`, `argnums` or the value of `of` cannot be used.

    >>> import jax.numpy as jnp
    >>> agree(lambda x: 2 * x, of=lambda x: jnp.sum(x * x), at=(jnp.ones(3),)).ok
    True
    >>> agree(lambda x: 2.001 * x, of=lambda x: jnp.sum(x * x), at=(jnp.ones(3),)).ok
    False
    """
    check_options(dtypes, seed=seed)
    check_callable("gradient", gradient, "the arguments in `at`")
    name = name or str(getattr(gradient, "__name__", "gradient"))
    leaves: list[LeafAgreement] = []
    with calling_the_users_code(), x64():
        given, at = at, as_arrays(at)
        check_at(at)
        argnums = counted_from_0(argnums, at)
        of = read_loss(of, given, argnums)
        check_arguments(of, at, argnums)
        check_finite("at", at, dtypes)
        gradient, _ = read_gradient(gradient, given, argnums)
        second = jax.jit(autodiff(of, argnums))
        for dtype in dtypes:
            point = round_to(at, dtype)
            answer = _answer(gradient, point)
            fault = structure_fault(answer, differentiated(point, argnums))
            if fault:
                return Agreement(name, False, 0, f"{dtype}: {fault}", tuple(leaves))
            leaves += _compare_leaves(answer, second, point, argnums, dtype, seed)
    compared = sum(leaf.compared for leaf in leaves)
    ok = compared > 0 and not any(leaf.fault for leaf in leaves)
    return Agreement(name, ok, compared, "ok" if compared else "nothing to compare", tuple(leaves))


def _answer(gradient: Callable, point: tuple) -> Any:
    """What the gradient returns. Raises InputError unless it returns numbers."""
    try:
        answer = gradient(*point)
    except Exception as error:
        raise InputError(
            "gradient", "a function of the arguments in `at`", describe_error(error),
            "call gradient(*at) by itself and mend what it raises",
        ) from error  # fmt: skip
    for path, leaf in named_leaves(answer):
        dtype_of(f"gradient{path}", leaf)
    return answer


def _compare_leaves(
    answer: object, second: Callable, point: tuple, argnums: Argnums, dtype: str, seed: int
) -> list[LeafAgreement]:
    exact_point, rng = round_to(point, "float64"), np.random.default_rng(seed)
    nearby = [_half_ulp_noise(exact_point, argnums, dtype, rng) for _ in range(NOISE_DRAWS)]
    own, reference, *moved = (
        jax.tree.leaves(second(*args)) for args in (point, exact_point, *nearby)
    )
    rows = zip(named_leaves(answer), own, reference, zip(*moved, strict=True), strict=True)
    return [
        _compare_leaf(dtype, path, hand, auto, truth, near)
        for (path, hand), auto, truth, near in rows
        if np.size(hand)
    ]


def _half_ulp_noise(at: tuple, argnums: Argnums, dtype: str, rng: np.random.Generator) -> tuple:
    """The arguments (in float64), each number moved at random by up to half an ulp of `dtype`.

    Whole numbers are moved only where they are differentiated: labels are 0 and 1 exactly, and a
    point that is uncertain in them would excuse any residual.
    """
    own = positions_of(argnums)

    def moved(leaf: Any, position: int) -> Any:
        if not is_float(leaf):
            return leaf
        exact = np.asarray(leaf, np.float64)
        relative = rng.uniform(-0.5, 0.5, exact.shape) * float(jnp.finfo(dtype).eps)
        fixed = (exact == np.round(exact)) & (position not in own)
        return jnp.asarray(np.where(fixed, exact, exact * (1 + relative)))

    return tuple(jax.tree.map(lambda leaf, i=i: moved(leaf, i), arg) for i, arg in enumerate(at))


def _compare_leaf(
    dtype: str, path: str, hand: Any, auto: Any, truth: Any, moved: Sequence
) -> LeafAgreement:
    """One leaf against its truth, and `moved`: what the truth is at inputs moved by rounding."""
    hand, auto, truth = (np.asarray(leaf, np.float64) for leaf in (hand, auto, truth))
    error = ulp_error(hand, truth, dtype)
    with np.errstate(invalid="ignore"):  # inf - inf: a masked logit
        noise = np.fmax.reduce([np.abs(np.asarray(leaf) - truth) for leaf in moved], initial=0.0)
    conditioning = noise / ulp(np.where(np.isfinite(truth), truth, 1.0), dtype)
    explained = ALLOWANCE * (1 + np.where(np.isfinite(conditioning), conditioning, 0.0))
    excess = error / np.maximum(explained, float(jnp.finfo(dtype).eps) ** -0.5)
    worst = tuple(int(i) for i in np.unravel_index(np.argmax(excess), excess.shape))
    fault = None
    if excess[worst] > 1:
        place = f"{path or 'gradient'}{list(worst) if worst else ''}"
        fault = f"{dtype} {place}: hand {hand[worst]:.9g}, autodiff {truth[worst]:.9g}"
        if np.isnan(hand[worst]):
            fault += " (NaN)"
        elif np.sign(hand[worst]) == -np.sign(truth[worst]) != 0:
            fault += " (wrong sign)"
    return LeafAgreement(
        dtype=dtype,
        leaf=path or "gradient",
        compared=hand.size,
        hand_max_ulp=float(error.max()),
        autodiff_max_ulp=float(ulp_error(auto, truth, dtype).max()),
        conditioning_ulp=float(np.max(conditioning)),
        worst_at=worst,
        hand=float(hand[worst]),
        autodiff=float(truth[worst]),
        fault=fault,
    )
