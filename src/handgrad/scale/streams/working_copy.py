"""The working copy: rows as they are trained on, in a nameless file that only this process sees.

Written once, it can be read in any order and at the speed of the disk, whatever the format of the
file it was made from; and nobody can change it, or cut it short, while it is being read. While one
window of its rows is worked on, a thread reads the next.
"""

import hashlib
import mmap
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import numpy as np

from handgrad.errors import InputError
from handgrad.scale.streams.sources import read_into

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

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

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
