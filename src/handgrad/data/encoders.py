"""Columns of a table as arrays, learnt from in blocks of rows: a file in memory is a single block.

Numbers stay as they are, booleans become 0 and 1, dates several numbers, a column of strings its
distinct values with the index of each row's. `Preparation` makes features of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgrad.data.files import ENCODING_REMEDY, file_changed, import_pyarrow
from handgrad.data.table_file import TEXT_TYPES
from handgrad.errors import InputError

if TYPE_CHECKING:
    import pyarrow

MOST_CATEGORIES = 1_000
FEW_CATEGORIES = 20
MOST_VALUES = 100_000
"""Distinct values of a column of strings that are counted: one with more is an id or a text."""
SOFT_CLASSES = ("0", "1")
RARE = 0.95
"""A class with this share of the rows is remarked on."""
FEATURE_REMEDY = "drop those rows, fill the gaps (--impute mean), or leave the column out (--drop)"
TARGET_REMEDY = "drop those rows, or label them (--impute leaves them out)"
NOT_CLASSES = "choose another target: this one looks like a quantity or an id, not like classes"

Labels = NDArray[np.int32] | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Strings:
    """A column of strings: its distinct values, and for each row the index of its value."""

    values: list[str]
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | np.ndarray) -> "Strings":
        return Strings(self.values, self.codes[rows])


Column = np.ndarray | Strings


class Block(NamedTuple):
    """Some rows of a table, beginning with row `first`, from 0.

    `parts` are the features from left to right: numbers (R, c), NaN where one is missing, or one
    column of strings, "" where one is. The `target` is strings, or (R,) float64 or bool.
    """

    first: int
    parts: Sequence[Column]
    target: Column


DATE_PARTS = ("year", "month", "day", "weekday")
CLOCK_PARTS = ("hour", "minute")
PARTS = {"date": DATE_PARTS, "timestamp": DATE_PARTS + CLOCK_PARTS, "time": CLOCK_PARTS}
"""The numbers that a column of each kind becomes; the weekday counts from Monday = 0."""
TYPES = {
    "boolean": ("boolean",),
    "number": ("integer", "floating", "decimal", "null"),
    "category": TEXT_TYPES,
    **{kind: (kind,) for kind in PARTS},
}
"""The types of pyarrow that are read as a column of each kind."""


def kind_of(column_type: "pyarrow.DataType", where: str) -> str:
    """ "number", "boolean", "category", or one of `PARTS`. Raises InputError for other types."""
    types = import_pyarrow().types
    if types.is_dictionary(column_type):
        column_type = column_type.value_type
    for kind, names in TYPES.items():
        if any(getattr(types, f"is_{name}")(column_type) for name in names):
            return kind
    if types.is_binary(column_type) or types.is_large_binary(column_type):
        advice = f"{ENCODING_REMEDY}, or leave the column out (--drop)"
    elif types.is_temporal(column_type):
        advice = "leave it out (--drop), or turn it into numbers such as seconds"
    else:
        advice = "leave it out (--drop), or spread it over columns of numbers"
    raise InputError(where, "numbers, booleans, dates or strings", str(column_type), advice)


def table_block(
    table: "pyarrow.Table", target: str, file: str, first: int = 0, missing: bool = False
) -> Block:
    """The block that a table with the label column `target` holds; it begins at row `first`."""
    labels = column_values(table[target], f"target {target!r} of {file}", TARGET_REMEDY, first)
    return Block(first, feature_parts(table, target, file, first, missing), labels)


def feature_parts(
    table: "pyarrow.Table", target: str | None, file: str, first: int = 0, missing: bool = False
) -> list[Column]:
    """The features of a block; `missing`: values that are not there are no error."""
    parts: list[Column] = []
    for name in table.column_names:
        if name != target:
            where = f"column {name!r} of {file}"
            column = column_values(table[name], where, FEATURE_REMEDY, first, missing)
            parts.append(as_part(column))
    return parts


def as_part(column: Column) -> Column:
    """Numbers as (R, c)."""
    return column[:, None] if isinstance(column, np.ndarray) and column.ndim == 1 else column


def column_values(
    column: "pyarrow.ChunkedArray", where: str, remedy: str, first: int = 0, missing: bool = False
) -> Column:
    """One column as float64, bool or strings; a date as several columns of numbers.

    `where` names the column in messages; rows are counted from `first` on.

    Raises:
        InputError: any other type, by name; a value that is not finite, with its row; a missing one
            unless `missing`.
    """
    pyarrow = import_pyarrow()
    if pyarrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = kind_of(column.type, where)
    absent = column.is_null().to_numpy().astype(bool)
    values: Column
    if kind == "category":
        values = _strings(column, where)
        if "" in values.values:  # a CSV file cannot tell an empty string from a missing one
            absent |= values.codes == values.values.index("")
    if absent.any() and not missing:
        row = first + int(np.argmax(absent)) + 1
        found = f"{int(absent.sum()):,} missing, the first in row {row:,} of the data"
        raise InputError(where, "a value in every row", found, remedy)
    if kind == "category":
        return values
    if kind in PARTS:
        return date_parts(column, kind)
    if kind == "boolean" and not absent.any():
        return column.to_numpy().astype(bool)
    values = _floats(column, where)
    check_finite(values, where, remedy, first, missing)
    return values


def date_parts(column: "pyarrow.ChunkedArray", kind: str) -> NDArray[np.float64]:
    """A column of dates, of points in time or of times of the day as its `PARTS`, (R, c)."""
    pyarrow = import_pyarrow()
    if kind == "timestamp" and pyarrow.types.is_date(column.type):
        column = column.cast(pyarrow.timestamp("s"))
    functions = {"weekday": "day_of_week"}
    numbers = [getattr(pyarrow.compute, functions.get(part, part))(column) for part in PARTS[kind]]
    return np.stack([number.cast(pyarrow.float64()).to_numpy() for number in numbers], axis=1)


def check_finite(
    values: np.ndarray, where: str, remedy: str, first: int, missing: bool = False
) -> None:
    """Raise InputError for a number that is not finite, with its row, counted from `first` on.

    `missing`: NaN stands for a missing one, and is no error.
    """
    bad = np.isinf(values) if missing else ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        found = f"{int(bad.sum()):,} that are not, the first {values[row]} in row"
        raise InputError(
            where, "finite numbers", f"{found} {first + row + 1:,} of the data", remedy
        )


def _strings(column: "pyarrow.ChunkedArray", where: str) -> Strings:
    """Missing values become empty strings."""
    pyarrow = import_pyarrow()
    if pyarrow.types.is_string_view(column.type):  # pyarrow cannot encode these
        column = column.cast(pyarrow.string())
    try:
        encoded = column.fill_null("").dictionary_encode().combine_chunks()
        return Strings(encoded.dictionary.to_pylist(), encoded.indices.to_numpy())
    except (UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise InputError(
            where, "text in UTF-8", "bytes in another encoding", ENCODING_REMEDY
        ) from error


def _floats(column: "pyarrow.ChunkedArray", where: str) -> np.ndarray:
    pyarrow = import_pyarrow()
    try:
        if pyarrow.types.is_boolean(column.type):
            column = column.cast(pyarrow.uint8())
        return column.cast(pyarrow.float64()).to_numpy()
    except pyarrow.ArrowInvalid as error:  # the cast is a checked one
        raise InputError(
            where, "integers that float64 can hold, up to 2^53", "a larger one",
            "leave it out if it is an id (--drop), keep it as text (--text), or rescale it",
        ) from error  # fmt: skip


class ValueCounts:
    """The distinct values of a column that comes in blocks: how often and where first they occur.

    Counting stops once there are more than MOST_VALUES. `where` and `remedy` are what messages call
    the column, and advise.
    """

    def __init__(self, where: str = "", remedy: str = "") -> None:
        self._where, self._remedy = where, remedy
        self.rows = 0
        self.counts: dict = {}
        self.first: dict = {}

    def partial_fit(self, column: Column) -> None:
        """Count the next rows."""
        if not self.too_many:
            values, codes = _coded(column)
            for code, row, count in zip(
                *np.unique(codes, return_index=True, return_counts=True), strict=True
            ):
                value = values[code]
                self.counts[value] = self.counts.get(value, 0) + int(count)
                self.first.setdefault(value, self.rows + int(row))
        self.rows += len(column)

    @property
    def too_many(self) -> bool:
        """Whether not all values are counted."""
        return len(self.first) > MOST_VALUES

    @property
    def like_an_id(self) -> bool:
        """Whether there are too many values for the number of rows."""
        number = len(self.first)
        return number > MOST_CATEGORIES or (number > FEW_CATEGORIES and 2 * number > self.rows)

    def check_numbers(self) -> None:
        """Raise InputError if strings look like numbers with a few mistakes."""
        distinct = sorted(value for value in self.first if value)
        if len(distinct) > FEW_CATEGORIES:
            odd = [value for value in distinct if not _is_number(value)]
            if 0 < len(odd) < len(distinct) / 2:
                raise InputError(
                    self._where, "numbers, or a few categories",
                    f"mostly numbers, but {odd[0]!r} in row {self.first[odd[0]] + 1:,} of the data",
                    f"mend that value, or pass --na '{odd[0]}' if it stands for a missing one",
                )  # fmt: skip

    def check_categories(self) -> None:
        """Raise InputError if strings look like an id, or like numbers with a few mistakes."""
        self.check_numbers()
        distinct = sorted(self.first)
        if self.like_an_id:
            most = f"at most {MOST_CATEGORIES:,} different values, each in two rows or more"
            some = f"{len(distinct):,} in {self.rows:,} rows, such as {distinct[0]!r}"
            raise InputError(self._where, most, f"{some}: an id or a text?", self._remedy)


class LabelEncoder:
    """Labels from the target: `partial_fit` on each block, `finish`, then `transform` each.

    Strings, booleans and whole numbers name classes: sorted, they become int32 0..K-1. Other
    floats are soft binary labels and must lie in [0, 1].
    """

    def __init__(self, file: str, where: str):
        """`where` is what messages call the target."""
        self._file, self._where = file, where
        self._counts = ValueCounts(where, NOT_CLASSES)
        self._rows = self._outside = 0
        self._first_outside = 0, 0.0
        self.soft = False
        self.class_names: tuple[str, ...] = ()
        self.remarks: list[str] = []

    def partial_fit(self, target: Column) -> None:
        """Learn from the next rows."""
        if isinstance(target, np.ndarray) and target.ndim != 1:
            raise InputError(self._where, "classes", "dates", "choose another target")
        if isinstance(target, np.ndarray) and target.dtype == np.float64:
            self.soft |= bool((target != np.floor(target)).any())
            outside = (target < 0) | (target > 1)
            if outside.any() and not self._outside:
                row = int(np.argmax(outside))
                self._first_outside = self._rows + row, float(target[row])
            self._outside += int(outside.sum())
        if not self.soft:  # of soft labels there may be as many as rows
            self._counts.partial_fit(target)
        self._rows += len(target)

    def finish(self) -> None:
        """Settle the classes. Raises InputError for what cannot be labels."""
        if self.soft:
            if self._outside:
                row, value = self._first_outside
                raise InputError(
                    self._where, "labels in [0, 1], or whole numbers that name classes",
                    f"{value} in row {row + 1:,} of the data ({self._outside:,} outside)",
                    "divide by the largest possible value, or make classes of it",
                )  # fmt: skip
            self.class_names = SOFT_CLASSES
            return
        self._classes = sorted(self._counts.first)
        if isinstance(self._classes[0], str):
            self._counts.check_categories()
        self.class_names = tuple(
            str(int(value)) if isinstance(value, float) else str(value) for value in self._classes
        )
        if self._counts.like_an_id:
            found = f"{len(self._classes):,} different values in {self._rows:,} rows"
            raise InputError(self._where, "classes", found, NOT_CLASSES)
        if len(self._classes) == 1:
            raise InputError(
                self._where, "at least two classes",
                f"one class only, {self.class_names[0]!r}, in all {self._rows:,} rows",
                "add examples of another class, or choose another target",
            )  # fmt: skip
        counts = [self._counts.counts[value] for value in self._classes]
        self.remarks = class_remarks(self.class_names, counts)

    def transform(self, target: Column) -> Labels:
        """Class indices (R,), or soft labels (R,)."""
        if self.soft:
            assert isinstance(target, np.ndarray)  # only numbers are soft
            return target
        return _indices(target, self._classes, self._file).astype(np.int32)


def class_remarks(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    """What may be wrong with classes of which there are as many examples.

    >>> class_remarks(["No", "no ", "yes"], [50, 1, 20])
    ["classes 'No' and 'no ' differ by case or blanks alone: mend the file if they are one",
     "class 'no ' has one example"]
    """
    remarks, total = [], sum(counts)
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(" ".join(name.casefold().split()), []).append(repr(name))
    for group in alike.values():
        if len(group) > 1:
            same = f"{', '.join(group[:-1])} and {group[-1]}"
            remarks.append(
                f"classes {same} differ by case or blanks alone: mend the file if they are one"
            )
    for name, count in zip(names, counts, strict=True):
        if count == 1:
            remarks.append(f"class {name!r} has one example")
        elif count / total >= RARE:
            remarks.append(
                f"{count / total:.1%} of the rows are {name!r}: to answer nothing else is right as "
                "often, so look at the recall of each class"
            )
    return remarks


def _coded(column: Column) -> tuple[list, np.ndarray]:
    """The distinct values of a column, and for each row the index of its value."""
    if isinstance(column, Strings):
        return column.values, column.codes
    values, codes = np.unique(column, return_inverse=True)
    return values.tolist(), codes


def _indices(column: Column, known: Sequence, file: str) -> np.ndarray:
    """For each row the index of its value among the `known` ones."""
    values, codes = _coded(column)
    index = {value: number for number, value in enumerate(known)}
    try:
        return np.array([index[value] for value in values], np.int64)[codes]
    except KeyError:
        raise file_changed(file) from None


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
