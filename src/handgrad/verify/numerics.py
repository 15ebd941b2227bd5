"""The second question: how good is a gradient in floating point?

In each dtype, at the point given and at the worst points that a search finds, hand and autodiff
are run and held against the truth in balls. The error is in ulp of the dtype at the true value.
What the conditioning of the point alone would cost is given beside it: the truth over the inputs as
half-ulp balls, whose radius no formula can be blamed for. Coordinates whose truth is subnormal, 0
or out of range are left out of the ulps; the subnormal ones are counted.

What can be asked of a dtype depends on the range of the real numbers that the loss goes through. At
weights of 1e38 the score itself overflows, and no form of the gradient can be blamed for what
follows: such points are discarded, and counted. Where a number on the way is subnormal, a device
that flushes subnormals to zero loses it: such points are set apart, and only NaN and infinities
count there. What a better formula can avoid is not excused, since the numbers looked at are the
real values of the loss, not their float images.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad.exact import Traced, Undecided, UnsupportedPrimitive, ulp_ball
from handgrad.exact.evaluation import as_operand
from handgrad.exact.interpreter import Interpreter
from handgrad.verify.mathematics import agreed_digits
from handgrad.verify.ulp import ulp
from handgrad.verify.witnesses import Layout, Programs, Row, is_float

DIGITS = 30
"""To which the truth is taken here: far beyond float64, at half the price of 60."""
RANGE_BITS = 128
"""The precision at which the range of a loss is looked at."""


# --- the rows of a verdict ------------------------------------------------------------------------


@dataclass(frozen=True)
class WorstInput:
    """The input whose error conditioning explains least, as hex floats: replayable bit for bit."""

    coordinate: str
    ulp: float
    computed: str
    truth: str
    own: str
    """The input at the same coordinate."""
    inputs: tuple[tuple[str, tuple[str, ...]], ...]
    """Each differentiated leaf by name, with its numbers in C order."""

    @property
    def brief(self) -> str:
        """The coordinate and its input, what came, and what is true."""
        own, came = float.fromhex(self.own), float.fromhex(self.computed)
        return f"{self.coordinate} at {own:.9g} is {came:.9g}, in truth {float(self.truth):.9g}"


@dataclass(frozen=True)
class NumericsRow:
    """One dtype. `*_bad` counts coordinates that are NaN, inf, of the wrong sign, or zero where
    the truth is a normal number, over the points whose truth was taken (`exact_points`)."""

    dtype: str
    hand_max_ulp: float
    autodiff_max_ulp: float
    conditioning_ulp: float
    """At hand's worst input and coordinate."""
    hand_worst_at: WorstInput | None
    autodiff_worst_at: WorstInput | None
    hand_bad: int
    autodiff_bad: int
    subnormal: int
    discarded: int
    evaluations: int
    exact_points: int
    hand_ulp: float = 0.0
    """The largest error at the points given, before any search."""
    autodiff_ulp: float = 0.0


# --- one point ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PointResult:
    """One point: the truth in balls, its enclosure over the inputs' half ulps, both answers."""

    row: np.ndarray
    truth: Row
    input_enclosure: Row | None
    """The truth over all inputs that round to those given; None where it cannot be had."""
    answers: dict[str, np.ndarray]
    disagreeing: tuple[int, ...]
    """Coordinates at which hand's balls and the truth's differ: a kink, or wrong algebra."""
    underflows: bool = False
    """Whether the loss passes through a subnormal number here."""

    def enclosure(self, index: int) -> arb | None:
        """The input enclosure of one coordinate."""
        return None if self.input_enclosure is None else self.input_enclosure[index]

    def without_disagreeing(self) -> "PointResult":
        """No truth where conventions differ: NaN is bad there, nothing else is judged."""
        truth = self.truth.copy()
        truth[list(self.disagreeing)] = arb("nan")
        return replace(self, truth=truth)


