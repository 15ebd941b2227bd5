"""Files larger than memory: learnt in one pass, encoded in a second, then read as often as wanted.

    source  ->  blocks of rows  ->  PreparationLearner      first pass: types, categories, means
                blocks of rows  ->  WorkingCopy             second pass: encoded, standardised
    Stream  ->  ReadAhead       ->  rows of the working copy, in any order

The file is not needed after the second pass. The working copy is a nameless file that only this
process sees: it is read at the speed of the disk, and nobody can change it, or cut it short, while
it is being read. While one window of its rows is worked on, a thread reads the next.

The header of a .npy file is read as `numpy.load(..., allow_pickle=False)` reads it, its rows as
plain bytes. An array of Python objects is a pickle, which can run code: its header refuses it.

Tables come through `data.table_file`. A Parquet file written in one piece has one row group, as
large as the file: only a buffered reader takes it page by page (pyarrow's dataset scanner holds all
of it).
"""

import hashlib
import math
import mmap
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from io import FileIO
from os import PathLike, fspath
from os.path import expanduser
from pathlib import Path
from typing import Any

import numpy as np

from handgrad._types import Coded, values_of
from handgrad.data.dataset import Dataset, check_split, prepared_columns
from handgrad.data.encoders import (
    FEATURE_REMEDY,
    TARGET_REMEDY,
    Block,
    LabelEncoder,
    check_finite,
    table_block,
)
from handgrad.data.files import SUFFIXES, check_path, check_target, file_changed, unreadable
from handgrad.data.preparation import Preparation, PreparationLearner, PreparedColumn
from handgrad.data.table_file import FileOptions, TableFile
from handgrad.errors import InputError

# --- sources: a file as blocks of rows, as often as is wanted ------------------------------------

BLOCK_NUMBERS = 2**21
"""Of a block: 16 MB in float64."""
BLOCK_ROWS = 2**16
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Version 3 is for names of fields, which a table of plain numbers has not."""


class NpySource:
    """A .npy file; `target` is the number of a column, from 0, or from −1 back.

    Attributes:
        path: the file.
        target: what messages call the target.
        columns: of the features.
        remarks: none.
    """

    remarks: tuple[str, ...] = ()

    def __init__(self, path: Path, target: str | int | None):
        self.path = path
        self._start, (self._rows, columns), self._dtype = read_header(path)
        try:
            number = int(target)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = columns
        if not -columns <= number < columns:
            raise InputError(
                "target", f"the number of a column of {path.name}, 0..{columns - 1}",
                "none" if target is None else repr(target), f"pass {columns - 1} for the last",
            )  # fmt: skip
        self._column, self._columns = number % columns, columns
        self.target = f"target {self._column} of {path.name}"
        self._sides = slice(0, self._column), slice(self._column + 1, columns)
        numbers = [str(number) for number in range(columns)]
        names = [number for side in self._sides for number in numbers[side]]
        self.columns = tuple(PreparedColumn(name, "number") for name in names)

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InputError, with the row, for what cannot be learned from."""
        at_once = _rows_at_once(self._columns)
        row = self._columns * self._dtype.itemsize
        buffer = np.empty(at_once * row, np.uint8)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._start)
            for first in range(0, self._rows, at_once):
                count = min(at_once, self._rows - first)
                read_into(file, buffer[: count * row], self.path)
                table = buffer[: count * row].view(self._dtype).reshape(count, self._columns)
                self._check_finite(table, first)
                target = table[:, self._column]
                yield Block(
                    first,
                    [table[:, side] for side in self._sides if table[:, side].shape[1]],
                    target.astype(bool if self._dtype.kind == "b" else np.float64),
                )

    def _check_finite(self, table: np.ndarray, first: int) -> None:
        if self._dtype.kind != "f" or np.isfinite(table).all():
            return
        for number, column in enumerate(table.T):
            if number == self._column:
                check_finite(column, self.target, TARGET_REMEDY, first)
            where = f"column {number} of {self.path.name}"
            check_finite(column, where, FEATURE_REMEDY, first)


