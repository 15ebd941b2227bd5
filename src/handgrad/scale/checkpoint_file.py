"""One checkpoint on the disk: written whole or not at all, and read only if every bit is as it was.

A checkpoint is a folder `step-N` with the arrays of the state, `run.json` with the facts of the
run, and `SHA256SUMS` with the digest of every other file (`sha256sum -c SHA256SUMS` reads it too).
It is written under another name; files and folders are forced to the disk; then it is renamed. So a
crash leaves it whole under its name, or absent, and whatever the disk does to it later is seen.

The arrays are written by Orbax, their bytes one after the other as one zarr array: numbers and
JSON, of which nothing is executed and none names another file. (Orbax's default format, OCDBT,
does: a file there may point to others.)
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os.path import isdir
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from handgrad.errors import MissingExtraError

SUMS, FACTS, ARRAYS, STATE = "SHA256SUMS", "run.json", "arrays", "state"
PART, GONE = ".part", ".gone"
"""What is being written, and what is being removed; left behind by a crash, and of no use."""
STEP = re.compile(r"step-(\d{1,18})")
ORBAX_FILES = re.compile(
    rf"_METADATA|_CHECKPOINT_METADATA|commit_success\.txt|{STATE}/(\.zarray|[\d.]+)"
)
"""What Orbax writes, below ARRAYS; a folder with any other file in it is refused."""


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
    remove_leftovers(path.parent)
    try:
        part.mkdir()
        save_arrays(part / ARRAYS, arrays)
        (part / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        (part / SUMS).write_bytes(digests(part))
        for file in [*part.rglob("*"), part]:
            _force_to_disk(file)
        remove(path)
        part.rename(path)
        _force_to_disk(path.parent)
    except Exception:
        _remove_tree(part)
        raise


def read_facts(path: Path) -> dict[str, Any]:
    """The facts in a checkpoint of which every bit is as it was. Raises DamagedError."""
    try:
        found = digests(path)  # first, as it refuses to open what is not a plain file
        written = (path / SUMS).read_bytes()
        if written != found:
            raise DamagedError(_changed_file(written, found))
        facts = json.loads((path / FACTS).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(reason_of(error)) from error
    if not isinstance(facts, dict) or path.name != f"step-{facts.get('step')}":
        raise DamagedError(f"{FACTS} is not of this step")
    return facts


def read_arrays(path: Path, like: Sequence[Any]) -> list[np.ndarray]:
    """The arrays in a checkpoint, of the shapes and dtypes of `like`. Raises DamagedError."""
    try:
        return load_arrays(path / ARRAYS, like)
    except Exception as error:  # whatever Orbax or zarr finds wrong
        raise DamagedError(reason_of(error)) from error


def remove(path: Path) -> None:
    """Remove a checkpoint: at once by its name, then its files."""
    gone = path.with_name(path.name + GONE)
    _remove_tree(gone)
    if path.exists():
        path.rename(gone)
        _remove_tree(gone)


def remove_leftovers(folder: Path) -> None:
    """Remove what a crash has left."""
    for path in folder.iterdir():
        if path.name.endswith((PART, GONE)) and STEP.fullmatch(path.stem):
            _remove_tree(path)


def reason_of(error: Exception) -> str:
    """What went wrong, in one short line that can be printed."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    for known in ("No space left on device", "File too large", "Permission denied"):
        if known in text:
            return known
    line = " ".join(text.split())[:160] or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def digests(folder: Path) -> bytes:
    """A line with digest and name per file. Raises DamagedError for what is not a plain file."""
    lines = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise DamagedError(f"{name} is not a plain file")
        if path.is_file() and name != SUMS:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            lines.append(f"{digest}  {name}\n".encode("utf-8", "surrogateescape"))
    return b"".join(lines)


def _changed_file(written: bytes, found: bytes) -> str:
    """Which file is not as it was written."""

    def by_name(sums: bytes) -> dict[str, str]:
        lines = sums.decode("utf-8", "replace").splitlines()
        return {line[66:]: line[:64] for line in lines}

    then, now = by_name(written), by_name(found)
    changed = sorted(name for name in then | now if then.get(name) != now.get(name))
    for names, fault in (
        (then.keys() & now.keys(), "is not as it was written"),
        (then.keys() - now.keys(), "is missing"),
        (now.keys() - then.keys(), "was not written with it"),
    ):
        if changed and names.issuperset(changed):
            return f"{changed[0]} {fault}"
    return f"{SUMS} does not fit the files"


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_tree(path: Path) -> None:
    """Remove a folder, or as much of it as can be; never what a link in it points to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


# --- the arrays, by Orbax ---------------------------------------------------------------------


def import_orbax() -> ModuleType:
    """The module orbax.checkpoint, or MissingExtraError."""
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise MissingExtraError("saving checkpoints", "checkpoint") from error
    return orbax.checkpoint


def save_arrays(folder: Path, arrays: Sequence[np.ndarray]) -> None:
    """Write the arrays to a folder that does not exist yet. Raises what Orbax does if it fails.

    As one array, because Orbax writes many at once: where the disk is full, and the first of them
    fails, the others still write, into a folder that is given up, and complain on standard error.
    """
    parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    with _checkpointer() as (orbax, checkpointer):
        item = {STATE: np.concatenate(parts)}
        checkpointer.save(folder.absolute(), args=orbax.args.PyTreeSave(item))


def load_arrays(folder: Path, like: Sequence[Any]) -> list[np.ndarray]:
    """The arrays in a folder that `save_arrays` wrote, of the shapes and dtypes of `like`.

    Raises ValueError if the folder holds anything else.
    """
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in like]
    _check_files(folder, sum(sizes))
    with _checkpointer() as (orbax, checkpointer):
        wanted = {STATE: np.empty(sum(sizes), np.uint8)}
        how = {STATE: orbax.RestoreArgs(restore_type=np.ndarray)}
        found = checkpointer.restore(
            folder.absolute(), args=orbax.args.PyTreeRestore(item=wanted, restore_args=how)
        )[STATE]
    if (found.shape, found.dtype) != ((sum(sizes),), np.uint8):
        raise ValueError(f"{STATE} is {found.dtype}{found.shape}, and not bytes")
    parts = np.split(found, np.cumsum(sizes)[:-1])
    return [
        part.view(leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, like, strict=True)
    ]


def _check_files(folder: Path, size: int) -> None:
    """Raise ValueError for a file of another name, or an array that is said to be of another size.

    So nothing of another format is read, and no more memory is taken than the state takes.
    """
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (not path.is_dir() and not ORBAX_FILES.fullmatch(name)):
            raise ValueError(f"{name} is not a file of a checkpoint")
    said = json.loads((folder / STATE / ".zarray").read_text())
    if [said["shape"], said["chunks"], said["dtype"]] != [[size], [size], "|u1"]:
        raise ValueError(f"{STATE} is not an array of {size} bytes")


@contextmanager
def _checkpointer() -> Iterator[tuple[ModuleType, Any]]:
    """Orbax's, of this process alone: no other one waits for it, and its remarks are not shown."""
    orbax = import_orbax()
    me = jax.process_index()
    alone: dict[str, Any] = {}
    if jax.process_count() > 1:
        alone = {"primary_host": me, "active_processes": {me}, "barrier_sync_key_prefix": str(me)}
    options = orbax.options.MultiprocessingOptions(**alone)
    handler = orbax.PyTreeCheckpointHandler(use_ocdbt=False, multiprocessing_options=options)
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with orbax.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
            yield orbax, checkpointer
    finally:
        logger.setLevel(level)
