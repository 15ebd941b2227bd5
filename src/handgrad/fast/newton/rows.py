"""The examples where they lie (in one array, over devices, or read by blocks), and sums over them.

A pass over the data in two products, X w and then rᵀ X, reads X twice. Over a block of some
megabytes both come from one read. XLA takes a NumPy array without copying it only if it begins at
a multiple of 64 bytes, which NumPy does not promise and copying 400 MB costs more than ten passes.
So the whole array is handed over flat, from its first aligned number on; a block is a slice of
that. The few rows before it, and those left over at the end, are copied into `rest`.

A pass sums over examples, so it can sum over parts of them. On a mesh that is one program with one
message between the devices, of the size of what is summed; over blocks it is the sum of what each
block gives, which may come from a disk.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from handgrad._placement import everywhere
from handgrad._types import Array, Inputs, like, values_of
from handgrad.errors import InputError

BLOCK_BYTES = 6_400_000
"""A block in float64: 3 to 8 MB were equally fast where a core has 16 MB of cache, 1 MB slower."""
ALIGNMENT = 64
MOST_PROGRAMS = 64
_PROGRAMS: dict[Any, Any] = {}


class ProgramCache:
    """Runs functions compiled for the shapes at hand; `seconds` is what compiling took."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def run(self, function: Callable, *args: Any, **static: Any) -> Any:
        """function(*args, **static), compiled once per process for these shapes."""
        leaves, structure = jax.tree.flatten(args)
        kinds = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        key = (function, tuple(static.items()), structure, kinds)
        program = _PROGRAMS.get(key)
        if program is None:
            began = time.perf_counter()
            program = jax.jit(partial(function, **static)).lower(*args).compile()
            self.seconds += time.perf_counter() - began
            while len(_PROGRAMS) >= MOST_PROGRAMS:
                _PROGRAMS.pop(next(iter(_PROGRAMS)))
            _PROGRAMS[key] = program
        return program(*args)


# --- in one array ---------------------------------------------------------------------------------


class Rows(NamedTuple):
    """N examples: `rest`, and `labels.shape[0]` blocks inside `flat` from number `start` on."""

    rest: Any
    rest_labels: Any
    flat: Array | None = None
    start: Any = None
    labels: Array | None = None

    @property
    def few(self) -> bool:
        """Whether all the examples are read at once."""
        return self.labels is None

    @property
    def examples(self) -> int:
        """N."""
        inside = 0 if self.labels is None else self.labels.shape[0] * self.labels.shape[1]
        return inside + self.rest.shape[0]

    def sums(self, function: Callable, programs: ProgramCache, *args: Any) -> tuple[Any, ...]:
        """What a pass finds over all examples."""
        return programs.run(function, self, *args)


