"""Data parallel: the examples spread over the devices of a mesh, the parameters on each of them.

    E = Σ_d (n_d/N) E_d          ∂E/∂w = Σ_d (n_d/N) ∂E_d/∂w

with E_d the mean over the n_d examples of device d, penalty included: every E_d has the same one.
The loss and the gradient go into one vector, and that is summed once a step: one message of the
size of the parameters, however many examples there are. Every device then takes the same step.

Where the examples do not divide evenly, a lane that is a row short holds its first row twice, so
that all devices run one program; what the copy adds to the sum is taken off again:

    N E = Σ_d m E_d − Σ_{short lanes} ℓ(copy)          m places a device, copies among them
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from handgrad._placement import everywhere
from handgrad._types import Array
from handgrad.train.lanes import Lanes
from handgrad.train.loop import Look, Params, State, make_chunk, make_look
from handgrad.train.meshes import AXIS
from handgrad.train.pace import chunk_length, steps_between_looks

Rows = Callable[[np.ndarray], tuple[Any, Any]]
"""x and y of the rows with these numbers."""
Reduced = Callable[[Params, Array, Array], tuple[Array, Params]]


class Sharded:
    """An engine over x (N, D) and y, spread over the devices of a mesh. See `engine.Engine`.

    `rows(numbers)` gives x and y of those rows; it is asked for those of this process's devices.
    """

    def __init__(
        self,
        value_and_gradient: Callable,
        rule: optax.GradientTransformation,
        lanes: Lanes,
        epochs: int,
        state: State,
        rows: Rows,
        mesh: Mesh,
        fine: bool = False,
    ):
        self._lanes, self._mesh, batches = lanes, mesh, lanes.batches
        self._x, self._y = spread(rows, lanes, mesh)
        self.steps = batches.steps(epochs)
        self.length = chunk_length(self.steps, batches.size, self._x.shape[1], fine)
        self.apart = steps_between_looks(batches)
        began = time.perf_counter()
        self._drawn = 0, self._draw(0)
        chunk, look = programs(value_and_gradient, rule, lanes, mesh)
        state, count = everywhere(state, mesh), everywhere(np.int32(0), mesh)
        self._chunk = chunk.lower(state, self._x, self._y, self._drawn[1], count).compile()
        self._look = look.lower(state.params, self._x, self._y).compile()
        self.compile_seconds = time.perf_counter() - began

    def take(self, state: State, first: int, count: int) -> tuple[State, Array]:
        """See `Engine`. While the devices work, the next indices are drawn."""
        drawn_for, indices = self._drawn
        if drawn_for != first:
            indices = self._draw(first)
        state, many = everywhere(state, self._mesh), everywhere(np.int32(count), self._mesh)
        taken = self._chunk(state, self._x, self._y, indices, many)
        if first + count < self.steps:
            self._drawn = first + count, self._draw(first + count)
        return taken

    def look(self, state: State) -> Look:
        """See `Engine`."""
        return self._look(everywhere(state.params, self._mesh), self._x, self._y)

    def close(self) -> None:
        """See `Engine`: there is nothing."""

    def _draw(self, first: int) -> Array:
        """The places for steps first+1, …: (length, B), each device's own columns on it."""
        lanes, devices = self._lanes, self._mesh.size
        each = lanes.count // devices

        def of(device: int) -> np.ndarray:
            parts = [
                lanes.indices(device * each + own, first, self.length) + np.int32(own * lanes.rows)
                for own in range(each)
            ]
            return np.concatenate(parts, axis=1)

        width = 0 if lanes.batches.full else lanes.batches.size
        return placed(of, (self.length, width), self._mesh, axis=1)


