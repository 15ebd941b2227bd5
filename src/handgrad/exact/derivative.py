"""Directional derivatives from values alone: no derivative rule of JAX, and none of ours.

Along φ(t) = f(at + t·direction) the central difference (φ(h) − φ(−h)) / 2h is taken over balls at
two steps 2^16 apart, relative to the size of the point. Both are made smaller, and the precision
higher, until they agree. That is an estimate: nothing bounds φ‴. What is rigorous is the balls
of the differences themselves, and agreement at steps 2^16 apart leaves, for a smooth φ, an error
2^32 times below the digits asked.

A central difference sees nothing of a kink that is symmetric, so it counts only where the slopes
on the left and on the right close up as the step shrinks. Where they do not, each side is taken to
its own limit: a number, ±∞ where the slope grows without bound, or None where f provably has no
value on that side (the edge of its domain). Where no ball encloses φ(0), as at x = 0 for
√(sin²y + cos²y − 1 + x²), slopes come from two points on one side, (φ(2h) − φ(h)) / h.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
from flint import arb, ctx

from handgrad._checks import require_real
from handgrad.errors import InputError, Undecided
from handgrad.exact.balls import (
    NAN,
    NEG_INF,
    ONE,
    POS_INF,
    TINIEST_EXPONENT,
    ZERO,
    as_balls,
    as_row,
    finite_entries,
    is_accurate,
    is_infinite,
    kind,
    short,
    zero_entries,
)
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
EDGE = "one-sided estimate: f has no value on the other side"

# The second step is this many halvings below the first.
STEP_RATIO_BITS = 16
MAX_STEP_BITS = 1 << 12
# How many times the precision may be doubled for one value along the line.
MOST_DOUBLINGS = 3

OPEN = "open"


@dataclass(frozen=True)
class Derivative:
    """A directional derivative and how it was come by.

    `value` has the structure of f's output, object arrays of balls; each ball holds the
    difference at the smaller step and, for a smooth f, the derivative; +∞ or −∞ where the slope
    grows without bound. `kind` says what that is worth. `step` is the larger of the two steps.
    """

    value: Any
    kind: str
    step: arb
    digits: int


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

    An infinite coordinate does not move (∞ + t = ∞): its part of the derivative is 0, where f has
    a value. At the edge of the domain (√x, x log x at 0) the answer is the derivative on the side
    that there is, which may be ±∞.

    Raises `Undecided` at kinks and jumps, and where f has no finite value or no values beside the
    point; `InputError` when nothing moves, or `at` holds NaN.

    >>> import jax.numpy as jnp
    >>> derivative(jnp.log, 1e-20, 1.0, digits=20).value[()].str(16, radius=False)
    '1.000000000000000e+20'
    >>> edge = derivative(jnp.sqrt, 0.0, 1.0)
    >>> float(edge.value[()]), edge.kind
    (inf, 'one-sided estimate: f has no value on the other side')
    """
    traced, moves = _traced(f, at, direction, dtype)
    line = Line(traced.jaxpr, traced.leaves, moves, rules)
    row, step, at_an_edge = _two_sided(line, bits_of(digits))
    return Derivative(_shaped(traced, row), EDGE if at_an_edge else ESTIMATE, step, digits)


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

    Arguments as for `derivative`; what is returned is explained at `one_sided_jaxpr`.

    >>> import jax
    >>> one_sided(jax.nn.relu, 0.0, 1.0)
    (array(0, dtype=object), array(1.00000000000000, dtype=object))
    >>> left, right = one_sided(jax.numpy.sqrt, 0.0, 1.0)
    >>> left[()], float(right[()])
    (None, inf)
    """
    traced, moves = _traced(f, at, direction, dtype)
    sides = one_sided_jaxpr(traced.jaxpr, traced.leaves, moves, digits, rules)
    left, right = (_shaped(traced, side) for side in sides)
    return left, right


def derivative_jaxpr(
    jaxpr: Program,
    at: Sequence[Any],
    direction: Sequence[Any],
    digits: int = 60,
    rules: Rules | None = None,
) -> tuple[np.ndarray, arb]:
    """The derivative of all flat outputs of a traced function, in one row, and the step.

    `at` and `direction` are flat, in the order of the program's arguments; the direction of an
    argument that does not move is None. Values and errors as for `derivative`.
    """
    return _two_sided(Line(jaxpr, at, direction, rules), bits_of(digits))[:2]


def one_sided_jaxpr(
    jaxpr: Program,
    at: Sequence[Any],
    direction: Sequence[Any],
    digits: int = 60,
    rules: Rules | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The left and the right derivatives of all flat outputs along a line; flat, as above.

    With φ(t) = f(at + t·direction): the limits of (φ(0) − φ(−h)) / h and of (φ(h) − φ(0)) / h as
    h falls to 0. Each entry of a row is one of

    - a finite ball: the two steps agree to `digits` digits;
    - exactly +∞ or −∞: the slope grows without bound, as that of √x or x log x at 0 does. φ is
      continuous there, and over three rounds of ever smaller steps the slope has grown per halving
      of the step by at least as much as before (like log h, or faster);
    - None: φ surely has no finite value on this side, at any step tried: a square root or logarithm
      of negative numbers, or a loss that is ±∞ there.

    All but the balls of the differences is an estimate. Raises `Undecided` where φ jumps, has a
    pole (a value of ±∞ at 0) or no value at 0, where no limit was found, and where no ball encloses
    φ on a side and nothing proves that it has no value there.
    """
    limits, _ = _both_sides(Line(jaxpr, at, direction, rules), bits_of(digits))
    left, right = ([pair[side] for pair in limits] for side in (0, 1))
    return as_row(left), as_row(right)


