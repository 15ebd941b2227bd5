"""The judge: structure, then mathematics, then numerics in each dtype, then one verdict.

The verdict has the worst of all findings, with its cause and the numbers that convict.
"""

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad._precision import x64
from handgrad.errors import InputError, Undecided, describe_error
from handgrad.exact import Traced, approximations
from handgrad.exact.interpreter import watch
from handgrad.verify.blackbox import (
    BlackBoxEvaluator,
    PlainEvaluator,
    compare_black_box,
    is_subgradient,
    right_together,
)
from handgrad.verify.diagnosis import diagnose, ratios
from handgrad.verify.diagnosis.intermediates import origin, origin_in_numpy
from handgrad.verify.diagnosis.relations import close
from handgrad.verify.mathematics import (
    RIGHT,
    SEVERITY,
    MathResult,
    compare_in_float64,
    compare_with_truth,
    too_large,
)
from handgrad.verify.numerics import (
    ONE_DIGIT,
    NumericsRow,
    PointResult,
    classify_range,
    evaluate_point,
    lost_coordinate,
    summarize,
    written,
)
from handgrad.verify.search import (
    BatchEvaluator,
    Candidates,
    SearchContext,
    score,
    search,
    search_bounds,
)
from handgrad.verify.ulp import ALLOWANCE
from handgrad.verify.verdict import Evidence, Verdict, describe_run, fault_of
from handgrad.verify.witnesses import (
    Layout,
    OutOfTime,
    Problem,
    Programs,
    differentiated,
    draw_points,
    is_traceable,
    quick_options,
    rounded,
    structure_fault,
    trace_all,
)

DRAWN_POINTS = 3
MORE_POINTS = 40
"""Further drawn points, where hand and autodiff are compared as floats, and the worst judged."""
MOST_CANDIDATES = 6
EXACT_NUMBERS = 6_000
"""Candidates are fewer where a point holds more numbers than this, shared among them."""
FEW_DIGITS = 2
"""Where a loss that JAX approximates has these, a search has found no error."""
EVALUATIONS_PER_POINT = 6
"""Of a gradient over balls: hand, truth, two at moved inputs, what a sum owes, and the range."""
POINT_SECONDS, FEWEST_POINTS = 1.0, 1
"""For the points that the search found in one dtype, and how many are judged in any case."""
BLACK_BOX_SECONDS = 5.0
"""For calling a black box at the points drawn."""
FAR = (8.0, 512.0)
"""The point given is judged at these multiples too: some branches are only taken far out."""
MOST_LEAVES_ALONE = 8
"""The most leaves of which each is moved far out alone."""
MILDER = (0.25, 0.0625)
"""Of the inputs: where a formula that only rounds badly is right."""
BRANCHES = frozenset({"select_n", "cond"})
"""Operations that give one thing or another."""
NO_NUMERICS = "no errors by dtype: neither the gradient nor jax.grad is the true derivative"
NOT_KNOWN = "no errors by dtype: the true derivative is not known here"
Evaluator = BatchEvaluator | BlackBoxEvaluator
"""Runs hand and autodiff in floating point."""


@dataclass(frozen=True)
class DtypeResult:
    """What one dtype shows."""

    row: NumericsRow
    """Over all points."""
    row_given: NumericsRow
    """At the point given alone."""
    given: list[PointResult]
    """The point given; empty where it could not be judged."""
    errors: list[MathResult]
    """Errors of the algebra found at other points."""
    programs: Programs


def judge(problem: Problem) -> Verdict:
    """The verdict on a problem whose arguments have been checked."""
    token = watch.set(problem.watch)
    try:
        return _judge(problem)
    finally:
        watch.reset(token)


