"""fit_many: a grid of models trained at once, as one program; and the folds of a cross-validation.

The models of a grid see the same batches, so that their products x w, one vector each, become one
product of two matrices, and the start of a step is shared by all. `jax.vmap` does it; no formula
changes, and each model ends where its own `fit` would have.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from handgrad._checks import MOST, as_numpy, is_real, is_whole, require_key
from handgrad._types import Array, ArrayLike, Key, Model
from handgrad.errors import DivergedError, InputError
from handgrad.train.api import (
    BatchSize,
    Params,
    as_arrays,
    check_run,
    split_key,
    starting_params,
)
from handgrad.train.batches import Batches
from handgrad.train.loop import Metrics, Solver, TrainState, chunk_length, pick
from handgrad.train.optimizers import HAND, check_learning_rate

EVALUATED_AT_ONCE = 32
"""Models: their scores on all the data are (N, EVALUATED_AT_ONCE) numbers."""


@dataclass(frozen=True)
class Setting:
    """What one model of a grid has of its own."""

    fold: int | None
    """Its row of `rows`; None if all models learn from all examples."""
    l2: float | None
    """Its penalty λ; None if the model came with one."""
    learning_rate: float
    key: int | None
    """Its start: the position in `keys`; None if there were none."""


class Hyperparameters(NamedTuple):
    """The numbers of a setting that a step computes with, traced."""

    learning_rate: Array
    l2: Array | None


@dataclass(frozen=True)
class ManyResult(Generic[Params]):
    """All models of a grid; losses in nats, times in seconds."""

    settings: tuple[Setting, ...]
    stacked: Params
    """The parameters, each leaf with the M models along its first axis."""
    losses: np.ndarray
    """(M,): the last loss of each model on its own training data; not finite where it diverged."""
    gradient_max: np.ndarray
    """(M,): the largest |∂E/∂w| there."""
    steps: int
    compile_seconds: float
    seconds: float

    def params(self, number: int) -> Params:
        """The parameters of model `number`, as `fit` would return them."""
        return jax.tree.map(lambda leaf: leaf[number], self.stacked)

    @property
    def best(self) -> int:
        """Which model has the least loss on its training data; DivergedError if none is finite."""
        finite = np.isfinite(self.losses)
        if not finite.any():
            raise DivergedError(self.steps, float(self.losses[0]))
        return int(np.argmin(np.where(finite, self.losses, np.inf)))


def fit_many(
    model: Model[Params] | Callable[[float], Model[Params]],
    x: ArrayLike,
    y: ArrayLike,
    *,
    learning_rates: Sequence[float] = (0.1,),
    l2s: Sequence[float] | None = None,
    keys: Sequence[Key] | Key | None = None,
    rows: ArrayLike | None = None,
    optimizer: str | Callable[[float], optax.GradientTransformation] = "sgd",
    batch_size: BatchSize = None,
    epochs: int = 200,
    key: Key | None = None,
    shuffle: bool = True,
) -> ManyResult[Params]:
    """Train one model for every combination of `rows`, `l2s`, `learning_rates` and `keys`, at once.

    `x` is (N, D), `y` as the model takes it; the other arguments are those of `fit`. Where `l2s`
    are given, `model` is a function from λ to a Model: `logistic.model`, or
    `lambda l2: mlp.model((16,), l2=l2)`. `optimizer` is a name, or a function from a rate to an
    optax rule, such as `optax.adam`. `keys` are those of the starting weights,
    `model.init(key, ...)`; without them all models start where `fit` with `key` would. `rows`
    (F, N′) has the positions of the training examples of F folds: see `folds`.

    Model i is, to rounding, what `fit(model(l2), x[rows], y[rows], learning_rate=…, params=start,
    key=key, …)` returns for its setting. The order of the examples comes from `key` alone, so that
    the models of a fold share each batch. The losses of single steps are not kept, there is no
    tolerance, and a model that diverges harms no other: its loss is not finite.

    Raises InputError for arguments that cannot be used, before anything is computed.

    >>> from handgrad.gradients import logistic
    >>> x, y = [[-1.0], [1.0], [2.0]], [0, 1, 1]
    >>> many = fit_many(logistic.model(), x, y, learning_rates=(0.01, 0.1, 1.0), epochs=50)
    >>> len(many.settings), many.settings[many.best].learning_rate
    (3, 1.0)
    """
    check_run(epochs)
    make = _model_maker(model, l2s)
    x, y = as_arrays(x, y)
    picked = None if rows is None else checked_rows(rows, x.shape[0])
    settings = grid(learning_rates, l2s, keys, None if picked is None else len(picked))
    example = make(settings[0].l2)
    rule = _rule_maker(optimizer)
    init_key, order_key = split_key(key)
    starts = [
        starting_params(example, None, k, x, y) for k in ([init_key] if keys is None else keys)
    ]
    if picked is not None:
        x, y = x[picked], y[picked]
    batches = Batches.of(x.shape[-2], batch_size, shuffle, order_key)
    steps, folded = batches.steps(epochs), picked is not None
    length = chunk_length(steps, batches.size, x.shape[-1] * len(settings))
    params = jax.tree.map(
        lambda *leaves: jnp.stack([leaves[s.key or 0] for s in settings]), *starts
    )
    own = Hyperparameters(
        jnp.array([s.learning_rate for s in settings], x.dtype),
        None if l2s is None else jnp.array([s.l2 for s in settings], x.dtype),
    )

    def solver(own: Hyperparameters) -> Solver:
        return Solver(make(own.l2).value_and_gradient, rule(own.learning_rate))

    def chunk(
        own: Hyperparameters, state: TrainState, x: Array, y: Array, indices: Array, count: Array
    ) -> TrainState:
        def step(number: Array, state: TrainState) -> TrainState:
            batch = (x, y) if batches.full else pick(x, y, indices, number)
            return jax.vmap(lambda own, state: solver(own).step(state, batch)[0])(own, state)

        return lax.fori_loop(0, count, step, state)

    def evaluate(own: Hyperparameters, params: Any, x: Array, y: Array) -> Metrics:
        def of_one(pair: tuple[Hyperparameters, Any]) -> Metrics:
            return solver(pair[0]).evaluate(pair[1], x, y)

        return lax.map(of_one, (own, params), batch_size=EVALUATED_AT_ONCE)

    begin = jax.vmap(lambda own, params: solver(own).init(params))
    if folded:  # the models of a fold lie together
        own, params = _reshape((own, params), (x.shape[0], -1))
        chunk = jax.vmap(chunk, (0, 0, 0, 0, None, None))
        begin, evaluate = jax.vmap(begin), jax.vmap(evaluate)
    state = begin(own, params)
    began = time.perf_counter()
    indices = batches.indices(0, length)
    run_chunk = jax.jit(chunk).lower(own, state, x, y, indices, np.int32(0)).compile()
    last = jax.jit(evaluate).lower(own, params, x, y).compile()
    compile_seconds, began = time.perf_counter() - began, time.perf_counter()
    for done in range(0, steps, length):
        state = run_chunk(own, state, x, y, indices, np.int32(min(length, steps - done)))
        if done + length < steps:
            indices = batches.indices(done + length, length)  # the next ones, while it works
    metrics = jax.device_get(last(own, state.params, x, y))
    return ManyResult(
        settings=settings,
        stacked=_reshape(state.params, (len(settings),), axes=2) if folded else state.params,
        losses=np.ravel(metrics.loss),
        gradient_max=np.ravel(metrics.gradient_max),
        steps=steps,
        compile_seconds=compile_seconds,
        seconds=time.perf_counter() - began,
    )


def _reshape(tree: Any, shape: tuple[int, ...], axes: int = 1) -> Any:
    """Every leaf with its first `axes` axes as `shape`."""
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[axes:]), tree)


def _model_maker(model: Any, l2s: Any) -> Callable[[Any], Model]:
    """The function from λ to a model. Raises InputError for a model that has its λ already."""
    if l2s is None:
        return lambda l2: model
    if isinstance(model, Model) or not callable(model):
        raise InputError(
            "model", "a function from l2 to a Model, as there are l2s", type(model).__name__,
            "pass logistic.model, without its ()",
        )  # fmt: skip
    return model


def _rule_maker(optimizer: Any) -> Callable[[Any], optax.GradientTransformation]:
    """The function from a rate to a rule. Raises InputError for an unknown name, or a rule."""
    if isinstance(optimizer, str) and optimizer in HAND:
        return HAND[optimizer]
    if isinstance(optimizer, str) or not callable(optimizer):
        raise InputError(
            "optimizer", f"one of {', '.join(HAND)}, or a function from a rate to an optax rule",
            repr(optimizer) if isinstance(optimizer, str) else type(optimizer).__name__,
            "pass optax.adam, without a rate",
        )  # fmt: skip
    return optimizer


# --- the grid, and folds ----------------------------------------------------------------------


def grid(
    learning_rates: Sequence[float],
    l2s: Sequence[float] | None,
    keys: Any,
    folds: int | None,
) -> tuple[Setting, ...]:
    """All combinations, folds outermost and starts innermost. Raises InputError for values."""
    for rate in _at_least_one("learning_rates", learning_rates):
        check_learning_rate(rate)
    if l2s is not None:
        for l2 in _at_least_one("l2s", l2s):
            if not (is_real(l2) and 0 <= l2 < 3e38):  # float32 has to hold it
                raise InputError("l2s", "finite numbers of 0 or more", repr(l2), "pass 0.01")
    if keys is not None:
        for key in _at_least_one("keys", keys):
            require_key(key)
    return tuple(
        Setting(fold, l2, rate, key)
        for fold, l2, rate, key in itertools.product(
            (None,) if folds is None else range(folds),
            (None,) if l2s is None else map(float, l2s),
            map(float, learning_rates),
            (None,) if keys is None else range(len(keys)),
        )
    )


def _at_least_one(name: str, values: Any) -> list:
    try:
        found = list(values)
    except TypeError:
        raise InputError(name, "a sequence", repr(values), f"pass {name}=(…,)") from None
    if not found:
        raise InputError(name, "at least one", "none", "leave the argument out, or pass one")
    return found


def folds(examples: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`count` folds: (training rows (count, N′), held-out rows (count, N − N′)), shuffled.

    Each fold holds out ⌊N / count⌋ examples, no example is held out twice, and what is left over is
    in every training part: so all parts have one size. Raises InputError unless 2 ≤ count ≤ N.

    >>> training, held_out = folds(10, 3)
    >>> training.shape, held_out.shape, len(set(held_out.ravel().tolist()))
    ((3, 7), (3, 3), 9)
    """
    if not is_whole(examples) or not 2 <= examples <= MOST:
        raise InputError("examples", f"a whole number in 2..{MOST:,}", repr(examples), "pass N")
    if not is_whole(seed) or seed < 0:
        raise InputError("seed", "a whole number of 0 or more", repr(seed), "pass 0")
    if not is_whole(count) or not 2 <= count <= examples:
        raise InputError("count", f"a whole number in 2..{examples}", repr(count), "pass 5")
    order = np.random.default_rng(seed).permutation(examples)
    held_out = order[: examples // count * count].reshape(count, -1)
    training = np.stack([np.setdiff1d(order, part) for part in held_out])
    return training, np.sort(held_out, axis=1)


def checked_rows(rows: ArrayLike, examples: int) -> np.ndarray:
    """`rows` as an array. Raises InputError unless it is (F, N′) positions in 0..N−1."""
    found = as_numpy("rows", rows)
    if found.ndim != 2 or 0 in found.shape or not np.issubdtype(found.dtype, np.integer):
        raise InputError(
            "rows", "integers of shape (folds, examples)", f"{found.dtype} of shape {found.shape}",
            "pass the first of folds(N, 5)",
        )  # fmt: skip
    if found.min() < 0 or found.max() >= examples:
        raise InputError(
            "rows", f"positions in 0..{examples - 1}", f"{found.min()}..{found.max()}",
            "count examples from 0",
        )  # fmt: skip
    return found
