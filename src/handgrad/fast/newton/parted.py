"""Examples that do not lie in one array: spread over devices, or read block by block.

A pass sums over examples, so it can sum over parts of them. On a mesh that is one program with one
message between the devices, of the size of what is summed; over blocks it is the sum of what each
block gives, which may come from a disk.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from handgrad._placement import everywhere
from handgrad._types import Array
from handgrad.errors import InputError
from handgrad.fast.newton.passes import Programs
from handgrad.fast.newton.rows import Rows, cut


class Blocks(NamedTuple):
    """N examples that `read()` gives from the first to the last: x (R, D) and y, as often as asked.

    What it gives may be overwritten once the next is asked for.
    """

    examples: int
    read: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]

    def sums(self, function: Callable, programs: Programs, *args: Any) -> tuple[Any, ...]:
        """What a pass finds over all blocks."""
        total: tuple[Any, ...] | None = None
        for x, y in self.read():
            found = tuple(map(np.asarray, programs.run(function, Rows(x, y), *args)))
            total = found if total is None else added(total, found, np.minimum)
        if total is None:
            raise InputError("blocks", "at least one", "none", "pass some examples")
        return total


class Spread(NamedTuple):
    """N examples over the devices of a mesh; the last N mod P rows are on every one."""

    x: Array
    labels: Array
    tail: np.ndarray
    tail_labels: np.ndarray
    mesh: Mesh

    @property
    def examples(self) -> int:
        """N."""
        return self.labels.shape[0] + self.tail_labels.shape[0]

    def sums(self, function: Callable, programs: Programs, *args: Any) -> tuple[Any, ...]:
        """What a pass finds over all devices."""
        same = everywhere((self.tail, self.tail_labels, *args), self.mesh)
        return programs.run(over, self.x, self.labels, *same, summed=function, mesh=self.mesh)


def spread(x: np.ndarray, y: np.ndarray, mesh: Mesh) -> Spread:
    """The rows of x (N, D) and y over a mesh with one axis; each process places its devices' own.

    Raises InputError for a mesh of several axes, or of more devices than rows.
    """
    if not isinstance(mesh, Mesh) or len(mesh.axis_names) != 1 or mesh.size > len(y):
        raise InputError(
            "mesh", f"a jax.sharding.Mesh with one axis and at most {len(y):,} devices", repr(mesh),
            "pass jax.make_mesh((jax.device_count(),), ('data',)), say",
        )  # fmt: skip
    x, here = np.asarray(x), NamedSharding(mesh, P(mesh.axis_names[0]))
    even = len(y) // mesh.size * mesh.size

    def placed(array: np.ndarray) -> Array:
        return jax.make_array_from_callback(array.shape, here, lambda index: array[index])

    return Spread(placed(x[:even]), placed(y[:even]), x[even:], y[even:], mesh)


def over(
    x: Array, labels: Array, tail: Array, tail_labels: Array, *args: Any, summed: Callable,
    mesh: Mesh,
) -> tuple[Any, ...]:  # fmt: skip
    """A pass with one sum over the devices. The least margin is summed too: each has a place."""
    (axis,) = mesh.axis_names

    def part(x: Array, labels: Array, *args: Any) -> tuple[Any, ...]:
        loss, gradient, margin, *more = summed(cut(x, labels), *args)
        place = jnp.arange(mesh.size, dtype=jnp.int32)
        margins = jnp.where(place == lax.axis_index(axis), margin, 0)
        vector, back = ravel_pytree((loss, gradient, margins, *more))
        loss, gradient, margins, *more = back(lax.psum(vector, axis))
        return loss, gradient, jnp.min(margins), *more

    split = (P(axis), P(axis), *(P() for _ in args))
    sums = jax.shard_map(part, mesh=mesh, in_specs=split, out_specs=P(), check_vma=False)
    found = sums(x, labels, *args)
    if not tail.shape[0]:
        return found
    return added(found, summed(Rows(tail, tail_labels), *args), jnp.minimum)


def added(a: tuple[Any, ...], b: tuple[Any, ...], least: Callable) -> tuple[Any, ...]:
    """Two parts' findings together: everything is a sum, but the margin is the least."""
    loss, gradient, margin, *more = (
        least(p, q) if place == 2 else p + q for place, (p, q) in enumerate(zip(a, b, strict=True))
    )
    return loss, gradient, margin, *more
