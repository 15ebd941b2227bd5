"""Update rules by hand: gradient descent, momentum, Adam.

Each is an `optax.GradientTransformation`, a pair of functions (init, update) whose updates are
added to the parameters. So the loop has one path, and any of optax's own rules fits in.

Source: "Neural networks", section on the gradient descent step (α = 0.1 there).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from handgrad._checks import is_real
from handgrad.errors import InputError

Params = Any


def sgd(learning_rate: float) -> optax.GradientTransformation:
    """w ← w − α g."""

    def init(params: Params) -> tuple[()]:
        return ()

    def update(
        gradient: Params, state: tuple[()], params: Params = None
    ) -> tuple[Params, tuple[()]]:
        return jax.tree.map(lambda g: -learning_rate * g, gradient), state

    return optax.GradientTransformation(init, update)


def momentum(learning_rate: float, decay: float = 0.9) -> optax.GradientTransformation:
    """m ← β m + g;   w ← w − α m."""

    def init(params: Params) -> Params:
        return jax.tree.map(jnp.zeros_like, params)

    def update(gradient: Params, state: Params, params: Params = None) -> tuple[Params, Params]:
        m = jax.tree.map(lambda m, g: decay * m + g, state, gradient)
        return jax.tree.map(lambda m: -learning_rate * m, m), m

    return optax.GradientTransformation(init, update)


class AdamState(NamedTuple):
    """Steps so far, and running means of the gradient and of its square."""

    steps: jax.Array
    mean: Params
    square: Params


def adam(
    learning_rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  w ← w − α m̂/(√v̂ + ε), m̂ = m/(1−β₁ᵗ), v̂ likewise."""

    def init(params: Params) -> AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        gradient: Params, state: AdamState, params: Params = None
    ) -> tuple[Params, AdamState]:
        count = state.steps + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, gradient)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.square, gradient)

        def step(m: jax.Array, v: jax.Array) -> jax.Array:
            t = count.astype(m.dtype)
            return -learning_rate * (m / (1 - b1**t)) / (jnp.sqrt(v / (1 - b2**t)) + eps)

        return jax.tree.map(step, mean, square), AdamState(count, mean, square)

    return optax.GradientTransformation(init, update)


HAND: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": sgd,
    "momentum": momentum,
    "adam": adam,
}


def check_learning_rate(learning_rate: float) -> None:
    """Raise InputError unless the rate is a finite number above 0, in float32 too."""
    float32 = jnp.finfo(jnp.float32)
    smallest, largest = float(float32.tiny), float(float32.max)
    if not (is_real(learning_rate) and smallest <= learning_rate <= largest):
        raise InputError("learning_rate", "a finite number above 0", learning_rate, "pass 0.1")


def resolve(
    optimizer: str | optax.GradientTransformation, learning_rate: float | None
) -> optax.GradientTransformation:
    """The update rule: one of ours by name, at a rate; or any `optax.GradientTransformation`."""
    if isinstance(optimizer, str):
        if optimizer not in HAND:
            raise InputError(
                "optimizer", f"one of {', '.join(HAND)}, or an optax one", repr(optimizer),
                "name one",
            )  # fmt: skip
        rate = 0.1 if learning_rate is None else learning_rate
        check_learning_rate(rate)
        return HAND[optimizer](float(rate))
    if not isinstance(optimizer, optax.GradientTransformation):
        raise InputError(
            "optimizer", "a name or an optax.GradientTransformation", type(optimizer).__name__,
            "pass optax.sgd(0.1)",
        )  # fmt: skip
    if learning_rate is not None:
        raise InputError(
            "learning_rate", "nothing beside an optax optimizer", learning_rate,
            "give the rate to the optimizer",
        )  # fmt: skip
    return optimizer