def _judge(problem: Problem) -> Verdict:
    with problem.switch.x64():
        traceable = is_traceable(problem.gradient, problem.at)
        _ = problem.differentiable  # kept: it is to be asked at these arguments as they are
        more = MORE_POINTS if problem.evaluations else 0
        drawn = draw_points(problem, DRAWN_POINTS + more)
    leaves = [jax.tree.leaves(args) for args in (problem.at, *drawn)]
    points, further = leaves[: 1 + DRAWN_POINTS], leaves[1 + DRAWN_POINTS :]
    structure = _structure(problem) if traceable else "ok"
    with_hand = traceable and structure == "ok"
    results: list[MathResult] = []
    by_dtype: list[DtypeResult] = []
    truth, stopped, too_much, programs = None, None, None, None

    @functools.cache
    def traced(dtype: str) -> Programs:
        return trace_all(problem, dtype, with_hand)

    black_box = BlackBoxEvaluator(problem)
    evaluator: Evaluator = black_box
    if traceable:
        kind = PlainEvaluator if hasattr(problem.gradient, "numpy_function") else BatchEvaluator
        evaluator = kind(problem, traced)
    elif further and problem.differentiable:
        worst = _furthest_apart(black_box, [points[-1], *further])
        points, further = [*points[:-1], worst], []
    try:
        with problem.switch.x64():
            programs = traced("float64")
            too_much = too_large(problem, programs)
            if too_much is None:
                _judge_mathematics(problem, programs, points, results)
            elif structure == "ok":
                problem.report("comparing the gradient with jax.grad in float64")
                results = [_in_float64(problem, programs, evaluator, points[0], too_much)]
        truth = None if too_much else _truth_witness(results, programs)
        if structure == "ok" and truth:
            if isinstance(evaluator, BlackBoxEvaluator):
                with problem.switch.x64():
                    known = programs.autodiff if truth == "autodiff" else None
                    judged_points = points[: len(results)]
                    results = compare_black_box(evaluator, programs, known, judged_points, results)
            for dtype in problem.dtypes:
                if problem.is_late:
                    break
                problem.report(f"judging in {dtype}")
                own = traced(dtype)
                true = {"autodiff": own.autodiff, "hand": own.hand, "loss": None}[truth]
                settled = results[0].hand == "different" and own.is_expensive
                rng = np.random.default_rng([problem.seed, 1])
                asked = DtypeJudge(
                    problem, own, true, evaluator, points, further, dtype, settled, rng
                )
                by_dtype.append(asked.judge())
    except KeyboardInterrupt:
        stopped = "interrupted"
    except OutOfTime:
        stopped = f"the {problem.seconds:g} seconds given were over"
    if problem.is_late:
        stopped = stopped or f"the {problem.seconds:g} seconds given were over"
    judged = len(results)
    results = results or [MathResult("undecided", "undecided", 0, "none")]
    results += [error for result in by_dtype for error in result.errors]
    verdict = conclude(problem, traceable, structure, results, by_dtype, programs)
    if too_much:
        return verdict
    if stopped:
        left = _left_undone(problem, len(points), judged, by_dtype)
        return replace(verdict, notes=(*verdict.notes, f"{stopped}; not done: {left}"))
    if truth is None:
        note = NOT_KNOWN if verdict.is_undecided else NO_NUMERICS
        return replace(verdict, notes=(*verdict.notes, note))
    return verdict


def _furthest_apart(evaluator: BlackBoxEvaluator, drawn: Sequence[list]) -> list:
    """Of the points drawn, the one where a black box and jax.grad are furthest apart.

    Nothing else looks for where it goes wrong. Of slow functions fewer points are tried.
    """
    problem = evaluator.problem
    dtype = "float64" if "float64" in problem.dtypes else problem.dtypes[0]
    worst, furthest, end = drawn[0], -1.0, math.inf
    for number, leaves in enumerate(drawn):
        answers = evaluator.answers(problem.layout.row(leaves, dtype)[None, :], leaves, dtype)
        hand, autodiff = answers["hand"][0], answers["autodiff"][0]
        if np.isfinite(autodiff).all():
            size = max(np.abs(autodiff).max(initial=0.0), float(jnp.finfo(dtype).tiny))
            with np.errstate(over="ignore", invalid="ignore"):
                gap = np.nan_to_num(np.abs(hand - autodiff), nan=np.inf).max(initial=0.0)
                apart = float(gap / size)
            if apart > furthest:
                worst, furthest = leaves, apart
        if number == 0:  # which compiled jax.grad
            end = time.perf_counter() + BLACK_BOX_SECONDS
        elif time.perf_counter() > end:
            break
    return worst


