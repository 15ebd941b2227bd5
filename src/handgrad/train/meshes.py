"""The devices that a run is spread over, from what the user names."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from handgrad.errors import InputError
from handgrad.train.arguments import is_whole
from handgrad.train.batches import Batches
from handgrad.train.lanes import lanes_for

AXIS = "data"


def as_mesh(mesh: Any) -> Mesh:
    """A mesh with the one axis "data", from a mesh with one axis, a number of devices, or 'all'.

    A number is that of the devices of this process, or of each process where there are several;
    'all' takes all that there are. Raises InputError for anything else, for more devices than there
    are, and for a mesh without a device of this process.

    >>> as_mesh(1).axis_names
    ('data',)
    """
    if isinstance(mesh, Mesh):
        if len(mesh.axis_names) != 1:
            raise InputError(
                "mesh", "a mesh with one axis", f"axes {mesh.axis_names}",
                "pass jax.make_mesh((jax.device_count(),), ('data',)), say",
            )  # fmt: skip
        devices = list(mesh.devices.flat)
    elif isinstance(mesh, str) and mesh == "all":
        devices = jax.devices()
    elif is_whole(mesh) and mesh >= 1:
        processes = range(jax.process_count())
        devices = [d for p in processes for d in jax.local_devices(process_index=p)[:mesh]]
        found = min(jax.local_device_count(), len(devices) // jax.process_count())
        if found < mesh:
            raise InputError(
                "mesh", f"at most the {found} devices of {jax.default_backend()}", mesh,
                "pass fewer, or 'all'",
            )  # fmt: skip
    else:
        raise InputError(
            "mesh", "a jax.sharding.Mesh, a number of devices, or 'all'", repr(mesh), "pass 'all'"
        )
    if jax.process_index() not in {device.process_index for device in devices}:
        raise InputError(
            "mesh", "a device of every process", f"none of process {jax.process_index()}",
            "pass 'all'",
        )  # fmt: skip
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def check_spread(mesh: Any, size: int, examples: int) -> None:
    """Raise InputError unless batches of `size` can be spread over such a mesh; None is none."""
    if mesh is not None:
        lanes_for(Batches(examples, size, True, ()), as_mesh(mesh).size)
