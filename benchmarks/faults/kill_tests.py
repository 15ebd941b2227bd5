"""Kill -9 at random moments: a run that is resumed must come to the parameters of the undisturbed.

Moments are of three kinds, in turn: while the run starts, after a number of lines of its log, and
during one of its saves; each with a random delay. All is drawn from a seed; where in its work the
process is when the signal comes, is up to the machine.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.runs import Kind, Server, lines, newest, saved_args, undisturbed

SIDES = ("hand", "optax")
STARTING, TRAINING, SAVING = "starting", "training", "saving"
WAIT = 0.001


@dataclass(frozen=True)
class Kill:
    """One run killed, and resumed to its end."""

    kind: str
    aim: str
    found: str
    """What it was doing: a checkpoint half written is saving, none begun is starting."""
    at: tuple[int, int]
    """The newest checkpoint of each side when it was killed."""
    resumed_at: tuple[int, int]
    """Where each side went on."""
    same: bool
    """Whether the final parameters are those of the undisturbed run, bit for bit."""
    message: str
    """What it said at the end, if it did not come to an end."""

    @property
    def ok(self) -> bool:
        """Right, and nothing that was saved is lost."""
        return self.same and self.at == self.resumed_at


def trials(server: Server, kind: Kind, count: int, folder: Path, seed: int = 0) -> Iterator[Kill]:
    """`count` kills of runs of one kind, each resumed and compared."""
    if count == 0:
        return
    expected = undisturbed(server, kind, folder / "undisturbed")
    chance, done = random.Random(f"{kind.name} {seed}"), 0
    while done < count:
        aim = (STARTING, TRAINING, SAVING, TRAINING, SAVING)[done % 5]
        shutil.rmtree(folder / "run", ignore_errors=True)
        (folder / "run").mkdir()
        if kill := _trial(server, kind, aim, folder / "run", expected, chance):
            done += 1
            yield kill


def _trial(
    server: Server, kind: Kind, aim: str, folder: Path, expected: bytes, chance: random.Random
) -> Kill | None:
    """A kill; None if the run ended before the moment came."""
    args, wait = saved_args(kind, folder), _moment(aim, folder, chance)

    def kill(process: int, still: Callable[[], bool]) -> None:
        if wait(still):
            os.kill(process, signal.SIGKILL)

    if server.run(args, folder, kill).code != -signal.SIGKILL:
        return None
    halves = list((folder / "saved").glob("*/*.part"))
    begun = bool(lines(folder / "log.jsonl"))
    at = tuple(newest(folder, side) for side in SIDES)
    ended = server.run(args, folder)
    first: dict[str, int] = {}
    for line in reversed(lines(folder / "log.jsonl")):
        if line["event"] in ("start", "resumed"):
            first.setdefault(line["side"], line["step"])
    params = folder / "params.npz"
    return Kill(
        kind=kind.name,
        aim=aim,
        found=SAVING if halves else TRAINING if begun else STARTING,
        at=(at[0], at[1]),
        resumed_at=(first.get("hand", -1), first.get("optax", -1)),
        same=ended.code == 0 and params.read_bytes() == expected,
        message="" if ended.code == 0 else ended.out[-500:],
    )


def _moment(aim: str, folder: Path, chance: random.Random) -> Callable[[Callable[[], bool]], bool]:
    """A function that waits for the moment; False if the run has ended before."""
    delay, number = chance.uniform(0, 0.04), chance.randrange(20)
    if aim == STARTING:
        delay = chance.uniform(0, 1.5)
    log = folder / "log.jsonl"
    saves: set[str] = set()

    def came() -> bool:
        if aim == TRAINING:
            return log.exists() and log.read_bytes().count(b"\n") > number
        if aim == SAVING:
            saves.update(str(path) for path in (folder / "saved").glob("*/*.part"))
            return len(saves) > number
        return True

    def wait(still: Callable[[], bool]) -> bool:
        while not came():
            if not still():
                return False
            time.sleep(WAIT)
        time.sleep(delay)
        return still()

    return wait
