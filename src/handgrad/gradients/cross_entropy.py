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
from jaxtyping import Array, Float

from handgrad._checks import (
    as_index,
    require_binary_labels,
    require_class_labels,
    require_floating,
    require_probabilities,
    require_rows,
)
from handgrad._precision import wider
from handgrad._types import BinaryLabels, ClassLabels, Elementwise, Rows
from handgrad.gradients import bernoulli
from handgrad.gradients.bernoulli import leave_one_out_sum, xlogy, xlogy_derivative
from handgrad.gradients.sigmoid import sigmoid
from handgrad.gradients.softmax import log_softmax, softmax

# --- binary -------------------------------------------------------------------------------------


def _binary_labels(logits: Array, y: Array) -> Array:
    """The labels in the dtype of the logits, one for each."""
    require_floating("logits", logits)
    require_binary_labels(y, logits)
    return jnp.asarray(y, jnp.result_type(logits))


def _sides(z: Array) -> tuple[Array, Array]:
    """z ≥ 0, and −|z|, whose exponential never overflows; at 0 it has the slope of one side."""
    right = z >= 0
    return right, jnp.where(right, -z, z)


def binary(logits: Elementwise, y: BinaryLabels) -> Elementwise:
    """ℓ = −y log σ(z) − (1−y) log σ(−z), in nats, per example.

    With e = e^−|z| that is log(1 + e) + (1−y) |z| where z ≥ 0, and log(1 + e) + y |z| elsewhere:
    two terms of one sign, so nothing cancels; at an infinite logit 0·|z| is 0.

    `y` has the shape of `logits`, with values in [0, 1]. Raises InputError if the shapes differ.

    >>> binary(jnp.array([0.0, 17.0]), jnp.array([1.0, 1.0])).tolist()
    [0.693147..., 4.1399...e-08]
    """
    y, right, below = _binary_labels(logits, y), *_sides(logits)
    missed = jnp.where(right, 1 - y, y)
    return jnp.log1p(jnp.exp(below)) - xlogy(missed, below, log=jnp.positive, pole=-jnp.inf)


def binary_residual(logits: Elementwise, y: BinaryLabels) -> Elementwise:
    """∂ℓ/∂z = (1−y) σ(z) − y σ(−z), which is ŷ − y without its cancellation.

    σ(z) and σ(−z) are 1/(1 + e) and e/(1 + e) where z ≥ 0, e = e^−|z|, and change places elsewhere.

    >>> binary_residual(jnp.array([17.0]), jnp.array([1.0])).tolist()
    [-4.1399...e-08]
    """
    y, right, below = _binary_labels(logits, y), *_sides(logits)
    e = jnp.exp(below)
    return jnp.where(right, (1 - y) - y * e, (1 - y) * e - y) / (1 + e)


def binary_residual_textbook(logits: Elementwise, y: BinaryLabels) -> Elementwise:
    """∂ℓ/∂z = ŷ − y with ŷ = σ(z): right as algebra; 0 in float32 from z = 17 on if y = 1.

    >>> binary_residual_textbook(jnp.array([17.0]), jnp.array([1.0])).tolist()
    [0.0]
    """
    y = _binary_labels(logits, y)
    return sigmoid(logits) - y


def binary_label_derivative(logits: Elementwise, y: BinaryLabels) -> Elementwise:
    """∂ℓ/∂y = log σ(−z) − log σ(z) = −z."""
    _binary_labels(logits, y)
    return -logits


def binary_from_probabilities(p: Elementwise, y: Elementwise) -> Elementwise:
    """ℓ = −y log p − (1−y) log(1−p), in nats, per example: the textbook form.

    Where p comes from a sigmoid, p has already rounded to 0 or 1 for confident logits; `binary`
    does not have that problem. An event of probability 0 that happened costs +∞, as it should.
    """
    return -bernoulli.log_trial(p, y)


def binary_from_probabilities_gradient(p: Elementwise, y: Elementwise) -> Elementwise:
    """∂ℓ/∂p = −y/p + (1−y)/(1−p)."""
    return -bernoulli.log_trial_gradient(p, y)


