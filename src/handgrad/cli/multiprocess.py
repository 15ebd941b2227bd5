"""`handgrad train` on several processes: they meet, process 0 prints, all leave together."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

import typer

from handgrad.cli import output
from handgrad.errors import InputError

LOCAL_OPTIONS = ("process_id", "plot", "json")
"""Options that may differ from one process to another."""


def multiprocess(command: Callable[..., None]) -> Callable[..., None]:
    """The command, within a group of processes if it is given a coordinator."""

    @wraps(command)
    def run(**given: Any) -> None:
        coordinator = given["coordinator"]
        if coordinator is None:
            for option in ("processes", "process_id"):
                if given[option] is not None:
                    raise InputError(
                        option, "nothing without a coordinator", given[option],
                        "pass --coordinator HOST:PORT too",
                    )  # fmt: skip
            command(**given)
            return
        from handgrad.scale.processes import distributed

        about = {name: str(given[name]) for name in signature(command).parameters}
        for name in (*LOCAL_OPTIONS, "coordinator"):
            about.pop(name)
        with distributed(
            coordinator,
            given["processes"],
            given["process_id"],
            about=about,
            lost=end_process,
            refused=output.print_error,
        ):
            output.console.quiet = not is_main_process()
            code = 0
            try:
                command(**given)
            except typer.Exit as done:  # raised by all processes alike: they leave together
                code = done.exit_code
            finally:
                output.console.quiet = False
        if code:
            raise typer.Exit(code)

    return run


def is_main_process() -> bool:
    """Whether this process prints and writes files: it is the only one, or process 0."""
    import jax

    return jax.process_index() == 0


def end_process(message: str) -> None:
    """Print which process was lost, and end at once: this one would wait for it for ever."""
    output.print_error(message)
    sys.stdout.flush()
    os._exit(output.BAD_INPUT)
