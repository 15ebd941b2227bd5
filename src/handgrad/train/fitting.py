"""fit: a model, data and an update rule to trained parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from handgrad._types import ArrayLike, Key
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
from handgrad.train.distributed import interrupts_agreed
from handgrad.train.engine import Engine, InMemory
from handgrad.train.lanes import lanes_for
from handgrad.train.loop import initial_state
from handgrad.train.meshes import as_mesh
from handgrad.train.optimizers import resolve
from handgrad.train.running import History, Progress, run
from handgrad.train.sharding import Sharded, here


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
) -> FitResult:
    """Train `model` on x (N, D) and y, on whatever device JAX has, in the dtype of `x`.

    `optimizer` is 'sgd', 'momentum' or 'adam' at `learning_rate` (0.1 if not given), or any
    `optax.GradientTransformation`. `batch_size` is 'full', or a number (32 if not given, or all the
    examples where there are fewer): 1 with `shuffle=False` updates on every point in the order of
    the data. The run ends after `epochs`, or when the largest |∂E/∂w| over all the data is found to
    be at most `tol` (it is looked at every few epochs), or at Ctrl-C, which keeps what was learnt.
    It starts at `params`, or at random weights drawn with `key`.

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
    spread = None if mesh is None else as_mesh(mesh)
    x, y = as_arrays(x, y, on_host=spread is not None)
    init_key, order_key = jax.random.split(check_key(key))
    batches = schedule(x.shape[0], batch_size, shuffle, order_key)
    rule = resolve(optimizer, learning_rate)
    if params is None:
        params = model.init(init_key, x.shape[1], class_count(y), x.dtype)
    check_labels_fit(model, params, x, y)
    state = initial_state(params, rule)
    with_rule, fine = (model.value_and_gradient, rule), tol is not None
    engine: Engine
    if spread is None:
        engine = InMemory(*with_rule, batches, epochs, state, x, y, fine)
    else:
        lanes = lanes_for(batches, spread.size)
        engine = Sharded(*with_rule, lanes, epochs, state, lambda n: (x[n], y[n]), spread, fine)
    watchers = [lambda state, seen: progress(seen)] if progress else []
    with interrupts_agreed() as agreed:
        state, history = run(engine, state, tol=tol, watchers=[*watchers, agreed])
    return FitResult(state.params if spread is None else here(state.params), history)
