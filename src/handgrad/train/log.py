"""What a run reports: progress, its history, and a log as JSON lines that a plot can follow.

Every line of the log is one object with `event` and `time` (seconds since 1970): `start` or
`resumed` with the facts of the run, `progress` after each chunk, `message` for what went wrong,
`end` with how it ended. A line is appended by one write, so a reader never sees half of one, unless
the machine or the disk fails in the middle of it: such a rest is cut off when the run is resumed.
"""

import json
import math
import os
import time
from collections.abc import Callable
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handgrad._notebook import card, curve, facts
from handgrad.errors import InputError
from handgrad.scale.checkpoints import warn

LAST = 2**16
"""How much of the end of a file is read in search of its last whole line."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a chunk."""

    step: int
    steps: int
    loss: float
    """On all the data if they were evaluated after this chunk, else the mean of its batches."""
    gradient_max: float | None
    """The largest |∂E/∂w| over all the data; None where they were not evaluated."""
    steps_per_second: float
    """In this chunk."""


@dataclass(frozen=True)
class History:
    """What happened: losses in nats, times in seconds.

    `batch_losses` has the loss of each step on its batch, before the update; `steps`, `losses` and
    `gradient_max` say after which steps all the data were evaluated, and the result. The last
    evaluation is at the end; the others are so far apart that they cost little beside the steps.
    """

    batch_losses: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    gradient_max: np.ndarray
    compile_seconds: float
    seconds: float
    stopped: str
    """'epochs', 'tolerance' or 'interrupted'."""
    start: int = 0
    """Steps taken before, by the run that this one resumed: `batch_losses` has those after."""
    signal: int = 0
    """The number of the signal that interrupted the run, if one did."""
    unsaved: str = ""
    """Why the end of the run could not be saved, if it could not."""

    @property
    def end(self) -> int:
        """Steps taken in all."""
        return self.start + len(self.batch_losses)

    @property
    def steps_per_second(self) -> float:
        """Steps per second, compilation left out."""
        return len(self.batch_losses) / self.seconds if self.seconds else math.inf

    def __repr__(self) -> str:
        return (
            f"History(steps={self.end}, loss={_last(self.losses)}, "
            f"gradient_max={_last(self.gradient_max)}, seconds={self.seconds:.3g}, "
            f"stopped={self.stopped!r})"
        )

    def _repr_html_(self) -> str:
        return as_html(self)


STOPPED = {
    "epochs": "after all epochs",
    "tolerance": "within the tolerance",
    "interrupted": "when interrupted",
}


def as_html(history: History, *parts: str) -> str:
    """A run for a notebook: how it ended, the curve of the loss, and more `parts` below."""
    ended = (
        f"step {history.end:,}, {STOPPED.get(history.stopped, history.stopped)}: "
        f"loss {_last(history.losses)} nats"
    )
    batches = (np.arange(history.start, history.end), history.batch_losses)
    drawn = curve(history.steps, history.losses, "step", "loss (nats)", behind=batches)
    drawn += '<p class="quiet">thick: on all data; thin: means of batches</p>'
    numbers = [
        ("largest |∂E/∂w|", _last(history.gradient_max)),
        ("steps per second", f"{history.steps_per_second:,.0f}"),
        ("seconds", f"{history.seconds:.3g}, and {history.compile_seconds:.3g} to compile"),
        *([("not saved", history.unsaved)] if history.unsaved else []),
    ]
    return card(ended, drawn, facts(numbers), *parts)


def _last(values: np.ndarray) -> str:
    return f"{values[-1]:.6g}" if len(values) else "none"


class RunLog:
    """A file of JSON lines.

    `about` is in every line, for example which side of a comparison it is; `facts` are in the
    first. `warn` is told of a line that could not be written.
    """

    def __init__(
        self,
        path: Path | str,
        resume: bool = False,
        about: dict[str, Any] | None = None,
        facts: dict[str, Any] | None = None,
        warn: Callable[[str], None] = warn,
    ):
        """Raises InputError for a file with anything else in it, and, unless resumed, for any."""
        self.path, self.resume, self.warn = Path(path), resume, warn
        self.about, self.facts = about or {}, facts or {}
        self._failed = False
        self._check()

    def of(self, **about: Any) -> "RunLog":
        """The same file with something in each line that says whose it is."""
        other = copy(self)
        other.about = self.about | about
        return other

    def start(self, facts: dict[str, Any], step: int, steps: int) -> None:
        """The first line of a run."""
        event = "resumed" if step else "start"
        self.write(event, step=step, steps=steps, **self.facts | facts)

    def progress(self, progress: Progress) -> None:
        """A line after a chunk."""
        self.write("progress", **asdict(progress))

    def end(self, history: History) -> None:
        """The last line of a run."""
        self.write(
            "end", stopped=history.stopped, step=history.end, loss=float(history.losses[-1]),
            gradient_max=float(history.gradient_max[-1]), seconds=history.seconds,
        )  # fmt: skip

    def write(self, event: str, **what: Any) -> None:
        """Append a line. A disk that refuses is warned of once; training goes on."""
        line = {"event": event, "time": round(time.time(), 3), **self.about, **what}
        text = json.dumps(line, ensure_ascii=False, allow_nan=False, default=str) + "\n"
        try:
            _append(self.path, text.encode())
        except OSError as error:
            if not self._failed:
                self.warn(f"{self.path}: a line could not be written ({error.strerror})")
            self._failed = True

    def _check(self) -> None:
        """Raise InputError unless the file is absent, empty, or the log of a resumed run."""
        if os.path.lexists(self.path) and not os.path.isfile(self.path):
            raise InputError("log", "a file", f"{self.path}, which is not one", "name another")
        try:
            content = self.path.read_bytes()[:LAST] if self.path.exists() else b""
            if content and not self.resume:
                raise InputError(
                    "log", "a new file", f"{self.path}, which has lines in it",
                    "name another, or go on with it by --resume (resume=True)",
                )  # fmt: skip
            if content and not _is_run_log(content):
                raise InputError(
                    "log", "the log of a run", f"{self.path}, which is something else",
                    "name another file",
                )  # fmt: skip
            _cut_torn_line(self.path)
        except OSError as error:
            raise InputError(
                "log", "a file that can be written", f"{self.path} ({error.strerror})",
                "name another",
            ) from error  # fmt: skip


def _is_run_log(content: bytes) -> bool:
    """Whether the first line is one of ours; half of one is, where the disk failed at once."""
    first, newline, _ = content.partition(b"\n")
    if not newline:
        return b'{"event": "start"'.startswith(first[:17])
    try:
        return json.loads(first)["event"] in ("start", "resumed", "message")
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _append(path: Path, line: bytes) -> None:
    """Append the whole line or nothing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        before = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, line)
            if written < len(line):
                written += os.write(descriptor, line[written:])
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _cut_torn_line(path: Path) -> None:
    """Remove what follows the last newline; make the file if there is none."""
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LAST))
        end = file.read()
        torn = len(end) - (end.rfind(b"\n") + 1)
        if torn:
            file.truncate(size - torn)
