"""`python -m benchmarks.judge.mutants`: the judge judged, beside the checks that come with JAX.

Exit code 1 if the judge misses a mutant that is really different, or accuses an equivalent one.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.judge.trials import OURS, choose, summary, trials_of_case
from handgrad.cli.app import run_script
from handgrad.cli.output import WRONG, check_seed, check_writable, print, table, track, write_json
from handgrad.errors import InputError

FEW, PROCESSES = 3, 2
"""Mutants of up to FEW cases are tried here, those of more by PROCESSES."""


def mutants(
    cases: Annotated[
        list[str] | None, typer.Argument(help="Cases of the catalogue. Default: all of them.")
    ] = None,
    limit: Annotated[
        int, typer.Option(help="Number of mutants, shared evenly among the operators.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="Random seed for the choice of mutants.")] = 0,
    black: Annotated[
        float, typer.Option(help="The share that our judge sees as functions of NumPy arrays.")
    ] = 0.5,
    causes: Annotated[
        bool, typer.Option(help="Diagnose every mutant that is caught; slower.")
    ] = False,
    beside: Annotated[bool, typer.Option(help="Ask the checks that come with JAX too.")] = True,
    json: Annotated[Path | None, typer.Option(help="Write every trial to this file.")] = None,
) -> None:
    """Mutate hand-derived gradients, and see which judge notices."""
    check_writable("--json", json, ".json")
    check_seed(seed)
    if limit < 1:
        raise InputError("limit", "a whole number above 0", limit, "pass 100")
    if not 0 <= black <= 1:
        raise InputError("black", "a share between 0 and 1", black, "pass 0.5")
    names = list(dict.fromkeys(case.name for case, _ in choose(tuple(cases or ()), limit, seed)))
    run = partial(trials_of_case, tuple(cases or ()), limit, seed, black, causes, beside)
    if len(names) <= FEW:
        found = list(track(map(run, names), "mutants", len(names)))
    else:
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            found = list(track(pool.map(run, names), "mutants", len(names)))
    trials = [trial for part in found for trial in part]
    rows = summary(trials)
    print_summary(rows)
    wrong = [trial for trial in trials if OURS in trial.wrong_judges]
    for trial in wrong:
        what = "missed" if trial.different else "accused, though equivalent"
        kind = " (a black box)" if trial.black_box else ""
        print(f"{what}: {trial.case}, {trial.operator} at {trial.place}, {trial.detail}{kind}")
    if json:
        write_json(json, {"summary": rows, "trials": [asdict(trial) for trial in trials]})
    if wrong:
        raise typer.Exit(WRONG)


def print_summary(rows: list[dict[str, Any]]) -> None:
    """For each operator the number of mutants, of different ones, and of those each judge found."""
    judges = [name for name, cell in rows[0].items() if isinstance(cell, dict) and "killed" in cell]
    found = table("operator", "mutants", "different", *judges, "causes named", gap=2)
    for row in rows:
        cells = [
            f"{row[judge]['killed']}" + (f" +{n}" if (n := row[judge]["false_alarms"]) else "")
            for judge in judges
        ]
        asked, named = row["causes"]["asked"], row["causes"]["named"]
        cells.append(f"{named} of {asked}" if asked else "-")
        found.add_row(row["operator"], str(row["mutants"]), str(row["different"]), *cells)
    print(found)
    print("killed, of those that are really different; + false alarms on equivalent ones")


if __name__ == "__main__":
    run_script(mutants)
