r"""Squared error: where a scale leaves the minimum, and what a sigmoid in front does to it.

The second is the contrast to cross-entropy: the same residual, times ŷ(1 − ŷ). That factor vanishes
where the model is sure, right or wrong, which is why a sure mistake then learns next to nothing.
"""

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.scalars import total
from handgrad.derivations.steps import Derivation, Step, slope
from handgrad.gradients import squared_error as house
from handgrad.gradients.sigmoid import sigmoid

SCALE = 3.0
"""k: any number above 0 would do."""


def _example(key: Key) -> tuple:
    a, b = random.split(key)
    return 2 * random.normal(a, (3,)), random.uniform(b, (3,))


def _scaled(prediction: Array, y: Array) -> Array:
    return house.squared_error(prediction, y, scale=SCALE)


SCALED_SQUARE = Derivation(
    name="scaled_square",
    title="A scaled square keeps its minimum",
    of=r"\frac{\partial}{\partial \hat y} k (\hat y - y)^2",
    given="ŷ and y are arrays of one shape, elementwise; k = 3 is a constant above 0.",
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{k (\hat y + h - y)^2 - k (\hat y - h - y)^2}{2h}",
            "definition of the derivative",
            Limit(total(_scaled)),
        ),
        Step(
            r"= k \frac{\partial}{\partial \hat y} (\hat y - y)^2",
            "a constant factor comes out of a derivative",
            lambda p, y: SCALE * slope(lambda t: jnp.square(t - y), p),
        ),
        Step(
            r"= k \cdot 2 (\hat y - y) \frac{\partial (\hat y - y)}{\partial \hat y}",
            "power rule and chain rule",
            lambda p, y: SCALE * 2 * (p - y) * slope(lambda t: t - y, p),
        ),
        Step(
            r"= 2 k (\hat y - y)",
            "the inner derivative is 1; it is 0 at ŷ = y, whatever k is",
            lambda p, y: 2 * SCALE * (p - y),
        ),
    ),
    source="How did binary cross-entropy loss come into existence?",
)

THROUGH_A_SIGMOID = Derivation(
    name="sigmoid_squared_error",
    title="Squared error through a sigmoid: the extra factor ŷ(1 − ŷ)",
    of=r"\frac{\partial}{\partial z} \frac{1}{2} (\hat y - y)^2",
    given="z are logits and y labels in [0, 1], of one shape, elementwise; ŷ = σ(z).",
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{(\sigma(z+h) - y)^2 - (\sigma(z-h) - y)^2}{4h}",
            "definition of the derivative",
            Limit(total(house.from_logits)),
        ),
        Step(
            r"= \frac{\partial}{\partial z} \frac{1}{2} (\sigma(z) - y)^2",
            "ŷ = σ(z)",
            lambda z, y: slope(lambda t: 0.5 * jnp.square(sigmoid(t) - y), z),
        ),
        Step(
            r"= (\hat y - y) \frac{\partial (\hat y - y)}{\partial z}",
            "power rule and chain rule: 2 and ½ cancel",
            lambda z, y: (sigmoid(z) - y) * slope(lambda t: sigmoid(t) - y, z),
        ),
        Step(
            r"= (\hat y - y) \, \sigma'(z)",
            "y is a constant",
            lambda z, y: (sigmoid(z) - y) * slope(sigmoid, z),
        ),
        Step(
            r"= (\hat y - y) \, \hat y (1 - \hat y)",
            "σ′ = σ(1 − σ); cross-entropy has the first factor alone",
            lambda z, y: (sigmoid(z) - y) * sigmoid(z) * (1 - sigmoid(z)),
        ),
        Step(
            r"= \left[ (1-y) \hat y - y (1-\hat y) \right] \hat y (1 - \hat y)",
            "yŷ taken away and added again: the residual split by label",
            lambda z, y: (
                ((1 - y) * sigmoid(z) - y * (1 - sigmoid(z))) * sigmoid(z) * (1 - sigmoid(z))
            ),
        ),
        Step(
            r"= \left[ (1-y) \sigma(z) - y \sigma(-z) \right] \sigma(z) \, \sigma(-z)",
            "1 − σ(z) = σ(−z), in both places where it would cancel",
            lambda z, y: ((1 - y) * sigmoid(z) - y * sigmoid(-z)) * (sigmoid(z) * sigmoid(-z)),
        ),
    ),
    source="Neural networks",
)
