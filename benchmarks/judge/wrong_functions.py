"""Wrong derivatives of single functions: activations, softmax and norms.

Each loss is a sum, so that its gradient is the derivative times a cotangent c. Each wrong gradient
says what is wrong with it; the rest is right.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax, random

from handgrad._types import Array, Key
from handgrad.gradients.sigmoid import sigmoid
from handgrad.gradients.softmax import log_softmax, softmax

SLOPE = 0.1


def scores(key: Key) -> tuple:
    """Eleven scores of both signs."""
    return (2 * random.normal(key, (11,)),)


def cotangent_and_scores(key: Key) -> tuple:
    """c and z, (4, 5)."""
    a, b = random.split(key)
    return random.normal(a, (4, 5)), 2 * random.normal(b, (4, 5))


# --- activations ----------------------------------------------------------------------------------


def summed(f: Callable) -> Callable:
    """Σ f(z)."""
    return lambda z: jnp.sum(f(z))


def sigmoid_formula_of_argument(z: Array) -> Array:
    """z(1 − z): the formula for σ(z), given z."""
    return z * (1 - z)


def sigmoid_slope_of_sigmoid(z: Array) -> Array:
    """σ′(σ(z)): the activation goes through the sigmoid again."""
    return sigmoid(sigmoid(z)) * (1 - sigmoid(sigmoid(z)))


def tanh_plus(z: Array) -> Array:
    """1 + tanh²: the sign of tan′."""
    return 1 + jnp.square(jnp.tanh(z))


def tanh_itself(z: Array) -> Array:
    """(e²ᶻ − 1)/(e²ᶻ + 1), which is tanh and not its derivative."""
    return (jnp.exp(2 * z) - 1) / (jnp.exp(2 * z) + 1)


def tanh_without_one(z: Array) -> Array:
    """−tanh²: the 1 is lost."""
    return -jnp.square(jnp.tanh(z))


def softplus_mirrored(z: Array) -> Array:
    """1 − σ(z) for σ(z)."""
    return sigmoid(-z)


def leaky_relu(z: Array) -> Array:
    """z, or a tenth of it below 0."""
    return jnp.where(z > 0, z, SLOPE * z)


def leaky_slope_forgotten(z: Array) -> Array:
    """relu′ for a leaky relu."""
    return jnp.where(z > 0, 1.0, 0.0)


def gelu(z: Array) -> Array:
    """z Φ(z)."""
    return z * (0.5 * (1 + lax.erf(z / jnp.sqrt(2.0).astype(z.dtype))))


def gelu_without_density(z: Array) -> Array:
    """Φ(z) without z φ(z)."""
    return 0.5 * (1 + lax.erf(z / jnp.sqrt(2.0).astype(z.dtype)))


def silu(z: Array) -> Array:
    """z σ(z)."""
    return z * sigmoid(z)


def silu_without_z(z: Array) -> Array:
    """σ + σ(1 − σ), where the second term needs a factor z."""
    return sigmoid(z) + sigmoid(z) * (1 - sigmoid(z))


# --- softmax and norms ----------------------------------------------------------------------------


def dotted(f: Callable) -> Callable:
    """⟨c, f(z)⟩."""
    return lambda c, z: jnp.sum(c * f(z))


def softmax_diagonal(c: Array, z: Array) -> Array:
    """Only the diagonal p(1 − p) of the Jacobian."""
    return c * softmax(z) * (1 - softmax(z))


def softmax_without_dot(c: Array, z: Array) -> Array:
    """p ∘ c without −p⟨p, c⟩."""
    return c * softmax(z)


def log_softmax_unsummed(c: Array, z: Array) -> Array:
    """c − p ∘ c in place of c − p Σc."""
    return c - softmax(z) * c


def row_logsumexp(z: Array) -> Array:
    """Σ over rows of log Σ e^z."""
    return jnp.sum(z[:, 0] - log_softmax(z)[:, 0])


def logsumexp_over_everything(z: Array) -> Array:
    """Normalised over all rows together."""
    return softmax(z.ravel()).reshape(z.shape)


def standardised(z: Array) -> Array:
    """(z − mean)/√(variance + ε) over the last axis."""
    centred = z - jnp.mean(z, axis=-1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + 1e-5)


def _scale(z: Array) -> Array:
    centred = z - jnp.mean(z, axis=-1, keepdims=True)
    return lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + 1e-5)


def norm_without_mean(c: Array, z: Array) -> Array:
    """The term of the mean is left out."""
    y = standardised(z)
    return _scale(z) * (c - y * jnp.mean(c * y, axis=-1, keepdims=True))


def norm_without_variance(c: Array, z: Array) -> Array:
    """The term of the variance is left out."""
    return _scale(z) * (c - jnp.mean(c, axis=-1, keepdims=True))


def norm_constant_statistics(c: Array, z: Array) -> Array:
    """Mean and variance taken for constants."""
    return _scale(z) * c


def unit_vectors(z: Array) -> Array:
    """z/‖z‖ by rows."""
    return z / jnp.sqrt(jnp.sum(jnp.square(z), axis=-1, keepdims=True))


def unit_without_projection(c: Array, z: Array) -> Array:
    """c/‖z‖: the norm taken for a constant."""
    return c / jnp.sqrt(jnp.sum(jnp.square(z), axis=-1, keepdims=True))
