"""The commands and their options."""

import typer

from handgrad.cli.exhaust import exhaust
from handgrad.cli.train import train
from handgrad.cli.verify import verify

app = typer.Typer(
    help="Hand-derived gradients for the cross-entropy family: trained, verified, measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command()(train)
app.command()(verify)
app.command()(exhaust)
