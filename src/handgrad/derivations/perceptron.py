r"""The perceptron: a subgradient where mistakes count by how far they are on the wrong side.

Each point is either a mistake, where its cost is linear, or not, where it is 0: away from the line
between the two the derivative is read off. On the line (z = 0) is a kink, and only a subgradient.
What comes out is −(y − ŷ)(x, 1) again, with ŷ the step of the score: a point on its side says
nothing.
"""

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key
from handgrad.derivations.linear_models import mean_open, mean_push, scores_open
from handgrad.derivations.steps import definition, derive, slope
from handgrad.gradients import perceptron as house
from handgrad.gradients.linear import Params, affine
from handgrad.gradients.sigmoid import step


def _example(key: Key) -> tuple:
    a, b, c = random.split(key, 3)
    params = Params(random.normal(a, (2,)), random.normal(b, ()))
    x = random.normal(c, (4, 2))
    wrong = 1 - step(affine(params, x))
    return params, x, jnp.where(jnp.arange(4) < 2, wrong, 1 - wrong)  # two mistakes, two right


def _sign(y: Array) -> Array:
    """t = 2y − 1."""
    return 2 * y - 1


def _is_mistake(params: Params, x: Features, y: Array) -> Array:
    return _sign(y) * affine(params, x) < 0


def _pushes(params: Params, x: Features, y: Array) -> Array:
    """−t for a mistake, else 0."""
    return jnp.where(_is_mistake(params, x, y), -_sign(y), jnp.zeros_like(y))


PERCEPTRON = derive(
    "perceptron",
    "The perceptron's subgradient",
    r"\frac{\partial E}{\partial (w, b)}",
    definition(
        r"E(\ldots, {}, \ldots)", "w_d", house.loss, "; with a point on the line there is no limit"
    ),
    r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \max(0, -t_n z_n)",
    "the error: how far the mistakes are on the wrong side",
    lambda params, x, y: slope(
        lambda p: jnp.sum(jnp.maximum(0.0, -_sign(y) * affine(p, x))) / x.shape[0], params
    ),
    r"= \frac{1}{N} \sum_n \begin{cases} \frac{\partial}{\partial (w, b)} (-t_n z_n)"
    r" & t_n z_n < 0 \\ 0 & t_n z_n > 0 \end{cases}",
    "sum rule; off the kink the maximum is one of the two all around",
    lambda params, x, y: mean_open(
        _is_mistake(params, x, y).astype(x.dtype),
        lambda p: -_sign(y) * affine(p, x),
        params,
    ),
    r"= \frac{1}{N} \sum_{n: \, t_n z_n < 0} -t_n \frac{\partial z_n}{\partial (w, b)}",
    "only the mistakes are left; t is a constant",
    lambda params, x, y: scores_open(_pushes(params, x, y), params, x),
    r"= \frac{1}{N} \sum_{n: \, t_n z_n < 0} -t_n (x_n, 1)",
    "z = w·x + b is linear: ∂z/∂w = x, ∂z/∂b = 1",
    lambda params, x, y: mean_push(_pushes(params, x, y), x),
    r"= -\frac{1}{N} \sum_n (y_n - \hat y_n) (x_n, 1), \quad \hat y_n = \mathrm{step}(z_n)",
    "y − ŷ is t for a mistake and 0 otherwise: the form of logistic regression",
    lambda params, x, y: mean_push(-(y - step(affine(params, x))), x),
    given="x is (N, D), y is (N,) in {0, 1}, t_n = 2y_n − 1; z_n = w·x_n + b, E is the mean of "
    "max(0, −t_n z_n). A declared kink at z_n = 0: the points here lie off it. Each line holds "
    "∂/∂w and ∂/∂b.",
    example=_example,
)
