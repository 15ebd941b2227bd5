"""Bernoulli trials: the probability of a label, of many labels, its logarithm, and gradients in p.

One trial with success probability p and outcome y in {0, 1} has probability p^y (1−p)^(1−y).
Independent trials multiply; the logarithm turns the product into a sum (product rule) and the
exponents into factors (power rule); the minus sign turns ascent into descent; 1/N changes no
optimum. What comes out is binary cross-entropy: see `cross_entropy.binary_from_probabilities`.

An outcome that did not happen has no say: its factor is p⁰ = 1 and its logarithm 0·log p = 0,
whatever p is, so 0⁰ = 1 and 0·log 0 = 0.

Source: "How did binary cross-entropy loss come into existence?", sections on one and on many
Bernoulli trials; "Neural networks", sections on maximum likelihood and cross entropy.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handgrad._checks import require_probabilities, require_rows, require_trials
from handgrad._types import Elementwise, Rows, Scalar

# --- logarithms, powers, sums and products that leave out what has no say ------------------------


def _possible(y: Array, x: Array, pole: float = 0.0) -> Array:
    """y, and 1 at its pole if x = 0: what could not happen and did not."""
    return jnp.where((x == 0) & (y <= pole), 1.0, y)


def xlogy(
    x: Elementwise,
    y: Elementwise,
    log: Callable[[Array], Array] = jnp.log,
    pole: float = 0.0,
) -> Elementwise:
    """x log y, with 0·log 0 = 0.

    `log` may be another logarithm that is −∞ at its `pole` and finite at 1: of 1 + y, of σ(y), or
    y itself. Elsewhere this is a product, which has a derivative in x at x = 0.

    >>> xlogy(jnp.array([0.0, 0.0, 2.0]), jnp.array([0.0, 1.0, 1.0])).tolist()
    [0.0, 0.0, 0.0]
    """
    return x * log(_possible(y, x, pole))


def xlogy_derivative(x: Elementwise, y: Elementwise) -> Elementwise:
    """∂/∂y x log y = x/y, with 0/0 = 0."""
    return x / _possible(y, x)


def power_derivative(y: Elementwise, x: Elementwise) -> Elementwise:
    """∂/∂y yˣ = x y^(x−1), with 0·0^(−1) = 0."""
    return x * jnp.power(_possible(y, x), x - 1)


def leave_one_out_sum(a: Rows) -> Rows:
    """Σ_{j≠i} a_j for each i along the last axis: Σ a − a_i would cancel where a_i dominates.

    >>> leave_one_out_sum(jnp.array([1.0, 2.0, 4.0])).tolist()
    [6.0, 5.0, 3.0]
    """
    before, after = _before_and_after(a, lax.cumsum, 0.0)
    return before + after


def leave_one_out_product(a: Rows) -> Rows:
    """Π_{j≠i} a_j for each i along the last axis: Π a / a_i would divide by 0.

    >>> leave_one_out_product(jnp.array([2.0, 0.0, 5.0])).tolist()
    [0.0, 10.0, 0.0]
    """
    before, after = _before_and_after(a, lax.cumprod, 1.0)
    return before * after


def _before_and_after(a: Array, running: Callable, neutral: float) -> tuple[Array, Array]:
    """What stands before and what stands after each element, accumulated by `running`."""
    require_rows("a", a)
    axis, empty = a.ndim - 1, jnp.full_like(a[..., :1], neutral)
    before = jnp.concatenate([empty, running(a[..., :-1], axis=axis)], axis=axis)
    after = jnp.concatenate([running(a[..., 1:], axis=axis, reverse=True), empty], axis=axis)
    return before, after


# --- one trial ----------------------------------------------------------------------------------


def _trial(p: Array, y: Array) -> tuple[Array, Array]:
    """p, and NaN where it is not a probability; y in the dtype of p."""
    require_probabilities(p, y)
    p = jnp.asarray(p)
    return jnp.where((p >= 0) & (p <= 1), p, jnp.nan), jnp.asarray(y, p.dtype)


def trial(p: Elementwise, y: Elementwise) -> Elementwise:
    """P(y) = p^y (1−p)^(1−y), elementwise, for p and y in [0, 1].

    NaN where p is not a probability. Raises InputError if the shapes differ.

    >>> [f"{p:.2f}" for p in trial(jnp.array([0.8, 0.8]), jnp.array([1.0, 0.0]))]
    ['0.80', '0.20']
    """
    p, y = _trial(p, y)
    return jnp.power(p, y) * jnp.power(1 - p, 1 - y)


def trial_gradient(p: Elementwise, y: Elementwise) -> Elementwise:
    """dP/dp = y p^(y−1) (1−p)^(1−y) − p^y (1−y) (1−p)^(−y), elementwise.

    For hard labels this is +1 at y = 1 and −1 at y = 0: the trial is linear in p.
    """
    p, y = _trial(p, y)
    success = power_derivative(p, y) * jnp.power(1 - p, 1 - y)
    failure = jnp.power(p, y) * power_derivative(1 - p, 1 - y)
    return success - failure


def log_trial(p: Elementwise, y: Elementwise) -> Elementwise:
    """log P(y) = y log p + (1−y) log(1−p), elementwise, in nats (≤ 0; −∞ if the impossible came).

    log(1−p) is computed as log1p(−p), which keeps its digits for small p.
    """
    p, y = _trial(p, y)
    return xlogy(y, p) + xlogy(1 - y, -p, jnp.log1p, pole=-1.0)


def log_trial_gradient(p: Elementwise, y: Elementwise) -> Elementwise:
    """d log P/dp = y/p − (1−y)/(1−p), elementwise; zero at p = y.

    For soft labels the two terms cancel near p = y; there the problem itself is ill-conditioned.
    """
    p, y = _trial(p, y)
    return xlogy_derivative(y, p) - xlogy_derivative(1 - y, 1 - p)


# --- many independent trials ----------------------------------------------------------------------


def likelihood(p: Float[Array, " N"], y: Float[Array, " N"]) -> Scalar:
    """L = Π_n p_n^{y_n} (1−p_n)^{1−y_n}: the probability of all N independent events.

    The product underflows: 1,075 fair coins are 2⁻¹⁰⁷⁵ = 0 in float64, 150 are 0 in float32.
    `log_likelihood` does not.

    >>> blue = jnp.array([0.9, 0.6, 0.3, 0.2])
    >>> f"{likelihood(blue, jnp.array([0.0, 1.0, 0.0, 1.0])):.4f}"
    '0.0084'
    """
    require_trials(p)
    return jnp.prod(trial(p, y))


def likelihood_gradient(p: Float[Array, " N"], y: Float[Array, " N"]) -> Float[Array, " N"]:
    """∂L/∂p_n = P′(y_n) Π_{m≠n} P(y_m): the product of the others, not L divided by P(y_n)."""
    require_trials(p)
    return trial_gradient(p, y) * leave_one_out_product(trial(p, y))


def log_likelihood(p: Float[Array, " N"], y: Float[Array, " N"]) -> Scalar:
    """log L = Σ_n [y_n log p_n + (1−y_n) log(1−p_n)], in nats: to be climbed."""
    require_trials(p)
    return jnp.sum(log_trial(p, y))


def log_likelihood_gradient(p: Float[Array, " N"], y: Float[Array, " N"]) -> Float[Array, " N"]:
    """∂ log L/∂p_n = y_n/p_n − (1−y_n)/(1−p_n)."""
    require_trials(p)
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
