"""The commands of `handgrad`, and how they end: in an exit code, with an error in one line."""

import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from io import TextIOWrapper
from platform import python_version
from typing import Annotated, Any

import typer

from handgrad import __version__
from handgrad.cli.atlas import atlas
from handgrad.cli.bench import bench
from handgrad.cli.explain import explain
from handgrad.cli.output import BAD_INPUT, print, print_error
from handgrad.cli.predict import predict, show
from handgrad.cli.train import train
from handgrad.cli.verify import audit, recheck, repair, verify

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)


def print_version(wanted: bool) -> None:
    """Print the versions that a bug report needs, and leave."""
    if wanted:
        print(f"handgrad {__version__} (jax {version('jax')}, Python {python_version()})")
        raise typer.Exit


@app.callback()
def options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error was raised.")
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Hand-derived gradients for the cross-entropy family: trained, verified, measured.

    Exit codes: 0 all is well; 1 the judged thing is wrong; 2 bad usage or input; 3 undecided.
    """


app.command()(train)
app.command()(predict)
app.command()(show)
app.command()(verify)
app.command()(recheck)
app.command()(audit)
app.command()(repair)
app.command()(explain)
app.command()(bench)
app.command()(atlas)


def main() -> None:
    """Run the command, which is called `handgrad` however it was started."""
    run(partial(app, prog_name="handgrad"))


def run_script(command: Callable[..., None]) -> None:
    """Run one function as a command of its own, with the errors and exit codes of `handgrad`."""
    script = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
    script.command()(command)
    run(script)


def run(command: Callable[[], Any]) -> None:
    """Run a command: a HandgradError is one line (with --traceback, all of it) and exit code 2."""
    from handgrad.errors import HandgradError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names that are not text, terminals without UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        command()
    except HandgradError as error:
        if "--traceback" in sys.argv:
            raise
        leave(str(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        leave("out of memory; make the hidden layers or the data smaller, or use float32")


def leave(message: str) -> None:
    """Print what is wrong on standard error, and leave with exit code 2."""
    print_error(message)
    sys.exit(BAD_INPUT)


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, NumPy or a device had no room for an array."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
