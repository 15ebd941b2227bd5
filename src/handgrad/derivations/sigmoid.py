r"""The sigmoid, its integral and its logarithm: σ′ by the quotient rule, and the form that lasts.

Everything here rests on one line, 1 − σ(z) = σ(−z). The textbook writes σ′ = σ(1 − σ), which is
right and in floating point loses every digit once σ rounds to 1; with that line it is σ(z) σ(−z).
"""

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.scalars import total
from handgrad.derivations.steps import Derivation, Step, slope
from handgrad.gradients import sigmoid as house
from handgrad.gradients.sigmoid import sigmoid

SOURCE = "Neural networks"
_GIVEN = "z is an array of logits, any real numbers; everything is elementwise."


def _example(key: Key) -> tuple:
    return (2 * random.normal(key, (3,)),)


def _e(z: Array) -> Array:
    """e⁻ᶻ."""
    return jnp.exp(-z)


SYMMETRY = Derivation(
    name="sigmoid_symmetry",
    title="1 − σ(z) = σ(−z)",
    of=r"1 - \sigma(z)",
    given=_GIVEN + " The lemma behind every form here that keeps its digits.",
    example=_example,
    steps=(
        Step(
            r"= 1 - \frac{1}{1+e^{-z}}",
            "definition of σ",
            lambda z: 1 - 1 / (1 + _e(z)),
        ),
        Step(
            r"= \frac{1+e^{-z} - 1}{1+e^{-z}}",
            "common denominator",
            lambda z: (1 + _e(z) - 1) / (1 + _e(z)),
        ),
        Step(
            r"= \frac{e^{-z}}{1+e^{-z}}",
            "1 − 1 cancels",
            lambda z: _e(z) / (1 + _e(z)),
        ),
        Step(
            r"= \frac{1}{e^{z}+1}",
            "numerator and denominator times eᶻ",
            lambda z: 1 / (jnp.exp(z) + 1),
        ),
        Step(
            r"= \sigma(-z)",
            "definition of σ, read at −z",
            lambda z: sigmoid(-z),
        ),
    ),
    source=SOURCE,
)

SIGMOID = Derivation(
    name="sigmoid",
    title="The derivative of the sigmoid",
    of=r"\sigma'(z)",
    given=_GIVEN,
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\sigma(z+h) - \sigma(z-h)}{2h}",
            "definition of the derivative",
            Limit(total(house.sigmoid)),
        ),
        Step(
            r"= \frac{\partial}{\partial z} \frac{1}{1+e^{-z}}",
            "definition of σ",
            lambda z: slope(lambda t: 1 / (1 + _e(t)), z),
        ),
        Step(
            r"= \frac{0 \cdot (1+e^{-z}) - 1 \cdot \frac{\partial}{\partial z} (1+e^{-z})}"
            r"{(1+e^{-z})^2}",
            "quotient rule; the derivative of the numerator 1 is 0",
            lambda z: (0 * (1 + _e(z)) - 1 * slope(lambda t: 1 + _e(t), z)) / jnp.square(1 + _e(z)),
        ),
        Step(
            r"= \frac{e^{-z}}{(1+e^{-z})^2}",
            "chain rule: the derivative of e⁻ᶻ is −e⁻ᶻ",
            lambda z: _e(z) / jnp.square(1 + _e(z)),
        ),
        Step(
            r"= \frac{1}{1+e^{-z}} \cdot \frac{e^{-z}}{1+e^{-z}}",
            "the square is two factors",
            lambda z: 1 / (1 + _e(z)) * (_e(z) / (1 + _e(z))),
        ),
        Step(
            r"= \frac{1}{1+e^{-z}} \left( \frac{1+e^{-z}}{1+e^{-z}} - \frac{1}{1+e^{-z}} \right)",
            "1 added to the second numerator and taken away again",
            lambda z: 1 / (1 + _e(z)) * ((1 + _e(z)) / (1 + _e(z)) - 1 / (1 + _e(z))),
        ),
        Step(
            r"= \sigma(z) \, (1 - \sigma(z))",
            "definition of σ, read backwards: the textbook form",
            lambda z: sigmoid(z) * (1 - sigmoid(z)),
        ),
        Step(
            r"= \sigma(z) \, \sigma(-z)",
            "1 − σ(z) = σ(−z): nothing cancels any more",
            lambda z: sigmoid(z) * sigmoid(-z),
        ),
    ),
    source=SOURCE,
)

