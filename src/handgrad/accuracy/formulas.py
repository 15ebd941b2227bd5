"""The formulas by which people compute the scalar gradients of the cross-entropy family: one table.

Each is an elementwise function of an array of logits. Of four forms, for each target:

- textbook: the closed form as books give it;
- stable: the closed form of this package;
- library autodiff: `jax.grad` through the loss of optax, or the function of `jax.nn`;
- naive autodiff: `jax.grad` through the loss as one would write it down first.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from handgrad import losses
from handgrad.accuracy import truths
from handgrad.accuracy.truths import Truth
from handgrad.gradients import cross_entropy, sigmoid


class Target(NamedTuple):
    """A derivative that the formulas compute, and what it really is."""

    name: str
    truth: Truth


class Formula(NamedTuple):
    """One way to compute a target."""

    target: Target
    form: str
    text: str
    function: Callable[[Array], Array]


RESIDUAL_0 = Target("residual, y = 0", truths.SIGMOID)
RESIDUAL_1 = Target("residual, y = 1", truths.MINUS_SIGMOID_OF_MINUS)
LOG_SIGMOID = Target("log_sigmoid′", truths.SIGMOID_OF_MINUS)
SOFTPLUS = Target("softplus′", truths.SIGMOID)
SIGMOID = Target("sigmoid′", truths.SIGMOID_DERIVATIVE)
TANH = Target("tanh′", truths.TANH_DERIVATIVE)

TARGETS = (RESIDUAL_0, RESIDUAL_1, LOG_SIGMOID, SOFTPLUS, SIGMOID, TANH)

TEXTBOOK, STABLE, DROP_IN = "textbook", "stable", "drop-in loss"
LIBRARY, NAIVE = "library autodiff", "naive autodiff"
OWN = (STABLE, DROP_IN)
"""What this package offers for use, and answers for."""


def grad(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """`jax.grad` of an elementwise function, for an array of points at once."""
    return jax.grad(lambda z: jnp.sum(function(z)))


def labelled(function: Callable[[Array, Array], Array], y: float) -> Callable[[Array], Array]:
    """A function of logits and labels, at one label."""
    return lambda z: function(z, jnp.full_like(z, y))


def p(z: Array) -> Array:
    """The sigmoid as one would write it down first."""
    return 1 / (1 + jnp.exp(-z))


def naive_tanh(z: Array) -> Array:
    """tanh by its definition."""
    return (jnp.exp(z) - jnp.exp(-z)) / (jnp.exp(z) + jnp.exp(-z))


BCE = optax.sigmoid_binary_cross_entropy
OURS = losses.sigmoid_binary_cross_entropy
RESIDUAL, DIFFERENCE = cross_entropy.binary_residual, cross_entropy.binary_residual_textbook

FORMULAS = (
    Formula(RESIDUAL_0, TEXTBOOK, "σ(z) − y", labelled(DIFFERENCE, 0)),
    Formula(RESIDUAL_0, STABLE, "(1−y) σ(z) − y σ(−z)", labelled(RESIDUAL, 0)),
    Formula(RESIDUAL_0, DROP_IN, "jax.grad of the loss of handgrad", grad(labelled(OURS, 0))),
    Formula(RESIDUAL_0, LIBRARY, "jax.grad of optax's loss", grad(labelled(BCE, 0))),
    Formula(
        RESIDUAL_0, NAIVE, "jax.grad of −log(1 − 1/(1+e⁻ᶻ))", grad(lambda z: -jnp.log(1 - p(z)))
    ),
    Formula(RESIDUAL_1, TEXTBOOK, "σ(z) − y", labelled(DIFFERENCE, 1)),
    Formula(RESIDUAL_1, STABLE, "(1−y) σ(z) − y σ(−z)", labelled(RESIDUAL, 1)),
    Formula(RESIDUAL_1, DROP_IN, "jax.grad of the loss of handgrad", grad(labelled(OURS, 1))),
    Formula(RESIDUAL_1, LIBRARY, "jax.grad of optax's loss", grad(labelled(BCE, 1))),
    Formula(RESIDUAL_1, NAIVE, "jax.grad of −log(1/(1+e⁻ᶻ))", grad(lambda z: -jnp.log(p(z)))),
    Formula(LOG_SIGMOID, TEXTBOOK, "1 − σ(z)", lambda z: 1 - sigmoid.sigmoid(z)),
    Formula(LOG_SIGMOID, STABLE, "σ(−z)", sigmoid.log_sigmoid_derivative),
    Formula(LOG_SIGMOID, LIBRARY, "jax.grad of jax.nn.log_sigmoid", grad(jax.nn.log_sigmoid)),
    Formula(LOG_SIGMOID, NAIVE, "jax.grad of log(1/(1+e⁻ᶻ))", grad(lambda z: jnp.log(p(z)))),
    Formula(SOFTPLUS, TEXTBOOK, "eᶻ/(1+eᶻ)", lambda z: jnp.exp(z) / (1 + jnp.exp(z))),
    Formula(SOFTPLUS, STABLE, "σ(z)", sigmoid.softplus_derivative),
    Formula(SOFTPLUS, LIBRARY, "jax.grad of jax.nn.softplus", grad(jax.nn.softplus)),
    Formula(SOFTPLUS, NAIVE, "jax.grad of log(1+eᶻ)", grad(lambda z: jnp.log(1 + jnp.exp(z)))),
    Formula(SIGMOID, TEXTBOOK, "σ(z)(1 − σ(z))", sigmoid.sigmoid_derivative_textbook),
    Formula(SIGMOID, STABLE, "σ(z) σ(−z)", sigmoid.sigmoid_derivative),
    Formula(SIGMOID, LIBRARY, "jax.grad of jax.nn.sigmoid", grad(jax.nn.sigmoid)),
    Formula(SIGMOID, NAIVE, "jax.grad of 1/(1+e⁻ᶻ)", grad(p)),
    Formula(TANH, TEXTBOOK, "1 − tanh²z", lambda z: 1 - jnp.square(jnp.tanh(z))),
    Formula(TANH, STABLE, "4q/(1+q(2+q)), q = e^−2|z|", sigmoid.tanh_derivative),
    Formula(TANH, LIBRARY, "jax.grad of jnp.tanh", grad(jnp.tanh)),
    Formula(TANH, NAIVE, "jax.grad of (eᶻ−e⁻ᶻ)/(eᶻ+e⁻ᶻ)", grad(naive_tanh)),
)
