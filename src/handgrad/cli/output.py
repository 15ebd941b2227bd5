"""Where results go: the screen, and files that are checked before any work and written whole."""

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

from rich.console import Console
from rich.table import Table

from handgrad.errors import InputError

WRONG, BAD_INPUT, UNDECIDED = 1, 2, 3
"""Exit codes: the judged thing is wrong; bad usage or input; undecided. 0 means all is well."""

console = Console(highlight=False, emoji=False)
error_console = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

IN_A_KERNEL = {"JPY_PARENT_PID", "JPY_SESSION_NAME"}
"""What Jupyter's kernels have in their environment, and so all that they start."""

# --- the screen -----------------------------------------------------------------------------------


def print(text: Any, markup: bool = True) -> None:
    """Print a line of prose, or a table; the terminal wraps prose, a file gets it whole."""
    if isinstance(text, str):
        console.print(printable(text), soft_wrap=True, markup=markup)
    else:
        console.print(text)


def print_error(message: str) -> None:
    """Print what is wrong, in one line on standard error."""
    error_console.print("error:", style="bold red", end=" ")
    error_console.print(printable(" ".join(message.split())), markup=False)


def print_note(message: str, apart: bool) -> None:
    """Print a line of prose; `apart`: on standard error, as the result is on standard output."""
    shown_on = error_console if apart else console
    shown_on.print(printable(message), soft_wrap=True, markup=False)


def printable(text: str) -> str:
    r"""The text with what would steer a terminal written out: names come from users' files.

    >>> printable("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return "".join(
        letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text
    )


def table(*headings: str, gap: int = 4) -> Table:
    """An empty table without lines: the first column to the left, the others to the right."""
    found = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for number, heading in enumerate(headings):
        found.add_column(heading, justify="right" if number else "left", no_wrap=number == 0)
    return found


def track(items: Iterable[Any], description: str, total: int | None = None) -> Iterator[Any]:
    """The items, with a bar that counts them on a terminal."""
    with progress_bars() as progress:
        yield from progress.track(items, total, description=description)


def progress_bars(*columns: Any) -> Any:
    """rich's `Progress` with these columns or its usual ones, on a terminal that a person sees."""
    from rich.progress import Progress

    return Progress(*columns, console=console, transient=True, disable=not draws_bars())


def draws_bars() -> bool:
    """Whether a bar can move: on a terminal that a person sees.

    The `!` of a notebook gives a terminal too, and stores all that comes: each step of a bar.
    """
    return console.is_terminal and not IN_A_KERNEL & set(os.environ)


def ulps(value: float) -> str:
    """An error in ulp as a person would write it."""
    if not math.isfinite(value):
        return "inf"
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}" if value < 1e6 else f"{value:.1e}"


# --- files ----------------------------------------------------------------------------------------

MAX_NAME_BYTES = 255
"""Of the name of a file, on every file system in common use."""


def check_writable(option: str, path: Path | None, suffix: str) -> None:
    """Raise InputError unless a file of that kind can be written at `path`."""
    if path is None:
        return
    if path.suffix.lower() != suffix:
        raise InputError(option, f"a file name ending in {suffix}", repr(str(path)), "rename it")
    wanted = "a file in a folder that can be written to"
    if os.path.isdir(path) or not os.path.isdir(path.parent):
        raise InputError(option, wanted, repr(str(path)), "make the folder")
    if len(os.fsencode(path.name)) > MAX_NAME_BYTES:
        most = f"a name of at most {MAX_NAME_BYTES} bytes"
        raise InputError(option, most, repr(path.name), "shorten it")
    if os.path.lexists(path) and not os.path.isfile(path):
        found = f"{str(path)!r}, which is something else"
        raise InputError(option, "a file, or nothing yet", found, "rename it")
    try:  # permissions do not tell everything: try
        part = _part_beside(path)
        part.open("xb").close()
        part.unlink()
    except OSError as error:
        found = f"{str(path)!r} ({error.strerror})"
        raise InputError(option, wanted, found, "name another") from error


def check_seed(seed: int) -> None:
    """Raise InputError unless a random key, and a generator, can begin with it."""
    if not 0 <= seed < 2**32:
        raise InputError("--seed", "0 or more, and below 2^32", seed, "pass 0")


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write `data` whole or not at all; numbers that JSON lacks become null."""
    text = json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, text.encode(errors="backslashreplace"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises InputError if the disk refuses."""
    write_pieces(path, [content])


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """`write_whole` of what comes piece by piece; nothing is written if one of them fails to come.

    The part that grows has a name that nobody else has, and is no link to another file.
    """
    part = _part_beside(path)
    try:
        with part.open("xb") as file:
            for piece in pieces:
                file.write(piece)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InputError(
            "output", f"a file that can be written at {path}", error.strerror, "name another"
        ) from error


def _part_beside(path: Path) -> Path:
    return path.with_name(f".handgrad-{token_hex(8)}.part")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
