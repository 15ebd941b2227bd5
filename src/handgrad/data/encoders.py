"""Columns of a table to numbers: as they are, 0 and 1 for booleans, one-hot for strings."""

from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.data.files import import_pyarrow
from handgrad.errors import InputError

MOST_CATEGORIES = 1_000
FEW_CATEGORIES = 20
MOST_CELLS = 10**9


def encode_features(table: Any, file: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """`x`, (N, D) float64, and its D feature names, from the columns of a `pyarrow.Table`.

    A string column becomes one column of 0 and 1 for each of its values, sorted, called
    'column=value'; none is dropped, so those columns always sum to 1.

    Raises:
        InputError: a column that is neither numbers, booleans nor strings; a missing value, NaN
            or infinity; a string column with too many values; a table whose columns are constant.
    """
    plain: dict[str, np.ndarray] = {}
    encoders: dict[str, Any] = {}
    for name in table.column_names:
        where = f"column {name!r} of {file}"
        values = column_values(table[name], where, "fill the gaps, or leave the column out")
        if values.dtype == object:
            check_categories(values, where, "leave it out, or group its values")
            encoders[name] = _one_hot(values)
        plain[name] = values
    names: list[str] = []
    for name in plain:
        if name in encoders:
            names.extend(f"{name}={value}" for value in encoders[name].categories_[0])
        else:
            names.append(name)
    if table.num_rows * len(names) > MOST_CELLS:
        raise InputError(
            file,
            f"at most {MOST_CELLS:,} numbers after one-hot encoding",
            f"{table.num_rows:,} rows of {len(names):,}",
            "leave out columns with many categories, or use fewer rows",
        )
    x = np.empty((table.num_rows, len(names)))
    start = 0
    for name, values in plain.items():
        if name in encoders:
            block = encoders[name].transform(values[:, None]).toarray()
        else:
            block = values[:, None]
        x[:, start : start + block.shape[1]] = block
        start += block.shape[1]
    if (x == x[0]).all():
        raise InputError(
            file,
            "a feature that varies",
            f"{len(names)} constant column{'s' if len(names) > 1 else ''}"
            f" in {table.num_rows} row{'s' if table.num_rows > 1 else ''}",
            "add features that differ between examples",
        )
    return x, tuple(names)


def column_values(column: Any, where: str, otherwise: str, first: int = 0) -> np.ndarray:
    """One column as float64, bool or object (of str), with nothing missing and all finite.

    `where` names the column in messages; `otherwise` is the remedy besides dropping the rows. Of a
    column that is read in blocks, this one begins after `first` rows.

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
            remedy = "save the file as UTF-8 text, or leave the column out"
        elif types.is_temporal(kind):
            remedy = "leave it out, or turn it into numbers such as the month or the hour"
        else:
            remedy = "leave it out, or spread it over columns of numbers"
        raise InputError(where, "numbers, booleans or strings", str(kind), remedy)
    missing = column.is_null().to_numpy().astype(bool)
    if number:
        _check_none_missing(missing, where, otherwise, first)
        values = _floats(column, where)
        check_finite(values, where, otherwise, first)
        return values
    try:
        values = column.to_numpy()
    except (UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise InputError(
            where, "text in UTF-8", "bytes in another encoding", "write the file as UTF-8"
        ) from error
    if string:  # a CSV file cannot tell an empty string from a missing one
        missing |= values == ""
    _check_none_missing(missing, where, otherwise, first)
    return values.astype(object if string else bool)


def check_categories(values: np.ndarray, where: str, remedy: str) -> None:
    """Raise InputError if strings look like an id, or like numbers that were spoiled."""

    def first_row(value: str) -> int:
        return int(np.argmax(values == value))

    check_distinct(sorted(set(values)), len(values), first_row, where, remedy)


def check_distinct(
    distinct: list[str], rows: int, first_row: Callable[[str], int], where: str, remedy: str
) -> None:
    """The same, from the sorted values of a column and the row, from 0, where each is first."""
    if len(distinct) > FEW_CATEGORIES:
        odd = [value for value in distinct if not _is_number(value)]
        if 0 < len(odd) < len(distinct) / 2:
            row = first_row(odd[0]) + 1
            raise InputError(
                where,
                "numbers, or a few categories",
                f"mostly numbers, but {odd[0]!r} in row {row:,} of the data",
                "mend that value, or drop its row",
            )
    if too_many(len(distinct), rows):
        raise InputError(
            where,
            f"at most {MOST_CATEGORIES:,} different values, each in two rows or more",
            f"{len(distinct):,} in {rows:,} rows, such as {distinct[0]!r}: an id or a text?",
            remedy,
        )


def too_many(distinct: int, rows: int) -> bool:
    """Whether a column has too many different values to be a category."""
    return distinct > MOST_CATEGORIES or (distinct > FEW_CATEGORIES and 2 * distinct > rows)


def _one_hot(values: np.ndarray) -> Any:
    from sklearn.preprocessing import OneHotEncoder

    return OneHotEncoder(dtype=np.float64).fit(values[:, None])


def _floats(column: Any, where: str) -> np.ndarray:
    pyarrow = import_pyarrow()
    try:
        return column.cast(pyarrow.float64()).to_numpy()
    except pyarrow.ArrowInvalid as error:  # the cast is a checked one
        raise InputError(
            where,
            "integers that float64 can hold, up to 2^53",
            "a larger one",
            "leave it out if it is an id, or rescale it",
        ) from error


def _check_none_missing(missing: np.ndarray, where: str, otherwise: str, first: int) -> None:
    if missing.any():
        raise InputError(
            where,
            "a value in every row",
            f"{int(missing.sum()):,} missing, the first in row "
            f"{first + int(np.argmax(missing)) + 1:,} of the data",
            f"drop those rows, {otherwise}",
        )


def check_finite(values: np.ndarray, where: str, otherwise: str, first: int = 0) -> None:
    """Raise InputError for a number that is not finite, with its row, counted from `first` on."""
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            where,
            "finite numbers",
            f"{int(bad.sum()):,} that are not, the first {values[row]} in row {first + row + 1:,} "
            "of the data",
            f"drop those rows, {otherwise}",
        )


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
