r"""Bernoulli trials, how binary cross-entropy comes of them, and its residual.

A trial that succeeds with probability p has the probability p^y (1−p)^(1−y), for y = 1 and for
y = 0. Independent trials multiply. The logarithm makes a sum of the product, whose derivative has
one term for each trial and no factors from the others; the minus sign turns ascent into descent.
The mean over trials is binary cross-entropy. For soft labels the same formulas hold.
"""

from functools import partial

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.steps import (
    BINARY,
    Limit,
    definition,
    derive,
    drawn,
    in_terms_of,
    normal,
    slope,
    total,
    uniform,
)
from handgrad.gradients import bernoulli, cross_entropy, squared_error
from handgrad.gradients.sigmoid import sigmoid, softplus

_TRIALS = (
    "p is (N,), the probabilities of success, inside (0, 1); y is (N,), the outcomes, in [0, 1]. "
    "Every trial has its own p."
)
of_trials = partial(
    derive,
    given=_TRIALS,
    example=drawn(uniform(3, low=0.1, high=0.9), uniform(3)),
    source=BINARY,
)


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
    r"= y p^{y-1} (1-p)^{1-y} + p^{y} (1-y) (1-p)^{-y} \frac{\partial (1-p)}{\partial p}",
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
    r"= \lim_{h \to 0} \frac{-\log L(\ldots, p_n+h, \ldots) + \log L(\ldots, p_n-h, \ldots)}{2h}",
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
    r"= -y \frac{\partial \log p}{\partial p} - (1-y) \frac{\partial \log(1-p)}{\partial p}",
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
    given=_TRIALS + " The loss of one trial is its negative logarithm.",
)


def _logits_and_outcomes(key: Key) -> tuple:
    a, b = random.split(key)
    return 2 * random.normal(a, (4,)), random.bernoulli(b, 0.5, (4,)).astype(jnp.zeros(()).dtype)


_in_trials = in_terms_of(lambda z, y: sigmoid(z), lambda z, y: y, lambda z, y: z.shape[0])

