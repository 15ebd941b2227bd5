r"""The residual for K classes: p − y again, from the Jacobian of softmax and from log-sum-exp.

The first way takes labels as probabilities and needs both cases of the Jacobian; the second takes
the index of one class and needs only the gradient of log-sum-exp. Labels need not sum to 1 in the
first: where they do, p_j Σ_i y_i is p_j.
"""

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.scalars import total
from handgrad.derivations.softmax_products import delta, others, rows_sum
from handgrad.derivations.steps import Derivation, Step, slope, still_open
from handgrad.gradients import cross_entropy
from handgrad.gradients.softmax import softmax

SOURCE = "Neural networks"


def _soft(key: Key) -> tuple:
    a, b = random.split(key)
    return 2 * random.normal(a, (2, 3)), softmax(2 * random.normal(b, (2, 3)))


def _indexed(key: Key) -> tuple:
    a, b = random.split(key)
    return 2 * random.normal(a, (2, 3)), random.randint(b, (2,), 0, 3)


def _probabilities(key: Key) -> tuple:
    z, y = _soft(key)
    return softmax(z), y


def _loss(p: Array, y: Array) -> Array:
    """−Σ_i y_i log p_i, as it is written."""
    return -jnp.sum(y * jnp.log(p), axis=-1)


def _lse(z: Array) -> Array:
    """log Σ_k e^{z_k}, as it is written."""
    return jnp.log(jnp.sum(jnp.exp(z), axis=-1))


def _one_hot(z: Array, c: Array) -> Array:
    return jax.nn.one_hot(c, z.shape[-1], dtype=z.dtype)


def _ones(z: Array) -> Array:
    return jnp.ones(z.shape[:-1], z.dtype)


RESIDUAL = Derivation(
    name="softmax_residual",
    title="The residual of softmax cross-entropy, for labels as probabilities",
    of=r"\frac{\partial \ell}{\partial z_j}",
    given=(
        "z are logits and y labels, both (..., K), y at least 0; each row stands alone, "
        "p = softmax(z), ℓ = −Σ_i y_i log p_i."
    ),
    example=_soft,
    steps=(
        Step(
            r"= \lim_{h \to 0}"
            r" \frac{\ell(\ldots, z_j+h, \ldots) - \ell(\ldots, z_j-h, \ldots)}{2h}",
            "definition of the partial derivative",
            Limit(total(cross_entropy.categorical)),
        ),
        Step(
            r"= -\sum_i y_i \frac{\partial \log p_i}{\partial z_j}",
            "sum rule; y is a constant",
            lambda z, y: -still_open(y, lambda t: jnp.log(softmax(t)), z),
        ),
        Step(
            r"= -\sum_i \frac{y_i}{p_i} \cdot \frac{\partial p_i}{\partial z_j}",
            "chain rule; log′u = 1/u",
            lambda z, y: -still_open(y / softmax(z), softmax, z),
        ),
        Step(
            r"= -\frac{y_j}{p_j} p_j (1 - p_j) + \sum_{i \neq j} \frac{y_i}{p_i} p_i p_j",
            "the Jacobian of softmax: p_j(1 − p_j) for i = j, −p_i p_j for i ≠ j",
            lambda z, y: (
                -y / softmax(z) * softmax(z) * (1 - softmax(z))
                + others(y / softmax(z) * softmax(z)) * softmax(z)
            ),
        ),
        Step(
            r"= -y_j (1 - p_j) + p_j \sum_{i \neq j} y_i",
            "each p_i cancels against the quotient",
            lambda z, y: -y * (1 - softmax(z)) + softmax(z) * others(y),
        ),
        Step(
            r"= -y_j + p_j \left( y_j + \sum_{i \neq j} y_i \right)",
            "multiplied out; p_j is a common factor",
            lambda z, y: -y + softmax(z) * (y + others(y)),
        ),
        Step(
            r"= p_j \sum_i y_i - y_j",
            "the sum is whole: p_j − y_j for labels that sum to 1, the textbook form",
            lambda z, y: softmax(z) * rows_sum(y) - y,
        ),
        Step(
            r"= p_j \sum_{i \neq j} y_i - y_j (1 - p_j)",
            "p_j y_j taken from both terms",
            lambda z, y: softmax(z) * others(y) - y * (1 - softmax(z)),
        ),
        Step(
            r"= p_j \sum_{i \neq j} y_i - y_j \sum_{i \neq j} p_i",
            "1 − p_j is the sum of the others: the form that keeps its digits",
            lambda z, y: softmax(z) * others(y) - y * others(softmax(z)),
        ),
    ),
    source=SOURCE,
)

