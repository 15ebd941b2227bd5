"""A user's own CSV or Parquet file, read by pyarrow into a table of named columns."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from os.path import exists, isdir, isfile  # unlike those of Path, these never raise
from pathlib import Path
from types import ModuleType
from typing import Any

from handgrad.data.tables import check_columns
from handgrad.errors import InputError, MissingExtraError

SUFFIXES = (".csv", ".parquet")
LARGEST_BLOCK = 2**31 - 1


def read_table(path: Path, target: str | None) -> Any:
    """The `pyarrow.Table` in a file, its column names checked and `target` among them.

    Raises:
        InputError: no such file, a suffix of another format, a file that cannot be read, no row,
            an ill-named column, or no such target.
        MissingExtraError: pyarrow is not installed.
    """
    check_path(path)
    pyarrow = import_pyarrow()
    read = _read_csv if path.suffix.lower() == ".csv" else _read_parquet
    try:
        if path.stat().st_size == 0:
            raise InputError(path.name, "a table", "an empty file", "write the table again")
        table = read(path, target)
    except (UnicodeDecodeError, pyarrow.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    if table.num_rows == 0:
        raise InputError(path.name, "at least one row", "column names alone", "add some rows")
    return table


def check_path(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raise InputError unless there is a file with one of these suffixes."""
    if isdir(path):
        raise InputError(path.name, "a file", f"the folder {path}", "name a file in it")
    if path.suffix.lower() not in suffixes:
        raise InputError(
            path.name,
            " or ".join(f"a {suffix}" for suffix in suffixes) + " file",
            f"the suffix {path.suffix!r}" if path.suffix else "a name without a suffix",
            "convert the file, or rename it if that is what it holds",
        )
    if exists(path) and not isfile(path):
        raise InputError(
            path.name, "a file", f"a device, a pipe or a socket at {path}", "copy it to a file"
        )
    if not isfile(path):
        raise InputError(
            path.name,
            "a file that exists",
            f"nothing at {path}",
            "check the spelling and the folder",
        )


def unreadable(path: Path, error: Exception) -> InputError:
    """What to raise where a reader failed: its reason in one line."""
    if isinstance(error, UnicodeDecodeError):
        return InputError(
            path.name, "text in UTF-8", "column names in another encoding", "save it as UTF-8"
        )
    reason = " ".join(str(error).split())[:200]
    reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
    return InputError(
        path.name,
        f"a readable {path.suffix.lower()[1:]} file",
        f"a failure ({reason})",
        "the file may be damaged or hold something else: write it again",
    )


def check_not_utf16(path: Path) -> None:
    """Raise InputError for a text file that begins as one in UTF-16 does."""
    with path.open("rb") as file:
        if file.read(2) in (BOM_UTF16_BE, BOM_UTF16_LE):
            raise InputError(path.name, "text in UTF-8", "text in UTF-16", "save it as UTF-8")


def import_pyarrow() -> ModuleType:
    """The module pyarrow, with its readers, or MissingExtraError."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading CSV and Parquet files", "data") from error
    return pyarrow


def _read_csv(path: Path, target: str | None) -> Any:
    from pyarrow import csv

    ragged: list[Any] = []

    def keep(row: Any) -> str:
        ragged.append(row)
        return "error"

    # One block: a quote that is never closed then runs to the end of the file, where it is
    # recognised, and not to the end of a block. One thread, so that pyarrow knows row numbers.
    whole = min(path.stat().st_size + 1, LARGEST_BLOCK)
    check_not_utf16(path)
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False, block_size=whole),
            parse_options=csv.ParseOptions(
                newlines_in_values=True,
                # pyarrow decodes the row it hands over, and writes a traceback where it cannot.
                invalid_row_handler=keep if _is_utf8(path) else None,
            ),
        )
    except ValueError as error:
        if not ragged:
            raise
        row = ragged[0]
        raise InputError(
            path.name,
            f"{row.expected_columns} values in every row, as in the header",
            f"{row.actual_columns} in row {row.number} of the file ({row.text[:60]!r})",
            "mend that row; a value that holds a comma goes between double quotes",
        ) from error
    check_columns(path.name, table.column_names, target)
    _check_last_quote(path, table)
    return table


def _is_utf8(path: Path) -> bool:
    decoder = getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _check_last_quote(path: Path, table: Any) -> None:
    """Raise InputError if a quote that is never closed has swallowed the end of a CSV file."""
    if table.num_rows == 0:
        return
    last = table.slice(table.num_rows - 1).to_pylist()[0].values()
    if any(isinstance(value, str) and "\n" in value for value in last):
        with path.open("rb") as file:
            quotes = sum(block.count(b'"') for block in iter(lambda: file.read(1 << 20), b""))
        if quotes % 2:
            raise InputError(
                path.name,
                "a closing quote for every opening one",
                f"a value in row {table.num_rows} of the data that runs to the end of the file",
                "close the quote",
            )


def _read_parquet(path: Path, target: str | None) -> Any:
    from pyarrow import parquet

    # Not parquet.read_table: that adds columns for a folder called `year=2024`.
    with parquet.ParquetFile(path) as file:
        check_columns(path.name, file.schema_arrow.names, target)
        return file.read()
