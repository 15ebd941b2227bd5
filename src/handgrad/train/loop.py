"""The compiled parts of training: a chunk of steps, and a look at all the data; once a run each.

A chunk has room for a fixed number of steps and is told how many of them to take, so one program
serves the last chunk too. Everything else (progress, stopping, interrupts, checkpoints) happens
between chunks, in Python.

Nothing in a step is conditional. The operands of a `lax.cond` are copied on a CPU, and the data
among them cost more than the step; a loss that is not finite is found in the losses of the chunk
instead, and its state thrown away.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from handgrad._types import Array

Params = Any


class State(NamedTuple):
    """What a step changes: all that is needed to go on, beside the number of the step."""

    params: Params
    optimizer: Any


class Look(NamedTuple):
    """What all the data say: the loss, and the largest |∂E/∂w|."""

    loss: Array
    gradient_max: Array


def initial_state(params: Params, optimizer: optax.GradientTransformation) -> State:
    """The state before the first step."""
    return State(params, optimizer.init(params))


def make_chunk(
    value_and_gradient: Callable, optimizer: optax.GradientTransformation, full_batch: bool
) -> Callable[[State, Array, Array, Array, Array], tuple[State, Array]]:
    """chunk(state, x, y, indices (L, B), count ≤ L) -> (state, losses (L,)), 0 past `count`.

    The rule is also told the loss, its gradient and how to find them elsewhere: some, such as
    `optax.lbfgs` and `optax.polyak_sgd`, want to know.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def chunk(
        state: State, x: Array, y: Array, indices: Array, count: Array
    ) -> tuple[State, Array]:
        def step(number: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            state, losses = carry
            batch = (x, y) if full_batch else pick(x, y, indices, number)
            loss, gradient = value_and_gradient(state.params, *batch)
            updates, memory = optimizer.update(
                gradient, state.optimizer, state.params,
                value=loss, grad=gradient, value_fn=loss_of(value_and_gradient, batch),
            )  # fmt: skip
            moved = State(optax.apply_updates(state.params, updates), memory)
            return moved, put(losses, loss, number)

        none = jnp.zeros(indices.shape[0], x.dtype)
        return lax.fori_loop(0, count, step, (state, none))

    return chunk


def loss_of(value_and_gradient: Callable, batch: tuple) -> Callable[[Params], Array]:
    """The loss on `batch` as a function of the parameters; `jax.grad` of it is the gradient given.

    A line search asks for both at other parameters, and differentiates for itself.
    """

    @jax.custom_jvp
    def loss(params: Params) -> Array:
        return value_and_gradient(params, *batch)[0]

    @loss.defjvp
    def _(point: tuple[Params], direction: tuple[Params]) -> tuple[Array, Array]:
        value, gradient = value_and_gradient(*point, *batch)
        along = jax.tree.map(jnp.vdot, gradient, *direction)
        return value, sum(jax.tree.leaves(along), jnp.zeros_like(value))

    return loss


def pick(x: Array, y: Array, indices: Array, number: Array) -> tuple[Array, Array]:
    """The batch of step `number`: rows of x and y. The indices are in range, none is negative."""
    rows = lax.dynamic_index_in_dim(indices, number, 0, False, allow_negative_indices=False)
    mode = "promise_in_bounds"
    return x.at[rows].get(mode=mode), y.at[rows].get(mode=mode)


def put(losses: Array, loss: Array, number: Array) -> Array:
    """The losses with that of step `number`."""
    return lax.dynamic_update_index_in_dim(losses, loss, number, 0, allow_negative_indices=False)


def make_look(value_and_gradient: Callable) -> Callable[[Params, Array, Array], Look]:
    """look(params, x, y) -> Look."""

    def look(params: Params, x: Array, y: Array) -> Look:
        loss, gradient = value_and_gradient(params, x, y)
        largest = jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)])
        return Look(loss, jnp.max(largest))

    return look
