"""fit: a model, data and an update rule to trained parameters.

What passes from `fit` to its result:

    fit                checks its arguments; data, starting state, order of the batches
      loop.run         resumes from a checkpoint; log, checkpoints and signals around the steps
        take_steps     chunks of steps, and what happens between two of them
          chunk, step  compiled: (state, batch) -> (state, loss)
    FitResult          the parameters, and the history of the run
"""

import hashlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from handgrad._checks import (
    as_numpy,
    check_features,
    check_labels,
    check_values,
    is_real,
    is_whole,
    relative_weights,
    require_dtype_of_x,
    require_floating,
    require_key,
    require_rank,
)
from handgrad._notebook import cut, table
from handgrad._types import Array, ArrayLike, Coded, Key, Model, like, values_of
from handgrad.errors import InputError
from handgrad.scale.checkpoints import PROGRAM, Checkpoints, describe_leaf, digest, leaves
from handgrad.scale.sharding import as_mesh, to_local
from handgrad.train.batches import Batches, ShardedBatches
from handgrad.train.log import History, Progress, RunLog, as_html
from handgrad.train.loop import ArrayEngine, Engine, Schedule, Solver, TrainState, run
from handgrad.train.optimizers import resolve

Params = TypeVar("Params")
Optimizer: TypeAlias = Literal["sgd", "momentum", "adam"] | optax.GradientTransformation
BatchSize: TypeAlias = int | Literal["full"] | None


@dataclass(frozen=True)
class FitResult(Generic[Params]):
    """Trained parameters, in the structure of the model's, and the history of the run."""

    params: Params
    history: History

    @property
    def loss(self) -> float:
        """The last loss on all training data, in nats."""
        return float(self.history.losses[-1])

    def __repr__(self) -> str:
        shapes = ", ".join(f"{path} {kind}" for path, kind in _described(self.params))
        return f"FitResult(params={cut(shapes)}, history={self.history!r})"

    def _repr_html_(self) -> str:
        return as_html(self.history, table(("parameters", ""), _described(self.params)))


def _described(params: Any) -> list[tuple[str, str]]:
    """The path of each array of parameters, with its dtype and shape."""
    return [(path.lstrip("."), describe_leaf(leaf)) for path, leaf in leaves(params)]


def fit(
    model: Model[Params],
    x: ArrayLike | Coded,
    y: ArrayLike,
    *,
    optimizer: Optimizer = "sgd",
    learning_rate: float | None = None,
    batch_size: BatchSize = None,
    epochs: int = 200,
    tol: float | None = None,
    key: Key | None = None,
    params: Params | None = None,
    sample_weight: ArrayLike | None = None,
    shuffle: bool = True,
    mesh: Mesh | int | Literal["all"] | None = None,
    progress: Callable[[Progress], None] | None = None,
    update_seconds: float | None = None,
    checkpoint: Checkpoints | Path | str | None = None,
    resume: bool = False,
    log: RunLog | Path | str | None = None,
) -> FitResult[Params]:
    """Train `model` on x (N, D) and y, on whatever device JAX has, in the dtype of `x`.

    Categories of x may be columns of 0 and 1, or codes (`data.coded`): the result is the same up to
    rounding.

    `optimizer` is 'sgd', 'momentum' or 'adam' at `learning_rate` (0.1 if not given), or any
    `optax.GradientTransformation`. `batch_size` is 'full', or a number (32 if not given, or all the
    examples where there are fewer): 1 with `shuffle=False` updates on every point in the order of
    the data. The run ends after `epochs`, or when the largest |∂E/∂w| over all the data is found to
    be at most `tol` (they are evaluated every few epochs), or at Ctrl-C, which keeps what was
    learnt. It starts at `params`, or at random weights drawn with `key`. `sample_weight` (N,) says
    how much each example counts: E = Σ_n w_n ℓ_n / Σ_n w_n and the penalty.

    With `checkpoint`, a folder or `Checkpoints`, the run is saved as it goes and at its end, and
    Ctrl-C or SIGTERM end it after the chunk at hand; with `resume` it goes on from what was saved
    last, to the same bits, or from the start if nothing was. `log` is a file of JSON lines that
    grows with the run (see `RunLog`). `update_seconds` is about how far apart two calls of
    `progress` may be.

    `mesh` spreads the examples over several devices: a `jax.sharding.Mesh` with one axis, a number
    of devices, or 'all'. Batches are then drawn from shards of the rows (see `train.batches`), the
    same ones on 1, 2, 4 and 8 devices; the result is that of one device up to rounding.

    Raises InputError for arguments that cannot be used, before anything is computed, and
    DivergedError, which names the step, at the first loss that is not finite.

    >>> import jax.numpy as jnp
    >>> from handgrad.gradients import logistic
    >>> x, y = jnp.array([[-1.0], [1.0]]), jnp.array([0, 1])
    >>> result = fit(logistic.model(), x, y, batch_size="full", epochs=200)
    >>> logistic.predict(result.params, x).round().tolist()
    [0.0, 1.0]
    """
    check_run(epochs, tol, progress)
    devices = None if mesh is None else as_mesh(mesh)
    x, y = as_arrays(x, y, on_host=devices is not None)
    init_key, order_key = split_key(key)
    params = starting_params(model, params, init_key, x, y)
    batches = Batches.of(x.shape[0], batch_size, shuffle, order_key)
    value_and_gradient = model.value_and_gradient
    if sample_weight is not None:
        x, value_and_gradient = weighted(model, x, sample_weight)
    solver = Solver(value_and_gradient, resolve(optimizer, learning_rate))
    state = solver.init(params)
    if devices is not None:
        batches = ShardedBatches.over(batches, devices.size)
    schedule = Schedule.of(batches, epochs, x.shape[1], can_stop=tol is not None)

    def engine(at: TrainState) -> Engine:
        return ArrayEngine(solver, batches, schedule, at, (x, y), devices)

    def facts() -> dict[str, Any]:
        count = 1 if devices is None else devices.size
        return {"devices": count, **fingerprint(solver, batches, state, (x, y))}

    state, history = run(
        engine, state, facts, tol=tol, progress=progress, update_seconds=update_seconds,
        checkpoint=checkpoint, resume=resume, log=log,
    )  # fmt: skip
    return FitResult(state.params if devices is None else to_local(state.params), history)


