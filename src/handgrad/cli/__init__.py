"""The command `handgrad`: the only place that prints."""

import sys

from handgrad.cli.app import app

WRONG, BAD_INPUT, UNDECIDED = 1, 2, 3
"""Exit codes: the judged thing is wrong; bad usage or input; undecided. 0 is all is well."""


def main() -> None:
    """Run the command; a HandgradError becomes one clear line and exit code 2."""
    from rich.console import Console

    from handgrad._errors import HandgradError

    try:
        app()
    except HandgradError as error:
        Console(stderr=True, soft_wrap=True).print("error:", style="bold red", end=" ")
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False)
        sys.exit(BAD_INPUT)
