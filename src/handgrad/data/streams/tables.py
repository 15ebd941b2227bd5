"""Parquet and CSV files as sources, through pyarrow's streaming readers.

A Parquet file written in one piece has one row group, as large as the file; only a buffered reader
takes it page by page. Of a CSV file pyarrow finds the types of the columns from its first block,
where `load` finds them from all of it: so where a later value does not fit, the column takes the
next type that pyarrow would have tried, and reading begins anew.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.data.encoders import column_values
from handgrad.data.files import check_not_utf16, import_pyarrow, unreadable
from handgrad.data.streams.source import Block, rows_at_once
from handgrad.data.tables import check_columns
from handgrad.errors import InputError

CSV_BLOCK = 2**23
"""Bytes; no row may be longer."""
BUFFERS = 2**25
"""Bytes that the columns of a Parquet file share for reading."""
MISFIT = re.compile(r"In CSV column #(\d+): .*CSV conversion error to (.*): invalid value")


class Tables:
    """A .parquet or .csv file as a source. Raises InputError where it cannot be opened."""

    def __init__(self, path: Path, target: str | None):
        import_pyarrow()
        self.path = path
        if path.suffix.lower() == ".csv":
            self._batches: Callable[[], Iterator[Any]] = self._csv
            self._types = _csv_types(path)
            columns = list(self._types)
        else:
            self._batches = self._parquet
            columns = _parquet_columns(path)
        check_columns(path.name, columns, target)
        assert target is not None  # check_columns has refused a missing target
        self._column, self.target = target, f"target {target!r} of {path.name}"
        self._features = [name for name in columns if name != target]
        self.names = [(name,) for name in self._features]

    def blocks(self) -> Iterator[Block]:
        """See `Source`."""
        first = 0
        for batch in self._batches():
            if batch.num_rows:
                yield self._block(batch, first)
                first += batch.num_rows
        if first == 0:
            raise InputError(
                self.path.name, "at least one row", "column names alone", "add some rows"
            )

    def _block(self, batch: Any, first: int) -> Block:
        def values(name: str, where: str, otherwise: str) -> np.ndarray:
            return column_values(batch[name], where, otherwise, first)

        parts = []
        for name in self._features:
            where = f"column {name!r} of {self.path.name}"
            part = values(name, where, "fill the gaps, or leave the column out")
            parts.append(part if part.dtype == object else part[:, None])
        return Block(first, parts, values(self._column, self.target, "or label them"))

    def _parquet(self) -> Iterator[Any]:
        pyarrow = import_pyarrow()
        columns = len(self.names) + 1
        buffer = min(2**20, max(2**12, BUFFERS // columns))
        try:
            reader = pyarrow.parquet.ParquetFile(self.path, buffer_size=buffer, pre_buffer=False)
            with reader as file:  # read ahead here, by the block; pre_buffer would hold all of it
                for batch in file.iter_batches(rows_at_once(columns)):
                    yield pyarrow.Table.from_batches([batch])
        except (pyarrow.ArrowException, OSError) as error:
            raise unreadable(self.path, error) from error

    def _csv(self) -> Iterator[Any]:
        """Batches with the types that fit all values so far; see `settle`."""
        pyarrow = import_pyarrow()
        try:
            with _csv_reader(self.path, self._types) as reader:
                for batch in reader:
                    yield pyarrow.Table.from_batches([batch])
        except (pyarrow.ArrowException, OSError) as error:
            raise _explained(self.path, error) from error

    def settle(self) -> None:
        """Read a CSV file until every value fits the type of its column."""
        if self.path.suffix.lower() != ".csv":
            return
        pyarrow = import_pyarrow()
        while True:
            try:
                with _csv_reader(self.path, self._types) as reader:
                    for _ in reader:
                        pass
                return
            except (pyarrow.ArrowException, OSError) as error:
                misfit = MISFIT.search(str(error))
                if misfit is None or not self._widen(int(misfit[1])):
                    raise _explained(self.path, error) from error

    def _widen(self, column: int) -> bool:
        """Give a column the next type of those that pyarrow tries, in its order."""
        pyarrow = import_pyarrow()
        order = [
            pyarrow.null(), pyarrow.int64(), pyarrow.bool_(), pyarrow.date32(),
            pyarrow.time32("s"), pyarrow.timestamp("s"), pyarrow.timestamp("ns"),
            pyarrow.float64(), pyarrow.string(), pyarrow.binary(),
        ]  # fmt: skip
        name = list(self._types)[column]
        place = order.index(self._types[name])
        if place + 1 == len(order):
            return False
        self._types[name] = order[place + 1]
        return True


def _parquet_columns(path: Path) -> list[str]:
    pyarrow = import_pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return list(file.schema_arrow.names)
    except (UnicodeDecodeError, pyarrow.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def _csv_types(path: Path) -> dict[str, Any]:
    """The columns, with the types of the first block."""
    pyarrow = import_pyarrow()
    try:
        check_not_utf16(path)
        with _csv_reader(path, {}) as reader:
            names = reader.schema.names
            check_columns(path.name, names, names[0])  # distinct, before they become keys
            return dict(zip(names, reader.schema.types, strict=True))
    except (UnicodeDecodeError, pyarrow.ArrowException, OSError) as error:
        raise _explained(path, error) from error


def _csv_reader(path: Path, types: dict[str, Any]) -> Any:
    """One thread, so that pyarrow knows row numbers."""
    csv = import_pyarrow().csv
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=types),
    )


def _explained(path: Path, error: Exception) -> InputError:
    """What pyarrow says of a CSV file, with the remedy where it is known."""
    if "straddling object" in str(error):
        return InputError(
            path.name,
            f"rows of at most {CSV_BLOCK:,} bytes",
            "a longer one, or a quote that is never closed",
            "close the quote",
        )
    ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", str(error), re.S)
    if ragged:
        return InputError(
            path.name,
            f"{ragged[2]} values in every row, as in the header",
            f"{ragged[3]} in row {int(ragged[1]):,} of the file ({ragged[4][:60]!r})",
            "mend that row; a value that holds a comma goes between double quotes",
        )
    return unreadable(path, error)
