r"""One step of gradient descent for one point: which sign the label has, and which the prediction.

A step goes against the gradient, and the gradient of cross-entropy is −(y − ŷ)(x, 1): two minus
signs make w + α(y − ŷ)x. With y + ŷ there, as one sometimes reads, no line would follow.
"""

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key, Scalar
from handgrad.derivations.limit import Limit
from handgrad.derivations.steps import Derivation, Step
from handgrad.gradients import logistic as house
from handgrad.gradients.linear import Params
from handgrad.gradients.sigmoid import sigmoid


def _example(key: Key) -> tuple:
    a, b, c, d, e = random.split(key, 5)
    params = Params(random.normal(a, (2,)), random.normal(b, ()))
    return params, random.uniform(c, (), minval=0.1), random.normal(d, (2,)), random.uniform(e, ())


def _stepped(params: Params, rate: Scalar, x: Array, y: Scalar) -> Scalar:
    """½‖(w, b)‖² − α E: its derivative is (w, b) − α ∂E/∂(w, b), which is the step."""
    half_square = sum(0.5 * jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
    return half_square - rate * house.loss(params, x[None, :], y[None])


def _prediction(params: Params, x: Array) -> Scalar:
    return sigmoid(jnp.sum(params.weight * x) + params.bias)


def _moved(params: Params, length: Scalar, x: Array) -> Params:
    """(w, b) + length · (x, 1)."""
    return Params(params.weight + length * x, params.bias + length)


DESCENT = Derivation(
    name="descent_step",
    title="One step of gradient descent",
    of=r"(w', b')",
    given=(
        "x is one point, (D,), y its label in [0, 1], α the learning rate; the parameters are w, "
        "(D,), and b, ŷ = σ(w·x + b), and E is the cross-entropy of this point, in nats."
    ),
    example=_example,
    steps=(
        Step(
            r"= (w, b) - \alpha \lim_{h \to 0}"
            r" \frac{E(\ldots, w_d+h, \ldots) - E(\ldots, w_d-h, \ldots)}{2h}",
            "definition of the step, against the gradient; definition of the partial derivative",
            Limit(_stepped),
        ),
        Step(
            r"= (w, b) - \alpha \left[ -(y - \hat y) (x, 1) \right]",
            "the gradient of logistic regression, for one point",
            lambda params, rate, x, y: _moved(params, -rate * -(y - _prediction(params, x)), x),
        ),
        Step(
            r"= (w, b) + \alpha (y - \hat y) (x, 1)",
            "two minus signs: towards the point if its label is above the prediction",
            lambda params, rate, x, y: _moved(params, rate * (y - _prediction(params, x)), x),
        ),
        Step(
            r"= (w, b) - \alpha (\hat y - y) (x, 1)",
            "the same with the residual ŷ − y, as the algorithm is often written",
            lambda params, rate, x, y: _moved(params, -rate * (_prediction(params, x) - y), x),
        ),
        Step(
            r"= \left( w - \alpha (\hat y - y) x, \; b - \alpha (\hat y - y) \right)",
            "written out: the bias moves as a weight whose feature is 1, and no x is in it",
            lambda params, rate, x, y: Params(
                params.weight - rate * (_prediction(params, x) - y) * x,
                params.bias - rate * (_prediction(params, x) - y),
            ),
        ),
    ),
    source="Neural networks",
)
