"""Data parallel: the examples spread over the devices of a mesh, the parameters on each of them.

    E = Σ_d (n_d/N) E_d          ∂E/∂w = Σ_d (n_d/N) ∂E_d/∂w

with E_d the mean over the n_d examples of device d, penalty included: every E_d has the same one.
The loss and the gradient go into one vector, and that is summed once a step: one message of the
size of the parameters, however many examples there are. Every device then takes the same step.

Nothing here knows what a step of training is: functions (params, x, y) -> (loss, gradient) become
the same functions over all devices.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from handgrad._checks import is_whole
from handgrad._types import Array
from handgrad.errors import InputError

AXIS = "data"
WHOLE, ROWS, COLUMNS = P(), P(AXIS), P(None, AXIS)
"""Whole on every device; its rows spread over them; its columns."""

Params = Any
ValueAndGradient = Callable[[Params, Any, Array], tuple[Array, Params]]


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
                "pass jax.make_mesh((jax.device_count(),), ('data',))",
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


@dataclass(frozen=True)
class Shards:
    """N examples partitioned into `count` shards of consecutive rows; a device holds whole shards.

    Shard s holds rows s q … s q + q − 1, with q = ⌊N/count⌋, and the first N − count q shards one
    of the last rows each. A shard that is a row short holds its first row twice, so that all
    devices run one program; what the copy adds to a sum is taken off again (`over_all_examples`).

    >>> [Shards(7, 3).rows_of(shard).tolist() for shard in range(3)]
    [[0, 1, 6], [2, 3, 2], [4, 5, 4]]
    """

    examples: int
    count: int

    @property
    def rows(self) -> int:
        """Rows in a shard, the copy of a short one among them: ⌈N/count⌉."""
        return math.ceil(self.examples / self.count)

    @property
    def short(self) -> int:
        """The number of shards that are a row short: the last ones."""
        return self.rows * self.count - self.examples

    def rows_of(self, shard: int) -> np.ndarray:
        """The numbers of the rows that a shard holds, (rows,)."""
        whole = self.examples // self.count
        own = np.arange(shard * whole, (shard + 1) * whole)
        if not self.short:
            return own
        longer = self.count - self.short
        return np.append(own, whole * self.count + shard if shard < longer else own[0])

    def held(self, shard: int) -> int:
        """How many different rows a shard holds."""
        return self.rows - (shard >= self.count - self.short)


# --- functions over all devices ---------------------------------------------------------------


def over_devices(function: Callable, mesh: Mesh, *specs: P) -> Any:
    """`function`, compiled over the mesh; arguments lie as `specs` say, results are replicated."""
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=WHOLE))


def over_batch(value_and_gradient: ValueAndGradient, devices: int) -> ValueAndGradient:
    """The mean over a batch of which each device has equally many rows."""

    def reduced(params: Params, x: Array, y: Array) -> tuple[Array, Params]:
        return _all_reduce(value_and_gradient(_varying(params), x, y), 1 / devices)

    return reduced


def over_all_examples(
    value_and_gradient: ValueAndGradient, shards: Shards, devices: int
) -> ValueAndGradient:
    """The mean over all N examples, for m rows a device, copies of rows among them.

    N E = Σ_d m E_d − Σ_{short shards} ℓ(copy)
    """
    each = shards.count // devices

    def reduced(params: Params, x: Array, y: Array) -> tuple[Array, Params]:
        params = _varying(params)
        whole = value_and_gradient(params, x, y)
        share = each * shards.rows / shards.examples
        if not shards.short:
            return _all_reduce(whole, share)
        last = slice(shards.rows - 1, None, shards.rows)
        shard = lax.axis_index(AXIS) * each + jnp.arange(each, dtype=jnp.int32)
        is_copy = shard >= shards.count - shards.short
        copy = jnp.where(is_copy, 1 / shards.examples, 0).astype(x.dtype)

        def one(x: Array, y: Array) -> tuple[Array, Params]:
            return value_and_gradient(params, x[None], y[None])

        copies = jax.vmap(one)(x[last], y[last])
        return _all_reduce(
            jax.tree.map(lambda a, b: share * a - jnp.tensordot(copy, b, 1), whole, copies)
        )

    return reduced


def _all_reduce(tree: Any, scale: float = 1.0) -> Any:
    """The sum of `scale` times a tree over all devices, as one vector: the message of a step."""
    vector, back = ravel_pytree(tree)
    return back(lax.psum(vector * scale if scale != 1 else vector, AXIS))


def _varying(params: Params) -> Params:
    """The parameters as each device's own: else `jax.grad` would sum its gradient by itself."""
    if not hasattr(lax, "pcast"):  # jax 0.7
        return jax.tree.map(lambda leaf: lax.pvary(leaf, AXIS), params)  # type: ignore[attr-defined]
    return jax.tree.map(lambda leaf: lax.pcast(leaf, AXIS, to="varying"), params)


# --- arrays on the devices, and back ----------------------------------------------------------


def place(
    of: Callable[[int], np.ndarray], shape: tuple[int, ...], mesh: Mesh, axis: int = 0
) -> Array:
    """An array spread along `axis` over the mesh; of(d) is the part of device d."""
    each = shape[axis] // mesh.size

    def part(index: Any) -> np.ndarray:
        return of((index[axis].start or 0) // each if each else 0)

    sharding = NamedSharding(mesh, P(*[None] * axis, AXIS))
    return jax.make_array_from_callback(shape, sharding, part)


def place_examples(array: Any, shards: Shards, mesh: Mesh) -> Array:
    """The rows of `array` with the shards of each device on it, one after the other.

    Of a NumPy array only the rows of this process's devices are read.
    """
    each = shards.count // mesh.size

    def of(device: int) -> np.ndarray:
        own = range(device * each, (device + 1) * each)
        return array[np.concatenate([shards.rows_of(shard) for shard in own])]

    return place(of, (shards.count * shards.rows, *array.shape[1:]), mesh)


def to_local(tree: Any) -> Any:
    """Every leaf as an array of this process alone, from what is the same on all devices."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def all_gather(value: Any) -> np.ndarray:
    """What each process has as `value`, by device: (devices, ...), those of process 0 first.

    Over all devices, as the sums of a step are, so that no other connections are made.
    """
    value, mesh = np.asarray(value), as_mesh("all")
    parts = place(lambda device: value[None], (mesh.size, *value.shape), mesh)
    return np.asarray(jax.block_until_ready(_replicate(mesh)(parts)))


@cache
def _replicate(mesh: Mesh) -> Any:
    return jax.jit(lambda parts: parts, out_shardings=NamedSharding(mesh, WHOLE))
