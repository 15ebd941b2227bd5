"""The catalogue before the judge, and the atlas in half precision, on the device's own arithmetic.

The judge and the atlas run each function compiled for JAX's default device, and hold what comes
back against the truth, which is computed in balls on the host. Each says which device computed.
"""

import os
from collections.abc import Iterator, Sequence
from multiprocessing import TimeoutError as LateError
from multiprocessing import get_context
from time import monotonic
from typing import Any

import jax

from benchmarks.accelerator.runner import TextFile, first_line
from handgrad._precision import x64
from handgrad.accuracy.atlas import as_json, measure_functions, worst_first
from handgrad.bench.report import Bar, Report, facts
from handgrad.catalogue import CASES, case
from handgrad.verify import verify
from handgrad.verify.verdict import Verdict

DTYPES = ("bfloat16", "float16", "float32", "float64")
EVALUATIONS, DIGITS = 500, 60
MOST_PROCESSES = 8
"""Each of them loads JAX and the device's libraries."""
FIRST = ("linear_cross_entropy_chunked", "loss_linear_softmax", "one_pass_rows_logistic",
         "one_pass_rows_softmax_regression", "logistic", "softmax_regression")  # fmt: skip
"""Judged first: the jobs that are timed depend on them."""
SMALL = ("linear_cross_entropy_chunked", "one_pass_rows_logistic", "loss_sigmoid_binary")
HALVES = ("bfloat16", "float16")
SMALL_ATLAS = ("jnp.tanh",)
ATLAS_LIMIT = 30.0
"""Seconds for a function in one dtype."""
SPARE = 5.0
"""Seconds before the end of a step at which what is there is written."""


# --- the judge ----------------------------------------------------------------------------------


def judged(small: bool, seconds: float) -> Iterator[Report]:
    """The catalogue: the gradients, the fast forms and the drop-in losses, each by the judge."""
    others = [entry.name for entry in CASES if entry.name not in FIRST]
    names = list(SMALL) if small else [*FIRST, *others]
    end = monotonic() + seconds - SPARE
    processes = 0 if small else min(MOST_PROCESSES, os.cpu_count() or 1)
    yield as_report(list(judge_all(names, processes, end)), names)


def judge_all(names: Sequence[str], processes: int, end: float) -> Iterator[dict[str, Any]]:
    """A row for each case, as they are done, by this process or by several, until `end`."""
    if not processes:
        for name in names:
            if monotonic() < end:
                yield judge_one(name)
        return
    with get_context("spawn").Pool(processes) as pool:  # which ends its processes as it is left
        verdicts = pool.imap_unordered(judge_one, names)
        for _ in names:
            try:
                yield verdicts.next(max(0.1, end - monotonic()))
            except LateError:  # what is there counts
                return


def judge_one(name: str) -> dict[str, Any]:
    """The row of one case; whatever the judge raises here is its result."""
    entry = case(name)
    try:
        with x64():
            at = entry.example(jax.random.key(0))
        verdict = verify(
            entry.gradient, of=entry.loss, at=at, argnums=entry.argnums, name=name,
            dtypes=DTYPES, digits=DIGITS, evaluations=EVALUATIONS,
        )  # fmt: skip
        return row_of(verdict)
    except Exception as fault:
        return {"name": name, "verdict": "not judged", "said": first_line(fault)}


def row_of(verdict: Verdict) -> dict[str, Any]:
    """A verdict's row; `wrong` says what is wrong, and is missing if nothing is."""
    right = "right" if verdict.ok else "undecided" if verdict.is_undecided else "wrong"
    row: dict[str, Any] = {"name": verdict.name, "verdict": right, "digits": verdict.digits}
    for found in verdict.numerics:
        for who, ulp in (("hand", found.hand_ulp), ("autodiff", found.autodiff_ulp)):
            known = ulp is not None and ulp == ulp and abs(ulp) != float("inf")
            row[f"{who} {found.dtype}"] = ulp if known else None
    if right == "wrong":
        row["wrong"] = verdict.fault
    row["device"] = "{platform} {device}".format(**verdict.record["machine"])
    return row


def as_report(rows: list[dict[str, Any]], names: Sequence[str]) -> Report:
    """All verdicts, in the order of the catalogue; rows have the same keys."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    rows = sorted(rows, key=lambda row: names.index(row["name"]))
    right = sum(row["verdict"] == "right" for row in rows)
    notes = [f"not judged, as no time was left: {name}" for name in names
             if name not in {row["name"] for row in rows}]  # fmt: skip
    devices = sorted({row["device"] for row in rows if "device" in row})
    notes.append(f"computed on {', '.join(devices) or 'no device'}; errors in ulp at the point")
    title = f"{right} of {len(names)} gradients of the catalogue right on this device"
    filled = [{key: row.get(key) for key in keys} for row in rows]
    return Report("judge", title, filled, [Bar("gradients right", len(names), right)], notes)


# --- the atlas ----------------------------------------------------------------------------------


def atlas(small: bool, seconds: float) -> Iterator[Report | TextFile]:
    """The atlas in both half precisions as a file, and a report of what fails most.

    Raises RuntimeError if anything else than this device computed.
    """
    machine = facts()
    found = measure_functions(
        SMALL_ATLAS if small else (), dtypes=HALVES[: 1 if small else 2], limit=ATLAS_LIMIT,
        processes=0 if small else os.cpu_count() or 1, seconds=max(1.0, seconds - SPARE),
    )  # fmt: skip
    here = "{platform} {kind}".format(
        platform=machine["platform"], kind=jax.devices()[0].device_kind
    )
    elsewhere = [device for device in found.facts.get("arithmetic", ()) if device != here]
    if elsewhere:
        raise RuntimeError(f"computed on {', '.join(elsewhere)}, not on {here}")
    found.facts |= {"machine": machine}
    yield TextFile(f"atlas-jax-{jax.__version__}.json", as_json(found))
    first = [row for row in found.rows if row.order == 1 and row.form == "default"]
    rows = [
        {"name": f"{row.function} {row.dtype}", "ulp": row.max_ulp, "NaN": row.nan,
         "inf": row.inf, "wrong sign": row.wrong_sign, "zero": row.zero}
        for row in worst_first(first)[:10]
    ]  # fmt: skip
    late = sum("was not done" in entry.reason for entry in found.refused)
    notes = [f"computed on {here}; {late} functions were not done in time"]
    title = f"{len(found.rows):,} rows in half precision; the first derivatives that fail most"
    yield Report("judge", title, rows, [], notes)
