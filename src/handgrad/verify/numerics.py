"""The second question: how good is a gradient in floating point?

In each dtype, at the point given and at the worst points that a search finds, hand and autodiff
are run and held against the truth in balls. The error is in ulp of the dtype at the true value.
What the conditioning of the point alone would cost is given beside it: how far the truth moves as
the inputs move by half an ulp, which no formula can be blamed for. It is a property of the
function: the truth itself is taken at the moved inputs, so that what a program cancels excuses
nobody. Beside it stands what every summation owes: where a coordinate is a sum over examples, half
an ulp of each term, though the sum may cancel.
Coordinates whose truth is subnormal, 0 or out of range are left out of the ulps; the subnormal ones
are counted.

What can be asked of a dtype at the points of a search depends on the range of the real numbers that
the loss goes through. At weights of 1e38 the score itself overflows, and no form of the gradient
can be blamed for what follows: such points are discarded, and counted. Where a number on the way is
subnormal, a device that flushes subnormals to zero loses it: such points are set apart, and only
NaN and infinities count there. What a better formula can avoid is not excused, since the numbers
looked at are the real values of the loss, not their float images. The point given is always judged.
"""

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad import jaxprs
from handgrad.exact import Traced, Undecided, UnsupportedPrimitive
from handgrad.exact.balls import are_accurate, as_balls, finite_entries, is_infinite, parts
from handgrad.exact.evaluation import as_operand, effort_of
from handgrad.exact.interpreter import Interpreter
from handgrad.verify.kinks import truth_at
from handgrad.verify.mathematics import agreed_digits, overlapping
from handgrad.verify.ulp import ALLOWANCE, ulp
from handgrad.verify.witnesses import Layout, Programs, Row, is_float

DIGITS = 30
"""To which the truth is taken here: far beyond float64, at half the price of 60."""
RANGE_BITS, MOST_RANGE_BITS = 128, 8192
"""The precision at which the range of a loss is looked at: raised until the loss has a value."""
ONE_DIGIT = 0.1
"""Relative error beyond which no digit is right."""
CHEAPER = 0.7
"""Of the time of the truth's program, below which hand's takes its place at moved inputs."""
MOST_SINGLE_MOVES = 4
"""Up to this many inputs are moved one at a time; more, all together with random signs."""
ERROR_BITS = 256
"""The precision at which errors are taken."""
SIGN_DRAWS = 2
"""With each draw of signs and its opposite; where evaluations are expensive, with one of them."""


# --- the rows of a verdict ------------------------------------------------------------------------


def written(number: float, dtype: str) -> str:
    """A number of a dtype with as many digits as it takes to read it back.

    >>> written(0.1, "float64"), written(0.1, "float32")
    ('0.10000000000000001', '0.100000001')
    """
    if dtype == "float64":
        return f"{number:.17g}"
    narrow = float(jnp.asarray(number, dtype)) if math.isfinite(number) else number
    return f"{narrow:.9g}"


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

    def in_words(self, dtype: str) -> str:
        """What came at which input, and what is true: 'is 0 at z[1] = 20, in truth -2.1e-09'."""
        own, came, true = (
            written(number, dtype)
            for number in (float.fromhex(self.own), float.fromhex(self.computed), float(self.truth))
        )
        truth = "" if true == "nan" else f", in truth {true}"
        return f"is {came} at {self.coordinate} = {own}{truth}"


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
    hand_bad_at: WorstInput | None = None
    """Of the inputs that `hand_bad` counts the most modest one; the point given comes first."""
    autodiff_bad_at: WorstInput | None = None