INDEXED = Derivation(
    name="softmax_residual_index",
    title="The residual of softmax cross-entropy, for one right class",
    of=r"\frac{\partial \ell}{\partial z_j}",
    given=(
        "z are logits (..., K), c the index of the right class of each row; p = softmax(z), "
        "ℓ = −log p_c, and δ_jc is 1 for j = c, else 0."
    ),
    example=_indexed,
    steps=(
        Step(
            r"= \lim_{h \to 0}"
            r" \frac{\ell(\ldots, z_j+h, \ldots) - \ell(\ldots, z_j-h, \ldots)}{2h}",
            "definition of the partial derivative",
            Limit(total(cross_entropy.categorical)),
        ),
        Step(
            r"= -\frac{\partial}{\partial z_j} \log \frac{e^{z_c}}{\sum_k e^{z_k}}",
            "the loss: minus the logarithm of the right class's probability",
            lambda z, c: (
                -still_open(_one_hot(z, c), lambda t: jnp.log(jnp.exp(t) / rows_sum(jnp.exp(t))), z)
            ),
        ),
        Step(
            r"= \frac{\partial}{\partial z_j} \left[ \log \sum_k e^{z_k} - z_c \right]",
            "log(a/b) = log a − log b: the logarithm undoes the exponential",
            lambda z, c: still_open(
                _ones(z), lambda t: _lse(t) - jnp.sum(_one_hot(t, c) * t, axis=-1), z
            ),
        ),
        Step(
            r"= \frac{\partial}{\partial z_j} \log \sum_k e^{z_k} - \delta_{jc}",
            "sum rule; z_c contains z_j only if j = c",
            lambda z, c: still_open(_ones(z), _lse, z) - _one_hot(z, c),
        ),
        Step(
            r"= p_j - \delta_{jc}",
            "the gradient of log-sum-exp is softmax: the textbook form",
            lambda z, c: softmax(z) - _one_hot(z, c),
        ),
        Step(
            r"= \begin{cases} p_j - 1 & j = c \\ p_j & j \neq c \end{cases}",
            "the two cases of δ",
            lambda z, c: jnp.where(_one_hot(z, c) == 1, softmax(z) - 1, softmax(z)),
        ),
        Step(
            r"= \begin{cases} -\sum_{i \neq c} p_i & j = c \\ p_j & j \neq c \end{cases}",
            "1 − p_c is the sum of the others: the form that keeps its digits",
            lambda z, c: jnp.where(_one_hot(z, c) == 1, -others(softmax(z)), softmax(z)),
        ),
    ),
    source=SOURCE,
)

LABEL = Derivation(
    name="class_label_derivative",
    title="Categorical cross-entropy in its labels",
    of=r"\frac{\partial \ell}{\partial y_j}",
    given="z are logits and y labels, both (..., K); p = softmax(z), ℓ = −Σ_i y_i log p_i.",
    example=_soft,
    steps=(
        Step(
            r"= \lim_{h \to 0}"
            r" \frac{\ell(\ldots, y_j+h, \ldots) - \ell(\ldots, y_j-h, \ldots)}{2h}",
            "definition of the partial derivative",
            Limit(total(cross_entropy.categorical), 1),
        ),
        Step(
            r"= -\frac{\partial}{\partial y_j} \sum_i y_i \log p_i",
            "the loss; p does not contain y",
            lambda z, y: still_open(_ones(z), lambda t: _loss(softmax(z), t), y),
        ),
        Step(
            r"= -\sum_i \delta_{ij} \log p_i",
            "∂y_i/∂y_j is 1 for i = j, else 0",
            lambda z, y: -jnp.sum(delta(y) * jnp.log(softmax(z))[..., None, :], axis=-1),
        ),
        Step(
            r"= -\log p_j",
            "δ picks one term of the sum: the surprise at class j",
            lambda z, y: -jnp.log(softmax(z)),
        ),
        Step(
            r"= \log \sum_k e^{z_k} - z_j",
            "log(a/b) = log a − log b: no logarithm of a probability that rounds to 0",
            lambda z, y: _lse(z)[..., None] - z,
        ),
    ),
    source=SOURCE,
)

FROM_PROBABILITIES = Derivation(
    name="categorical_from_probabilities",
    title="Categorical cross-entropy in the probabilities",
    of=r"\frac{\partial \ell}{\partial p_j}",
    given="p and y are (..., K), p above 0 and taken as free numbers; ℓ = −Σ_i y_i log p_i.",
    example=_probabilities,
    steps=(
        Step(
            r"= \lim_{h \to 0}"
            r" \frac{\ell(\ldots, p_j+h, \ldots) - \ell(\ldots, p_j-h, \ldots)}{2h}",
            "definition of the partial derivative",
            Limit(total(cross_entropy.categorical_from_probabilities)),
        ),
        Step(
            r"= -\frac{\partial}{\partial p_j} \sum_i y_i \log p_i",
            "the loss",
            lambda p, y: still_open(_ones(p), lambda q: _loss(q, y), p),
        ),
        Step(
            r"= -y_j \frac{\partial \log p_j}{\partial p_j}",
            "the other terms do not contain p_j: their derivative is 0",
            lambda p, y: -y * slope(jnp.log, p),
        ),
        Step(
            r"= -\frac{y_j}{p_j}",
            "log′p = 1/p",
            lambda p, y: -y / p,
        ),
    ),
    source=SOURCE,
)