def _in_float64(
    problem: Problem, programs: Programs, evaluator: Evaluator, leaves: list, too_much: str
) -> MathResult:
    """What float64 says at the point given, where that is too large for balls."""
    if programs.autodiff is None:
        return MathResult("undecided", "unsupported", 0, "none", notes=(too_much,))
    leaves = rounded(leaves, np.float64)
    answers = evaluator.answers(problem.layout.row(leaves, np.float64)[None, :], leaves, "float64")
    found = compare_in_float64(programs, leaves, answers["hand"][0], answers["autodiff"][0])
    return replace(found, notes=(too_much, *found.notes))


def _structure(problem: Problem) -> str:
    """'ok', or what is wrong with the tree, the shapes or the dtypes that the gradient returns."""
    for dtype in problem.dtypes:
        with problem.switch.x64(dtype == "float64"):
            point = problem.layout.args(rounded(jax.tree.leaves(problem.at), dtype))
            expected = differentiated(point, problem.argnums)
            try:
                answer = jax.eval_shape(problem.gradient, *point)
            except Exception as error:
                return f"{dtype}: {describe_error(error)}"
            fault = structure_fault(answer, expected)
        if fault:
            return f"{dtype}: {fault}"
    return "ok"


def _judge_mathematics(
    problem: Problem, programs: Programs, points: Sequence[list], results: list[MathResult]
) -> None:
    """Add to `results` what the mathematics says at the point given and at each point drawn."""
    rng = np.random.default_rng(problem.seed)
    for number, leaves in enumerate(points):
        if number and problem.is_late:
            return
        problem.report(f"mathematics at {f'drawn point {number}' if number else 'the point given'}")
        result = compare_with_truth(programs, leaves, problem.digits, rng, problem.reference)
        if number:
            result = replace(result, found_at=f"at drawn point {number}", leaves=leaves)
        results.append(result)


def _left_undone(problem: Problem, points: int, judged: int, by_dtype: list[DtypeResult]) -> str:
    """What a verdict that had to stop early has not looked at."""
    left = [f"mathematics at {points - judged} of {points} points"] if judged < points else []
    dtypes = problem.dtypes[len(by_dtype) :]
    left += [f"numerics in {', '.join(dtypes)}"] if dtypes else []
    return "; ".join(left) or "some points of the search"


def _truth_witness(results: list[MathResult], programs: Programs) -> str | None:
    """Whose balls may serve as truth: a witness that no point has contradicted.

    Where none is left beside a gradient that cannot be traced, the loss is differenced ('loss').
    """
    for name in ("autodiff", "hand"):
        if all(getattr(result, name) in (*RIGHT, "reference") for result in results):
            return name
    differenced = all(result.truth_row is not None for result in results)
    return "loss" if programs.hand is None and differenced else None