# --- one point ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PointResult:
    """One point: the truth in balls, how far half an ulp of the inputs moves it, both answers."""

    row: np.ndarray
    truth: Row
    reach: Row | None
    """For each coordinate how far the truth moves; None where it cannot be had."""
    answers: dict[str, np.ndarray]
    disagreeing: tuple[int, ...]
    """Coordinates at which hand's balls and the truth's differ: a kink, or wrong algebra."""
    dtype: str
    underflows: bool = False
    """Whether the loss passes through a subnormal number here."""

    @property
    def modesty(self) -> float:
        """Minus the largest input."""
        return -float(np.abs(self.row.astype(np.float64)).max(initial=0))

    @cached_property
    def values(self) -> np.ndarray:
        """The truth as the nearest float64."""
        return midpoints(self.truth)

    @cached_property
    def errors(self) -> dict[str, np.ndarray]:
        """Each answer's error in ulp of the truth; infinite for NaN and for a wrong infinity."""
        in_range = np.abs(self.values) <= float(jnp.finfo(self.dtype).max)
        unit = ulp(np.where(in_range, self.values, 1.0), self.dtype)
        found = {}
        for name, computed in self.answers.items():
            with ctx.workprec(ERROR_BITS):
                gap = midpoints(np.abs(as_balls(computed) - self.truth))
            with np.errstate(all="ignore"):
                error = np.where(in_range, gap / unit, np.inf)
            same = np.where(computed == self.values, 0.0, np.inf)
            found[name] = np.where(np.isfinite(computed), error, same)
        return found

    @cached_property
    def costs(self) -> np.ndarray:
        """How far the truth moves, in ulp, as the inputs move by half an ulp.

        Infinite where that is not known, or where the moved truth has no value.
        """
        if self.reach is None:
            return np.full(len(self.truth), np.inf)
        with ctx.workprec(ERROR_BITS):
            moves = np.array([float(ball.abs_upper()) for ball in self.reach.tolist()])
        with np.errstate(all="ignore"):
            costs = moves / ulp(np.where(np.isfinite(self.values), self.values, 1.0), self.dtype)
        return np.where(finite_entries(self.reach), costs, np.inf)

    @cached_property
    def bad(self) -> dict[str, np.ndarray]:
        """Where each answer is NaN; infinite where the truth is in range, or otherwise infinite.

        And where it is zero or of the wrong sign for a normal truth, and rounding, on inputs of
        this conditioning, does not explain that.
        """
        info, infinite = jnp.finfo(self.dtype), np.isinf(self.values) & ~finite_entries(self.truth)
        with ctx.workprec(ERROR_BITS):
            positive, sizes = self.truth > arb(0), np.abs(self.truth)
            in_range, normal = sizes < arb(float(info.max)), sizes >= arb(float(info.tiny))
        found = {}
        for name, computed in self.answers.items():
            with np.errstate(invalid="ignore"):
                wrong = (computed == 0) | ((computed > 0) != positive)
            wrong &= normal & ~self.explained(name)
            wrong = np.where(np.isinf(computed), in_range, wrong)
            wrong = np.where(infinite, computed != self.values, wrong)
            found[name] = np.isnan(computed) | wrong
        return found

    def explained(self, name: str = "hand", by_conditioning: bool = True) -> np.ndarray:
        """Where rounding may have cost the error: ALLOWANCE times 1 ulp and the conditioning.

        Also without what conditioning costs.
        """
        costs = self.costs if by_conditioning else 0.0
        same = np.isinf(self.values) & (self.answers[name] == self.values)
        with np.errstate(over="ignore"):
            found = self.errors[name] <= ALLOWANCE * (1 + costs)
        return np.where(finite_entries(self.truth), found, same)

    def without_disagreeing(self) -> "PointResult":
        """No truth where conventions differ: NaN is bad there, nothing else is judged."""
        truth = self.truth.copy()
        truth[list(self.disagreeing)] = arb("nan")
        return replace(self, truth=truth)


def evaluate_point(
    programs: Programs,
    truth: Traced | None,
    leaves: list,
    row: np.ndarray,
    answers: dict[str, np.ndarray],
    dtype: str,
    at_edges: bool = False,
) -> PointResult | None:
    """The truth at one row, beside the answers there; None where there is no value.

    With `at_edges` the loss is differenced where the balls of `truth` are not finite.
    """
    here = programs.layout.replaced(leaves, row)
    true, hand = _row(programs, truth, here), _row(programs, programs.hand, here)
    if true is None or not finite_entries(true).all():
        true = truth_at(programs, truth, here, DIGITS) if at_edges else None
        if true is None:
            return None
    reach = None
    if truth is not None:
        cheaper = _cheaper(programs, truth, hand, true)
        reach = _reach(programs, cheaper, here, true, dtype)
        if cheaper is not truth and (reach is None or not finite_entries(reach).all()):
            reach = _reach(programs, truth, here, true, dtype)
    if reach is None and at_edges:
        reach = _reach(programs, None, here, true, dtype)
    if reach is not None and truth is not None:
        reach = reach + summation_cost(programs, truth, here, dtype)
    disagreeing: tuple[int, ...] = ()
    if hand is not None and programs.hand is not truth:
        disagreeing = tuple(
            int(index)
            for index in np.flatnonzero(~overlapping(hand, true))
            if agreed_digits(hand[index], true[index]) < DIGITS // 2
            and not programs.is_out_of_reach(hand[index], true[index])
        )
        if reach is None and not disagreeing and programs.hand is not None:
            # autodiff branches at a tie; hand may not
            reach = _reach(programs, programs.hand, here, true, dtype)
    return PointResult(row, true, reach, answers, disagreeing, dtype)


