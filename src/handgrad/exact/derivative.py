"""Directional derivatives from values alone: no derivative rule of JAX, and none of ours.

Along φ(t) = f(at + t·direction) the central difference (φ(h) − φ(−h)) / 2h is taken over balls
at two steps, relative to the size of the point, and both are made smaller, and the precision
higher, until they agree. That is an estimate: nothing bounds φ‴. What is rigorous is the balls
of the differences themselves, and agreement at steps 2^16 apart leaves, for a smooth φ, an error
2^32 times below the digits asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flint import arb, ctx

from handgrad._checks import require_real
from handgrad.errors import InputError, Undecided
from handgrad.exact.balls import ZERO, as_balls, is_accurate, kind
from handgrad.exact.evaluation import (
    GUARD_BITS,
    as_operand,
    bits_of,
    check_leaves,
    evaluate_bits,
    is_ball_array,
    trace,
)
from handgrad.exact.interpreter import Rules
from handgrad.jaxprs import Program

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


# The second step is this many halvings below the first.
STEP_RATIO_BITS = 16
MAX_STEP_BITS = 1 << 12


class Line:
    """φ(t) = f(at + t·direction): the values of a traced function along a line, in balls."""

    def __init__(
        self,
        jaxpr: Program,
        at: Sequence[Any],
        direction: Sequence[Any],
        rules: Rules | None,
    ):
        variables = jaxpr.jaxpr.invars
        self.jaxpr, self.rules = jaxpr, rules
        self.at = [as_operand(leaf, v) for leaf, v in zip(at, variables, strict=True)]
        self.direction = [
            as_balls(np.broadcast_to(leaf, np.shape(point)))
            if leaf is not None and kind(v.aval.dtype) == "real"
            else None
            for leaf, point, v in zip(direction, self.at, variables, strict=True)
        ]
        self.scale = self._scale()

    def _scale(self) -> arb:
        """The largest t that keeps every coordinate that moves within its own size."""
        scale = None
        for point, move in zip(self.at, self.direction, strict=True):
            if move is None:
                continue
            for x, d in zip(point.ravel(), move.ravel(), strict=True):
                if not d.is_zero():
                    reach = (1 if x.is_zero() else abs(x.mid())) / abs(d.mid())
                    scale = reach if scale is None else scale.min(reach)
        if scale is None:
            raise InputError(
                "direction",
                "a number other than 0 for at least one float",
                "none",
                "the derivative along no direction is 0",
            )
        _, exponent = scale.mid().man_exp()
        mantissa = int(scale.mid().man_exp()[0])
        return arb((1, int(exponent) + mantissa.bit_length() - 1))  # a power of two: h is exact

    def __call__(self, t: arb, bits: int) -> np.ndarray:
        """All real outputs at t, in one row, to `bits` bits."""
        with ctx.workprec(4 * bits + 2200):  # so that the points are exact, for float inputs
            leaves = [
                point if move is None else point + t * move
                for point, move in zip(self.at, self.direction, strict=True)
            ]
        outputs = evaluate_bits(self.jaxpr, leaves, bits, rules=self.rules)
        rows = [np.ravel(out) for out in map(_real_output, outputs)]
        return np.concatenate(rows) if rows else np.zeros(0, dtype=object)


def _real_output(output: Any) -> np.ndarray:
    if isinstance(output, np.ndarray) and output.dtype == object:
        return output
    raise InputError(
        "f", "floating outputs", f"{getattr(output, 'dtype', output)}", "return floats only"
    )


def agree(first: arb, second: arb, bits: int) -> arb | None:
    """A ball around the limit, if two estimates agree to `bits` bits (or are both 0 for a float64).

    The second has the step 2^16 times smaller; what it still misses is a small fraction of the
    difference of the two, so twice that difference around it holds the limit of a smooth φ.
    """
    if not (first.is_finite() and second.is_finite()):
        return None
    if first.is_zero() and second.is_zero():
        return ZERO
    around = second + arb(0, (2 * abs(first - second)).upper())
    around_zero = around.union(ZERO)
    if is_accurate(around_zero, bits):
        return around_zero
    return around if is_accurate(around, bits) else None


def is_smooth(left: tuple[arb, arb], right: tuple[arb, arb]) -> bool:
    """Whether the one-sided differences close up as the step shrinks; at a kink they do not.

    For a smooth φ their gap is hφ″, so 2^16 times smaller at the second step; a gap that has not
    even become 16 times smaller is taken for a kink.
    """
    (gap, next_gap) = (abs(b - a) for a, b in zip(left, right, strict=True))
    return bool(next_gap.contains(0) or 16 * next_gap < gap)


def differences(line: Line, step_bits: int, bits: int) -> tuple[list[np.ndarray], ...]:
    """Left, right and central differences, each at the two steps."""
    left, right, central = [], [], []
    working = 2 * step_bits + bits + GUARD_BITS
    middle = line(ZERO, working)
    for halvings in (step_bits, step_bits + STEP_RATIO_BITS):
        h = line.scale * arb((1, -halvings))
        above, below = line(h, working), line(-h, working)
        with ctx.workprec(working + GUARD_BITS):
            left.append((middle - below) / h)
            right.append((above - middle) / h)
            central.append((above - below) / (2 * h))
    return left, right, central


def derivative_jaxpr(
    jaxpr: Program,
    at: Sequence[Any],
    direction: Sequence[Any],
    digits: int = 60,
    rules: Rules | None = None,
) -> tuple[np.ndarray, arb]:
    """The derivative of all flat outputs of a traced function, in one row, and the step.

    `at` and `direction` are flat, in the order of the program's arguments; the direction of an
    argument that does not move is None.
    """
    line, bits = Line(jaxpr, at, direction, rules), bits_of(digits)
    step_bits = bits // 2 + 32
    while True:
        left, right, central = differences(line, step_bits, bits)
        with ctx.workprec(bits + GUARD_BITS):
            found = [agree(a, b, bits) for a, b in zip(*central, strict=True)]
            smooth = [
                is_smooth((l0, l1), (r0, r1)) for l0, l1, r0, r1 in zip(*left, *right, strict=True)
            ]
        if all(smooth) and all(ball is not None for ball in found):
            return np.array(found, dtype=object), line.scale * arb((1, -step_bits))
        if 2 * step_bits > MAX_STEP_BITS:
            index = next(i for i, ok in enumerate(smooth) if not ok or found[i] is None)
            what = "no limit was found" if smooth[index] else "the left and right limits differ"
            raise Undecided(f"derivative of output entry {index}: {what}: a kink or a jump")
        step_bits *= 2


def one_sided_jaxpr(
    jaxpr: Program,
    at: Sequence[Any],
    direction: Sequence[Any],
    digits: int = 60,
    rules: Rules | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The limits of the difference quotient from the left and from the right; flat, as above."""
    line, bits = Line(jaxpr, at, direction, rules), bits_of(digits)
    step_bits = bits + 32  # one-sided differences are of first order
    while True:
        sides = differences(line, step_bits, bits)[:2]
        with ctx.workprec(bits + GUARD_BITS):
            left, right = (
                [agree(a, b, bits) for a, b in zip(*side, strict=True)] for side in sides
            )
        if all(ball is not None for ball in (*left, *right)):
            return np.array(left, dtype=object), np.array(right, dtype=object)
        if 2 * step_bits > MAX_STEP_BITS:
            raise Undecided("a one-sided derivative has no limit that was found: a jump")
        step_bits *= 2
