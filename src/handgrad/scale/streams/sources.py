"""Sources: a file as blocks of rows, read as often as is wanted.

The header of a .npy file is read as `numpy.load(..., allow_pickle=False)` reads it, its rows as
plain bytes. An array of Python objects is a pickle, which can run code: its header refuses it.

Tables come through `data.table_file`. A Parquet file written in one piece has one row group, as
large as the file: only a buffered reader takes it page by page (pyarrow's dataset scanner holds all
of it). Of a CSV file pyarrow finds the types of the columns from its first block, where `load`
finds them from all of it: so where a later value does not fit, the column takes the next type that
pyarrow would have tried, and reading begins again.
"""

import math
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import numpy as np

from handgrad.data.encoders import FEATURE_REMEDY, TARGET_REMEDY, Block, check_finite, table_block
from handgrad.data.files import check_target, file_changed, unreadable
from handgrad.data.loading import prepared_columns
from handgrad.data.preparation import PreparedColumn
from handgrad.data.table_file import FileOptions, TableFile
from handgrad.errors import InputError

BLOCK_NUMBERS = 2**21
"""Of a block: 16 MB in float64."""
BLOCK_ROWS = 2**16
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Version 3 is for names of fields, which a table of plain numbers has not."""


class NpySource:
    """A .npy file; `target` is the number of a column, from 0, or from −1 back.

    Attributes:
        path: the file.
        target: what messages call the target.
        columns: of the features.
        remarks: none.
    """

    remarks: tuple[str, ...] = ()

    def __init__(self, path: Path, target: str | int | None):
        self.path = path
        self._start, (self._rows, columns), self._dtype = read_header(path)
        try:
            number = int(target)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = columns
        if not -columns <= number < columns:
            raise InputError(
                "target", f"the number of a column of {path.name}, 0..{columns - 1}",
                "none" if target is None else repr(target), f"pass {columns - 1} for the last",
            )  # fmt: skip
        self._column, self._columns = number % columns, columns
        self.target = f"target {self._column} of {path.name}"
        self._sides = slice(0, self._column), slice(self._column + 1, columns)
        numbers = [str(number) for number in range(columns)]
        names = [number for side in self._sides for number in numbers[side]]
        self.columns = tuple(PreparedColumn(name, "number") for name in names)

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InputError, with the row, for what cannot be learned from."""
        at_once = _rows_at_once(self._columns)
        row = self._columns * self._dtype.itemsize
        buffer = np.empty(at_once * row, np.uint8)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._start)
            for first in range(0, self._rows, at_once):
                count = min(at_once, self._rows - first)
                read_into(file, buffer[: count * row], self.path)
                table = buffer[: count * row].view(self._dtype).reshape(count, self._columns)
                self._check_finite(table, first)
                target = table[:, self._column]
                yield Block(
                    first,
                    [table[:, side] for side in self._sides if table[:, side].shape[1]],
                    target.astype(bool if self._dtype.kind == "b" else np.float64),
                )

    def _check_finite(self, table: np.ndarray, first: int) -> None:
        if self._dtype.kind != "f" or np.isfinite(table).all():
            return
        for number, column in enumerate(table.T):
            if number == self._column:
                check_finite(column, self.target, TARGET_REMEDY, first)
            where = f"column {number} of {self.path.name}"
            check_finite(column, where, FEATURE_REMEDY, first)


def read_header(path: Path) -> tuple[int, tuple[int, int], np.dtype]:
    """Where the numbers begin, (N, D) and the dtype. Raises InputError for other arrays."""
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
        wanted = "rows of features and a target"
        raise InputError(path.name, wanted, f"shape {shape}", "add some of each")
    needed, size = start + math.prod(shape) * dtype.itemsize, path.stat().st_size
    if size < needed:
        wanted = f"{needed:,} bytes for {shape[0]:,} rows of {shape[1]:,} numbers"
        remedy = "the file is cut short: write it again"
        raise InputError(path.name, wanted, f"{size:,}", remedy)
    return start, shape, dtype


def read_into(file: FileIO, buffer: np.ndarray, path: Path) -> None:
    """Fill `buffer` from a file that is opened unbuffered. Raises InputError at its end."""
    view = buffer.data.cast("B")
    done = 0
    while done < len(view):
        try:
            got = file.readinto(view[done:])
        except OSError as error:
            raise unreadable(path, error) from error
        if not got:
            raise file_changed(path.name)
        done += got


class TableSource:
    """A table in a file (see `data.table_file`), with the attributes of `NpySource`.

    Attributes:
        columns: of the features, of which nothing is learnt yet.
        remarks: what was guessed of the file.
    """

    def __init__(self, path: Path, target: str | None, options: FileOptions | None = None):
        self.path = path
        self._file = TableFile(path, options)
        self._missing = self._file.options.impute is not None
        table = next(self._file.pieces(BLOCK_ROWS))
        self._target = check_target(path.name, self._file.columns, target)
        self.target = f"target {target!r} of {path.name}"
        formats = self._file.formats or {}
        self.columns = prepared_columns(table, target, path.name, formats)

    @property
    def remarks(self) -> list[str]:
        """What was guessed of the file."""
        return self._file.remarks

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InputError, with the row, for what cannot be learned from."""
        first = 0
        for table in self._file.pieces(_rows_at_once(len(self.columns) + 1)):
            yield table_block(table, self._target, self.path.name, first, self._missing)
            first += table.num_rows


def open_source(
    path: Path, target: str | int | None, options: FileOptions | None = None
) -> NpySource | TableSource:
    """The source for the suffix of a file. Raises InputError where it cannot be opened."""
    if path.suffix.lower() == ".npy":
        return NpySource(path, target)
    if target is not None and not isinstance(target, str):
        raise InputError("target", "the name of a column", repr(target), "pass a string")
    return TableSource(path, target, options)


def _rows_at_once(columns: int) -> int:
    return max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // columns))