def read_header(path: Path) -> tuple[int, tuple[int, int], np.dtype]:
    """Where the numbers begin, (N, D) and the dtype. Raises InputError for other arrays."""
    wanted = "a table of plain numbers, (N, D) in row-major order"
    remedy = "save it so: numpy.save(file, numpy.ascontiguousarray(x, 'float32'))"
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in HEADERS:
                raise InputError(path.name, wanted, f"a file of version {version}", remedy)
            shape, fortran, dtype = HEADERS[version](file)
            start = file.tell()
    except InputError:
        raise
    except Exception as error:  # the reader of headers parses them, and lets much through
        raise unreadable(path, error) from error
    if dtype.hasobject:
        remedy = f"objects are pickled and would run code when read; {remedy}"
        raise InputError(path.name, wanted, "Python objects", remedy)
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise InputError(path.name, wanted, f"the dtype {dtype}", remedy)
    if len(shape) != 2:
        raise InputError(path.name, wanted, f"shape {shape}", remedy)
    if fortran and min(shape) > 1:
        raise InputError(path.name, wanted, "an array in column-major order", remedy)
    if shape[0] < 1 or shape[1] < 2:
        wanted = "rows of features and a target"
        raise InputError(path.name, wanted, f"shape {shape}", "add some of each")
    needed, size = start + math.prod(shape) * dtype.itemsize, path.stat().st_size
    if size < needed:
        wanted = f"{needed:,} bytes for {shape[0]:,} rows of {shape[1]:,} numbers"
        remedy = "the file is cut short: write it again"
        raise InputError(path.name, wanted, f"{size:,}", remedy)
    return start, shape, dtype


def read_into(file: FileIO, buffer: np.ndarray, path: Path) -> None:
    """Fill `buffer` from a file that is opened unbuffered. Raises InputError at its end."""
    view = buffer.data.cast("B")
    done = 0
    while done < len(view):
        try:
            got = file.readinto(view[done:])
        except OSError as error:
            raise unreadable(path, error) from error
        if not got:
            raise file_changed(path.name)
        done += got


class TableSource:
    """A table in a file (see `data.table_file`), with the attributes of `NpySource`.

    Attributes:
        columns: of the features, of which nothing is learnt yet.
        remarks: what was guessed of the file.
    """

    def __init__(self, path: Path, target: str | None, options: FileOptions | None = None):
        self.path = path
        self._file = TableFile(path, options)
        self._missing = self._file.options.impute is not None
        table = next(self._file.pieces(BLOCK_ROWS))
        self._target = check_target(path.name, self._file.columns, target)
        self.target = f"target {target!r} of {path.name}"
        formats = self._file.formats or {}
        self.columns = prepared_columns(table, target, path.name, formats)

    @property
    def remarks(self) -> list[str]:
        """What was guessed of the file."""
        return self._file.remarks

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InputError, with the row, for what cannot be learned from."""
        first = 0
        for table in self._file.pieces(_rows_at_once(len(self.columns) + 1)):
            yield table_block(table, self._target, self.path.name, first, self._missing)
            first += table.num_rows


def open_source(
    path: Path, target: str | int | None, options: FileOptions | None = None
) -> NpySource | TableSource:
    """The source for the suffix of a file. Raises InputError where it cannot be opened."""
    if path.suffix.lower() == ".npy":
        return NpySource(path, target)
    if target is not None and not isinstance(target, str):
        raise InputError("target", "the name of a column", repr(target), "pass a string")
    return TableSource(path, target, options)


def _rows_at_once(columns: int) -> int:
    return max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // columns))


# --- the working copy -----------------------------------------------------------------------

Rows = tuple[np.ndarray, np.ndarray]
"""x (R, D) and y (R,)."""
Ranges = list[tuple[int, int]]
BUFFERS = 3
"""One in use, one ready, one being read."""


class WorkingCopy:
    """Rows x (N, D) and labels y (N,), appended and then read by row number."""

    def __init__(self, folder: Path, features: int, dtype: str, label_dtype: str):
        self.folder, self.rows = folder, 0
        self.dtype, self.features = np.dtype(dtype), features
        self.label_dtype = np.dtype(label_dtype)
        try:
            self._files = [tempfile.TemporaryFile(dir=folder, buffering=0) for _ in "xy"]  # noqa: SIM115
        except OSError as error:
            raise _no_room(folder, str(error.strerror)) from error
        self._close = weakref.finalize(self, _close_all, self._files)
        self._lock = threading.Lock()
        self._digests = [hashlib.blake2b(digest_size=16) for _ in "xy"]

    def append(self, x: np.ndarray, y: np.ndarray) -> None:
        """Write rows behind those there are. Raises InputError if the disk is full."""
        arrays = np.ascontiguousarray(x, self.dtype), np.ascontiguousarray(y, self.label_dtype)
        for file, array, digest in zip(self._files, arrays, self._digests, strict=True):
            view = array.data.cast("B") if array.size else memoryview(b"")
            digest.update(view)
            done = 0
            try:
                while done < len(view):
                    done += file.write(view[done:])
            except OSError as error:
                raise _no_room(self.folder, str(error.strerror)) from error
        self.rows += len(y)

    def read(self, begin: int, x: np.ndarray, y: np.ndarray) -> None:
        """Fill x (R, D) and y (R,), row-major and of the right dtypes, from row `begin` on."""
        with self._lock:  # each file has one position to read from
            for file, array in zip(self._files, (x, y), strict=True):
                file.seek(begin * array[:1].nbytes)
                read_into(file, array, self.folder)

    def forget(self) -> None:
        """Have the system drop these files from its cache in memory, where it can be asked."""
        for file in self._files if hasattr(os, "posix_fadvise") else ():
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def digest(self) -> str:
        """A hash of all rows and labels."""
        return "".join(digest.hexdigest() for digest in self._digests)

    @property
    def bytes(self) -> int:
        """Its size on the disk."""
        row = self.features * self.dtype.itemsize + self.label_dtype.itemsize
        return self.rows * row

    def close(self) -> None:
        """Free the space on the disk."""
        self._close()


def workplace(folder: str | os.PathLike[str] | None) -> Path:
    """Where working copies go: `folder`, else $TMPDIR, else /var/tmp, for /tmp may be memory."""
    if folder is not None:
        return Path(folder)
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK):
        return Path("/var/tmp")
    return Path(tempfile.gettempdir())


def check_room(folder: Path, needed: int) -> None:
    """Raise InputError unless the disk has room for `needed` bytes."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _no_room(folder, str(error.strerror)) from error
    if free < needed:
        raise _no_room(folder, f"{free / 1e9:,.1f} GB free where {needed / 1e9:,.1f} are needed")


