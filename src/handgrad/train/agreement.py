"""What many processes must decide alike, as each of them would wait for ever for the others.

The tolerance and a loss that is not finite are seen in sums over all of them, and so by all. A
signal reaches one process, or all at different steps; and each reads a checkpoint by itself.
"""

import signal

import jax
import numpy as np

from handgrad._errors import InputError
from handgrad.train.signals import Noted


def is_stopped(noted: Noted) -> bool:
    """Whether any process has noted a signal; then all have."""
    if jax.process_count() == 1:
        return bool(noted)
    largest = int(_of_all(noted.signal or 0).max())
    noted.signal = signal.Signals(largest) if largest else None
    return bool(noted)


def agree_on_start(start: int) -> None:
    """Raise InputError unless all processes go on from the same step."""
    steps = _of_all(start)
    if steps.min() != steps.max():
        raise InputError(
            "checkpoint", "one folder, that all processes can read",
            f"step {steps.min():,} in one process and {steps.max():,} in another",
            "share the folder, and start again",
        )  # fmt: skip


def _of_all(number: int) -> np.ndarray:
    """The number of each process."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.int32(number)))
