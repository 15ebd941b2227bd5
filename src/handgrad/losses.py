"""Drop-in losses for anyone's `jax.grad`: optax's conventions, hand-derived derivatives.

Each loss is per example, as optax's is; under `jax.grad`, `jvp`, `vmap`, `jit` and `hessian` it
differentiates by the formulas of `gradients.cross_entropy` instead of by autodiff of its value:

    ℓ̇ = ⟨∂ℓ/∂z, ż⟩ + ⟨∂ℓ/∂y, ẏ⟩           first order: the accurate residual
    ṙ = ∂r/∂z ż + ∂r/∂y ẏ                  second order: σ(z) σ(−z), and diag(p) − p pᵀ

A logit of −∞ masks a class: 0·log 0 = 0, in values and in derivatives of both orders.

>>> import jax, jax.numpy as jnp
>>> jax.grad(lambda z: sigmoid_binary_cross_entropy(z, jnp.float32(1)))(jnp.float32(17)).item()
-4.1399...e-08
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from handgrad._checks import (
    as_index,
    describe,
    dtype_of,
    is_whole,
    require_binary_labels,
    require_class_labels,
    require_floating,
    require_same_shape,
    shape_of,
)
from handgrad._precision import wider
from handgrad._types import BinaryLabels, Elementwise, Scalar
from handgrad.errors import InputError
from handgrad.fast import linear_cross_entropy
from handgrad.fast.linear_cross_entropy import Settings
from handgrad.gradients import cross_entropy
from handgrad.gradients.sigmoid import sigmoid_derivative
from handgrad.gradients.softmax import log_softmax_jvp, log_softmax_vjp, softmax_jvp

__all__ = [
    "linear_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]

Axes = int | tuple[int, ...] | None


def _with_tangent(value: Callable) -> Callable[[Callable], Callable]:
    """`value` with the decorated function as its derivative: its tangent, from all arguments' own.

    The decorated function takes the arguments, then their tangents.
    """

    def decorate(tangent: Callable) -> Callable:
        function = jax.custom_jvp(value)
        function.defjvp(
            lambda primals, tangents: (function(*primals), tangent(*primals, *tangents))
        )
        return function

    return decorate


def _times(value: Array, tangent: Array) -> Array:
    """value · tangent, linear in the tangent, with ∞·0 = 0: ∞ is taken as two finite factors."""
    large = jnp.where(jnp.isinf(value), 2.0 ** (jnp.finfo(value.dtype).maxexp // 2), 1)
    return _divided(value, large.astype(value.dtype)) * tangent * large.astype(value.dtype)


@_with_tangent(lambda value, large: jnp.nan_to_num(value, nan=jnp.nan))
def _divided(value: Array, large: Array, value_dot: Array, large_dot: Array) -> Array:
    return value_dot / large


# --- binary -------------------------------------------------------------------------------------


def sigmoid_binary_cross_entropy(logits: Elementwise, labels: BinaryLabels) -> Elementwise:
    """ℓ = −y log σ(z) − (1−y) log σ(−z), elementwise, in nats.

    `labels` has the shape of `logits` (optax broadcasts; this raises InputError) and values in
    [0, 1]. ∂ℓ/∂z = (1−y) σ(z) − y σ(−z), ∂ℓ/∂y = −z.
    """
    require_floating("logits", logits)
    require_binary_labels(labels, logits)
    return _binary(logits, jnp.asarray(labels, jnp.result_type(logits)))


@_with_tangent(cross_entropy.binary)
def _binary(z: Array, y: Array, z_dot: Array, y_dot: Array) -> Array:
    by_label = _times(cross_entropy.binary_label_derivative(z, y), y_dot)
    return _binary_residual(z, y) * z_dot + by_label


@_with_tangent(cross_entropy.binary_residual)
def _binary_residual(z: Array, y: Array, z_dot: Array, y_dot: Array) -> Array:
    return sigmoid_derivative(z) * z_dot - y_dot


# --- categorical --------------------------------------------------------------------------------


def softmax_cross_entropy(
    logits: Float[Array, "..."],
    labels: Float[Array, "..."],
    axis: Axes = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """ℓ = −Σ_i y_i log softmax(z)_i, in nats, for labels as probabilities.

    `labels` has the shape of `logits`; rows need not sum to 1. The classes lie along `axis`: one
    axis, several, or all for None. `where`, in the shape of the logits or without their classes,
    takes part in the softmax and in the sum; a row without any costs 0. The loss has the wider
    dtype of the two. ∂ℓ/∂z_i = p_i Σ_{j≠i} y_j − y_i Σ_{j≠i} p_j, ∂ℓ/∂y_i = −log p_i.

    Raises InputError if the shapes do not fit.
    """
    require_floating("logits", logits)
    require_floating("labels", labels)
    require_same_shape("y", labels, "the logits", logits)
    axes = _axes(axis, np.ndim(logits))
    dtype = wider(jnp.result_type(logits), jnp.result_type(labels))
    z, y = (_rows(jnp.asarray(array, dtype), axes) for array in (logits, labels))
    if where is not None:
        taken = _taken(where, logits, axes)
        z, y = _without(z, taken), jnp.where(taken, y, 0)
    return _categorical(z, y)


@_with_tangent(cross_entropy.categorical)
def _categorical(z: Array, y: Array, z_dot: Array, y_dot: Any) -> Array:
    by_logit = jnp.sum(_categorical_residual(z, y) * z_dot, axis=-1)
    if _is_index(y):
        return by_logit
    return by_logit + jnp.sum(_times(_minus_log_softmax(z, y), y_dot), axis=-1)


@_with_tangent(cross_entropy.categorical_residual)
def _categorical_residual(z: Array, y: Array, z_dot: Array, y_dot: Any) -> Array:
    if _is_index(y):
        return softmax_jvp(z, z_dot)
    by_logit = jnp.sum(y, axis=-1, keepdims=True) * softmax_jvp(z, z_dot)
    return by_logit - log_softmax_vjp(y_dot, z)  # the residual is linear in y


@_with_tangent(cross_entropy.categorical_label_derivative)
def _minus_log_softmax(z: Array, y: Array, z_dot: Array, y_dot: Any) -> Array:
    return -log_softmax_jvp(z, z_dot)


def _is_index(y: Array) -> bool:
    return jnp.issubdtype(jnp.result_type(y), jnp.integer)


def softmax_cross_entropy_with_integer_labels(
    logits: Float[Array, "..."],
    labels: Int[Array, "..."],
    axis: Axes = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """ℓ = log Σ_i e^{z_i} − z_y, which is −log softmax(z)_y, in nats, for labels 0..K−1.

    `axis` and `where` as for `softmax_cross_entropy`. Along several axes a label counts through
    them in the order given. A label that `where` leaves out keeps its z_y, though not in the sum.
    A label out of range gives NaN, as it cannot be refused under jit. Raises InputError unless
    `labels` has the shape of `logits` without its classes.
    """
    require_floating("logits", logits)
    axes = _axes(axis, np.ndim(logits))
    z = _rows(jnp.asarray(logits), axes)
    require_class_labels(labels, z)
    if not _is_index(labels):
        raise InputError("labels", "integers", describe(labels), "or use softmax_cross_entropy")
    y = as_index(labels)
    if where is None:
        return _categorical(z, y)
    taken = _taken(where, logits, axes)
    keep = _at(taken, y) | (y < 0) | (y >= z.shape[-1])
    known = jnp.where(keep, y, jnp.argmax(taken, axis=-1).astype(y.dtype))
    losses = _categorical(_without(z, taken), known)
    beside = jnp.where(known == y, 0, _at(z, known) - _at(z, y))  # log Σ − z_known + z_known − z_y
    return jnp.where(jnp.any(taken, axis=-1), losses + beside, 0)


# --- axes and masks -------------------------------------------------------------------------------


def _axes(axis: Axes, ndim: int) -> tuple[int, ...]:
    """The axes of the classes, counted from 0, in the order given."""
    given = tuple(range(ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not all(is_whole(one) and -ndim <= one < ndim for one in given):
        raise InputError("axis", f"axes of {ndim} dimensions", repr(axis), "pass -1")
    axes = tuple(int(one) % ndim for one in given)
    if len({*axes}) < len(axes):
        raise InputError("axis", "each axis once", repr(axis), "leave out what stands twice")
    return axes


def _rows(array: Array, axes: tuple[int, ...]) -> Array:
    """(..., K): the axes of the classes moved to the end, as one."""
    batch = [axis for axis in range(array.ndim) if axis not in axes]
    shape = [array.shape[axis] for axis in batch]
    classes = math.prod(array.shape[axis] for axis in axes)
    return array.transpose((*batch, *axes)).reshape((*shape, classes))


def _taken(where: Array, logits: Array, axes: tuple[int, ...]) -> Array:
    """The mask as rows, one entry for each logit."""
    if not jnp.issubdtype(dtype_of("where", where), jnp.bool_):
        raise InputError("where", "booleans", describe(where), "compare: where=mask != 0")
    try:
        full = where if np.ndim(where) == np.ndim(logits) else jnp.expand_dims(where, axes)
        return _rows(jnp.broadcast_to(full, shape_of(logits)), axes)
    except ValueError:
        raise InputError(
            "where", f"a shape that broadcasts to {shape_of(logits)}", describe(where),
            "pass one boolean for each logit, or for each example",
        ) from None  # fmt: skip


def _without(z: Array, taken: Array) -> Array:
    """Logits of −∞ where they are not taken; a row without any keeps finite ones."""
    return jnp.where(taken, z, jnp.where(jnp.any(taken, axis=-1, keepdims=True), -jnp.inf, 0))


def _at(rows: Array, y: Array) -> Array:
    """The entry of each row at its label; of the nearest if there is no such."""
    return jnp.take_along_axis(rows, y[..., None], axis=-1, mode="clip")[..., 0]


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
    def scaled(gradient: Array) -> Array:
        return (cotangent * gradient.astype(cotangent.dtype)).astype(gradient.dtype)

    return *map(scaled, gradients), None


_linear.defvjp(_linear_forward, _linear_backward)
