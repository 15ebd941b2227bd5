"""`handgrad train` on a file that is larger than memory allows: when, and what it says."""

import os
from os.path import expanduser, getsize, isfile
from pathlib import Path
from typing import Any

from rich.markup import escape

from handgrad.cli.output import say
from handgrad.errors import InputError

SHARE = 4
"""A file of more than a SHARE-th of the memory is streamed unasked: encoded, it may be larger."""


def is_streamed(data: str, asked: bool) -> bool:
    """Whether to stream `data`: if asked to, if it is a .npy file, or large for this machine."""
    path = Path(expanduser(data))
    if not isfile(path):  # also for a name too long to be one, where Path.is_file may raise
        if asked and path.suffix == "":
            raise InputError(
                "--stream", "a .csv, .parquet or .npy file", repr(data),
                "leave it out: a data set that comes by name is small",
            )  # fmt: skip
        return asked
    if asked or path.suffix.lower() == ".npy":
        return True
    size = getsize(path)
    large = size > memory() / SHARE
    if large:
        say(
            f"[dim]{size / 1e9:,.1f} GB is more than a quarter of this machine's "
            "memory: the file is streamed[/]"
        )
    return large


def say_prepared(train: Any, test: Any) -> None:
    """Where the rows are now, and what it took."""
    size = (train.copy.bytes + test.copy.bytes) / 1e6
    rate = (train.examples + test.examples) / train.prepared_in
    say(
        f"[dim]streamed: learnt and encoded in {train.prepared_in:.1f} s ({rate:,.0f} rows a "
        f"second), {size:,.1f} MB in {escape(str(train.copy.folder))} until the end[/]"
    )


def memory() -> float:
    """Of this machine, in bytes; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
