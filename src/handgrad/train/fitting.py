"""fit: a model, data and an update rule to trained parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from handgrad._types import ArrayLike, Key
from handgrad.errors import InputError
from handgrad.gradients.model import Model
from handgrad.train.arguments import (
    as_arrays,
    check_key,
    check_labels_fit,
    check_model,
    check_run,
    class_count,
)
from handgrad.train.batches import schedule
from handgrad.train.checkpoints import Checkpoints
from handgrad.train.engine import Engine, InMemory
from handgrad.train.identity import identity
from handgrad.train.lanes import lanes_for
from handgrad.train.loop import State, initial_state
from handgrad.train.meshes import as_mesh
from handgrad.train.optimizers import resolve
from handgrad.train.record import Record
from handgrad.train.running import History, Progress
from handgrad.train.sharding import Sharded, here
from handgrad.train.supervising import supervise


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
    mesh: Mesh | int | str | None = None,
    progress: Callable[[Progress], None] | None = None,
    update_seconds: float | None = None,
    checkpoint: Checkpoints | None = None,
    resume: bool = False,
    log: Record | Path | str | None = None,
) -> FitResult:
    """Train `model` on x (N, D) and y, on whatever device JAX has, in the dtype of `x`.

    `optimizer` is 'sgd', 'momentum' or 'adam' at `learning_rate` (0.1 if not given), or any
    `optax.GradientTransformation`. `batch_size` is 'full', or a number (32 if not given, or all the
    examples where there are fewer): 1 with `shuffle=False` updates on every point in the order of
    the data. The run ends after `epochs`, or when the largest |∂E/∂w| over all the data is found to
    be at most `tol` (it is looked at every few epochs), or at Ctrl-C, which keeps what was learnt.
    It starts at `params`, or at random weights drawn with `key`.

    With `checkpoint` the run is saved as it goes and at its end, and Ctrl-C or SIGTERM end it after
    the chunk at hand; with `resume` it goes on from what was saved last, to the same bits, or from
    the start if nothing was. `log` is a file of JSON lines that grows with the run (see `Record`).
    `update_seconds` is about how far apart two calls of `progress` may be.

    `mesh` spreads the examples over several devices: a `jax.sharding.Mesh` with one axis, a number
    of devices, or 'all'. Batches are then drawn from lanes of rows (see `train.lanes`), the same
    ones on 1, 2, 4 and 8 devices; the result is that of one device up to rounding.

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
    if progress is not None and not callable(progress):
        raise InputError("progress", "a function", repr(progress), "pass print, say")
    spread = None if mesh is None else as_mesh(mesh)
    x, y = as_arrays(x, y, on_host=spread is not None)
    init_key, order_key = jax.random.split(check_key(key))
    batches = schedule(x.shape[0], batch_size, shuffle, order_key)
    rule = resolve(optimizer, learning_rate)
    if params is None:
        params = model.init(init_key, x.shape[1], class_count(y), x.dtype)
    check_labels_fit(model, params, x, y)
    state = initial_state(params, rule)
    lanes = None if spread is None else lanes_for(batches, spread.size)
    parted = f"in {lanes.count} lanes" if lanes else ""

    def engine(at: State) -> Engine:
        parts, fine = (model.value_and_gradient, rule), tol is not None
        if spread is None or lanes is None:
            return InMemory(*parts, batches, epochs, at, x, y, fine)
        return Sharded(*parts, lanes, epochs, at, lambda rows: (x[rows], y[rows]), spread, fine)

    def facts() -> dict[str, Any]:
        same = identity(model.value_and_gradient, rule, batches, state, x, y, parted=parted)
        return {"devices": 1 if spread is None else spread.size, **same}

    state, history = supervise(
        engine, state, facts, checkpoint=checkpoint, resume=resume, log=log, tol=tol,
        watchers=[lambda state, seen: progress(seen)] if progress else [],
        update_seconds=update_seconds,
    )  # fmt: skip
    return FitResult(state.params if spread is None else here(state.params), history)
