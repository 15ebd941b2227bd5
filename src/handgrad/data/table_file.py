"""A table in a file of a kind that people have: text, Parquet, Arrow, JSON lines, Excel.

What a text file does not say is found out from its beginning: what separates the columns, whether
decimals have a comma, which columns have zeros in front. What columns of strings are found to hold
(percentages, dates) is their *format*. All that is guessed is told in `remarks`.
"""

import csv as text_csv
import io
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from handgrad._checks import is_whole
from handgrad.data.files import (
    ENCODING_REMEDY,
    TEXT_SUFFIXES,
    check_columns,
    check_last_quote,
    check_path,
    import_pyarrow,
    no_rows,
    open_bytes,
    quoted,
    suffix_of,
    suggestion,
    unreadable,
)
from handgrad.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow

LARGEST_BLOCK = 2**31 - 1
SAMPLE_BYTES = 2**18
"""What is looked at of a text file before it is read."""
CSV_BLOCK = 2**23
"""Bytes of a text file that are read at once from a stream; no row may be longer."""
BUFFERS = 2**25
"""Bytes that the columns of a Parquet file share for reading."""
MISFIT = re.compile(r"In CSV column #(\d+): .*CSV conversion error to (.*): invalid value '(.*)'")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
IMPUTE = ("mean", "median", "most_frequent")
CATEGORIES = ("auto", "columns", "codes")
PERCENT = "percent"
TEXT_TYPES = ("string", "large_string", "string_view")
DATE_FORMAT = re.compile(r"(%[dmyYbBHMSIp]|[-a-zA-Z ,./:_])+")


def _is_text(value: Any) -> bool:
    return isinstance(value, str | None)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    several = isinstance(value, Collection) and not isinstance(value, str)
    return several and all(isinstance(text, str) for text in value)


KINDS: dict[Callable[[Any], bool], tuple[tuple[str, ...], str, str]] = {
    _is_text: (
        ("delimiter", "decimal", "encoding", "date_format", "impute", "categories"),
        "a string", "see FileOptions",
    ),
    _are_texts: (("na", "drop", "text"), "strings in a tuple", "pass ('name',)"),
    is_whole: (("max_categories",), "a whole number", "pass 100"),
    _is_switch: (("header",), "True or False", "pass True"),
}  # fmt: skip
"""The options of each kind, and how it is said."""


@dataclass(frozen=True)
class FileOptions:
    """How a file is read, and what its columns become; what is None is found out from the file.

    Attributes:
        delimiter: one letter between the columns of a text file.
        decimal: "." or ",".
        encoding: of a text file, as Python names it; UTF-8 if it is None.
        header: whether the first row of a text file has the names; else they are "1", "2", ...
        na: values that stand for a missing one, beside the usual.
        drop: columns to leave out.
        text: columns to keep as they are written: an id or a zip keeps its zeros.
        date_format: of dates that are not in ISO 8601, as `strptime` takes it.
        impute: what fills missing numbers, one of "mean", "median" and "most_frequent"; None
            refuses them. A missing string is a category of its own, or the most frequent one.
        max_categories: the most features that a column of strings may become.
        categories: "columns" of 0 and 1; "codes", one number for each column of strings (see
            `data.coded`); or "auto": codes where the columns would be more than 1,000.

    Raises:
        InputError: an option that cannot be, when a file is read with it.
    """

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool = True
    na: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    date_format: str | None = None
    impute: str | None = None
    max_categories: int = 1_000
    categories: str = "auto"

    def check(self) -> None:
        """Raise InputError for what cannot be."""
        for is_kind, (names, expected, remedy) in KINDS.items():
            for name in names:
                if not is_kind(value := getattr(self, name)):
                    raise InputError(name, expected, repr(value), remedy)
        if self.delimiter is not None and (
            len(self.delimiter) != 1
            or not self.delimiter.isascii()
            or self.delimiter == '"'
            or not (self.delimiter.isprintable() or self.delimiter == "\t")
        ):
            found = repr(self.delimiter)
            raise InputError("delimiter", "one letter, or tab", found, "pass --delimiter ';'")
        if self.decimal not in (None, ".", ","):
            raise InputError("decimal", "'.' or ','", repr(self.decimal), "pass --decimal ,")
        if self.impute not in (None, *IMPUTE):
            expected = f"one of {', '.join(IMPUTE)}"
            raise InputError("impute", expected, repr(self.impute), "pass --impute mean")
        if self.date_format is not None:
            check_format(self.date_format)
        if self.max_categories < 2:
            raise InputError("max_categories", "2 or more", self.max_categories, "pass 100")
        if self.categories not in CATEGORIES:
            expected, found = f"one of {', '.join(CATEGORIES)}", repr(self.categories)
            raise InputError("categories", expected, found, "pass --categories codes")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, ValueError):
                raise InputError(
                    "encoding", "one that Python knows", repr(self.encoding), "pass cp1252"
                ) from None


