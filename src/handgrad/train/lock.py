"""One run at a time in a folder."""

import os
from pathlib import Path

from handgrad._errors import InputError

NAME = "lock"


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
