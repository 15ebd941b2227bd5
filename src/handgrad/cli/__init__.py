"""The command `handgrad`: the only place that prints."""

import sys
from io import TextIOWrapper

from handgrad.cli.app import app
from handgrad.cli.output import complain

WRONG, BAD_INPUT, UNDECIDED = 1, 2, 3
"""Exit codes: the judged thing is wrong; bad usage or input; undecided. 0 is all is well."""


def main() -> None:
    """Run the command; a HandgradError is one clear line, or all with --traceback, and exit 2."""
    from handgrad.errors import HandgradError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that is no text, a terminal without UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except HandgradError as error:
        if "--traceback" in sys.argv:
            raise
        refuse(str(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        refuse("out of memory; make the hidden layers or the data smaller, or use float32")


def refuse(message: str) -> None:
    """Say what is wrong on standard error, and leave with exit code 2."""
    complain(message)
    sys.exit(BAD_INPUT)


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, NumPy or a device had no room for an array."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
