"""What a run is: the facts that a checkpoint must share with the run that takes it up.

A step depends on the state, on the data, on which examples it sees, and on its program. Each is a
fact here, long values as digests, so that a checkpoint of another run can be told apart by name.
How long the run is, and what its tolerance, are no part of it: a run may be taken up to go further.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from handgrad._types import Array
from handgrad.train.batches import Batches
from handgrad.train.loop import State, make_chunk
from handgrad.train.windows import Windows

PROGRAM = "program of a step"
"""Model, loss, penalty, update rule and learning rate: whatever a step computes with."""
READABLE = 60
"""Two values of so many letters in all can be read in a message; digests cannot."""


def identity(
    value_and_gradient: Callable,
    rule: optax.GradientTransformation,
    batches: Batches | Windows,
    state: State,
    x: Array,
    y: Array,
    values: str | None = None,
    parted: str = "",
) -> dict[str, Any]:
    """The facts of a run, in words that a person can compare.

    Of a stream x and y are the shapes of a part, and `values` is the digest of all; `parted` says
    how the examples are parted before batches are drawn of them.
    """
    order = "all examples" if batches.full else "shuffled" if batches.shuffle else "in order"
    order += f" {parted}" if parted and not batches.full else ""
    seed = list(batches.seed) if batches.shuffle and not batches.full else None
    return {
        "x": shape_of(x),
        "y": shape_of(y),
        "examples": batches.examples,
        "values of x and y": values or digest((x, y)),
        "batch size": batches.size,
        "order": order,
        "key of the order": seed,
        "state": [f"{path} {shape_of(leaf)}" for path, leaf in leaves(state)],
        "first parameters": digest(state),
        PROGRAM: program(value_and_gradient, rule, batches, state, x, y),
    }


def environment() -> dict[str, str]:
    """What the bits of a result depend on besides: versions, and the kind of device."""
    import jaxlib

    device = jax.devices()[0]
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "device": f"{device.platform} {device.device_kind}",
    }


def differences(theirs: dict[str, Any], ours: dict[str, Any], leave_out: str = "") -> list[str]:
    """The facts in which the two differ, with both values; by name alone if none can be read."""
    names = [name for name in dict.fromkeys([*ours, *theirs]) if name != leave_out]
    differing = {n: (theirs.get(n), ours.get(n)) for n in names if theirs.get(n) != ours.get(n)}
    readable = [
        f"{name} ({there} there, {here} here)"
        for name, (there, here) in differing.items()
        if len(f"{there}{here}") < READABLE
    ]
    return readable or list(differing)


def leaves(tree: Any) -> list[tuple[str, Any]]:
    """Every array with its path; a typed random key as the integers it is made of."""

    def plain(leaf: Any) -> Any:
        is_key = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        )
        return jax.random.key_data(leaf) if is_key else leaf

    with_paths = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), plain(leaf)) for path, leaf in with_paths]


def shape_of(leaf: Any) -> str:
    """As in float32[426,30]."""
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def digest(tree: Any) -> str:
    """Of the values of all arrays, and of their shapes."""
    total = hashlib.blake2b(digest_size=16)
    for _, leaf in leaves(tree):
        total.update(shape_of(leaf).encode())
        total.update(np.ascontiguousarray(jax.device_get(leaf)).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def program(
    value_and_gradient: Callable,
    rule: optax.GradientTransformation,
    batches: Batches | Windows,
    state: State,
    x: Array,
    y: Array,
) -> str:
    """A digest of what a step is lowered to, which has every constant in it.

    Of a chunk of one step, so that it does not depend on how a run is cut into chunks.
    """
    chunk = jax.jit(make_chunk(value_and_gradient, rule, batches.full))
    indices = np.zeros((1, 0 if batches.full else batches.size), np.int32)
    lowered = chunk.lower(state, x, y, indices, np.int32(0))
    return hashlib.blake2b(lowered.as_text().encode(), digest_size=16).hexdigest()
