r"""Products with the Jacobians of softmax and log-softmax: a cotangent on its way back.

A cotangent c on p says how much the loss would gain from each probability. Softmax hands back to
each logit p_j times how much c_j is above its own mean: no matrix is formed.
"""

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.scalars import paired
from handgrad.derivations.steps import Derivation, Step, still_open
from handgrad.gradients import softmax as house
from handgrad.gradients.softmax import softmax

SOURCE = "Neural networks"
_GIVEN = "c is a cotangent and z logits, both (..., K); each row stands alone, p = softmax(z)."


def _example(key: Key) -> tuple:
    a, b = random.split(key)
    return random.normal(a, (2, 3)), 2 * random.normal(b, (2, 3))


def delta(p: Array) -> Array:
    """δ_ij for every row of p: (..., K, K)."""
    return jnp.broadcast_to(jnp.eye(p.shape[-1], dtype=p.dtype), (*p.shape, p.shape[-1]))


def rows_sum(a: Array) -> Array:
    """Σ over the last axis, which is kept."""
    return jnp.sum(a, axis=-1, keepdims=True)


def others(a: Array) -> Array:
    """Σ_{j≠i} a_j for each i, written as a sum that leaves one out."""
    return jnp.sum((1 - delta(a)) * a[..., None, :], axis=-1)


def _mean(c: Array, p: Array) -> Array:
    """⟨p, c⟩, the mean of c under p."""
    return rows_sum(p * c)


def _from_top(c: Array, z: Array) -> Array:
    """c_j − c_t with t the class of the largest logit."""
    top = jnp.argmax(z, axis=-1, keepdims=True)
    return c - jnp.take_along_axis(c, top, axis=-1)


SOFTMAX = Derivation(
    name="softmax",
    title="A cotangent through softmax",
    of=r"\frac{\partial}{\partial z_j} \sum_i c_i p_i",
    given=_GIVEN,
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\langle c, p(\ldots, z_j+h, \ldots) \rangle"
            r" - \langle c, p(\ldots, z_j-h, \ldots) \rangle}{2h}",
            "definition of the partial derivative",
            Limit(paired(house.softmax), 1),
        ),
        Step(
            r"= \sum_i c_i \frac{\partial p_i}{\partial z_j}",
            "sum rule; c is a constant",
            lambda c, z: still_open(c, lambda t: jnp.exp(t) / rows_sum(jnp.exp(t)), z),
        ),
        Step(
            r"= \sum_i c_i p_i (\delta_{ij} - p_j)",
            "the Jacobian of softmax",
            lambda c, z: jnp.sum(
                (c * softmax(z))[..., :, None] * (delta(softmax(z)) - softmax(z)[..., None, :]),
                axis=-2,
            ),
        ),
        Step(
            r"= c_j p_j - p_j \sum_i c_i p_i",
            "δ picks one term of the sum; p_j is common to the others",
            lambda c, z: c * softmax(z) - softmax(z) * rows_sum(c * softmax(z)),
        ),
        Step(
            r"= p_j \left( c_j - \langle p, c \rangle \right)",
            "common factor: what is above the mean is raised, what is below is lowered",
            lambda c, z: softmax(z) * (c - _mean(c, softmax(z))),
        ),
        Step(
            r"= p_j \left( (c_j - c_t) - \sum_i p_i (c_i - c_t) \right),"
            r" \quad t = \mathrm{argmax}_k z_k",
            "Σ p_i = 1: a constant taken from all c changes nothing; p_t near 1 costs no digit",
            lambda c, z: softmax(z) * (_from_top(c, z) - _mean(_from_top(c, z), softmax(z))),
        ),
    ),
    source=SOURCE,
)

LOG_SOFTMAX = Derivation(
    name="log_softmax",
    title="A cotangent through log-softmax",
    of=r"\frac{\partial}{\partial z_j} \sum_i c_i \log p_i",
    given=_GIVEN,
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\langle c, \log p(\ldots, z_j+h, \ldots) \rangle"
            r" - \langle c, \log p(\ldots, z_j-h, \ldots) \rangle}{2h}",
            "definition of the partial derivative",
            Limit(paired(house.log_softmax), 1),
        ),
        Step(
            r"= \sum_i c_i \frac{1}{p_i} \cdot \frac{\partial p_i}{\partial z_j}",
            "sum rule and chain rule; log′u = 1/u",
            lambda c, z: still_open(c / softmax(z), lambda t: jnp.exp(t) / rows_sum(jnp.exp(t)), z),
        ),
        Step(
            r"= \sum_i c_i \frac{1}{p_i} p_i (\delta_{ij} - p_j)",
            "the Jacobian of softmax",
            lambda c, z: jnp.sum(
                (c / softmax(z) * softmax(z))[..., :, None]
                * (delta(softmax(z)) - softmax(z)[..., None, :]),
                axis=-2,
            ),
        ),
        Step(
            r"= \sum_i c_i (\delta_{ij} - p_j)",
            "p_i is never 0 and cancels",
            lambda c, z: jnp.sum(c[..., :, None] * (delta(c) - softmax(z)[..., None, :]), axis=-2),
        ),
        Step(
            r"= c_j - p_j \sum_i c_i",
            "δ picks one term of the sum; p_j is common to the others",
            lambda c, z: c - softmax(z) * rows_sum(c),
        ),
        Step(
            r"= c_j (1 - p_j) - p_j \sum_{i \neq j} c_i",
            "the term i = j joins c_j",
            lambda c, z: c * (1 - softmax(z)) - softmax(z) * others(c),
        ),
        Step(
            r"= c_j \sum_{i \neq j} p_i - p_j \sum_{i \neq j} c_i",
            "1 − p_j is the sum of the others, which does not cancel",
            lambda c, z: c * others(softmax(z)) - softmax(z) * others(c),
        ),
    ),
    source=SOURCE,
)
