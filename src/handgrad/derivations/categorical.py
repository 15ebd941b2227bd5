r"""Cross-entropy of K classes, and its residual: p − y again, in two ways.

The first derivation is of a value: from the probability of what happened to a mean of logarithms.
Of the two ways to the residual one takes labels as probabilities and needs both cases of the
Jacobian of softmax; the other takes the index of one class and needs only the gradient of
log-sum-exp. Labels need not sum to 1 in the former: where they do, p_j Σ_i y_i is p_j.
"""

import jax
import jax.numpy as jnp

from handgrad._types import Array, Key
from handgrad.derivations.scalars import total
from handgrad.derivations.softmax import as_written, delta, others, rows_sum
from handgrad.derivations.steps import (
    definition,
    derive,
    drawn,
    in_terms_of,
    indices,
    normal,
    slope,
    still_open,
)
from handgrad.gradients import cross_entropy
from handgrad.gradients.softmax import logsumexp, softmax


def _probabilities(key: Key) -> Array:
    return softmax(normal(2, 3)(key))


def _loss(p: Array, y: Array) -> Array:
    """−Σ_i y_i log p_i, as it is written."""
    return -jnp.sum(y * jnp.log(p), axis=-1)


def _lse(z: Array) -> Array:
    """log Σ_k e^{z_k}, as it is written."""
    return jnp.log(jnp.sum(jnp.exp(z), axis=-1))


def _one_hot(z: Array, c: Array) -> Array:
    return jax.nn.one_hot(c, z.shape[-1], dtype=z.dtype)


def _picked(p: Array, c: Array) -> Array:
    """p of the class that came, one number per row."""
    return jnp.take_along_axis(p, c[:, None], axis=1)[:, 0]


_in_p = in_terms_of(lambda z, y: softmax(z), lambda z, y: y)
_in_hot = in_terms_of(lambda z, c: softmax(z), _one_hot)
_in_rows = in_terms_of(lambda z, c: softmax(z), _one_hot, lambda z, c: z.shape[0])

CROSS_ENTROPY = derive(
    "categorical_cross_entropy",
    "From independent events to categorical cross-entropy",
    r"E",
    r"= -\frac{1}{N} \log \prod_n p_{n c_n}",
    "definition: minus the logarithm of the likelihood, for each example",
    lambda z, c: -jnp.log(jnp.prod(_picked(softmax(z), c))) / z.shape[0],
    r"= -\frac{1}{N} \log \prod_n \prod_i p_{ni}^{y_{ni}}",
    "one expression for all classes: the exponent is 1 for the class that came, else 0",
    _in_rows(lambda p, y, n: -jnp.log(jnp.prod(jnp.power(p, y))) / n),
    r"= -\frac{1}{N} \sum_n \sum_i \log p_{ni}^{y_{ni}}",
    "log ab = log a + log b",
    _in_rows(lambda p, y, n: -jnp.sum(jnp.log(jnp.power(p, y))) / n),
    r"= -\frac{1}{N} \sum_n \sum_i y_{ni} \log p_{ni}",
    "log aᵏ = k log a",
    _in_rows(lambda p, y, n: -jnp.sum(y * jnp.log(p)) / n),
    r"= -\frac{1}{N} \sum_n \sum_i y_{ni} \left[ z_{ni} - \log \sum_j e^{z_{nj}} \right]",
    "p = softmax(z): the logarithm undoes the exponential in the numerator",
    lambda z, c: -jnp.sum(_one_hot(z, c) * (z - _lse(z)[:, None])) / z.shape[0],
    r"= \frac{1}{N} \sum_n \left[ \log \sum_j e^{z_{nj}} - z_{n c_n} \right]",
    "y is one-hot: it picks one logit, and its entries sum to 1",
    lambda z, c: jnp.sum(logsumexp(z) - _picked(z, c)) / z.shape[0],
    given="N independent events, each of one of K classes: c_n is the index of the class that "
    "came, y_n the same one-hot; the model gives p_n = softmax(z_n), z being (N, K) logits. In "
    "nats.",
    example=drawn(normal(4, 3), indices(4, classes=3)),
)

RESIDUAL = derive(
    "softmax_residual",
    "The residual of softmax cross-entropy, for labels as probabilities",
    r"\frac{\partial \ell}{\partial z_j}",
    definition(r"\ell(\ldots, {}, \ldots)", "z_j", total(cross_entropy.categorical)),
    r"= -\sum_i y_i \frac{\partial \log p_i}{\partial z_j}",
    "sum rule; y is a constant",
    lambda z, y: -still_open(y, lambda t: jnp.log(softmax(t)), z),
    r"= -\sum_i \frac{y_i}{p_i} \cdot \frac{\partial p_i}{\partial z_j}",
    "chain rule; log′u = 1/u",
    lambda z, y: -still_open(y / softmax(z), softmax, z),
    r"= -\frac{y_j}{p_j} p_j (1 - p_j) + \sum_{i \neq j} \frac{y_i}{p_i} p_i p_j",
    "the Jacobian of softmax: p_j(1 − p_j) for i = j, −p_i p_j for i ≠ j",
    _in_p(lambda p, y: -y / p * p * (1 - p) + others(y / p * p) * p),
    r"= -y_j (1 - p_j) + p_j \sum_{i \neq j} y_i",
    "each p_i cancels against the quotient",
    _in_p(lambda p, y: -y * (1 - p) + p * others(y)),
    r"= -y_j + p_j \left( y_j + \sum_{i \neq j} y_i \right)",
    "multiplied out; p_j is a common factor",
    _in_p(lambda p, y: -y + p * (y + others(y))),
    r"= p_j \sum_i y_i - y_j",
    "the sum is whole: p_j − y_j for labels that sum to 1, the textbook form",
    _in_p(lambda p, y: p * rows_sum(y) - y),
    r"= p_j \sum_{i \neq j} y_i - y_j (1 - p_j)",
    "p_j y_j taken from both terms",
    _in_p(lambda p, y: p * others(y) - y * (1 - p)),
    r"= p_j \sum_{i \neq j} y_i - y_j \sum_{i \neq j} p_i",
    "1 − p_j is the sum of the others: the form that keeps its digits",
    _in_p(lambda p, y: p * others(y) - y * others(p)),
    given="z are logits and y labels, both (..., K), y at least 0; each row stands alone, "
    "p = softmax(z), ℓ = −Σ_i y_i log p_i.",
    example=drawn(normal(2, 3), _probabilities),
)

