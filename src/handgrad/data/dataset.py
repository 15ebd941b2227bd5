"""The record that every reader returns and every step of preparation takes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handgrad.data.checks import check_features, check_labels
from handgrad.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A table of numbers with its labels, as NumPy arrays.

    Attributes:
        name: what `load` was given, or the name of the file.
        x: (N, D) float64, finite.
        y: (N,) int32 class indices in 0..K-1, or (N,) float64 in [0, 1]: soft binary labels.
        feature_names: D names, the columns of `x`.
        class_names: K names; ("0", "1") where the labels are soft.
        source: where the data come from and what was done to them, in a sentence.

    Raises:
        InputError: where these disagree, or a value is not finite or out of range.

    >>> Dataset("two points", np.array([[0.0], [1.0]]), np.array([0, 1], np.int32),
    ...         ("height",), ("short", "tall"), "Made up.")
    Dataset('two points': 2 examples, 1 feature, 2 classes)
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.int32] | NDArray[np.float64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            array = getattr(self, name)
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
                "y",
                "(N,) int32 class indices, or (N,) float64 in [0, 1]",
                f"{self.y.dtype} of shape {self.y.shape}",
                "convert it: y.ravel().astype('int32')",
            )
        check_labels(self.y, examples=len(self.x), classes=self.classes)
        if len(self.feature_names) != self.features:
            raise InputError(
                "feature_names",
                f"{self.features} names, one for each column of x",
                f"{len(self.feature_names)}",
                "name every column once",
            )

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
