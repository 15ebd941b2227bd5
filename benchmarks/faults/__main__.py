"""`python -m benchmarks.faults`: training killed, starved of disk and given damaged checkpoints.

Exit code 1 if a run does not come to the same parameters, bit for bit, or says nothing of a fault.
"""

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from benchmarks.faults.corruption_tests import SIZES, corrupted, starved
from benchmarks.faults.kill_tests import SAVING, STARTING, TRAINING, trials
from benchmarks.faults.runs import KINDS, Server, streaming
from handgrad.cli.app import run_script
from handgrad.cli.output import WRONG, check_writable, print, table, track, write_json
from handgrad.errors import InputError

SERVER = (sys.executable, "-m", "benchmarks.faults.fork_server")


def faults(
    kills: Annotated[int, typer.Option(help="Number of runs to kill.")] = 50,
    harms: Annotated[
        int | None,
        typer.Option(help="Number of checkpoints to damage. Default: every file, in three ways."),
    ] = None,
    disks: Annotated[int, typer.Option(help="Number of full disks, at most 12.")] = 12,
    seed: Annotated[
        int, typer.Option(help="Random seed for the moments of the kills and the damages.")
    ] = 0,
    json: Annotated[Path | None, typer.Option(help="Write every trial to this file.")] = None,
) -> None:
    """Kill training, fill its disk, damage its checkpoints: is the result the same, bit for bit?"""
    from handgrad.scale.checkpoints import import_orbax

    check_writable("--json", json, ".json")
    for option, number in (("kills", kills), ("harms", harms or 0), ("disks", disks)):
        if number < 0:
            raise InputError(option, "a whole number of 0 or more", number, "pass 5")
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
        print(str(trial))
    if json:
        write_json(json, report)
    if wrong:
        raise typer.Exit(WRONG)


def kill(server: Any, folder: Path, count: int, seed: int, report: dict[str, Any]) -> list[Any]:
    """`count` kills over all kinds of training, in a table; the runs that did not survive."""
    found: list[Any] = []
    kinds = (*KINDS, streaming(write_csv(folder / "breast-cancer.csv")))
    for place, kind in enumerate(kinds):
        share = count // len(kinds) + (place < count % len(kinds))
        found += track(trials(server, kind, share, folder / kind.name, seed), kind.name, share)
    report["kills"] = [asdict(trial) for trial in found]
    rows = table("kill -9 in", STARTING, TRAINING, SAVING, "killed", "same bits")
    for name in [*dict.fromkeys(trial.kind for trial in found), "all"]:
        these = [trial for trial in found if name in (trial.kind, "all")]
        when, good = Counter(trial.found for trial in these), sum(t.ok for t in these)
        numbers = [*(when[phase] for phase in (STARTING, TRAINING, SAVING)), len(these)]
        rows.add_row(name, *map(str, numbers), f"{good} of {len(these)}")
    print(rows)
    return [trial for trial in found if not trial.ok]


def write_csv(path: Path) -> Path:
    """The breast-cancer data as a file."""
    import numpy as np

    from handgrad.data import load

    data = load("breast-cancer")
    header = ",".join([f"x{i}" for i in range(data.features)] + ["label"])
    form = ["%.9g"] * data.features + ["%d"]
    columns = np.column_stack([data.x, data.y])
    np.savetxt(path, columns, delimiter=",", header=header, comments="", fmt=form)
    return path


def damage(
    server: Any, folder: Path, harms: int | None, disks: int, seed: int, report: dict[str, Any]
) -> list[Any]:
    """Damaged checkpoints and full disks, in a table; the runs that did not survive."""
    kind = KINDS[1]
    found = list(track(corrupted(server, kind, folder / "damaged", seed, harms), "damage", harms))
    sizes = SIZES[:: max(1, len(SIZES) // disks)][:disks] if disks else ()
    try:
        found += track(starved(server, kind, sizes, folder / "starved"), "full disk", len(sizes))
    except OSError as error:
        print(f"full disk: not tried, {error}")
    report["damages"] = [asdict(trial) for trial in found]
    rows = table("fault", "tried", "said, and no crash", "same bits in the end")
    for fault in dict.fromkeys(trial.fault for trial in found):
        these = [trial for trial in found if trial.fault == fault]
        said = sum(trial.told and trial.clear for trial in these)
        same = sum(trial.same for trial in these)
        rows.add_row(fault, str(len(these)), f"{said} of {len(these)}", f"{same} of {len(these)}")
    print(rows)
    return [trial for trial in found if not trial.ok]


if __name__ == "__main__":
    run_script(faults)