# --- one dtype ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DtypeJudge:
    """Judges one dtype at the leaves of `points` (the one given first) and where a search leads.

    A point at which the balls of hand and truth differ is compared again as mathematics (and
    believed where autodiff confirms the truth: far out, differences can miss a kink close by). It
    is a kink, where conventions differ and no ulps are counted at the coordinates that disagree; or
    an error that the point given did not show; or a constant that the trace has rounded.
    """

    problem: Problem
    programs: Programs
    """Traced at the dtype."""
    truth: Traced | None
    """The program that gives the true derivative; without one the loss is differenced."""
    evaluator: Evaluator
    points: Sequence[list]
    further: Sequence[list]
    """Drawn points whose worst alone is judged."""
    dtype: str
    settled: bool
    """Whether hand is wrong at the point given, and evaluations are expensive: no search then."""
    rng: np.random.Generator

    def judge(self) -> DtypeResult:
        """What the dtype shows at all places."""
        layout, dtype = self.programs.layout, self.dtype
        places, evaluations = self.places()
        judged: list[PointResult] = []
        given: list[PointResult] = []
        errors: list[MathResult] = []
        discarded = 0
        for number, (leaves, rows) in enumerate(places):
            if number and self.problem.is_late:
                break
            answers = self.evaluator.answers(rows, leaves, dtype)
            if self.programs.autodiff is None:
                del answers["autodiff"]
            known: dict[bytes, tuple[PointResult | None, str]] = {}  # a search may find a row twice
            for index, row in enumerate(rows):
                if row.tobytes() not in known:
                    own = {name: answer[index] for name, answer in answers.items()}
                    known[row.tobytes()] = self.evaluate(leaves, row, own, is_given=not number)
                point, found = known[row.tobytes()]
                sought = number >= len(self.points)
                if point is None or found == "no value" or (found == "overflow" and sought):
                    discarded += 1
                    continue
                if found == "subnormal":
                    point = replace(point, underflows=True)
                here = layout.replaced(leaves, row)
                if self.programs.hand is None:
                    point = self.without_kinks(point, here)
                if point.disagreeing and not self.settled:
                    error, agree = self.compare_again(here, number)
                    errors += [error] if error else []
                    point = point if error or agree else point.without_disagreeing()
                judged.append(point)
                given += [point] if number == 0 else []
        row_given = summarize(layout, given, dtype, evaluations, discarded)
        row_all = summarize(layout, judged, dtype, evaluations, discarded)
        row_all = replace(
            row_all,
            hand_ulp=row_given.hand_max_ulp if given else math.nan,
            autodiff_ulp=row_given.autodiff_max_ulp if given else math.nan,
            hand_bad_at=row_given.hand_bad_at or row_all.hand_bad_at,
            autodiff_bad_at=row_given.autodiff_bad_at or row_all.autodiff_bad_at,
        )
        return DtypeResult(row_all, row_given, given, errors, self.programs)

    def evaluate(
        self, leaves: list, row: np.ndarray, answers: dict[str, np.ndarray], is_given: bool
    ) -> tuple[PointResult | None, str]:
        """One point, and where the loss leads there: nothing excuses the point given."""
        with x64():
            point = evaluate_point(
                self.programs, self.truth, leaves, row, answers, self.dtype, is_given
            )
            if point is None or is_given:
                return point, "normal"
            both_fail = all(bad.any() for bad in point.bad.values())
            here = self.programs.layout.replaced(leaves, row)
            return point, classify_range(self.programs, here, self.dtype, both_fail)

    def without_kinks(self, point: PointResult, leaves: list) -> PointResult:
        """A black box's point without the coordinates at which another convention would do."""
        hand = point.answers["hand"]
        doubtful = np.flatnonzero(~point.explained()).tolist()
        with x64():  # the algebra is settled in float64: here one digit will do
            kinks = [
                i for i in doubtful
                if is_subgradient(self.programs, leaves, i, float(hand[i]), ONE_DIGIT)
            ]  # fmt: skip
            if len(kinks) < len(doubtful):
                together = right_together(self.programs, leaves, hand, doubtful, self.dtype)
                kinks = [i for i in doubtful if i in kinks or i in together]
        return replace(point, disagreeing=tuple(kinks)).without_disagreeing() if kinks else point

    def compare_again(self, leaves: list, number: int) -> tuple[MathResult | None, bool]:
        """An error of the algebra at a place, if there is one; and whether hand is identical.

        What the search has found may be where nobody goes.
        """
        problem, sought = self.problem, number >= len(self.points)
        try:
            with x64():
                again = compare_with_truth(
                    self.programs, leaves, problem.digits, self.rng, problem.reference, self.dtype
                )
        except Undecided:
            return None, False
        if again.hand == "different" and again.autodiff in RIGHT:
            if sought and again.digits >= FEW_DIGITS and approximations(self.programs.loss.jaxpr):
                return None, False  # far out an approximation is no longer near
            place = f"drawn point {number}" if number else "the point given"
            place = "an input that the search found" if sought else place
            return replace(again, found_at=f"at {place}, in {self.dtype}", leaves=leaves), False
        return None, again.hand == "identical"

    def places(self) -> tuple[list[tuple[list, np.ndarray]], int]:
        """Leaves with rows to judge there: the points given and drawn, then what a search finds."""
        problem, programs, evaluator = self.problem, self.programs, self.evaluator
        layout, dtype = problem.layout, self.dtype
        exact_points = [_exact_leaves(leaves, dtype) for leaves in self.points]
        base = layout.row(exact_points[0], dtype)
        places = [(leaves, layout.row(leaves, dtype)[None, :]) for leaves in exact_points]
        searched = problem.evaluations and problem.differentiable and len(base)
        if not isinstance(evaluator, BatchEvaluator) or not searched:
            return places, 0
        if self.settled or problem.is_late:
            return places, 0
        bounds = search_bounds(problem, programs, exact_points[0])
        context = SearchContext(evaluator, exact_points[0], dtype, bounds)
        numbers = sum(int(np.size(leaf)) for leaf in context.leaves)
        keep = max(1, min(MOST_CANDIDATES, EXACT_NUMBERS // max(1, numbers)))
        candidates = search(context, base, problem.evaluations, keep, self.rng)
        widest = max(problem.dtypes, key=lambda name: jnp.finfo(name).maxexp)
        alone = dtype == widest and is_branching(programs.hand)
        far = context.within(_far_from(base, layout, alone))
        rows = np.concatenate([candidates.rows, far])
        if programs.is_expensive:
            rows = _most_telling(context, candidates, far, programs, self.rng)
        places.append((context.leaves, rows))
        if self.further:
            drawn = [_exact_leaves(leaves, dtype) for leaves in self.further]
            places.append(_worst_drawn(evaluator, drawn, dtype, self.rng))
        return places, candidates.evaluations + len(self.further)


def _most_telling(
    context: SearchContext,
    candidates: Candidates,
    far: np.ndarray,
    programs: Programs,
    rng: np.random.Generator,
) -> np.ndarray:
    """As many rows as time allows: where hand and autodiff are furthest apart, hand's worst, ...

    Of the rows far out only that one is judged at which they are furthest apart.
    """
    seconds = EVALUATIONS_PER_POINT * programs.gradient_effort.seconds
    most = max(FEWEST_POINTS, int(POINT_SECONDS / seconds))
    if len(far):
        parts = [score(context, far[i : i + 1], rng).algebra[0] for i in range(len(far))]
        far = far[[int(np.argmax(parts))]]
    groups = (candidates.algebra, candidates.hand, candidates.failing, far, candidates.autodiff)
    return np.concatenate([group[:1] for group in groups] + [group[1:] for group in groups])[:most]


def _exact_leaves(leaves: list, dtype: str) -> list:
    """The leaves as the dtype sees them, in float64 or as they are: exact values for the balls."""
    return rounded(rounded(leaves, dtype), np.float64)


def is_branching(program: Traced | None) -> bool:
    """Whether a program computes different things at different inputs."""
    return program is not None and any(
        equation.primitive.name in BRANCHES for equation in jaxprs.equations(program.jaxpr)
    )


def _far_from(row: np.ndarray, layout: Layout, alone: bool) -> np.ndarray:
    """Multiples of a row, zeros moved too; and each number where the square of e^−z underflows.

    That for each leaf `alone` too, if there are a few: with large biases and usual weights, all
    examples take the branch that is taken out there.
    """
    moved = np.where(row == 0, 1, row).astype(np.float64)
    edge = np.copysign(0.3 - np.log(float(jnp.finfo(row.dtype).tiny)) / 2, moved)
    leaf = np.repeat(np.arange(len(layout.sizes)), layout.sizes)
    few = alone and 1 < len(layout.sizes) <= MOST_LEAVES_ALONE
    edges = [np.where(leaf == number, edge, row) for number in range(len(layout.sizes)) if few]
    far = np.stack([*(moved * by for by in FAR), edge, *edges])
    with np.errstate(over="ignore"):
        far = np.where(np.isinf(row), row, far.astype(row.dtype))
    return far[(np.isfinite(far) | np.isinf(row)).all(axis=1)]


def _worst_drawn(
    evaluator: BatchEvaluator, points: list[list], dtype: str, rng: np.random.Generator
) -> tuple[list, np.ndarray]:
    """Of many drawn points, the one where hand and autodiff are furthest apart."""
    rows = [evaluator.layout.row(leaves, dtype)[None, :] for leaves in points]
    apart = [
        score(SearchContext(evaluator, leaves, dtype), row, rng).algebra[0]
        for leaves, row in zip(points, rows, strict=True)
    ]
    worst = int(np.argmax(apart))
    return points[worst], rows[worst]


# --- the conclusion -------------------------------------------------------------------------------


def conclude(
    problem: Problem,
    traceable: bool,
    structure: str,
    results: list[MathResult],
    by_dtype: list[DtypeResult],
    programs: Programs | None,
) -> Verdict:
    """All findings as one verdict; `results` begin with the point given."""
    worst = min(results, key=lambda result: SEVERITY.index(result.hand))
    compared = sum(result.compared for result in results)
    hand, cause, where, evidence = worst.hand, None, None, None
    if structure != "ok":
        hand, cause = "different", structure
    elif worst.hand == "different":
        hand = "different" if traceable else "not traceable"
        leaves = jax.tree.leaves(problem.at) if worst.leaves is None else worst.leaves
        cause = _cause(problem, worst, leaves, programs)
        where = None if worst.where is None else problem.layout.coordinate(worst.where)
        evidence = _evidence(problem, worst, leaves)
    elif hand in (*RIGHT, "not traceable"):
        cause, evidence = _failure_in_floats(problem, by_dtype)
        where = evidence.coordinate if evidence else None
        if len(by_dtype) < len(problem.dtypes) or not all(r.given for r in by_dtype):
            hand = "undecided"
    counted = [row for r in by_dtype for row in (r.row_given, *([r.row] if problem.strict else []))]
    clean = cause is None and all(row.hand_bad == 0 for row in counted)
    right = hand in RIGHT or (hand == "not traceable" and worst.hand != "different")
    ok = structure == "ok" and right and clean and compared > 0
    notes = _notes(results, worst, by_dtype)
    if not ok and cause is None and hand in ("undecided", "unsupported"):
        cause, notes = (notes[0] if notes else None), notes[1:]
    return Verdict(
        name=problem.name,
        ok=ok,
        structure=structure,
        hand=hand,
        autodiff=min((result.autodiff for result in results), key=SEVERITY.index),
        truth=results[0].truth,
        digits=min(result.digits for result in results),
        cause=cause,
        where=where,
        compared=compared,
        points=len(results),
        reference=problem.reference,
        numerics=tuple(result.row for result in by_dtype),
        notes=tuple(notes),
        evidence=evidence,
        record=describe_run(problem, results[0].truth_row),
    )


def _notes(results: list[MathResult], worst: MathResult, by_dtype: list[DtypeResult]) -> list[str]:
    """What a reader has to know besides; first what could not be judged."""
    notes = [
        f"{result.row.dtype}: the point given could not be judged"
        for result in by_dtype
        if not result.given
    ]
    notes += [note for result in results for note in result.notes]
    if worst.hand != "different":
        notes += [note for result in by_dtype for note in _failures(result)]
        notes += [note for result in by_dtype for note in _excused(result)]
    return list(dict.fromkeys(notes))


def _excused(result: DtypeResult) -> list[str]:
    """That a dtype keeps no digit at the point given, where no formula can be blamed for it."""
    for point in result.given:
        index = lost_coordinate(point, explained=True)
        if index is not None:
            where = result.programs.layout.coordinate(index)
            pair = point.answers["hand"][index], point.values[index]
            answer, true = (written(float(number), point.dtype) for number in pair)
            return [
                f"{point.dtype} keeps no digit of {where} at the point given: {answer}, in truth "
                f"{true}; rounding the inputs, or the terms of a sum, costs as much"
            ]
    return []


def _failures(result: DtypeResult) -> list[str]:
    """Which witness fails in a dtype: at the point given, and what the search found elsewhere."""
    notes, given, row = [], result.row_given, result.row
    if here := fault_of(given, "autodiff"):
        notes.append(f"at the point given, in {row.dtype}, {here}")
    elsewhere = [
        f"{fault_of(row, name)} ({total} such found)"
        for name, here, total in (
            ("hand", given.hand_bad, row.hand_bad),
            ("autodiff", given.autodiff_bad, row.autodiff_bad),
        )
        if total > here == 0
    ]
    if elsewhere:
        notes.append(f"elsewhere in {row.dtype}, found by the search: {'; '.join(elsewhere)}")
    return notes


def _evidence(problem: Problem, found: MathResult, leaves: list) -> Evidence | None:
    """The numbers that show an error of the algebra."""
    if found.where is None or found.hand_row is None or found.truth_row is None:
        return None
    hand, true = found.hand_row[found.where], found.truth_row[found.where]
    own = float(problem.layout.row(leaves, np.float64)[found.where])
    answer = float(hand.mid())
    place = found.found_at or "at the point given"
    if "the point given" not in place:
        place = f"right at the point given, wrong {place}"
    wrong = sum(
        h is None or not h.overlaps(t) for h, t in zip(found.hand_row, found.truth_row, strict=True)
        if t is not None
    )  # fmt: skip
    return Evidence(
        place=place,
        coordinate=problem.layout.coordinate(found.where),
        own=f"{own:.17g}",
        answer=f"{answer:.17g}",
        truth="" if true is None else f"{float(true.mid()):.17g}",
        error=_error_in_words(answer, None if true is None else float(true.mid())),
        wrong=max(1, wrong),
        size=problem.layout.size,
    )


def _error_in_words(answer: float, true: float | None) -> str:
    """An error as a number, and as a share of the truth."""
    if true is None and not math.isnan(answer):
        return "not between the slopes on both sides of this kink"
    if true is None or not (math.isfinite(answer) and math.isfinite(true)):
        return "NaN is no number" if math.isnan(answer) else "infinite"
    gap = answer - true
    if not true:
        return f"{gap:.3g}"
    share = abs(gap / true)
    relative = f"{100 * share:.3g}% of the truth" if share > 1e-4 else f"relative {share:.2g}"
    return f"{gap:.3g} ({relative})"


def _failure_in_floats(
    problem: Problem, by_dtype: list[DtypeResult]
) -> tuple[str | None, Evidence | None]:
    """Cause and evidence of an answer at the point given that has no right digit."""
    for result in by_dtype:
        for point in result.given:
            dtype = result.row.dtype
            hand, lost = point.answers["hand"], lost_coordinate(point)
            bad = np.flatnonzero(point.bad["hand"])
            index = int(bad[0]) if len(bad) else lost
            if index is None:
                continue
            computed, true = float(hand[index]), point.truth[index]
            cost = float(point.costs[index])
            error = _error_in_words(computed, float(true.mid()))
            if math.isfinite(computed):
                error += f", {point.errors['hand'][index]:.3g} ulp"
                error += f"; rounding the inputs explains {cost:.3g}" if cost < math.inf else ""
            if "autodiff" in point.answers:
                beside = float(point.answers["autodiff"][index])
                error += f"; jax.grad gives {written(beside, dtype)}"
            evidence = Evidence(
                place=f"at the point given, in {dtype}",
                coordinate=problem.layout.coordinate(index),
                own=written(float(point.row[index]), dtype),
                answer=written(computed, dtype),
                truth="" if true.is_nan() else written(float(true.mid()), dtype),
                error=error,
                wrong=max(1, len(bad)),
                size=problem.layout.size,
            )
            place = f"in {dtype} at {evidence.coordinate}"
            if math.isfinite(computed):
                return f"no digit is right {place}", evidence
            leaves = problem.layout.replaced(jax.tree.leaves(problem.at), point.row)
            made = _origin(problem, result.programs, leaves, index, dtype)
            return f"{_kind_of(computed)} {place}{made}", evidence
    return None, None


def _kind_of(number: float) -> str:
    return "NaN" if math.isnan(number) else "an infinity"


def _origin(
    problem: Problem, programs: Programs | None, leaves: list, index: int, dtype: str
) -> str:
    """': ' and which operation of the gradient made a NaN or an infinity; '' where none shows."""
    if programs is not None and programs.hand is not None:
        with problem.switch.x64(dtype == "float64"):
            made = origin(programs.hand.jaxpr, rounded(leaves, dtype), index)
    else:
        made = origin_in_numpy(problem.gradient, problem.layout.args(rounded(leaves, dtype)))
    return f": {made}" if made else ""


def _lost_to_rounding(
    problem: Problem, leaves: list, hand: np.ndarray, truth: np.ndarray
) -> str | None:
    """What is said of a black box that is right at milder inputs, and off by roundings here.

    No cause in the algebra is looked for: any that changes roundings alone would seem to fit.
    """
    layout, row = problem.layout, problem.layout.row(leaves, np.float64)
    error = np.abs(hand - truth)
    largest = np.max(np.abs([*row, *truth, 1.0]), where=np.isfinite([*row, *truth, 1.0]), initial=1)
    if not np.max(error, initial=0.0) <= ALLOWANCE * float(np.finfo(np.float64).eps) * largest:
        return None
    evaluator = BlackBoxEvaluator(problem)
    try:
        with problem.switch.x64():
            answers = evaluator.answers(np.stack([row * by for by in MILDER]), leaves, "float64")
    except InputError:
        return None
    if not close(answers["hand"], answers["autodiff"]).all():
        return None
    return (
        f"float64 loses the digits at {layout.coordinate(int(np.argmax(error)))}: the number is "
        f"below the rounding of larger ones; at {MILDER[0]:g} times these inputs it is right"
    )


def _cause(
    problem: Problem, found: MathResult, leaves: list, programs: Programs | None
) -> str | None:
    """What is known of a difference, or its diagnosis, or the ratio by coordinate."""
    if found.cause or found.hand_row is None or found.truth_row is None:
        return found.cause
    if found.where is not None and not found.hand_row[found.where].is_finite():
        kind = _kind_of(float(found.hand_row[found.where].mid()))
        made = _origin(problem, programs, leaves, found.where, "float64")
        return f"{kind} at {problem.layout.coordinate(found.where)}{made}"
    tree: Any = jax.tree.structure(differentiated(problem.at, problem.argnums))
    floats = [
        np.array([np.nan if ball is None else float(ball.mid()) for ball in row], np.float64)
        for row in (found.hand_row, found.truth_row)
    ]
    is_called = programs is not None and programs.hand is None and found.autodiff in RIGHT
    if is_called and (lost := _lost_to_rounding(problem, leaves, *floats)):
        return lost
    hand, truth = (jax.tree.unflatten(tree, problem.layout.split(row)) for row in floats)
    at = problem.layout.args(leaves)
    gradient = problem.gradient if found.autodiff in RIGHT else None
    # It is asked elsewhere too, as one program; where there is no search, a claim may hold at the
    # point given alone, and refuses other numbers.
    if gradient and not is_called and problem.evaluations:
        gradient = jax.jit(gradient, compiler_options=quick_options())
    with problem.switch.x64():
        named = diagnose(problem.of, at, problem.argnums, hand, truth, gradient)
    return named or ratios(problem.layout, *floats)