SOFTPLUS = Derivation(
    name="softplus",
    title="The derivative of softplus is the sigmoid",
    of=r"\frac{\partial}{\partial z} \mathrm{softplus}(z)",
    given=_GIVEN,
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\mathrm{softplus}(z+h) - \mathrm{softplus}(z-h)}{2h}",
            "definition of the derivative",
            Limit(total(house.softplus)),
        ),
        Step(
            r"= \frac{\partial}{\partial z} \log(1+e^{z})",
            "definition of softplus",
            lambda z: slope(lambda t: jnp.log(1 + jnp.exp(t)), z),
        ),
        Step(
            r"= \frac{1}{1+e^{z}} \cdot \frac{\partial (1+e^{z})}{\partial z}",
            "chain rule; log′u = 1/u",
            lambda z: 1 / (1 + jnp.exp(z)) * slope(lambda t: 1 + jnp.exp(t), z),
        ),
        Step(
            r"= \frac{e^{z}}{1+e^{z}}",
            "the exponential is its own derivative",
            lambda z: jnp.exp(z) / (1 + jnp.exp(z)),
        ),
        Step(
            r"= \frac{1}{e^{-z}+1}",
            "numerator and denominator times e⁻ᶻ",
            lambda z: 1 / (_e(z) + 1),
        ),
        Step(r"= \sigma(z)", "definition of σ", sigmoid),
    ),
    source=SOURCE,
)

LOG_SIGMOID = Derivation(
    name="log_sigmoid",
    title="The derivative of log σ",
    of=r"\frac{\partial}{\partial z} \log \sigma(z)",
    given=_GIVEN,
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\log \sigma(z+h) - \log \sigma(z-h)}{2h}",
            "definition of the derivative",
            Limit(total(house.log_sigmoid)),
        ),
        Step(
            r"= \frac{1}{\sigma(z)} \sigma'(z)",
            "chain rule; log′u = 1/u",
            lambda z: 1 / sigmoid(z) * slope(sigmoid, z),
        ),
        Step(
            r"= \frac{\sigma(z) \, (1 - \sigma(z))}{\sigma(z)}",
            "σ′ = σ(1 − σ)",
            lambda z: sigmoid(z) * (1 - sigmoid(z)) / sigmoid(z),
        ),
        Step(
            r"= 1 - \sigma(z)",
            "σ(z) is never 0 and cancels",
            lambda z: 1 - sigmoid(z),
        ),
        Step(
            r"= \sigma(-z)",
            "1 − σ(z) = σ(−z)",
            lambda z: sigmoid(-z),
        ),
    ),
    source=SOURCE,
)

STEP = Derivation(
    name="step",
    title="The step: flat wherever it has a derivative",
    of=r"\mathrm{step}'(z)",
    given=_GIVEN + " The step jumps at z = 0, a declared kink: the points here lie off it.",
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\mathrm{step}(z+h) - \mathrm{step}(z-h)}{2h}",
            "definition of the derivative; at z = 0 there is no limit",
            Limit(total(house.step)),
        ),
        Step(
            r"= \begin{cases} \frac{\partial}{\partial z} 1 & z > 0 \\"
            r" \frac{\partial}{\partial z} 0 & z < 0 \end{cases}",
            "near any z other than 0 the step is a constant",
            lambda z: jnp.where(z > 0, slope(jnp.ones_like, z), slope(jnp.zeros_like, z)),
        ),
        Step(
            r"= 0",
            "the derivative of a constant is 0: descent learns nothing from it",
            jnp.zeros_like,
        ),
    ),
    source=SOURCE,
)
