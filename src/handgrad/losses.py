"""Drop-in losses for anyone's `jax.grad`: optax's conventions, hand-derived derivatives.

Each loss is per example, as optax's is; under `jax.grad`, `jvp`, `vmap`, `jit` and `hessian` it
differentiates by the formulas of `gradients.cross_entropy` instead of by autodiff of its value:

    ℓ̇ = ⟨∂ℓ/∂z, ż⟩ + ⟨∂ℓ/∂y, ẏ⟩           first order: the accurate residual
    ṙ = ∂r/∂z ż + ∂r/∂y ẏ                  second order: σ(z) σ(−z), and diag(p) − p pᵀ

>>> import jax, jax.numpy as jnp
>>> jax.grad(lambda z: sigmoid_binary_cross_entropy(z, jnp.float32(1)))(jnp.float32(17)).item()
-4.1399...e-08
"""

from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from handgrad._checks import (
    as_index,
    describe,
    require_binary_labels,
    require_class_labels,
    require_floating,
)
from handgrad._types import Scalar
from handgrad.errors import InputError
from handgrad.fast import linear_cross_entropy
from handgrad.fast.linear_cross_entropy import Settings
from handgrad.gradients import cross_entropy
from handgrad.gradients.cross_entropy import BinaryLabels
from handgrad.gradients.sigmoid import sigmoid_derivative
from handgrad.gradients.softmax import log_softmax_jvp, log_softmax_vjp, softmax_jvp

