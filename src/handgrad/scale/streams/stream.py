"""The record that `open_stream` returns: what a Dataset is, for rows that stay on the disk."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from handgrad.data.dataset import Dataset
from handgrad.scale.streams.working_copy import ReadAhead, Rows, WorkingCopy, ring

BLOCK_BYTES = 2**22
"""Of a block: small enough to stay in the cache from being read to being used."""


@dataclass(frozen=True, eq=False, repr=False)
class Stream:
    """Encoded and standardised rows, read in blocks as often as wanted.

    Attributes:
        name: that of the file.
        examples, features: N and D.
        dtype: of x, 'float32' or 'float64'; labels are int32 class indices, or soft in `dtype`.
        feature_names, class_names, source: as a Dataset has them.
        prepared_in: seconds that learning and encoding took.
        copy: the rows.
    """

    name: str
    examples: int
    features: int
    dtype: str
    soft: bool
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    source: str
    prepared_in: float
    copy: WorkingCopy

    @property
    def classes(self) -> int:
        """K, the classes that have a name."""
        return len(self.class_names)

    @property
    def label_dtype(self) -> str:
        """The dtype of y."""
        return self.dtype if self.soft else "int32"

    @property
    def block_rows(self) -> int:
        """R, how many rows a block has; the last may have fewer."""
        row = self.features * np.dtype(self.dtype).itemsize
        blocks = -(-self.examples // max(1, BLOCK_BYTES // row))
        return -(-self.examples // blocks)

    def rows(self, begin: int, end: int) -> Rows:
        """Rows begin … end − 1: x (R, D) and y (R,), new arrays."""
        x = np.empty((end - begin, self.features), self.dtype)
        y = np.empty(end - begin, self.label_dtype)
        self.copy.read(begin, x, y)
        return x, y

    def blocks(self) -> Iterator[Rows]:
        """All rows in order, in blocks: x (R, D), y (R,). Each is overwritten two blocks later."""
        with ReadAhead(self.copy, ring(self.examples, self.block_rows), self.block_rows) as ahead:
            for number in range(-(-self.examples // self.block_rows)):
                yield ahead.get(number)

    def sample(self, most: int) -> Rows:
        """At most `most` rows, in runs of 16 evenly spread over all: x and y."""
        runs = max(1, most // 16)
        if self.examples <= 16 * runs:
            return self.rows(0, self.examples)
        starts = [number * self.examples // runs for number in range(runs)]
        parts = [self.rows(start, start + 16) for start in starts]
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

    def shown(self, most: int = 1_000) -> Dataset:
        """A sample as a Dataset, to plot."""
        x, y = self.sample(most)
        return Dataset(
            self.name,
            x.astype(np.float64),
            y.astype(np.float64) if self.soft else y,
            self.feature_names,
            self.class_names,
            f"A sample. {self.source}",
        )

    def close(self) -> None:
        """Free the space on the disk that the working copy takes."""
        self.copy.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Stream({self.name!r}: {self.examples:,} examples, {self.features:,} features, "
            f"{self.classes:,} classes)"
        )
