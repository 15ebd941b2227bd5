"""One checkpoint on the disk: written whole or not at all, and read only if every bit is as it was.

A checkpoint is a folder `step-N` with the arrays of the state, `run.json` with the facts of the
run, and `SHA256SUMS` with the digest of every other file (`sha256sum -c SHA256SUMS` reads it too).
It is written under another name; files and folders are forced to the disk; then it is renamed. So a
crash leaves it whole under its name, or absent, and whatever the disk does to it later is seen.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from os.path import isdir
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.train.arrays_on_disk import load_arrays, save_arrays

SUMS, FACTS, ARRAYS = "SHA256SUMS", "run.json", "arrays"
PART, GONE = ".part", ".gone"
"""What is being written, and what is being removed; left behind by a crash, and of no use."""
STEP = re.compile(r"step-(\d{1,18})")


class DamagedError(Exception):
    """A checkpoint that is not as it was written; the message says what is wrong with it."""


def steps_in(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by their step, the newest first; none is looked into."""
    found = {}
    for path in folder.iterdir() if isdir(folder) else ():
        if match := STEP.fullmatch(path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items(), reverse=True))


def write(path: Path, arrays: Sequence[np.ndarray], facts: dict[str, Any]) -> None:
    """A checkpoint at `path`, in place of any there. Raises OSError, or what Orbax does."""
    part = path.with_name(path.name + PART)
    clear(path.parent)
    try:
        part.mkdir()
        save_arrays(part / ARRAYS, arrays)
        (part / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        (part / SUMS).write_bytes(_sums(part))
        for file in [*part.rglob("*"), part]:
            _force(file)
        discard(path)
        part.rename(path)
        _force(path.parent)
    except Exception:
        _remove(part)
        raise


def facts_of(path: Path) -> dict[str, Any]:
    """The facts in a checkpoint of which every bit is as it was. Raises DamagedError."""
    try:
        found = _sums(path)  # first, as it refuses to open what is no plain file
        written = (path / SUMS).read_bytes()
        if written != found:
            raise DamagedError(_fault(written, found))
        facts = json.loads((path / FACTS).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(reason_of(error)) from error
    if not isinstance(facts, dict) or path.name != f"step-{facts.get('step')}":
        raise DamagedError(f"{FACTS} is not of this step")
    return facts


def arrays_of(path: Path, like: Sequence[Any]) -> list[np.ndarray]:
    """The arrays in a checkpoint, of the shapes and dtypes of `like`. Raises DamagedError."""
    try:
        return load_arrays(path / ARRAYS, like)
    except Exception as error:  # whatever Orbax or zarr finds wrong
        raise DamagedError(reason_of(error)) from error


def discard(path: Path) -> None:
    """Remove a checkpoint: at once by its name, then its files."""
    gone = path.with_name(path.name + GONE)
    _remove(gone)
    if path.exists():
        path.rename(gone)
        _remove(gone)


def clear(folder: Path) -> None:
    """Remove what a crash has left."""
    for path in folder.iterdir():
        if path.name.endswith((PART, GONE)) and STEP.fullmatch(path.stem):
            _remove(path)


def reason_of(error: Exception) -> str:
    """What went wrong, in one short line that can be printed."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    for known in ("No space left on device", "File too large", "Permission denied"):
        if known in text:
            return known
    line = " ".join(text.split())[:160] or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _sums(folder: Path) -> bytes:
    """A line with digest and name for each file. Raises DamagedError for what is no plain file."""
    lines = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise DamagedError(f"{name} is no plain file")
        if path.is_file() and name != SUMS:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            lines.append(f"{digest}  {name}\n".encode("utf-8", "surrogateescape"))
    return b"".join(lines)


def _fault(written: bytes, found: bytes) -> str:
    """Which file is not as it was written."""

    def by_name(sums: bytes) -> dict[str, str]:
        lines = sums.decode("utf-8", "replace").splitlines()
        return {line[66:]: line[:64] for line in lines}

    then, now = by_name(written), by_name(found)
    changed = [name for name in now if name in then and then[name] != now[name]]
    lost, new = sorted(then.keys() - now.keys()), sorted(now.keys() - then.keys())
    if changed and not lost and not new:
        return f"{changed[0]} is not as it was written"
    if lost and not changed and not new:
        return f"{lost[0]} is missing"
    if new and not changed and not lost:
        return f"{new[0]} was not written with it"
    return f"{SUMS} does not fit the files"


def _force(path: Path) -> None:
    """Have the disk write a file or folder now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a folder, or as much of it as can be; never what a link in it points to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