# --- the line -----------------------------------------------------------------------------------


class Line:
    """φ(t) = f(at + t·direction): the values of a traced function along a line, in balls."""

    def __init__(
        self, jaxpr: Program, at: Sequence[Any], direction: Sequence[Any], rules: Rules | None
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
        """The largest t that keeps every finite coordinate that moves within its own size."""
        scale, moves = None, False
        for point, move in zip(self.at, self.direction, strict=True):
            if move is None:
                continue
            if not finite_entries(move).all():
                infinite = next(d for d in move.ravel() if not d.is_finite())
                raise InputError("direction", "finite numbers", short(infinite), "scale it down")
            moving = ~zero_entries(move)
            moves = moves or bool(moving.any())
            moving &= finite_entries(point)
            x, d = _midpoints(point[moving]), _midpoints(move[moving])
            x[zero_entries(x)] = ONE
            for reach in np.abs(x) / np.abs(d):
                scale = reach if scale is None else scale.min(reach)
        if not moves:
            raise InputError(
                "direction",
                "a number other than 0 for at least one float",
                "none",
                "the derivative along no direction is 0",
            )
        if scale is None:
            return arb(1)  # only infinite coordinates move: φ is constant
        mantissa, exponent = scale.mid().man_exp()
        # a power of two: h is exact
        return arb((1, int(exponent) + int(mantissa).bit_length() - 1))

    def __call__(self, t: arb, bits: int) -> np.ndarray:
        """All real outputs at t, in one row, to `bits` bits."""
        with ctx.workprec(4 * bits + 2200):  # so that the points are exact, for float inputs
            leaves = [
                point if move is None else point + t * move
                for point, move in zip(self.at, self.direction, strict=True)
            ]
        most = bits << MOST_DOUBLINGS
        outputs = evaluate_bits(self.jaxpr, leaves, bits, rules=self.rules, max_bits=most)
        rows = [np.ravel(out) for out in map(_real_output, outputs)]
        return np.concatenate(rows) if rows else np.zeros(0, dtype=object)

    def centre(self, bits: int) -> np.ndarray:
        """φ(0), with NaN for all that a comparison leaves open; raises at poles and outside f."""
        try:
            row = self(ZERO, bits)
        except Undecided:
            return as_row([arb.nan()] * sum(_size(aval) for aval in self.jaxpr.out_avals))
        for index, ball in enumerate(row):
            if ball is NAN or is_infinite(ball):
                value = "no value" if ball is NAN else f"the value {short(ball)}"
                raise Undecided(
                    f"output entry {index} has {value} at the point{self._infinities()}"
                )
        return row

    def _infinities(self) -> str:
        """Which arguments are infinite, for a message."""
        infinite = [
            f"argument {index}"
            for index, leaf in enumerate(self.at)
            if leaf.dtype == object and any(map(is_infinite, leaf.ravel()))
        ]
        return f", where {' and '.join(infinite)} is infinite" if infinite else ""


_midpoints = np.frompyfunc(arb.mid, 1, 1)


def _real_output(output: Any) -> np.ndarray:
    if isinstance(output, np.ndarray) and output.dtype == object:
        return output
    raise InputError(
        "f", "floating outputs", f"{getattr(output, 'dtype', output)}", "return floats only"
    )


# --- difference quotients -----------------------------------------------------------------------


class Slopes(NamedTuple):
    """The difference quotients of one output entry at a step h, and what they are taken from."""

    left: arb
    right: arb
    central: arb
    below: arb
    """φ(−h)."""
    above: arb
    """φ(h)."""


def _slopes(line: Line, centre: np.ndarray, halvings: int, working: int) -> list[Slopes]:
    """The quotients of every output entry at the step scale · 2^−halvings."""
    h = line.scale * arb((1, -halvings))
    above, below = line(h, working), line(-h, working)
    is_open = [not middle.is_finite() for middle in centre]
    farther = (line(2 * h, working), line(-2 * h, working)) if any(is_open) else (above, below)
    result = []
    with ctx.workprec(working + GUARD_BITS):
        for index, middle in enumerate(centre):
            a, b = above[index], below[index]
            if is_open[index]:  # from two points on one side
                left, right = b - farther[1][index], farther[0][index] - a
            else:
                left, right = middle - b, a - middle
            result.append(Slopes(left / h, right / h, (a - b) / (2 * h), b, a))
    return result


class Round(NamedTuple):
    """The slopes of every output entry at two steps, the second 2^16 times below the first."""

    pairs: list[tuple[Slopes, Slopes]]
    open_centres: list[bool]
    step: arb


def _rounds(line: Line, bits: int, step_bits: int) -> Iterator[Round]:
    """Rounds of ever smaller steps, each with twice the halvings of the one before."""
    while step_bits <= MAX_STEP_BITS:
        working = 2 * step_bits + bits + GUARD_BITS
        centre = line.centre(working)
        first, second = (
            _slopes(line, centre, halvings, working)
            for halvings in (step_bits, step_bits + STEP_RATIO_BITS)
        )
        is_open = [not middle.is_finite() for middle in centre]
        with ctx.workprec(bits + GUARD_BITS):
            yield Round(
                list(zip(first, second, strict=True)), is_open, line.scale * arb((1, -step_bits))
            )
        step_bits *= 2


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


def closes(first: Slopes, second: Slopes, bits: int) -> bool:
    """Whether the slopes on the left and on the right become one as the step shrinks.

    For a smooth φ their gap is hφ″: it has to shrink with h, and to be small beside the slope, to
    half of the digits asked. Or the gap is too small to count at all: beside the slope, or for any
    float64.
    """
    before, gap = (abs(slopes.right - slopes.left) for slopes in (first, second))
    slope = abs(second.right).max(abs(second.left))
    if gap.upper() < arb((1, TINIEST_EXPONENT)) or gap.upper() <= slope * arb((1, -bits)):
        return True
    return bool(16 * gap < before) and bool(gap.upper() <= slope * arb((1, -bits // 2)))


def stays_open(first: Slopes, second: Slopes) -> bool:
    """Whether a side has no finite value, or the gap between the slopes surely does not close."""
    if not (second.below.is_finite() and second.above.is_finite()):
        return True
    before, after = (abs(slopes.right - slopes.left) for slopes in (first, second))
    return bool(after > before / 2)


def _two_sided(line: Line, bits: int) -> tuple[np.ndarray, arb, bool]:
    """The derivative of every output entry, the step, and whether a side had no value."""
    for round_ in _rounds(line, bits, bits // 2 + 32):
        found = [
            agree(first.central, second.central, bits) if closes(first, second, bits) else None
            for first, second in round_.pairs
        ]
        if all(limit is not None for limit in found):
            return as_row(found), round_.step, False
        if all(
            limit is not None or stays_open(*pair)
            for limit, pair in zip(found, round_.pairs, strict=True)
        ):
            break
    limits, step = _both_sides(line, bits)
    row = [_joined(index, *pair) for index, pair in enumerate(limits)]
    return as_row(row), step, any(side is None for pair in limits for side in pair)


def _joined(index: int, left: arb | None, right: arb | None) -> arb | None:
    """The derivative that two one-sided ones make."""
    if left is None and right is None:
        raise Undecided(f"output entry {index} has no value on either side of the point")
    if left is None:
        return right
    if right is None:
        return left
    if left == right or (left.is_finite() and right.is_finite() and left.overlaps(right)):
        return left.intersection(right) if left.is_finite() else left
    raise Undecided(
        f"derivative of output entry {index}: the left and right limits differ, "
        f"{short(left)} and {short(right)}: a kink"
    )


# --- one side at a time -------------------------------------------------------------------------


def _both_sides(line: Line, bits: int) -> tuple[list[tuple[arb | None, arb | None]], arb]:
    """The limits on the left and on the right of every output entry, and the step."""
    rounds: list[Round] = []
    for round_ in _rounds(line, bits, bits + 32):  # one-sided differences are of first order
        rounds.append(round_)
        history = list(zip(*(r.pairs for r in rounds), strict=True))
        limits = [(_limit(p, "left", bits), _limit(p, "right", bits)) for p in history]
        if all(OPEN not in pair for pair in limits):
            for index, (pairs, is_open) in enumerate(
                zip(history, round_.open_centres, strict=True)
            ):
                if is_open and not _is_joined(*pairs[-1]):
                    raise Undecided(f"output entry {index} jumps at the point")
            return limits, round_.step
    index = next(i for i, pair in enumerate(limits) if OPEN in pair)
    last = rounds[-1].pairs[index][1]
    unknown = any(value.is_nan() and value is not NAN for value in (last.below, last.above))
    what = "no ball encloses it beside the point" if unknown else "a jump, or an oscillation"
    raise Undecided(f"derivative of output entry {index}: no limit was found on one side: {what}")


def _limit(pairs: Sequence[tuple[Slopes, Slopes]], side: str, bits: int) -> Any:
    """The limit of the slopes on one side, None if there are no values, OPEN if that is open."""
    slopes = [(getattr(first, side), getattr(second, side)) for first, second in pairs]
    found = agree(*slopes[-1], bits)
    if found is not None:
        return found
    if len(slopes) < 3:
        return OPEN
    beside = "below" if side == "left" else "above"
    values = [getattr(step, beside) for pair in pairs[-3:] for step in pair]
    if all(value is NAN or is_infinite(value) for value in values):
        return None
    if diverges(slopes[-3:]):
        return POS_INF if slopes[-1][1] > 0 else NEG_INF
    return OPEN


def diverges(slopes: Sequence[tuple[arb, arb]]) -> bool:
    """Whether slopes at ever smaller steps grow without bound, and are not those of a jump.

    Between the two steps of a pair a slope grows; what it grows by does not shrink from one pair
    to the next, in which the number of halvings is twice that before. A bounded slope would have to
    grow by less and less. At a jump the slope grows just as fast as the step shrinks.
    """
    if not all(slope.is_finite() for pair in slopes for slope in pair):
        return False
    sign = 1 if slopes[-1][1] > 0 else -1
    growth = [sign * (second - first) for first, second in slopes]
    if not all(sign * first > 0 for first, _ in slopes) or not all(g > 0 for g in growth):
        return False
    steady = all(after > before * (1 - arb((1, -6))) for before, after in pairwise(growth))
    first, second = slopes[-1]
    is_jump = not abs(second) < abs(first) * arb((1, STEP_RATIO_BITS)) * (1 - arb((1, -8)))
    return steady and not is_jump


def _is_joined(first: Slopes, second: Slopes) -> bool:
    """Whether φ(h) − φ(−h) vanishes with h; where one side has no value there is no question."""
    before, after = (abs(slopes.above - slopes.below) for slopes in (first, second))
    if not (before.is_finite() and after.is_finite()):
        return True
    return bool(after.upper() < arb((1, TINIEST_EXPONENT)) or after < before * (1 - arb((1, -8))))


# --- arguments and results ----------------------------------------------------------------------


def _traced(f: Callable[..., Any], at: Any, direction: Any, dtype: Any) -> tuple[Any, list[Any]]:
    point = at if type(at) is tuple else (at,)
    along = direction if type(at) is tuple else (direction,)
    traced = trace(f, *point, dtype=dtype)
    for path, leaf in jax.tree_util.tree_leaves_with_path(point):
        balls = as_balls(leaf).ravel() if _is_real(leaf) else ()
        if any(ball is NAN for ball in balls):
            name = f"at{jax.tree_util.keystr(path if type(at) is tuple else path[1:])}"
            raise InputError(name, "numbers", "NaN", "a function has no derivative there")
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


def _is_real(leaf: Any) -> bool:
    """Whether an argument holds floats or balls."""
    dtype = getattr(leaf, "dtype", np.dtype(bool))
    return is_ball_array(leaf) or isinstance(leaf, float) or kind(dtype) == "real"


def _size(aval: Any) -> int:
    return int(np.prod(aval.shape, dtype=int))


def _shaped(traced: Any, row: np.ndarray) -> Any:
    leaves, start = [], 0
    for aval in traced.jaxpr.out_avals:
        leaves.append(row[start : start + _size(aval)].reshape(aval.shape))
        start += _size(aval)
    return jax.tree.unflatten(traced.out_tree, leaves)
