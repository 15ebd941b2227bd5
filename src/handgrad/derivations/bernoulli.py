r"""Bernoulli trials: one, its cost, many, and how binary cross-entropy comes of them.

A trial that succeeds with probability p has the probability p^y (1−p)^(1−y), for y = 1 and for
y = 0. Independent trials multiply. The logarithm makes a sum of the product, whose derivative has
one term for each trial and no factors from the others; the minus sign turns ascent into descent.
The mean over trials is binary cross-entropy. For soft labels the same formulas hold.
"""

from functools import partial

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.scalars import total
from handgrad.derivations.steps import (
    BINARY,
    Limit,
    definition,
    derive,
    drawn,
    in_terms_of,
    slope,
    uniform,
)
from handgrad.gradients import bernoulli, cross_entropy
from handgrad.gradients.sigmoid import sigmoid, softplus

_GIVEN = (
    "p is (N,), the probabilities of success, inside (0, 1); y is (N,), the outcomes, in [0, 1]. "
    "Every trial has its own p."
)
_example = drawn(uniform(3, low=0.1, high=0.9), uniform(3))
of_trials = partial(derive, given=_GIVEN, example=_example, source=BINARY)


def one(p: Array, y: Array) -> Array:
    """p^y (1−p)^(1−y)."""
    return jnp.power(p, y) * jnp.power(1 - p, 1 - y)


def log_one(p: Array, y: Array) -> Array:
    """y log p + (1−y) log(1−p)."""
    return y * jnp.log(p) + (1 - y) * jnp.log(1 - p)


def _half(p: Array, y: Array) -> Array:
    """y p^(y−1) (1−p)^(1−y)."""
    return y * jnp.power(p, y - 1) * jnp.power(1 - p, 1 - y)


TRIAL = of_trials(
    "bernoulli_trial",
    "One Bernoulli trial",
    r"\frac{\partial P}{\partial p}",
    definition(r"P(y; {})", "p", total(bernoulli.trial)),
    r"= \frac{\partial}{\partial p} \left[ p^{y} (1-p)^{1-y} \right]",
    "the probability of outcome y: p for y = 1, 1 − p for y = 0",
    lambda p, y: slope(lambda q: one(q, y), p),
    r"= \frac{\partial p^{y}}{\partial p} (1-p)^{1-y}"
    r" + p^{y} \frac{\partial (1-p)^{1-y}}{\partial p}",
    "product rule",
    lambda p, y: (
        slope(lambda q: jnp.power(q, y), p) * jnp.power(1 - p, 1 - y)
        + jnp.power(p, y) * slope(lambda q: jnp.power(1 - q, 1 - y), p)
    ),
    r"= y p^{y-1} (1-p)^{1-y} + p^{y} \frac{\partial (1-p)^{1-y}}{\partial p}",
    "power rule",
    lambda p, y: _half(p, y) + jnp.power(p, y) * slope(lambda q: jnp.power(1 - q, 1 - y), p),
    r"= y p^{y-1} (1-p)^{1-y}"
    r" + p^{y} (1-y) (1-p)^{-y} \frac{\partial (1-p)}{\partial p}",
    "power rule inside the chain rule",
    lambda p, y: (
        _half(p, y) + jnp.power(p, y) * (1 - y) * jnp.power(1 - p, -y) * slope(lambda q: 1 - q, p)
    ),
    r"= p^{y} (1-p)^{1-y} \left( \frac{y}{p} - \frac{1-y}{1-p} \right)",
    "the inner derivative is −1; the trial itself is a common factor",
    lambda p, y: one(p, y) * (y / p - (1 - y) / (1 - p)),
    r"= y p^{y-1} (1-p)^{1-y} - (1-y) p^{y} (1-p)^{-y}",
    "multiplied out: no quotient is left that could be 0/0",
    lambda p, y: _half(p, y) - (1 - y) * jnp.power(p, y) * jnp.power(1 - p, -y),
)


def _others(p: Array, y: Array) -> Array:
    """Π_{m≠n} p_m^y_m (1−p_m)^(1−y_m), for each n."""
    size = p.shape[0]
    table = jnp.broadcast_to(one(p, y), (size, size))
    return jnp.prod(jnp.where(jnp.eye(size, dtype=bool), 1.0, table), axis=1)


