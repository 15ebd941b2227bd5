"""Checks of a user's own file and of its columns, and the errors that say what is wrong with it."""

import gzip
import re
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from os.path import exists, isdir, isfile  # unlike those of Path, these never raise
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING

from handgrad.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow

TEXT_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".feather", ".arrow", ".jsonl", ".jsonl.gz", ".xlsx")
KINDS = "a .csv, .tsv, .parquet, .feather, .arrow, .jsonl or .xlsx file"
SHOWN = 20
ENCODING_REMEDY = "pass --encoding cp1252 (or whichever it is), or save the file as UTF-8"
RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)


def suffix_of(path: Path) -> str:
    """The suffix in small letters, `.gz` with the one before it.

    >>> suffix_of(Path("a.b/Table.CSV.gz")), suffix_of(Path("table"))
    ('.csv.gz', '')
    """
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last == ".gz" else last


def check_path(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raise InputError unless there is a file, not an empty one, with one of these suffixes."""
    if isdir(path):
        raise InputError(path.name, "a file", f"the folder {path}", "name a file in it")
    if str(path).lower().startswith(("http:/", "https:/", "ftp:/", "s3:/", "gs:/")):
        raise InputError(
            "data", "a file on this machine", f"the address {path}",
            "download it first, for example with curl -O",
        )  # fmt: skip
    if suffix_of(path) not in suffixes:
        wanted = KINDS if ".npy" not in suffixes else KINDS.replace("or .xlsx", ".xlsx or .npy")
        raise InputError(
            path.name, wanted,
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


def check_columns(file: str, names: Sequence[str]) -> None:
    """Raise InputError unless the columns have distinct names."""
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        found = f"more than one column named {quoted(twice)}"
        remedy = no_header_remedy(names) or "rename or drop the copies"
        raise InputError(file, "distinct column names", found, remedy)
    for number, name in enumerate(names, start=1):
        if not name.strip() or name.startswith("__index_level_"):
            raise InputError(
                file, "a name for every column",
                f"{name!r} for column {number} of {len(names)}, which pandas gives to row numbers",
                f"leave it out with --drop '{name}' (pandas: write with index=False), or name it",
            )  # fmt: skip


def check_target(file: str, names: Sequence[str], target: str | None) -> str:
    """`target`, if it is one of several columns; else InputError."""
    remedy = no_header_remedy(names) or f"name one of its columns: {quoted(names)}"
    if target is None:
        raise InputError("target", f"the column of {file} to predict", "none", remedy)
    if target not in names:
        remedy += suggestion(target, names)
        if len(names) == 1:
            remedy = f"its only column is {names[0]!r}: if it is several, pass --delimiter"
        raise InputError("target", f"a column of {file}", repr(target), remedy)
    if len(names) == 1:
        raise InputError(
            file, "at least one feature column", f"the target {target!r} alone", "add some features"
        )
    return target


def no_header_remedy(names: Sequence[str]) -> str:
    """What to do where the names of the columns look like the first row of the data, or nothing.

    >>> no_header_remedy(["5.1", "3.5", "setosa"])
    'the first row looks like data: pass --no-header, which names the columns 1, 2, 3'
    >>> no_header_remedy(["age", "2024"])
    ''
    """
    numbers = sum(
        bool(re.fullmatch(r"[-+]?\d*[.,]?\d+(e[-+]?\d+)?", name.strip())) for name in names
    )
    if 2 * numbers <= len(names):
        return ""
    shown = ", ".join(map(str, range(1, min(len(names), 3) + 1)))
    return f"the first row looks like data: pass --no-header, which names the columns {shown}" + (
        ", ..." if len(names) > 3 else ""
    )


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
        return InputError(path.name, "text in UTF-8", found, ENCODING_REMEDY)
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
        path.name, f"a readable {suffix_of(path)[1:]} file", f"a failure ({reason})",
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


def check_last_quote(path: Path, last: "pyarrow.Table", rows: int) -> None:
    """Raise InputError if a quote that is never closed has swallowed the end of a CSV file.

    `last` ends with the last of its `rows` rows.
    """
    ends = last.slice(max(0, last.num_rows - 1)).to_pylist()  # the last row, if there is one
    if any(isinstance(value, str) and "\n" in value for row in ends for value in row.values()):
        with open_bytes(path) as file:
            quotes = sum(block.count(b'"') for block in iter(lambda: file.read(1 << 20), b""))
        if quotes % 2:
            raise InputError(
                path.name, "a closing quote for every opening one",
                f"a value in row {rows:,} of the data that runs to the end of the file",
                "close the quote",
            )  # fmt: skip


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked if its name ends in `.gz`."""
    if suffix_of(path).endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def import_pyarrow() -> ModuleType:
    """The module pyarrow, with its readers, or MissingExtraError."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading CSV and Parquet files", "data") from error
    return pyarrow