def _block_size(columns: int) -> int:
    """Rows of a block; fewer than three blocks are small enough for the cache as a whole."""
    return max(256, BLOCK_BYTES // (8 * columns))


def lay_out(x: Any, y: np.ndarray) -> Rows:
    """Rows of x (N, D) and its labels (N,) or (N, K). A row-major NumPy array is not copied."""
    values = values_of(x)
    if x.shape[0] < 3 * _block_size(values.shape[1]):
        return Rows(*jax.device_put((like(x, np.asarray(values)), y)))
    if isinstance(values, jax.Array) and next(iter(values.devices())).platform != "cpu":
        return lay_out_on_device(x, jax.device_put(y))
    values = np.ascontiguousarray(values)
    flat, (examples, features) = values.reshape(-1), values.shape
    spare = ALIGNMENT // flat.itemsize  # one shape, wherever the array begins
    skipped = (-flat.ctypes.data % ALIGNMENT) // flat.itemsize
    flat = flat[skipped : skipped + flat.size - spare]
    head, size = -(-spare // features), _block_size(features)
    blocks = (examples - 2 * head) // size
    inside = slice(head, head + blocks * size)
    outside = np.r_[0 : inside.start, inside.stop : examples]
    labels = y[inside].reshape(blocks, size, *y.shape[1:])
    return Rows(
        flat=jax.device_put(flat, may_alias=True),
        start=np.int64(head * features - skipped),
        labels=jax.device_put(labels),
        rest=jax.device_put(like(x, values[outside])),
        rest_labels=jax.device_put(y[outside]),
    )


def lay_out_on_device(x: Inputs, labels: Array) -> Rows:
    """`lay_out` for arrays of one device, which may be traced."""
    size = _block_size(values_of(x).shape[1])
    if x.shape[0] < 3 * size:
        return Rows(x, labels)
    blocks = x.shape[0] // size
    inside = blocks * size
    return Rows(
        flat=values_of(x).reshape(-1),
        start=np.int64(0),
        labels=labels[:inside].reshape(blocks, size, *labels.shape[1:]),
        rest=x[inside:],
        rest_labels=labels[inside:],
    )


def fold(rows: Rows, body: Callable[[Any, Any, Array], Any], carry: Any) -> Any:
    """body(carry, x_block, y_block) over all the examples, each block in float64."""
    if rows.rest.shape[0]:
        carry = body(carry, rows.rest.astype(jnp.float64), rows.rest_labels)
    if rows.flat is None or rows.labels is None:
        return carry
    flat, features = rows.flat, values_of(rows.rest).shape[1]
    blocks, size = rows.labels.shape[:2]

    def step(carry: Any, numbered: tuple[Array, Array]) -> tuple[Any, None]:
        number, labels = numbered
        begin = rows.start + number * (size * features)
        block = lax.dynamic_slice(flat, (begin,), (size * features,))
        block = block.reshape(size, features).astype(jnp.float64)
        return body(carry, like(rows.rest, block), labels), None

    return lax.scan(step, carry, (jnp.arange(blocks, dtype=jnp.int64), rows.labels))[0]


def draw_sample(x: Any, y: np.ndarray, size: int, seed: int) -> tuple[Any, np.ndarray]:
    """One example of each of `size` stretches; all, unless there are four times as many."""
    stretch = len(y) // size
    if stretch < 4:
        return x, y
    chosen = np.arange(size) * stretch + np.random.default_rng(seed).integers(0, stretch, size)
    return x[chosen], y[chosen]


# --- over blocks, and over devices ----------------------------------------------------------------


class Blocks(NamedTuple):
    """N examples that `read()` gives from the first to the last: x (R, D) and y, as often as asked.

    What it gives may be overwritten once the next is asked for.
    """

    examples: int
    read: Callable[[], Iterable[tuple[Any, np.ndarray]]]

    def sums(self, function: Callable, programs: ProgramCache, *args: Any) -> tuple[Any, ...]:
        """What a pass finds over all blocks."""
        total: tuple[Any, ...] | None = None
        for x, y in self.read():
            found = tuple(map(np.asarray, programs.run(function, Rows(x, y), *args)))
            total = found if total is None else _added(total, found, np.minimum)
        if total is None:
            raise InputError("blocks", "at least one", "none", "pass some examples")
        return total


class Partitioned(NamedTuple):
    """N examples over the devices of a mesh; the last N mod P rows are on every one."""

    x: Any
    labels: Array
    tail: Any
    tail_labels: np.ndarray
    mesh: Mesh

    @property
    def examples(self) -> int:
        """N."""
        return self.labels.shape[0] + self.tail_labels.shape[0]

    def sums(self, function: Callable, programs: ProgramCache, *args: Any) -> tuple[Any, ...]:
        """What a pass finds over all devices."""
        same = everywhere((self.tail, self.tail_labels, *args), self.mesh)
        return programs.run(
            partitioned, self.x, self.labels, *same, summed=function, mesh=self.mesh
        )


def partition(x: Any, y: np.ndarray, mesh: Mesh) -> Partitioned:
    """The rows of x (N, D) and y over a mesh with one axis; each process places its devices' own.

    Raises InputError for a mesh of several axes, or of more devices than rows.
    """
    if not isinstance(mesh, Mesh) or len(mesh.axis_names) != 1 or mesh.size > len(y):
        raise InputError(
            "mesh", f"a jax.sharding.Mesh with one axis and at most {len(y):,} devices", repr(mesh),
            "pass, for example, jax.make_mesh((jax.device_count(),), ('data',))",
        )  # fmt: skip
    x = like(x, np.asarray(values_of(x)))
    here = NamedSharding(mesh, P(mesh.axis_names[0]))
    even = len(y) // mesh.size * mesh.size

    def placed(array: np.ndarray) -> Array:
        return jax.make_array_from_callback(array.shape, here, lambda index: array[index])

    own = jax.tree.map(placed, x[:even])
    return Partitioned(own, placed(y[:even]), x[even:], y[even:], mesh)


def partitioned(
    x: Any, labels: Array, tail: Any, tail_labels: Array, *args: Any, summed: Callable,
    mesh: Mesh,
) -> tuple[Any, ...]:  # fmt: skip
    """A pass with one sum over the devices. The least margin is summed too: each has a place."""
    (axis,) = mesh.axis_names

    def part(x: Any, labels: Array, *args: Any) -> tuple[Any, ...]:
        loss, gradient, margin, *more = summed(lay_out_on_device(x, labels), *args)
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
    return _added(found, summed(Rows(tail, tail_labels), *args), jnp.minimum)


def _added(a: tuple[Any, ...], b: tuple[Any, ...], least: Callable) -> tuple[Any, ...]:
    """Two parts' findings together: everything is a sum, but the margin is the least."""
    loss, gradient, margin, *more = (
        least(p, q) if place == 2 else p + q for place, (p, q) in enumerate(zip(a, b, strict=True))
    )
    return loss, gradient, margin, *more