def evaluate_point(
    programs: Programs,
    truth: Traced,
    leaves: list,
    row: np.ndarray,
    answers: dict[str, np.ndarray],
    dtype: str,
) -> PointResult | None:
    """The truth at one row, beside the answers there; None where there is no value."""
    here = programs.layout.replaced(leaves, row)
    widened = programs.layout.replaced(_widened(leaves, dtype), half_ulp_balls(row, dtype))
    true, hand = _row(programs, truth, here), _row(programs, programs.hand, here)
    if true is None or not all(ball.is_finite() for ball in true):
        return None
    enclosure = _row(programs, truth, widened)
    disagreeing: tuple[int, ...] = ()
    if hand is not None and programs.hand is not truth:
        disagreeing = tuple(
            index
            for index, (h, t) in enumerate(zip(hand, true, strict=True))
            if not h.overlaps(t) and agreed_digits(h, t) < DIGITS // 2
        )
        if enclosure is None and not disagreeing:  # autodiff branches at a tie; hand may not
            enclosure = _row(programs, programs.hand, widened)
    return PointResult(row, true, enclosure, answers, disagreeing)


def _row(programs: Programs, program: Traced | None, leaves: list) -> Row | None:
    try:
        return None if program is None else programs.row(program, leaves, DIGITS)
    except (Undecided, UnsupportedPrimitive):
        return None


def _widened(leaves: list, dtype: str) -> list:
    """Floats as half-ulp balls; whole numbers stay what they are: labels are 0 and 1 exactly."""
    return [
        leaf if not is_float(leaf) else half_ulp_balls(np.asarray(leaf), dtype, whole=False)
        for leaf in leaves
    ]


def half_ulp_balls(numbers: np.ndarray, dtype: str, whole: bool = True) -> np.ndarray:
    """Every number as the ball of all reals that round to it; whole numbers too, if `whole`."""

    def widened(number: float) -> arb:
        return ulp_ball(number, jnp.dtype(dtype), 0.5 if whole or number % 1 else 0.0)

    balls = np.frompyfunc(widened, 1, 1)(numbers.astype(np.float64))
    return np.asarray(balls, dtype=object)


# --- one number -----------------------------------------------------------------------------------


def is_bad(computed: float, true: arb, enclosure: arb | None, dtype: str) -> bool:
    """NaN; infinite for a truth in range; zero or of the wrong sign for a normal, certain truth."""
    info = jnp.finfo(dtype)
    if math.isnan(computed):
        return True
    if math.isinf(computed):
        return bool(abs(true) < arb(float(info.max)))
    if not abs(true) >= arb(float(info.tiny)) or enclosure is None or enclosure.contains(0):
        return False
    return computed == 0 or (computed > 0) != bool(true > 0)


def has_bad(point: PointResult, name: str, dtype: str) -> bool:
    """Whether any coordinate of an answer is bad."""
    return any(
        is_bad(float(computed), true, point.enclosure(index), dtype)
        for index, (computed, true) in enumerate(zip(point.answers[name], point.truth, strict=True))
    )


def error_ulp(computed: float, true: arb, dtype: str) -> float:
    """|computed − true| in ulp of the truth; infinite for NaN and for an infinity that is wrong."""
    value = float(true.mid())
    if not math.isfinite(computed):
        return 0.0 if computed == value else math.inf
    if not math.isfinite(value) or abs(value) > float(jnp.finfo(dtype).max):
        return math.inf
    return float(abs(arb(computed) - true).mid() / arb(float(ulp(np.array(value), dtype))))


def conditioning(true: arb, enclosure: arb | None, dtype: str) -> float:
    """How far the truth moves, in ulp, as the inputs move by half an ulp.

    Infinite where a branch (a kink, a tie) is within that reach: then nothing can be blamed.
    """
    if enclosure is None or not enclosure.is_finite():
        return math.inf
    reach = max(float((enclosure - true).abs_upper()), 0.0)
    return reach / float(ulp(np.array(float(true.mid())), dtype))


# --- all points -----------------------------------------------------------------------------------


class _Worst(NamedTuple):
    """The error of a witness that conditioning explains least."""

    excess: float = -1.0
    """The error over what conditioning explains."""
    modesty: float = -math.inf
    """Minus the largest input: of infinite errors the most modest is shown."""
    error: float = 0.0
    conditioning: float = 0.0
    at: WorstInput | None = None


