r"""Softmax: its Jacobian by the quotient rule, in two cases, and what follows from it.

∂p_i/∂z_j is p_i(1 − p_i) on the diagonal and −p_i p_j off it: to raise one probability is to lower
the others. Products of this matrix with a vector need no matrix.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.scalars import total
from handgrad.derivations.softmax_products import others
from handgrad.derivations.steps import Derivation, Step, still_open
from handgrad.gradients import softmax as house
from handgrad.gradients.sigmoid import sigmoid

SOURCE = "Neural networks"
_ROW = "z is (K,), one row of logits; e_i = e^{z_i}, S their sum, p = softmax(z)."
_ROWS = "z is (..., K), rows of logits; each row stands alone, and p = softmax(z)."


def _row(key: Key) -> tuple:
    return (2 * random.normal(key, (3,)),)


def _rows(key: Key) -> tuple:
    return (2 * random.normal(key, (2, 3)),)


def _two(key: Key) -> tuple:
    return (2 * random.normal(key, (2, 2)),)


def _sum(z: Array) -> Array:
    """S = Σ_k e^{z_k}, with its axis kept."""
    return jnp.sum(jnp.exp(z), axis=-1, keepdims=True)


def _scalar_sum(z: Array) -> Array:
    """S = Σ_k e^{z_k} of one row."""
    return jnp.sum(jnp.exp(z))


def _plain(z: Array) -> Array:
    """e_i / S, as it is written."""
    return jnp.exp(z) / _sum(z)


def _by_case(diagonal: Array, elsewhere: Array) -> Array:
    """A matrix from what stands at i = j, (K,), and at i ≠ j, (K, K)."""
    same = jnp.eye(diagonal.shape[0], dtype=bool)
    return jnp.where(same, jnp.broadcast_to(diagonal[:, None], same.shape), elsewhere)


def _outer(a: Array) -> Array:
    return a[:, None] * a[None, :]


def _slopes(f: Callable[[Array], Array], z: Array) -> Array:
    """∂f_i/∂z_j, not worked out yet."""
    return jax.jacfwd(f)(z)


JACOBIAN = Derivation(
    name="softmax_jacobian",
    title="The Jacobian of softmax",
    of=r"\frac{\partial p_i}{\partial z_j}",
    given=_ROW,
    example=_row,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{p_i(\ldots, z_j+h, \ldots) - p_i(\ldots, z_j-h, \ldots)}{2h}",
            "definition of the partial derivative",
            Limit(house.softmax),
        ),
        Step(
            r"= \frac{\partial}{\partial z_j} \frac{e^{z_i}}{\sum_k e^{z_k}}",
            "definition of softmax",
            lambda z: _slopes(_plain, z),
        ),
        Step(
            r"= \frac{\frac{\partial e_i}{\partial z_j} S - e_i \frac{\partial S}{\partial z_j}}"
            r"{S^2}",
            "quotient rule",
            lambda z: (
                (
                    _slopes(jnp.exp, z) * _scalar_sum(z)
                    - jnp.exp(z)[:, None] * _slopes(_scalar_sum, z)[None, :]
                )
                / jnp.square(_scalar_sum(z))
            ),
        ),
        Step(
            r"= \frac{\frac{\partial e_i}{\partial z_j} S - e_i e_j}{S^2}",
            "of the sum only e_j contains z_j",
            lambda z: (
                (_slopes(jnp.exp, z) * _scalar_sum(z) - _outer(jnp.exp(z)))
                / jnp.square(_scalar_sum(z))
            ),
        ),
        Step(
            r"= \begin{cases} \frac{e_i S - e_i e_i}{S^2} & i = j \\"
            r" \frac{0 \cdot S - e_i e_j}{S^2} & i \neq j \end{cases}",
            "e_i contains z_j only if i = j",
            lambda z: _by_case(
                (jnp.exp(z) * _scalar_sum(z) - jnp.square(jnp.exp(z))) / jnp.square(_scalar_sum(z)),
                (0 * _scalar_sum(z) - _outer(jnp.exp(z))) / jnp.square(_scalar_sum(z)),
            ),
        ),
        Step(
            r"= \begin{cases} \frac{e_i}{S} \left( 1 - \frac{e_i}{S} \right) & i = j \\"
            r" -\frac{e_i}{S} \cdot \frac{e_j}{S} & i \neq j \end{cases}",
            "one S goes to each factor",
            lambda z: _by_case(
                jnp.exp(z) / _scalar_sum(z) * (1 - jnp.exp(z) / _scalar_sum(z)),
                -_outer(jnp.exp(z) / _scalar_sum(z)),
            ),
        ),
        Step(
            r"= \begin{cases} p_i (1 - p_i) & i = j \\ -p_i p_j & i \neq j \end{cases}",
            "definition of softmax, read backwards",
            lambda z: _by_case(_plain(z) * (1 - _plain(z)), -_outer(_plain(z))),
        ),
        Step(
            r"= p_i (\delta_{ij} - p_j)",
            "both cases in one, with δ = 1 for i = j, else 0",
            lambda z: (
                _plain(z)[:, None] * (jnp.eye(z.shape[0], dtype=z.dtype) - _plain(z)[None, :])
            ),
        ),
        Step(
            r"= \left[ \mathrm{diag}(p) - p p^{\top} \right]_{ij}",
            "the same as matrices: symmetric, and of rank K − 1",
            lambda z: jnp.diag(_plain(z)) - _outer(_plain(z)),
        ),
        Step(
            r"= \begin{cases} p_i \sum_{k \neq i} p_k & i = j \\ -p_i p_j & i \neq j \end{cases}",
            "1 − p_i is the sum of the others, which does not cancel",
            lambda z: _by_case(_plain(z) * others(_plain(z)), -_outer(_plain(z))),
        ),
    ),
    source=SOURCE,
)

LOGSUMEXP = Derivation(
    name="logsumexp",
    title="The gradient of log-sum-exp is softmax",
    of=r"\frac{\partial}{\partial z_j} \log \sum_k e^{z_k}",
    given=_ROWS,
    example=_rows,
    steps=(
        Step(
            r"= \lim_{h \to 0}"
            r" \frac{\mathrm{lse}(\ldots, z_j+h, \ldots)"
            r" - \mathrm{lse}(\ldots, z_j-h, \ldots)}{2h}",
            "definition of the partial derivative",
            Limit(total(house.logsumexp)),
        ),
        Step(
            r"= \frac{1}{S} \cdot \frac{\partial S}{\partial z_j}, \quad S = \sum_k e^{z_k}",
            "chain rule; log′u = 1/u",
            lambda z: 1 / _sum(z) * still_open(jnp.ones_like(_sum(z)), _sum, z),
        ),
        Step(
            r"= \frac{e^{z_j}}{S}",
            "of the sum only the term j contains z_j, and it is its own derivative",
            lambda z: jnp.exp(z) / _sum(z),
        ),
        Step(
            r"= \frac{e^{z_j - m}}{\sum_k e^{z_k - m}}, \quad m = \max_k z_k",
            "numerator and denominator times e⁻ᵐ: the largest exponent is 0, nothing overflows",
            lambda z: (
                jnp.exp(z - jnp.max(z, axis=-1, keepdims=True))
                / jnp.sum(jnp.exp(z - jnp.max(z, axis=-1, keepdims=True)), axis=-1, keepdims=True)
            ),
        ),
        Step(r"= p_j", "definition of softmax", house.softmax),
    ),
    source=SOURCE,
)

TWO_CLASSES = Derivation(
    name="two_classes",
    title="Softmax of two classes is the sigmoid of the difference",
    of=r"\mathrm{softmax}(a, b)_0",
    given="a and b are the two logits, here the columns of an array (N, 2).",
    example=_two,
    steps=(
        Step(
            r"= \frac{e^{a}}{e^{a}+e^{b}}",
            "definition of softmax",
            lambda z: jnp.exp(z[:, 0]) / (jnp.exp(z[:, 0]) + jnp.exp(z[:, 1])),
        ),
        Step(
            r"= \frac{1}{1+e^{b} e^{-a}}",
            "numerator and denominator times e⁻ᵃ",
            lambda z: 1 / (1 + jnp.exp(z[:, 1]) * jnp.exp(-z[:, 0])),
        ),
        Step(
            r"= \frac{1}{1+e^{-(a-b)}}",
            "exponents add",
            lambda z: 1 / (1 + jnp.exp(-(z[:, 0] - z[:, 1]))),
        ),
        Step(
            r"= \sigma(a - b)",
            "definition of σ: only the difference counts",
            lambda z: sigmoid(z[:, 0] - z[:, 1]),
        ),
    ),
    source=SOURCE,
)
