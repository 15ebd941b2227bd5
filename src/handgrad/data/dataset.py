"""A data set: the record that every reader returns, its split, and its standardisation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handgrad._checks import check_features, check_labels
from handgrad._types import Coded, values_of
from handgrad.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A table of numbers with its labels, as NumPy arrays.

    Attributes:
        name: what `load` was given, or the name of the file.
        x: (N, D) float64, finite: an array, or `Coded` where categories are kept as codes.
        y: (N,) int32 class indices in 0..K-1, or (N,) float64 in [0, 1]: soft binary labels.
        feature_names: D names, of the features.
        class_names: K names; ("0", "1") where the labels are soft.
        source: where the data come from and what was done to them, in a sentence.
        remarks: what was guessed when they were read, and what may be wrong with them.

    Raises:
        InputError: where these disagree, or a value is not finite or out of range.

    >>> Dataset("two points", np.array([[0.0], [1.0]]), np.array([0, 1], np.int32),
    ...         ("height",), ("short", "tall"), "Made up.")
    Dataset('two points': 2 examples, 1 feature, 2 classes)
    """

    name: str
    x: Any
    y: NDArray[np.int32] | NDArray[np.float64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    source: str
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, array in (("x", values_of(self.x)), ("y", self.y)):
            if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
                raise InputError(name, "a NumPy array", type(array).__name__, "pass np.array(...)")
        for name in ("feature_names", "class_names"):
            words = getattr(self, name)
            if not isinstance(words, tuple) or not all(isinstance(word, str) for word in words):
                raise InputError(name, "a tuple of strings", repr(words)[:80], "pass ('a', 'b')")
        check_features(self.x)
        if self.x.dtype != np.float64:
            raise InputError("x", "float64", str(self.x.dtype), "convert it: x.astype('float64')")
        if np.ndim(self.y) != 1 or self.y.dtype not in (np.int32, np.float64):
            raise InputError(
                "y", "(N,) int32 class indices, or (N,) float64 in [0, 1]",
                f"{self.y.dtype} of shape {self.y.shape}", "convert it: y.ravel().astype('int32')",
            )  # fmt: skip
        check_labels(self.y, examples=len(self.x), classes=self.classes)
        if len(self.feature_names) != self.features:
            raise InputError(
                "feature_names", f"{self.features} names, one for each column of x",
                f"{len(self.feature_names)}", "name every column once",
            )  # fmt: skip

    @property
    def examples(self) -> int:
        """N, the rows of `x`."""
        return self.x.shape[0]

    @property
    def features(self) -> int:
        """D, the columns of `x`."""
        return self.x.shape[1]

    @property
    def classes(self) -> int:
        """K, the classes that have a name; a part of a data set may lack examples of some."""
        return len(self.class_names)

    @property
    def soft(self) -> bool:
        """Whether the labels are probabilities of the second class, not class indices."""
        return bool(self.y.dtype == np.float64)

    def __repr__(self) -> str:
        counts = (
            f"{number:,} {one if number == 1 else many}"
            for number, one, many in (
                (self.examples, "example", "examples"),
                (self.features, "feature", "features"),
                (self.classes, "class", "classes"),
            )
        )
        return f"Dataset({self.name!r}: {', '.join(counts)})"


def coded(x: ArrayLike | None, codes: ArrayLike, sizes: Sequence[int]) -> Coded:
    """Features of numbers x (N, F), or None, and of categories as codes (N, C).

    Column c of `codes` has whole numbers in 0..sizes[c]−1, or −1 for none of its categories. The D
    features are those of the numbers, then sizes[c] of each category. They take N (F + C) numbers
    of memory, where columns of 0 and 1 take N D.

    Raises:
        InputError: a code out of range or not whole, or shapes that do not fit.

    >>> x = coded(np.array([[1.5], [2.5]]), np.array([[0, 3], [2, -1]]), sizes=(3, 4))
    >>> x
    Coded(2 x 8: 1 numbers, 2 categories, float64)
    """
    kept = np.asarray(codes)
    if kept.ndim != 2 or kept.dtype.kind not in "iuf":
        found = f"{kept.dtype} of shape {kept.shape}"
        raise InputError("codes", "whole numbers (N, C)", found, "encode the categories first")
    numbers = np.zeros((len(kept), 0), np.float64) if x is None else np.asarray(x)
    if numbers.ndim != 2 or len(numbers) != len(kept) or numbers.dtype.kind != "f":
        found = f"{numbers.dtype} of shape {numbers.shape}"
        raise InputError("x", f"floats ({len(kept)}, F)", found, "pass a row for each row of codes")
    values = np.concatenate([numbers, kept], axis=1, dtype=numbers.dtype)
    features = Coded(values, (0,) * numbers.shape[1] + tuple(map(int, sizes)))
    check_features(features)
    return features


def split(dataset: Dataset, test_fraction: float = 0.25, seed: int = 0) -> tuple[Dataset, Dataset]:
    """The training part and the test part, drawn at random by scikit-learn's train_test_split.

    Stratified: each class keeps its share in both parts. Where that cannot be (soft labels, a
    class with one example, a part smaller than the number of classes) the draw is a plain one.

    Raises:
        InputError: a fraction outside (0, 1), one that leaves a part empty, or a negative seed.

    >>> from handgrad.data import load
    >>> split(load("iris"), test_fraction=0.2)
    (Dataset('iris': 120 examples, 4 features, 3 classes),
     Dataset('iris': 30 examples, 4 features, 3 classes))
    """
    _check_dataset("dataset", dataset)
    train, test = split_rows(dataset.y, test_fraction, seed)
    return _rows(dataset, train), _rows(dataset, test)


def split_rows(
    y: np.ndarray, test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the training part and of the test part, as `split` draws them by their labels."""
    from sklearn.model_selection import train_test_split

    check_split(test_fraction, seed)
    held_out = int(np.ceil(test_fraction * len(y)))  # train_test_split rounds up
    if held_out == len(y):
        raise InputError(
            "test_fraction",
            f"a fraction that leaves some of {len(y)} examples for training",
            str(test_fraction), "pass a smaller one, or more data",
        )  # fmt: skip
    train, test = train_test_split(
        np.arange(len(y)),
        test_size=held_out,
        random_state=int(seed),
        stratify=y if _can_stratify(y, held_out) else None,
    )
    return train, test


def check_split(test_fraction: float, seed: int) -> None:
    """Raise InputError unless rows can be drawn with this fraction and this random seed."""
    if not isinstance(test_fraction, float | np.floating) or not 0 < test_fraction < 1:
        expected = "a number between 0 and 1"
        raise InputError("test_fraction", expected, str(test_fraction), "pass 0.25")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise InputError("seed", "an integer in 0..2^32-1", repr(seed), "pass 0")


def standardise(train: Dataset, *others: Dataset) -> tuple[Dataset, ...]:
    """New data sets whose features have mean 0 and variance 1 over `train` alone.

    The others are moved and scaled by the same amounts, so nothing of a test set is looked at. A
    feature that is constant in `train` is only moved. Categories that are codes stay as they are.

    Raises:
        InputError: other features than those of `train`, or values too large for float64.

    >>> from handgrad.data import load
    >>> train, test = standardise(*split(load("wine")))
    >>> bool(abs(train.x.mean(axis=0)).max() < 1e-9)
    True
    """
    from sklearn.preprocessing import StandardScaler

    for name, part in (("train", train), *(("others", other) for other in others)):
        _check_dataset(name, part)
    for other in others:
        if other.feature_names != train.feature_names:
            raise InputError(
                "others", f"the {train.features} features of {train.name!r}",
                f"{other.features} features in {other.name!r}, or other names",
                "pass parts of one data set, as split returns them",
            )  # fmt: skip
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(train.x, Coded):
            return _standardise_numbers(train, *others)
        scaler = StandardScaler().fit(train.x)
        scaled = tuple(scaler.transform(part.x) for part in (train, *others))
    # The scale itself may look well: scikit-learn takes an infinite variance for a constant.
    check_no_overflow(train.feature_names, scaler.mean_, scaler.var_, *scaled)
    return tuple(replace(part, x=x) for part, x in zip((train, *others), scaled, strict=True))


def _standardise_numbers(*parts: Dataset) -> tuple[Dataset, ...]:
    """`standardise` where categories are codes: each stays a feature of 0 and 1."""
    x: list[Coded] = [part.x for part in parts]
    if not x[0].numbers:
        return parts
    numbers, first = list(x[0].numbers), parts[0]
    names = tuple(first.feature_names[x[0].starts[place]] for place in numbers)
    bare = [
        Dataset(part.name, own.values[:, numbers], part.y, names, part.class_names, part.source)
        for part, own in zip(parts, x, strict=True)
    ]
    found = []
    for part, own, scaled in zip(parts, x, standardise(*bare), strict=True):
        values = own.values.copy()
        values[:, numbers] = scaled.x
        found.append(replace(part, x=own.with_values(values)))
    return tuple(found)


def check_no_overflow(feature_names: Sequence[str], *arrays: np.ndarray) -> None:
    """Raise InputError unless every feature, along the last axis, is finite in all arrays."""
    finite = np.ones(len(feature_names), bool)
    for array in arrays:
        finite &= np.isfinite(array).reshape(-1, len(feature_names)).all(axis=0)
    if not finite.all():
        raise InputError(
            f"feature {feature_names[int(np.argmin(finite))]!r}",
            "values whose variance float64 can hold", "an overflow", "rescale that feature first",
        )  # fmt: skip


def _check_dataset(name: str, dataset: Dataset) -> None:
    if not isinstance(dataset, Dataset):
        raise InputError(name, "a Dataset", type(dataset).__name__, "pass what load returns")


def _can_stratify(y: np.ndarray, held_out: int) -> bool:
    if y.dtype == np.float64:  # soft labels
        return False
    counts = np.bincount(y)
    counts = counts[counts > 0]
    smaller = min(held_out, len(y) - held_out)
    return bool(counts.min() >= 2 and smaller >= len(counts))


def _rows(dataset: Dataset, rows: np.ndarray) -> Dataset:
    return replace(dataset, x=dataset.x[rows], y=dataset.y[rows])
