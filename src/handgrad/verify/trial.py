"""The trial in one dtype: where to look, both witnesses heard there, and what the algebra says.

A point at which the balls of hand and truth part is examined again as mathematics (and believed
where autodiff confirms the truth: far out, differences can miss a kink close by): it is a kink,
where conventions differ and no ulps are counted at the coordinates that part, or an error that the
point given did not show, or a constant that the trace has rounded.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from handgrad._precision import x64
from handgrad.exact import Undecided
from handgrad.verify.domain import passes_through
from handgrad.verify.layout import Layout
from handgrad.verify.mathematics import Finding, examine
from handgrad.verify.numerics import (
    NumericsRow,
    Sight,
    fails,
    judged_leaves,
    look,
    tally,
    without_kinks,
)
from handgrad.verify.programs import Programs
from handgrad.verify.search import Field, Ground, search, shrink, suspicion

MOST_SUSPECTS = 6
EXACT_NUMBERS = 6_000
"""Suspects are fewer where a point holds more numbers than this, shared among them."""
FAR = (8.0, 512.0)
"""The point given is judged at these multiples too: some branches are only taken far out."""


@dataclass(frozen=True)
class Case:
    """What stays the same over the dtypes of a judgement."""

    points: list[list]
    """The leaves of the point given, then of those drawn."""
    further: list[list]
    """The leaves of more drawn points, whose worst alone is examined."""
    hear: Callable[[list, np.ndarray, str], dict[str, np.ndarray]]
    """hear(leaves, rows, dtype) -> the answers of 'hand' and 'autodiff' at each row."""
    field: Field | None
    """For the search; None for a gradient that cannot be traced."""
    truth: str
    """The witness whose balls are the truth: 'autodiff', or 'hand' where autodiff is wrong."""
    digits: int
    reference: str
    evaluations: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """The row of a dtype; what the point given shows; and errors of algebra found elsewhere."""

    row: NumericsRow
    at_given: NumericsRow
    sights: list[Sight]
    findings: list[Finding]


def hold_trial(case: Case, programs: Programs, dtype: str) -> Outcome:
    """Judge one dtype; `programs` are traced at it."""
    rng = np.random.default_rng([case.seed, 1])
    places, evaluations = _places(case, programs, dtype, rng)
    sights: list[Sight] = []
    findings: list[Finding] = []
    truth = programs.autodiff if case.truth == "autodiff" else programs.hand
    assert truth is not None
    given: list[Sight] = []
    discarded = 0
    for number, (point, some_rows) in enumerate(places):
        heard = case.hear(point, some_rows, dtype)
        for index, row in enumerate(some_rows):
            answers = {name: answer[index] for name, answer in heard.items()}
            here = programs.layout.replaced(point, row)
            with x64():
                sight = look(programs, truth, point, row, answers, dtype)
                if sight is None:
                    discarded += 1
                    continue
                failed = [fails(sight, name, dtype) for name in answers]
                path = passes_through(programs, here, dtype, all(failed))
            if path == "no value" or (path == "overflow" and number >= len(case.points)):
                discarded += 1
                continue
            sight = replace(sight, flushed=path == "subnormal")
            if sight.parted:
                again = _examined(programs, here, case, rng)
                trusted = again is not None and again.autodiff in ("identical", "valid subgradient")
                if again is not None and again.hand == "different" and trusted:
                    found_at = f"in {dtype}{programs.layout.input_at(here, again.where)}"
                    findings.append(replace(again, found_at=found_at))
                elif again is None or again.hand != "identical":
                    sight = without_kinks(sight)
            sights.append(sight)
            if number == 0:
                given.append(sight)
    counts = {"evaluations": evaluations, "discarded": discarded}
    at_given = tally(programs, given, dtype, counts)
    row = tally(programs, sights, dtype, counts)
    return Outcome(
        row=replace(row, hand_ulp=at_given.hand_max_ulp, autodiff_ulp=at_given.autodiff_max_ulp),
        at_given=at_given,
        sights=given,
        findings=findings,
    )


def _places(
    case: Case, programs: Programs, dtype: str, rng: np.random.Generator
) -> tuple[list[tuple[list, np.ndarray]], int]:
    """Leaves with rows to judge there: the points given and drawn, then what was searched for."""
    layout = programs.layout
    leaves = [judged_leaves(point, dtype) for point in case.points]
    rows = [layout.row(point, dtype) for point in leaves]
    places = [(point, row[None, :]) for point, row in zip(leaves, rows, strict=True)]
    if case.field is None or case.evaluations == 0 or not len(rows[0]):
        return places, 0
    ground = Ground(case.field, leaves[0], dtype)
    keep = max(1, min(MOST_SUSPECTS, EXACT_NUMBERS // max(1, _numbers(leaves[0]))))
    suspects = search(ground, rows[0], case.evaluations, keep, rng)
    for against, found in enumerate((suspects.hand, suspects.autodiff)):
        if len(found):
            found[0] = shrink(ground, found[0], rows[0], against)
    sought = np.concatenate([*suspects.rows, _far_from(rows[0])])
    further = [judged_leaves(point, dtype) for point in case.further]
    worst = [_worst_drawn(case.field, layout, further, dtype, rng)] if further else []
    return [*places, (leaves[0], sought), *worst], suspects.evaluations + len(further)


def _far_from(row: np.ndarray) -> np.ndarray:
    """Multiples of a row, zeros moved too; and each number where the square of e^−z underflows."""
    moved = np.where(row == 0, 1, row).astype(np.float64)
    edge = 0.3 - np.log(float(jnp.finfo(row.dtype).tiny)) / 2
    far = np.stack([*(moved * by for by in FAR), np.copysign(edge, moved)])
    with np.errstate(over="ignore"):
        far = far.astype(row.dtype)
    return far[np.isfinite(far).all(axis=1)]


def _worst_drawn(
    field: Field, layout: Layout, points: list[list], dtype: str, rng: np.random.Generator
) -> tuple[list, np.ndarray]:
    """Of many drawn points, the one where hand and autodiff are furthest apart."""
    rows = [layout.row(point, dtype)[None, :] for point in points]
    apart = [
        suspicion(Ground(field, point, dtype), row, rng).algebra[0]
        for point, row in zip(points, rows, strict=True)
    ]
    return points[int(np.argmax(apart))], rows[int(np.argmax(apart))]


def _examined(
    programs: Programs, leaves: list, case: Case, rng: np.random.Generator
) -> Finding | None:
    try:
        with x64():
            return examine(programs, leaves, case.digits, rng, case.reference)
    except Undecided:
        return None


def _numbers(leaves: list) -> int:
    return sum(int(np.size(leaf)) for leaf in leaves)
