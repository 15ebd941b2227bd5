"""A `.npy` file as a source: a table of numbers, one of its columns the target.

The header is read as `numpy.load(..., allow_pickle=False)` reads it, the rows as plain bytes. An
array of Python objects is a pickle, which can run code: it is refused by its header.
"""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.data.encoders import check_finite
from handgrad.data.files import unreadable
from handgrad.data.streams.source import Block, changed, rows_at_once
from handgrad.errors import InputError

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Version 3 is for names of fields, which a table of plain numbers has not."""


class Npy:
    """A .npy file as a source; `target` is the number of a column, from 0, or from −1 back."""

    def __init__(self, path: Path, target: str | int | None):
        self.path = path
        self._start, shape, self._dtype = read_header(path)
        self._rows, self._columns = shape
        self._column = _column(path, target, self._columns)
        self.target = f"target {self._column} of {path.name}"
        numbers = [str(number) for number in range(self._columns)]
        self._sides = slice(0, self._column), slice(self._column + 1, self._columns)
        self.names = [tuple(numbers[side]) for side in self._sides]

    def settle(self) -> None:
        """Its types are known."""

    def blocks(self) -> Iterator[Block]:
        """See `Source`."""
        at_once = rows_at_once(self._columns)
        row = self._columns * self._dtype.itemsize
        buffer = np.empty(at_once * row, np.uint8)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._start)
            for first in range(0, self._rows, at_once):
                count = min(at_once, self._rows - first)
                read_into(file, buffer[: count * row], self.path)
                table = buffer[: count * row].view(self._dtype).reshape(count, self._columns)
                self._check(table, first)
                yield Block(
                    first,
                    [table[:, side] for side in self._sides],
                    table[:, self._column].astype(bool if self._dtype.kind == "b" else np.float64),
                )

    def _check(self, table: np.ndarray, first: int) -> None:
        if self._dtype.kind != "f" or np.isfinite(table).all():
            return
        for number in range(self._columns):
            target = number == self._column
            where = self.target if target else f"column {number} of {self.path.name}"
            otherwise = "or label them" if target else "fill the gaps, or leave the column out"
            check_finite(table[:, number], where, otherwise, first)


def read_header(path: Path) -> tuple[int, tuple[int, int], np.dtype]:
    """Where the numbers begin, (N, D) and the dtype. Raises InputError for what is no table."""
    wanted = "a table of plain numbers, (N, D) in row-major order"
    remedy = "save it so: numpy.save(file, numpy.ascontiguousarray(x, 'float32'))"
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in HEADERS:
                raise InputError(path.name, wanted, f"a file of version {version}", remedy)
            shape, fortran, dtype = HEADERS[version](file)
            start = file.tell()
    except InputError:
        raise
    except Exception as error:  # the reader of headers parses them, and lets much through
        raise unreadable(path, error) from error
    if dtype.hasobject:
        remedy = f"objects are pickled and would run code when read; {remedy}"
        raise InputError(path.name, wanted, "Python objects", remedy)
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise InputError(path.name, wanted, f"the dtype {dtype}", remedy)
    if len(shape) != 2:
        raise InputError(path.name, wanted, f"shape {shape}", remedy)
    if fortran and min(shape) > 1:
        raise InputError(path.name, wanted, "an array in column-major order", remedy)
    if shape[0] < 1 or shape[1] < 2:
        raise InputError(
            path.name, "rows of features and a target", f"shape {shape}", "add some of each"
        )
    needed = start + math.prod(shape) * dtype.itemsize
    if path.stat().st_size < needed:
        raise InputError(
            path.name,
            f"{needed:,} bytes for {shape[0]:,} rows of {shape[1]:,} numbers",
            f"{path.stat().st_size:,}",
            "the file is cut short: write it again",
        )
    return start, shape, dtype


def read_into(file: io.FileIO | Any, buffer: np.ndarray, path: Path) -> None:
    """Fill `buffer` from a file without a buffer of its own. Raises InputError at its end."""
    view = buffer.data.cast("B")
    done = 0
    while done < len(view):
        try:
            got = file.readinto(view[done:])
        except OSError as error:
            raise unreadable(path, error) from error
        if not got:
            raise changed(path)
        done += got


def _column(path: Path, target: str | int | None, columns: int) -> int:
    try:
        number = int(target)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = columns
    if not -columns <= number < columns:
        raise InputError(
            "target",
            f"the number of a column of {path.name}, 0..{columns - 1}",
            "none" if target is None else repr(target),
            f"pass {columns - 1} for the last",
        )
    return number % columns
