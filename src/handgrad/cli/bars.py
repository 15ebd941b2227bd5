"""The live bars of `handgrad train`: loss, rate and time left of each side."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn

from handgrad.cli.output import console

UPDATE_SECONDS = 0.5
"""About how often a bar moves."""
COLUMNS = ("{task.description:>5}", "loss {task.fields[loss]}", "{task.fields[pace]}")


@contextmanager
def bars(names: Sequence[str]) -> Iterator[Callable[[str, Any], None]]:
    """A bar for each name, on a terminal; what is given is told of the name and its progress."""
    name, loss, pace = map(TextColumn, COLUMNS)
    with Progress(
        name, BarColumn(), loss, pace,
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        tasks = {name: progress.add_task(name, total=None, loss="", pace="") for name in names}

        def show(name: str, seen: Any) -> None:
            progress.update(
                tasks[name], completed=seen.step, total=seen.steps, loss=f"{seen.loss:.6f}",
                pace=f"{seen.steps_per_second:,.0f} steps/s, {time_left(seen)} left",
            )  # fmt: skip

        yield show


def time_left(seen: Any) -> str:
    """Until the last step, at the rate of the last chunk, as in 1:05:09."""
    seconds = (seen.steps - seen.step) / seen.steps_per_second
    return str(timedelta(seconds=math.ceil(seconds)))
