r"""One Bernoulli trial, and its cost: derivatives in the probability p.

A trial that succeeds with probability p has the probability p^y (1−p)^(1−y), for y = 1 and for
y = 0. Its negative logarithm is binary cross-entropy in p. For soft labels the same formulas hold.
"""

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.scalars import total
from handgrad.derivations.steps import Derivation, Step, slope
from handgrad.gradients import bernoulli, cross_entropy

SOURCE = "How did binary cross-entropy loss come into existence?"
GIVEN = (
    "p is (N,), the probabilities of success, inside (0, 1); y is (N,), the outcomes, in [0, 1]. "
    "Every trial has its own p."
)


def example(key: Key) -> tuple:
    """Probabilities and soft outcomes, (3,) each."""
    a, b = random.split(key)
    return random.uniform(a, (3,), minval=0.1, maxval=0.9), random.uniform(b, (3,))


def one(p: Array, y: Array) -> Array:
    """p^y (1−p)^(1−y)."""
    return jnp.power(p, y) * jnp.power(1 - p, 1 - y)


def log_one(p: Array, y: Array) -> Array:
    """y log p + (1−y) log(1−p)."""
    return y * jnp.log(p) + (1 - y) * jnp.log(1 - p)


TRIAL = Derivation(
    name="bernoulli_trial",
    title="One Bernoulli trial",
    of=r"\frac{\partial P}{\partial p}",
    given=GIVEN,
    example=example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{P(y; p+h) - P(y; p-h)}{2h}",
            "definition of the derivative",
            Limit(total(bernoulli.trial)),
        ),
        Step(
            r"= \frac{\partial}{\partial p} \left[ p^{y} (1-p)^{1-y} \right]",
            "the probability of outcome y: p for y = 1, 1 − p for y = 0",
            lambda p, y: slope(lambda q: one(q, y), p),
        ),
        Step(
            r"= \frac{\partial p^{y}}{\partial p} (1-p)^{1-y}"
            r" + p^{y} \frac{\partial (1-p)^{1-y}}{\partial p}",
            "product rule",
            lambda p, y: (
                slope(lambda q: jnp.power(q, y), p) * jnp.power(1 - p, 1 - y)
                + jnp.power(p, y) * slope(lambda q: jnp.power(1 - q, 1 - y), p)
            ),
        ),
        Step(
            r"= y p^{y-1} (1-p)^{1-y} + p^{y} \frac{\partial (1-p)^{1-y}}{\partial p}",
            "power rule",
            lambda p, y: (
                y * jnp.power(p, y - 1) * jnp.power(1 - p, 1 - y)
                + jnp.power(p, y) * slope(lambda q: jnp.power(1 - q, 1 - y), p)
            ),
        ),
        Step(
            r"= y p^{y-1} (1-p)^{1-y}"
            r" + p^{y} (1-y) (1-p)^{-y} \frac{\partial (1-p)}{\partial p}",
            "power rule inside the chain rule",
            lambda p, y: (
                y * jnp.power(p, y - 1) * jnp.power(1 - p, 1 - y)
                + jnp.power(p, y) * (1 - y) * jnp.power(1 - p, -y) * slope(lambda q: 1 - q, p)
            ),
        ),
        Step(
            r"= p^{y} (1-p)^{1-y} \left( \frac{y}{p} - \frac{1-y}{1-p} \right)",
            "the inner derivative is −1; the trial itself is a common factor",
            lambda p, y: one(p, y) * (y / p - (1 - y) / (1 - p)),
        ),
        Step(
            r"= y p^{y-1} (1-p)^{1-y} - (1-y) p^{y} (1-p)^{-y}",
            "multiplied out: no quotient is left that could be 0/0",
            lambda p, y: (
                y * jnp.power(p, y - 1) * jnp.power(1 - p, 1 - y)
                - (1 - y) * jnp.power(p, y) * jnp.power(1 - p, -y)
            ),
        ),
    ),
    source=SOURCE,
)

FROM_PROBABILITIES = Derivation(
    name="binary_from_probabilities",
    title="Binary cross-entropy in the probability",
    of=r"\frac{\partial \ell}{\partial p}",
    given=GIVEN + " The loss of one trial is its negative logarithm.",
    example=example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\ell(p+h, y) - \ell(p-h, y)}{2h}",
            "definition of the derivative",
            Limit(total(cross_entropy.binary_from_probabilities)),
        ),
        Step(
            r"= \frac{\partial}{\partial p} \left[ -y \log p - (1-y) \log(1-p) \right]",
            "the loss: minus the logarithm of one trial",
            lambda p, y: slope(lambda q: -log_one(q, y), p),
        ),
        Step(
            r"= -y \frac{\partial \log p}{\partial p}"
            r" - (1-y) \frac{\partial \log(1-p)}{\partial p}",
            "sum rule; y is a constant",
            lambda p, y: -y * slope(jnp.log, p) - (1 - y) * slope(lambda q: jnp.log(1 - q), p),
        ),
        Step(
            r"= -y \frac{1}{p} - (1-y) \frac{1}{1-p} \cdot (-1)",
            "log′p = 1/p; chain rule for 1 − p",
            lambda p, y: -y * (1 / p) - (1 - y) * (1 / (1 - p)) * (-1),
        ),
        Step(
            r"= \frac{-y (1-p) + (1-y) p}{p (1-p)}",
            "common denominator",
            lambda p, y: (-y * (1 - p) + (1 - y) * p) / (p * (1 - p)),
        ),
        Step(
            r"= \frac{p - y}{p (1-p)}",
            "yp cancels: it vanishes where the probability is the label",
            lambda p, y: (p - y) / (p * (1 - p)),
        ),
        Step(
            r"= -\frac{y}{p} + \frac{1-y}{1-p}",
            "partial fractions: p − y = −y (1 − p) + (1 − y) p",
            lambda p, y: -y / p + (1 - y) / (1 - p),
        ),
    ),
    source=SOURCE,
)
