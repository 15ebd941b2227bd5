"""Arrays to a folder and back, by Orbax: their bytes one after the other, as one zarr array.

The files hold numbers and JSON; nothing in them is executed, and none names another file. (Orbax's
default format, OCDBT, does: a file there may point to others.) What Orbax is asked for has a name
that this file gives, and a folder with any other file in it is refused.

One array, because Orbax writes many at once: where the disk is full, and the first of them fails,
the others still write, into a folder that is given up, and complain on standard error.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from handgrad.errors import MissingExtraError

NAME = "state"
FILES = re.compile(rf"_METADATA|_CHECKPOINT_METADATA|commit_success\.txt|{NAME}/(\.zarray|[\d.]+)")
"""What is written, below the folder."""


def import_orbax() -> ModuleType:
    """The module orbax.checkpoint, or MissingExtraError."""
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise MissingExtraError("saving checkpoints", "checkpoint") from error
    return orbax.checkpoint


def save_arrays(folder: Path, arrays: Sequence[np.ndarray]) -> None:
    """Write the arrays to a folder that does not exist yet. Raises what Orbax does if it fails."""
    parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    with _checkpointer() as (orbax, checkpointer):
        item = {NAME: np.concatenate(parts)}
        checkpointer.save(folder.absolute(), args=orbax.args.PyTreeSave(item))


def load_arrays(folder: Path, like: Sequence[Any]) -> list[np.ndarray]:
    """The arrays in a folder that `save_arrays` wrote, of the shapes and dtypes of `like`.

    Raises ValueError if the folder holds anything else.
    """
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in like]
    _check_files(folder, sum(sizes))
    with _checkpointer() as (orbax, checkpointer):
        wanted = {NAME: np.empty(sum(sizes), np.uint8)}
        how = {NAME: orbax.RestoreArgs(restore_type=np.ndarray)}
        found = checkpointer.restore(
            folder.absolute(), args=orbax.args.PyTreeRestore(item=wanted, restore_args=how)
        )[NAME]
    if (found.shape, found.dtype) != ((sum(sizes),), np.uint8):
        raise ValueError(f"{NAME} is {found.dtype}{found.shape}, and not bytes")
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
        if path.is_symlink() or (not path.is_dir() and not FILES.fullmatch(name)):
            raise ValueError(f"{name} is no file of a checkpoint")
    said = json.loads((folder / NAME / ".zarray").read_text())
    if [said["shape"], said["chunks"], said["dtype"]] != [[size], [size], "|u1"]:
        raise ValueError(f"{NAME} is not an array of {size} bytes")


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
