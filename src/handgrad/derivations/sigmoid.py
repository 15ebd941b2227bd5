r"""The sigmoid, its integral and its logarithm, and the activations of hidden layers.

For the sigmoid everything rests on one line, 1 − σ(z) = σ(−z). The textbook writes σ′ = σ(1 − σ),
which is right and in floating point loses every digit once σ rounds to 1; with that line it is
σ(z) σ(−z). The textbook's tanh′ = 1 − tanh² cancels where tanh comes near ±1; with q = e^(−2|z|)
the same number is a quotient of sums. The step and relu have a kink at 0; there any slope of relu
from 0 to 1 is a subgradient.
"""

from functools import partial

import jax.numpy as jnp

from handgrad._types import Array
from handgrad.derivations.steps import definition, derive, drawn, normal, slope, total
from handgrad.gradients import sigmoid as house
from handgrad.gradients.sigmoid import sigmoid

_LOGITS = "z is an array of logits, any real numbers; everything is elementwise."
_NUMBERS = "z is an array of real numbers; everything is elementwise."
of_logits = partial(derive, given=_LOGITS, example=drawn(normal(3)))
of_numbers = partial(derive, given=_NUMBERS, example=drawn(normal(3)))


def _e(z: Array) -> Array:
    """e⁻ᶻ."""
    return jnp.exp(-z)


SYMMETRY = of_logits(
    "sigmoid_symmetry",
    "1 − σ(z) = σ(−z)",
    r"1 - \sigma(z)",
    r"= 1 - \frac{1}{1+e^{-z}}",
    "definition of σ",
    lambda z: 1 - 1 / (1 + _e(z)),
    r"= \frac{1+e^{-z} - 1}{1+e^{-z}}",
    "common denominator",
    lambda z: (1 + _e(z) - 1) / (1 + _e(z)),
    r"= \frac{e^{-z}}{1+e^{-z}}",
    "1 − 1 cancels",
    lambda z: _e(z) / (1 + _e(z)),
    r"= \frac{1}{e^{z}+1}",
    "numerator and denominator times eᶻ",
    lambda z: 1 / (jnp.exp(z) + 1),
    r"= \sigma(-z)",
    "definition of σ, read at −z",
    lambda z: sigmoid(-z),
    given=_LOGITS + " The lemma behind every form here that keeps its digits.",
)

SIGMOID = of_logits(
    "sigmoid",
    "The derivative of the sigmoid",
    r"\sigma'(z)",
    definition(r"\sigma({})", "z", total(house.sigmoid)),
    r"= \frac{\partial}{\partial z} \frac{1}{1+e^{-z}}",
    "definition of σ",
    lambda z: slope(lambda t: 1 / (1 + _e(t)), z),
    r"= \frac{0 \cdot (1+e^{-z}) - 1 \cdot \frac{\partial}{\partial z} (1+e^{-z})}{(1+e^{-z})^2}",
    "quotient rule; the derivative of the numerator 1 is 0",
    lambda z: (0 * (1 + _e(z)) - 1 * slope(lambda t: 1 + _e(t), z)) / jnp.square(1 + _e(z)),
    r"= \frac{e^{-z}}{(1+e^{-z})^2}",
    "chain rule: the derivative of e⁻ᶻ is −e⁻ᶻ",
    lambda z: _e(z) / jnp.square(1 + _e(z)),
    r"= \frac{1}{1+e^{-z}} \cdot \frac{e^{-z}}{1+e^{-z}}",
    "the square is two factors",
    lambda z: 1 / (1 + _e(z)) * (_e(z) / (1 + _e(z))),
    r"= \frac{1}{1+e^{-z}} \left( \frac{1+e^{-z}}{1+e^{-z}} - \frac{1}{1+e^{-z}} \right)",
    "1 added to the second numerator and taken away again",
    lambda z: 1 / (1 + _e(z)) * ((1 + _e(z)) / (1 + _e(z)) - 1 / (1 + _e(z))),
    r"= \sigma(z) \, (1 - \sigma(z))",
    "definition of σ, read backwards: the textbook form",
    lambda z: sigmoid(z) * (1 - sigmoid(z)),
    r"= \sigma(z) \, \sigma(-z)",
    "1 − σ(z) = σ(−z): nothing cancels any more",
    lambda z: sigmoid(z) * sigmoid(-z),
)

SOFTPLUS = of_logits(
    "softplus",
    "The derivative of softplus is the sigmoid",
    r"\frac{\partial}{\partial z} \mathrm{softplus}(z)",
    definition(r"\mathrm{softplus}({})", "z", total(house.softplus)),
    r"= \frac{\partial}{\partial z} \log(1+e^{z})",
    "definition of softplus",
    lambda z: slope(lambda t: jnp.log(1 + jnp.exp(t)), z),
    r"= \frac{1}{1+e^{z}} \cdot \frac{\partial (1+e^{z})}{\partial z}",
    "chain rule; log′u = 1/u",
    lambda z: 1 / (1 + jnp.exp(z)) * slope(lambda t: 1 + jnp.exp(t), z),
    r"= \frac{e^{z}}{1+e^{z}}",
    "the exponential is its own derivative",
    lambda z: jnp.exp(z) / (1 + jnp.exp(z)),
    r"= \frac{1}{e^{-z}+1}",
    "numerator and denominator times e⁻ᶻ",
    lambda z: 1 / (_e(z) + 1),
    r"= \sigma(z)",
    "definition of σ",
    sigmoid,
)

