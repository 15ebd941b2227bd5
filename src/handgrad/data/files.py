"""A user's own CSV or Parquet file, read by pyarrow into a table of named columns."""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from os.path import exists, isdir, isfile  # unlike those of Path, these never raise
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from handgrad.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".csv", ".parquet")
LARGEST_BLOCK = 2**31 - 1
SHOWN = 20
RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)


def read_table(path: Path, target: str | None) -> "pyarrow.Table":
    """The table in a file, its column names checked and `target` among them.

    Raises:
        InputError: no such file, a suffix of another format, a file that cannot be read, no row,
            an ill-named column, or no such target.
        MissingExtraError: pyarrow is not installed.
    """
    check_path(path)
    pyarrow = import_pyarrow()
    read = _read_csv if path.suffix.lower() == ".csv" else _read_parquet
    try:
        table = read(path, target)
    except (UnicodeDecodeError, pyarrow.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    if table.num_rows == 0:
        raise no_rows(path)
    return table


def check_path(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raise InputError unless there is a file, not an empty one, with one of these suffixes."""
    if isdir(path):
        raise InputError(path.name, "a file", f"the folder {path}", "name a file in it")
    if path.suffix.lower() not in suffixes:
        raise InputError(
            path.name, " or ".join(f"a {suffix}" for suffix in suffixes) + " file",
            f"the suffix {path.suffix!r}" if path.suffix else "a name without a suffix",
            "convert the file, or rename it if that is what it holds",
        )  # fmt: skip
    if exists(path) and not isfile(path):
        raise InputError(
            path.name, "a file", f"a device, a pipe or a socket at {path}", "copy it to a file"
        )
    if not isfile(path):
        raise InputError(
            path.name, "a file that exists", f"nothing at {path}", "check the name and the folder"
        )
    if path.stat().st_size == 0:
        raise InputError(path.name, "a table", "an empty file", "write the table again")


def check_columns(file: str, names: Sequence[str], target: str | None) -> str:
    """`target`, if the columns have distinct names and it is one of several; else InputError."""
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        found = f"more than one column named {quoted(twice)}"
        raise InputError(file, "distinct column names", found, "rename or drop the copies")
    for number, name in enumerate(names, start=1):
        if not name.strip() or name.startswith("__index_level_"):
            raise InputError(
                file, "a name for every column",
                f"{name!r} for column {number} of {len(names)}, which pandas gives to row numbers",
                "drop that column (pandas: write with index=False) or name it",
            )  # fmt: skip
    remedy = f"name one of its columns: {quoted(names)}"
    if target is None:
        raise InputError("target", f"the column of {file} to predict", "none", remedy)
    if target not in names:
        remedy += suggestion(target, names)
        if len(names) == 1:
            for separator, plural in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
                if separator in names[0]:
                    remedy = f"the columns seem to be separated by {plural}: save it with commas"
        raise InputError("target", f"a column of {file}", repr(target), remedy)
    if len(names) == 1:
        raise InputError(
            file, "at least one feature column", f"the target {target!r} alone", "add some features"
        )
    return target


def quoted(names: Sequence[str]) -> str:
    """The names in one line, shortened where there are many.

    >>> quoted(["age", "income"])
    "'age', 'income'"
    """
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN:,} more"


def suggestion(name: str, names: Sequence[str]) -> str:
    """'; did you mean ...?' for the name most like `name`, letter case aside, or nothing.

    >>> suggestion("Incme", ["age", "income"])
    "; did you mean 'income'?"
    """
    by_folded = {other.strip().casefold(): other for other in reversed(names)}
    found = get_close_matches(name.strip().casefold(), list(by_folded), n=1, cutoff=0.5)
    return f"; did you mean {by_folded[found[0]]!r}?" if found else ""


def unreadable(path: Path, error: Exception) -> InputError:
    """The error to raise where a reader failed: its reason in one line, and the remedy if known."""
    if isinstance(error, UnicodeDecodeError):
        found = "column names in another encoding"
        return InputError(path.name, "text in UTF-8", found, "save it as UTF-8")
    ragged = RAGGED.search(str(error))
    if ragged:
        row, expected, got, text = ragged.groups()
        return InputError(
            path.name, f"{expected} values in every row, as in the header",
            f"{got} in row {int(row):,} of the file ({text[:60]!r})",
            "mend that row; a value that holds a comma goes between double quotes",
        )  # fmt: skip
    reason = " ".join(str(error).split())[:200]
    reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
    return InputError(
        path.name, f"a readable {path.suffix.lower()[1:]} file", f"a failure ({reason})",
        "the file may be damaged or hold something else: write it again",
    )  # fmt: skip


def no_rows(path: Path) -> InputError:
    """The error to raise where a table has no row."""
    return InputError(path.name, "at least one row", "column names alone", "add some rows")


def file_changed(file: str) -> InputError:
    """The error to raise where a file is not the one it was."""
    return InputError(
        file, "a file that stays as it is while it is read", "another one than at the beginning",
        "wait until it is written, or train on a copy of it",
    )  # fmt: skip


def check_not_utf16(path: Path) -> None:
    """Raise InputError for a text file that begins as one in UTF-16 does."""
    with path.open("rb") as file:
        if file.read(2) in (BOM_UTF16_BE, BOM_UTF16_LE):
            raise InputError(path.name, "text in UTF-8", "text in UTF-16", "save it as UTF-8")


def check_last_quote(path: Path, last: "pyarrow.Table", rows: int) -> None:
    """Raise InputError if a quote that is never closed has swallowed the end of a CSV file.

    `last` ends with the last of its `rows` rows.
    """
    ends = last.slice(max(0, last.num_rows - 1)).to_pylist()  # the last row, if there is one
    if any(isinstance(value, str) and "\n" in value for row in ends for value in row.values()):
        with path.open("rb") as file:
            quotes = sum(block.count(b'"') for block in iter(lambda: file.read(1 << 20), b""))
        if quotes % 2:
            raise InputError(
                path.name, "a closing quote for every opening one",
                f"a value in row {rows:,} of the data that runs to the end of the file",
                "close the quote",
            )  # fmt: skip


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


def _read_csv(path: Path, target: str | None) -> "pyarrow.Table":
    csv = import_pyarrow().csv
    check_not_utf16(path)
    # One block: a quote that is never closed then runs to the end of the file, where it is
    # recognised, and not to the end of a block. One thread, so that pyarrow knows row numbers.
    whole = min(path.stat().st_size + 1, LARGEST_BLOCK)
    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=whole),
        parse_options=csv.ParseOptions(newlines_in_values=True),
    )
    check_columns(path.name, table.column_names, target)
    check_last_quote(path, table, len(table))
    return table


def _read_parquet(path: Path, target: str | None) -> "pyarrow.Table":
    parquet = import_pyarrow().parquet
    # Not parquet.read_table: that adds columns for a folder called `year=2024`.
    with parquet.ParquetFile(path) as file:
        check_columns(path.name, file.schema_arrow.names, target)
        return file.read()
