"""The end of the tape beside its two neighbours: the gradient by hand, and that of `jax.grad`."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from handgrad.explain.summary import plain

ROUNDING = 1e-12
"""Of the largest entry, in float64: hand and tape round in different orders, and no more than that.

In a narrower dtype it is 64 of its own epsilons.
"""


@dataclass(frozen=True)
class Leaf:
    """One leaf of the gradient, three times."""

    name: str
    value: int
    """The tape's value whose cotangent this is."""
    tape: Any
    autodiff: Any
    hand: Any | None
    identical: bool
    """The tape's bits are those of jax.grad, signs of zeros included."""
    autodiff_ulp: float
    """Largest difference of tape and jax.grad, in units in the last place."""
    hand_ulp: float | None
    hand_equal: bool | None
    """Hand and tape are apart by rounding at most."""


def compare(
    names: list[str], values: tuple[int, ...], tape: Any, autodiff: Any, hand: Any | None
) -> tuple[Leaf, ...]:
    """Every leaf of the gradient beside jax.grad's, and beside the hand-derived one if given."""
    found, expected = jax.tree.leaves(tape), jax.tree.leaves(autodiff)
    derived = jax.tree.leaves(hand) if hand is not None else [None] * len(found)
    if len(derived) != len(found):
        derived = [np.nan] * len(found)
    return tuple(
        _leaf(*parts) for parts in zip(names, values, found, expected, derived, strict=True)
    )


def _leaf(name: str, value: int, tape: Any, autodiff: Any, hand: Any | None) -> Leaf:
    a, b = np.asarray(tape), np.asarray(autodiff)
    same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    ulp, equal = None, None
    if hand is not None:
        h = np.asarray(hand)
        equal = h.shape == a.shape and _close(h, a)
        ulp = ulps_apart(h, a) if h.shape == a.shape else float("inf")
    return Leaf(name, value, tape, autodiff, hand, same, ulps_apart(a, b), ulp, equal)


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    x, y = np.asarray(plain(a), np.float64), np.asarray(plain(b), np.float64)
    scale = np.abs(y).max(initial=0.0)
    eps = float(jax.numpy.finfo(b.dtype).eps)
    slack = ROUNDING if eps < ROUNDING else 64 * eps
    return bool(np.all(np.abs(x - y) <= slack * scale) or np.array_equal(x, y, equal_nan=True))


def ulps_apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest |a − b| in units in the last place of b; NaN beside NaN is no difference.

    >>> ulps_apart(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 2**-51]))
    1.0
    """
    x, y = np.asarray(plain(a), np.float64), np.asarray(plain(b), np.float64)
    eps, tiny = (float(getattr(jax.numpy.finfo(b.dtype), key)) for key in ("eps", "tiny"))
    if not y.size:
        return 0.0
    with np.errstate(all="ignore"):
        unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(y), tiny)))) * eps
        apart = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y) / unit)
    return float(np.where(np.isnan(apart), np.inf, apart).max())
