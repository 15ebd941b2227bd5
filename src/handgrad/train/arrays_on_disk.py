"""Arrays to a folder and back, by Orbax: one zarr array each, and JSON that describes them.

The files hold numbers and JSON; nothing in them is executed, and none names another file. (Orbax's
default format, OCDBT, does: a file there may point to others.) What Orbax is asked for has names
that this file gives, and folders with any other file in them are refused.
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

from handgrad._errors import MissingExtraError

NAMES = re.compile(
    r"_METADATA|_CHECKPOINT_METADATA|_sharding|commit_success\.txt|\d+/(\.zarray|[\d.]+)"
)
"""The files that are written, below the folder."""


def import_orbax() -> ModuleType:
    """The module orbax.checkpoint, or MissingExtraError."""
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise MissingExtraError("saving checkpoints", "checkpoint") from error
    return orbax.checkpoint


def save_arrays(folder: Path, arrays: Sequence[np.ndarray]) -> None:
    """Write the arrays to a folder that does not exist yet. Raises what Orbax does if it fails."""
    with _checkpointer() as (orbax, checkpointer):
        checkpointer.save(folder.absolute(), args=orbax.args.PyTreeSave(_named(arrays)))


def load_arrays(folder: Path, like: Sequence[Any]) -> list[np.ndarray]:
    """The arrays in a folder that `save_arrays` wrote, of the shapes and dtypes of `like`.

    Raises ValueError if the folder holds anything else.
    """
    _check_files(folder, like)
    wanted = _named([np.empty(leaf.shape, leaf.dtype) for leaf in like])
    with _checkpointer() as (orbax, checkpointer):
        how = {name: orbax.RestoreArgs(restore_type=np.ndarray) for name in wanted}
        found = checkpointer.restore(
            folder.absolute(), args=orbax.args.PyTreeRestore(item=wanted, restore_args=how)
        )
    arrays = [np.asarray(found.get(str(i), empty)) for i, empty in enumerate(map(_empty, like))]
    for array, leaf in zip(arrays, like, strict=True):
        if (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
            raise ValueError(f"an array is {array.dtype}{array.shape} and not as the state has it")
    return arrays


def _named(arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Each array under its number; those without a number in them hold nothing to write."""
    return {str(i): array for i, array in enumerate(arrays) if array.size}


def _empty(leaf: Any) -> np.ndarray:
    return np.empty((0,) if leaf.size else leaf.shape, leaf.dtype)


def _check_files(folder: Path, like: Sequence[Any]) -> None:
    """Raise ValueError for a file of another name, or an array that is said to be of another shape.

    So nothing of another format is read, and no more memory is taken than the state takes.
    """
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (not path.is_dir() and not NAMES.fullmatch(name)):
            raise ValueError(f"{name} is no file of a checkpoint")
    for i, leaf in enumerate(like):
        if leaf.size:
            said = json.loads((folder / str(i) / ".zarray").read_text())
            if said["shape"] != list(leaf.shape) or said["chunks"] != list(leaf.shape):
                raise ValueError(f"array {i} is not of the shape {leaf.shape}")


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
