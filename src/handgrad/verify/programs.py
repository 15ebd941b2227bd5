"""The witnesses as programs: traced once at one dtype, evaluated over balls at any point."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from flint import arb

from handgrad import exact
from handgrad.exact import Traced
from handgrad.verify.layout import Layout
from handgrad.verify.witnesses import Argnums, autodiff

Row = np.ndarray
"""The coordinates of a gradient as one row of balls."""


@dataclass(frozen=True)
class Programs:
    """The witnesses traced at one dtype; `hand` is None where it cannot be traced."""

    layout: Layout
    loss: Traced
    autodiff: Traced
    hand: Traced | None
    rules: dict = field(default_factory=dict)

    def row(self, program: Traced, leaves: list, digits: int, constants: str = "exact") -> Row:
        """All coordinates that a gradient program gives at these leaves, in balls."""
        out = exact.evaluate_jaxpr(program.jaxpr, leaves, digits, self.rules, constants)
        rows = [np.ravel(np.asarray(part, dtype=object)) for part in out]
        return np.concatenate(rows) if rows else np.zeros(0, dtype=object)

    def moves(self, leaves: list, direction: np.ndarray) -> list:
        """A direction for every flat leaf: None where nothing moves."""
        moves: list[Any] = [None] * len(leaves)
        for position, part in zip(self.layout.argnums, self.layout.split(direction), strict=True):
            moves[position] = part
        return moves

    def along(self, leaves: list, direction: np.ndarray, digits: int) -> arb:
        """The directional derivative of the loss, from its values alone."""
        moves = self.moves(leaves, direction)
        row, _ = exact.derivative_jaxpr(self.loss.jaxpr, leaves, moves, digits, self.rules)
        return row[0]


def summon(
    gradient: Callable | None, of: Callable, at: tuple, argnums: Argnums, dtype: str, rules: dict
) -> Programs:
    """Trace loss, autodiff and hand (unless it is None) at one dtype."""
    leaves = jax.tree.leaves(at)
    args = jax.tree.unflatten(jax.tree.structure(at), leaves)
    return Programs(
        layout=Layout.of(args, argnums),
        loss=exact.trace(of, *args, dtype=dtype),
        autodiff=exact.trace(autodiff(of, argnums), *args, dtype=dtype),
        hand=None if gradient is None else exact.trace(gradient, *args, dtype=dtype),
        rules=rules,
    )