def weighted(
    model: Model[Params], x: Any, sample_weight: ArrayLike
) -> tuple[Array, Callable[..., tuple[Array, Params]]]:
    """x with the weights, of mean 1, as one more column; and (E, ∂E/∂w) of examples that have it.

    So weights go wherever examples do: into batches, and onto devices. Raises InputError for
    weights that cannot be, and for a model that takes none.
    """
    if "sample_weight" not in inspect.signature(model.value_and_gradient).parameters:
        raise InputError(
            "sample_weight", "none for this model", "some", "choose logistic, softmax or an mlp"
        )
    weights = relative_weights(sample_weight, x.shape[0]).astype(x.dtype)
    values = values_of(x)
    place: Any = np if isinstance(values, np.ndarray) else jnp
    wider = place.concatenate([values, weights[:, None]], axis=1)

    def value_and_gradient(params: Params, x: Any, y: Array) -> tuple[Array, Params]:
        values = values_of(x)
        own, weight = values[:, :-1], values[:, -1]
        own = Coded(own, x.sizes[:-1]) if isinstance(x, Coded) else own
        return model.value_and_gradient(params, own, y, sample_weight=weight)

    found: Any = Coded(wider, (*x.sizes, 0)) if isinstance(x, Coded) else wider
    return found, value_and_gradient


def fingerprint(
    solver: Solver,
    batches: Batches,
    state: TrainState,
    data: tuple[Any, Any],
    values: str | None = None,
) -> dict[str, Any]:
    """The facts that a checkpoint must share with the run that resumes from it, in words.

    A step depends on the state, on the data, on which examples it sees, and on its program. Each is
    a fact here, long values as digests. How long the run is, and what its tolerance, are not: a run
    may be resumed to go further. Of a stream `data` are the shapes of a part, and `values` is the
    digest of all.
    """
    return {
        "x": describe_leaf(data[0]),
        "y": describe_leaf(data[1]),
        "examples": batches.examples,
        "values of x and y": values or digest(data),
        "batch size": batches.size,
        "order": batches.order,
        "key of the order": list(batches.seed) if batches.shuffle and not batches.full else None,
        "state": [f"{path} {describe_leaf(leaf)}" for path, leaf in leaves(state)],
        "first parameters": digest(state),
        PROGRAM: program_digest(solver, batches, state, data),
    }


def program_digest(
    solver: Solver, batches: Batches, state: TrainState, data: tuple[Any, Any]
) -> str:
    """A digest of what a step is lowered to, which has every constant in it.

    Of a chunk of one step, so that it does not depend on how a run is cut into chunks.
    """
    indices = np.zeros((1, 0 if batches.full else batches.size), np.int32)
    lowered = jax.jit(solver.chunk(batches.full)).lower(state, *data, indices, np.int32(0))
    return hashlib.blake2b(lowered.as_text().encode(), digest_size=16).hexdigest()


