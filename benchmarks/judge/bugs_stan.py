"""Derivatives of Stan that were reported wrong, their formulas written anew."""

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, erfc, xlogy

from benchmarks.judge.reports import Bug
from handgrad._types import Array

LARGE = 1e10 + 1


def no_events(alpha: Array, beta: Array) -> Array:
    """log NegBinomial(0 | α, β) = α log(β/(1 + β))."""
    return alpha * jnp.log(beta / (1 + beta))


def no_events_as_poisson(alpha: Array, beta: Array) -> tuple[Array, Array]:
    """The derivatives of −α/β, to which the density tends, and its slopes do not."""
    return -1 / beta, alpha / beta**2


def log_normal_cdf(y: Array) -> Array:
    """log Φ(y)."""
    return jnp.log(erfc(-y / np.sqrt(2.0)) / 2)


def log_normal_cdf_by_erf(y: Array) -> Array:
    """√(2/π) e^(−y²/2)/(1 + erf(y/√2)), whose denominator is 0."""
    return np.sqrt(2 / np.pi) * jnp.exp(-y * y / 2) / (1 + erf(y / np.sqrt(2.0)))


def twice(x: Array) -> Array:
    """log(eˣ + eˣ)."""
    return jnp.logaddexp(x, x)


def twice_by_output(x: Array) -> Array:
    """e^(x − f) + e^(x − f), where log 2 is lost in f."""
    return 2 * jnp.exp(x - jnp.logaddexp(x, x))


def bernoulli(beta: Array, x: Array) -> Array:
    """log σ(xβ) at y = 1."""
    return -jnp.logaddexp(0.0, -x * beta)


def bernoulli_beyond_cutoff(beta: Array, x: Array) -> Array:
    """−e^(−θ) x beyond θ = 20, whatever the label is."""
    theta = x * beta
    e = jnp.exp(-theta)
    return x * jnp.where(theta > 20, -e, e / (1 + e))


def poisson_at_nothing(rate: Array) -> Array:
    """log Poisson(0 | λ) = 0 log λ − λ."""
    return xlogy(0.0, rate) - rate


# fmt: off
STAN = (
    Bug("stan-dev/math#1578", "neg_binomial_lpmf(0)", no_events, (LARGE, 0.8), no_events_as_poisson, "float64", (0, 1)),
    Bug("stan-dev/stan#1357", "normal_cdf_log", log_normal_cdf, (-37.6,), log_normal_cdf_by_erf),
    Bug("stan-dev/math#1679", "log_sum_exp(x, x)", twice, (1e50,), twice_by_output),
    Bug("stan-dev/math#3369", "bernoulli_logit_glm_lpmf", bernoulli, (25.0, 1.0), bernoulli_beyond_cutoff),
    Bug("stan-dev/math#3031", "pow(x, ½)", lambda x: x**0.5, (0.0,), jnp.zeros_like),
    Bug("stan-dev/math#2494", "poisson_lpmf(0)", poisson_at_nothing, (0.0,), lambda rate: 0 / rate - 1),
)
# fmt: on
