"""The conclusion: all findings as one verdict, with its cause and the numbers that convict."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from handgrad.errors import InputError
from handgrad.verify.blackbox import BlackBoxEvaluator
from handgrad.verify.certificate import describe_run
from handgrad.verify.diagnosis import diagnose, ratios
from handgrad.verify.diagnosis.nonfinite import origin, origin_in_numpy
from handgrad.verify.diagnosis.relations import close
from handgrad.verify.mathematics import RIGHT, SEVERITY, MathResult
from handgrad.verify.numerics import (
    NumericsRow,
    PointResult,
    lost_coordinate,
    written,
)
from handgrad.verify.ulp import ALLOWANCE
from handgrad.verify.verdict import Evidence, Verdict, fault_of
from handgrad.verify.witnesses import Problem, Programs, differentiated, rounded


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


def conclude(
    problem: Problem,
    traceable: bool,
    structure: str,
    results: list[MathResult],
    by_dtype: list[DtypeResult],
    programs: Programs | None,
) -> Verdict:
    """All findings as one verdict; `results` begin with the point given."""
    layout = problem.layout
    worst = min(results, key=lambda result: SEVERITY.index(result.hand))
    compared = sum(result.compared for result in results)
    hand, cause, where, evidence = worst.hand, None, None, None
    if structure != "ok":
        hand, cause = "different", structure
    elif worst.hand == "different":
        hand = "different" if traceable else "not traceable"
        cause = _cause(problem, worst, programs)
        where = None if worst.where is None else layout.coordinate(worst.where)
        evidence = _evidence(problem, worst)
    elif hand in (*RIGHT, "not traceable"):
        cause, where, evidence = _failure_in_floats(problem, by_dtype)
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


def _evidence(problem: Problem, found: MathResult) -> Evidence | None:
    """The numbers that show an error of the algebra."""
    if found.where is None or found.hand_row is None or found.truth_row is None:
        return None
    hand, true = found.hand_row[found.where], found.truth_row[found.where]
    leaves = jax.tree.leaves(problem.at) if found.leaves is None else found.leaves
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
) -> tuple[str | None, str | None, Evidence | None]:
    """Cause, coordinate and evidence of an answer at the point given that has no right digit."""
    for result in by_dtype:
        for point in result.given:
            dtype = result.row.dtype
            hand, lost = point.answers["hand"], lost_coordinate(point)
            bad = np.flatnonzero(point.bad["hand"])
            index = int(bad[0]) if len(bad) else lost
            if index is None:
                continue
            name = problem.layout.coordinate(index)
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
                coordinate=name,
                own=written(float(point.row[index]), dtype),
                answer=written(computed, dtype),
                truth="" if true.is_nan() else written(float(true.mid()), dtype),
                error=error,
                wrong=max(1, len(bad)),
                size=problem.layout.size,
            )
            return _lost(problem, result, point, index), name, evidence
    return None, None, None


def _lost(problem: Problem, result: DtypeResult, point: PointResult, index: int) -> str:
    """How a number was lost in a dtype: where NaN or an infinity came from, as far as it shows."""
    dtype, computed = result.row.dtype, float(point.answers["hand"][index])
    place = f"in {dtype} at {problem.layout.coordinate(index)}"
    if math.isfinite(computed):
        return f"no digit is right {place}"
    kind = "NaN" if math.isnan(computed) else "an infinity"
    leaves = problem.layout.replaced(jax.tree.leaves(problem.at), point.row)
    made = _origin(problem, result.programs, leaves, index, dtype)
    return f"{kind} {place}" + (f": {made}" if made else "")


def _origin(
    problem: Problem, programs: Programs | None, leaves: list, index: int, dtype: str
) -> str | None:
    """Which operation of the gradient made a NaN or an infinity, in words."""
    if programs is not None and programs.hand is not None:
        with problem.switch.x64(dtype == "float64"):
            return origin(programs.hand.jaxpr, rounded(leaves, dtype), index)
    return origin_in_numpy(problem.gradient, problem.layout.args(rounded(leaves, dtype)))


MILDER = (0.25, 0.0625)
"""Of the inputs: where a formula that only rounds badly is right."""


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


def _cause(problem: Problem, found: MathResult, programs: Programs | None) -> str | None:
    """What is known of a difference, or its diagnosis, or the ratio by coordinate."""
    if found.cause or found.hand_row is None or found.truth_row is None:
        return found.cause
    leaves = jax.tree.leaves(problem.at) if found.leaves is None else found.leaves
    if found.where is not None and not found.hand_row[found.where].is_finite():
        made = _origin(problem, programs, leaves, found.where, "float64")
        kind = "NaN" if found.hand_row[found.where].is_nan() else "an infinity"
        return f"{kind} at {problem.layout.coordinate(found.where)}" + (f": {made}" if made else "")
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
    with problem.switch.x64():
        named = diagnose(
            problem.of, at, problem.argnums, hand, truth,
            problem.gradient if found.autodiff in RIGHT else None,
        )  # fmt: skip
    return named or ratios(problem.layout, *floats)
