"""`open_stream`: a file of any size to a Stream, in two passes over it.

The first learns the columns: the types, categories, classes, means and deviations. The second
writes the encoded and standardised rows to the working copy. The file is not needed after that.
"""

import time
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from os.path import expanduser
from pathlib import Path

import numpy as np

from handgrad.data.encoders import Block, FeatureEncoder, LabelEncoder, Strings, ValueCounts
from handgrad.data.files import SUFFIXES, check_path, file_changed
from handgrad.data.preparation import check_no_overflow, check_split
from handgrad.errors import InputError
from handgrad.scale.streams.sources import Source, open_source
from handgrad.scale.streams.stream import Stream
from handgrad.scale.streams.working_copy import WorkingCopy, check_room, workplace

DTYPES = ("float32", "float64")
NUMBERS_AT_ONCE = 2**22
"""Of encoded rows: 32 MB in float64."""


def open_stream(
    path: str | PathLike[str],
    target: str | int | None,
    *,
    dtype: str = "float32",
    standardised: bool = True,
    folder: str | PathLike[str] | None = None,
) -> Stream:
    """The rows of a .csv, .parquet or .npy file, encoded as `load` does, in bounded memory.

    They are standardised as `standardise` does it, to rounding, and kept in `dtype` in a working
    copy in `folder` (else $TMPDIR, or /var/tmp): N (D + 1) numbers. It goes with the Stream, or
    with the process. `target` is the name of the label column; of a .npy file its number.

    Raises:
        InputError: as `load` does, with the row; a file that changes while it is being read; no
            room for the working copy.
        MissingExtraError: pyarrow is not installed, and the file is not a .npy file.
    """
    return _open(path, target, dtype, standardised, folder, None)[0]


def open_parts(
    path: str | PathLike[str],
    target: str | int | None,
    test_fraction: float = 0.25,
    seed: int = 0,
    *,
    dtype: str = "float32",
    folder: str | PathLike[str] | None = None,
) -> tuple[Stream, Stream]:
    """The training part and the test part of a file, both standardised by the former.

    What `standardise(*split(load(path, target)))` is in memory, but that each row is drawn by
    itself, by its number and `seed`, so that the shares of the classes are those of chance.

    Raises:
        InputError: as `open_stream` does; a fraction outside (0, 1), or that leaves a part empty.
    """
    check_split(test_fraction, seed)
    train, test = _open(path, target, dtype, True, folder, HeldOut(test_fraction, seed))
    return train, test


