"""The first line: a derivative by its definition, lim (f(x + h) − f(x − h)) / 2h.

It is taken from values of f alone, in ball arithmetic, at steps small enough that the digits asked
for stand still (`exact.derivative`). No rule of differentiation is in it, ours or JAX's, so the
lines that follow are measured against something that was not derived.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import exact
from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.verify.witnesses import Argnums, Layout

FLOAT_DIGITS = 20
"""Asked for where the limit is wanted as floats: more than any of them holds."""


@dataclass(frozen=True)
class Limit:
    """∂of/∂(the arguments at `argnums`) by definition; of may have many outputs, as in a Jacobian.

    Called with numbers it gives the limit rounded to their dtype, in the structure that
    `jax.jacobian(of, argnums)` has (for a scalar that is `jax.grad`'s).

    >>> square = Limit(lambda x: jnp.sum(x**2))
    >>> square(jnp.array([3.0, -0.5])).tolist()
    [6.0, -1.0]
    """

    of: Callable[..., Any]
    argnums: Argnums = 0

    def __call__(self, *args: Any) -> Any:
        """The limit in floats. Raises InputError under jit, where there is no number to move."""
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args)):
            raise InputError(
                "args", "numbers", "the tracers of jit or grad",
                "call the first line outside; its limit is taken from values",
            )  # fmt: skip
        expected: Any = jax.eval_shape(jax.jacobian(self.of, self.argnums), *args)
        specs, tree = jax.tree.flatten(expected)
        balls = self.balls(args, FLOAT_DIGITS)
        floats = [
            jnp.asarray(np.vectorize(lambda ball: float(ball.mid()), otypes=[float])(a), spec.dtype)
            for a, spec in zip(balls, specs, strict=True)
        ]
        return jax.tree.unflatten(tree, floats)

    def balls(self, args: tuple, digits: int) -> list[np.ndarray]:
        """The flat leaves of the limit as object arrays of balls, to `digits` digits.

        Raises `Undecided` at a kink.
        """
        with x64():
            traced, layout = exact.trace(self.of, *args), Layout.of(args, self.argnums)
        columns = []
        for index in range(layout.size):
            moves: list[Any] = [None] * len(traced.leaves)
            direction = layout.split(np.eye(1, layout.size, index)[0])
            for position, part in zip(layout.argnums, direction, strict=True):
                moves[position] = part
            columns.append(exact.derivative_jaxpr(traced.jaxpr, traced.leaves, moves, digits)[0])
        matrix = np.stack(columns, axis=1)  # every output by every coordinate
        leaves, row = [], 0
        for output in traced.jaxpr.out_avals:
            rows = matrix[row : row + output.size]
            row += output.size
            column = 0
            for shape, size in zip(layout.shapes, layout.sizes, strict=True):
                block = rows[:, column : column + size]
                leaves.append(block.reshape((*output.shape, *shape)))
                column += size
        return leaves
