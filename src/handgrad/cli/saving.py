"""What of `handgrad train` outlives it: checkpoints of both sides, the record, the parameters."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from handgrad.cli.output import say, write_whole
from handgrad.cli.several import speaks
from handgrad.errors import InputError

SIDES = ("hand", "optax")
SECONDS = 60.0
"""From one checkpoint to the next, if nothing else is said."""


@dataclass
class Keeping:
    """The options of a run that say what is kept of it, and how to go on with it."""

    folder: Path | None
    every_steps: int | None
    every_seconds: float | None
    resume: bool
    log: Path | None
    settings: dict[str, Any] = field(default_factory=dict)
    """The options that a checkpoint is known by."""

    def check(self) -> None:
        """Raise InputError unless all can be kept as asked. Writes nothing."""
        from handgrad.scale.checkpoints import check_folder
        from handgrad.train.log import RunLog

        if self.folder is None:
            given = {"every_steps": self.every_steps, "every_seconds": self.every_seconds}
            for option in [name for name, value in given.items() if value is not None] + [
                "resume"
            ] * self.resume:
                raise InputError(option, "a --checkpoint to go with it", "none", "name a folder")
        else:
            check_folder(self.folder, SIDES)
            for side in SIDES:
                self._checkpoints(side).check(self.resume)
        if self.log is not None and speaks():
            RunLog(self.log, self.resume)

    @contextmanager
    def open(self) -> Iterator[Callable[[str], dict[str, Any]]]:
        """Holds the folder and notes signals; gives what `fit` is told of it, by side."""
        from handgrad.scale.checkpoints import lock_folder
        from handgrad.scale.processes import defer_signals
        from handgrad.train.log import RunLog

        with ExitStack() as stack:
            if self.folder is not None:
                if speaks():
                    stack.enter_context(lock_folder(self.folder))
                stack.enter_context(defer_signals())
            log = (
                self.log
                and speaks()
                and RunLog(self.log, self.resume, facts=self.settings, warn=warn)
            )

            def of(side: str) -> dict[str, Any]:
                kept: dict[str, Any] = {"resume": self.resume}
                if self.folder is not None:
                    kept["checkpoint"] = self._checkpoints(side)
                if log:
                    kept["log"] = log.of(side=side)
                return kept

            yield of

    def _checkpoints(self, side: str) -> Any:
        from handgrad.scale.checkpoints import Checkpoints

        assert self.folder is not None
        seconds = self.every_seconds
        if seconds is None and self.every_steps is None:
            seconds = SECONDS
        return Checkpoints(
            self.folder / side, self.every_steps, seconds,
            settings={"side": side, **self.settings}, warn=warn,
        )  # fmt: skip

    def report(self, results: dict[str, Any]) -> None:
        """Say what was taken up. Raises InputError if the end of a run could not be saved."""
        for side, result in results.items():
            if result.history.start:
                say(f"{side} went on from step {result.history.start:,}")
        for side, result in results.items():
            self.check_saved(side, result.history)

    def leave(self, stopped: Any) -> typer.Exit:
        """Say where the run stands and how to go on; as a shell expects, the code is 128 + signal.

        Raises InputError if it could not be saved.
        """
        self.check_saved(stopped.side, stopped.history)
        say(f"{stopped}; saved in {escape(str(self.folder))}")
        say("go on with the same command and --resume")
        return typer.Exit(128 + stopped.history.signal)

    def check_saved(self, side: str, history: Any) -> None:
        """Raise InputError if the end of a run could not be saved."""
        if history.unsaved:
            raise InputError(
                "checkpoint", f"room to save the end of {side}, step {history.end:,}",
                history.unsaved, "make room, and go on from what is saved with --resume",
            )  # fmt: skip


def warn(message: str) -> None:
    """One line in yellow."""
    say(f"[yellow]{escape(message)}[/]")


def write_parameters(path: Path, results: dict[str, Any]) -> None:
    """The parameters of each side to an .npz, whole or not at all; `numpy.load` reads it."""
    import jax
    import numpy as np

    arrays = {
        f"{side}{jax.tree_util.keystr(key)}": np.asarray(leaf)
        for side, result in results.items()
        for key, leaf in jax.tree_util.tree_leaves_with_path(result.params)
    }
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_whole(path, content.getvalue())
