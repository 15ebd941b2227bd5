"""Runs of `handgrad train` to be killed, starved and damaged; and what must come of them.

A run is a process of its own, started by a server that is given (`fork_server`); what is known of
it is what anyone knows: its exit code, what it printed, and its files.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 600.0
"""Seconds that one run may take."""


@dataclass(frozen=True)
class Kind:
    """A way to train, long enough to be killed in the middle of it, in six intervals or so."""

    name: str
    args: tuple[str, ...]


KINDS = (
    Kind("full batch", ("breast-cancer", "--batch-size", "full", "--optimizer", "momentum",
                        "--epochs", "60000", "--every-steps", "10000")),
    Kind("mini-batch", ("breast-cancer", "--optimizer", "adam", "--learning-rate", "0.001",
                        "--epochs", "3000", "--every-steps", "8000")),
    Kind("per example", ("breast-cancer", "--batch-size", "1", "--learning-rate", "0.01",
                         "--epochs", "600", "--every-steps", "40000", "--dtype", "float64")),
)  # fmt: skip


def streaming(table: Path) -> Kind:
    """Training on a file of breast-cancer that stays on the disk."""
    file = (str(table), "--target", "label", "--stream")
    return Kind("streaming", (*file, "--epochs", "300", "--every-steps", "800"))


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, or minus the signal that killed it, and what it said."""

    code: int
    out: str

    @property
    def clear(self) -> bool:
        """Whether it ended as a command may: without a traceback, and not by itself."""
        return self.code in (0, 2) and "Traceback" not in self.out


class Server:
    """Starts runs, one at a time."""

    def __init__(self, command: Sequence[str], cache: Path):
        """`cache`: a folder for compiled programs, which the runs have in common."""
        fast = {
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | fast,
        )  # fmt: skip

    def run(
        self,
        args: Sequence[Any],
        folder: Path,
        meanwhile: Callable[[int, Callable[[], bool]], None] | None = None,
    ) -> Ended:
        """A run to its end. `meanwhile` is given its process, and a function: is it still there?"""
        out = folder / "out.txt"
        out.write_text("")
        assert self._process.stdin is not None
        request = {"args": ["train", *map(str, args)], "out": str(out)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        process, until = self._answer(), time.monotonic() + LIMIT
        if meanwhile:
            meanwhile(process, lambda: is_there(process) and time.monotonic() < until)
        while is_there(process):
            if time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.005)
        return Ended(self._answer(), out.read_text(errors="replace"))

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def is_there(process: int) -> bool:
    """Whether a process has not ended; the server may not have asked after it yet."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def saved_args(kind: Kind, folder: Path) -> list[Any]:
    """The options with which a run is saved in a folder, and resumed if it was there."""
    return [
        *kind.args, "--resume", "--checkpoint", folder / "saved", "--log", folder / "log.jsonl",
        "--params", folder / "params.npz",
    ]  # fmt: skip


def undisturbed(server: Server, kind: Kind, folder: Path) -> bytes:
    """The parameters, as a file, of a run that is not saved nor disturbed."""
    folder.mkdir(parents=True)
    plain = [part for part in kind.args if part != "--every-steps"]
    del plain[len(kind.args[: kind.args.index("--every-steps")])]
    ended = server.run([*plain, "--params", folder / "params.npz"], folder)
    if ended.code != 0:
        raise RuntimeError(ended.out)
    return (folder / "params.npz").read_bytes()


def newest(folder: Path, side: str) -> int:
    """The step of the newest checkpoint of a side by its name; 0 if there is none."""
    found = (folder / "saved" / side).glob("step-*")
    return max((int(p.name[5:]) for p in found if p.name[5:].isdecimal()), default=0)


def lines(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a record."""
    content = log.read_bytes() if log.exists() else b""
    return [json.loads(line) for line in content.split(b"\n")[:-1]]
