"""What a derivation is: one quantity, line by line, each line with its reason and its value.

Every line equals the one before it, as real numbers; `checking` holds it to that. The value of a
line is computed as the line is written: what the line has worked out is worked out in its value,
and what it still leaves as a ∂ is left to `still_open`, which the next lines then do without.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from handgrad._types import Array, Key


@dataclass(frozen=True)
class Step:
    """One line of a derivation."""

    formula: str
    """LaTeX without dollar signs: what the line says, from its '=' on."""
    reason: str
    """Why it equals the line before, in plain words: 'chain rule', 'σ′ = σ(1 − σ)', ..."""
    value: Callable[..., Any]
    """The value of the line at the derivation's arguments: an array, or a tree of arrays."""


@dataclass(frozen=True)
class Derivation:
    """A quantity, what its symbols mean, where to try it, and the lines that lead to its end."""

    name: str
    title: str
    of: str
    """LaTeX of what is derived: the left side of the first line."""
    given: str
    """Symbols and shapes, in a sentence or two."""
    example: Callable[[Key], tuple]
    """Draws arguments for the lines, in the default float dtype, away from any kink."""
    steps: tuple[Step, ...]
    source: str


def still_open(weights: Array, f: Callable, at: Any) -> Any:
    """⟨weights, ∂f/∂at⟩: a derivative that a line names and has not worked out yet.

    Autodiff stands in for it. That proves nothing, and need not: the first line of a derivation is
    the truth without autodiff, and the last has nothing left open.
    """
    return jax.vjp(f, at)[1](weights)[0]


def slope(f: Callable[[Array], Array], z: Array) -> Array:
    """df/dz of an elementwise function, not worked out yet."""
    return still_open(jnp.ones_like(z), f, z)
