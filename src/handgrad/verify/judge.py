"""The judge: mathematics first, then numerics, then one verdict."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._precision import x64
from handgrad.verify.blackbox import numpy_answer, outside_bound
from handgrad.verify.certificate import describe_run
from handgrad.verify.diagnosis import diagnose, ratios
from handgrad.verify.layout import Layout, rounded
from handgrad.verify.mathematics import Finding, examine
from handgrad.verify.options import check_helpers, check_options
from handgrad.verify.programs import summon
from handgrad.verify.search import GENERATIONS, MOST_NUMBERS, Field
from handgrad.verify.trial import Case, Outcome, hold_trial
from handgrad.verify.verdict import RIGHT, Verdict, fault_of
from handgrad.verify.witnesses import (
    Argnums,
    autodiff,
    check_arguments,
    check_finite,
    drawn_points,
    is_traceable,
    narrow_integers,
    round_to,
    structure_fault,
    told,
)

DRAWN_POINTS = 3
HEARD_POINTS = 40
"""Further drawn points, where hand and autodiff are compared as floats, and the worst examined."""
SEVERITY = ("different", "undecided", "unsupported", "not traceable", "valid subgradient")
"""Statuses from the gravest; what is left is 'identical' or 'reference'."""


def verify(
    gradient: Callable,
    *,
    of: Callable,
    at: tuple,
    argnums: Argnums = 0,
    dtypes: tuple[str, ...] = ("float32", "float64"),
    digits: int = 60,
    points: Callable | None = None,
    evaluations: int = 2_000,
    seed: int = 0,
    reference: str = "truth",
    strict: bool = False,
    name: str | None = None,
    rules: dict | None = None,
) -> Verdict:
    """Judge `gradient`, which claims to be `jax.grad(of, argnums)`, at the arguments `at`.

    `argnums` as in `jax.grad`. `points` draws further arguments from a key; `evaluations` is
    how many points the search tries in each dtype, 0 for none. `reference='autodiff'` takes
    autodiff's derivative for the truth (stop_gradient, straight-through). `strict` makes what the
    search finds count. `rules` are further rules for `handgrad.exact.evaluate`.

    A gradient that cannot be traced gets NumPy arrays, and is judged numerically alone.

    Raises InputError for arguments that cannot be judged.

    >>> verdict = verify(lambda x: 2 * x, of=lambda x: jnp.sum(x * x), at=(jnp.ones(3),))
    >>> verdict.ok, verdict.hand, verdict.digits
    (True, 'identical', 60)
    >>> wrong = verify(lambda x: -2 * x, of=lambda x: jnp.sum(x * x), at=(jnp.ones(3),))
    >>> wrong.ok, wrong.hand
    (False, 'different')
    """
    check_options(dtypes, digits, evaluations, seed, reference)
    check_helpers(points, rules, name)
    name = name or str(getattr(gradient, "__name__", "gradient"))
    rng = np.random.default_rng(seed)
    with x64():
        check_arguments(of, at, argnums)
        check_finite("at", at, dtypes)
        at = jax.tree.map(narrow_integers, at)
        traceable = is_traceable(gradient, at)
        count = DRAWN_POINTS + (HEARD_POINTS if traceable and evaluations else 0)
        keys = [jax.random.fold_in(jax.random.key(seed), i) for i in range(count)]
        drawn = drawn_points(points, keys, at, dtypes) if points else []
        drawn, heard = drawn[:DRAWN_POINTS], drawn[DRAWN_POINTS:]
    structure = _structure(gradient, of, at, argnums, dtypes) if traceable else "ok"
    leaves = [jax.tree.leaves(args) for args in (at, *drawn)]
    hand = gradient if traceable and structure == "ok" else None
    trace = partial(summon, hand, of, at, argnums, rules=rules or {})
    with x64():
        programs = trace(dtype="float64")
        findings = [examine(programs, point, digits, rng, reference) for point in leaves]
        for i, (found, point) in enumerate(zip(findings[1:], leaves[1:], strict=True), 1):
            place = programs.layout.input_at(point, found.where)
            findings[i] = replace(found, found_at=f"at drawn point {i}{place}")
    outcomes: list[Outcome] = []
    truth = _truth_program(findings)
    if structure == "ok" and truth:
        field = _field(gradient, of, argnums, programs.layout, evaluations) if traceable else None
        hear = partial(_hear, gradient, autodiff(of, argnums), programs.layout, field)
        further = [jax.tree.leaves(args) for args in heard]
        case = Case(leaves, further, hear, field, truth, digits, reference, evaluations, seed)
        outcomes = [hold_trial(case, trace(dtype=dtype), dtype) for dtype in dtypes]
        findings += [finding for outcome in outcomes for finding in outcome.findings]
    worst = min(findings, key=lambda found: _severity(found.hand))
    cause = None if structure == "ok" else structure
    if worst.hand == "different":
        cause = worst.cause or _cause(of, at, argnums, programs.layout, worst)
    outside = _outside(outcomes, programs.layout, dtypes) if not traceable else None
    notes = [note for found in findings for note in found.notes]
    if worst.hand == "different" != findings[0].hand:
        notes.insert(0, f"right at the point given, different {worst.found_at}")
    if worst.hand != "different":
        notes += [fault for outcome in outcomes if (fault := fault_of(outcome.row))]
    notes += [
        f"{o.row.dtype}: the point given could not be judged" for o in outcomes if not o.sights
    ]
    if not truth:
        notes.append("no numerics: neither hand nor autodiff is the truth")
    clean = all(outcome.at_given.hand_bad == 0 for outcome in outcomes)
    if strict:
        clean = clean and all(outcome.row.hand_bad == 0 for outcome in outcomes)
    compared = sum(found.compared for found in findings)
    right = worst.hand in RIGHT and compared > 0
    if not traceable:
        right = bool(outcomes) and outside is None and any(o.row.exact_points for o in outcomes)
    return Verdict(
        name=name,
        ok=structure == "ok" and right and clean,
        structure=structure,
        hand="different" if structure != "ok" else worst.hand,
        autodiff=min((found.autodiff for found in findings), key=_severity),
        truth=findings[0].truth,
        digits=min((found.digits for found in findings), default=0),
        cause=cause or outside,
        where=None if worst.where is None else programs.layout.coordinate(worst.where),
        compared=compared,
        points=len(findings),
        reference=reference,
        numerics=tuple(outcome.row for outcome in outcomes),
        notes=tuple(dict.fromkeys(notes)),
        record=describe_run(
            gradient,
            of,
            at,
            argnums,
            dtypes,
            digits,
            evaluations,
            seed,
            strict,
            findings[0].truth_row,
        ),
    )


def _severity(status: str) -> int:
    return SEVERITY.index(status) if status in SEVERITY else len(SEVERITY)


def _truth_program(findings: list[Finding]) -> str | None:
    """Whose balls may serve as truth: a witness that no point has contradicted."""
    for name in ("autodiff", "hand"):
        if all(getattr(f, name) in (*RIGHT, "reference") for f in findings):
            return name
    return None


def _structure(
    gradient: Callable, of: Callable, at: tuple, argnums: Argnums, dtypes: tuple[str, ...]
) -> str:
    for dtype in dtypes:
        with x64(dtype == "float64"):
            point = round_to(at, dtype)
            expected = jax.eval_shape(autodiff(of, argnums), *point)
            try:
                answer = jax.eval_shape(gradient, *point)
            except Exception as error:
                return f"{dtype}: {told(error)}"
            fault = structure_fault(answer, expected)
        if fault:
            return f"{dtype}: {fault}"
    return "ok"


def _field(
    gradient: Callable, of: Callable, argnums: Argnums, layout: Layout, evaluations: int
) -> Field:
    most = max(1, MOST_NUMBERS // max(1, layout.size))
    count = max(1, min(evaluations // GENERATIONS, most)) if evaluations else 1
    return Field(gradient, autodiff(of, argnums), of, layout, count)


def _hear(
    gradient: Callable,
    auto: Callable,
    layout: Layout,
    field: Field | None,
    leaves: list,
    rows: np.ndarray,
    dtype: str,
) -> dict[str, np.ndarray]:
    """Both answers at every row: jitted, or, for what cannot be traced, by calling it."""
    if field is not None:
        parts = [field(chunk, leaves, dtype) for chunk in _chunks(rows, field.count)]
        return {
            "hand": np.concatenate([hand for hand, *_ in parts]),
            "autodiff": np.concatenate([auto for _, auto, *_ in parts]),
        }
    answers: dict[str, list] = {"hand": [], "autodiff": []}
    for row in rows:
        here = layout.replaced(leaves, row)
        answers["hand"].append(numpy_answer(gradient, layout, here, dtype))
        with x64(dtype == "float64"):
            args = jax.tree.map(jnp.asarray, layout.args(rounded(here, dtype)))
            parts_of_auto = jax.tree.leaves(auto(*args))
            answers["autodiff"].append(
                np.concatenate([np.ravel(np.asarray(p, np.float64)) for p in parts_of_auto])
            )
    return {name: np.stack(found) for name, found in answers.items()}


def _chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _outside(outcomes: list[Outcome], layout: Layout, dtypes: tuple[str, ...]) -> str | None:
    judged = zip(outcomes, dtypes, strict=bool(outcomes))  # none, where there is no truth
    found = (outside_bound(o.sights, layout, d) for o, d in judged)
    return next((fault for fault in found if fault), None)


def _cause(of: Callable, at: tuple, argnums: Argnums, layout: Layout, found: Finding) -> str | None:
    """The diagnosis of a difference, or the ratio by coordinate."""
    if found.hand_row is None or found.truth_row is None:
        return None
    with x64():
        expected: Any = jax.eval_shape(autodiff(of, argnums), *at)
    tree = jax.tree.structure(expected)
    floats = [
        np.array([np.nan if ball is None else float(ball.mid()) for ball in row], np.float64)
        for row in (found.hand_row, found.truth_row)
    ]
    hand, truth = (jax.tree.unflatten(tree, layout.split(row)) for row in floats)
    return diagnose(of, at, argnums, hand, truth) or ratios(hand, truth)
