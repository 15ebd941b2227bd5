"""Sources: a .npy, .csv or .parquet file as blocks of rows, read as often as is wanted.

The header of a .npy file is read as `numpy.load(..., allow_pickle=False)` reads it, its rows as
plain bytes. An array of Python objects is a pickle, which can run code: its header refuses it.

Parquet and CSV files come through pyarrow's streaming readers. A Parquet file written in one piece
has one row group, as large as the file: only a buffered reader takes it page by page (pyarrow's
dataset scanner holds all of it). Of a CSV file pyarrow finds the types of the columns from its
first block, where `load` finds them from all of it: so where a later value does not fit, the column
takes the next type that pyarrow would have tried, and reading begins again.
"""

import math
import re
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handgrad.data.encoders import FEATURE_REMEDY, TARGET_REMEDY, Block, check_finite, table_block
from handgrad.data.files import (
    check_columns,
    check_last_quote,
    check_not_utf16,
    file_changed,
    import_pyarrow,
    no_rows,
    unreadable,
)
from handgrad.errors import InputError

if TYPE_CHECKING:
    import pyarrow

BLOCK_NUMBERS = 2**21
"""Of a block: 16 MB in float64."""
BLOCK_ROWS = 2**16
CSV_BLOCK = 2**23
"""Bytes; no row may be longer."""
BUFFERS = 2**25
"""Bytes that the columns of a Parquet file share for reading."""
MISFIT = re.compile(r"In CSV column #(\d+): .*CSV conversion error to (.*): invalid value")
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
        names: of the columns in each part of a block.
    """

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
        self.names: list[tuple[str, ...]] = [tuple(numbers[side]) for side in self._sides]

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
                    [table[:, side] for side in self._sides],
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
    """A .csv or .parquet file, with the attributes of `NpySource`; `target` names a column."""

    def __init__(self, path: Path, target: str | None):
        pyarrow = import_pyarrow()
        self.path = path
        try:
            if path.suffix.lower() == ".csv":
                check_not_utf16(path)
                self._types: dict | None = _csv_types(path, target)
                columns = list(self._types)
            else:
                self._types = None
                with pyarrow.parquet.ParquetFile(path) as file:
                    columns = list(file.schema_arrow.names)
        except (UnicodeDecodeError, pyarrow.ArrowException, OSError) as error:
            raise _table_error(path, error) from error
        self._target = check_columns(path.name, columns, target)
        self.target = f"target {target!r} of {path.name}"
        self.names: list[tuple[str, ...]] = [(name,) for name in columns if name != target]

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InputError, with the row, for what cannot be learned from."""
        pyarrow = import_pyarrow()
        first = 0
        try:
            for batch in self._batches():
                if batch.num_rows:
                    table = pyarrow.Table.from_batches([batch])
                    yield table_block(table, self._target, self.path.name, first)
                    first += batch.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            raise _table_error(self.path, error) from error
        if first == 0:
            raise no_rows(self.path)

    def _batches(self) -> "Iterator[pyarrow.RecordBatch]":
        if self._types is not None:
            with _open_csv(self.path, self._types) as reader:
                yield from reader
            return
        columns = len(self.names) + 1
        buffer = min(2**20, max(2**12, BUFFERS // columns))
        # Blocks are read ahead by whoever reads them; pre_buffer would hold all of the file.
        parquet = import_pyarrow().parquet
        with parquet.ParquetFile(self.path, buffer_size=buffer, pre_buffer=False) as file:
            yield from file.iter_batches(_rows_at_once(columns))


def _csv_types(path: Path, target: str | None) -> "dict[str, pyarrow.DataType]":
    """The columns of a CSV file with the types that fit all their values; reads all of it."""
    pyarrow = import_pyarrow()
    order = [
        pyarrow.null(), pyarrow.int64(), pyarrow.bool_(), pyarrow.date32(),
        pyarrow.time32("s"), pyarrow.timestamp("s"), pyarrow.timestamp("ns"),
        pyarrow.float64(), pyarrow.string(), pyarrow.binary(),
    ]  # fmt: skip
    types: dict = {}
    while True:
        try:
            with _open_csv(path, types) as reader:
                check_columns(path.name, reader.schema.names, target)
                types = dict(zip(reader.schema.names, reader.schema.types, strict=True))
                rows, batch = 0, reader.schema.empty_table()
                for batch in reader:
                    rows += batch.num_rows
            check_last_quote(path, batch, rows)
            return types
        except pyarrow.ArrowException as error:
            misfit = MISFIT.search(str(error))
            if misfit is None:
                raise
            name = list(types)[int(misfit[1])]
            place = order.index(types[name]) + 1
            if place == len(order):
                raise
            types[name] = order[place]


def _open_csv(path: Path, types: "dict[str, pyarrow.DataType]") -> "pyarrow.csv.CSVStreamingReader":
    csv = import_pyarrow().csv
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK),  # knows row numbers
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=types),
    )


def _table_error(path: Path, error: Exception) -> InputError:
    if "straddling object" not in str(error):
        return unreadable(path, error)
    expected = f"rows of at most {CSV_BLOCK:,} bytes"
    found = "a longer one, or a quote that is never closed"
    return InputError(path.name, expected, found, "close the quote")


def open_source(path: Path, target: str | int | None) -> NpySource | TableSource:
    """The source for the suffix of a file. Raises InputError where it cannot be opened."""
    if path.suffix.lower() == ".npy":
        return NpySource(path, target)
    if target is not None and not isinstance(target, str):
        raise InputError("target", "the name of a column", repr(target), "pass a string")
    return TableSource(path, target)


def _rows_at_once(columns: int) -> int:
    return max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // columns))
