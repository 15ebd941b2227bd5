"""The command `handgrad`: the only place that prints."""

from handgrad.cli.app import app, main

__all__ = ["app", "main"]
