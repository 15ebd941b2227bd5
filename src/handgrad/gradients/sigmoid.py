"""Step, sigmoid, softplus and log-sigmoid, each beside its derivative. All are elementwise.

σ(z) = 1/(1+e⁻ᶻ) turns a score into a probability; softplus is its integral, −log σ(−z). The
textbook derivative σ(1−σ) loses every digit once σ rounds to 1 (z = 17 in float32, 37 in
float64). Since 1 − σ(z) = σ(−z), the same derivative is σ(z) σ(−z), which cancels nowhere.

Source: "Neural networks", sections on the sigmoid function and on minimizing the error function.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handgrad._checks import require_floating


def step(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 where z ≥ 0, else 0: the discrete prediction. A kink (a jump) at z = 0."""
    require_floating("z", z)
    return jnp.where(z >= 0, jnp.ones_like(z), jnp.zeros_like(z))


def step_derivative(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """0 everywhere but at the jump z = 0, where no derivative exists; 0 is returned there too."""
    require_floating("z", z)
    return jnp.zeros_like(z)


def sigmoid(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """σ(z) = 1/(1+e⁻ᶻ), in (0, 1); σ(0) = ½.

    >>> float(sigmoid(jnp.array(0.0)))
    0.5
    """
    require_floating("z", z)
    return lax.logistic(z)


def sigmoid_derivative(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """σ′(z) = σ(z) σ(−z): accurate wherever the result is a normal number.

    >>> float(sigmoid_derivative(jnp.array(17.0)))
    4.139937...e-08
    """
    require_floating("z", z)
    return sigmoid(z) * sigmoid(-z)


def sigmoid_derivative_textbook(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """σ′(z) = σ(z)(1 − σ(z)): right as algebra; 0 in float32 from z = 17 on.

    >>> float(sigmoid_derivative_textbook(jnp.array(17.0)))
    0.0
    """
    s = sigmoid(z)
    return s * (1 - s)


def softplus(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + eᶻ) = max(z, 0) + log1p(e^−|z|): no overflow, no lost digits."""
    require_floating("z", z)
    return jnp.logaddexp(z, jnp.zeros_like(z))


def softplus_derivative(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """d/dz log(1 + eᶻ) = σ(z)."""
    return sigmoid(z)


def log_sigmoid(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log σ(z) = −log(1 + e⁻ᶻ) = −softplus(−z); log(1 − σ(z)) is log_sigmoid(−z)."""
    require_floating("z", z)
    return -softplus(-z)


def log_sigmoid_derivative(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """d/dz log σ(z) = 1 − σ(z) = σ(−z)."""
    require_floating("z", z)
    return sigmoid(-z)
