"""What of `handgrad train` outlives it: checkpoints of both sides, the log, the parameters."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from handgrad.cli.multiprocess import is_main_process
from handgrad.cli.output import print, write_whole
from handgrad.errors import InputError

SIDES = ("hand", "optax")
SECONDS = 60.0
"""From one checkpoint to the next, by default."""


@dataclass
class RunOptions:
    """The options that say what of a run is saved, and whether to continue a saved one."""

    folder: Path | None
    every_steps: int | None
    every_seconds: float | None
    resume: bool
    log: Path | None
    settings: dict[str, Any] = field(default_factory=dict)
    """The options that a checkpoint is known by."""

    def check(self) -> None:
        """Raise InputError unless everything can be saved as asked. Writes nothing."""
        from handgrad.scale.checkpoints import check_folder
        from handgrad.train.log import RunLog

        if self.folder is None:
            given = {"every_steps": self.every_steps, "every_seconds": self.every_seconds}
            for option, value in {**given, "resume": self.resume or None}.items():
                if value is not None:
                    raise InputError(
                        option, "a --checkpoint to go with it", "none", "name a folder"
                    )
        else:
            check_folder(self.folder, SIDES)
            for side in SIDES:
                self._checkpoints(side).check(self.resume)
        if self.log is not None and is_main_process():
            RunLog(self.log, self.resume)

    @contextmanager
    def open(self) -> Iterator[Callable[[str], dict[str, Any]]]:
        """Holds the folder and defers signals; gives the options of `fit` for a side."""
        from handgrad.scale.checkpoints import lock_folder
        from handgrad.scale.processes import defer_signals
        from handgrad.train.log import RunLog

        with ExitStack() as stack:
            if self.folder is not None:
                if is_main_process():
                    stack.enter_context(lock_folder(self.folder))
                stack.enter_context(defer_signals())
            log = None
            if self.log and is_main_process():
                log = RunLog(self.log, self.resume, facts=self.settings, warn=print_warning)

            def options_of(side: str) -> dict[str, Any]:
                found: dict[str, Any] = {"resume": self.resume}
                if self.folder is not None:
                    found["checkpoint"] = self._checkpoints(side)
                if log:
                    found["log"] = log.of(side=side)
                return found

            yield options_of

    def _checkpoints(self, side: str) -> Any:
        from handgrad.scale.checkpoints import Checkpoints

        assert self.folder is not None
        seconds = self.every_seconds
        if seconds is None and self.every_steps is None:
            seconds = SECONDS
        return Checkpoints(
            self.folder / side, self.every_steps, seconds,
            settings={"side": side, **self.settings}, warn=print_warning,
        )  # fmt: skip

    def report(self, results: dict[str, Any]) -> None:
        """Print from where a run continued. Raises InputError if its end could not be saved."""
        for side, result in results.items():
            if result.history.start:
                print(f"{side} went on from step {result.history.start:,}")
        for side, result in results.items():
            self.check_saved(side, result.history)

    def exit_of(self, stopped: Any) -> typer.Exit:
        """Print where a stopped run stands and how to continue; the exit code is 128 + signal.

        Raises InputError if it could not be saved.
        """
        self.check_saved(stopped.side, stopped.history)
        print(f"{stopped}; saved in {escape(str(self.folder))}")
        print("go on with the same command and --resume")
        return typer.Exit(128 + stopped.history.signal)

    def check_saved(self, side: str, history: Any) -> None:
        """Raise InputError if the end of a run could not be saved."""
        if history.unsaved:
            raise InputError(
                "checkpoint", f"room to save the end of {side}, step {history.end:,}",
                history.unsaved, "make room, and go on from what is saved with --resume",
            )  # fmt: skip


def print_warning(message: str) -> None:
    """One line in yellow."""
    print(f"[yellow]{escape(message)}[/]")


def write_parameters(path: Path, results: dict[str, Any]) -> None:
    """Write the parameters of both sides to an .npz, whole or not at all; `numpy.load` reads it."""
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
