"""The judge: structure, then mathematics, then numerics in each dtype, then one verdict."""

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad._precision import x64
from handgrad.errors import Undecided, describe_error
from handgrad.exact import Traced, approximations
from handgrad.exact.interpreter import watch
from handgrad.verify.blackbox import (
    BlackBoxEvaluator,
    PlainEvaluator,
    compare_black_box,
    is_subgradient,
    right_together,
)
from handgrad.verify.conclusion import DtypeResult, conclude
from handgrad.verify.mathematics import (
    RIGHT,
    MathResult,
    compare_in_float64,
    compare_with_truth,
    too_large,
)
from handgrad.verify.numerics import (
    ONE_DIGIT,
    PointResult,
    classify_range,
    evaluate_point,
    summarize,
)
from handgrad.verify.search import (
    BatchEvaluator,
    Candidates,
    SearchContext,
    score,
    search,
    search_bounds,
)
from handgrad.verify.verdict import Verdict
from handgrad.verify.witnesses import (
    Layout,
    OutOfTime,
    Problem,
    Programs,
    differentiated,
    draw_points,
    is_traceable,
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
NO_NUMERICS = "no errors by dtype: neither the gradient nor jax.grad is the true derivative"
NOT_KNOWN = "no errors by dtype: the true derivative is not known here"
Evaluator = BatchEvaluator | BlackBoxEvaluator
"""Runs hand and autodiff in floating point."""


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
                    results = compare_black_box(
                        problem, programs, evaluator, points[: len(results)], results, known
                    )
            for dtype in problem.dtypes:
                if problem.is_late:
                    break
                problem.report(f"judging in {dtype}")
                by_dtype.append(
                    judge_dtype(
                        problem, traced(dtype), truth, evaluator, points, further, dtype,
                        is_wrong=results[0].hand == "different",
                    )
                )  # fmt: skip
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


def judge_dtype(
    problem: Problem,
    programs: Programs,
    truth_witness: str,
    evaluator: Evaluator,
    points: Sequence[list],
    further: Sequence[list],
    dtype: str,
    is_wrong: bool,
) -> DtypeResult:
    """Judge one dtype at the leaves of `points` (the one given first) and where a search leads.

    `programs` are traced at the dtype; `further` are drawn points whose worst alone is judged.
    Where hand `is_wrong` at the point given, and evaluations are expensive, there is no search.

    A point at which the balls of hand and truth differ is compared again as mathematics (and
    believed where autodiff confirms the truth: far out, differences can miss a kink close by). It
    is a kink, where conventions differ and no ulps are counted at the coordinates that disagree; or
    an error that the point given did not show; or a constant that the trace has rounded.
    """
    rng = np.random.default_rng([problem.seed, 1])
    truth = {"autodiff": programs.autodiff, "hand": programs.hand, "loss": None}[truth_witness]
    settled = is_wrong and programs.is_expensive
    places, evaluations = _places(
        problem, programs, evaluator, points, further, dtype, rng, searched=not settled
    )
    judged: list[PointResult] = []
    given: list[PointResult] = []
    errors: list[MathResult] = []
    discarded = 0
    for number, (leaves, rows) in enumerate(places):
        if number and problem.is_late:
            break
        answers = evaluator.answers(rows, leaves, dtype)
        known: dict[bytes, tuple[PointResult | None, str]] = {}  # a search may find a row twice
        for index, row in enumerate(rows):
            here = programs.layout.replaced(leaves, row)
            own = {name: answer[index] for name, answer in answers.items()}
            if programs.autodiff is None:
                own.pop("autodiff")
            if row.tobytes() not in known:
                with x64():
                    known[row.tobytes()] = _evaluated(
                        programs, truth, leaves, row, own, dtype, is_given=not number
                    )
            point, found = known[row.tobytes()]
            if point is None:
                discarded += 1
                continue
            sought = number >= len(points)
            if found == "no value" or (found == "overflow" and sought):
                discarded += 1
                continue
            if found == "subnormal":
                point = replace(point, underflows=True)
            if programs.hand is None:
                with x64():
                    point = _without_kinks(programs, point, here, dtype)
            if point.disagreeing and not settled:
                place = f"at {_place(number, len(points))}, in {dtype}"
                error, agree = _compare_again(problem, programs, here, dtype, rng, place, sought)
                errors += [error] if error else []
                point = point if error or agree else point.without_disagreeing()
            judged.append(point)
            given += [point] if number == 0 else []
    row_given = summarize(programs.layout, given, dtype, evaluations, discarded)
    row = summarize(programs.layout, judged, dtype, evaluations, discarded)
    row = replace(
        row,
        hand_ulp=row_given.hand_max_ulp if given else math.nan,
        autodiff_ulp=row_given.autodiff_max_ulp if given else math.nan,
        hand_bad_at=row_given.hand_bad_at or row.hand_bad_at,
        autodiff_bad_at=row_given.autodiff_bad_at or row.autodiff_bad_at,
    )
    return DtypeResult(row, row_given, given, errors, programs)


def _evaluated(
    programs: Programs,
    truth: Traced | None,
    leaves: list,
    row: np.ndarray,
    answers: dict[str, np.ndarray],
    dtype: str,
    is_given: bool,
) -> tuple[PointResult | None, str]:
    """One point, and where the loss leads there: nothing excuses the point given."""
    point = evaluate_point(programs, truth, leaves, row, answers, dtype, is_given)
    if point is None or is_given:
        return point, "normal"
    both_fail = all(bad.any() for bad in point.bad.values())
    here = programs.layout.replaced(leaves, row)
    return point, classify_range(programs, here, dtype, both_fail)


def _place(number: int, points: int) -> str:
    if number == 0:
        return "the point given"
    return f"drawn point {number}" if number < points else "an input that the search found"


def _without_kinks(programs: Programs, point: PointResult, leaves: list, dtype: str) -> PointResult:
    """A black box's point without the coordinates at which another convention would do."""
    hand = point.answers["hand"]
    doubtful = np.flatnonzero(~point.explained()).tolist()
    # the algebra is settled in float64: here one digit will do
    kinks = [i for i in doubtful if is_subgradient(programs, leaves, i, float(hand[i]), ONE_DIGIT)]
    if len(kinks) < len(doubtful):
        together = right_together(programs, leaves, hand, doubtful, dtype)
        kinks = [i for i in doubtful if i in kinks or i in together]
    return replace(point, disagreeing=tuple(kinks)).without_disagreeing() if kinks else point


def _compare_again(
    problem: Problem,
    programs: Programs,
    leaves: list,
    dtype: str,
    rng: np.random.Generator,
    place: str,
    sought: bool,
) -> tuple[MathResult | None, bool]:
    """An error of the algebra at these leaves, if there is one; and whether hand is identical.

    Leaves that were `sought` may be where nobody goes.
    """
    try:
        with x64():
            again = compare_with_truth(
                programs, leaves, problem.digits, rng, problem.reference, dtype
            )
    except Undecided:
        return None, False
    if again.hand == "different" and again.autodiff in RIGHT:
        if sought and again.digits >= FEW_DIGITS and approximations(programs.loss.jaxpr):
            return None, False  # far out an approximation is no longer near
        return replace(again, found_at=place, leaves=leaves), False
    return None, again.hand == "identical"


def _places(
    problem: Problem,
    programs: Programs,
    evaluator: Evaluator,
    points: Sequence[list],
    further: Sequence[list],
    dtype: str,
    rng: np.random.Generator,
    searched: bool,
) -> tuple[list[tuple[list, np.ndarray]], int]:
    """Leaves with rows to judge there: the points given and drawn, then what is `searched` for."""
    layout = problem.layout
    exact_points = [_exact_leaves(leaves, dtype) for leaves in points]
    base = layout.row(exact_points[0], dtype)
    places = [(leaves, layout.row(leaves, dtype)[None, :]) for leaves in exact_points]
    searchable = isinstance(evaluator, BatchEvaluator) and problem.differentiable and searched
    if not searchable or problem.evaluations == 0 or not len(base) or problem.is_late:
        return places, 0
    assert isinstance(evaluator, BatchEvaluator)
    bounds = search_bounds(problem, programs, exact_points[0])
    context = SearchContext(evaluator, exact_points[0], dtype, bounds)
    numbers = sum(int(np.size(leaf)) for leaf in context.leaves)
    keep = max(1, min(MOST_CANDIDATES, EXACT_NUMBERS // max(1, numbers)))
    candidates = search(context, base, problem.evaluations, keep, rng)
    widest = max(problem.dtypes, key=lambda name: jnp.finfo(name).maxexp)
    alone = dtype == widest and is_branching(programs.hand)
    far = context.within(_far_from(base, layout, alone))
    rows = np.concatenate([candidates.rows, far])
    if programs.is_expensive:
        rows = _most_telling(context, candidates, far, programs, rng)
    places.append((context.leaves, rows))
    if further:
        drawn = [_exact_leaves(leaves, dtype) for leaves in further]
        places.append(_worst_drawn(evaluator, drawn, dtype, rng))
    return places, candidates.evaluations + len(further)


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


BRANCHES = frozenset({"select_n", "cond"})
"""Operations that give one thing or another."""


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