def programs(
    value_and_gradient: Callable, rule: optax.GradientTransformation, lanes: Lanes, mesh: Mesh
) -> tuple[Any, Any]:
    """`loop.make_chunk` and `loop.make_look` over the mesh, to be compiled."""
    full = lanes.batches.full

    def chunk(
        state: State, x: Array, y: Array, indices: Array, count: Array
    ) -> tuple[State, Array]:
        return make_chunk(step, rule, full)(state, x, y, indices, count)

    whole = over_all(value_and_gradient, lanes, mesh.size)
    step, look = whole if full else mean(value_and_gradient, mesh.size), make_look(whole)
    rows, columns = P(AXIS), P(None, AXIS)
    return (
        jax.jit(
            jax.shard_map(chunk, mesh=mesh, in_specs=(P(), rows, rows, columns, P()), out_specs=P())
        ),
        jax.jit(jax.shard_map(look, mesh=mesh, in_specs=(P(), rows, rows), out_specs=P())),
    )


def mean(value_and_gradient: Callable, devices: int) -> Reduced:
    """The mean over devices that have equally many rows: a batch."""

    def reduced(params: Params, x: Array, y: Array) -> tuple[Array, Params]:
        return summed(value_and_gradient(own(params), x, y), 1 / devices)

    return reduced


def over_all(value_and_gradient: Callable, lanes: Lanes, devices: int) -> Reduced:
    """The mean over all N examples: every place counts, and a copy counts back."""
    examples, each = lanes.batches.examples, lanes.count // devices

    def reduced(params: Params, x: Array, y: Array) -> tuple[Array, Params]:
        params = own(params)
        whole = value_and_gradient(params, x, y)
        share = each * lanes.rows / examples
        if not lanes.short:
            return summed(whole, share)
        last = slice(lanes.rows - 1, None, lanes.rows)
        lane = lax.axis_index(AXIS) * each + jnp.arange(each, dtype=jnp.int32)
        copy = jnp.where(lane >= lanes.count - lanes.short, 1 / examples, 0).astype(x.dtype)

        def one(x: Array, y: Array) -> tuple[Array, Params]:
            return value_and_gradient(params, x[None], y[None])

        copies = jax.vmap(one)(x[last], y[last])
        return summed(
            jax.tree.map(lambda a, b: share * a - jnp.tensordot(copy, b, 1), whole, copies)
        )

    return reduced


def summed(tree: Any, scale: float = 1.0) -> Any:
    """The sum of `scale` times a tree over all devices, as one vector: the message of a step."""
    vector, back = ravel_pytree(tree)
    return back(lax.psum(vector * scale if scale != 1 else vector, AXIS))


def own(params: Params) -> Params:
    """The parameters as each device's own: else `jax.grad` would sum its gradient by itself."""
    if not hasattr(lax, "pcast"):  # jax 0.7
        return jax.tree.map(lambda leaf: lax.pvary(leaf, AXIS), params)  # type: ignore[attr-defined]
    return jax.tree.map(lambda leaf: lax.pcast(leaf, AXIS, to="varying"), params)


def spread(rows: Rows, lanes: Lanes, mesh: Mesh) -> tuple[Array, Array]:
    """x and y with the lanes of each device on it, one after the other."""
    each = lanes.count // mesh.size
    held = {}
    for number, device in enumerate(mesh.devices.flat):
        if device.process_index == jax.process_index():
            lanes_here = range(number * each, (number + 1) * each)
            held[number] = rows(np.concatenate([lanes.places(lane) for lane in lanes_here]))
    here = next(iter(held.values()))
    x, y = (
        placed(
            partial(lambda part, device: held[device][part], part),
            (lanes.count * lanes.rows, *here[part].shape[1:]),
            mesh,
        )
        for part in (0, 1)
    )
    return x, y


def placed(
    of: Callable[[int], np.ndarray], shape: tuple[int, ...], mesh: Mesh, axis: int = 0
) -> Array:
    """An array parted along `axis` over the mesh; of(d) is the part of device d."""
    spec = P(*[None] * axis, AXIS)
    each = shape[axis] // mesh.size

    def part(index: Any) -> np.ndarray:
        return of((index[axis].start or 0) // each if each else 0)

    return jax.make_array_from_callback(shape, NamedSharding(mesh, spec), part)


def here(tree: Any) -> Any:
    """Every leaf as an array of this process alone, from what is the same on all devices."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
