"""What the first pass over a file learns, and what the second makes of each block with it.

Numbers stay as they are, strings become one column of 0 and 1 for each of their values, as `load`
has it; then the mean and the deviation of the training rows standardise them, as `standardise` has
it. Those of a column of 0 and 1 that holds k ones in n rows are k/n and √(k/n (1 − k/n)).
"""

import numpy as np

from handgrad.data.streams.categories import Categories
from handgrad.data.streams.labels import Labels
from handgrad.data.streams.moments import Moments
from handgrad.data.streams.source import Block, Source, changed
from handgrad.errors import InputError


class Encoding:
    """Features and labels of `source`: see every block, then settle, then encode."""

    def __init__(self, source: Source):
        self._source = source
        self.labels = Labels(source)
        self.rows = self.train_rows = 0
        self._firsts: list[np.ndarray] = []
        self._varies: list[np.ndarray] = []
        self._seen: list[Moments | Categories] = []
        self._train: list[Categories | None] = []

    def see(self, block: Block, train: np.ndarray) -> None:
        """Take in a block, of which `train` (R,) says what is trained on."""
        if not self._seen:
            self._begin(block)
        everything = bool(train.all())
        for number, part in enumerate(block.parts):
            seen, among = self._seen[number], self._train[number]
            if isinstance(seen, Moments):
                self._varies[number] |= (part != self._firsts[number]).any(axis=0)
                seen.see((part if everything else part[train]).astype(np.float64))
                continue
            seen.see(part)
            if seen.too_many:
                self._check_category(number)
            assert among is not None  # a part of strings has both
            among.see(part if everything else part[train])
        self.labels.see(block.target)
        self.rows += len(train)
        self.train_rows += int(train.sum())

    def settle(self) -> None:
        """Know the columns and their scale. Raises InputError for what cannot be learned from."""
        self.labels.settle()
        names: list[str] = []
        means, scales = [], []
        constant = True
        for number, seen in enumerate(self._seen):
            own = self._source.names[number]
            if isinstance(seen, Moments):
                names += own
                means.append(seen.mean)
                scales.append(seen.scale())
                constant &= not self._varies[number].any()
                continue
            self._check_category(number)
            names += [f"{own[0]}={value}" for value in seen.distinct]
            among = self._train[number]
            assert among is not None
            shares = np.array([among.counts[value] for value in seen.distinct]) / self.train_rows
            means.append(shares)
            scales.append(
                np.where((shares == 0) | (shares == 1), 1, np.sqrt(shares * (1 - shares)))
            )
            constant &= len(seen.distinct) == 1
        self.feature_names = tuple(names)
        if constant:
            raise InputError(
                self._source.path.name,
                "a feature that varies",
                f"{len(names)} constant column{'s' if len(names) > 1 else ''}"
                f" in {self.rows:,} row{'s' if self.rows > 1 else ''}",
                "add features that differ between examples",
            )
        self.mean, self.scale = np.concatenate(means), np.concatenate(scales)
        self.check(np.isfinite(self.mean) & np.isfinite(self.scale))
        self._places = [
            {value: place for place, value in enumerate(seen.distinct)}
            if isinstance(seen, Categories) else None for seen in self._seen
        ]  # fmt: skip

    def encode(self, block: Block, standardised: bool = True) -> np.ndarray:
        """Features (R, D) of a block, float64."""
        x = np.zeros((len(block.target), len(self.feature_names)))
        start = 0
        for part, places in zip(block.parts, self._places, strict=True):
            if places is None:
                x[:, start : start + part.shape[1]] = part
                start += part.shape[1]
                continue
            try:
                found = np.fromiter(map(places.__getitem__, part.tolist()), np.int64, len(part))
            except KeyError:
                raise changed(self._source.path) from None
            x[np.arange(len(part)), start + found] = 1
            start += len(places)
        if standardised:
            with np.errstate(over="ignore", invalid="ignore"):
                x -= self.mean
                x /= self.scale
        return x

    def check(self, usable: np.ndarray) -> None:
        """Raise InputError unless every feature is `usable` (D,)."""
        if not usable.all():
            raise InputError(
                f"feature {self.feature_names[int(np.argmin(usable))]!r}",
                "values whose variance float64 can hold",
                "an overflow",
                "rescale that feature first",
            )

    def _begin(self, block: Block) -> None:
        for part in block.parts:
            numbers = part.ndim == 2
            self._firsts.append(part[0].copy() if numbers else part[:1])
            self._varies.append(np.zeros(part.shape[1] if numbers else 1, bool))
            self._seen.append(Moments(part.shape[1]) if numbers else Categories())
            self._train.append(None if numbers else Categories())

    def _check_category(self, number: int) -> None:
        where = f"column {self._source.names[number][0]!r} of {self._source.path.name}"
        seen = self._seen[number]
        assert isinstance(seen, Categories)
        seen.check(where, "leave it out, or group its values")
