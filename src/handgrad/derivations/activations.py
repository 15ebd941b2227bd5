r"""Activations of hidden layers: tanh by the quotient rule, relu by its two halves.

The textbook's tanh′ = 1 − tanh² cancels where tanh comes near ±1; with q = e^(−2|z|) the same
number is a quotient of sums. relu has a kink at 0, where any slope from 0 to 1 is a subgradient.
"""

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.scalars import total
from handgrad.derivations.steps import Derivation, Step, slope
from handgrad.gradients import sigmoid as house

SOURCE = "Neural networks"
_GIVEN = "z is an array of real numbers; everything is elementwise."


def _example(key: Key) -> tuple:
    return (2 * random.normal(key, (3,)),)


def _minus(z: Array) -> Array:
    """eᶻ − e⁻ᶻ."""
    return jnp.exp(z) - jnp.exp(-z)


def _plus(z: Array) -> Array:
    """eᶻ + e⁻ᶻ."""
    return jnp.exp(z) + jnp.exp(-z)


def _q(z: Array) -> Array:
    """e^(−2|z|), at most 1."""
    return jnp.exp(-2 * jnp.abs(z))


TANH = Derivation(
    name="tanh",
    title="The derivative of tanh",
    of=r"\tanh'(z)",
    given=_GIVEN,
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\tanh(z+h) - \tanh(z-h)}{2h}",
            "definition of the derivative",
            Limit(total(house.tanh)),
        ),
        Step(
            r"= \frac{\partial}{\partial z} \frac{e^{z}-e^{-z}}{e^{z}+e^{-z}}",
            "definition of tanh",
            lambda z: slope(lambda t: _minus(t) / _plus(t), z),
        ),
        Step(
            r"= \frac{(e^{z}-e^{-z})' (e^{z}+e^{-z}) - (e^{z}-e^{-z}) (e^{z}+e^{-z})'}"
            r"{(e^{z}+e^{-z})^2}",
            "quotient rule",
            lambda z: (
                (slope(_minus, z) * _plus(z) - _minus(z) * slope(_plus, z)) / jnp.square(_plus(z))
            ),
        ),
        Step(
            r"= \frac{(e^{z}+e^{-z})^2 - (e^{z}-e^{-z})^2}{(e^{z}+e^{-z})^2}",
            "chain rule: sum and difference are each other's derivative",
            lambda z: (jnp.square(_plus(z)) - jnp.square(_minus(z))) / jnp.square(_plus(z)),
        ),
        Step(
            r"= 1 - \tanh^2 z",
            "definition of tanh, read backwards: the textbook form",
            lambda z: 1 - jnp.square(jnp.tanh(z)),
        ),
        Step(
            r"= \frac{4 e^{z} e^{-z}}{(e^{z}+e^{-z})^2}",
            "over the common denominator again, where (a + b)² − (a − b)² = 4ab",
            lambda z: 4 * jnp.exp(z) * jnp.exp(-z) / jnp.square(_plus(z)),
        ),
        Step(
            r"= \frac{4 q}{(1+q)^2}, \quad q = e^{-2|z|}",
            "eᶻ e⁻ᶻ = 1; numerator and denominator times q, the same for z and −z",
            lambda z: 4 * _q(z) / jnp.square(1 + _q(z)),
        ),
        Step(
            r"= \frac{4 q}{1 + q (2 + q)}",
            "the square multiplied out: no large number, and nothing cancels",
            lambda z: 4 * _q(z) / (1 + _q(z) * (2 + _q(z))),
        ),
    ),
    source=SOURCE,
)

RELU = Derivation(
    name="relu",
    title="The derivative of relu",
    of=r"\mathrm{relu}'(z)",
    given=_GIVEN + " relu has a declared kink at z = 0: the points here lie off it.",
    example=_example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{\mathrm{relu}(z+h) - \mathrm{relu}(z-h)}{2h}",
            "definition of the derivative; at z = 0 it is 0 from the left and 1 from the right",
            Limit(total(house.relu)),
        ),
        Step(
            r"= \frac{\partial}{\partial z} \max(z, 0)",
            "definition of relu",
            lambda z: slope(lambda t: jnp.maximum(t, 0.0), z),
        ),
        Step(
            r"= \begin{cases} \frac{\partial}{\partial z} z & z > 0 \\"
            r" \frac{\partial}{\partial z} 0 & z < 0 \end{cases}",
            "near any z other than 0 the same one of the two is the larger",
            lambda z: jnp.where(z > 0, slope(lambda t: 1.0 * t, z), slope(jnp.zeros_like, z)),
        ),
        Step(
            r"= \begin{cases} 1 & z > 0 \\ 0 & z < 0 \end{cases}",
            "derivatives of z and of a constant; at z = 0 the house takes 0",
            lambda z: jnp.where(z > 0, jnp.ones_like(z), jnp.zeros_like(z)),
        ),
    ),
    source=SOURCE,
)
