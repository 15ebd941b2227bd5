"""The target column of a file to labels: named classes, or soft binary labels."""

from typing import Any

import numpy as np

from handgrad.data.encoders import check_categories, column_values, too_many
from handgrad.errors import InputError

SOFT_CLASSES = ("0", "1")
QUANTITY = "choose another target: this one looks like a quantity or an id, not like classes"


def encode_target(column: Any, name: str, file: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """`y`, (N,), and the class names, from the target column of a table.

    Strings, booleans and whole numbers name classes: sorted, they become int32 0..K-1. Other
    floats are soft binary labels and must lie in [0, 1].

    Raises:
        InputError: a missing value, a label outside [0, 1], one class only, or about as many
            classes as rows; and what `column_values` refuses.
    """
    where = f"target {name!r} of {file}"
    values = column_values(column, where, "or label them")
    if values.dtype == np.float64 and (values != np.floor(values)).any():
        check_soft(values, where)
        return values, SOFT_CLASSES
    if values.dtype == object:
        check_categories(values, where, QUANTITY)
    found, indices = np.unique(values, return_inverse=True)
    check_classes(found, where, len(values))
    return indices.astype(np.int32), class_names(found)


def check_classes(found: np.ndarray, where: str, rows: int) -> None:
    """Raise InputError unless the different values of a target in so many rows can be classes."""
    if too_many(len(found), rows):
        raise InputError(
            where, "classes", f"{len(found):,} different values in {rows:,} rows", QUANTITY
        )
    if len(found) == 1:
        raise InputError(
            where,
            "at least two classes",
            f"one class only, {class_names(found)[0]!r}, in all {rows:,} rows",
            "add examples of another class, or choose another target",
        )


def class_names(found: np.ndarray) -> tuple[str, ...]:
    """What the different values of a target are called."""
    return tuple(
        str(int(value)) if found.dtype == np.float64 else str(value) for value in found.tolist()
    )


def check_soft(values: np.ndarray, where: str, first: int = 0) -> None:
    """Raise InputError for a label outside [0, 1], with its row, counted from `first` on."""
    bad = (values < 0) | (values > 1)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            where,
            "labels in [0, 1], or whole numbers that name classes",
            f"{values[row]} in row {first + row + 1:,} of the data ({int(bad.sum()):,} outside)",
            "divide by the largest possible value, or make classes of it",
        )
