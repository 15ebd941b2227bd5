"""Checks of value: what can only be known outside jit, where the numbers can be looked at.

JAX clamps or wraps a class index that is out of range, carries a NaN to every parameter, and
broadcasts labels of shape (N, 1); none of them raises. Shapes are `handgrad._checks`' business.
"""

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from handgrad._checks import (
    as_numpy,
    describe,
    require_axis,
    require_examples,
    require_rank,
    require_size,
)
from handgrad._types import Coded
from handgrad.errors import InputError


def check_values(x: ArrayLike | Coded, y: ArrayLike, classes: int | None = None) -> None:
    """Raise InputError unless `x` and `y` can be learned from.

    `x` is (N, D), finite, with codes in range if it has any. `y` is (N,) integers in 0..K-1, (N,)
    floats in [0, 1] for two classes, or (N, K) probabilities; K is `classes`, or is taken from `y`.
    At least two classes occur.

    >>> import numpy as np
    >>> check_values(np.eye(3), np.array([0, 2, 1]), classes=3)
    >>> check_values(np.eye(3), np.array([0, 2, -1]), classes=3)
    Traceback (most recent call last):
        ...
    handgrad.errors.InputError: y: expected class indices in 0..2, got -1 at position 2 (1 of 3
    labels is out of range); number the classes from 0, or pass the right number of classes
    """
    check_features(x)
    check_labels(y, examples=np.shape(x)[0], classes=classes)
    check_two_classes(y)


def check_features(x: ArrayLike | Coded) -> None:
    """Raise InputError unless `x` is (N, D) finite numbers, with N and D at least 1.

    Of `Coded` features the codes are −1 or whole numbers in 0..K−1, and there is a size for each
    column.
    """
    if isinstance(x, Coded):
        check_features(x.values)
        _check_codes(x)
        return
    values = _numbers("x", x)
    require_rank("x", values, 2, "(N, D)")
    require_examples("x", values)
    if values.shape[1] == 0:
        raise InputError("x", "at least one feature", f"shape {values.shape}", "pass some features")
    _require(
        "x", values, np.isfinite(values), "finite features", "value", "not finite",
        "drop those rows, or fill the gaps with a number",
    )  # fmt: skip


