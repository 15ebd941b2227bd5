"""Step, sigmoid, softplus, log-sigmoid, relu and tanh, each beside its derivative; all elementwise.

σ(z) = 1/(1+e⁻ᶻ) turns a score into a probability; softplus is its integral, −log σ(−z). The
textbook derivative σ(1−σ) loses every digit once σ rounds to 1 (z = 17 in float32, 37 in
float64). Since 1 − σ(z) = σ(−z), the same derivative is σ(z) σ(−z), which cancels nowhere.

Hidden layers use tanh z = 2σ(2z) − 1, and relu, whose derivative is a step as that of softplus is
a sigmoid.

Source: "Neural networks", sections on the sigmoid function, on minimizing the error function and
on non-linear regions.
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


def relu(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(z, 0). A kink at z = 0."""
    require_floating("z", z)
    return jnp.where(z > 0, z, jnp.zeros_like(z))


def relu_derivative(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 where z > 0, else 0; at the kink anything in [0, 1] is a subgradient, and 0 is taken."""
    require_floating("z", z)
    return jnp.where(z > 0, jnp.ones_like(z), jnp.zeros_like(z))


def tanh(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """tanh z = (eᶻ − e⁻ᶻ)/(eᶻ + e⁻ᶻ), in (−1, 1)."""
    require_floating("z", z)
    return jnp.tanh(z)


def tanh_derivative(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """tanh′(z) = 1 − tanh²z = sech²z = 4q/(1 + q(2 + q)) with q = e^−2|z|: no cancellation.

    Where q underflows, 4q may yet be a normal number; there it is (2e^−|z|)².
    """
    require_floating("z", z)
    minus_abs = jnp.where(z < 0, z, -z)  # jnp.abs has slope 0 at 0, which falsifies tanh‴(0) = −2
    q = jnp.exp(2 * minus_abs)  # and not the square of e^−|z|, which doubles the error of exp
    far = jnp.square(2 * jnp.exp(minus_abs))
    return jnp.where(q < jnp.finfo(q.dtype).tiny, far, 4 * q) / (1 + q * (2 + q))
