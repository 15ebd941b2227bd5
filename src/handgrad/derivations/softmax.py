r"""Softmax: its Jacobian by the quotient rule, products with it, and the loss of K classes.

∂p_i/∂z_j is p_i(1 − p_i) on the diagonal and −p_i p_j off it: to raise one probability is to lower
the others. Products of this matrix with a vector need no matrix: a cotangent c on p says how much
the loss would gain from each probability, and softmax hands back to each logit p_j times how much
c_j is above its own mean.
"""

from functools import partial

import jax
import jax.numpy as jnp

from handgrad._types import Array, Key
from handgrad.derivations.steps import (
    definition,
    derive,
    drawn,
    in_terms_of,
    indices,
    normal,
    paired,
    slope,
    still_open,
    total,
)
from handgrad.gradients import cross_entropy
from handgrad.gradients import softmax as house
from handgrad.gradients.sigmoid import sigmoid
from handgrad.gradients.softmax import logsumexp, softmax

_ROW = "z is (K,), one row of logits; e_i = e^{z_i}, S their sum, p = softmax(z)."
_ROWS = "z is (..., K), rows of logits; each row stands alone, and p = softmax(z)."
_PRODUCT = "c is a cotangent and z logits, both (..., K); each row stands alone, p = softmax(z)."
of_pairs = partial(derive, given=_PRODUCT, example=drawn(normal(2, 3, scale=1), normal(2, 3)))


def delta(p: Array) -> Array:
    """δ_ij for every row of p: (..., K, K)."""
    return jnp.broadcast_to(jnp.eye(p.shape[-1], dtype=p.dtype), (*p.shape, p.shape[-1]))


def rows_sum(a: Array) -> Array:
    """Σ over the last axis, which is kept."""
    return jnp.sum(a, axis=-1, keepdims=True)


def others(a: Array) -> Array:
    """Σ_{j≠i} a_j for each i, written as a sum that leaves one out."""
    return jnp.sum((1 - delta(a)) * a[..., None, :], axis=-1)


def through_jacobian(c: Array, p: Array) -> Array:
    """Σ_i c_i (δ_ij − p_j)."""
    return jnp.sum(c[..., :, None] * (delta(p) - p[..., None, :]), axis=-2)


def as_written(z: Array) -> Array:
    """e^{z_i} / Σ_k e^{z_k}."""
    return jnp.exp(z) / rows_sum(jnp.exp(z))


# --- the Jacobian ---------------------------------------------------------------------------------


def _sum(z: Array) -> Array:
    """S = Σ_k e^{z_k} of one row."""
    return jnp.sum(jnp.exp(z))


def _by_case(diagonal: Array, elsewhere: Array) -> Array:
    """A matrix from what stands at i = j, (K,), and at i ≠ j, (K, K)."""
    same = jnp.eye(diagonal.shape[0], dtype=bool)
    return jnp.where(same, jnp.broadcast_to(diagonal[:, None], same.shape), elsewhere)


def _outer(a: Array) -> Array:
    return a[:, None] * a[None, :]


_in_e = in_terms_of(jnp.exp, _sum)
_of_row = in_terms_of(as_written)

