"""Columns of a table to features and labels, learnt from blocks of rows and applied to each block.

Numbers stay as they are, booleans become 0 and 1, and a column of strings becomes one column of 0
and 1 for each of its values. A table in memory is a single block; a file on the disk is many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgrad.data.files import file_changed, import_pyarrow
from handgrad.errors import InputError

if TYPE_CHECKING:
    import pyarrow

MOST_CATEGORIES = 1_000
FEW_CATEGORIES = 20
MOST_CELLS = 10**9
SOFT_CLASSES = ("0", "1")
FEATURE_REMEDY = "drop those rows, fill the gaps, or leave the column out"
TARGET_REMEDY = "drop those rows, or label them"
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
    """Some rows of a table, beginning with row `first`, from 0; nothing missing, all finite.

    `parts` are the features from left to right: numbers (R, c), or one column of strings. The
    `target` is strings, or (R,) float64 or bool.
    """

    first: int
    parts: Sequence[Column]
    target: Column


def table_block(table: "pyarrow.Table", target: str, file: str, first: int = 0) -> Block:
    """The block that a table with the label column `target` holds; it begins at row `first`."""
    labels = column_values(table[target], f"target {target!r} of {file}", TARGET_REMEDY, first)
    parts: list[Column] = []
    for name in table.column_names:
        if name != target:
            where = f"column {name!r} of {file}"
            column = column_values(table[name], where, FEATURE_REMEDY, first)
            parts.append(column if isinstance(column, Strings) else column[:, None])
    return Block(first, parts, labels)


def column_values(
    column: "pyarrow.ChunkedArray", where: str, remedy: str, first: int = 0
) -> Column:
    """One column as float64, bool or strings, with nothing missing and all finite.

    `where` names the column in messages; rows are counted from `first` on.

    Raises:
        InputError: any other type, by name; a missing or non-finite value, with its row.
    """
    pyarrow = import_pyarrow()
    types = pyarrow.types
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    string = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    if not (number or string or types.is_boolean(kind) or types.is_null(kind)):
        if types.is_binary(kind) or types.is_large_binary(kind):
            advice = "save the file as UTF-8 text, or leave the column out"
        elif types.is_temporal(kind):
            advice = "leave it out, or turn it into numbers such as the month or the hour"
        else:
            advice = "leave it out, or spread it over columns of numbers"
        raise InputError(where, "numbers, booleans or strings", str(kind), advice)
    missing = column.is_null().to_numpy().astype(bool)
    values: Column
    if string:
        values = _strings(column, where)
        if "" in values.values:  # a CSV file cannot tell an empty string from a missing one
            missing |= values.codes == values.values.index("")
    if missing.any():
        row = first + int(np.argmax(missing)) + 1
        found = f"{int(missing.sum()):,} missing, the first in row {row:,} of the data"
        raise InputError(where, "a value in every row", found, remedy)
    if not string:
        values = _floats(column, where) if number else column.to_numpy().astype(bool)
        check_finite(values, where, remedy, first)
    return values


def check_finite(values: np.ndarray, where: str, remedy: str, first: int) -> None:
    """Raise InputError for a number that is not finite, with its row, counted from `first` on."""
    bad = ~np.isfinite(values)
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
            where, "text in UTF-8", "bytes in another encoding", "write the file as UTF-8"
        ) from error


def _floats(column: "pyarrow.ChunkedArray", where: str) -> np.ndarray:
    pyarrow = import_pyarrow()
    try:
        return column.cast(pyarrow.float64()).to_numpy()
    except pyarrow.ArrowInvalid as error:  # the cast is a checked one
        raise InputError(
            where, "integers that float64 can hold, up to 2^53", "a larger one",
            "leave it out if it is an id, or rescale it",
        ) from error  # fmt: skip


class ValueCounts:
    """The distinct values of a column that comes in blocks: how often and where first they occur.

    Counting stops once there are more than a column of categories may have. `where` and `remedy`
    are what messages call the column, and advise.
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
        """Whether no column of categories may have as many values."""
        return len(self.first) > MOST_CATEGORIES

    @property
    def like_an_id(self) -> bool:
        """Whether there are too many values for the number of rows."""
        number = len(self.first)
        return self.too_many or (number > FEW_CATEGORIES and 2 * number > self.rows)

    def check_categories(self) -> None:
        """Raise InputError if strings look like an id, or like numbers with a few mistakes."""
        distinct = sorted(self.first)
        if len(distinct) > FEW_CATEGORIES:
            odd = [value for value in distinct if not _is_number(value)]
            if 0 < len(odd) < len(distinct) / 2:
                raise InputError(
                    self._where, "numbers, or a few categories",
                    f"mostly numbers, but {odd[0]!r} in row {self.first[odd[0]] + 1:,} of the data",
                    "mend that value, or drop its row",
                )  # fmt: skip
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

    def partial_fit(self, target: Column) -> None:
        """Learn from the next rows."""
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

    def transform(self, target: Column) -> Labels:
        """Class indices (R,), or soft labels (R,)."""
        if self.soft:
            assert isinstance(target, np.ndarray)  # only numbers are soft
            return target
        return _indices(target, self._classes, self._file).astype(np.int32)


