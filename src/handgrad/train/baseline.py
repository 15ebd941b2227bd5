"""The optax baseline: the same model and loop, with `jax.grad` of the optax loss.

Nothing is derived by hand here. The scores are the model's own, the loss is optax's, the gradient
is autodiff's; the update rule is optax's too (`OPTAX`).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from handgrad._checks import require_binary_labels, require_class_labels
from handgrad._types import Array, Model, Scalar

OPTAX: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "adam": optax.adam,
}


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
