"""One leaf of the gradient by the tape, by hand and by jax.grad, and how they compare."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from handgrad.explain.summary import as_numpy
from handgrad.explain.tape import Tape
from handgrad.verify.ulp import ulp_error

ROUNDING = 1e-12
"""Of the largest entry, in float64: hand and tape round in different orders, and no more than that.

In a narrower dtype it is 64 of its own epsilons.
"""


@dataclass(frozen=True)
class GradientLeaf:
    """One leaf of the gradient, three times."""

    name: str
    value: int
    """The tape's value whose cotangent this is."""
    tape: Any
    autodiff: Any
    unfused: Any
    """jax.grad's under `jax.disable_jit`, where nothing is compiled as a whole."""
    hand: Any | None

    @cached_property
    def identical(self) -> bool:
        """The tape's bits are those of jax.grad, signs of zeros included."""
        return _is_identical(self.tape, self.autodiff)

    @cached_property
    def identical_unfused(self) -> bool:
        """Or those of jax.grad under `jax.disable_jit`."""
        return self.identical or _is_identical(self.tape, self.unfused)

    @cached_property
    def autodiff_ulp(self) -> float:
        """Largest difference of tape and jax.grad, in units in the last place."""
        return max_ulp(self.tape, self.autodiff)

    @cached_property
    def hand_ulp(self) -> float | None:
        """The same for the hand and the tape; infinite where their shapes differ."""
        return None if self.hand is None else max_ulp(self.hand, self.tape)

    @cached_property
    def hand_equal(self) -> bool | None:
        """Hand and tape differ by rounding at most."""
        return None if self.hand is None else _is_close(self.hand, self.tape)


Leaves = tuple[GradientLeaf, ...]


def compare(
    tape: Tape, gradient: Any, autodiff: Any, hand: Any | None, unfused: Any | None = None
) -> Leaves:
    """Every leaf of the gradient beside jax.grad's, and beside the hand-derived one if given.

    `unfused` is jax.grad's under `jax.disable_jit`, if that was needed.
    """
    found, expected = jax.tree.leaves(gradient), jax.tree.leaves(autodiff)
    alone = expected if unfused is None else jax.tree.leaves(unfused)
    derived = jax.tree.leaves(hand) if hand is not None else [None] * len(found)
    if len(derived) != len(found):
        derived = [np.nan] * len(found)
    rows = zip(tape.wanted, found, expected, alone, derived, strict=True)
    return tuple(GradientLeaf(tape.values[i].name, i, *leaves) for i, *leaves in rows)


def _is_identical(left: Any, right: Any) -> bool:
    a, b = np.asarray(left), np.asarray(right)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _is_close(a: Any, b: Any) -> bool:
    if np.shape(a) != np.shape(b):
        return False
    x, y = _float64(a), _float64(b)
    eps = float(jax.numpy.finfo(b.dtype).eps)
    slack = (ROUNDING if eps < ROUNDING else 64 * eps) * np.abs(y).max(initial=0.0)
    return bool(np.all(np.abs(x - y) <= slack) or np.array_equal(x, y, equal_nan=True))


def max_ulp(a: Any, b: Any) -> float:
    """The largest |a − b| in units in the last place of b; NaN beside NaN is no difference.

    Infinite where the shapes differ.

    >>> max_ulp(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 2**-51]))
    1.0
    """
    if np.shape(a) != np.shape(b):
        return np.inf
    x, y = _float64(a), _float64(b)
    both_nan = np.isnan(x) & np.isnan(y)
    return float(np.where(both_nan, 0.0, ulp_error(x, y, str(b.dtype))).max(initial=0.0))


def _float64(array: Any) -> np.ndarray:
    return np.asarray(as_numpy(array), np.float64)


# --- in words -------------------------------------------------------------------------------------


def format_hand(leaf: GradientLeaf) -> str:
    """How the hand's gradient stands to the tape's."""
    if not leaf.hand_equal:
        return "different"
    return f"equal, within {leaf.hand_ulp:.3g} ulp" if leaf.hand_ulp else "equal"


def format_autodiff(leaf: GradientLeaf) -> str:
    """How jax.grad's gradient stands to the tape's."""
    if leaf.identical:
        return "the same bits"
    unfused = "; the same bits under jax.disable_jit" if leaf.identical_unfused else ""
    return f"{leaf.autodiff_ulp:.3g} ulp apart{unfused}"


def agreement_heads(leaves: Leaves) -> tuple[str, ...]:
    """The columns of the agreement."""
    by_hand = () if any(leaf.hand_equal is None for leaf in leaves) else ("by hand",)
    return ("", "the tape's last cotangent", *by_hand, "jax.grad")