LOG_SIGMOID = of_logits(
    "log_sigmoid",
    "The derivative of log σ",
    r"\frac{\partial}{\partial z} \log \sigma(z)",
    definition(r"\log \sigma({})", "z", total(house.log_sigmoid)),
    r"= \frac{1}{\sigma(z)} \sigma'(z)",
    "chain rule; log′u = 1/u",
    lambda z: 1 / sigmoid(z) * slope(sigmoid, z),
    r"= \frac{\sigma(z) \, (1 - \sigma(z))}{\sigma(z)}",
    "σ′ = σ(1 − σ)",
    lambda z: sigmoid(z) * (1 - sigmoid(z)) / sigmoid(z),
    r"= 1 - \sigma(z)",
    "σ(z) is never 0 and cancels",
    lambda z: 1 - sigmoid(z),
    r"= \sigma(-z)",
    "1 − σ(z) = σ(−z)",
    lambda z: sigmoid(-z),
)

STEP = of_logits(
    "step",
    "The step: flat wherever it has a derivative",
    r"\mathrm{step}'(z)",
    definition(r"\mathrm{step}({})", "z", total(house.step), "; at z = 0 there is no limit"),
    r"= \begin{cases} \frac{\partial}{\partial z} 1 & z > 0 \\"
    r" \frac{\partial}{\partial z} 0 & z < 0 \end{cases}",
    "near any z other than 0 the step is a constant",
    lambda z: jnp.where(z > 0, slope(jnp.ones_like, z), slope(jnp.zeros_like, z)),
    r"= 0",
    "the derivative of a constant is 0: descent learns nothing from it",
    jnp.zeros_like,
    given=_LOGITS + " The step jumps at z = 0, a declared kink: the points here lie off it.",
)


def _minus(z: Array) -> Array:
    """eᶻ − e⁻ᶻ."""
    return jnp.exp(z) - jnp.exp(-z)


def _plus(z: Array) -> Array:
    """eᶻ + e⁻ᶻ."""
    return jnp.exp(z) + jnp.exp(-z)


def _q(z: Array) -> Array:
    """e^(−2|z|), at most 1."""
    return jnp.exp(-2 * jnp.abs(z))


TANH = of_numbers(
    "tanh",
    "The derivative of tanh",
    r"\tanh'(z)",
    definition(r"\tanh({})", "z", total(house.tanh)),
    r"= \frac{\partial}{\partial z} \frac{e^{z}-e^{-z}}{e^{z}+e^{-z}}",
    "definition of tanh",
    lambda z: slope(lambda t: _minus(t) / _plus(t), z),
    r"= \frac{(e^{z}-e^{-z})' (e^{z}+e^{-z}) - (e^{z}-e^{-z}) (e^{z}+e^{-z})'}{(e^{z}+e^{-z})^2}",
    "quotient rule",
    lambda z: (slope(_minus, z) * _plus(z) - _minus(z) * slope(_plus, z)) / jnp.square(_plus(z)),
    r"= \frac{(e^{z}+e^{-z})^2 - (e^{z}-e^{-z})^2}{(e^{z}+e^{-z})^2}",
    "chain rule: sum and difference are each other's derivative",
    lambda z: (jnp.square(_plus(z)) - jnp.square(_minus(z))) / jnp.square(_plus(z)),
    r"= 1 - \tanh^2 z",
    "definition of tanh, read backwards: the textbook form",
    lambda z: 1 - jnp.square(jnp.tanh(z)),
    r"= \frac{4 e^{z} e^{-z}}{(e^{z}+e^{-z})^2}",
    "over the common denominator again, where (a + b)² − (a − b)² = 4ab",
    lambda z: 4 * jnp.exp(z) * jnp.exp(-z) / jnp.square(_plus(z)),
    r"= \frac{4 q}{(1+q)^2}, \quad q = e^{-2|z|}",
    "eᶻ e⁻ᶻ = 1; numerator and denominator times q, the same for z and −z",
    lambda z: 4 * _q(z) / jnp.square(1 + _q(z)),
    r"= \frac{4 q}{1 + q (2 + q)}",
    "the square multiplied out: no large number, and nothing cancels",
    lambda z: 4 * _q(z) / (1 + _q(z) * (2 + _q(z))),
)

RELU = of_numbers(
    "relu",
    "The derivative of relu",
    r"\mathrm{relu}'(z)",
    definition(
        r"\mathrm{relu}({})",
        "z",
        total(house.relu),
        "; at z = 0 it is 0 from the left and 1 from the right",
    ),
    r"= \frac{\partial}{\partial z} \max(z, 0)",
    "definition of relu",
    lambda z: slope(lambda t: jnp.maximum(t, 0.0), z),
    r"= \begin{cases} \frac{\partial}{\partial z} z & z > 0 \\"
    r" \frac{\partial}{\partial z} 0 & z < 0 \end{cases}",
    "near any z other than 0 the same one of the two is the larger",
    lambda z: jnp.where(z > 0, slope(lambda t: 1.0 * t, z), slope(jnp.zeros_like, z)),
    r"= \begin{cases} 1 & z > 0 \\ 0 & z < 0 \end{cases}",
    "derivatives of z and of a constant; at z = 0 the house takes 0",
    lambda z: jnp.where(z > 0, jnp.ones_like(z), jnp.zeros_like(z)),
    given=_NUMBERS + " relu has a declared kink at z = 0: the points here lie off it.",
)
