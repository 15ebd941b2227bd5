"""What a run over a stream is: `identity`, for rows that are read instead of held."""

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from handgrad.data import Stream
from handgrad.train.identity import PROGRAM, digest, leaves, shape_of
from handgrad.train.loop import State, make_chunk
from handgrad.train.windows import Windows


def stream_identity(
    value_and_gradient: Callable,
    rule: optax.GradientTransformation,
    order: Windows,
    state: State,
    stream: Stream,
) -> dict[str, Any]:
    """The facts of a run over a stream, in words that a person can compare. Reads it once."""
    ways = "all examples" if order.full else "shuffled in windows" if order.shuffle else "in order"
    return {
        "x": f"{stream.dtype}[{stream.examples},{stream.features}]",
        "y": f"{stream.label_dtype}[{stream.examples}]",
        "values of x and y": rows_digest(stream),
        "batch size": order.size,
        "order": ways,
        "key of the order": list(order.seed) if order.shuffle and not order.full else None,
        "rows read together": stream.block_rows if order.full else [order.rows, order.block],
        "state": [f"{path} {shape_of(leaf)}" for path, leaf in leaves(state)],
        "first parameters": digest(state),
        PROGRAM: program(value_and_gradient, rule, order, state, stream),
    }


def rows_digest(stream: Stream) -> str:
    """Of the values of all rows."""
    total = hashlib.blake2b(digest_size=16)
    for x, y in stream.blocks():
        total.update(x.data.cast("B"))
        total.update(y.data.cast("B"))
    return total.hexdigest()


def program(
    value_and_gradient: Callable,
    rule: optax.GradientTransformation,
    order: Windows,
    state: State,
    stream: Stream,
) -> str:
    """A digest of what a step is lowered to, which has every constant in it."""
    rows = stream.block_rows if order.full else order.rows
    chunk = jax.jit(make_chunk(value_and_gradient, rule, order.full))
    lowered = chunk.lower(
        state,
        jax.ShapeDtypeStruct((rows, stream.features), stream.dtype),
        jax.ShapeDtypeStruct((rows,), stream.label_dtype),
        np.zeros((1, 0 if order.full else order.size), np.int32),
        np.int32(0),
    )
    return hashlib.blake2b(lowered.as_text().encode(), digest_size=16).hexdigest()