def _no_room(folder: Path, reason: str) -> InputError:
    return InputError(
        "the working copy", f"room for it in {folder}", reason,
        "make room, or name another folder in the environment variable TMPDIR",
    )  # fmt: skip


def _close_all(files: list[FileIO]) -> None:
    for file in files:
        file.close()


class ReadAhead:
    """Window `number` holds the rows of the ranges plan(number), at most `rows` in all.

    The buffers are few and used in turn, so memory does not grow with the file; they begin at a
    page, so that JAX can use them without a copy. What goes wrong in the thread is raised by `get`.
    """

    def __init__(self, copy: WorkingCopy, plan: Callable[[int], Ranges], rows: int):
        self._copy, self._plan = copy, plan
        self._buffers = [
            (aligned((rows, copy.features), copy.dtype), aligned((rows,), copy.label_dtype))
            for _ in range(BUFFERS)
        ]
        self._turn = 0
        self._current: tuple[int, Rows] | None = None
        self._next: tuple[int, Future[Rows]] | None = None
        self._thread = ThreadPoolExecutor(1, "handgrad-read-ahead")

    def get(self, number: int) -> Rows:
        """x (R, D) and y (R,) of a window; the next one is now being read.

        They are overwritten once the window after the next is asked for: be done with them then.
        """
        if self._current is not None and self._current[0] == number:
            return self._current[1]
        if self._next is not None and self._next[0] != number:  # it is not wanted any more
            self._next[1].exception()
            self._turn = (self._turn - 1) % BUFFERS
            self._next = None
        found = (self._next[1] if self._next else self._submit(number)).result()
        self._current = number, found
        self._next = number + 1, self._submit(number + 1)
        return found

    def close(self) -> None:
        """Stop reading. The thread is gone when this returns."""
        self._thread.shutdown(cancel_futures=True)

    def _submit(self, number: int) -> Future[Rows]:
        buffers = self._buffers[self._turn]
        self._turn = (self._turn + 1) % BUFFERS
        return self._thread.submit(self._read, number, *buffers)

    def _read(self, number: int, x: np.ndarray, y: np.ndarray) -> Rows:
        done = 0
        for begin, end in self._plan(number):
            until = done + end - begin
            self._copy.read(begin, x[done:until], y[done:until])
            done = until
        return x[:done], y[:done]


def ring(examples: int, rows: int) -> Callable[[int], Ranges]:
    """The plan that reads all examples in order, `rows` at a time, again and again."""
    count = -(-examples // rows)

    def plan(number: int) -> Ranges:
        begin = number % count * rows
        return [(begin, min(begin + rows, examples))]

    return plan


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of zeros that begins at a page of memory."""
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(mmap.mmap(-1, max(1, size)), dtype, int(np.prod(shape))).reshape(shape)


# --- the stream -----------------------------------------------------------------------------

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
        rows = self.block_rows
        with closing(ReadAhead(self.copy, ring(self.examples, rows), rows)) as ahead:
            for number in range(-(-self.examples // rows)):
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
        file.name, source.columns, options, standardised=standardised, in_blocks=True
    )
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