class FeatureEncoder:
    """Features from the other columns, by the same three methods.

    The columns of 0 and 1 for the values of a string column are sorted and called
    'column=value'; none is dropped, so they always sum to 1.
    """

    def __init__(self, file: str, names: Sequence[tuple[str, ...]]):
        """`names` are those of the columns in each part of a block."""
        self._file, self._names = file, names
        self._seen: list[ValueCounts | np.ndarray] = []  # of numbers the first row alone
        self._varies = False
        self.rows = 0
        self.feature_names: tuple[str, ...] = ()
        self.categories: list[list[str]] = []

    def partial_fit(self, parts: Sequence[Column]) -> None:
        """Learn from the next rows. Raises InputError once a column has too many categories."""
        if not self._seen:
            remedy = "leave it out, or group its values"
            self._seen = [
                ValueCounts(f"column {own[0]!r} of {self._file}", remedy)
                if isinstance(part, Strings)
                else part[0].copy()
                for own, part in zip(self._names, parts, strict=True)
            ]
        for seen, part in zip(self._seen, parts, strict=True):
            if isinstance(seen, np.ndarray):
                self._varies = self._varies or bool(np.any(part != seen))
                continue
            seen.partial_fit(part)
            self._varies |= len(seen.first) > 1
            if seen.too_many:
                seen.check_categories()
        self.rows += len(parts[0])

    def finish(self) -> None:
        """Settle the columns. Raises InputError for an id, and if no feature varies."""
        names: list[str] = []
        numeric: list[bool] = []
        for own, seen in zip(self._names, self._seen, strict=True):
            if isinstance(seen, np.ndarray):
                self.categories.append([])
                names += own
                numeric += [True] * len(own)
                continue
            seen.check_categories()
            values = sorted(seen.first)
            self.categories.append(values)
            names += [f"{own[0]}={value}" for value in values]
            numeric += [False] * len(values)
        self.feature_names, self.numeric = tuple(names), np.array(numeric)
        if not self._varies:
            columns = f"{len(names)} constant column{'s' if len(names) > 1 else ''}"
            found = f"{columns} in {self.rows:,} row{'s' if self.rows > 1 else ''}"
            remedy = "add features that differ between examples"
            raise InputError(self._file, "a feature that varies", found, remedy)

    def transform(self, parts: Sequence[Column]) -> NDArray[np.float64]:
        """Features (R, D) of some rows."""
        rows = np.arange(len(parts[0]))
        x = np.zeros((len(rows), len(self.feature_names)))
        start = 0
        for part, categories in zip(parts, self.categories, strict=True):
            if isinstance(part, np.ndarray):
                x[:, start : start + part.shape[1]] = part
                start += part.shape[1]
            else:
                x[rows, start + _indices(part, categories, self._file)] = 1
                start += len(categories)
        return x


def encode_table(
    table: "pyarrow.Table", target: str, file: str
) -> tuple[NDArray[np.float64], Labels, tuple[str, ...], tuple[str, ...]]:
    """`x`, `y`, the feature names and the class names of a table with the label column `target`.

    Raises:
        InputError: a column that is neither numbers, booleans nor strings; a missing value, NaN
            or infinity; a string column with too many values; features that are all constant; a
            label outside [0, 1], one class only, or about as many classes as rows.
    """
    block = table_block(table, target, file)
    labels = LabelEncoder(file, f"target {target!r} of {file}")
    labels.partial_fit(block.target)
    labels.finish()
    names = [(name,) for name in table.column_names if name != target]
    features = FeatureEncoder(file, names)
    features.partial_fit(block.parts)
    features.finish()
    if table.num_rows * len(features.feature_names) > MOST_CELLS:
        raise InputError(
            file, f"at most {MOST_CELLS:,} numbers after one-hot encoding",
            f"{table.num_rows:,} rows of {len(features.feature_names):,}",
            "leave out columns with many categories, or use fewer rows",
        )  # fmt: skip
    x, y = features.transform(block.parts), labels.transform(block.target)
    return x, y, features.feature_names, labels.class_names


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
