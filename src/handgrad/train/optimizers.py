"""What trains: update rules by hand, and the optax baseline of both rule and gradient.

Each rule is an `optax.GradientTransformation`, a pair of functions (init, update) whose updates are
added to the parameters. So the loop has one path, and any of optax's own rules fits in.

Nothing of the baseline is derived by hand. The scores are the model's own, the loss is optax's, the
gradient is autodiff's; the update rule is optax's too (`OPTAX`).

Source: "Neural networks", section on the gradient descent step (α = 0.1 there).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from handgrad._checks import is_real, require_binary_labels, require_class_labels
from handgrad._types import Array, Model, Scalar
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
OPTAX: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "adam": optax.adam,
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


# --- the baseline -----------------------------------------------------------------------------


def cross_entropy(logits: Array, y: Array) -> Array:
    """The optax loss that fits: binary for (N,) logits, else by integer or by probability."""
    if logits.ndim == 1:
        require_binary_labels(y, logits)  # optax would broadcast
        return optax.sigmoid_binary_cross_entropy(logits, y.astype(logits.dtype))
    require_class_labels(y, logits)
    if jnp.issubdtype(y.dtype, jnp.integer):
        return optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return optax.softmax_cross_entropy(logits, y)


def perceptron_loss(logits: Array, y: Array) -> Array:
    """optax's perceptron loss, with the label as a sign."""
    require_binary_labels(y, logits)
    return optax.losses.perceptron_loss(logits, 2 * y.astype(logits.dtype) - 1)


def baseline(
    model: Model, l2: float = 0.0, loss: Callable[[Array, Array], Array] = cross_entropy
) -> Model:
    """`model` with the mean of an optax loss, plus ½ λ ‖w‖², and `jax.grad` of that."""

    def mean_loss(params: Any, x: Array, y: Array) -> Scalar:
        value = jnp.mean(loss(model.logits(params, x), y))
        if l2 == 0:
            return value
        squares = [
            jnp.sum(jnp.square(leaf))
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
            if jax.tree_util.keystr(path).endswith("weight")
        ]
        return value + 0.5 * l2 * sum(squares, jnp.zeros((), value.dtype))

    return replace(
        model,
        loss=mean_loss,
        gradient=jax.grad(mean_loss),
        value_and_gradient=jax.value_and_grad(mean_loss),
        hessian=None,
        hvp=None,
    )
