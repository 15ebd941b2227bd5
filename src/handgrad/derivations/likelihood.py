r"""Many Bernoulli trials: the likelihood, its logarithm, and the negative of that.

Independent trials multiply. The logarithm makes a sum of the product, whose derivative has one term
for each trial and no factors from the others; the minus sign turns ascent into descent.
"""

import jax.numpy as jnp

from handgrad._types import Array
from handgrad.derivations.bernoulli import GIVEN, SOURCE, example, log_one, one
from handgrad.derivations.limit import Limit
from handgrad.derivations.steps import Derivation, Step, slope, still_open
from handgrad.gradients import bernoulli


def _others(p: Array, y: Array) -> Array:
    """Π_{m≠n} p_m^y_m (1−p_m)^(1−y_m), for each n."""
    size = p.shape[0]
    table = jnp.broadcast_to(one(p, y), (size, size))
    return jnp.prod(jnp.where(jnp.eye(size, dtype=bool), 1.0, table), axis=1)


LIKELIHOOD = Derivation(
    name="likelihood",
    title="The likelihood of independent trials",
    of=r"\frac{\partial L}{\partial p_n}",
    given=GIVEN,
    example=example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{L(\ldots, p_n+h, \ldots) - L(\ldots, p_n-h, \ldots)}{2h}",
            "definition of the partial derivative",
            Limit(bernoulli.likelihood),
        ),
        Step(
            r"= \frac{\partial}{\partial p_n} \prod_m p_m^{y_m} (1-p_m)^{1-y_m}",
            "the probabilities of independent events multiply",
            lambda p, y: still_open(jnp.ones_like(p[0]), lambda q: jnp.prod(one(q, y)), p),
        ),
        Step(
            r"= \left[ \prod_{m \neq n} p_m^{y_m} (1-p_m)^{1-y_m} \right]"
            r" \frac{\partial}{\partial p_n} \left[ p_n^{y_n} (1-p_n)^{1-y_n} \right]",
            "the other factors do not contain p_n: they are constants",
            lambda p, y: _others(p, y) * slope(lambda q: one(q, y), p),
        ),
        Step(
            r"= L \left( \frac{y_n}{p_n} - \frac{1-y_n}{1-p_n} \right)",
            "derivative of one trial: the trial times this bracket",
            lambda p, y: jnp.prod(one(p, y)) * (y / p - (1 - y) / (1 - p)),
        ),
        Step(
            r"= \left[ \prod_{m \neq n} P_m \right]"
            r" \left( y_n p_n^{y_n-1} (1-p_n)^{1-y_n} - (1-y_n) p_n^{y_n} (1-p_n)^{-y_n} \right)",
            "without the division: the product of the others, times the trial's own derivative",
            lambda p, y: (
                _others(p, y)
                * (
                    y * jnp.power(p, y - 1) * jnp.power(1 - p, 1 - y)
                    - (1 - y) * jnp.power(p, y) * jnp.power(1 - p, -y)
                )
            ),
        ),
    ),
    source=SOURCE,
)

LOG_LIKELIHOOD = Derivation(
    name="log_likelihood",
    title="The log-likelihood: a sum, to be climbed",
    of=r"\frac{\partial \log L}{\partial p_n}",
    given=GIVEN,
    example=example,
    steps=(
        Step(
            r"= \lim_{h \to 0}"
            r" \frac{\log L(\ldots, p_n+h, \ldots) - \log L(\ldots, p_n-h, \ldots)}{2h}",
            "definition of the partial derivative",
            Limit(bernoulli.log_likelihood),
        ),
        Step(
            r"= \frac{\partial}{\partial p_n} \log \prod_m p_m^{y_m} (1-p_m)^{1-y_m}",
            "the probabilities of independent events multiply",
            lambda p, y: still_open(jnp.ones_like(p[0]), lambda q: jnp.log(jnp.prod(one(q, y))), p),
        ),
        Step(
            r"= \frac{\partial}{\partial p_n} \sum_m \log \left[ p_m^{y_m} (1-p_m)^{1-y_m} \right]",
            "log ab = log a + log b: the product becomes a sum",
            lambda p, y: still_open(jnp.ones_like(p[0]), lambda q: jnp.sum(jnp.log(one(q, y))), p),
        ),
        Step(
            r"= \frac{\partial}{\partial p_n} \log \left[ p_n^{y_n} (1-p_n)^{1-y_n} \right]",
            "the other terms do not contain p_n: their derivative is 0",
            lambda p, y: slope(lambda q: jnp.log(one(q, y)), p),
        ),
        Step(
            r"= \frac{\partial}{\partial p_n} \left[ y_n \log p_n + (1-y_n) \log(1-p_n) \right]",
            "log ab = log a + log b, and log aᵏ = k log a",
            lambda p, y: slope(lambda q: log_one(q, y), p),
        ),
        Step(
            r"= \frac{y_n}{p_n} + (1-y_n) \frac{\partial \log(1-p_n)}{\partial p_n}",
            "y is a constant; log′p = 1/p",
            lambda p, y: y / p + (1 - y) * slope(lambda q: jnp.log(1 - q), p),
        ),
        Step(
            r"= \frac{y_n}{p_n} + \frac{1-y_n}{1-p_n} \cdot \frac{\partial (1-p_n)}{\partial p_n}",
            "chain rule",
            lambda p, y: y / p + (1 - y) / (1 - p) * slope(lambda q: 1 - q, p),
        ),
        Step(
            r"= \frac{y_n}{p_n} - \frac{1-y_n}{1-p_n}",
            "the inner derivative is −1",
            lambda p, y: y / p - (1 - y) / (1 - p),
        ),
    ),
    source=SOURCE,
)

NEGATIVE_LOG_LIKELIHOOD = Derivation(
    name="negative_log_likelihood",
    title="The negative log-likelihood: the same sum, to be descended",
    of=r"\frac{\partial (-\log L)}{\partial p_n}",
    given=GIVEN,
    example=example,
    steps=(
        Step(
            r"= \lim_{h \to 0}"
            r" \frac{-\log L(\ldots, p_n+h, \ldots) + \log L(\ldots, p_n-h, \ldots)}{2h}",
            "definition of the partial derivative",
            Limit(bernoulli.negative_log_likelihood),
        ),
        Step(
            r"= -\frac{\partial \log L}{\partial p_n}",
            "a constant factor, −1, comes out of a derivative",
            lambda p, y: -still_open(jnp.ones_like(p[0]), lambda q: jnp.sum(log_one(q, y)), p),
        ),
        Step(
            r"= -\left( \frac{y_n}{p_n} - \frac{1-y_n}{1-p_n} \right)",
            "derivative of the log-likelihood",
            lambda p, y: -(y / p - (1 - y) / (1 - p)),
        ),
        Step(
            r"= -\frac{y_n}{p_n} + \frac{1-y_n}{1-p_n}",
            "the minus sign turns both terms",
            lambda p, y: -y / p + (1 - y) / (1 - p),
        ),
    ),
    source=SOURCE,
)
