"""Cross-entropy, binary and categorical: from logits (stable), and from probabilities (textbook).

Each value is per example, in nats, beside its derivative in the logits (the *residual*) or in the
probabilities. The residual is ŷ − y, and everything in this package is that number times something.

Losses take logits because the logarithm undoes the exponential of the link: −log σ(z) is
softplus(−z), which neither overflows nor takes log 0. The residual ŷ − y itself cancels as ŷ comes
near y: at logit 17 and y = 1 float32 has σ = 1 and a residual of 0, where the truth is −4.1e-8. So
the reference form splits it by label, as (1−y) σ(z) − y σ(−z), and for softmax as
p_i Σ_{j≠i} y_j − y_i Σ_{j≠i} p_j: for hard labels one of the two terms is 0 and no digit is lost.

Source: "Neural networks", sections on cross entropy and multi-class cross entropy, and on
minimizing the error function; "How did binary cross-entropy loss come into existence?".
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from handgrad._checks import (
    as_index,
    dtype_of,
    require_binary_labels,
    require_class_labels,
    require_floating,
    require_real,
    require_same_shape,
    shape_of,
)
from handgrad.errors import InputError
from handgrad.gradients import bernoulli
from handgrad.gradients.exclusive import exclusive_sum
from handgrad.gradients.sigmoid import sigmoid, softplus
from handgrad.gradients.softmax import log_softmax, softmax

BinaryLabels = Float[Array, "*shape"] | Int[Array, "*shape"] | Bool[Array, "*shape"]
ClassLabels = Int[Array, "*batch"] | Float[Array, "*batch K"]


def _binary_labels(logits: Array, y: Array) -> Array:
    require_floating("logits", logits)
    require_binary_labels(y, logits)
    return jnp.asarray(y, jnp.result_type(logits))


def _class_probabilities(logits: Array, y: Array) -> Array:
    """Labels as probabilities (..., K); an index out of range gives a row of NaN, never a guess."""
    require_floating("logits", logits)
    require_class_labels(y, logits)
    if not jnp.issubdtype(jnp.result_type(y), jnp.integer):
        return jnp.asarray(y, jnp.result_type(logits))
    y, axis = as_index(y)[..., None], jnp.ndim(logits) - 1
    one_hot = y == lax.broadcasted_iota(y.dtype, jnp.shape(logits), axis)
    in_range = (y >= 0) & (y < jnp.shape(logits)[axis])
    return jnp.where(in_range, jnp.asarray(one_hot, jnp.result_type(logits)), jnp.nan)


def _probabilities(p: Array, y: Array) -> tuple[Array, Array]:
    require_floating("p", p)
    require_real("y", y)
    require_same_shape("y", y, "p", p)
    if not shape_of(p):
        raise InputError("p", "shape (..., K)", "shape ()", "pass one number for each class")
    p = jnp.asarray(p)
    return p, jnp.asarray(y, p.dtype)


def _weighted(y: Array, value: Array) -> Array:
    """y · value, and 0 where y = 0 even if value is −∞: what did not happen has no say.

    Where value is finite the product stays a product: it has a derivative in y at y = 0 too.
    """
    lost = (y == 0) & (value < jnp.finfo(value.dtype).min)
    return y * jnp.where(lost, 0.0, value)


# --- binary -------------------------------------------------------------------------------------


def binary(logits: Float[Array, "*shape"], y: BinaryLabels) -> Float[Array, "*shape"]:
    """ℓ = −y log σ(z) − (1−y) log σ(−z) = y softplus(−z) + (1−y) softplus(z), in nats, per example.

    `y` has the shape of `logits`, with values in [0, 1]. Raises InputError if the shapes differ.

    >>> binary(jnp.array([0.0, 17.0]), jnp.array([1.0, 1.0])).tolist()
    [0.693147..., 4.1399...e-08]
    """
    y = _binary_labels(logits, y)
    return y * softplus(-logits) + (1 - y) * softplus(logits)


def binary_residual(logits: Float[Array, "*shape"], y: BinaryLabels) -> Float[Array, "*shape"]:
    """∂ℓ/∂z = (1−y) σ(z) − y σ(−z), which is ŷ − y without its cancellation.

    >>> binary_residual(jnp.array([17.0]), jnp.array([1.0])).tolist()
    [-4.1399...e-08]
    """
    y = _binary_labels(logits, y)
    return (1 - y) * sigmoid(logits) - y * sigmoid(-logits)


def binary_with_residual(
    logits: Float[Array, "*shape"], y: BinaryLabels
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """(ℓ, ∂ℓ/∂z) as `binary` and `binary_residual` have them, from one exponential, e = e^−|z|.

        ℓ = log(1 + e) + (1−y) z,   ∂ℓ/∂z = ((1−y) − y e) / (1 + e)      where z ≥ 0
        ℓ = log(1 + e) − y z,       ∂ℓ/∂z = ((1−y) e − y) / (1 + e)      elsewhere

    >>> loss, residual = binary_with_residual(jnp.array([0.0, 17.0]), jnp.array([1.0, 1.0]))
    >>> loss.tolist(), residual.tolist()
    ([0.693147..., 4.1399...e-08], [-0.5, -4.1399...e-08])
    """
    y = _binary_labels(logits, y)
    e, right = jnp.exp(-jnp.abs(logits)), logits >= 0
    loss = jnp.log1p(e) + jnp.where(right, 1 - y, -y) * logits
    residual = jnp.where(right, (1 - y) - y * e, (1 - y) * e - y) / (1 + e)
    return loss, residual


def binary_residual_textbook(
    logits: Float[Array, "*shape"], y: BinaryLabels
) -> Float[Array, "*shape"]:
    """∂ℓ/∂z = ŷ − y with ŷ = σ(z): right as algebra; 0 in float32 from z = 17 on if y = 1.

    >>> binary_residual_textbook(jnp.array([17.0]), jnp.array([1.0])).tolist()
    [0.0]
    """
    y = _binary_labels(logits, y)
    return sigmoid(logits) - y


def binary_label_derivative(
    logits: Float[Array, "*shape"], y: BinaryLabels
) -> Float[Array, "*shape"]:
    """∂ℓ/∂y = log σ(−z) − log σ(z) = −z."""
    _binary_labels(logits, y)
    return -logits


def binary_from_probabilities(
    p: Float[Array, "*shape"], y: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """ℓ = −y log p − (1−y) log(1−p), in nats, per example: the textbook form.

    Where p comes from a sigmoid, p has already rounded to 0 or 1 for confident logits; `binary`
    does not have that problem. An event of probability 0 that happened costs +∞, as it should.
    """
    return -bernoulli.log_trial(p, y)


def binary_from_probabilities_gradient(
    p: Float[Array, "*shape"], y: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """∂ℓ/∂p = −y/p + (1−y)/(1−p)."""
    return -bernoulli.log_trial_gradient(p, y)


# --- categorical --------------------------------------------------------------------------------


def categorical(logits: Float[Array, "*batch K"], y: ClassLabels) -> Float[Array, "*batch"]:
    """ℓ = −Σ_i y_i log softmax(z)_i, in nats, per example.

    `y` is (...,) integers 0..K−1 or (..., K) probabilities. An index out of range gives NaN.

    >>> categorical(jnp.array([[17.0, 0.0]]), jnp.array([0])).tolist()
    [4.1399...e-08]
    """
    y = _class_probabilities(logits, y)
    return -jnp.sum(_weighted(y, log_softmax(logits)), axis=-1)


def categorical_residual(
    logits: Float[Array, "*batch K"], y: ClassLabels
) -> Float[Array, "*batch K"]:
    """∂ℓ/∂z_i = p_i Σ_{j≠i} y_j − y_i Σ_{j≠i} p_j, which is p − y without its cancellation.

    >>> categorical_residual(jnp.array([[17.0, 0.0]]), jnp.array([0])).tolist()
    [[-4.1399...e-08, 4.1399...e-08]]
    """
    indexed = jnp.issubdtype(dtype_of("y", y), jnp.integer)
    y, p = _class_probabilities(logits, y), softmax(logits)
    if indexed:  # one label a row: −Σ_{j≠i} p_j at the label, p elsewhere, by one masked sum
        others = jnp.where(y == 1, 0.0, p)
        return jnp.where(y == 1, -jnp.sum(others, axis=-1, keepdims=True), p + 0 * y)
    return p * exclusive_sum(y) - y * exclusive_sum(p)


def categorical_residual_textbook(
    logits: Float[Array, "*batch K"], y: ClassLabels
) -> Float[Array, "*batch K"]:
    """∂ℓ/∂z = p Σ_j y_j − y, which is p − y for labels that sum to 1."""
    y, p = _class_probabilities(logits, y), softmax(logits)
    return p * jnp.sum(y, axis=-1, keepdims=True) - y


def categorical_label_derivative(
    logits: Float[Array, "*batch K"], y: Float[Array, "*batch K"]
) -> Float[Array, "*batch K"]:
    """∂ℓ/∂y_i = −log softmax(z)_i, for labels given as probabilities."""
    _class_probabilities(logits, y)
    return -log_softmax(logits)


def categorical_from_probabilities(
    p: Float[Array, "*batch K"], y: Float[Array, "*batch K"]
) -> Float[Array, "*batch"]:
    """ℓ = −Σ_i y_i log p_i, in nats, per example: the textbook form, for one-hot or soft labels."""
    p, y = _probabilities(p, y)
    impossible = (y == 0) & (p < jnp.finfo(p.dtype).tiny)
    return -jnp.sum(y * jnp.log(jnp.where(impossible, 1.0, p)), axis=-1)


def categorical_from_probabilities_gradient(
    p: Float[Array, "*batch K"], y: Float[Array, "*batch K"]
) -> Float[Array, "*batch K"]:
    """∂ℓ/∂p_i = −y_i / p_i, and 0 where y_i = 0."""
    p, y = _probabilities(p, y)
    return -y / jnp.where(y == 0, 1.0, p)