LIKELIHOOD = of_trials(
    "likelihood",
    "The likelihood of independent trials",
    r"\frac{\partial L}{\partial p_n}",
    definition(r"L(\ldots, {}, \ldots)", "p_n", bernoulli.likelihood),
    r"= \frac{\partial}{\partial p_n} \prod_m p_m^{y_m} (1-p_m)^{1-y_m}",
    "the probabilities of independent events multiply",
    lambda p, y: slope(lambda q: jnp.prod(one(q, y)), p),
    r"= \left[ \prod_{m \neq n} p_m^{y_m} (1-p_m)^{1-y_m} \right]"
    r" \frac{\partial}{\partial p_n} \left[ p_n^{y_n} (1-p_n)^{1-y_n} \right]",
    "the other factors do not contain p_n: they are constants",
    lambda p, y: _others(p, y) * slope(lambda q: one(q, y), p),
    r"= L \left( \frac{y_n}{p_n} - \frac{1-y_n}{1-p_n} \right)",
    "derivative of one trial: the trial times this bracket",
    lambda p, y: jnp.prod(one(p, y)) * (y / p - (1 - y) / (1 - p)),
    r"= \left[ \prod_{m \neq n} P_m \right]"
    r" \left( y_n p_n^{y_n-1} (1-p_n)^{1-y_n} - (1-y_n) p_n^{y_n} (1-p_n)^{-y_n} \right)",
    "without the division: the product of the others, times the trial's own derivative",
    lambda p, y: _others(p, y) * (_half(p, y) - (1 - y) * jnp.power(p, y) * jnp.power(1 - p, -y)),
)

LOG_LIKELIHOOD = of_trials(
    "log_likelihood",
    "The log-likelihood: a sum, to be climbed",
    r"\frac{\partial \log L}{\partial p_n}",
    definition(r"\log L(\ldots, {}, \ldots)", "p_n", bernoulli.log_likelihood),
    r"= \frac{\partial}{\partial p_n} \log \prod_m p_m^{y_m} (1-p_m)^{1-y_m}",
    "the probabilities of independent events multiply",
    lambda p, y: slope(lambda q: jnp.log(jnp.prod(one(q, y))), p),
    r"= \frac{\partial}{\partial p_n} \sum_m \log \left[ p_m^{y_m} (1-p_m)^{1-y_m} \right]",
    "log ab = log a + log b: the product becomes a sum",
    lambda p, y: slope(lambda q: jnp.sum(jnp.log(one(q, y))), p),
    r"= \frac{\partial}{\partial p_n} \log \left[ p_n^{y_n} (1-p_n)^{1-y_n} \right]",
    "the other terms do not contain p_n: their derivative is 0",
    lambda p, y: slope(lambda q: jnp.log(one(q, y)), p),
    r"= \frac{\partial}{\partial p_n} \left[ y_n \log p_n + (1-y_n) \log(1-p_n) \right]",
    "log ab = log a + log b, and log aᵏ = k log a",
    lambda p, y: slope(lambda q: log_one(q, y), p),
    r"= \frac{y_n}{p_n} + (1-y_n) \frac{\partial \log(1-p_n)}{\partial p_n}",
    "y is a constant; log′p = 1/p",
    lambda p, y: y / p + (1 - y) * slope(lambda q: jnp.log(1 - q), p),
    r"= \frac{y_n}{p_n} + \frac{1-y_n}{1-p_n} \cdot \frac{\partial (1-p_n)}{\partial p_n}",
    "chain rule",
    lambda p, y: y / p + (1 - y) / (1 - p) * slope(lambda q: 1 - q, p),
    r"= \frac{y_n}{p_n} - \frac{1-y_n}{1-p_n}",
    "the inner derivative is −1",
    lambda p, y: y / p - (1 - y) / (1 - p),
)

NEGATIVE_LOG_LIKELIHOOD = of_trials(
    "negative_log_likelihood",
    "The negative log-likelihood: the same sum, to be descended",
    r"\frac{\partial (-\log L)}{\partial p_n}",
    r"= \lim_{h \to 0}"
    r" \frac{-\log L(\ldots, p_n+h, \ldots) + \log L(\ldots, p_n-h, \ldots)}{2h}",
    "definition of the partial derivative",
    Limit(bernoulli.negative_log_likelihood),
    r"= -\frac{\partial \log L}{\partial p_n}",
    "a constant factor, −1, comes out of a derivative",
    lambda p, y: -slope(lambda q: jnp.sum(log_one(q, y)), p),
    r"= -\left( \frac{y_n}{p_n} - \frac{1-y_n}{1-p_n} \right)",
    "derivative of the log-likelihood",
    lambda p, y: -(y / p - (1 - y) / (1 - p)),
    r"= -\frac{y_n}{p_n} + \frac{1-y_n}{1-p_n}",
    "the minus sign turns both terms",
    lambda p, y: -y / p + (1 - y) / (1 - p),
)


# --- the cost of a trial --------------------------------------------------------------------------

