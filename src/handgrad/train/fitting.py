"""fit: the Python loop over compiled chunks, and what it returns."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from handgrad._errors import DivergedError
from handgrad._types import Array, ArrayLike, Key
from handgrad.gradients.model import Model
from handgrad.train.arguments import (
    as_arrays,
    check_key,
    check_labels_fit,
    check_model,
    check_run,
    class_count,
)
from handgrad.train.batches import Batches, schedule
from handgrad.train.loop import State, initial_state, make_chunk, make_look
from handgrad.train.optimizers import resolve
from handgrad.train.pace import chunk_length, steps_between_looks


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a chunk."""

    step: int
    steps: int
    loss: float
    """On all the data if they were looked at after this chunk, else the mean of its batches."""
    gradient_max: float | None
    """The largest |∂E/∂w| over all the data; None where they were not looked at."""


@dataclass(frozen=True)
class History:
    """What happened: losses in nats, times in seconds.

    `batch_losses` has the loss of each step on its batch, before the update; `steps`, `losses` and
    `gradient_max` say at which steps all the data were looked at, and what was seen. The last look
    is at the end; the others are so far apart that they cost little beside the steps.
    """

    batch_losses: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    gradient_max: np.ndarray
    compile_seconds: float
    seconds: float
    stopped: str
    """'epochs', 'tolerance' or 'interrupted'."""

    @property
    def steps_per_second(self) -> float:
        """Steps a second, compilation left out."""
        return len(self.batch_losses) / self.seconds if self.seconds else math.inf


@dataclass(frozen=True)
class FitResult:
    """Trained parameters, in the structure of the model's, and the history of the run."""

    params: Any
    history: History

    @property
    def loss(self) -> float:
        """The last loss on all training data, in nats."""
        return float(self.history.losses[-1])


def fit(
    model: Model,
    x: ArrayLike,
    y: ArrayLike,
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
) -> FitResult:
    """Train `model` on x (N, D) and y, on whatever device JAX has, in the dtype of `x`.

    `optimizer` is 'sgd', 'momentum' or 'adam' at `learning_rate` (0.1 if not given), or any
    `optax.GradientTransformation`. `batch_size` is 'full', or a number (32 if not given, or all the
    examples where there are fewer): 1 with `shuffle=False` updates on every point in the order of
    the data. The run ends after `epochs`, or when the largest |∂E/∂w| over all the data is found to
    be at most `tol` (it is looked at every few epochs), or at Ctrl-C, which keeps what was learnt.
    It starts at `params`, or at random weights drawn with `key`.

    Raises InputError for arguments that cannot be used, before anything is computed, and
    DivergedError, which names the step, at the first loss that is not finite.

    >>> import jax.numpy as jnp
    >>> from handgrad.gradients import logistic
    >>> x, y = jnp.array([[-1.0], [1.0]]), jnp.array([0, 1])
    >>> result = fit(logistic.model(), x, y, batch_size="full", epochs=200)
    >>> logistic.predict(result.params, x).round().tolist()
    [0.0, 1.0]
    """
    check_model(model)
    check_run(epochs, tol)
    x, y = as_arrays(x, y)
    init_key, order_key = jax.random.split(check_key(key))
    batches = schedule(x.shape[0], batch_size, shuffle, order_key)
    rule = resolve(optimizer, learning_rate)
    if params is None:
        params = model.init(init_key, x.shape[1], class_count(y), x.dtype)
    check_labels_fit(model, params, x, y)
    return _run(model, rule, batches, initial_state(params, rule), x, y, epochs, tol, progress)


def _run(
    model: Model,
    rule: optax.GradientTransformation,
    batches: Batches,
    state: State,
    x: Array,
    y: Array,
    epochs: int,
    tol: float | None,
    progress: Callable[[Progress], None] | None,
) -> FitResult:
    steps = batches.steps(epochs)
    length = chunk_length(steps, batches.size, x.shape[1], fine=tol is not None)
    apart = steps_between_looks(batches)
    began = time.perf_counter()
    chunk = jax.jit(make_chunk(model.value_and_gradient, rule, batches.full))
    indices = batches.indices(0, length)
    take = chunk.lower(state, x, y, indices, np.int32(0)).compile()
    look = jax.jit(make_look(model.value_and_gradient)).lower(state.params, x, y).compile()
    compile_seconds = time.perf_counter() - began

    batch_losses: list[np.ndarray] = []
    looks: list[tuple[int, float, float]] = []
    stopped, done, due, began = "epochs", 0, apart, time.perf_counter()
    try:
        while done < steps:
            count = min(length, steps - done)
            after, losses = take(state, x, y, indices, np.int32(count))
            indices = batches.indices(done + length, length)  # the next ones, while it works
            new = np.asarray(losses)[:count]  # waits here: so does an interrupt
            _check_finite(new, done)
            state, done = after, done + count
            batch_losses.append(new)
            if looked := done >= due or done == steps:
                looks.append(_look(look, state, x, y, done))
                due = done + apart
            if progress:
                shown = looks[-1] if looked else (done, float(np.mean(new)), None)
                progress(Progress(done, steps, *shown[1:]))
            if looked and tol is not None and looks[-1][2] <= tol:
                stopped = "tolerance"
                break
    except KeyboardInterrupt:
        if not batch_losses:
            raise
        stopped = "interrupted"
        if not looks or looks[-1][0] < done:
            looks.append(_look(look, state, x, y, done))
    seen_at, on_all, largest = zip(*looks, strict=True)
    history = History(
        batch_losses=np.concatenate(batch_losses),
        steps=np.array(seen_at),
        losses=np.array(on_all),
        gradient_max=np.array(largest),
        compile_seconds=compile_seconds,
        seconds=time.perf_counter() - began,
        stopped=stopped,
    )
    return FitResult(state.params, history)


def _look(look: Callable, state: State, x: Array, y: Array, done: int) -> tuple[int, float, float]:
    """(done, loss, largest |∂E/∂w|). Step k looks at its loss before it moves, so the loss after
    `done` steps is that of step done + 1.
    """
    seen = jax.device_get(look(state.params, x, y))
    if not math.isfinite(seen.loss):
        raise DivergedError(done + 1, float(seen.loss))
    return done, float(seen.loss), float(seen.gradient_max)


def _check_finite(batch_losses: np.ndarray, done: int) -> None:
    """Raise DivergedError at the first step, counted from 1, whose loss is not finite."""
    bad = ~np.isfinite(batch_losses)
    if bad.any():
        first = int(np.argmax(bad))
        raise DivergedError(done + first + 1, float(batch_losses[first]))
