"""The target column of a file to labels: named classes, or soft binary labels."""

from typing import Any

import numpy as np

from handgrad._errors import InputError
from handgrad.data.encoders import check_categories, column_values, too_many

SOFT_CLASSES = ("0", "1")


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
        _check_soft(values, where)
        return values, SOFT_CLASSES
    quantity = "choose another target: this one looks like a quantity or an id, not like classes"
    if values.dtype == object:
        check_categories(values, where, quantity)
    found, indices = np.unique(values, return_inverse=True)
    if too_many(len(found), len(values)):
        raise InputError(
            where, "classes", f"{len(found):,} different values in {len(values):,} rows", quantity
        )
    names = tuple(
        str(int(value)) if values.dtype == np.float64 else str(value) for value in found.tolist()
    )
    if len(names) == 1:
        raise InputError(
            where,
            "at least two classes",
            f"one class only, {names[0]!r}, in all {len(values):,} rows",
            "add examples of another class, or choose another target",
        )
    return indices.astype(np.int32), names


def _check_soft(values: np.ndarray, where: str) -> None:
    bad = (values < 0) | (values > 1)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            where,
            "labels in [0, 1], or whole numbers that name classes",
            f"{values[row]} in row {row + 1} of the data ({int(bad.sum()):,} outside)",
            "divide by the largest possible value, or make classes of it",
        )