CROSS_ENTROPY = derive(
    "binary_cross_entropy",
    "From Bernoulli trials to binary cross-entropy",
    r"E",
    r"= -\frac{1}{N} \log \prod_n \begin{cases} p_n & y_n = 1 \\ 1-p_n & y_n = 0 \end{cases}",
    "definition: minus the logarithm of the likelihood, for each example; maximising the"
    " one is minimising the other, and 1/N moves no minimum",
    _in_trials(lambda p, y, n: -jnp.log(jnp.prod(jnp.where(y == 1, p, 1 - p))) / n),
    r"= -\frac{1}{N} \log \prod_n p_n^{y_n} (1-p_n)^{1-y_n}",
    "one expression for both outcomes: the exponents are 1 and 0, and a⁰ = 1",
    _in_trials(lambda p, y, n: -jnp.log(jnp.prod(one(p, y))) / n),
    r"= -\frac{1}{N} \sum_n \log \left[ p_n^{y_n} (1-p_n)^{1-y_n} \right]",
    "log ab = log a + log b: the product, which underflows, becomes a sum",
    _in_trials(lambda p, y, n: -jnp.sum(jnp.log(one(p, y))) / n),
    r"= -\frac{1}{N} \sum_n \left[ \log p_n^{y_n} + \log (1-p_n)^{1-y_n} \right]",
    "log ab = log a + log b, within each trial",
    _in_trials(
        lambda p, y, n: -jnp.sum(jnp.log(jnp.power(p, y)) + jnp.log(jnp.power(1 - p, 1 - y))) / n
    ),
    r"= -\frac{1}{N} \sum_n \left[ y_n \log p_n + (1-y_n) \log (1-p_n) \right]",
    "log aᵏ = k log a",
    _in_trials(lambda p, y, n: -jnp.sum(log_one(p, y)) / n),
    r"= \frac{1}{N} \sum_n \left[ -y_n \log p_n - (1-y_n) \log (1-p_n) \right]",
    "the minus sign goes inside: each example has a cost of its own, at least 0",
    _in_trials(lambda p, y, n: jnp.sum(-y * jnp.log(p) - (1 - y) * jnp.log(1 - p)) / n),
    r"= \frac{1}{N} \sum_n \left[ -y_n \log \sigma(z_n) - (1-y_n) \log \sigma(-z_n) \right]",
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


# --- the residual ---------------------------------------------------------------------------------
#
# What binary cross-entropy says to a logit is ŷ − y; all else follows from it.
#
# Two ways lead there. The first takes the loss apart as the textbook writes it, −y log ŷ −
# (1−y) log(1−ŷ), and meets σ′, which cancels against both quotients. The second writes the loss as
# log(1 + eᶻ) − yz, where nothing needs to cancel. The end is split by label: ŷ − y loses its digits
# where ŷ comes near y, (1−y) σ(z) − y σ(−z) does not, and the two are one number.
#
# Squared error through a sigmoid is the contrast: the same residual, times ŷ(1 − ŷ). That factor
# vanishes where the model is sure, right or wrong, which is why a sure mistake then learns next to
# nothing. A scale of a square leaves its minimum where it is.

_example = drawn(normal(3), uniform(3))
_LOGITS = "z are logits and y labels in [0, 1], of one shape, elementwise; ŷ = σ(z)."
of_logits = partial(derive, given=_LOGITS, example=_example)


def textbook(prediction: Array, y: Array) -> Array:
    """−y log ŷ − (1−y) log(1−ŷ)."""
    return -y * jnp.log(prediction) - (1 - y) * jnp.log(1 - prediction)


def _softplus(z: Array) -> Array:
    """log(1 + eᶻ), as it is written."""
    return jnp.log(1 + jnp.exp(z))


_in_p = in_terms_of(lambda z, y: sigmoid(z), lambda z, y: y)
_DEFINITION = definition(r"\ell({}, y)", "z", total(cross_entropy.binary))

RESIDUAL = of_logits(
    "residual",
    "The residual ŷ − y",
    r"\frac{\partial \ell}{\partial z}",
    _DEFINITION,
    r"= \frac{\partial}{\partial z} \left[ -y \log \hat y - (1-y) \log(1-\hat y) \right]",
    "the loss, with ŷ = σ(z)",
    lambda z, y: slope(lambda t: textbook(sigmoid(t), y), z),
    r"= -y \frac{\partial \log \hat y}{\partial z}"
    r" - (1-y) \frac{\partial \log(1-\hat y)}{\partial z}",
    "sum rule; y is a constant",
    lambda z, y: (
        -y * slope(lambda t: jnp.log(sigmoid(t)), z)
        - (1 - y) * slope(lambda t: jnp.log(1 - sigmoid(t)), z)
    ),
    r"= -\frac{y}{\hat y} \cdot \frac{\partial \hat y}{\partial z}"
    r" - \frac{1-y}{1-\hat y} \cdot \frac{\partial (1-\hat y)}{\partial z}",
    "chain rule; log′u = 1/u",
    lambda z, y: (
        -y / sigmoid(z) * slope(sigmoid, z)
        - (1 - y) / (1 - sigmoid(z)) * slope(lambda t: 1 - sigmoid(t), z)
    ),
    r"= \left( -\frac{y}{\hat y} + \frac{1-y}{1-\hat y} \right) \frac{\partial \hat y}{\partial z}",
    "∂(1 − ŷ) = −∂ŷ, and ∂ŷ/∂z is a common factor",
    lambda z, y: (-y / sigmoid(z) + (1 - y) / (1 - sigmoid(z))) * slope(sigmoid, z),
    r"= \left( -\frac{y}{\hat y} + \frac{1-y}{1-\hat y} \right) \hat y (1-\hat y)",
    "σ′ = σ(1 − σ)",
    _in_p(lambda p, y: (-y / p + (1 - y) / (1 - p)) * p * (1 - p)),
    r"= -y (1-\hat y) + (1-y) \hat y",
    "multiplied out: each quotient cancels against a factor of σ′",
    _in_p(lambda p, y: -y * (1 - p) + (1 - y) * p),
    r"= -y + y \hat y + \hat y - y \hat y",
    "multiplied out",
    _in_p(lambda p, y: -y + y * p + p - y * p),
    r"= \hat y - y",
    "yŷ cancels: the textbook form",
    _in_p(lambda p, y: p - y),
    r"= (\hat y - y \hat y) - (y - y \hat y)",
    "yŷ taken from both",
    _in_p(lambda p, y: (p - y * p) - (y - y * p)),
    r"= (1-y) \, \hat y - y \, (1-\hat y)",
    "common factors: for y = 0 or y = 1 one of the two terms is 0",
    _in_p(lambda p, y: (1 - y) * p - y * (1 - p)),
    r"= (1-y) \, \sigma(z) - y \, \sigma(-z)",
    "1 − σ(z) = σ(−z): the form that keeps its digits",
    lambda z, y: (1 - y) * sigmoid(z) - y * sigmoid(-z),
)

FROM_LOGITS = of_logits(
    "residual_from_logits",
    "The residual again, from the loss as a function of the logit",
    r"\frac{\partial \ell}{\partial z}",
    _DEFINITION,
    r"= \frac{\partial}{\partial z} \left[ -y \log \sigma(z) - (1-y) \log \sigma(-z) \right]",
    "the loss, with 1 − σ(z) = σ(−z)",
    lambda z, y: slope(lambda t: -y * jnp.log(sigmoid(t)) - (1 - y) * jnp.log(sigmoid(-t)), z),
    r"= \frac{\partial}{\partial z} \left[ y \log(1+e^{-z}) + (1-y) \log(1+e^{z}) \right]",
    "−log σ(z) = log(1 + e⁻ᶻ)",
    lambda z, y: slope(lambda t: y * _softplus(-t) + (1 - y) * _softplus(t), z),
    r"= \frac{\partial}{\partial z} \left[ y (\log(1+e^{z}) - z) + (1-y) \log(1+e^{z}) \right]",
    "log(1 + e⁻ᶻ) = log(e⁻ᶻ (eᶻ + 1)) = log(1 + eᶻ) − z",
    lambda z, y: slope(lambda t: y * (_softplus(t) - t) + (1 - y) * _softplus(t), z),
    r"= \frac{\partial}{\partial z} \left[ \log(1+e^{z}) - y z \right]",
    "y + (1 − y) = 1: the label is left in one place",
    lambda z, y: slope(lambda t: _softplus(t) - y * t, z),
    r"= \frac{\partial \log(1+e^{z})}{\partial z} - y",
    "sum rule; yz is linear in z",
    lambda z, y: slope(_softplus, z) - y,
    r"= \sigma(z) - y",
    "the derivative of softplus is the sigmoid",
    _in_p(lambda p, y: p - y),
    r"= (1-y) \, \sigma(z) - y \, \sigma(-z)",
    "yσ(z) taken from both terms; 1 − σ(z) = σ(−z)",
    lambda z, y: (1 - y) * sigmoid(z) - y * sigmoid(-z),
)

LABEL = of_logits(
    "label_derivative",
    "Binary cross-entropy in its label",
    r"\frac{\partial \ell}{\partial y}",
    definition(r"\ell(z, {})", "y", total(cross_entropy.binary), argnums=1),
    r"= \frac{\partial}{\partial y} \left[ -y \log \hat y - (1-y) \log(1-\hat y) \right]",
    "the loss, with ŷ = σ(z)",
    lambda z, y: slope(lambda t: textbook(sigmoid(z), t), y),
    r"= -\log \hat y + \log(1-\hat y)",
    "the loss is linear in y",
    _in_p(lambda p, y: -jnp.log(p) + jnp.log(1 - p)),
    r"= \log \frac{1-\hat y}{\hat y}",
    "log a − log b = log(a/b): the odds against class 1",
    _in_p(lambda p, y: jnp.log((1 - p) / p)),
    r"= \log \left[ \frac{e^{-z}}{1+e^{-z}} (1+e^{-z}) \right]",
    "1 − σ(z) = e⁻ᶻ/(1 + e⁻ᶻ), and 1/σ(z) = 1 + e⁻ᶻ",
    lambda z, y: jnp.log(jnp.exp(-z) / (1 + jnp.exp(-z)) * (1 + jnp.exp(-z))),
    r"= \log e^{-z}",
    "1 + e⁻ᶻ cancels",
    lambda z, y: jnp.log(jnp.exp(-z)),
    r"= -z",
    "the logarithm undoes the exponential: a logit is the logarithm of the odds",
    lambda z, y: -z,
)


# --- squared error, the contrast ------------------------------------------------------------------

SCALE = 3.0
"""k: any number above 0 would do."""


def _scaled(prediction: Array, y: Array) -> Array:
    return squared_error.squared_error(prediction, y, scale=SCALE)


SCALED_SQUARE = derive(
    "scaled_square",
    "A scaled square keeps its minimum",
    r"\frac{\partial}{\partial \hat y} k (\hat y - y)^2",
    r"= \lim_{h \to 0} \frac{k (\hat y + h - y)^2 - k (\hat y - h - y)^2}{2h}",
    "definition of the derivative",
    Limit(total(_scaled)),
    r"= k \frac{\partial}{\partial \hat y} (\hat y - y)^2",
    "a constant factor comes out of a derivative",
    lambda p, y: SCALE * slope(lambda t: jnp.square(t - y), p),
    r"= k \cdot 2 (\hat y - y) \frac{\partial (\hat y - y)}{\partial \hat y}",
    "power rule and chain rule",
    lambda p, y: SCALE * 2 * (p - y) * slope(lambda t: t - y, p),
    r"= 2 k (\hat y - y)",
    "the inner derivative is 1; it is 0 at ŷ = y, whatever k is",
    lambda p, y: 2 * SCALE * (p - y),
    given="ŷ and y are arrays of one shape, elementwise; k = 3 is a constant above 0.",
    example=_example,
    source=BINARY,
)

THROUGH_A_SIGMOID = of_logits(
    "sigmoid_squared_error",
    "Squared error through a sigmoid: the extra factor ŷ(1 − ŷ)",
    r"\frac{\partial}{\partial z} \frac{1}{2} (\hat y - y)^2",
    r"= \lim_{h \to 0} \frac{(\sigma(z+h) - y)^2 - (\sigma(z-h) - y)^2}{4h}",
    "definition of the derivative",
    Limit(total(squared_error.from_logits)),
    r"= \frac{\partial}{\partial z} \frac{1}{2} (\sigma(z) - y)^2",
    "ŷ = σ(z)",
    lambda z, y: slope(lambda t: 0.5 * jnp.square(sigmoid(t) - y), z),
    r"= (\hat y - y) \frac{\partial (\hat y - y)}{\partial z}",
    "power rule and chain rule: 2 and ½ cancel",
    lambda z, y: (sigmoid(z) - y) * slope(lambda t: sigmoid(t) - y, z),
    r"= (\hat y - y) \, \sigma'(z)",
    "y is a constant",
    lambda z, y: (sigmoid(z) - y) * slope(sigmoid, z),
    r"= (\hat y - y) \, \hat y (1 - \hat y)",
    "σ′ = σ(1 − σ); cross-entropy has the first factor alone",
    _in_p(lambda p, y: (p - y) * p * (1 - p)),
    r"= \left[ (1-y) \hat y - y (1-\hat y) \right] \hat y (1 - \hat y)",
    "yŷ taken away and added again: the residual split by label",
    _in_p(lambda p, y: ((1 - y) * p - y * (1 - p)) * p * (1 - p)),
    r"= \left[ (1-y) \sigma(z) - y \sigma(-z) \right] \sigma(z) \, \sigma(-z)",
    "1 − σ(z) = σ(−z), in both places where it would cancel",
    lambda z, y: ((1 - y) * sigmoid(z) - y * sigmoid(-z)) * (sigmoid(z) * sigmoid(-z)),
)