def summarize(
    layout: Layout, points: list[PointResult], dtype: str, evaluations: int, discarded: int
) -> NumericsRow:
    """The row of a dtype, from the points whose truth was taken."""
    tiny, largest = float(jnp.finfo(dtype).tiny), float(jnp.finfo(dtype).max)
    worst = {"hand": _Worst(), "autodiff": _Worst()}
    bad = {"hand": 0, "autodiff": 0}
    subnormal = 0
    with ctx.workprec(256):
        for point in points:
            modesty = -float(np.abs(point.row.astype(np.float64)).max())
            for index, true in enumerate(point.truth):
                enclosure = point.enclosure(index)
                size = float(abs(true).mid())
                subnormal += point.underflows or 0 < size < tiny
                for name, answer in point.answers.items():
                    computed = float(answer[index])
                    lost = not math.isfinite(computed)
                    bad[name] += lost if point.underflows else is_bad(
                        computed, true, enclosure, dtype
                    )  # fmt: skip
                    if not tiny <= size <= largest or (point.underflows and not lost):
                        continue
                    error = error_ulp(computed, true, dtype)
                    cost = conditioning(true, enclosure, dtype)
                    excess = error / (1 + cost) if math.isfinite(error) else math.inf
                    before = worst[name]
                    tied = excess == before.excess == math.inf and modesty > before.modesty
                    if excess > 1.01 * before.excess or tied:
                        at = _worst_input(layout, point, index, error, computed)
                        worst[name] = _Worst(excess, modesty, error, cost, at)
    return NumericsRow(
        dtype=dtype,
        hand_max_ulp=worst["hand"].error,
        autodiff_max_ulp=worst["autodiff"].error,
        conditioning_ulp=worst["hand"].conditioning,
        hand_worst_at=worst["hand"].at,
        autodiff_worst_at=worst["autodiff"].at,
        hand_bad=bad["hand"],
        autodiff_bad=bad["autodiff"],
        subnormal=subnormal,
        discarded=discarded,
        evaluations=evaluations,
        exact_points=len(points),
    )


def _worst_input(
    layout: Layout, point: PointResult, index: int, error: float, computed: float
) -> WorstInput:
    parts = [np.ravel(part).astype(np.float64) for part in layout.split(point.row)]
    return WorstInput(
        coordinate=layout.coordinate(index),
        ulp=error,
        computed=float(computed).hex(),
        truth=point.truth[index].str(20, radius=False),
        own=float(point.row[index]).hex(),
        inputs=tuple(
            (name, tuple(float(v).hex() for v in part))
            for name, part in zip(layout.names, parts, strict=True)
        ),
    )


# --- the range of a loss --------------------------------------------------------------------------


class RangeInterpreter(Interpreter):
    """An interpreter that remembers the binary exponents of the real numbers it passes through."""

    largest, smallest = 0.0, math.inf

    def apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        """The outputs of one equation, having looked at them."""
        outputs = super().apply(equation, operands)
        for output in outputs:
            if isinstance(output, np.ndarray) and output.dtype == object:
                for ball in output.ravel():
                    if ball.is_finite() and not ball.contains(0):
                        mantissa, exponent = ball.mid().man_exp()
                        top = int(exponent) + abs(int(mantissa)).bit_length()
                        self.largest = max(self.largest, top)
                        self.smallest = min(self.smallest, top)
        return outputs


def classify_range(programs: Programs, leaves: list, dtype: str, both_fail: bool) -> str:
    """'no value', 'overflow', 'subnormal' or 'normal': where the loss leads, in real numbers.

    Where hand and autodiff both fail, what they have in common is looked at too: a point is
    excused if each of them leads out of range, and not if only one of them does.
    """
    found = _range_of(programs, programs.loss, leaves, dtype)
    if found != "normal" or not both_fail or programs.hand is None:
        return found
    ranges = {_range_of(programs, p, leaves, dtype) for p in (programs.hand, programs.autodiff)}
    if "normal" in ranges:
        return "normal"
    return "overflow" if ranges == {"overflow"} else "subnormal"


def _range_of(programs: Programs, program: Traced, leaves: list, dtype: str) -> str:
    interpreter = RangeInterpreter(programs.rules)
    variables = program.jaxpr.jaxpr.invars
    operands = [as_operand(leaf, v) for leaf, v in zip(leaves, variables, strict=True)]
    try:
        with ctx.workprec(RANGE_BITS):
            outputs = interpreter.run(program.jaxpr, operands)
    except (Undecided, UnsupportedPrimitive):
        return "normal"
    if not all(ball.is_finite() for output in outputs for ball in np.ravel(output)):
        return "no value"
    info = jnp.finfo(dtype)
    if interpreter.largest > info.maxexp:
        return "overflow"
    return "subnormal" if interpreter.smallest <= info.minexp else "normal"