def accuracy(model: Model[Params], params: Params, x: ArrayLike | Coded, y: ArrayLike) -> float:
    """The share of examples whose most probable class is their label's most probable class.

    Raises InputError for features and labels that do not fit.
    """
    x = x if isinstance(x, jax.Array | Coded) else as_numpy("x", x)
    require_floating("x", x)
    require_rank("x", x, 2, "(N, D)")
    check_labels(y, examples=x.shape[0])
    for leaf in jax.tree.leaves(params):
        require_floating("params", leaf)
    return float(np.mean(is_right(jax.jit(model.predict)(params, jax.tree.map(jnp.asarray, x)), y)))


def is_right(probabilities: ArrayLike, y: ArrayLike) -> np.ndarray:
    """(N,) of bool: whether the most probable class is the label's most probable class."""
    return _classes(probabilities) == _classes(y)


def _classes(a: ArrayLike) -> np.ndarray:
    """Class indices from (N, K) probabilities, from (N,) probabilities of class 1, or as given."""
    a = np.asarray(a)
    if a.ndim == 2:
        return np.argmax(a, axis=1)
    return a if np.issubdtype(a.dtype, np.integer) else (a > 0.5).astype(int)


# --- checks of what `fit` is asked to do ------------------------------------------------------


def check_run(epochs: Any, tol: Any = None, progress: Any = None) -> None:
    """Raise InputError unless a run can have these epochs, this tolerance and this callback."""
    if not is_whole(epochs) or epochs < 1:
        raise InputError("epochs", "a whole number above 0", repr(epochs), "pass 100")
    if tol is not None and not (is_real(tol) and 0 <= tol < math.inf):
        raise InputError("tol", "a finite number of 0 or more", repr(tol), "pass 1e-6, or leave it")
    if progress is not None and not callable(progress):
        raise InputError("progress", "a function", repr(progress), "pass print")


def split_key(key: Any) -> tuple[Key, Key]:
    """Keys of the weights and of the order, from `key`, or from that of seed 0 for None."""
    key = jax.random.key(0) if key is None else key
    require_key(key)
    init_key, order_key = jax.random.split(key)
    return init_key, order_key


def as_arrays(x: Any, y: Any, on_host: bool = False) -> tuple[Array, Array]:
    """x and y as JAX has them, float labels in the dtype of x. Raises InputError for their values.

    Features keep their floating dtype if JAX has it enabled; integers take the default one.
    `on_host`: as NumPy arrays, to be spread over devices of which none need have room for all.
    """
    check_values(x, y)
    place: Any = np.asarray if on_host else jnp.asarray
    values, y = values_of(x), jnp.asarray(y)
    given = np.asarray(values).dtype
    dtype = given if jnp.issubdtype(given, jnp.floating) else jnp.zeros(()).dtype
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    if dtype != given:
        with np.errstate(over="ignore"):
            values = np.asarray(values).astype(dtype)
        lost = ~np.isfinite(values)
        if lost.any():
            raise InputError(
                "x", f"features that {dtype} can hold", np.asarray(values_of(x))[lost][0],
                "rescale them, or enable float64 in JAX",
            )  # fmt: skip
    features = like(x, place(values))
    if isinstance(x, Coded):
        check_features(features)  # a narrower dtype may not hold its codes
    return features, place(y.astype(dtype) if jnp.issubdtype(y.dtype, jnp.floating) else y)


def class_count(y: Array) -> int:
    """K: the columns of probabilities, the largest index plus one, or 2 for labels in [0, 1]."""
    if jnp.ndim(y) == 2:
        return y.shape[1]
    if jnp.issubdtype(y.dtype, jnp.integer):
        return max(2, int(np.asarray(y).max()) + 1)
    return 2


def starting_params(
    model: Model[Params], params: Params | None, key: Key, x: Array, y: Array
) -> Params:
    """`params`, or random ones. The model refuses shapes that do not fit.

    Raises InputError for what is not a Model, for another dtype than that of x, and for class
    indices beyond the logits.
    """
    needed = ("init", "logits", "predict", "loss", "gradient", "value_and_gradient")
    if not all(hasattr(model, name) for name in needed):
        kind = type(model).__name__
        raise InputError("model", "a Model", kind, "pass logistic.model(), with its ()")
    count = class_count(y)
    if params is None:
        params = model.init(key, x.shape[1], count, x.dtype)
    require_dtype_of_x(params, x)
    jax.eval_shape(model.value_and_gradient, params, x, y)
    logits = jax.eval_shape(model.logits, params, x)
    available = 2 if len(logits.shape) == 1 else logits.shape[1]
    if jnp.ndim(y) == 1 and count > available:
        raise InputError(
            "y", f"class indices in 0..{available - 1}", f"up to {count - 1}",
            "choose a model with more classes: softmax_regression, or an mlp",
        )  # fmt: skip
    return params