# --- categorical --------------------------------------------------------------------------------


def _one_hot(logits: Array, y: Array) -> tuple[Array, Array]:
    """Logits and labels, (..., K), in float32 at least, for sums over classes.

    An index out of range gives a row of NaN, never a guess.
    """
    require_rows("logits", logits)
    require_class_labels(y, logits)
    dtype = wider(jnp.result_type(logits), jnp.float32)
    z = jnp.asarray(logits, dtype)
    if not jnp.issubdtype(jnp.result_type(y), jnp.integer):
        return z, jnp.asarray(y, dtype)
    y = as_index(y)[..., None]
    one_hot = y == lax.broadcasted_iota(y.dtype, z.shape, z.ndim - 1)
    in_range = (y >= 0) & (y < z.shape[-1])
    return z, jnp.where(in_range, jnp.asarray(one_hot, dtype), jnp.nan)


def categorical(logits: Rows, y: ClassLabels) -> Float[Array, "*batch"]:
    """ℓ = −Σ_i y_i log softmax(z)_i, in nats, per example.

    `y` is (...,) integers 0..K−1 or (..., K) probabilities. An index out of range gives NaN.

    >>> categorical(jnp.array([[17.0, 0.0]]), jnp.array([0])).tolist()
    [4.1399...e-08]
    """
    z, one_hot = _one_hot(logits, y)
    log_terms = xlogy(one_hot, log_softmax(z), log=jnp.positive, pole=-jnp.inf)
    return -jnp.sum(log_terms, axis=-1).astype(jnp.result_type(logits))


def categorical_residual(logits: Rows, y: ClassLabels) -> Rows:
    """∂ℓ/∂z_i = p_i Σ_{j≠i} y_j − y_i Σ_{j≠i} p_j, which is p − y without its cancellation.

    With one label in a row the sum over the other p_j is −∂ℓ/∂z at the label, and p elsewhere.

    >>> categorical_residual(jnp.array([[17.0, 0.0]]), jnp.array([0])).tolist()
    [[-4.1399...e-08, 4.1399...e-08]]
    """
    z, one_hot = _one_hot(logits, y)
    p = softmax(z)
    if jnp.ndim(y) < z.ndim:
        others = jnp.where(one_hot == 1, 0.0, p)
        at_label = -jnp.sum(others, axis=-1, keepdims=True)
        residual = jnp.where(one_hot == 1, at_label, p + 0 * one_hot)
    else:
        residual = p * leave_one_out_sum(one_hot) - one_hot * leave_one_out_sum(p)
    return residual.astype(jnp.result_type(logits))


def categorical_residual_textbook(logits: Rows, y: ClassLabels) -> Rows:
    """∂ℓ/∂z = p Σ_j y_j − y, which is p − y for labels that sum to 1."""
    z, one_hot = _one_hot(logits, y)
    residual = softmax(z) * jnp.sum(one_hot, axis=-1, keepdims=True) - one_hot
    return residual.astype(jnp.result_type(logits))


def categorical_label_derivative(logits: Rows, y: Rows) -> Rows:
    """∂ℓ/∂y_i = −log softmax(z)_i, for labels given as probabilities."""
    z, _ = _one_hot(logits, y)
    return -log_softmax(z).astype(jnp.result_type(logits))


def _probabilities(p: Array, y: Array) -> tuple[Array, Array]:
    """p and the labels in its dtype, (..., K)."""
    require_probabilities(p, y)
    require_rows("p", p)
    p = jnp.asarray(p)
    return p, jnp.asarray(y, p.dtype)


def categorical_from_probabilities(p: Rows, y: Rows) -> Float[Array, "*batch"]:
    """ℓ = −Σ_i y_i log p_i, in nats, per example: the textbook form, for one-hot or soft labels."""
    p, y = _probabilities(p, y)
    return -jnp.sum(xlogy(y, p), axis=-1)


def categorical_from_probabilities_gradient(p: Rows, y: Rows) -> Rows:
    """∂ℓ/∂p_i = −y_i / p_i, and 0 where y_i = 0."""
    p, y = _probabilities(p, y)
    return -xlogy_derivative(y, p)
