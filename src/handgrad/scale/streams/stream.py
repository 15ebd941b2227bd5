"""A stream: the rows of a file of any size, opened in two passes over it.

The first learns the columns: the types, categories, classes, means and deviations. The second
writes the encoded and standardised rows to the working copy. The file is not needed after that.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from os.path import expanduser
from pathlib import Path
from typing import Any

import numpy as np

from handgrad._types import Coded, values_of
from handgrad.data.dataset import Dataset, check_split
from handgrad.data.encoders import LabelEncoder
from handgrad.data.files import SUFFIXES, check_path, file_changed
from handgrad.data.preparation import Preparation, PreparationLearner
from handgrad.data.table_file import FileOptions
from handgrad.errors import InputError
from handgrad.scale.streams.sources import open_source
from handgrad.scale.streams.working_copy import (
    ReadAhead,
    Rows,
    WorkingCopy,
    check_room,
    ring,
    workplace,
)

Examples = tuple[np.ndarray | Coded, np.ndarray]
"""x (R, D) and y (R,)."""
DTYPES = ("float32", "float64")
NUMBERS_AT_ONCE = 2**22
"""Of encoded rows: 32 MB in float64."""
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
        copy: the rows, N of `width` numbers.
        preparation: what was done to the columns, and whether categories are codes.
        remarks: what was guessed of the file, and what may be wrong with it.
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
    preparation: Preparation
    remarks: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """K, the classes that have a name."""
        return len(self.class_names)

    @property
    def width(self) -> int:
        """How many numbers a row is kept in: D, or fewer where categories are codes."""
        return self.copy.features

    def wrap(self, values: Any) -> Any:
        """Rows as a model takes them: the values themselves, or `Coded`."""
        return self.preparation.wrap(values)

    @property
    def label_dtype(self) -> str:
        """The dtype of y."""
        return self.dtype if self.soft else "int32"

    @property
    def block_rows(self) -> int:
        """R, how many rows a block has; the last may have fewer."""
        row = self.width * np.dtype(self.dtype).itemsize
        blocks = -(-self.examples // max(1, BLOCK_BYTES // row))
        return -(-self.examples // blocks)

    def rows(self, begin: int, end: int) -> Examples:
        """Rows begin … end − 1: x (R, D) and y (R,), new arrays."""
        x, y = self._rows(begin, end)
        return self.wrap(x), y

    def _rows(self, begin: int, end: int) -> Rows:
        x = np.empty((end - begin, self.width), self.dtype)
        y = np.empty(end - begin, self.label_dtype)
        self.copy.read(begin, x, y)
        return x, y

    def blocks(self) -> Iterator[Examples]:
        """All rows in order, in blocks: x (R, D), y (R,). Each is overwritten two blocks later."""
        with ReadAhead(self.copy, ring(self.examples, self.block_rows), self.block_rows) as ahead:
            for number in range(-(-self.examples // self.block_rows)):
                x, y = ahead.get(number)
                yield self.wrap(x), y

    def sample(self, most: int) -> Examples:
        """At most `most` rows, in runs of 16 evenly spread over all: x and y."""
        runs = max(1, most // 16)
        if self.examples <= 16 * runs:
            return self.rows(0, self.examples)
        starts = [number * self.examples // runs for number in range(runs)]
        parts = [self._rows(start, start + 16) for start in starts]
        x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return self.wrap(x), y

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


def open_stream(
    path: str | PathLike[str],
    target: str | int | None,
    *,
    dtype: str = "float32",
    standardised: bool = True,
    folder: str | PathLike[str] | None = None,
    options: FileOptions | None = None,
) -> Stream:
    """The rows of a .npy file, or of one that `load` reads, encoded as there, in bounded memory.

    They are standardised as `standardise` does it, to rounding, and kept in `dtype` in a working
    copy in `folder` (else $TMPDIR, or /var/tmp): N (D + 1) numbers. It goes with the Stream, or
    with the process. `target` is the name of the label column; of a .npy file its number.

    Raises:
        InputError: as `load` does, with the row; a file that changes while it is being read; no
            room for the working copy.
        MissingExtraError: pyarrow is not installed, and the file is not a .npy file.
    """
    return _open(path, target, dtype, standardised, folder, None, options)[0]


def open_parts(
    path: str | PathLike[str],
    target: str | int | None,
    test_fraction: float = 0.25,
    seed: int = 0,
    *,
    dtype: str = "float32",
    folder: str | PathLike[str] | None = None,
    options: FileOptions | None = None,
) -> tuple[Stream, Stream]:
    """The training part and the test part of a file, both standardised by the former.

    What `load_parts(path, target)` is in memory, but that each row is drawn by
    itself, by its number and `seed`, so that the shares of the classes are those of chance.

    Raises:
        InputError: as `open_stream` does; a fraction outside (0, 1), or that leaves a part empty.
    """
    check_split(test_fraction, seed)
    held_out = HeldOut(test_fraction, seed)
    train, test = _open(path, target, dtype, True, folder, held_out, options)
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


def _open(
    path: str | PathLike[str],
    target: str | int | None,
    dtype: str,
    standardised: bool,
    folder: str | PathLike[str] | None,
    held_out: HeldOut | None,
    options: FileOptions | None,
) -> list[Stream]:
    """The training rows and, if some are held out, those."""
    if dtype not in DTYPES:
        raise InputError("dtype", "float32 or float64", repr(dtype), "name one of them")
    began = time.perf_counter()
    file = _as_path(path)
    check_path(file, (*SUFFIXES, ".npy"))
    before = _fingerprint(file)
    options = options or FileOptions()
    source = open_source(file, target, options)
    labels = LabelEncoder(file.name, source.target)
    learner = PreparationLearner(
        file.name, source.columns, impute=options.impute, max_categories=options.max_categories,
        categories=options.categories,
        standardised=standardised, in_blocks=True,
    )  # fmt: skip
    rows = 0
    for block in source.blocks():
        labels.partial_fit(block.target)
        rows += len(block.target)
        parts = block.parts
        if held_out is not None:
            train = ~held_out.mask(block.first, len(block.target))
            parts = [part[train] for part in parts]
        learner.partial_fit(parts)
    if held_out is not None and not 0 < learner.rows < rows:
        raise InputError(
            "test_fraction",
            f"a fraction that leaves some of {rows:,} examples in both parts",
            held_out.fraction, "pass another one, or more data",
        )  # fmt: skip
    if _fingerprint(file) != before:  # what is wrong with its values would mislead
        raise file_changed(file.name)
    labels.finish()
    preparation = learner.finish()

    names = preparation.feature_names
    label_dtype = dtype if labels.soft else "int32"
    width = len(preparation.sizes)
    row = width * np.dtype(dtype).itemsize + np.dtype(label_dtype).itemsize
    work = workplace(folder)
    check_room(work, rows * row)
    copies = [
        WorkingCopy(work, width, dtype, label_dtype) for _ in range(1 if held_out is None else 2)
    ]
    at_once = max(1, NUMBERS_AT_ONCE // width)  # encoded, a block may be much wider
    for block in source.blocks():
        for begin in range(0, len(block.target), at_once):
            some = slice(begin, begin + at_once)
            x = preparation.transform([part[some] for part in block.parts])
            y = labels.transform(block.target[some])
            with np.errstate(over="ignore"):
                x = x.astype(dtype, copy=False)
            preparation.check_no_overflow(x)
            values = values_of(x)
            if held_out is None:
                copies[0].append(values, y)
            else:
                held = held_out.mask(block.first + begin, len(y))
                copies[0].append(values[~held], y[~held])
                copies[1].append(values[held], y[held])
    if _fingerprint(file) != before or sum(copy.rows for copy in copies) != rows:
        raise file_changed(file.name)
    described = f"Read from {file.name}, with {str(target)!r} as the target."
    took = time.perf_counter() - began
    remarks = (*source.remarks, *labels.remarks, *learner.remarks)
    return [
        Stream(
            file.stem, copy.rows, len(names), dtype, labels.soft, names, labels.class_names,
            described, took, copy, preparation, remarks,
        ) for copy in copies
    ]  # fmt: skip


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