def _cheaper(programs: Programs, truth: Traced, hand: Row | None, true: Row) -> Traced:
    """Hand in place of the truth, where both are equal here and hand takes far less time."""
    if hand is None or programs.hand is None or not programs.is_expensive:
        return truth
    seconds = [effort_of(program.jaxpr).seconds for program in (programs.hand, truth)]
    is_cheap = seconds[0] < CHEAPER * seconds[1] and bool(overlapping(hand, true).all())
    return programs.hand if is_cheap else truth


def _row_or_slopes(programs: Programs, program: Traced | None, leaves: list) -> Row | None:
    """A program's balls; without one the loss is differenced."""
    if program is None:
        return truth_at(programs, None, leaves, DIGITS)
    return _row(programs, program, leaves)


def _row(programs: Programs, program: Traced | None, leaves: list) -> Row | None:
    try:
        return None if program is None else programs.row(program, leaves, DIGITS)
    except (Undecided, UnsupportedPrimitive):
        return None


def _reach(
    programs: Programs, truth: Traced | None, leaves: list, true: Row, dtype: str
) -> Row | None:
    """How far each coordinate of the truth moves as the inputs move by half an ulp of `dtype`.

    Of few inputs each is moved by itself, both ways, and the moves are added; many are moved
    together, with random signs, and twice the largest move counts.
    """
    steps = half_ulps(leaves, programs.layout.argnums, dtype)
    are_few = sum(np.count_nonzero(step) for step in steps) <= MOST_SINGLE_MOVES
    if are_few:
        alone = [
            [np.where(np.arange(step.size).reshape(step.shape) == j, step, 0.0)
             if k == leaf else np.zeros_like(step) for k, step in enumerate(steps)]
            for leaf, chosen in enumerate(steps) for j in np.flatnonzero(chosen)
        ]  # fmt: skip
    else:
        rng = np.random.default_rng(0)
        alone = [
            [step * rng.choice([-1.0, 1.0], step.shape) for step in steps]
            for _ in range(SIGN_DRAWS)
        ]
    signs = (1,) if programs.is_expensive else (1, -1)
    moves = []
    for chosen in alone:
        both = [_row_or_slopes(programs, truth, _moved(leaves, chosen, s)) for s in signs]
        if any(row is None for row in both):
            return None
        moves.append(np.maximum.reduce([abs(row - true) for row in both]))
    if are_few:
        return np.sum(moves, axis=0) if moves else true * 0
    return 2 * np.maximum.reduce(moves)


