"""`handgrad figures`: the figures of the two texts, as files."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from handgrad.cli.output import print, write_whole
from handgrad.errors import InputError


def figures(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="logarithm, sigmoid, scaling, underflow, surface, moons, pushing; or all."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder, which is made if need be.")] = Path(
        "figures"
    ),
) -> None:
    """Draw the curves, the descent and the moving boundary: PNG files, and a GIF that moves."""
    from handgrad.explain.figures import FIGURES, check_names, content

    chosen = list(dict.fromkeys(names or FIGURES))
    check_names(chosen)
    make_folder(out)
    for name in chosen:
        suffix, whole = content(name)
        path = out / f"{name}{suffix}"
        write_whole(path, whole)
        print(f"{escape(str(path))}: {len(whole) / 1024:,.0f} KB")


def make_folder(out: Path) -> None:
    """Raise InputError unless `out` is, or can be made, a folder to write to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "--out",
            "a folder, or a name for a new one",
            repr(str(out)),
            error.strerror or "name another",
        ) from error
    if not os.access(out, os.W_OK):
        raise InputError("--out", "a folder that can be written to", repr(str(out)), "name another")
