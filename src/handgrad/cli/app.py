"""The commands and their options."""

from typing import Annotated

import typer

from handgrad.cli.bench import bench
from handgrad.cli.exhaust import exhaust
from handgrad.cli.explain import explain
from handgrad.cli.faults import faults
from handgrad.cli.mutants import mutants
from handgrad.cli.notes import notes
from handgrad.cli.recheck import recheck
from handgrad.cli.train import train
from handgrad.cli.verify import verify

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error was raised.")
    ] = False,
) -> None:
    """Hand-derived gradients for the cross-entropy family: trained, verified, measured."""


app.command()(train)
app.command()(verify)
app.command()(recheck)
app.command()(explain)
app.command()(notes)
app.command()(mutants)
app.command()(exhaust)
app.command()(faults)
app.command()(bench)
