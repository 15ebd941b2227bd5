"""Directional derivatives from values alone: no derivative rule of JAX, and none of ours.

Along φ(t) = f(at + t·direction) the central difference (φ(h) − φ(−h)) / 2h is taken over balls
at two steps, relative to the size of the point, and both are made smaller, and the precision
higher, until they agree. That is an estimate: nothing bounds φ‴. What is rigorous is the balls
of the differences themselves, and agreement at steps 2^16 apart leaves, for a smooth φ, an error
2^32 times below the digits asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flint import arb

from handgrad._checks import require_real
from handgrad.errors import InputError
from handgrad.exact.differences import derivative_jaxpr, one_sided_jaxpr
from handgrad.exact.evaluation import Rules, check_leaves, is_ball_array, trace

ESTIMATE = "estimate agreed at two steps"


@dataclass(frozen=True)
class Derivative:
    """A directional derivative and how it was come by.

    `value` has the structure of f's output, object arrays of balls; each ball holds the
    difference at the smaller step and, for a smooth f, the derivative. `kind` says what that is
    worth. `step` is the larger of the two steps.
    """

    value: Any
    kind: str
    step: arb
    digits: int


def _traced(f: Callable[..., Any], at: Any, direction: Any, dtype: Any) -> tuple[Any, list[Any]]:
    point = at if type(at) is tuple else (at,)
    along = direction if type(at) is tuple else (direction,)
    traced = trace(f, *point, dtype=dtype)
    check_leaves("direction", along)
    moves = jax.tree.leaves(along, is_leaf=lambda leaf: leaf is None)
    if len(moves) != len(traced.leaves):
        raise InputError(
            "direction",
            f"the structure of `at`, {len(traced.leaves)} leaves",
            f"{len(moves)} leaves",
            "give one array for each array of `at`, or None where it does not move",
        )
    for move, leaf in zip(moves, traced.leaves, strict=True):
        if move is not None and not is_ball_array(move):
            require_real("direction", move)
        if move is not None and np.shape(move) not in ((), np.shape(leaf)):
            raise InputError(
                "direction", f"shape {np.shape(leaf)}, as `at` has", f"shape {np.shape(move)}",
                "give one number for each number of `at`",
            )  # fmt: skip
    return traced, moves


def _shaped(traced: Any, row: np.ndarray) -> Any:
    leaves, start = [], 0
    for variable in traced.jaxpr.out_avals:
        size = int(np.prod(variable.shape, dtype=int))
        leaves.append(row[start : start + size].reshape(variable.shape))
        start += size
    return jax.tree.unflatten(traced.out_tree, leaves)


def derivative(
    f: Callable[..., Any],
    at: Any,
    direction: Any,
    digits: int = 60,
    *,
    rules: Rules | None = None,
    dtype: Any = "float64",
) -> Derivative:
    """The derivative of f at `at` along `direction`, from values of f alone.

    A tuple `at` holds all arguments of f; anything else is its only argument. `direction` has
    the same structure; None, and whatever stands beside integers, does not move. Each entry of
    the output is differentiated. The two differences of every entry agree to `digits` digits,
    relative to the derivative (or both lie below 10^−digits of the smallest float64: then 0).

    Raises `Undecided` at kinks and jumps, `InputError` when nothing moves.

    >>> import jax.numpy as jnp
    >>> derivative(jnp.log, 1e-20, 1.0, digits=20).value[()].str(16, radius=False)
    '1.000000000000000e+20'
    """
    traced, moves = _traced(f, at, direction, dtype)
    row, step = derivative_jaxpr(traced.jaxpr, traced.leaves, moves, digits, rules)
    return Derivative(_shaped(traced, row), ESTIMATE, step, digits)


def one_sided(
    f: Callable[..., Any],
    at: Any,
    direction: Any,
    digits: int = 60,
    *,
    rules: Rules | None = None,
    dtype: Any = "float64",
) -> tuple[Any, Any]:
    """The left and right derivatives of f at `at` along `direction`; they differ at a kink.

    Arguments as for `derivative`. With φ(t) = f(at + t·direction), the limits of
    (φ(0) − φ(−h)) / h and of (φ(h) − φ(0)) / h: estimates, agreed at two steps.

    >>> import jax
    >>> one_sided(jax.nn.relu, 0.0, 1.0)
    (array(0, dtype=object), array(1.00000000000000, dtype=object))
    """
    traced, moves = _traced(f, at, direction, dtype)
    sides = one_sided_jaxpr(traced.jaxpr, traced.leaves, moves, digits, rules)
    left, right = (_shaped(traced, side) for side in sides)
    return left, right