__all__ = [
    "linear_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]

# --- binary -------------------------------------------------------------------------------------


def sigmoid_binary_cross_entropy(
    logits: Float[Array, "*shape"], labels: BinaryLabels
) -> Float[Array, "*shape"]:
    """ℓ = −y log σ(z) − (1−y) log σ(−z), elementwise, in nats.

    `labels` has the shape of `logits` (optax broadcasts; this raises InputError) and values in
    [0, 1]. ∂ℓ/∂z = (1−y) σ(z) − y σ(−z), ∂ℓ/∂y = −z.
    """
    require_floating("logits", logits)
    require_binary_labels(labels, logits)
    return _binary(logits, jnp.asarray(labels, jnp.result_type(logits)))


@jax.custom_jvp
def _binary(logits: Array, labels: Array) -> Array:
    return cross_entropy.binary(logits, labels)


@_binary.defjvp
def _binary_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (z, y), (z_dot, y_dot) = primals, tangents
    by_logit = _binary_residual(z, y) * z_dot
    return _binary(z, y), by_logit + cross_entropy.binary_label_derivative(z, y) * y_dot


@jax.custom_jvp
def _binary_residual(logits: Array, labels: Array) -> Array:
    return cross_entropy.binary_residual(logits, labels)


@_binary_residual.defjvp
def _binary_residual_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (z, y), (z_dot, y_dot) = primals, tangents
    return _binary_residual(z, y), sigmoid_derivative(z) * z_dot - y_dot


# --- categorical --------------------------------------------------------------------------------


def softmax_cross_entropy(
    logits: Float[Array, "*batch K"], labels: Float[Array, "*batch K"]
) -> Float[Array, "*batch"]:
    """ℓ = −Σ_i y_i log softmax(z)_i over the last axis, in nats, for labels as probabilities.

    `labels` has the shape of `logits`; rows need not sum to 1. ∂ℓ/∂z_i = p_i Σ_{j≠i} y_j −
    y_i Σ_{j≠i} p_j, ∂ℓ/∂y_i = −log p_i. Raises InputError if the shapes differ.
    """
    require_floating("logits", logits)
    require_floating("labels", labels)
    require_class_labels(labels, logits)
    return _categorical(logits, labels)


@jax.custom_jvp
def _categorical(logits: Array, labels: Array) -> Array:
    return cross_entropy.categorical(logits, labels)


@_categorical.defjvp
def _categorical_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (z, y), (z_dot, y_dot) = primals, tangents
    by_logit = jnp.sum(_categorical_residual(z, y) * z_dot, axis=-1)
    by_label = jnp.sum(_minus_log_softmax(z, y) * y_dot, axis=-1)
    return _categorical(z, y), by_logit + by_label


@jax.custom_jvp
def _categorical_residual(logits: Array, labels: Array) -> Array:
    return cross_entropy.categorical_residual(logits, labels)


@_categorical_residual.defjvp
def _categorical_residual_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (z, y), (z_dot, y_dot) = primals, tangents
    by_logit = jnp.sum(y, axis=-1, keepdims=True) * softmax_jvp(z, z_dot)
    by_label = -log_softmax_vjp(y_dot, z)  # the residual is linear in y
    return _categorical_residual(z, y), by_logit + by_label


@jax.custom_jvp
def _minus_log_softmax(logits: Array, labels: Array) -> Array:
    return cross_entropy.categorical_label_derivative(logits, labels)


@_minus_log_softmax.defjvp
def _minus_log_softmax_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (z, y), (z_dot, _) = primals, tangents
    return _minus_log_softmax(z, y), -log_softmax_jvp(z, z_dot)


def softmax_cross_entropy_with_integer_labels(
    logits: Float[Array, "*batch K"], labels: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """ℓ = −log softmax(z)_y over the last axis, in nats, for labels 0..K−1.

    A label out of range gives NaN, as it cannot be refused under jit. Raises InputError if the
    shape of `labels` is not that of `logits` without its last axis.
    """
    require_floating("logits", logits)
    require_class_labels(labels, logits)
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise InputError("labels", "integers", describe(labels), "or use softmax_cross_entropy")
    return _indexed(logits, as_index(labels))


@jax.custom_jvp
def _indexed(logits: Array, labels: Array) -> Array:
    return cross_entropy.categorical(logits, labels)


@_indexed.defjvp
def _indexed_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (z, y), (z_dot, _) = primals, tangents
    return _indexed(z, y), jnp.sum(_indexed_residual(z, y) * z_dot, axis=-1)


@jax.custom_jvp
def _indexed_residual(logits: Array, labels: Array) -> Array:
    return cross_entropy.categorical_residual(logits, labels)


@_indexed_residual.defjvp
def _indexed_residual_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (z, y), (z_dot, _) = primals, tangents
    return _indexed_residual(z, y), softmax_jvp(z, z_dot)


# --- the output layer of a language model ---------------------------------------------------------


def linear_softmax_cross_entropy(
    hidden: Float[Array, "T D"],
    weight: Float[Array, "D V"],
    labels: Int[Array, " T"],
    **settings: Any,
) -> Scalar:
    """Mean cross-entropy of softmax(h W), in nats, in memory that does not grow with T × V.

    Under `jax.grad` both gradients are taken in the forward pass, a chunk of tokens at a time;
    without, only the loss is. `settings` are those of `fast.linear_cross_entropy`: chunk,
    label_smoothing, ignore, operands, axis_name. Reverse mode, first order. Raises InputError for
    shapes, dtypes and settings that cannot be.

    >>> h, w, y = jnp.ones((4, 2)), jnp.zeros((2, 2)), jnp.array([0, 0, 0, 1])
    >>> jax.grad(linear_softmax_cross_entropy, 1)(h, w, y).tolist()
    [[-0.25, 0.25], [-0.25, 0.25]]
    """
    checked = linear_cross_entropy.check(hidden, weight, labels, **settings)
    return _linear(checked, hidden, weight, as_index(labels))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _linear(settings: Settings, hidden: Array, weight: Array, labels: Array) -> Array:
    return linear_cross_entropy.loss(hidden, weight, labels, **asdict(settings))


def _linear_forward(settings: Settings, hidden: Array, weight: Array, labels: Array) -> tuple:
    return linear_cross_entropy.value_and_gradient(hidden, weight, labels, **asdict(settings))


def _linear_backward(settings: Settings, gradients: tuple, cotangent: Array) -> tuple:
    scaled = jax.tree.map(lambda g: (cotangent * g).astype(g.dtype), gradients)
    return *scaled, None


_linear.defvjp(_linear_forward, _linear_backward)
