"""fit_many: a grid of models trained at once, as one program.

The models of a grid see the same batches, so that their products x w, one vector each, become one
product of two matrices, and the start of a step is shared by all. `jax.vmap` does it; no formula
changes, and each model ends where its own `fit` would have.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from handgrad._types import Array, ArrayLike, Key
from handgrad.errors import DivergedError, InputError
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
from handgrad.train.grid import Setting, checked_rows, grid
from handgrad.train.loop import Look, State, initial_state, make_look, pick
from handgrad.train.optimizers import HAND
from handgrad.train.pace import chunk_length

TOGETHER = 32
"""Models that look at all the data together at the end: their scores are (N, TOGETHER) numbers."""


class Own(NamedTuple):
    """What a step needs to know of one model: numbers of its own, traced."""

    learning_rate: Array
    l2: Array | None


@dataclass(frozen=True)
class ManyResult:
    """All models of a grid; losses in nats, times in seconds."""

    settings: tuple[Setting, ...]
    stacked: Any
    """The parameters, each leaf with the M models along its first axis."""
    losses: np.ndarray
    """(M,): the last loss of each model on its own training data; not finite where it diverged."""
    gradient_max: np.ndarray
    """(M,): the largest |∂E/∂w| there."""
    steps: int
    compile_seconds: float
    seconds: float

    def params(self, number: int) -> Any:
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
    model: Model | Callable[[float], Model],
    x: ArrayLike,
    y: ArrayLike,
    *,
    learning_rates: Sequence[float] = (0.1,),
    l2s: Sequence[float] | None = None,
    keys: Sequence[Key] | None = None,
    rows: ArrayLike | None = None,
    optimizer: str | Callable[[float], optax.GradientTransformation] = "sgd",
    batch_size: int | str | None = None,
    epochs: int = 200,
    key: Key | None = None,
    shuffle: bool = True,
) -> ManyResult:
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
    check_run(epochs, None)
    x, y = as_arrays(x, y)
    make = _model_maker(model, l2s)
    picked = None if rows is None else checked_rows(rows, x.shape[0])
    settings = grid(learning_rates, l2s, keys, None if picked is None else len(picked))
    example = make(settings[0].l2)
    check_model(example)
    rule = _rule_maker(optimizer)
    init_key, order_key = jax.random.split(check_key(key))
    starts = [
        example.init(k, x.shape[1], class_count(y), x.dtype)
        for k in ([init_key] if keys is None else keys)
    ]
    check_labels_fit(example, starts[0], x, y)
    if picked is not None:
        x, y = x[picked], y[picked]
    batches = schedule(x.shape[-2], batch_size, shuffle, order_key)
    params = jax.tree.map(
        lambda *leaves: jnp.stack([leaves[s.key or 0] for s in settings]), *starts
    )
    own = Own(
        jnp.array([s.learning_rate for s in settings], x.dtype),
        None if l2s is None else jnp.array([s.l2 for s in settings], x.dtype),
    )
    return _run(make, rule, batches, settings, own, params, x, y, epochs)


def _run(
    make: Callable[[Any], Model],
    rule: Callable[[Any], optax.GradientTransformation],
    batches: Batches,
    settings: tuple[Setting, ...],
    own: Own,
    params: Any,
    x: Array,
    y: Array,
    epochs: int,
) -> ManyResult:
    steps, folded = batches.steps(epochs), x.ndim == 3
    length = chunk_length(steps, batches.size, x.shape[-1] * len(settings))

    def chunk(own: Own, state: State, x: Array, y: Array, indices: Array, count: Array) -> State:
        def step(number: Array, state: State) -> State:
            batch = (x, y) if batches.full else pick(x, y, indices, number)

            def move(own: Own, state: State) -> State:
                gradient = make(own.l2).gradient(state.params, *batch)
                update = rule(own.learning_rate).update
                updates, memory = update(gradient, state.optimizer, state.params)
                return State(optax.apply_updates(state.params, updates), memory)

            return jax.vmap(move)(own, state)

        return lax.fori_loop(0, count, step, state)

    def look(own: Own, params: Any, x: Array, y: Array) -> Look:
        def one(pair: tuple[Own, Any]) -> Look:
            return make_look(make(pair[0].l2).value_and_gradient)(pair[1], x, y)

        return lax.map(one, (own, params), batch_size=TOGETHER)

    if folded:  # the models of a fold lie together
        own, params = _reshape((own, params), (x.shape[0], -1))
        chunk = jax.vmap(chunk, (0, 0, 0, 0, None, None))
        look = jax.vmap(look)
    begin = jax.vmap(lambda own, params: initial_state(params, rule(own.learning_rate)))
    state = (jax.vmap(begin) if folded else begin)(own, params)
    began = time.perf_counter()
    indices = batches.indices(0, length)
    take = jax.jit(chunk).lower(own, state, x, y, indices, np.int32(0)).compile()
    last = jax.jit(look).lower(own, params, x, y).compile()
    compile_seconds, began = time.perf_counter() - began, time.perf_counter()
    for done in range(0, steps, length):
        state = take(own, state, x, y, indices, np.int32(min(length, steps - done)))
        if done + length < steps:
            indices = batches.indices(done + length, length)  # the next ones, while it works
    seen = jax.device_get(last(own, state.params, x, y))
    stacked = _reshape(state.params, (len(settings),), axes=2) if folded else state.params
    return ManyResult(
        settings=settings,
        stacked=stacked,
        losses=np.ravel(seen.loss),
        gradient_max=np.ravel(seen.gradient_max),
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
        check_model(model)
        return lambda l2: model
    if isinstance(model, Model) or not callable(model):
        raise InputError(
            "model", "a function from l2 to a Model, as there are l2s", type(model).__name__,
            "pass logistic.model, say, without its ()",
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
            "pass optax.adam, say, without a rate",
        )  # fmt: skip
    return optimizer
