"""Bernoulli trials: the probability of a label, of many labels, its logarithm, and gradients in p.

One trial with success probability p and outcome y in {0, 1} has probability p^y (1−p)^(1−y).
Independent trials multiply; the logarithm turns the product into a sum (product rule) and the
exponents into factors (power rule); the minus sign turns ascent into descent; 1/N changes no
optimum. What comes out is binary cross-entropy: see `cross_entropy.binary_from_probabilities`.

An outcome that did not happen carries the exponent 0, so its factor is 1 and its logarithm 0,
whatever p is: here 0⁰ = 1 and 0·log 0 = 0.

Source: "How did binary cross-entropy loss come into existence?", sections on one and on many
Bernoulli trials; "Neural networks", sections on maximum likelihood and cross entropy.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from handgrad._checks import (
    require_examples,
    require_floating,
    require_rank,
    require_real,
    require_same_shape,
)
from handgrad._types import Scalar
from handgrad.gradients.exclusive import exclusive_product


def _trial(p: Array, y: Array) -> tuple[Array, Array]:
    """p, and NaN where it is no probability; y in the dtype of p."""
    require_floating("p", p)
    require_real("y", y)
    require_same_shape("y", y, "p", p)
    p = jnp.asarray(p)
    return jnp.where((p >= 0) & (p <= 1), p, jnp.nan), jnp.asarray(y, p.dtype)


def _check_many(p: Array) -> None:
    require_rank("p", p, 1, "(N,)")
    require_examples("p", p)


def _present(y: Array, value: Array) -> Array:
    """y · value, and 0 where y = 0, even if value is infinite: 0·log 0 = 0."""
    return jnp.where(y == 0, 0.0, y * jnp.where(y == 0, 1.0, value))


def trial(p: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """P(y) = p^y (1−p)^(1−y), elementwise, for p and y in [0, 1].

    What is no probability gives NaN. Raises InputError if the shapes differ.

    >>> [f"{p:.2f}" for p in trial(jnp.array([0.8, 0.8]), jnp.array([1.0, 0.0]))]
    ['0.80', '0.20']
    """
    p, y = _trial(p, y)
    return jnp.power(p, y) * jnp.power(1 - p, 1 - y)


def trial_gradient(p: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """dP/dp = y p^(y−1) (1−p)^(1−y) − (1−y) p^y (1−p)^(−y), elementwise.

    For hard labels this is +1 at y = 1 and −1 at y = 0: the trial is linear in p.
    """
    p, y = _trial(p, y)
    success = _present(y, jnp.power(p, y - 1) * jnp.power(1 - p, 1 - y))
    failure = _present(1 - y, jnp.power(p, y) * jnp.power(1 - p, -y))
    return success - failure


def likelihood(p: Float[Array, " N"], y: Float[Array, " N"]) -> Scalar:
    """L = Π_n p_n^{y_n} (1−p_n)^{1−y_n}: the probability of all N independent events.

    The product underflows: 1,075 fair coins are 2⁻¹⁰⁷⁵ = 0 in float64, 150 are 0 in float32.
    `log_likelihood` does not.

    >>> blue = jnp.array([0.9, 0.6, 0.3, 0.2])
    >>> f"{likelihood(blue, jnp.array([0.0, 1.0, 0.0, 1.0])):.4f}"
    '0.0084'
    """
    _check_many(p)
    return jnp.prod(trial(p, y))


def likelihood_gradient(p: Float[Array, " N"], y: Float[Array, " N"]) -> Float[Array, " N"]:
    """∂L/∂p_n = P′(y_n) Π_{m≠n} P(y_m): the product of the others, not L divided by P(y_n)."""
    _check_many(p)
    return trial_gradient(p, y) * exclusive_product(trial(p, y))


def log_trial(p: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log P(y) = y log p + (1−y) log(1−p), elementwise, in nats (≤ 0; −∞ if the impossible came).

    log(1−p) is computed as log1p(−p), which keeps its digits for small p.
    """
    p, y = _trial(p, y)
    success = jnp.where((y == 0) & (p < jnp.finfo(p.dtype).tiny), 1.0, p)
    failure = jnp.where((y == 1) & (p == 1), 0.0, p)
    return y * jnp.log(success) + (1 - y) * jnp.log1p(-failure)


def log_trial_gradient(
    p: Float[Array, "*shape"], y: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """d log P/dp = y/p − (1−y)/(1−p), elementwise; zero at p = y.

    For soft labels the two terms cancel near p = y; there the problem itself is ill-conditioned.
    """
    p, y = _trial(p, y)
    return _present(y, 1 / p) - _present(1 - y, 1 / (1 - p))


def log_likelihood(p: Float[Array, " N"], y: Float[Array, " N"]) -> Scalar:
    """log L = Σ_n [y_n log p_n + (1−y_n) log(1−p_n)], in nats: to be climbed."""
    _check_many(p)
    return jnp.sum(log_trial(p, y))


def log_likelihood_gradient(p: Float[Array, " N"], y: Float[Array, " N"]) -> Float[Array, " N"]:
    """∂ log L/∂p_n = y_n/p_n − (1−y_n)/(1−p_n)."""
    _check_many(p)
    return log_trial_gradient(p, y)


def negative_log_likelihood(p: Float[Array, " N"], y: Float[Array, " N"]) -> Scalar:
    """−log L, in nats: to be descended. exp(−negative_log_likelihood) = likelihood.

    Divided by N it is binary cross-entropy, with the same minimum.

    >>> doors, gifts = jnp.array([0.8, 0.7, 0.1]), jnp.array([1.0, 1.0, 0.0])
    >>> round(float(negative_log_likelihood(doors, gifts)), 2)
    0.69
    """
    return -log_likelihood(p, y)


def negative_log_likelihood_gradient(
    p: Float[Array, " N"], y: Float[Array, " N"]
) -> Float[Array, " N"]:
    """∂(−log L)/∂p_n = −y_n/p_n + (1−y_n)/(1−p_n): descent here is ascent on `log_likelihood`."""
    return -log_likelihood_gradient(p, y)
