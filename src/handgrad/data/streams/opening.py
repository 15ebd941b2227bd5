"""`open_stream`: a file of any size to a Stream, in two passes over it.

The first learns the columns: the types, categories, classes, means and deviations. The second
writes the encoded and standardised rows to the working copy. The file is not needed after that.
"""

import time
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.data.files import SUFFIXES, check_path
from handgrad.data.streams.encoding import Encoding
from handgrad.data.streams.held_out import Draw, check_fraction
from handgrad.data.streams.npy import Npy
from handgrad.data.streams.source import Fingerprint, Source, as_path, changed
from handgrad.data.streams.stream import Stream
from handgrad.data.streams.tables import Tables
from handgrad.data.streams.working_copy import WorkingCopy, check_room, workplace
from handgrad.errors import InputError

DTYPES = ("float32", "float64")


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
    check_fraction(test_fraction, seed)
    train, test = _open(path, target, dtype, True, folder, Draw(test_fraction, seed))
    assert test is not None  # there was a draw
    return train, test


def _open(
    path: str | PathLike[str],
    target: str | int | None,
    dtype: str,
    standardised: bool,
    folder: str | PathLike[str] | None,
    draw: Draw | None,
) -> tuple[Stream, Stream | None]:
    if dtype not in DTYPES:
        raise InputError("dtype", "float32 or float64", repr(dtype), "name one of them")
    began = time.perf_counter()
    file = as_path(path)
    check_path(file, (*SUFFIXES, ".npy"))
    if file.stat().st_size == 0:
        raise InputError(file.name, "a table", "an empty file", "write the table again")
    before = Fingerprint.of(file)
    source = _source(file, target)
    source.settle()
    encoding = Encoding(source)
    for block in source.blocks():
        encoding.see(block, ~_held(draw, block.first, len(block.target)))
    if draw is not None and not 0 < encoding.train_rows < encoding.rows:
        raise InputError(
            "test_fraction",
            f"a fraction that leaves some of {encoding.rows:,} examples in both parts",
            draw.fraction,
            "pass another one, or more data",
        )
    _check_same(file, before)  # what is wrong with a file that changes is not worth saying
    encoding.settle()
    copies = _write(source, encoding, draw, dtype, standardised, workplace(folder))
    _check_same(file, before)
    if sum(copy.rows for copy in copies) != encoding.rows:
        raise changed(file)
    took = time.perf_counter() - began

    def stream(copy: WorkingCopy) -> Stream:
        return Stream(
            name=file.stem,
            examples=copy.rows,
            features=len(encoding.feature_names),
            dtype=dtype,
            soft=encoding.labels.soft,
            feature_names=encoding.feature_names,
            class_names=encoding.labels.class_names,
            source=f"Read from {file.name}, with {str(target)!r} as the target.",
            prepared_in=took,
            copy=copy,
        )

    return stream(copies[0]), stream(copies[1]) if draw is not None else None


def _write(
    source: Source,
    encoding: Encoding,
    draw: Draw | None,
    dtype: str,
    standardised: bool,
    folder: Path,
) -> list[WorkingCopy]:
    """The second pass: the training rows, and those held out if some are."""
    features = len(encoding.feature_names)
    label_dtype = dtype if encoding.labels.soft else "int32"
    row = features * np.dtype(dtype).itemsize + np.dtype(label_dtype).itemsize
    check_room(folder, encoding.rows * row)
    copies = [WorkingCopy(folder, features, dtype, label_dtype) for _ in range(1 + bool(draw))]
    for block in source.blocks():
        held = _held(draw, block.first, len(block.target))
        y = encoding.labels.encode(block.target, dtype)
        for begin in range(0, len(y), at_once := max(1, 2**22 // features)):
            part = slice(begin, begin + at_once)
            with np.errstate(over="ignore"):
                x = encoding.encode(block.rows(part), standardised).astype(dtype)
            encoding.check(np.isfinite(x).all(axis=0))
            if draw is None:
                copies[0].append(x, y[part])
                continue
            for copy, mine in zip(copies, (~held[part], held[part]), strict=True):
                copy.append(x[mine], y[part][mine])
    return copies


def _source(file: Path, target: Any) -> Source:
    if file.suffix.lower() == ".npy":
        return Npy(file, target)
    if target is not None and not isinstance(target, str):
        raise InputError("target", "the name of a column", repr(target), "pass a string")
    return Tables(file, target)


def _held(draw: Draw | None, first: int, count: int) -> np.ndarray:
    """Which rows first, first+1 … are held out."""
    return np.zeros(count, bool) if draw is None else draw.held(first, count)


def _check_same(path: Path, before: Fingerprint) -> None:
    if Fingerprint.of(path) != before:
        raise changed(path)
