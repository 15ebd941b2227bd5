"""Sources: a file as blocks of rows, read from the beginning as often as is wanted."""

from collections.abc import Iterator, Sequence
from os import fspath
from os.path import expanduser
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from handgrad.errors import InputError

BLOCK_NUMBERS = 2**21
"""Of a block: 16 MB in float64."""


class Block(NamedTuple):
    """Some rows of a file, the first of them number `first`, from 0; nothing missing, all finite.

    `parts` are the features from left to right: (R, c) numbers, or one column (R,) of str.
    """

    first: int
    parts: list[np.ndarray]
    target: np.ndarray
    """(R,) float64, bool or object (of str)."""

    def rows(self, part: slice) -> "Block":
        """Some of them."""
        return Block(self.first + part.start, [p[part] for p in self.parts], self.target[part])


class Source(Protocol):
    """A file that can be read block by block."""

    path: Path
    target: str
    """What messages call the target."""

    @property
    def names(self) -> Sequence[tuple[str, ...]]:
        """Of the columns in each part of a block."""
        ...

    def settle(self) -> None:
        """Find out the types of the columns; before `blocks`."""

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InputError, with the row, for what cannot be learned from."""
        ...


class Fingerprint(NamedTuple):
    """What changes with a file: its size, when it was written, and which file it is."""

    bytes: int
    written_ns: int
    device: int
    number: int

    @classmethod
    def of(cls, path: Path) -> "Fingerprint":
        """Of a file now."""
        try:
            now = path.stat()
        except OSError:
            raise changed(path) from None
        return cls(now.st_size, now.st_mtime_ns, now.st_dev, now.st_ino)


def changed(path: Path) -> InputError:
    """What to raise where a file is not the one it was."""
    return InputError(
        path.name,
        "a file that stays as it is while it is read",
        "another one than at the beginning",
        "wait until it is written, or train on a copy of it",
    )


def rows_at_once(columns: int, most: int = 2**16) -> int:
    """How many rows a block has."""
    return max(1, min(most, BLOCK_NUMBERS // columns))


def as_path(path: object) -> Path:
    """A Path, ~ expanded. Raises InputError for anything that is none."""
    try:
        return Path(expanduser(fspath(path)))  # type: ignore[call-overload]
    except TypeError:
        raise InputError("path", "the path of a file", repr(path), "pass a string") from None