def check_format(date_format: str) -> None:
    """Raise InputError for a format of dates that pyarrow does not take: some would end it."""
    if len(date_format) > 60 or not DATE_FORMAT.fullmatch(date_format) or "%" not in date_format:
        raise InputError(
            "date_format", "%d, %m, %Y, %y, %b, %B, %H, %M, %S and what is between them",
            repr(date_format), "pass --date-format %d/%m/%Y",
        )  # fmt: skip


class Dialect(NamedTuple):
    """How a text file is written."""

    delimiter: str
    decimal: str
    skipped: int
    """Lines before the names: `sep=;` for Excel."""


class TableFile:
    """A table, read whole or in pieces. Its columns are checked when it is opened.

    Attributes:
        path, options: as given.
        columns: the names of the columns that are kept.
        remarks: what was guessed.
        formats: of columns of strings, by name: "percent", or dates as `strptime` takes them.
    """

    def __init__(
        self,
        path: Path,
        options: FileOptions | None = None,
        *,
        types: "Mapping[str, pyarrow.DataType] | None" = None,
        formats: Mapping[str, str] | None = None,
        numbered: tuple[tuple[str, ...], str] = ((), ""),
    ):
        """`types` and `formats` are those of an earlier file; without them they are found out.

        `numbered` are the columns of an earlier file without a header, and its target, which this
        one may lack.

        Raises InputError for a file that cannot be read, MissingExtraError without the reader.
        """
        options = options or FileOptions()
        options.check()
        check_path(path)
        self.path, self.options = path, options
        self.remarks: list[str] = []
        self.formats: dict[str, str] | None = None if formats is None else dict(formats)
        pyarrow = import_pyarrow()
        self._known = types is not None
        self._types: dict[str, Any] = dict(types or {})
        self._types |= dict.fromkeys(options.text, pyarrow.string())
        self._complete, self._numbered = False, numbered
        self._kept = {*options.text}
        """Columns that are text, whatever they look like."""
        if types is not None:
            text = {name for name, kind in types.items() if kind == pyarrow.string()}
            self._kept |= text - {*(formats or ())}
        self._text = suffix_of(path) in TEXT_SUFFIXES
        if self._text:
            self._dialect = self._look_at()
        self.columns: list[str] = []

    def read(self) -> "pyarrow.Table":
        """All of it. Raises InputError for what cannot be read, and for a table without rows."""
        pyarrow = import_pyarrow()
        with self._errors():
            if self._text:
                table = self._read_text()
            elif suffix_of(self.path) == ".parquet":
                # Not parquet.read_table: that adds columns for a folder called `year=2024`.
                with pyarrow.parquet.ParquetFile(self.path) as file:
                    self._check_columns(file.schema_arrow.names)
                    table = file.read()
            else:
                table = pyarrow.Table.from_batches(list(self._record_batches(0)))
            self._check_columns(table.column_names)
        if table.num_rows == 0:
            raise no_rows(self.path)
        return self._normalised(table, 0)

    def pieces(self, rows: int) -> "Iterator[pyarrow.Table]":
        """All of it from the first row to the last, about `rows` at a time, as often as asked."""
        pyarrow = import_pyarrow()
        first = 0
        with self._errors():
            for batch in self._record_batches(rows):
                if batch.num_rows:
                    if not self.columns:
                        self._check_columns(batch.schema.names)
                    yield self._normalised(pyarrow.Table.from_batches([batch]), first)
                    first += batch.num_rows
        if first == 0:
            raise no_rows(self.path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The errors of readers as InputError."""
        try:
            yield
        except InputError:
            raise
        except (UnicodeError, EOFError, OSError, import_pyarrow().ArrowException) as error:
            misfit = MISFIT.search(str(error))
            if misfit and self._known:
                raise InputError(
                    self.path.name, f"columns as in training, numbers as {misfit[2]}",
                    f"{misfit[3]!r} in column {int(misfit[1]) + 1}",
                    "mend that value, or name it with --na if it stands for a missing one",
                ) from error  # fmt: skip
            if "straddling object" in str(error):
                found = "a longer one, or a quote that is never closed"
                expected = f"rows of at most {CSV_BLOCK:,} bytes"
                raise InputError(self.path.name, expected, found, "close the quote") from error
            raise unreadable(self.path, error) from error

    def _check_columns(self, names: list[str]) -> None:
        """Settle `columns`. Raises InputError for names that cannot be, or are not there."""
        for option in ("drop", "text") if not self._known else ():
            for name in getattr(self.options, option):
                if name not in names:
                    raise InputError(
                        f"--{option}", f"a column of {self.path.name}", repr(name),
                        f"it has {quoted(names)}{suggestion(name, names)}",
                    )  # fmt: skip
        names = [name for name in names if name not in self.options.drop]
        check_columns(self.path.name, names)
        self.columns = names

    # --- readers ----------------------------------------------------------------------------------

    def _record_batches(self, rows: int) -> "Iterator[pyarrow.RecordBatch]":
        pyarrow, kind = import_pyarrow(), suffix_of(self.path)
        if self._text:
            self._find_types()
            with self._open_text() as reader:
                yield from reader
        elif kind == ".parquet":
            with pyarrow.parquet.ParquetFile(self.path) as file:
                columns = len(file.schema_arrow.names)
            # Pieces are read ahead by whoever reads them; pre_buffer would hold all of the file.
            buffer = min(2**20, max(2**12, BUFFERS // max(1, columns)))
            with pyarrow.parquet.ParquetFile(
                self.path, buffer_size=buffer, pre_buffer=False
            ) as file:
                yield from file.iter_batches(rows)
        elif kind in (".jsonl", ".jsonl.gz"):
            with open_bytes(self.path) as file:
                yield from pyarrow.json.read_json(file).to_batches()
        elif kind == ".xlsx":
            yield from read_excel(self.path).to_batches()
        else:
            with pyarrow.memory_map(str(self.path)) as file:
                try:
                    reader = pyarrow.ipc.open_file(file)
                except pyarrow.ArrowInvalid:
                    file.seek(0)
                    yield from pyarrow.ipc.open_stream(file)
                else:
                    for number in range(reader.num_record_batches):
                        yield reader.get_batch(number)

    def _read_text(self) -> "pyarrow.Table":
        """One block: a quote that is never closed then runs to the end of the file, where it is
        recognised, and not to the end of a block. One thread, so that pyarrow knows row numbers.
        """
        file: Any = self.path
        size = self.path.stat().st_size
        if self.options.encoding or suffix_of(self.path).endswith(".gz"):
            with open_bytes(self.path) as packed:
                content = packed.read()
            if self.options.encoding:
                content = content.decode(self.options.encoding).encode()
            file, size = io.BytesIO(content), len(content)
        how = self._csv_options(min(size + 1, LARGEST_BLOCK))
        table = import_pyarrow().csv.read_csv(file, **how)
        check_last_quote(self.path, table, len(table))
        return table

    def _open_text(self) -> "pyarrow.csv.CSVStreamingReader":
        how = self._csv_options(CSV_BLOCK, self.options.encoding)
        return import_pyarrow().csv.open_csv(self.path, **how)

    def _csv_options(self, block_size: int, encoding: str | None = None) -> dict[str, Any]:
        csv, dialect = import_pyarrow().csv, self._dialect
        return {
            "read_options": csv.ReadOptions(
                use_threads=False, block_size=block_size, skip_rows=dialect.skipped,
                column_names=None if self.options.header else self._numbers,
                encoding=encoding or "utf8",
            ),
            "parse_options": csv.ParseOptions(
                delimiter=dialect.delimiter, newlines_in_values=True
            ),
            "convert_options": csv.ConvertOptions(
                column_types=self._types, decimal_point=dialect.decimal,
                null_values=[*csv.ConvertOptions().null_values, *self.options.na],
            ),
        }  # fmt: skip

    def _find_types(self) -> None:
        """The types that fit all values of each column of a text file; reads all of it, once.

        pyarrow finds them from the first block. Where a later value does not fit, the column takes
        the next type that pyarrow would have tried, and reading begins again.
        """
        if self._complete:
            return
        pyarrow = import_pyarrow()
        order = [
            pyarrow.null(), pyarrow.int64(), pyarrow.bool_(), pyarrow.date32(),
            pyarrow.time32("s"), pyarrow.timestamp("s"), pyarrow.timestamp("ns"),
            pyarrow.float64(), pyarrow.string(), pyarrow.binary(),
        ]  # fmt: skip
        fixed, found = set(self._types), dict[str, Any]()
        while not self._complete:
            try:
                with self._open_text() as reader:
                    self._check_columns(reader.schema.names)
                    found = dict(zip(reader.schema.names, reader.schema.types, strict=True))
                    self._types |= found
                    rows, batch = 0, reader.schema.empty_table()
                    for batch in reader:
                        rows += batch.num_rows
                check_last_quote(self.path, batch, rows)
                self._complete = True
            except pyarrow.ArrowException as error:
                misfit = MISFIT.search(str(error))
                name = list(found)[int(misfit[1])] if misfit and found else ""
                if not name or name in fixed:
                    raise
                place = order.index(self._types[name]) + 1
                if place == len(order):
                    raise
                self._types[name] = order[place]

    def _look_at(self) -> Dialect:
        """Delimiter and decimal comma, from the beginning of a text file; and what has zeros."""
        with self._errors(), open_bytes(self.path) as file:
            sample = file.read(SAMPLE_BYTES)
        if self.options.encoding is None and sample[:2] in (BOM_UTF16_BE, BOM_UTF16_LE):
            raise InputError(
                self.path.name, "text in UTF-8", "text in UTF-16",
                ENCODING_REMEDY.replace("cp1252", "utf-16"),
            )  # fmt: skip
        text = sample.decode(self.options.encoding or "utf-8-sig", "replace")
        lines = text.splitlines()[: -1 if len(sample) == SAMPLE_BYTES else None]
        named = re.fullmatch(r"sep=(.)", lines[0]) if lines else None
        lines = [line for line in lines[bool(named) :] if line][:200]
        delimiter = self.options.delimiter or (
            named[1] if named else find_delimiter(self.path, lines)
        )
        rows = _split(lines, delimiter)
        width = max(map(len, rows), default=0)
        self._numbers = self._numbered_columns(width)
        names = rows[0] if rows and self.options.header else self._numbers
        body = rows[1:] if self.options.header else rows
        guessed = not (self.options.delimiter or named or self._known)
        if guessed and delimiter not in (",", "\t"):
            self.remarks.append(
                f"columns separated by {DELIMITERS.get(delimiter, repr(delimiter))} (--delimiter)"
            )
        decimal = self.options.decimal or find_decimal(body)
        if self.options.decimal is None and decimal == "," and not self._known:
            self.remarks.append("numbers with a decimal comma (--decimal)")
        for place, name in enumerate(names):
            zeros = [
                row[place] for row in body if len(row) > place and re.fullmatch(r"0\d+", row[place])
            ]
            if zeros and name not in self._types and name not in self.options.drop:
                self._types[name] = import_pyarrow().string()
                self._kept.add(name)
                self.remarks.append(f"column {name!r}: text, as {zeros[0]!r} begins with a zero")
        return Dialect(delimiter, decimal, 1 if named else 0)

    def _numbered_columns(self, width: int) -> list[str]:
        """ "1", "2", ...; without the target where only that is missing from an earlier file's."""
        names, target = self._numbered
        if not self.options.header and self._known and width != len(names):
            if width != len(names) - 1:
                raise InputError(
                    self.path.name, f"{len(names)} columns as in training, or all but the target",
                    f"{width}", "columns without names are known by their numbers alone",
                )  # fmt: skip
            return [name for name in names if name != target]
        return [str(number) for number in range(1, width + 1)]

    # --- what columns hold ------------------------------------------------------------------------

    def _normalised(self, table: "pyarrow.Table", first: int) -> "pyarrow.Table":
        """The kept columns, missing values as such, and columns of strings in their formats."""
        pyarrow = import_pyarrow()
        table = table.select(self.columns)
        known = self.formats is not None
        formats = self.formats if self.formats is not None else {}
        for place, name in enumerate(table.column_names):
            column, where = table[name], f"column {name!r} of {self.path.name}"
            if pyarrow.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            column = _without(column, self.options.na)
            if name in self._kept:
                types = pyarrow.types
                whole = types.is_integer(column.type) or types.is_boolean(column.type)
                if whole or not (known or is_text(column.type) or types.is_nested(column.type)):
                    column = column.cast(pyarrow.string())
            elif is_text(column.type) and not known:
                found = find_format(column, where, name, self.options.date_format)
                if found:
                    formats[name] = found
                    what = "percentages" if found == PERCENT else f"dates as {found}"
                    if found != self.options.date_format:
                        keeps = f"--text {name} keeps it as text"
                        self.remarks.append(f"column {name!r}: {what} ({keeps})")
            if name in formats and is_text(column.type):
                column = as_format(column, formats[name], where, first)
            table = table.set_column(place, name, column)
        self.formats = formats
        return table


def is_text(kind: "pyarrow.DataType") -> bool:
    """Whether a column of this type holds strings."""
    types = import_pyarrow().types
    return any(getattr(types, f"is_{name}")(kind) for name in TEXT_TYPES)


def read_excel(path: Path) -> "pyarrow.Table":
    """The first sheet of a workbook: its first row has the names. Raises MissingExtraError.

    A column of mixed values is one of strings.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise MissingExtraError("reading .xlsx files", "excel") from error
    pyarrow = import_pyarrow()
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows = [row for row in book.worksheets[0].iter_rows(values_only=True) if any(
            value is not None for value in row
        )]  # fmt: skip
        book.close()
    except Exception as error:  # whatever is wrong inside an archive of XML files
        raise unreadable(path, error) from error
    if len(rows) < 2:
        raise no_rows(path)
    names = ["" if name is None else str(name) for name in rows[0]]
    check_columns(path.name, names)
    columns = {}
    for name, values in zip(names, zip(*rows[1:], strict=True), strict=True):
        try:
            columns[name] = pyarrow.array(values)
        except (pyarrow.ArrowException, TypeError):
            columns[name] = pyarrow.array([None if v is None else str(v) for v in values])
    return pyarrow.table(columns)


# --- guesses ----------------------------------------------------------------------------------


def _split(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        return list(text_csv.reader(lines, delimiter=delimiter))
    except text_csv.Error:  # a value longer than that reader takes
        return []


def find_delimiter(path: Path, lines: list[str]) -> str:
    """What cuts every line into as many values as the first, more than one; else the usual one.

    >>> find_delimiter(Path("a.csv"), ["a;b", "1,5;2", "2,5;3"])
    ';'
    """
    usual = "\t" if suffix_of(path).startswith(".tsv") else ","
    best, width = usual, 1
    for delimiter in (usual, *DELIMITERS):
        widths = {len(row) for row in _split(lines, delimiter) if row}
        if len(widths) == 1 and max(widths) > width:
            best, width = delimiter, max(widths)
    return best


def find_decimal(rows: list[list[str]]) -> str:
    """A comma where values such as 1,5 occur and none such as 1.5 does.

    Where all of them have three digits behind the comma it may separate thousands.

    >>> find_decimal([["1,5", "a"], ["2,25", "b"]]), find_decimal([["1.5"], ["1,5"]])
    (',', '.')
    """
    values = [value.strip().rstrip("% ") for row in rows for value in row]
    commas = [value for value in values if re.fullmatch(r"[-+]?\d+,\d+", value)]
    points = any(re.fullmatch(r"[-+]?\d+\.\d+", value) for value in values)
    thousands = all(re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", value) for value in commas)
    return "," if commas and not points and not thousands else "."


DATE = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{4}|\d{1,2})(?:([ T])(\d{1,2}:\d{2})(:\d{2})?)?")
UNREADABLE = (
    (
        re.compile(r"[-+]?[1-9]\d{0,2},\d{3}"),
        "digits alone, for the comma may be decimal or separate thousands",
        "pass --decimal , or write them without",
    ),
    (re.compile(r"[-+]?\d+,\d+"), "a decimal point", "pass --decimal ,"),
    (
        re.compile(r"[-+]?\d{1,3}([,.' \u00a0\u202f]\d{3})+([.,]\d+)?"),
        "digits without thousands separators", "write them without",
    ),
    (
        re.compile(r"[-+]?[$€£¥]\s?[\d.,]+|[-+]?[\d.,]+\s?[$€£¥]"),
        "digits without a currency", "write them without",
    ),
)  # fmt: skip
"""Numbers that are written in ways that are not read: the pattern, what is read, and a remedy."""


def find_format(
    column: "pyarrow.ChunkedArray", where: str, name: str, date_format: str | None
) -> str | None:
    """The format of a column of strings, or None. Raises InputError for numbers in disguise."""
    values = [value for value in column.slice(0, 200).to_pylist() if value and value.strip()]
    if not values:
        return None
    if all(re.fullmatch(r"\s*[-+]?\d+([.,]\d+)?\s?%\s*", value) for value in values):
        return PERCENT
    if date_format is not None and _parses(values, date_format):
        return date_format
    for pattern, expected, remedy in UNREADABLE:
        if all(pattern.fullmatch(value.strip()) for value in values):
            raise InputError(
                where, f"numbers with {expected}", repr(values[0]),
                f"{remedy}, or keep it as text with --text {name}",
            )  # fmt: skip
    parts = [DATE.fullmatch(value.strip()) for value in values]
    if not all(parts):
        return None
    return _date_format([part for part in parts if part], values, where, name)


def _date_format(parts: list[re.Match], values: list[str], where: str, name: str) -> str | None:
    """Day or month first, as the values show: dots go with the day first."""
    first, separator = parts[0], parts[0][2]
    clock = "" if not first[5] else f"{first[5]}%H:%M" + ("" if not first[7] else ":%S")
    if len(first[1]) == 4:
        order = "Ymd"
    elif len(first[1]) > 2 or len(first[4]) == 1:  # a version, perhaps
        return None
    elif separator == "." or any(int(part[1]) > 12 for part in parts):
        order = "dmY"
    elif any(int(part[3]) > 12 for part in parts):
        order = "mdY"
    else:
        raise InputError(
            where, "dates that show whether the day or the month comes first", repr(values[0]),
            f"pass --date-format %d{separator}%m{separator}%Y or %m{separator}%d{separator}%Y, or "
            f"keep it as text with --text {name}",
        )  # fmt: skip
    if len(first[1]) != 4 and len(first[4]) == 2:
        order = order.replace("Y", "y")
    return separator.join(f"%{letter}" for letter in order) + clock


def _parses(values: list[str], date_format: str) -> bool:
    pyarrow = import_pyarrow()
    try:
        found = pyarrow.compute.strptime(
            pyarrow.array(values), format=date_format, unit="s", error_is_null=True
        )
    except pyarrow.ArrowException:
        return False
    return found.null_count == 0


def as_format(
    column: "pyarrow.ChunkedArray", wanted: str, where: str, first: int = 0
) -> "pyarrow.ChunkedArray":
    """Strings as numbers or dates. Raises InputError, with the row, for one in another format."""
    pyarrow = import_pyarrow()
    compute = pyarrow.compute
    column = compute.utf8_trim_whitespace(column.cast(pyarrow.string()))
    column = compute.if_else(compute.equal(column, ""), None, column)
    if wanted == PERCENT:
        bare = compute.replace_substring_regex(column, r"\s*%$", "")
        bare = compute.replace_substring(bare, ",", ".")
        fits = compute.match_substring_regex(column, r"^[-+]?\d+([.,]\d+)?\s?%$")
        bare = compute.if_else(fits, bare, None)
        found = compute.divide(bare.cast(pyarrow.float64()), 100.0)
    else:
        found = compute.strptime(column, format=wanted, unit="s", error_is_null=True)
        if "%H" not in wanted:
            found = found.cast(pyarrow.date32())
    odd = compute.and_(compute.is_null(found), compute.is_valid(column))
    row = compute.index(odd, True).as_py()
    if row >= 0:
        what = "percentages" if wanted == PERCENT else f"dates as {wanted}"
        raise InputError(
            where, what, f"{column[row].as_py()!r} in row {first + row + 1:,} of the data",
            "mend that value, name it with --na if it stands for a missing one, or pass --text",
        )  # fmt: skip
    return found


def _without(column: "pyarrow.ChunkedArray", na: tuple[str, ...]) -> "pyarrow.ChunkedArray":
    """The column with the values that stand for a missing one missing."""
    pyarrow = import_pyarrow()
    compute, types = pyarrow.compute, pyarrow.types
    if is_text(column.type):
        stand_ins: Any = [value for value in na if value]
    elif types.is_integer(column.type) or types.is_floating(column.type):
        stand_ins = [float(value) for value in na if re.fullmatch(r"[-+]?\d+(\.\d+)?", value)]
    else:
        return column
    if not stand_ins:
        return column
    if types.is_integer(column.type):
        stand_ins = [int(value) for value in stand_ins if value == int(value)]
    if types.is_string_view(column.type):
        column = column.cast(pyarrow.string())
    values = pyarrow.array(stand_ins).cast(column.type)
    return compute.if_else(compute.is_in(column, value_set=values), None, column)