def check_labels(y: ArrayLike, examples: int, classes: int | None = None) -> None:
    """Raise InputError unless `y` labels `examples` examples with one of the three forms.

    The forms are those of `check_values`. That two classes occur is not asked: a small test set
    may hold only one.
    """
    require_size("examples", examples)
    if classes is not None:
        require_size("classes", classes)
    labels = _numbers("y", y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        raise InputError(
            "y", f"labels of shape ({examples},)",
            f"shape {labels.shape}, which broadcasts to {(len(labels), len(labels))}",
            "flatten them: y.ravel()",
        )  # fmt: skip
    integers = jnp.issubdtype(labels.dtype, jnp.integer)
    if labels.ndim != 2 or integers:
        require_rank("y", labels, 1, "(N,), or (N, K) for probabilities")
    require_examples("y", labels)
    require_axis("y", labels, 0, examples, "N, the rows of x")
    if integers:
        _check_indices(labels, classes)
    elif labels.ndim == 1:
        _check_soft(labels, classes)
    else:
        _check_probabilities(labels, classes)


def check_two_classes(y: ArrayLike) -> None:
    """Raise InputError if every label is surely the same class: the best loss is then 0.

    Soft labels strictly between 0 and 1 speak of both classes at once and pass.
    """
    labels = np.asarray(y)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        one = labels.min() == labels.max()
    elif labels.ndim == 1:
        one = labels[0] in (0, 1) and (labels == labels[0]).all()
    else:
        one = (labels == 1).all(axis=0).any()
    if one:
        raise InputError(
            "y", "at least two classes", f"one class only, in all {len(labels)} labels",
            "pass examples of another class too; one class gives nothing to tell apart",
        )  # fmt: skip


def relative_weights(sample_weight: ArrayLike, examples: int) -> np.ndarray:
    """The weights of N examples, scaled to a mean of 1, (N,) float64.

    Raises InputError unless they are finite, none below 0, and one above.

    >>> relative_weights([0, 1, 3], 3).tolist()
    [0.0, 0.75, 2.25]
    """
    weights = _numbers("sample_weight", sample_weight).astype(np.float64)
    require_rank("sample_weight", weights, 1, "(N,)")
    require_axis("sample_weight", weights, 0, examples, "N, the rows of x")
    _require(
        "sample_weight", weights, np.isfinite(weights) & (weights >= 0), "numbers of 0 or more",
        "weight", "not", "set the weight of what does not count to 0",
    )  # fmt: skip
    largest = weights.max()
    if largest == 0:
        raise InputError("sample_weight", "one weight above 0", "zeros", "leave them out")
    return weights / largest / np.mean(weights / largest)


def _check_codes(x: Coded) -> None:
    columns = x.values.shape[1]
    if len(x.sizes) != columns:
        raise InputError(
            "sizes", f"{columns} sizes, one for each column", f"{len(x.sizes)}",
            "pass 0 for a column of numbers, else the number of its categories",
        )  # fmt: skip
    for place, size in enumerate(x.sizes):
        require_size("sizes", size, 0, remedy="pass 0 for numbers, else how many categories")
        exact = 2 ** (jnp.finfo(x.dtype).nmant + 1)
        if size > exact:
            raise InputError(
                "x", f"codes up to {exact:,}, which {np.dtype(x.dtype)} can hold", f"{size:,}",
                "keep them in a wider dtype",
            )  # fmt: skip
        if size:
            codes = np.asarray(x.values[:, place])
            _require(
                f"codes of column {place}", codes,
                (codes >= -1) & (codes < size) & (codes == np.floor(codes)),
                f"whole numbers in 0..{size - 1}, or -1 for none", "code", "out of range",
                "number the categories from 0, or pass the right size",
            )  # fmt: skip


def _check_indices(labels: np.ndarray, classes: int | None) -> None:
    expected = (
        "class indices of 0 or more" if classes is None else f"class indices in 0..{classes - 1}"
    )
    good = labels >= 0 if classes is None else (labels >= 0) & (labels < classes)
    _require(
        "y", labels, good, expected, "label", "out of range",
        "number the classes from 0, or pass the right number of classes",
    )  # fmt: skip


def _check_soft(labels: np.ndarray, classes: int | None) -> None:
    _check_no_nan(labels)
    if classes not in (None, 2):
        raise InputError(
            "y", f"integer class indices for {classes} classes", describe(labels),
            "convert them: y.astype('int32'), or pass (N, K) probabilities",
        )  # fmt: skip
    _require(
        "y", labels, (labels >= 0) & (labels <= 1), "labels in [0, 1]", "label", "outside",
        "pass probabilities of the second class, or integers for more classes: y.astype('int32')",
    )  # fmt: skip


def _check_probabilities(labels: np.ndarray, classes: int | None) -> None:
    if classes is not None:
        require_axis("y", labels, 1, classes, "K, the classes")
    _check_no_nan(labels)
    _require(
        "y", labels, (labels >= 0) & (labels <= 1), "probabilities in [0, 1]", "value", "outside",
        "pass one row of probabilities for each example, such as a softmax gives",
    )  # fmt: skip
    totals = labels.astype(np.float64).sum(axis=1)
    # A softmax in this dtype sums to 1 within a few eps; its root also covers rounded tables.
    bad = np.abs(totals - 1) > float(jnp.finfo(labels.dtype).eps) ** 0.5
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            "y", "rows of probabilities that sum to 1",
            f"a sum of {totals[row]:.6g} in row {row} ({_count(bad, 'row')} off)",
            "divide each row by its sum: y / y.sum(axis=1, keepdims=True)",
        )  # fmt: skip


def _check_no_nan(labels: np.ndarray) -> None:
    _require(
        "y", labels, ~np.isnan(labels), "a label for every example", "label", "missing",
        "drop the examples without a label",
    )  # fmt: skip


def _require(
    name: str,
    values: np.ndarray,
    good: np.ndarray,
    expected: str,
    noun: str,
    fault: str,
    remedy: str,
) -> None:
    """Raise InputError for the first value that is not `good`, with the number of such values."""
    if not good.all():
        place = np.argwhere(~good)[0].tolist()
        raise InputError(
            name,
            expected,
            f"{values[tuple(place)]} at position {place if len(place) > 1 else place[0]} "
            f"({_count(~good, noun)} {fault})",
            remedy,
        )


def _count(bad: np.ndarray, noun: str) -> str:
    """Such as '1 of 3 labels is' and '2 of 3 labels are'."""
    number = int(bad.sum())
    return f"{number:,} of {bad.size:,} {noun}s {'is' if number == 1 else 'are'}"


def _numbers(name: str, array: ArrayLike) -> np.ndarray:
    """`array` as NumPy integers or floats (bfloat16 too), or InputError."""
    values = as_numpy(name, array)
    if not any(jnp.issubdtype(values.dtype, kind) for kind in (jnp.integer, jnp.floating)):
        dtype = "int32" if values.dtype == bool else "float32"
        raise InputError(
            name, "integers or floats", f"{values.dtype} of shape {values.shape}",
            f"convert it: {name}.astype('{dtype}'), or one-hot encode the categories",
        )  # fmt: skip
    return values
