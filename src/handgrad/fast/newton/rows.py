"""Rows: the examples where they lie in memory, read in blocks that stay in the cache.

A pass over the data in two products, X w and then rᵀ X, reads X twice. Over a block of some
megabytes both come from one read. XLA takes a NumPy array without copying it only if it begins at
a multiple of 64 bytes, which NumPy does not promise and copying 400 MB costs more than ten passes.
So the whole array is handed over flat, from its first aligned number on; a block is a slice of
that. The few rows before it, and those left over at the end, are copied into `rest`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad._types import Array

BLOCK_BYTES = 6_400_000
"""A block in float64: 3 to 8 MB were equally fast where a core has 16 MB of cache, 1 MB slower."""
ALIGNMENT = 64


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


def lay_out(x: Any, y: np.ndarray) -> Rows:
    """Rows of x (N, D) and its labels (N,) or (N, K). A row-major NumPy array is not copied."""
    size = max(256, BLOCK_BYTES // (8 * x.shape[1]))
    if x.shape[0] < 3 * size:  # small enough for the cache as a whole
        return Rows(*jax.device_put((np.asarray(x), y)))
    if isinstance(x, jax.Array) and next(iter(x.devices())).platform != "cpu":
        flat, skipped, spare = x.reshape(-1), 0, 0
    else:
        x = np.ascontiguousarray(x)
        flat = x.reshape(-1)
        spare = ALIGNMENT // flat.itemsize  # one shape, wherever the array begins
        skipped = (-flat.ctypes.data % ALIGNMENT) // flat.itemsize
        flat = flat[skipped : skipped + flat.size - spare]
    features = x.shape[1]
    head = -(-spare // features)
    blocks = (x.shape[0] - 2 * head) // size
    inside = slice(head, head + blocks * size)
    outside = np.r_[0 : inside.start, inside.stop : x.shape[0]]
    labels = y[inside].reshape(blocks, size, *y.shape[1:])
    return Rows(
        flat=jax.device_put(flat, may_alias=True),
        start=np.int64(head * features - skipped),
        labels=jax.device_put(labels),
        rest=jax.device_put(x[outside]),
        rest_labels=jax.device_put(y[outside]),
    )


def some_of(x: Any, y: np.ndarray, size: int, seed: int) -> tuple[Any, np.ndarray]:
    """One example of each of `size` stretches; all, unless there are four times as many."""
    stretch = len(y) // size
    if stretch < 4:
        return x, y
    chosen = np.arange(size) * stretch + np.random.default_rng(seed).integers(0, stretch, size)
    return x[chosen], y[chosen]


def cut(x: Array, labels: Array) -> Rows:
    """The same of arrays that are traced: the part of a device."""
    size = max(256, BLOCK_BYTES // (8 * x.shape[1]))
    if x.shape[0] < 3 * size:
        return Rows(x, labels)
    blocks = x.shape[0] // size
    inside = blocks * size
    return Rows(
        flat=x.reshape(-1),
        start=np.int64(0),
        labels=labels[:inside].reshape(blocks, size, *labels.shape[1:]),
        rest=x[inside:],
        rest_labels=labels[inside:],
    )


def fold(rows: Rows, body: Callable[[Any, Array, Array], Any], carry: Any) -> Any:
    """body(carry, x_block, y_block) over all the examples, each block in float64."""
    if rows.rest.shape[0]:
        carry = body(carry, rows.rest.astype(jnp.float64), rows.rest_labels)
    if rows.flat is None or rows.labels is None:
        return carry
    flat, features = rows.flat, rows.rest.shape[1]
    blocks, size = rows.labels.shape[:2]

    def step(carry: Any, numbered: tuple[Array, Array]) -> tuple[Any, None]:
        number, labels = numbered
        begin = rows.start + number * (size * features)
        block = lax.dynamic_slice(flat, (begin,), (size * features,))
        return body(carry, block.reshape(size, features).astype(jnp.float64), labels), None

    return lax.scan(step, carry, (jnp.arange(blocks, dtype=jnp.int64), rows.labels))[0]