def half_ulps(leaves: list, differentiated: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    """By how much rounding to `dtype` may have moved each number of each leaf.

    Whole numbers are moved only where they are differentiated: labels are 0 and 1 exactly, and a
    point that is uncertain in them would excuse any residual. Infinities, 0, integers stay.
    """
    steps = []
    for position, leaf in enumerate(leaves):
        if not is_float(leaf):
            steps.append(np.zeros(np.shape(leaf)))
            continue
        numbers = np.asarray(leaf).astype(np.float64)
        movable = np.isfinite(numbers) & (numbers != 0)
        if position not in differentiated:
            movable &= numbers != np.round(numbers)
        steps.append(np.where(movable, ulp(np.where(movable, numbers, 1.0), dtype) / 2, 0.0))
    return steps


def _moved(leaves: list, steps: list[np.ndarray], sign: int) -> list:
    """The leaves with every number moved by its step, exactly, in balls without a radius."""
    with ctx.workprec(2200):  # exact for any two float64 numbers
        return [
            leaf if not is_float(leaf) or not step.any()
            else as_balls(np.asarray(leaf).astype(np.float64)) + as_balls(sign * step)
            for leaf, step in zip(leaves, steps, strict=True)
        ]  # fmt: skip


# --- what a sum owes ------------------------------------------------------------------------------

SUMS = frozenset(
    {"reduce_sum", "dot_general", "conv_general_dilated", "scatter-add", "reduce_window_sum"}
)
PASSED_ON = frozenset(
    {"neg", "reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "slice", "rev",
     "convert_element_type", "copy", "reduce_precision"}
)  # fmt: skip


class _Summed(NamedTuple):
    """A value on the way through a program, and the sums that it is."""

    value: Any
    terms: Any = None
    """For each entry the sum of the magnitudes of its terms; None for what is no sum."""
    constant: bool = False


def summation_cost(programs: Programs, program: Traced, leaves: list, dtype: str) -> Row:
    """Half an ulp of each term, added up, for each coordinate that is a sum; 0 for the others.

    A coordinate is a sum if the last thing that happens to it is one: of a reduction's output
    nothing is asked but to be moved, negated, scaled by a constant, and added to. What is cancelled
    inside the terms, or by a formula after a sum, is not excused.
    """
    nothing = np.array([arb(0)] * programs.layout.size, dtype=object)
    if not any(e.primitive.name in SUMS for e in jaxprs.equations(program.jaxpr)):
        return nothing
    variables = program.jaxpr.jaxpr.invars
    operands = [_Summed(as_operand(leaf, v)) for leaf, v in zip(leaves, variables, strict=True)]
    bits = RANGE_BITS
    while bits <= MOST_RANGE_BITS:
        interpreter = Interpreter(programs.rules)
        try:
            with ctx.workprec(bits):
                outputs = _run_summed(interpreter, program.jaxpr, operands)
        except (Undecided, UnsupportedPrimitive):
            return nothing
        terms = [
            np.ravel(out.terms) if out.terms is not None else [arb(0)] * np.size(out.value)
            for out in outputs
        ]
        row = np.concatenate([np.asarray(part, dtype=object) for part in terms])
        if are_accurate(row.tolist(), 2):
            return row * arb(float(jnp.finfo(dtype).eps) / 2)
        bits *= 4
    return nothing


def _run_summed(interpreter: Interpreter, program: Any, operands: list) -> list[_Summed]:
    def constant(value: Any, aval: Any) -> _Summed:
        return _Summed(interpreter.constant(value, aval), constant=True)

    def apply(equation: Any, operands: list[_Summed]) -> list[_Summed]:
        inside = jaxprs.called_program(equation)
        if inside is not None:
            return jaxprs.run(inside, operands, apply, constant)
        values = interpreter.apply(equation, [operand.value for operand in operands])
        fixed = all(operand.constant for operand in operands)
        terms = _terms(interpreter, equation, operands) if len(values) == 1 and not fixed else None
        return [_Summed(value, terms, fixed) for value in values]

    return jaxprs.run(program, operands, apply, constant)


def _terms(interpreter: Interpreter, equation: Any, operands: list[_Summed]) -> Any:
    """The magnitudes behind the output of one equation, if it is a sum, or passes one on."""
    name = equation.primitive.name
    if not _is_balls(operands[0].value):
        return None
    if name in SUMS:
        return interpreter.apply(equation, [_magnitude(operand) for operand in operands])[0]
    summed = [operand for operand in operands if operand.terms is not None]
    if not summed:
        return None
    if name in PASSED_ON:
        return _sizes(interpreter.apply(equation, [operands[0].terms])[0])
    if name in ("add", "sub", "add_any"):
        return _sizes(sum((operand.terms for operand in summed[1:]), summed[0].terms))
    others = [operand for operand in operands if operand is not summed[0]]
    if name in ("mul", "div") and all(operand.constant for operand in others):
        scaled = [o.terms if o is summed[0] else _sizes(o.value) for o in operands]
        return interpreter.apply(equation, scaled)[0]
    return None


def _magnitude(operand: _Summed) -> Any:
    """The magnitudes of a sum's own terms: a sum of sums owes for the terms of all."""
    if operand.terms is not None:
        return operand.terms
    return _sizes(operand.value) if _is_balls(operand.value) else operand.value


def _sizes(balls: Any) -> np.ndarray:
    """|x| of each ball, an array still where there is one alone."""
    return np.asarray(np.abs(balls), dtype=object)


def _is_balls(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


# --- rows of numbers ------------------------------------------------------------------------------


def midpoints(row: Row) -> np.ndarray:
    """The middle of each ball as the nearest float64."""
    return np.array([float(ball) for ball in row.tolist()], np.float64)


def lost_coordinate(point: PointResult, explained: bool = False) -> int | None:
    """A coordinate of hand without one right digit: the first that conditioning does not explain.

    Or the first that it does explain, if those are asked for; None where there is none. The truth
    is a normal number of the dtype there.
    """
    info = jnp.finfo(point.dtype)
    values, computed = np.abs(point.values), point.answers["hand"]
    with np.errstate(invalid="ignore"):
        lost = ~(np.abs(computed - point.values) <= ONE_DIGIT * values)
    lost &= (values >= float(info.tiny)) & (values <= float(info.max))
    found = np.flatnonzero(lost & (point.explained() == explained))
    return int(found[0]) if len(found) else None


# --- all points -----------------------------------------------------------------------------------


class _Worst(NamedTuple):
    """The coordinate of a point where a witness errs most, beside what conditioning explains."""

    point: PointResult | None = None
    place: int = 0
    excess: float = -1.0
    """The error over what conditioning explains."""


def summarize(
    layout: Layout, points: list[PointResult], dtype: str, evaluations: int, discarded: int
) -> NumericsRow:
    """The row of a dtype, from the points whose truth was taken."""
    tiny, largest = float(jnp.finfo(dtype).tiny), float(jnp.finfo(dtype).max)
    worst = dict.fromkeys(("hand", "autodiff"), _Worst())
    bad = dict.fromkeys(worst, 0)
    bad_at = dict.fromkeys(worst, _Worst())
    subnormal = 0
    for point in points:
        sizes = np.abs(point.values)
        with np.errstate(invalid="ignore"):
            subnormal += int(np.sum(point.underflows | ((sizes > 0) & (sizes < tiny))))
            in_range = (sizes >= tiny) & (sizes <= largest)
        for name, computed in point.answers.items():
            lost = ~np.isfinite(computed)
            failed = lost if point.underflows else point.bad[name]
            bad[name] += int(failed.sum())
            counted = in_range & (lost | (not point.underflows))
            worst[name] = _worse(worst[name], point, name, counted)
            before = bad_at[name].point
            if failed.any() and (before is None or point.modesty > before.modesty):
                bad_at[name] = _Worst(point, int(np.argmax(failed)))

    def largest_error(name: str) -> float:
        point, place, _ = worst[name]
        return 0.0 if point is None else float(point.errors[name][place])

    witnessed = all("autodiff" in point.answers for point in points)
    hardest, place, _ = worst["hand"]
    return NumericsRow(
        dtype=dtype,
        hand_max_ulp=largest_error("hand"),
        autodiff_max_ulp=largest_error("autodiff") if witnessed else math.nan,
        conditioning_ulp=0.0 if hardest is None else float(hardest.costs[place]),
        hand_worst_at=_described(layout, "hand", worst["hand"]),
        autodiff_worst_at=_described(layout, "autodiff", worst["autodiff"]),
        hand_bad=bad["hand"],
        autodiff_bad=bad["autodiff"],
        subnormal=subnormal,
        discarded=discarded,
        evaluations=evaluations,
        exact_points=len(points),
        hand_bad_at=_described(layout, "hand", bad_at["hand"]),
        autodiff_bad_at=_described(layout, "autodiff", bad_at["autodiff"]),
    )


def _worse(before: _Worst, point: PointResult, name: str, counted: np.ndarray) -> _Worst:
    """The worst so far, or a coordinate of this point that is worse by more than 1%.

    Of infinite errors the one at the most modest point.
    """
    errors = point.errors[name]
    with np.errstate(invalid="ignore"):
        excess = np.where(np.isfinite(errors), errors / (1 + point.costs), np.inf)
    excess = np.where(counted, excess, -np.inf)
    while True:
        worse = excess > 1.01 * before.excess
        if before.excess == math.inf and before.point is not None:
            worse = (excess == math.inf) & (point.modesty > before.point.modesty)
        if not worse.any():
            return before
        index = int(np.argmax(worse))
        before = _Worst(point, index, float(excess[index]))


def _described(layout: Layout, name: str, worst: _Worst) -> WorstInput | None:
    """What a witness gives there, with the inputs."""
    point, index, _ = worst
    if point is None:
        return None
    parts = [np.ravel(part).astype(np.float64) for part in layout.split(point.row)]
    return WorstInput(
        coordinate=layout.coordinate(index),
        ulp=float(point.errors[name][index]),
        computed=float(point.answers[name][index]).hex(),
        truth=_decimal(point.truth[index]),
        own=float(point.row[index]).hex(),
        inputs=tuple(
            (own, tuple(map(float.hex, part.tolist())))
            for own, part in zip(layout.names, parts, strict=True)
        ),
    )


def _decimal(true: arb) -> str:
    """A truth in 20 digits; 'inf' or '-inf' where it is that, and 'nan' where it is not known.

    >>> _decimal(arb("inf")), _decimal(arb(0, "inf")), _decimal(arb("0.5"))
    ('inf', 'nan', '0.50000000000000000000')
    """
    if true.is_finite():
        return str(true.str(20, radius=False))
    return str(float(true)) if is_infinite(true) else "nan"


# --- the range of a loss --------------------------------------------------------------------------


class RangeInterpreter(Interpreter):
    """An interpreter that remembers the binary exponents of the real numbers it passes through."""

    largest, smallest = 0.0, math.inf

    def apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        """The outputs of one equation, having looked at them."""
        outputs = super().apply(equation, operands)
        for output in outputs:
            if isinstance(output, np.ndarray) and output.dtype == object:
                self._remember([*itertools.chain.from_iterable(map(parts, output.ravel()))])
        return outputs

    def _remember(self, balls: list[arb]) -> None:
        numbers = np.abs(np.array([float(ball) for ball in balls], np.float64))
        plain = (numbers >= np.finfo(np.float64).tiny) & (numbers < np.inf)
        if plain.any():
            ends = np.flatnonzero(plain)[[np.argmax(numbers[plain]), np.argmin(numbers[plain])]]
            if any(balls[end].contains(0) for end in ends):
                plain &= np.array([not ball.contains(0) for ball in balls])
        if plain.any():
            self._extend(
                *(int(np.frexp(n)[1]) for n in (numbers[plain].max(), numbers[plain].min()))
            )
        for index in np.flatnonzero(~plain):
            ball = balls[index]
            if ball.is_finite() and not ball.is_zero() and not ball.contains(0):
                mantissa, exponent = ball.mid().man_exp()
                self._extend(int(exponent) + abs(int(mantissa)).bit_length())

    def _extend(self, *exponents: int) -> None:
        self.largest = max(self.largest, *exponents)
        self.smallest = min(self.smallest, *exponents)


def classify_range(programs: Programs, leaves: list, dtype: str, both_fail: bool) -> str:
    """'no value', 'overflow', 'subnormal' or 'normal': where the loss leads, in real numbers.

    Where hand and autodiff both fail, what they have in common is looked at too: a point is
    excused if each of them leads out of range, and not if only one of them does.
    """
    found = _range_of(programs, programs.loss, leaves, dtype)
    if found != "normal" or not both_fail or programs.hand is None or programs.autodiff is None:
        return found
    ranges = {_range_of(programs, p, leaves, dtype) for p in (programs.hand, programs.autodiff)}
    if "normal" in ranges:
        return "normal"
    return "overflow" if ranges == {"overflow"} else "subnormal"


def _range_of(programs: Programs, program: Traced, leaves: list, dtype: str) -> str:
    variables = program.jaxpr.jaxpr.invars
    operands = [as_operand(leaf, v) for leaf, v in zip(leaves, variables, strict=True)]
    bits = RANGE_BITS
    while True:
        interpreter = RangeInterpreter(programs.rules)
        try:
            with ctx.workprec(bits):
                outputs = interpreter.run(program.jaxpr, operands)
        except (Undecided, UnsupportedPrimitive):
            return "normal"
        balls = [ball for output in outputs for ball in np.ravel(output)]
        if all(ball.is_finite() for ball in balls):
            break
        bits *= 4
        if bits > MOST_RANGE_BITS or any(map(is_infinite, balls)):
            return "no value"
    info = jnp.finfo(dtype)
    if interpreter.largest > info.maxexp:
        return "overflow"
    return "subnormal" if interpreter.smallest <= info.minexp else "normal"
