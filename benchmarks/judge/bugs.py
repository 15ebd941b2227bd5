"""`python -m benchmarks.judge.bugs`: public reports of wrong derivatives, before every judge.

Each is a formula that was in a package, at the point and in the dtype of the report. Exit code 1
if our judge lets one of them pass, or says of a package's own derivative what the truth does not.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.judge.bugs_boosting import BOOSTING
from benchmarks.judge.bugs_jax import JAX
from benchmarks.judge.bugs_julia import JULIA
from benchmarks.judge.bugs_others import OTHERS
from benchmarks.judge.bugs_sklearn import SKLEARN
from benchmarks.judge.bugs_stan import STAN
from benchmarks.judge.bugs_tensorflow import TENSORFLOW
from benchmarks.judge.bugs_torch import PYTORCH
from benchmarks.judge.reports import ABSENT, CHECKS, FIXED, PRESENT, Bug, Finding, find
from handgrad.cli.app import run_script
from handgrad.cli.output import WRONG, check_writable, print, table, track, write_json
from handgrad.errors import InputError

BUGS: tuple[Bug, ...] = (
    *JAX, *PYTORCH, *TENSORFLOW, *BOOSTING, *SKLEARN, *STAN, *JULIA, *OTHERS,
)  # fmt: skip


def bugs(
    only: Annotated[
        str, typer.Option(help="Only rows with this text in their report or function.")
    ] = "",
    json: Annotated[Path | None, typer.Option(help="Write every row to this file.")] = None,
) -> None:
    """Judge derivatives that were reported wrong."""
    check_writable("--json", json, ".json")
    chosen = [bug for bug in BUGS if only in f"{bug.report} {bug.function}"]
    if not chosen:
        raise InputError("--only", "part of a report or a function", repr(only), "pass jax")
    findings = list(track(map(find, chosen), "reports", len(chosen)))
    print_findings(findings)
    print_counts(findings)
    if json:
        write_json(json, {"rows": [as_data(finding) for finding in findings]})
    if not all(finding.is_judged_well and finding.is_faulty for finding in findings):
        raise typer.Exit(WRONG)


def print_findings(findings: list[Finding]) -> None:
    """A line for each report: what is true, what came, and who noticed."""
    found = table(
        "report", "derivative of", "at", "dtype", "truth", "came", "installed", "handgrad",
        *CHECKS, "cause", gap=2,
    )  # fmt: skip
    for finding in findings:
        bug = finding.bug
        found.add_row(
            bug.report, bug.function, _short(bug.at), bug.dtype, finding.truth, finding.came,
            finding.installed + ("" if finding.is_judged_well else "!"),
            "wrong" if finding.convicted else "MISSED",
            *(_word(finding.accused[check]) for check in CHECKS), finding.cause,
        )  # fmt: skip
    print(found)


def print_counts(findings: list[Finding]) -> None:
    """How many of the faulty formulas each judge convicts, and what is still in the packages."""
    total = len(findings)
    print(f"handgrad convicts {sum(f.convicted for f in findings)} of {total}")
    for check in CHECKS:
        told = [f.accused[check] for f in findings if f.accused[check] is not None]
        if told:
            print(f"{check} convicts {sum(map(bool, told))} of {len(told)} that it can be asked")
        else:
            print(f"{check}: not installed")
    states = Counter(finding.installed for finding in findings)
    print(", ".join(f"{states[state]} {state}" for state in (PRESENT, FIXED, ABSENT)))
    right = sum(f.live_verdict is True for f in findings if f.installed == FIXED)
    print(f"of the fixed derivatives {right} are judged right")
    for finding in findings:
        if not finding.is_faulty:
            print(f"not a fault here: {finding.bug.report} {finding.bug.function}")


def as_data(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it."""
    bug = finding.bug
    return {
        "report": bug.report, "function": bug.function, "at": _short(bug.at), "dtype": bug.dtype,
        "truth": finding.truth, "came": finding.came, "installed": finding.installed,
        "convicted": finding.convicted, "live_verdict": finding.live_verdict,
        "cause": finding.cause, **finding.accused,
    }  # fmt: skip


def _word(accused: bool | None) -> str:
    return "-" if accused is None else "wrong" if accused else "passes"


def _short(at: tuple) -> str:
    text = ", ".join(str(arg) for arg in at).replace("\n", "")
    return text if len(text) <= 26 else f"{text[:25]}…"


if __name__ == "__main__":
    run_script(bugs)
