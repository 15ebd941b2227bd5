"""A disk that is full while saving, a checkpoint cut short, one bit flipped, a file gone.

After each the command must end with a message and no traceback, and the run, resumed, must come to
the parameters of the undisturbed one.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.runs import Ended, Kind, Server, newest, saved_args, undisturbed

SIZES = tuple(4096 * pages for pages in (2, 8, 20, 35, 50, 64, 80, 100, 120, 140, 170, 200))
"""Of a disk, in bytes: with room for nothing at all, for parts of a checkpoint, for a few."""
ENOUGH = 2**24
CUT, FLIPPED, GONE = "cut short", "one bit flipped", "gone"
CORRUPTIONS = (CUT, FLIPPED, GONE)


@dataclass(frozen=True)
class Damage:
    """One fault, and what came of it."""

    fault: str
    where: str
    told: bool
    """Whether the fault was said, in a message that names it."""
    clear: bool
    """Whether every run ended with exit code 0 or 2 and no traceback."""
    same: bool
    """Whether the parameters came out as those of the undisturbed run, bit for bit."""
    message: str

    @property
    def ok(self) -> bool:
        """Said, without a crash, and right in the end."""
        return self.told and self.clear and self.same


def corrupted(
    server: Server, kind: Kind, folder: Path, seed: int = 0, limit: int | None = None
) -> Iterator[Damage]:
    """Every file of the newest checkpoint harmed in each way, or `limit` of these chosen at random.

    The run has saved twice or more and was killed; it must go on from the checkpoint before.
    """
    chance = random.Random(f"harm {seed}")
    expected = undisturbed(server, kind, folder / "undisturbed")
    base, step = _killed_late(server, kind, folder / "base")
    checkpoint = Path("saved") / "hand" / f"step-{step}"
    files = sorted(p.relative_to(base) for p in (base / checkpoint).rglob("*") if p.is_file())
    faults = [(harm, file) for file in files for harm in CORRUPTIONS]
    for harm, file in faults if limit is None else chance.sample(faults, limit):
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(base, run)
        _corrupt(run / file, harm, chance)
        ended = server.run(saved_args(kind, run), run)
        passed_over = (run / checkpoint).with_name(f"step-{step}.refused").is_dir()
        told = passed_over and f"step-{step} is damaged" in ended.out.replace("\n", " ")
        yield _damage(harm, file.relative_to(checkpoint).as_posix(), told, run, expected, ended)


def starved(server: Server, kind: Kind, sizes: tuple[int, ...], folder: Path) -> Iterator[Damage]:
    """Runs that save on a disk of each size; then the disk is made larger, and they are resumed.

    Raises OSError where such a disk cannot be had.
    """
    expected = undisturbed(server, kind, folder / "undisturbed") if sizes else b""
    for size in sizes:
        run = folder / "run"
        run.mkdir(exist_ok=True)
        with disk(run / "saved", size) as enlarge:
            args = saved_args(kind, run)
            starving = server.run(args, run)
            at_once = starving.code == 2 or _has(run, expected)  # training does not need the disk
            said = starving.code == 0 or "No space left on device" in starving.out
            enlarge(ENOUGH)
            after = server.run(args, run)
        where = f"{size // 1024:,} KiB"
        ended = starving if not starving.clear else after
        told = said and at_once and starving.code in (0, 2)
        yield _damage("full disk", where, told, run, expected, ended)
        shutil.rmtree(run)


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """A disk of `size` bytes at `folder`, and a function to make it larger. Raises OSError."""
    folder.mkdir(parents=True)

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise OSError(f"a disk of a set size needs the right to mount ({done.stderr.strip()})")

    mount(f"size={size}")
    try:
        yield lambda larger: mount(f"remount,size={larger}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _killed_late(server: Server, kind: Kind, folder: Path) -> tuple[Path, int]:
    """The folder of a run that was killed when the first side had saved twice, and the step."""
    folder.mkdir(parents=True)
    saved = folder / "saved" / "hand"

    def kill(process: int, still: Callable[[], bool]) -> None:
        while len(list(saved.glob("step-*[0-9]"))) < 2 and still():
            time.sleep(0.001)
        if still():
            os.kill(process, signal.SIGKILL)

    ended = server.run(saved_args(kind, folder), folder, kill)
    if ended.code != -signal.SIGKILL:
        raise RuntimeError(f"the run could not be killed: {ended.out}")
    return folder, newest(folder, "hand")


def _corrupt(file: Path, harm: str, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if harm == GONE:
        file.unlink()
    elif harm == CUT:
        file.write_bytes(content[: chance.randrange(len(content))])
    else:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)


def _has(run: Path, expected: bytes) -> bool:
    params = run / "params.npz"
    return params.exists() and params.read_bytes() == expected


def _damage(fault: str, where: str, told: bool, run: Path, expected: bytes, ended: Ended) -> Damage:
    same = ended.code == 0 and _has(run, expected)
    return Damage(fault, where, told, ended.clear, same, "" if told and same else ended.out[-500:])
