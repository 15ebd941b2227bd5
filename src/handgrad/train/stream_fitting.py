"""fit_stream: what `fit` does, with examples that stay on the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from handgrad._types import Key
from handgrad.errors import InputError
from handgrad.gradients.model import Model
from handgrad.scale.streams import Stream
from handgrad.train.arguments import check_key, check_labels_fit, check_model, check_run
from handgrad.train.checkpoints import Checkpoints
from handgrad.train.engine import Engine
from handgrad.train.fitting import FitResult
from handgrad.train.identity import identity
from handgrad.train.loop import State, initial_state
from handgrad.train.optimizers import resolve
from handgrad.train.record import Record
from handgrad.train.running import Progress
from handgrad.train.streaming import StreamedBatches, StreamedPasses, shapes
from handgrad.train.supervising import supervise
from handgrad.train.windows import windows


def fit_stream(
    model: Model,
    stream: Stream,
    *,
    optimizer: str | optax.GradientTransformation = "sgd",
    learning_rate: float | None = None,
    batch_size: int | str | None = None,
    epochs: int = 200,
    tol: float | None = None,
    key: Key | None = None,
    params: Any = None,
    shuffle: bool = True,
    progress: Callable[[Progress], None] | None = None,
    update_seconds: float | None = None,
    checkpoint: Checkpoints | None = None,
    resume: bool = False,
    log: Record | Path | str | None = None,
) -> FitResult:
    """Train `model` on the rows of `stream`, in its dtype, in memory that does not grow with it.

    The arguments are those of `fit`. A full batch reads the stream once a step. Smaller batches are
    drawn from windows of rows (`train.windows`), in another order than that of `fit`; with
    `shuffle=False` they are the very batches of `fit`.

    Raises InputError as `fit` does, and for batches that are too large to be kept in memory;
    DivergedError, which names the step, at the first loss that is not finite.
    """
    check_model(model)
    check_run(epochs, tol)
    check_stream(stream)
    init_key, order_key = jax.random.split(check_key(key))
    row = stream.features * np.dtype(stream.dtype).itemsize
    order = windows(stream.examples, row, batch_size, shuffle, order_key)
    rule = resolve(optimizer, learning_rate)
    if params is None:
        params = model.init(init_key, stream.features, max(2, stream.classes), stream.dtype)
    check_labels_fit(model, params, *_first_rows(stream))
    state = initial_state(params, rule)
    gradient = model.value_and_gradient

    def engine(at: State) -> Engine:
        if order.full:
            return StreamedPasses(gradient, rule, epochs, at, stream)
        return StreamedBatches(gradient, rule, order, epochs, at, stream, fine=tol is not None)

    def facts() -> dict[str, Any]:
        block: Any = shapes(stream, order.rows)
        parted = f"in windows of {order.rows:,} rows, blocks of {order.block:,}"
        return identity(
            gradient, rule, order, state, block[0], block[1], stream.copy.digest, parted
        )

    state, history = supervise(
        engine, state, facts, checkpoint=checkpoint, resume=resume, log=log, tol=tol,
        watchers=[lambda state, seen: progress(seen)] if progress else [],
        update_seconds=update_seconds,
    )  # fmt: skip
    return FitResult(state.params, history)


def check_stream(stream: Any) -> None:
    """Raise InputError unless `stream` is a Stream in a dtype that JAX has enabled."""
    if not isinstance(stream, Stream):
        raise InputError(
            "stream", "a Stream", type(stream).__name__,
            "pass open_stream(file, target), or arrays to fit",
        )  # fmt: skip
    if jax.dtypes.canonicalize_dtype(stream.dtype) != stream.dtype:
        raise InputError(
            "stream", "float32, for float64 is not enabled in JAX", stream.dtype,
            "open it with dtype='float32', or enable float64",
        )  # fmt: skip


def _first_rows(stream: Stream) -> tuple[jax.Array, jax.Array]:
    """Two rows to look at shapes with: class indices up to the largest."""
    labels = np.array([0, stream.classes - 1], stream.label_dtype)
    return jnp.zeros((2, stream.features), stream.dtype), jnp.asarray(labels)
