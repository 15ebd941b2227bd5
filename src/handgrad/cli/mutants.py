"""`handgrad mutants`: the judge judged, beside the checks that come with JAX."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from handgrad.cli.output import check_seed, check_writable, console, say, write_json
from handgrad.errors import InputError

WRONG = 1
FEW, PROCESSES = 3, 2
"""Mutants of up to FEW cases are tried here, those of more by PROCESSES."""


def mutants(
    cases: Annotated[
        list[str] | None, typer.Argument(help="Cases of the catalogue; all of them if none.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many mutants, over all operators.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Of the choice.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write every trial to this file.")] = None,
) -> None:
    """Mutate hand-derived gradients, and see which judge notices."""
    from handgrad.evidence import mutants as room

    check_writable("--json", json, ".json")
    check_seed(seed)
    if limit < 1:
        raise InputError("limit", "a whole number above 0", limit, "pass 100, say")
    chosen = choose(tuple(cases or ()), limit, seed)
    by_case: dict[str, list[int]] = {}
    for number, (case, _) in enumerate(chosen):
        by_case.setdefault(case.name, []).append(number)
    run = partial(try_case, cases, limit, seed)
    if len(by_case) <= FEW:
        found = [run(name) for name in track(by_case, "mutants", console=console, transient=True)]
    else:
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            parts = pool.map(run, by_case)
            found = list(track(parts, "mutants", len(by_case), console=console, transient=True))
    trials = [trial for part in found for trial in part]
    rows = room.summary(trials)
    print_table(rows, room.JUDGES)
    wrong = [trial for trial in trials if "handgrad" in trial.wrong_judges]
    for trial in wrong:
        what = "missed" if trial.different else "accused, though equivalent"
        say(f"{what}: {trial.case}, {trial.operator} at {trial.place}, {trial.detail}")
    if json:
        write_json(json, {"summary": rows, "trials": [asdict(trial) for trial in trials]})
    if wrong:
        raise typer.Exit(WRONG)


def try_case(cases: list[str] | None, limit: int, seed: int, name: str) -> list[Any]:
    """The trials of the chosen mutants of one case."""
    from handgrad.evidence import mutants as room

    chosen = choose(tuple(cases or ()), limit, seed)
    return list(room.try_mutants([pair for pair in chosen if pair[0].name == name]))


@cache
def choose(cases: tuple[str, ...], limit: int, seed: int) -> list[tuple[Any, Any]]:
    """The mutants to try; every process draws the same, once."""
    from handgrad.evidence import mutants as room

    return room.sample(room.all_cases(list(cases)), limit, seed)


def print_table(rows: list[dict[str, Any]], judges: tuple[str, ...]) -> None:
    """By operator: how many there are, how many differ, and who noticed (and who cried wolf)."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in ("operator", "mutants", "different", *judges):
        table.add_column(heading, justify="left" if heading == "operator" else "right")
    for row in rows:
        cells = [
            f"{row[j]['killed']}" + (f" +{n}" if (n := row[j]["false_alarms"]) else "")
            for j in judges
        ]
        table.add_row(row["operator"], str(row["mutants"]), str(row["different"]), *cells)
    console.print(table)
    say("killed, of those that are really different; + false alarms on equivalent ones")
