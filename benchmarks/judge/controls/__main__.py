"""`python -m benchmarks.judge.controls`: right gradients before the judge, and wrong ones.

Exit code 1 if the judge accuses a right gradient or misses a wrong one.
"""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.judge.controls import FAMILIES, Outcome, try_named
from benchmarks.judge.controls.control import CHECKS
from handgrad.cli.app import run_script
from handgrad.cli.output import WRONG, check_writable, print, table, track, write_json
from handgrad.errors import InputError

BAR = 0.85
"""Of the mistakes, how many should have their cause named."""


def controls(
    only: Annotated[str, typer.Option(help="Only those whose name contains this.")] = "",
    family: Annotated[str, typer.Option(help="Only this family.")] = "",
    beside: Annotated[
        bool, typer.Option(help="Run the checks of JAX, and PyTorch if it is here.")
    ] = True,
    evaluations: Annotated[
        int, typer.Option(min=0, help="Points of the search around each right gradient.")
    ] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
    json: Annotated[Path | None, typer.Option(help="Write every outcome to this file.")] = None,
) -> None:
    """Put right gradients of public layers and losses before the judge, and wrong ones."""
    check_writable("--json", json, ".json")
    chosen = names(family, only)
    run = partial(try_named, beside=beside, evaluations=evaluations)
    if processes == 1 or len(chosen) == 1:
        found = [run(*pair) for pair in track(chosen, "controls", len(chosen))]
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            every = pool.map(run, *zip(*chosen, strict=True))
            found = list(track(every, "controls", len(chosen)))
    print_outcomes(found)
    print_counts(found, beside)
    if json:
        write_json(json, {"outcomes": [asdict(outcome) for outcome in found]})
    if any(o.right in ("accused", "crashed") or o.wrong != "caught" for o in found):
        raise typer.Exit(WRONG)


def names(family: str, only: str) -> list[tuple[str, str]]:
    """The controls to try, as family and name. Raises InputError where there are none."""
    chosen = [
        (name, make.__name__)
        for name, makers in FAMILIES.items()
        for make in makers
        if family in ("", name) and only in make.__name__
    ]
    if not chosen and family not in ("", *FAMILIES):
        raise InputError("family", f"one of {', '.join(FAMILIES)}", repr(family), "leave it out")
    if not chosen:
        raise InputError("only", "a part of a control's name", repr(only), "leave it out")
    return chosen


def print_outcomes(found: Iterable[Outcome]) -> None:
    """One row for each control, and the words where they are not the expected ones."""
    head = f"{'control':31}{'in':7}{'right':11}{'wrong':11}{'cause':7}other checks"
    print(head, markup=False)
    for o in found:
        beside = [f"{name} accuses" for name in o.accused_by]
        beside += [f"{name} misses" for name in o.missed_by]
        print(
            f"{o.name:31}{'NumPy' if o.black_box else 'JAX':7}{o.right:11}{o.wrong:11}"
            f"{'named' if o.named else '-':7}{', '.join(beside)}".rstrip(),
            markup=False,
        )
    for o in found:
        if o.right != "right":
            print(f"\n{o.name}: {o.right}\n{o.said}", markup=False)
        if not o.named:
            expected = " or ".join(repr(phrase) for phrase in o.expected)
            print(f"\n{o.name} ({o.mistake}): not {expected}, but: {o.cause}", markup=False)


def print_counts(found: list[Outcome], beside: bool) -> None:
    """Accused, caught and named, ours and those of the checks beside."""
    total = len(found)
    counts = table("judge", "accused", "caught", "named", gap=2)
    right = [o.right for o in found]
    others = [f"{n} {kind}" for kind in ("undecided", "crashed") if (n := right.count(kind))]
    counts.add_row(
        "handgrad",
        " and ".join([str(right.count("accused")), *others]),
        f"{sum(o.wrong == 'caught' for o in found)}",
        f"{sum(o.named for o in found)}",
    )
    for name in CHECKS if beside else ():
        accused = sum(name in o.accused_by for o in found)
        caught = total - sum(name in o.missed_by for o in found)
        counts.add_row(name, str(accused), str(caught), "-")
    print(counts)
    black = sum(o.black_box for o in found)
    share = sum(o.named for o in found) / total
    print(f"of {total}, {black} of them in NumPy; causes named: {share:.0%} (bar {BAR:.0%})")


if __name__ == "__main__":
    run_script(controls)