JACOBIAN = derive(
    "softmax_jacobian",
    "The Jacobian of softmax",
    r"\frac{\partial p_i}{\partial z_j}",
    definition(r"p_i(\ldots, {}, \ldots)", "z_j", house.softmax),
    r"= \frac{\partial}{\partial z_j} \frac{e^{z_i}}{\sum_k e^{z_k}}",
    "definition of softmax",
    lambda z: jax.jacfwd(as_written)(z),
    r"= \frac{\frac{\partial e_i}{\partial z_j} S - e_i \frac{\partial S}{\partial z_j}}{S^2}",
    "quotient rule",
    lambda z: (
        (jax.jacfwd(jnp.exp)(z) * _sum(z) - jnp.exp(z)[:, None] * jax.jacfwd(_sum)(z)[None])
        / jnp.square(_sum(z))
    ),
    r"= \frac{\frac{\partial e_i}{\partial z_j} S - e_i e_j}{S^2}",
    "of the sum only e_j contains z_j",
    lambda z: (jax.jacfwd(jnp.exp)(z) * _sum(z) - _outer(jnp.exp(z))) / jnp.square(_sum(z)),
    r"= \begin{cases} \frac{e_i S - e_i e_i}{S^2} & i = j \\"
    r" \frac{0 \cdot S - e_i e_j}{S^2} & i \neq j \end{cases}",
    "e_i contains z_j only if i = j",
    _in_e(
        lambda e, s: _by_case(
            (e * s - jnp.square(e)) / jnp.square(s), (0 * s - _outer(e)) / jnp.square(s)
        )
    ),
    r"= \begin{cases} \frac{e_i}{S} \left( 1 - \frac{e_i}{S} \right) & i = j \\"
    r" -\frac{e_i}{S} \cdot \frac{e_j}{S} & i \neq j \end{cases}",
    "one S goes to each factor",
    _in_e(lambda e, s: _by_case(e / s * (1 - e / s), -_outer(e / s))),
    r"= \begin{cases} p_i (1 - p_i) & i = j \\ -p_i p_j & i \neq j \end{cases}",
    "definition of softmax, read backwards",
    _of_row(lambda p: _by_case(p * (1 - p), -_outer(p))),
    r"= p_i (\delta_{ij} - p_j)",
    "both cases in one, with δ = 1 for i = j, else 0",
    _of_row(lambda p: p[:, None] * (jnp.eye(p.shape[0], dtype=p.dtype) - p[None, :])),
    r"= \left[ \mathrm{diag}(p) - p p^{\top} \right]_{ij}",
    "the same as matrices: symmetric, and of rank K − 1",
    _of_row(lambda p: jnp.diag(p) - _outer(p)),
    r"= \begin{cases} p_i \sum_{k \neq i} p_k & i = j \\ -p_i p_j & i \neq j \end{cases}",
    "1 − p_i is the sum of the others, which does not cancel",
    _of_row(lambda p: _by_case(p * others(p), -_outer(p))),
    given=_ROW,
    example=drawn(normal(3)),
)

LOGSUMEXP = derive(
    "logsumexp",
    "The gradient of log-sum-exp is softmax",
    r"\frac{\partial}{\partial z_j} \log \sum_k e^{z_k}",
    definition(r"\mathrm{lse}(\ldots, {}, \ldots)", "z_j", total(house.logsumexp)),
    r"= \frac{1}{S} \cdot \frac{\partial S}{\partial z_j}, \quad S = \sum_k e^{z_k}",
    "chain rule; log′u = 1/u",
    lambda z: 1 / rows_sum(jnp.exp(z)) * slope(lambda t: rows_sum(jnp.exp(t)), z),
    r"= \frac{e^{z_j}}{S}",
    "of the sum only the term j contains z_j, and it is its own derivative",
    as_written,
    r"= \frac{e^{z_j - m}}{\sum_k e^{z_k - m}}, \quad m = \max_k z_k",
    "numerator and denominator times e⁻ᵐ: the largest exponent is 0, nothing overflows",
    lambda z: as_written(z - jnp.max(z, axis=-1, keepdims=True)),
    r"= p_j",
    "definition of softmax",
    house.softmax,
    given=_ROWS,
    example=drawn(normal(2, 3)),
)

_of_two = in_terms_of(lambda z: z[:, 0], lambda z: z[:, 1])

TWO_CLASSES = derive(
    "two_classes",
    "Softmax of two classes is the sigmoid of the difference",
    r"\mathrm{softmax}(a, b)_0",
    r"= \frac{e^{a}}{e^{a}+e^{b}}",
    "definition of softmax",
    _of_two(lambda a, b: jnp.exp(a) / (jnp.exp(a) + jnp.exp(b))),
    r"= \frac{1}{1+e^{b} e^{-a}}",
    "numerator and denominator times e⁻ᵃ",
    _of_two(lambda a, b: 1 / (1 + jnp.exp(b) * jnp.exp(-a))),
    r"= \frac{1}{1+e^{-(a-b)}}",
    "exponents add",
    _of_two(lambda a, b: 1 / (1 + jnp.exp(-(a - b)))),
    r"= \sigma(a - b)",
    "definition of σ: only the difference counts",
    _of_two(lambda a, b: sigmoid(a - b)),
    given="a and b are the two logits, here the columns of an array (N, 2).",
    example=drawn(normal(2, 2)),
)


