"""Gradients that cannot be traced (NumPy, PyTorch, scikit-learn): called, not traced.

Such a gradient gets copies of the arguments as NumPy arrays, so that it may write into them. Its
algebra cannot be read, but rounding and wrong algebra behave differently: a rounding error shrinks
with the dtype, a wrong factor does not. So it is run in float64, whatever dtypes are asked for.
Each coordinate has to be as good there as rounding allows: within `ALLOWANCE` times one ulp and
what conditioning costs, or, where a formula cancels, within `ALLOWANCE` times the ulps that it
loses in float32 too. At a kink any value between the one-sided derivatives will do, and those of
coordinates that meet there are judged together. What it does in the dtypes asked for is then judged
as for any gradient.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad._precision import x64
from handgrad.errors import InputError, Undecided, describe_error
from handgrad.exact import Traced
from handgrad.verify.kinks import KinkResult, judge_kinks, slope_along
from handgrad.verify.mathematics import MathResult
from handgrad.verify.numerics import ONE_DIGIT, PointResult, evaluate_point
from handgrad.verify.search import BatchEvaluator
from handgrad.verify.ulp import ALLOWANCE
from handgrad.verify.witnesses import (
    Problem,
    Programs,
    compiled,
    leaves_like,
    named_leaves,
    rounded,
)

MOST_AT_KINKS = 128
"""Coordinates whose one-sided derivatives are taken; if all of them lie at kinks, the rest is
undecided."""
KINK_DIGITS = 20
"""To which the slopes at a kink are taken."""
SLACK = 1e-9
"""Relative, beside a one-sided derivative."""
LEFT = 1e-3
"""Relative error in float64 of a formula that has cancelled all digits in float32."""

NEARBY, FEW_NEARBY, MOVED = 12, 4, 0.03
"""Inputs moved by up to this share, at which errors are looked at; where that is expensive, few."""
STEADY, ALIKE = 1e-7, 1.25
"""An error beyond the first, relative, is no rounding if it is the same there up to that factor."""


@dataclass(frozen=True)
class BlackBoxEvaluator:
    """Hand by calling it with NumPy arrays, autodiff beside it, at one point after another."""

    problem: Problem
    _compiled: dict[str, Callable] = field(default_factory=dict)
    """Autodiff, by dtype."""

    def answers(self, rows: np.ndarray, leaves: list, dtype: str) -> dict[str, np.ndarray]:
        """The answers of hand and of autodiff at every row, as float64."""
        layout = self.problem.layout
        points = [rounded(layout.replaced(leaves, row), dtype) for row in rows]
        return {
            "hand": np.stack([self.hand(layout.args(point))[0] for point in points]),
            "autodiff": np.stack([self.autodiff(layout.args(point), dtype) for point in points]),
        }

    def hand(self, args: tuple) -> tuple[np.ndarray, str]:
        """The gradient at copies of these arguments, as one row, and its narrowest dtype.

        Raises InputError if it fails.
        """
        shapes = self.problem.layout.shapes
        try:
            with np.errstate(all="ignore"):  # what overflows is told in the verdict
                answer = self.problem.gradient(*jax.tree.map(_copied, args))
        except InputError:
            raise  # it says itself what is wrong
        except jax.errors.UnexpectedTracerError as error:
            raise InputError(
                "gradient", "a function of its arguments alone",
                "one that reads what a call of the loss, or of itself, has kept",
                "let it compute what it needs, rather than read a cache",
            ) from error  # fmt: skip
        except Exception as error:
            raise InputError(
                "gradient", "a function of the arguments in `at`", describe_error(error),
                "call gradient(*at) by itself and mend what it raises",
            ) from error  # fmt: skip
        argnums = self.problem.argnums
        chosen = args[argnums] if isinstance(argnums, int) else tuple(args[i] for i in argnums)
        ordered = leaves_like(answer, chosen)
        if ordered is None:
            raise InputError(
                "gradient", f"an answer of the structure {jax.tree.structure(chosen)}",
                jax.tree.structure(answer), "return one array for each leaf of argnums",
            )  # fmt: skip
        names = [path for path, _ in named_leaves(chosen)]
        leaves = list(map(_real_array, names, ordered))
        got = tuple(np.shape(leaf) for leaf in leaves)
        if got != shapes:
            raise InputError(
                "gradient", f"leaves of shapes {list(shapes)}, as jax.grad gives", list(got),
                "return one array for each leaf of argnums",
            )  # fmt: skip
        floats = [str(leaf.dtype) for leaf in leaves if leaf.dtype in (np.float16, np.float32)]
        row = np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in leaves])
        return row, min(floats, key=_eps, default="float64")

    def autodiff(self, args: tuple, dtype: str) -> np.ndarray:
        """What jax.grad gives in a dtype, as one row."""
        if dtype not in self._compiled:
            self._compiled[dtype] = compiled(self.problem, self.problem.autodiff, args, dtype)
        with x64(dtype == "float64"):
            leaves = jax.tree.leaves(self._compiled[dtype](*args))
            return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in leaves])


class PlainEvaluator(BatchEvaluator):
    """A gradient in NumPy that was followed: its program is searched, its own numbers are judged.

    NumPy keeps float64 where an array of it meets float32, which JAX cannot without x64.
    """

    def __init__(self, problem: Problem, traced: Callable[[str], Programs]):
        super().__init__(problem, traced)
        own: Any = problem.gradient
        self._plain = BlackBoxEvaluator(replace(problem, gradient=own.numpy_function))

    def answers(self, rows: np.ndarray, leaves: list, dtype: str) -> dict[str, np.ndarray]:
        """The answers of hand and of autodiff at any number of rows."""
        found = super().answers(rows, leaves, dtype)
        for index, row in enumerate(rows):
            point = rounded(self.layout.replaced(leaves, row), dtype)
            try:
                found["hand"][index] = self._plain.hand(self.layout.args(point))[0]
            except InputError:  # a dtype that NumPy does not have: the program stands for it
                continue
        return found


def _real_array(path: str, leaf: object) -> np.ndarray:
    """A leaf of an answer. Raises InputError for a masked array, and for what is not real."""
    array = np.asarray(leaf)
    if isinstance(leaf, np.ma.MaskedArray) or not jnp.issubdtype(array.dtype, np.number):
        kind = type(leaf).__name__ if isinstance(leaf, np.ma.MaskedArray) else array.dtype
    elif jnp.issubdtype(array.dtype, np.complexfloating):
        kind = array.dtype
    else:
        return array
    raise InputError(
        "gradient", "arrays of real numbers", f"{kind} in leaf {path or 'gradient'}",
        "return plain arrays of floats",
    )  # fmt: skip


def _copied(leaf: object) -> object:
    return np.array(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf


# --- the algebra, as far as numbers show it -------------------------------------------------------


def compare_black_box(
    evaluator: BlackBoxEvaluator,
    programs: Programs,
    truth: Traced | None,
    points: Sequence[list],
    results: Sequence[MathResult],
) -> list[MathResult]:
    """The results at each point (`programs` are traced in float64), with what hand's numbers show.

    `truth` is the program known to give the derivative; without one the loss is differenced.
    A coordinate that neither rounding nor a kink explains makes hand 'different', with its numbers
    as rows; else hand stays 'not traceable'.
    """
    widest = min(evaluator.problem.dtypes, key=_eps)
    compared = []
    for leaves, result in zip(points, results, strict=True):
        here = rounded(rounded(leaves, widest), np.float64)
        try:
            answer = evaluator.hand(programs.layout.args(here))
        except InputError:  # it may take nothing but the dtype asked for
            answer = evaluator.hand(programs.layout.args(rounded(here, widest)))
        compared.append(_compared(evaluator, programs, truth, here, result, *answer))
    return compared


def _eps(dtype: str) -> float:
    return float(jnp.finfo(dtype).eps)


def _compared(
    evaluator: BlackBoxEvaluator,
    programs: Programs,
    truth: Traced | None,
    leaves: list,
    result: MathResult,
    hand: np.ndarray,
    dtype: str,
) -> MathResult:
    row = programs.layout.row(leaves, np.float64)
    point = evaluate_point(programs, truth, leaves, row, {"hand": hand}, dtype, at_edges=True)
    if point is None:
        return replace(result, notes=(*result.notes, "no truth to hold the numbers against"))
    without = [index for index, true in enumerate(point.truth) if true.is_nan()]
    if any(_one_sided(programs, leaves, index) is None for index in without):  # a jump
        return replace(result, hand="undecided")
    unexplained, at_kinks, unseen = unexplained_coordinates(programs, point, leaves, dtype)
    if dtype == "float64" and unexplained:
        unexplained = _without_cancellation(evaluator, programs, truth, leaves, point, unexplained)
    if unexplained:
        together = right_together(programs, leaves, hand, [*at_kinks, *unexplained], dtype)
        unexplained = [index for index in unexplained if index not in together]
        at_kinks = [index for index in at_kinks if index not in together]
    hand_row = np.array([arb(float(v)) for v in hand])
    truth_row = np.where(np.isin(np.arange(len(hand)), unexplained), point.truth, hand_row)
    result = replace(result, compared=len(hand), hand_row=hand_row, truth_row=truth_row)
    if not unexplained and at_kinks:
        kinks = judge_together(programs, leaves, hand, at_kinks, dtype)
        status = kinks.status["hand"]
        if status == "valid subgradient":
            status = "undecided" if unseen else result.hand
        where, cause = kinks.where["hand"], kinks.cause["hand"]
        notes = (*result.notes, *kinks.notes)
        return replace(result, hand=status, where=where, cause=cause, notes=notes)
    if not unexplained:
        return result
    where = unexplained[int(np.argmax(point.errors["hand"][unexplained]))]
    cause = None
    if len(unexplained) == 1 and (sides := slopes_at_kink(programs, leaves, where)):
        cause = f"{hand[where]:.6g} where {sides[0]:.6g} to {sides[1]:.6g} is right"
    return replace(result, hand="different", where=where, cause=cause, digits=0)


def unexplained_coordinates(
    programs: Programs, point: PointResult, leaves: list, dtype: str
) -> tuple[list[int], list[int], list[int]]:
    """Coordinates of hand whose error neither rounding nor a kink explains; those at kinks; and
    those that are too many to be looked at, where all of the others lie at kinks.

    What conditioning explains is looked at too: across a kink half an ulp moves the truth far, and
    would explain any number beyond the slopes.
    """
    hand = point.answers["hand"]
    explained = point.explained()
    doubtful = np.flatnonzero(~point.explained(by_conditioning=False)).tolist()
    unexplained, at_kinks = [], []
    for index in doubtful[:MOST_AT_KINKS]:
        value, sides = float(hand[index]), slopes_at_kink(programs, leaves, index)
        if sides is not None and is_within(value, sides, slack_of(dtype)):
            at_kinks.append(index)
        elif sides is not None or not explained[index]:
            unexplained.append(index)
    unseen = [index for index in doubtful[MOST_AT_KINKS:] if not explained[index]]
    return (unexplained + unseen, at_kinks, []) if unexplained else ([], at_kinks, unseen)


def judge_together(
    programs: Programs, leaves: list, hand: np.ndarray, at_kinks: list[int], dtype: str
) -> KinkResult:
    """What coordinates at kinks say together: each may take a share of a tie, not each all of it.

    Hand's numbers stand for themselves, and for what rounding may have made of them.
    """
    eps = slack_of(dtype)
    with ctx.workprec(4 * KINK_DIGITS + 128):
        slopes = {
            i: slope_along(programs, leaves, np.eye(1, len(hand), i)[0], KINK_DIGITS)
            for i in at_kinks
        }
        numbers = np.array([arb(float(v)) for v in hand])
        sides = [abs(float(side.mid())) for slope in slopes.values() for side in slope.bounds]
        room = eps * max(filter(math.isfinite, (*sides, *abs(hand))), default=0.0)
        widened = np.array([arb(float(v), room) for v in hand])
        rows, rng = {"hand": [numbers, widened]}, np.random.default_rng(0)
        return judge_kinks(programs, leaves, KINK_DIGITS, rng, slopes, rows, at_kinks, eps)


def right_together(
    programs: Programs, leaves: list, hand: np.ndarray, indices: list[int], dtype: str
) -> set[int]:
    """Of some coordinates those at kinks at which hand, taken as a whole, is a subgradient.

    Where kinks meet that bend up and down, a coordinate may lie beyond its own slopes.
    """
    at_kinks = [
        index for index in sorted(indices)[:MOST_AT_KINKS]
        if slopes_at_kink(programs, leaves, index) is not None
    ]  # fmt: skip
    if not at_kinks or not np.isfinite(hand).all():
        return set()
    found = judge_together(programs, leaves, hand, at_kinks, dtype)
    return found.loose if found.status["hand"] == "valid subgradient" else set()


def is_subgradient(
    programs: Programs, leaves: list, index: int, value: float, slack: float
) -> bool:
    """Whether a coordinate lies at a kink, and the value between the one-sided derivatives.

    Or as far beyond one, relative to them, as `slack` says.
    """
    sides = slopes_at_kink(programs, leaves, index)
    return sides is not None and is_within(value, sides, slack)


def slopes_at_kink(programs: Programs, leaves: list, index: int) -> tuple[float, float] | None:
    """The lower and the higher of the one-sided derivatives along a coordinate, if they differ."""
    sides = _one_sided(programs, leaves, index)
    if sides is None or sides[0].overlaps(sides[1]):
        return None
    low, high = sorted(float(side.mid()) for side in sides)
    return low, high


def _one_sided(programs: Programs, leaves: list, index: int) -> tuple[arb, arb] | None:
    """The slopes of the loss on both sides along a coordinate; None where there are none."""
    direction = np.eye(1, programs.layout.size, index)[0]
    try:
        left, right = programs.one_sided(leaves, direction, KINK_DIGITS)
    except Undecided:
        return None
    return None if left is None or right is None else (left, right)


def is_within(value: float, sides: tuple[float, float], slack: float) -> bool:
    """Whether a value lies between two slopes, or beyond one by no more than `slack`, relative."""
    low, high = sides
    room = slack * max(abs(low), abs(high))
    return low - room <= value <= high + room


def slack_of(dtype: str) -> float:
    """What rounding may cost beside a kink, relative."""
    return max(SLACK, ALLOWANCE * _eps(dtype))


def _without_cancellation(
    evaluator: BlackBoxEvaluator,
    programs: Programs,
    truth: Traced | None,
    leaves: list,
    point: PointResult,
    unexplained: list[int],
) -> list[int]:
    """Of some coordinates in float64 those that lose far more ulps than they do in float32.

    A formula that cancels loses as many bits in either, down to none that is right in float32; a
    wrong factor costs 2^29 times as many. Beside that its errors are looked at close by: those of
    rounding change their size and sign from one input to the next, those of a wrong factor stay.
    What computes in float64, whatever it is given, shows itself by that alone.
    """
    narrow = rounded(leaves, np.float32)
    here = rounded(narrow, np.float64)
    try:
        answers = {"hand": evaluator.hand(programs.layout.args(narrow))[0]}
    except InputError:
        return unexplained
    row = programs.layout.row(here, np.float64)
    beside = evaluate_point(programs, truth, here, row, answers, "float32", truth is None)
    if beside is None:
        return unexplained

    def cancels(index: int) -> bool:
        wide, lost = (float(at.errors["hand"][index]) for at in (point, beside))
        digits_lost = lost >= ONE_DIGIT / _eps("float32") and wide <= LEFT / _eps("float64")
        as_many_bits = lost < math.inf and wide <= ALLOWANCE * lost
        return math.isfinite(wide) and (as_many_bits or digits_lost)

    cancelling = set(filter(cancels, unexplained))
    small = {index for index in unexplained if is_small(point, index)} - cancelling
    if not cancelling and not small:
        return unexplained
    errors = errors_nearby(evaluator, programs, truth, leaves, point)
    steady = {index for index in cancelling if is_steady(errors[:, index])}
    noise = {index for index in small if is_noise(errors[:, index])}
    return [i for i in unexplained if i in steady or i not in cancelling | noise]


def errors_nearby(
    evaluator: BlackBoxEvaluator,
    programs: Programs,
    truth: Traced | None,
    leaves: list,
    point: PointResult,
) -> np.ndarray:
    """The relative errors at a point, and where its inputs are moved by a few percent, as rows.

    The first row alone where the others cannot be had.
    """

    def relative(at: PointResult) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return (at.answers["hand"] - at.values) / np.abs(at.values)

    errors, rng = [relative(point)], np.random.default_rng(0)
    for _ in range(FEW_NEARBY if programs.is_expensive else NEARBY):
        row = point.row * (1 + rng.uniform(-MOVED, MOVED, point.row.shape))
        here = programs.layout.replaced(leaves, row)
        try:
            answers = {"hand": evaluator.hand(programs.layout.args(here))[0]}
            near = evaluate_point(programs, truth, leaves, row, answers, "float64")
        except InputError:
            near = None
        if near is None:
            return np.array(errors[:1])
        errors.append(relative(near))
    return np.array(errors)


def is_steady(errors: np.ndarray) -> bool:
    """Whether an error is the same close by, as that of a wrong factor is."""
    sizes = np.abs(errors)
    if len(errors) == 1 or not np.isfinite(errors).all() or sizes[0] <= STEADY:
        return False
    return bool(abs(np.sign(errors).sum()) == len(errors) and sizes.max() <= ALIKE * sizes.min())


def is_small(point: PointResult, index: int) -> bool:
    """Whether an error is no more than rounding does to numbers as large as those of the point."""
    numbers = np.abs([*point.row, *point.values, 1.0])
    largest = np.max(numbers, where=np.isfinite(numbers), initial=1.0)
    error = abs(float(point.answers["hand"][index]) - point.values[index])
    is_digit_left = error <= LEFT * abs(point.values[index])
    return bool(is_digit_left and error <= ALLOWANCE * _eps("float64") * largest)


def is_noise(errors: np.ndarray) -> bool:
    """Whether an error changes its sign close by, as rounding errors do."""
    return bool(np.isfinite(errors).all() and errors.min() < 0 < errors.max())
