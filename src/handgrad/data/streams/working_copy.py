"""The working copy: rows as they are trained on, in a nameless file that only this process sees.

Written once, it can be read in any order and at the speed of the disk, whatever the format of the
file it was made from; and nobody can change it, or cut it short, while it is being read.
"""

import hashlib
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

import numpy as np

from handgrad.data.streams.npy import read_into
from handgrad.errors import InputError


class WorkingCopy:
    """Rows x (N, D) and labels y (N,), appended and then read by row number."""

    def __init__(self, folder: Path, features: int, dtype: str, label_dtype: str):
        self.folder, self.rows = folder, 0
        self.dtype, self.features = np.dtype(dtype), features
        self.label_dtype = np.dtype(label_dtype)
        try:
            self._files = [tempfile.TemporaryFile(dir=folder, buffering=0) for _ in "xy"]  # noqa: SIM115
        except OSError as error:
            raise no_room(folder, str(error.strerror)) from error
        self._close = weakref.finalize(self, _close, self._files)
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
                raise no_room(self.folder, str(error.strerror)) from error
        self.rows += len(y)

    def read(self, begin: int, x: np.ndarray, y: np.ndarray) -> None:
        """Fill x (R, D) and y (R,), row-major and of the right dtypes, from row `begin` on."""
        with self._lock:  # one place to read from in each file
            for file, array in zip(self._files, (x, y), strict=True):
                file.seek(begin * array[:1].nbytes)
                read_into(file, array, self.folder)

    def forget(self) -> None:
        """Have the system drop what it keeps of these files in memory, where it can be asked."""
        for file in self._files if hasattr(os, "posix_fadvise") else ():
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def digest(self) -> str:
        """Of all rows and labels: the same for the same ones."""
        return "".join(digest.hexdigest() for digest in self._digests)

    @property
    def bytes(self) -> int:
        """What it takes of the disk."""
        row = self.features * self.dtype.itemsize + self.label_dtype.itemsize
        return self.rows * row

    def close(self) -> None:
        """Give the disk back."""
        self._close()


def workplace(folder: str | os.PathLike[str] | None) -> Path:
    """Where working copies go: `folder`, else $TMPDIR, else /var/tmp, for /tmp may be memory."""
    if folder is not None:
        return Path(folder)
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK):
        return Path("/var/tmp")
    return Path(tempfile.gettempdir())


def check_room(folder: Path, needed: int) -> None:
    """Raise InputError unless the disk has room for so many bytes."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise no_room(folder, str(error.strerror)) from error
    if free < needed:
        raise no_room(folder, f"{free / 1e9:,.1f} GB free where {needed / 1e9:,.1f} are needed")


def no_room(folder: Path, reason: str) -> InputError:
    """What to raise where the working copy cannot be kept."""
    return InputError(
        "the working copy",
        f"room for it in {folder}",
        reason,
        "make room, or name another folder in the environment variable TMPDIR",
    )


def _close(files: list) -> None:
    for file in files:
        file.close()
