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
from handgrad.train.loop import State, initial_state, make_chunk
from handgrad.train.optimizers import resolve

CHUNKS = 50
"""Into how many chunks a run is divided, as long as a chunk has at most MOST_INDICES indices."""
MOST_INDICES = 2**22


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a chunk."""

    step: int
    steps: int
    loss: float
    gradient_max: float


@dataclass(frozen=True)
class History:
    """What happened: losses in nats, times in seconds.

    `batch_losses` has the loss of each step on its batch, before the update; `steps`, `losses` and
    `gradient_max` say at which steps all the data were looked at, and what was seen.
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
    the data. The run ends after `epochs`, or when the
    largest |∂E/∂w| over all the data is at most `tol`, or at Ctrl-C, which keeps what was learnt.
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
    length = max(1, min(math.ceil(steps / CHUNKS), MOST_INDICES // batches.size))
    began = time.perf_counter()
    chunk = jax.jit(make_chunk(model.value_and_gradient, rule, batches.full))
    compiled = chunk.lower(state, x, y, *_chunk_inputs(batches, 0, length, steps)).compile()
    compile_seconds = time.perf_counter() - began

    batch_losses, seen_at, losses, gradient_max = [], [], [], []
    stopped, done, began = "epochs", 0, time.perf_counter()
    try:
        while done < steps:
            after, seen = compiled(state, x, y, *_chunk_inputs(batches, done, length, steps))
            new = np.asarray(seen.losses)[: steps - done]  # waits here: so does an interrupt
            _check_finite(new, float(seen.loss), done)
            state, done = after, done + len(new)
            batch_losses.append(new)
            seen_at.append(done)
            losses.append(float(seen.loss))
            gradient_max.append(float(seen.gradient_max))
            if progress:
                progress(Progress(done, steps, losses[-1], gradient_max[-1]))
            if tol is not None and gradient_max[-1] <= tol:
                stopped = "tolerance"
                break
    except KeyboardInterrupt:
        if not losses:
            raise
        stopped = "interrupted"
    history = History(
        batch_losses=np.concatenate(batch_losses),
        steps=np.array(seen_at),
        losses=np.array(losses),
        gradient_max=np.array(gradient_max),
        compile_seconds=compile_seconds,
        seconds=time.perf_counter() - began,
        stopped=stopped,
    )
    return FitResult(state.params, history)


def _chunk_inputs(batches: Batches, done: int, length: int, steps: int) -> tuple:
    return batches.indices(done, length), np.arange(done, done + length) < steps


def _check_finite(batch_losses: np.ndarray, loss: float, done: int) -> None:
    """Raise DivergedError at the first step, counted from 1, whose loss is not finite.

    Step k looks at its loss before it moves, so the loss after k steps is that of step k + 1.
    """
    bad = ~np.isfinite(batch_losses)
    if bad.any():
        first = int(np.argmax(bad))
        raise DivergedError(done + first + 1, float(batch_losses[first]))
    if not math.isfinite(loss):
        raise DivergedError(done + len(batch_losses) + 1, loss)
