r"""How cross-entropy comes to be: from the probability of what happened to a mean of logarithms.

These two derivations are of values, not of gradients: their first line is a definition, the mean
over examples of minus the logarithm of a probability, and their last the loss that is trained with.
"""

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.steps import Derivation, Step
from handgrad.gradients.sigmoid import sigmoid, softplus
from handgrad.gradients.softmax import logsumexp, softmax


def _binary_example(key: Key) -> tuple:
    a, b = random.split(key)
    return 2 * random.normal(a, (4,)), random.bernoulli(b, 0.5, (4,)).astype(jnp.zeros(()).dtype)


def _class_example(key: Key) -> tuple:
    a, b = random.split(key)
    return 2 * random.normal(a, (4, 3)), random.randint(b, (4,), 0, 3)


def _trials(p: Array, y: Array) -> Array:
    """p^y (1−p)^(1−y)."""
    return jnp.power(p, y) * jnp.power(1 - p, 1 - y)


def _picked(p: Array, y: Array) -> Array:
    """p of the class that came, one number a row."""
    return jnp.take_along_axis(p, y[:, None], axis=1)[:, 0]


def _one_hot(p: Array, y: Array) -> Array:
    return jax.nn.one_hot(y, p.shape[-1], dtype=p.dtype)


BINARY = Derivation(
    name="binary_cross_entropy",
    title="From Bernoulli trials to binary cross-entropy",
    of=r"E",
    given=(
        "N independent trials with outcomes y_n, 0 or 1; the model gives class 1 the probability "
        "p_n = σ(z_n), z being (N,) logits. E is in nats."
    ),
    example=_binary_example,
    steps=(
        Step(
            r"= -\frac{1}{N} \log \prod_n \begin{cases} p_n & y_n = 1 \\ 1-p_n & y_n = 0"
            r" \end{cases}",
            "definition: minus the logarithm of the likelihood, for each example; maximising the"
            " one is minimising the other, and 1/N moves no minimum",
            lambda z, y: (
                -jnp.log(jnp.prod(jnp.where(y == 1, sigmoid(z), 1 - sigmoid(z)))) / z.shape[0]
            ),
        ),
        Step(
            r"= -\frac{1}{N} \log \prod_n p_n^{y_n} (1-p_n)^{1-y_n}",
            "one expression for both outcomes: the exponents are 1 and 0, and a⁰ = 1",
            lambda z, y: -jnp.log(jnp.prod(_trials(sigmoid(z), y))) / z.shape[0],
        ),
        Step(
            r"= -\frac{1}{N} \sum_n \log \left[ p_n^{y_n} (1-p_n)^{1-y_n} \right]",
            "log ab = log a + log b: the product, which underflows, becomes a sum",
            lambda z, y: -jnp.sum(jnp.log(_trials(sigmoid(z), y))) / z.shape[0],
        ),
        Step(
            r"= -\frac{1}{N} \sum_n \left[ \log p_n^{y_n} + \log (1-p_n)^{1-y_n} \right]",
            "log ab = log a + log b, within each trial",
            lambda z, y: (
                -jnp.sum(
                    jnp.log(jnp.power(sigmoid(z), y)) + jnp.log(jnp.power(1 - sigmoid(z), 1 - y))
                )
                / z.shape[0]
            ),
        ),
        Step(
            r"= -\frac{1}{N} \sum_n \left[ y_n \log p_n + (1-y_n) \log (1-p_n) \right]",
            "log aᵏ = k log a",
            lambda z, y: (
                -jnp.sum(y * jnp.log(sigmoid(z)) + (1 - y) * jnp.log(1 - sigmoid(z))) / z.shape[0]
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ -y_n \log p_n - (1-y_n) \log (1-p_n) \right]",
            "the minus sign goes inside: each example has a cost of its own, at least 0",
            lambda z, y: (
                jnp.sum(-y * jnp.log(sigmoid(z)) - (1 - y) * jnp.log(1 - sigmoid(z))) / z.shape[0]
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ -y_n \log \sigma(z_n) - (1-y_n) \log \sigma(-z_n)"
            r" \right]",
            "p = σ(z), and 1 − σ(z) = σ(−z)",
            lambda z, y: (
                jnp.sum(-y * jnp.log(sigmoid(z)) - (1 - y) * jnp.log(sigmoid(-z))) / z.shape[0]
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ y_n \, \mathrm{softplus}(-z_n)"
            r" + (1-y_n) \, \mathrm{softplus}(z_n) \right]",
            "−log σ(z) = log(1 + e⁻ᶻ) = softplus(−z): no logarithm of 0, no overflow",
            lambda z, y: jnp.sum(y * softplus(-z) + (1 - y) * softplus(z)) / z.shape[0],
        ),
    ),
    source="How did binary cross-entropy loss come into existence?",
)

CATEGORICAL = Derivation(
    name="categorical_cross_entropy",
    title="From independent events to categorical cross-entropy",
    of=r"E",
    given=(
        "N independent events, each of one of K classes: c_n is the index of the class that came, "
        "y_n the same one-hot; the model gives p_n = softmax(z_n), z being (N, K) logits. In nats."
    ),
    example=_class_example,
    steps=(
        Step(
            r"= -\frac{1}{N} \log \prod_n p_{n c_n}",
            "definition: minus the logarithm of the likelihood, for each example",
            lambda z, c: -jnp.log(jnp.prod(_picked(softmax(z), c))) / z.shape[0],
        ),
        Step(
            r"= -\frac{1}{N} \log \prod_n \prod_i p_{ni}^{y_{ni}}",
            "one expression for all classes: the exponent is 1 for the class that came, else 0",
            lambda z, c: -jnp.log(jnp.prod(jnp.power(softmax(z), _one_hot(z, c)))) / z.shape[0],
        ),
        Step(
            r"= -\frac{1}{N} \sum_n \sum_i \log p_{ni}^{y_{ni}}",
            "log ab = log a + log b",
            lambda z, c: -jnp.sum(jnp.log(jnp.power(softmax(z), _one_hot(z, c)))) / z.shape[0],
        ),
        Step(
            r"= -\frac{1}{N} \sum_n \sum_i y_{ni} \log p_{ni}",
            "log aᵏ = k log a",
            lambda z, c: -jnp.sum(_one_hot(z, c) * jnp.log(softmax(z))) / z.shape[0],
        ),
        Step(
            r"= -\frac{1}{N} \sum_n \sum_i y_{ni} \left[ z_{ni} - \log \sum_j e^{z_{nj}} \right]",
            "p = softmax(z): the logarithm undoes the exponential in the numerator",
            lambda z, c: (
                -jnp.sum(_one_hot(z, c) * (z - jnp.log(jnp.sum(jnp.exp(z), axis=1, keepdims=True))))
                / z.shape[0]
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ \log \sum_j e^{z_{nj}} - z_{n c_n} \right]",
            "y is one-hot: it picks one logit, and its entries sum to 1",
            lambda z, c: jnp.sum(logsumexp(z) - _picked(z, c)) / z.shape[0],
        ),
    ),
    source="Neural networks",
)
