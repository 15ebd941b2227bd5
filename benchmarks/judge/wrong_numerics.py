"""Right as algebra, wrong in floating point: formulas, and the points where it shows.

And the kinks: values of a derivative where there is none, within its bounds and outside them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from handgrad._types import Array
from handgrad.gradients.sigmoid import sigmoid


def at(*values: float | list) -> Callable:
    """An example that is always this point."""
    return lambda key: tuple(jnp.asarray(v, jnp.zeros(()).dtype) for v in values)


def sigmoid_by_exp(z: Array) -> Array:
    """e⁻ᶻ/(1 + e⁻ᶻ)²."""
    return jnp.exp(-z) / jnp.square(1 + jnp.exp(-z))


def residual_from_probability(z: Array, y: Array) -> Array:
    """(−y/p + (1 − y)/(1 − p)) p(1 − p), p having rounded to 1."""
    p = sigmoid(z)
    return (-y / p + (1 - y) / (1 - p)) * p * (1 - p)


def two_class_residual(z: Array) -> Array:
    """p − 1 at class 0, p at class 1."""
    e = jnp.exp(z - jnp.max(z))
    return e / jnp.sum(e) - jnp.array([1, 0], z.dtype)


def two_class_loss(z: Array) -> Array:
    """Softmax cross-entropy of [z₀, z₁] at class 0, as softplus(z₁ − z₀)."""
    return jnp.logaddexp(jnp.zeros((), z.dtype), z[1] - z[0])


def softplus_by_exp(z: Array) -> Array:
    """eᶻ/(1 + eᶻ)."""
    return jnp.exp(z) / (1 + jnp.exp(z))


def log_sigmoid_by_difference(z: Array) -> Array:
    """1 − σ(z)."""
    return 1 - sigmoid(z)


def tanh_by_square(z: Array) -> Array:
    """1 − tanh²."""
    return 1 - jnp.square(jnp.tanh(z))


def tanh_by_exp(z: Array) -> Array:
    """1 − ((eᶻ − e⁻ᶻ)/(eᶻ + e⁻ᶻ))²."""
    return 1 - jnp.square((jnp.exp(z) - jnp.exp(-z)) / (jnp.exp(z) + jnp.exp(-z)))


def softmax_by_exp(z: Array) -> Array:
    """e^z/Σ e^z without subtracting the maximum."""
    return jnp.exp(z) / jnp.sum(jnp.exp(z))


def logsumexp(z: Array) -> Array:
    """log Σ e^z."""
    return jax.nn.logsumexp(z)


def product(p: Array) -> Array:
    """Π p."""
    return jnp.prod(p)


def product_by_division(p: Array) -> Array:
    """Π p / p_i, at a p_i of 0."""
    return jnp.prod(p) / p


def log_variance(x: Array) -> Array:
    """½ log of the variance."""
    return 0.5 * jnp.log(jnp.mean(jnp.square(x - jnp.mean(x))))


def log_variance_by_moments(x: Array) -> Array:
    """(x − m)/(N v) with v = mean(x²) − m²."""
    m = jnp.mean(x)
    return (x - m) / (x.shape[0] * (jnp.mean(x * x) - m * m))


def norm(x: Array) -> Array:
    """‖x‖."""
    return jnp.sqrt(jnp.sum(x * x))


def norm_unscaled(x: Array) -> Array:
    """x/‖x‖, the squares underflowing."""
    return x / jnp.sqrt(jnp.sum(x * x))


def masked_square_log(x: Array) -> Array:
    """Σ x² log x, and 0 where x is 0."""
    return jnp.sum(jnp.where(x > 0, x * x * jnp.log(jnp.where(x > 0, x, 1.0)), 0.0))


def masked_by_product(x: Array) -> Array:
    """A mask of 0 times a logarithm of 0."""
    return jnp.where(x > 0, 1.0, 0.0) * (2 * x * jnp.log(x) + x)


def sided(left: float, at_kink: float, right: float) -> Callable:
    """A derivative that is constant on both sides of 0, with a convention at 0 itself."""

    def derivative(z: Array) -> Array:
        beside = jnp.where(z > 0, right, left)
        return jnp.where(z == 0, at_kink, beside).astype(z.dtype)

    return derivative


def hinge_at_margin(value: float) -> Callable:
    """−t below the margin t z = 1, 0 above it, and t times a convention on it."""

    def derivative(z: Array, t: Array) -> Array:
        return jnp.where(t * z == 1, value * t, jnp.where(t * z < 1, -t, 0.0))

    return derivative


def perceptron_at_line(value: float) -> Callable:
    """−t for mistakes, 0 for the rest, and t times a convention on the line."""

    def derivative(z: Array, t: Array) -> Array:
        return jnp.where(z == 0, value * t, jnp.where(t * z < 0, -t, 0.0))

    return derivative


def maximum(z: Array) -> Array:
    """max(z, 0), whose autodiff at 0 is ½."""
    return jnp.maximum(z, 0.0)


def perceptron(z: Array, t: Array) -> Array:
    """Σ max(0, −t z)."""
    return jnp.sum(jnp.maximum(-t * z, 0.0))


def probability_clipped(z: Array, y: Array) -> Array:
    """The residual of a loss whose probability is clipped at 1e-7, where nothing flows."""
    p = sigmoid(z)
    return jnp.where((p > 1e-7) & (p < 1 - 1e-7), (1 - y) * sigmoid(z) - y * sigmoid(-z), 0.0)


def log_clamped(z: Array, y: Array) -> Array:
    """The residual of a loss whose logarithms are clamped at −100."""
    return jnp.where(jnp.abs(z) < 100, (1 - y) * sigmoid(z) - y * sigmoid(-z), 0.0)