# --- products with the Jacobian -------------------------------------------------------------------


def _from_top(c: Array, z: Array) -> Array:
    """c_j − c_t with t the class of the largest logit."""
    top = jnp.argmax(z, axis=-1, keepdims=True)
    return c - jnp.take_along_axis(c, top, axis=-1)


def _centred(c: Array, p: Array) -> Array:
    """c_j − ⟨p, c⟩: how much c_j is above its mean under p."""
    return c - rows_sum(p * c)


_in_c = in_terms_of(lambda c, z: c, lambda c, z: softmax(z))

SOFTMAX = of_pairs(
    "softmax",
    "A cotangent through softmax",
    r"\frac{\partial}{\partial z_j} \sum_i c_i p_i",
    definition(
        r"\langle c, p(\ldots, {}, \ldots) \rangle", "z_j", paired(house.softmax), argnums=1
    ),
    r"= \sum_i c_i \frac{\partial p_i}{\partial z_j}",
    "sum rule; c is a constant",
    lambda c, z: still_open(c, as_written, z),
    r"= \sum_i c_i p_i (\delta_{ij} - p_j)",
    "the Jacobian of softmax",
    _in_c(lambda c, p: through_jacobian(c * p, p)),
    r"= c_j p_j - p_j \sum_i c_i p_i",
    "δ picks one term of the sum; p_j is common to the others",
    _in_c(lambda c, p: c * p - p * rows_sum(c * p)),
    r"= p_j \left( c_j - \langle p, c \rangle \right)",
    "common factor: what is above the mean is raised, what is below is lowered",
    _in_c(lambda c, p: p * _centred(c, p)),
    r"= p_j \left( (c_j - c_t) - \sum_i p_i (c_i - c_t) \right), \quad t = \mathrm{argmax}_k z_k",
    "Σ p_i = 1: a constant taken from all c changes nothing; p_t near 1 costs no digit",
    lambda c, z: softmax(z) * _centred(_from_top(c, z), softmax(z)),
)

LOG_SOFTMAX = of_pairs(
    "log_softmax",
    "A cotangent through log-softmax",
    r"\frac{\partial}{\partial z_j} \sum_i c_i \log p_i",
    definition(
        r"\langle c, \log p(\ldots, {}, \ldots) \rangle",
        "z_j",
        paired(house.log_softmax),
        argnums=1,
    ),
    r"= \sum_i c_i \frac{1}{p_i} \cdot \frac{\partial p_i}{\partial z_j}",
    "sum rule and chain rule; log′u = 1/u",
    lambda c, z: still_open(c / softmax(z), as_written, z),
    r"= \sum_i c_i \frac{1}{p_i} p_i (\delta_{ij} - p_j)",
    "the Jacobian of softmax",
    _in_c(lambda c, p: through_jacobian(c / p * p, p)),
    r"= \sum_i c_i (\delta_{ij} - p_j)",
    "p_i is never 0 and cancels",
    _in_c(through_jacobian),
    r"= c_j - p_j \sum_i c_i",
    "δ picks one term of the sum; p_j is common to the others",
    _in_c(lambda c, p: c - p * rows_sum(c)),
    r"= c_j (1 - p_j) - p_j \sum_{i \neq j} c_i",
    "the term i = j joins c_j",
    _in_c(lambda c, p: c * (1 - p) - p * others(c)),
    r"= c_j \sum_{i \neq j} p_i - p_j \sum_{i \neq j} c_i",
    "1 − p_j is the sum of the others, which does not cancel",
    _in_c(lambda c, p: c * others(p) - p * others(c)),
)


# --- cross-entropy of K classes -------------------------------------------------------------------
#
# Its residual is p − y again, in two ways.
#
# The first derivation is of a value: from the probability of what happened to a mean of logarithms.
# Of the two ways to the residual one takes labels as probabilities and needs both cases of the
# Jacobian of softmax; the other takes the index of one class and needs only the gradient of
# log-sum-exp. Labels need not sum to 1 in the former: where they do, p_j Σ_i y_i is p_j.


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