class HeldOut:
    """About a `fraction` of all rows, drawn by row number and seed alone: the same in each pass."""

    TOGETHER = 2**16
    """Rows that share a generator, whatever the blocks they are read in."""

    def __init__(self, fraction: float, seed: int):
        self.fraction, self._seed = fraction, seed

    def mask(self, first: int, count: int) -> np.ndarray:
        """(count,) of bool: whether rows first, first+1 … are held out."""
        groups = range(first // self.TOGETHER, (first + count - 1) // self.TOGETHER + 1)
        drawn = np.concatenate(
            [np.random.default_rng([self._seed, group]).random(self.TOGETHER) for group in groups]
        )
        begin = first - groups[0] * self.TOGETHER
        return drawn[begin : begin + count] < self.fraction


class Standardiser:
    """Mean and deviation of the training rows, learnt from blocks, of encoded features.

    Those of numbers are scikit-learn's, which adds up squares about the mean of each block: sums of
    squares would cancel, since a column of years has a mean a thousand times its deviation. Those
    of a column of 0 and 1 that holds k ones in n rows are k/n and √(k/n (1 − k/n)).
    """

    def __init__(self) -> None:
        self._seen: list = []
        self.rows = 0

    def partial_fit(self, parts: Sequence[np.ndarray | Strings]) -> None:
        """Learn from the next training rows, the parts of a `Block`."""
        from sklearn.preprocessing import StandardScaler

        if not self._seen:
            self._seen = [
                ValueCounts() if isinstance(part, Strings) else StandardScaler() for part in parts
            ]
        if len(parts[0]) == 0:
            return
        self.rows += len(parts[0])
        with np.errstate(over="ignore", invalid="ignore"):
            for seen, part in zip(self._seen, parts, strict=True):
                if isinstance(part, Strings):
                    seen.partial_fit(part)
                elif part.size:  # the target of a .npy file may be its first column
                    seen.partial_fit(part.astype(np.float64, copy=False))

    def finish(self, features: FeatureEncoder) -> None:
        """Settle `mean` (D,) and `scale` (D,). Raises InputError for an overflow."""
        means, variances, scales = [], [], []
        for seen, categories in zip(self._seen, features.categories, strict=True):
            if isinstance(seen, ValueCounts):
                share = np.array([seen.counts.get(value, 0) for value in categories]) / self.rows
                means.append(share)
                variances.append(share * (1 - share))
                scales.append(np.where(variances[-1] == 0, 1, np.sqrt(variances[-1])))
            elif hasattr(seen, "mean_"):
                means.append(seen.mean_)
                variances.append(seen.var_)
                scales.append(seen.scale_)
        self.mean, self.scale = np.concatenate(means), np.concatenate(scales)
        check_no_overflow(features.feature_names, self.mean, np.concatenate(variances))

    def transform(self, x: np.ndarray) -> np.ndarray:
        """`x` (R, D), encoded, standardised in place."""
        with np.errstate(over="ignore", invalid="ignore"):
            x -= self.mean
            x /= self.scale
        return x


def _open(
    path: str | PathLike[str],
    target: str | int | None,
    dtype: str,
    standardised: bool,
    folder: str | PathLike[str] | None,
    held_out: HeldOut | None,
) -> list[Stream]:
    """The training rows and, if some are held out, those."""
    if dtype not in DTYPES:
        raise InputError("dtype", "float32 or float64", repr(dtype), "name one of them")
    began = time.perf_counter()
    file = _as_path(path)
    check_path(file, (*SUFFIXES, ".npy"))
    before = _fingerprint(file)
    source = open_source(file, target)
    labels = LabelEncoder(file.name, source.target)
    features = FeatureEncoder(file.name, source.names)
    standardiser = Standardiser()
    for block in source.blocks():
        labels.partial_fit(block.target)
        features.partial_fit(block.parts)
        train = _masks(block, held_out)[0]
        standardiser.partial_fit([part[train] for part in block.parts])
    if held_out is not None and not 0 < standardiser.rows < features.rows:
        raise InputError(
            "test_fraction",
            f"a fraction that leaves some of {features.rows:,} examples in both parts",
            held_out.fraction,
            "pass another one, or more data",
        )
    _check_same(file, before)  # errors about a file that changes would mislead
    labels.finish()
    features.finish()
    standardiser.finish(features)

    names = features.feature_names
    label_dtype = dtype if labels.soft else "int32"
    row = len(names) * np.dtype(dtype).itemsize + np.dtype(label_dtype).itemsize
    work = workplace(folder)
    check_room(work, features.rows * row)
    parts = 1 if held_out is None else 2
    copies = [WorkingCopy(work, len(names), dtype, label_dtype) for _ in range(parts)]
    for block in _slices(source, max(1, NUMBERS_AT_ONCE // len(names))):
        x, y = features.transform(block.parts), labels.transform(block.target)
        if standardised:
            standardiser.transform(x)
        with np.errstate(over="ignore"):
            x = x.astype(dtype, copy=False)
        check_no_overflow(names, x)
        for copy, mine in zip(copies, _masks(block, held_out), strict=True):
            copy.append(x[mine], y[mine])
    _check_same(file, before)
    if sum(copy.rows for copy in copies) != features.rows:
        raise file_changed(file.name)
    described = f"Read from {file.name}, with {str(target)!r} as the target."
    took = time.perf_counter() - began
    return [
        Stream(
            file.stem, copy.rows, len(names), dtype, labels.soft, names, labels.class_names,
            described, took, copy,
        ) for copy in copies
    ]  # fmt: skip


def _masks(block: Block, held_out: HeldOut | None) -> list[np.ndarray | slice]:
    """Which rows of a block are trained on, and, if some are held out, which are not."""
    if held_out is None:
        return [slice(None)]
    held = held_out.mask(block.first, len(block.target))
    return [~held, held]


def _slices(source: Source, rows: int) -> Iterator[Block]:
    """The blocks of a source, cut to at most `rows` rows: encoded, they may be much wider."""
    for block in source.blocks():
        for begin in range(0, len(block.target), rows):
            yield block.rows(slice(begin, begin + rows))


def _as_path(path: object) -> Path:
    try:
        return Path(expanduser(fspath(path)))  # type: ignore[call-overload]
    except TypeError:
        raise InputError("path", "the path of a file", repr(path), "pass a string") from None


def _fingerprint(path: Path) -> tuple[int, int, int, int]:
    """What changes with a file: its size, when it was written, and which file it is."""
    try:
        now = path.stat()
    except OSError:
        raise file_changed(path.name) from None
    return now.st_size, now.st_mtime_ns, now.st_dev, now.st_ino


def _check_same(path: Path, before: tuple[int, int, int, int]) -> None:
    if _fingerprint(path) != before:
        raise file_changed(path.name)