FROM_PROBABILITIES = of_trials(
    "binary_from_probabilities",
    "Binary cross-entropy in the probability",
    r"\frac{\partial \ell}{\partial p}",
    definition(r"\ell({}, y)", "p", total(cross_entropy.binary_from_probabilities)),
    r"= \frac{\partial}{\partial p} \left[ -y \log p - (1-y) \log(1-p) \right]",
    "the loss: minus the logarithm of one trial",
    lambda p, y: slope(lambda q: -log_one(q, y), p),
    r"= -y \frac{\partial \log p}{\partial p}"
    r" - (1-y) \frac{\partial \log(1-p)}{\partial p}",
    "sum rule; y is a constant",
    lambda p, y: -y * slope(jnp.log, p) - (1 - y) * slope(lambda q: jnp.log(1 - q), p),
    r"= -y \frac{1}{p} - (1-y) \frac{1}{1-p} \cdot (-1)",
    "log′p = 1/p; chain rule for 1 − p",
    lambda p, y: -y * (1 / p) - (1 - y) * (1 / (1 - p)) * (-1),
    r"= \frac{-y (1-p) + (1-y) p}{p (1-p)}",
    "common denominator",
    lambda p, y: (-y * (1 - p) + (1 - y) * p) / (p * (1 - p)),
    r"= \frac{p - y}{p (1-p)}",
    "yp cancels: it vanishes where the probability is the label",
    lambda p, y: (p - y) / (p * (1 - p)),
    r"= -\frac{y}{p} + \frac{1-y}{1-p}",
    "partial fractions: p − y = −y (1 − p) + (1 − y) p",
    lambda p, y: -y / p + (1 - y) / (1 - p),
    given=_GIVEN + " The loss of one trial is its negative logarithm.",
)


def _logits_and_outcomes(key: Key) -> tuple:
    a, b = random.split(key)
    return 2 * random.normal(a, (4,)), random.bernoulli(b, 0.5, (4,)).astype(jnp.zeros(()).dtype)


_in_p = in_terms_of(lambda z, y: sigmoid(z), lambda z, y: y, lambda z, y: z.shape[0])

CROSS_ENTROPY = derive(
    "binary_cross_entropy",
    "From Bernoulli trials to binary cross-entropy",
    r"E",
    r"= -\frac{1}{N} \log \prod_n \begin{cases} p_n & y_n = 1 \\ 1-p_n & y_n = 0"
    r" \end{cases}",
    "definition: minus the logarithm of the likelihood, for each example; maximising the"
    " one is minimising the other, and 1/N moves no minimum",
    _in_p(lambda p, y, n: -jnp.log(jnp.prod(jnp.where(y == 1, p, 1 - p))) / n),
    r"= -\frac{1}{N} \log \prod_n p_n^{y_n} (1-p_n)^{1-y_n}",
    "one expression for both outcomes: the exponents are 1 and 0, and a⁰ = 1",
    _in_p(lambda p, y, n: -jnp.log(jnp.prod(one(p, y))) / n),
    r"= -\frac{1}{N} \sum_n \log \left[ p_n^{y_n} (1-p_n)^{1-y_n} \right]",
    "log ab = log a + log b: the product, which underflows, becomes a sum",
    _in_p(lambda p, y, n: -jnp.sum(jnp.log(one(p, y))) / n),
    r"= -\frac{1}{N} \sum_n \left[ \log p_n^{y_n} + \log (1-p_n)^{1-y_n} \right]",
    "log ab = log a + log b, within each trial",
    _in_p(
        lambda p, y, n: -jnp.sum(jnp.log(jnp.power(p, y)) + jnp.log(jnp.power(1 - p, 1 - y))) / n
    ),
    r"= -\frac{1}{N} \sum_n \left[ y_n \log p_n + (1-y_n) \log (1-p_n) \right]",
    "log aᵏ = k log a",
    _in_p(lambda p, y, n: -jnp.sum(log_one(p, y)) / n),
    r"= \frac{1}{N} \sum_n \left[ -y_n \log p_n - (1-y_n) \log (1-p_n) \right]",
    "the minus sign goes inside: each example has a cost of its own, at least 0",
    _in_p(lambda p, y, n: jnp.sum(-y * jnp.log(p) - (1 - y) * jnp.log(1 - p)) / n),
    r"= \frac{1}{N} \sum_n \left[ -y_n \log \sigma(z_n) - (1-y_n) \log \sigma(-z_n)"
    r" \right]",
    "p = σ(z), and 1 − σ(z) = σ(−z)",
    lambda z, y: jnp.sum(-y * jnp.log(sigmoid(z)) - (1 - y) * jnp.log(sigmoid(-z))) / z.shape[0],
    r"= \frac{1}{N} \sum_n \left[ y_n \, \mathrm{softplus}(-z_n)"
    r" + (1-y_n) \, \mathrm{softplus}(z_n) \right]",
    "−log σ(z) = log(1 + e⁻ᶻ) = softplus(−z): no logarithm of 0, no overflow",
    lambda z, y: jnp.sum(y * softplus(-z) + (1 - y) * softplus(z)) / z.shape[0],
    given="N independent trials with outcomes y_n, 0 or 1; the model gives class 1 the probability "
    "p_n = σ(z_n), z being (N,) logits. E is in nats.",
    example=_logits_and_outcomes,
    source=BINARY,
)