INDEXED = derive(
    "softmax_residual_index",
    "The residual of softmax cross-entropy, for one right class",
    r"\frac{\partial \ell}{\partial z_j}",
    definition(r"\ell(\ldots, {}, \ldots)", "z_j", total(cross_entropy.categorical)),
    r"= -\frac{\partial}{\partial z_j} \log \frac{e^{z_c}}{\sum_k e^{z_k}}",
    "the loss: minus the logarithm of the right class's probability",
    lambda z, c: -still_open(_one_hot(z, c), lambda t: jnp.log(as_written(t)), z),
    r"= \frac{\partial}{\partial z_j} \left[ \log \sum_k e^{z_k} - z_c \right]",
    "log(a/b) = log a − log b: the logarithm undoes the exponential",
    lambda z, c: slope(lambda t: _lse(t) - jnp.sum(_one_hot(t, c) * t, axis=-1), z),
    r"= \frac{\partial}{\partial z_j} \log \sum_k e^{z_k} - \delta_{jc}",
    "sum rule; z_c contains z_j only if j = c",
    lambda z, c: slope(_lse, z) - _one_hot(z, c),
    r"= p_j - \delta_{jc}",
    "the gradient of log-sum-exp is softmax: the textbook form",
    _in_hot(lambda p, y: p - y),
    r"= \begin{cases} p_j - 1 & j = c \\ p_j & j \neq c \end{cases}",
    "the two cases of δ",
    _in_hot(lambda p, y: jnp.where(y == 1, p - 1, p)),
    r"= \begin{cases} -\sum_{i \neq c} p_i & j = c \\ p_j & j \neq c \end{cases}",
    "1 − p_c is the sum of the others: the form that keeps its digits",
    _in_hot(lambda p, y: jnp.where(y == 1, -others(p), p)),
    given="z are logits (..., K), c the index of the right class of each row; p = softmax(z), "
    "ℓ = −log p_c, and δ_jc is 1 for j = c, else 0.",
    example=drawn(normal(2, 3), indices(2, classes=3)),
)

LABEL = derive(
    "class_label_derivative",
    "Categorical cross-entropy in its labels",
    r"\frac{\partial \ell}{\partial y_j}",
    definition(r"\ell(\ldots, {}, \ldots)", "y_j", total(cross_entropy.categorical), argnums=1),
    r"= -\frac{\partial}{\partial y_j} \sum_i y_i \log p_i",
    "the loss; p does not contain y",
    lambda z, y: slope(lambda t: _loss(softmax(z), t), y),
    r"= -\sum_i \delta_{ij} \log p_i",
    "∂y_i/∂y_j is 1 for i = j, else 0",
    _in_p(lambda p, y: -jnp.sum(delta(y) * jnp.log(p)[..., None, :], axis=-1)),
    r"= -\log p_j",
    "δ picks one term of the sum: the surprise at class j",
    lambda z, y: -jnp.log(softmax(z)),
    r"= \log \sum_k e^{z_k} - z_j",
    "log(a/b) = log a − log b: no logarithm of a probability that rounds to 0",
    lambda z, y: _lse(z)[..., None] - z,
    given="z are logits and y labels, both (..., K); p = softmax(z), ℓ = −Σ_i y_i log p_i.",
    example=drawn(normal(2, 3), _probabilities),
)

FROM_PROBABILITIES = derive(
    "categorical_from_probabilities",
    "Categorical cross-entropy in the probabilities",
    r"\frac{\partial \ell}{\partial p_j}",
    definition(
        r"\ell(\ldots, {}, \ldots)", "p_j", total(cross_entropy.categorical_from_probabilities)
    ),
    r"= -\frac{\partial}{\partial p_j} \sum_i y_i \log p_i",
    "the loss",
    lambda p, y: slope(lambda q: _loss(q, y), p),
    r"= -y_j \frac{\partial \log p_j}{\partial p_j}",
    "the other terms do not contain p_j: their derivative is 0",
    lambda p, y: -y * slope(jnp.log, p),
    r"= -\frac{y_j}{p_j}",
    "log′p = 1/p",
    lambda p, y: -y / p,
    given="p and y are (..., K), p above 0 and taken as free numbers; ℓ = −Σ_i y_i log p_i.",
    example=drawn(_probabilities, _probabilities),
)
