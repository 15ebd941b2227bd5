"""The compiled part of training: a chunk of steps of fixed length, compiled once a run.

A chunk is a `lax.scan` over steps. Steps past the end of the run, and steps after the first loss
that is not finite, leave the state as it is; so one program serves the last chunk too. At its end
the chunk looks at all the data once: that loss and gradient are what tolerance is about. Everything
else (progress, stopping, interrupts, checkpoints) happens between chunks, in Python.
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
    alive: Array
    """Whether every loss so far was finite."""


class Seen(NamedTuple):
    """What a chunk reports: the loss of each step, then loss and largest |∂E/∂w| on all data."""

    losses: Array
    loss: Array
    gradient_max: Array


def initial_state(params: Params, optimizer: optax.GradientTransformation) -> State:
    """The state before the first step."""
    return State(params, optimizer.init(params), jnp.array(True))


def make_chunk(
    value_and_gradient: Callable, optimizer: optax.GradientTransformation, full_batch: bool
) -> Callable[[State, Array, Array, Array, Array], tuple[State, Seen]]:
    """chunk(state, x, y, indices (L, B), active (L,)) -> (state, seen)."""

    def chunk(
        state: State, x: Array, y: Array, indices: Array, active: Array
    ) -> tuple[State, Seen]:
        def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, Array]:
            picked, wanted = inputs

            def move(state: State) -> tuple[State, Array]:
                batch = (x, y) if full_batch else (x[picked], y[picked])
                loss, gradient = value_and_gradient(state.params, *batch)
                updates, memory = optimizer.update(gradient, state.optimizer, state.params)
                moved = State(optax.apply_updates(state.params, updates), memory, jnp.array(True))
                return _choose(
                    jnp.isfinite(loss), moved, state._replace(alive=jnp.array(False))
                ), loss

            def rest(state: State) -> tuple[State, Array]:
                return state, jnp.zeros((), x.dtype)

            return lax.cond(wanted & state.alive, move, rest, state)

        state, losses = lax.scan(step, state, (indices, active))
        loss, gradient = value_and_gradient(state.params, x, y)
        largest = jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)])
        return state, Seen(losses, loss, jnp.max(largest))

    return chunk


def _choose(condition: Array, yes: State, no: State) -> State:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
