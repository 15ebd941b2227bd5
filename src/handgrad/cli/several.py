"""`handgrad train` on several processes: they meet, process 0 speaks, all part together."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

import typer

from handgrad.cli import output
from handgrad.errors import InputError

HERE = ("process_id", "plot", "json")
"""Options that may differ from one process to another."""


def by_several(command: Callable[..., None]) -> Callable[..., None]:
    """The command, between meeting and parting if it is given a coordinator."""

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
        for name in (*HERE, "coordinator"):
            about.pop(name)
        with distributed(
            coordinator, given["processes"], given["process_id"], about=about, lost=end_process
        ):
            output.console.quiet = not speaks()
            code = 0
            try:
                command(**given)
            except typer.Exit as done:  # as all of them do: no reason to part in haste
                code = done.exit_code
            finally:
                output.console.quiet = False
        if code:
            raise typer.Exit(code)

    return run


def speaks() -> bool:
    """Whether this process prints, and writes files: there is no other, or it is process 0."""
    import jax

    return jax.process_index() == 0


def end_process(message: str) -> None:
    """Say which process was lost, and end: this one waits for it, and for ever."""
    output.complain(message)
    sys.stdout.flush()
    os._exit(2)
