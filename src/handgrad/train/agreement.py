"""What many processes must decide alike, as each of them would wait for ever for the others.

The tolerance and a loss that is not finite are seen in sums over all of them, and so by all. A
signal reaches one process, or all at different steps; and each reads a checkpoint by itself.
"""

import signal
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from handgrad.errors import InputError
from handgrad.train.meshes import as_mesh
from handgrad.train.sharding import placed
from handgrad.train.signals import Noted


def is_stopped(noted: Noted) -> bool:
    """Whether any process has noted a signal; then all have."""
    if jax.process_count() == 1:
        return bool(noted)
    largest = int(of_all(np.int32(noted.signal or 0)).max())
    noted.signal = signal.Signals(largest) if largest else None
    return bool(noted)


def agree_on_start(start: int) -> None:
    """Raise InputError unless all processes go on from the same step."""
    steps = of_all(np.int32(start))
    if steps.min() != steps.max():
        raise InputError(
            "checkpoint", "one folder, that all processes can read",
            f"step {steps.min():,} in one process and {steps.max():,} in another",
            "share the folder, and start again",
        )  # fmt: skip


def of_all(value: Any) -> np.ndarray:
    """What each process has as `value`, by device: (devices, ...), those of process 0 first.

    Over all devices, as the sums of a step are, so that no other connections are made.
    """
    value, mesh = np.asarray(value), as_mesh("all")
    parts = placed(lambda device: value[None], (mesh.size, *value.shape), mesh)
    return np.asarray(jax.block_until_ready(_gathered(mesh)(parts)))


@cache
def _gathered(mesh: Mesh) -> Any:
    return jax.jit(lambda parts: parts, out_shardings=NamedSharding(mesh, P()))
