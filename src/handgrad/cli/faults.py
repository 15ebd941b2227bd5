"""`handgrad faults`: training killed, starved of disk and given damaged checkpoints, on purpose."""

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from handgrad.cli.output import check_writable, console, say, write_json
from handgrad.errors import InputError

WRONG = 1
QUIET = not console.is_terminal
SERVER = (sys.executable, "-c", "from handgrad.cli.serving import serve; serve()")


def faults(
    kills: Annotated[int, typer.Option(help="How many runs are killed.")] = 50,
    harms: Annotated[
        int | None, typer.Option(help="How many checkpoints are damaged; else every file thrice.")
    ] = None,
    disks: Annotated[int, typer.Option(help="On how many full disks; 12 at most.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the moments and the damages.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write every trial to this file.")] = None,
) -> None:
    """Kill training, fill its disk, damage its checkpoints: is the result the same, bit for bit?"""
    from handgrad.evidence.runs import Server
    from handgrad.scale.checkpoint_file import import_orbax

    check_writable("--json", json, ".json")
    for option, number in (("kills", kills), ("harms", harms or 0), ("disks", disks)):
        if number < 0:
            raise InputError(option, "a whole number of 0 or more", number, "pass 5, say")
    import_orbax()
    report: dict[str, Any] = {}
    with TemporaryDirectory(prefix="handgrad-faults-") as name:
        folder = Path(name)
        server = Server(SERVER, folder / "cache")
        try:
            wrong = [
                *kill(server, folder, kills, seed, report),
                *damage(server, folder, harms, disks, seed, report),
            ]
        finally:
            server.close()
    for trial in wrong:
        say(str(trial))
    if json:
        write_json(json, report)
    if wrong:
        raise typer.Exit(WRONG)


def kill(server: Any, folder: Path, count: int, seed: int, report: dict[str, Any]) -> list[Any]:
    """So many kills over all kinds of training, in a table; those that were survived badly."""
    from handgrad.evidence.killing import SAVING, STARTING, TRAINING, trials
    from handgrad.evidence.runs import KINDS, streaming

    found: list[Any] = []
    kinds = (*KINDS, streaming(write_table(folder / "breast-cancer.csv")))
    for place, kind in enumerate(kinds):
        share = count // len(kinds) + (place < count % len(kinds))
        runs = trials(server, kind, share, folder / kind.name, seed)
        found += track(runs, kind.name, share, console=console, transient=True, disable=QUIET)
    report["kills"] = [asdict(trial) for trial in found]
    table = _table("kill -9 in", STARTING, TRAINING, SAVING, "killed", "same bits")
    for name in [*dict.fromkeys(trial.kind for trial in found), "all"]:
        these = [trial for trial in found if name in (trial.kind, "all")]
        when, good = Counter(trial.found for trial in these), sum(t.ok for t in these)
        numbers = [*(when[phase] for phase in (STARTING, TRAINING, SAVING)), len(these)]
        table.add_row(name, *map(str, numbers), f"{good} of {len(these)}")
    console.print(table)
    return [trial for trial in found if not trial.ok]


def write_table(path: Path) -> Path:
    """The breast-cancer data as a file."""
    import numpy as np

    from handgrad.data import load

    data = load("breast-cancer")
    header = ",".join([f"x{i}" for i in range(data.features)] + ["label"])
    table = np.column_stack([data.x, data.y])
    form = ["%.9g"] * data.features + ["%d"]
    np.savetxt(path, table, delimiter=",", header=header, comments="", fmt=form)
    return path


def damage(
    server: Any, folder: Path, harms: int | None, disks: int, seed: int, report: dict[str, Any]
) -> list[Any]:
    """Damaged checkpoints and full disks, in a table; those that were survived badly."""
    from handgrad.evidence.damaging import SIZES, harmed, starved
    from handgrad.evidence.runs import KINDS

    kind = KINDS[1]
    trials = harmed(server, kind, folder / "harmed", seed, harms)
    found = list(track(trials, "damage", harms, console=console, transient=True, disable=QUIET))
    sizes = SIZES[:: max(1, len(SIZES) // disks)][:disks] if disks else ()
    try:
        trials = starved(server, kind, sizes, folder / "starved")
        found += track(
            trials, "full disk", len(sizes), console=console, transient=True, disable=QUIET
        )
    except OSError as error:
        say(f"full disk: not tried, {error}")
    report["damages"] = [asdict(trial) for trial in found]
    table = _table("fault", "tried", "said, and no crash", "same bits in the end")
    for fault in dict.fromkeys(trial.fault for trial in found):
        these = [trial for trial in found if trial.fault == fault]
        said = sum(trial.told and trial.clear for trial in these)
        same = sum(trial.same for trial in these)
        table.add_row(fault, str(len(these)), f"{said} of {len(these)}", f"{same} of {len(these)}")
    console.print(table)
    return [trial for trial in found if not trial.ok]


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right")
    return table
