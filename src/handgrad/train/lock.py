"""A folder of checkpoints: which may be one, and one run at a time in it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os.path import exists, isdir
from pathlib import Path

from handgrad.errors import InputError
from handgrad.train.snapshot import reason_of

NAME = "lock"


def check_folder(folder: Path, known: Sequence[str] = ()) -> None:
    """Raise InputError for what is no folder, or has more in it than checkpoints and `known`."""
    if exists(folder) and not isdir(folder):
        raise InputError("checkpoint", "a folder", f"the file {folder}", "name another")
    try:
        inside = sorted(folder.iterdir())
    except FileNotFoundError:
        return  # it will be made
    except OSError as error:
        raise no_folder(folder, error) from error
    for path in inside:
        if path.name not in (NAME, *known) and not path.name.startswith("step-"):
            raise InputError(
                "checkpoint", "a folder of checkpoints, or none",
                f"{folder}, in which there is {path.name!r}", "name another folder",
            )  # fmt: skip


def no_folder(folder: Path, error: OSError) -> InputError:
    """What to raise for a folder that cannot be had, such as one whose name is too long."""
    return InputError(
        "checkpoint", f"a folder at {folder} that can be written to", reason_of(error),
        "name another",
    )  # fmt: skip


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """A folder, made if there is none, in which no other run writes meanwhile."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = lock(folder)
    except OSError as error:
        raise no_folder(folder, error) from error
    try:
        yield
    finally:
        os.close(descriptor)


def lock(folder: Path) -> int:
    """The descriptor of a file in the folder that is locked as long as it is open.

    The lock is the kernel's, and ends with the process however that ends: none can be stale. The
    file says which process has it. Raises InputError if another one does.
    """
    import fcntl

    descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise InputError(
            "checkpoint", "a folder that no other run has open",
            f"{folder}, which process {holder} writes to", "wait for it, or name another folder",
        ) from error  # fmt: skip
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
