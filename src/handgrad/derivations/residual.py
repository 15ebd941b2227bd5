r"""The residual: what binary cross-entropy says to a logit is ŷ − y; all else follows from it.

Two ways lead there. The first takes the loss apart as the textbook writes it, −y log ŷ −
(1−y) log(1−ŷ), and meets σ′, which cancels against both quotients. The second writes the loss as
log(1 + eᶻ) − yz, where nothing needs to cancel. The end is split by label: ŷ − y loses its digits
where ŷ comes near y, (1−y) σ(z) − y σ(−z) does not, and the two are one number.

Squared error through a sigmoid is the contrast: the same residual, times ŷ(1 − ŷ). That factor
vanishes where the model is sure, right or wrong, which is why a sure mistake then learns next to
nothing. A scale of a square leaves its minimum where it is.
"""

from functools import partial

import jax.numpy as jnp

from handgrad._types import Array
from handgrad.derivations.scalars import total
from handgrad.derivations.steps import (
    BINARY,
    Limit,
    definition,
    derive,
    drawn,
    in_terms_of,
    normal,
    slope,
    uniform,
)
from handgrad.gradients import cross_entropy, squared_error
from handgrad.gradients.sigmoid import sigmoid

_example = drawn(normal(3), uniform(3))
_GIVEN = "z are logits and y labels in [0, 1], of one shape, elementwise; ŷ = σ(z)."
of_logits = partial(derive, given=_GIVEN, example=_example)


def textbook(prediction: Array, y: Array) -> Array:
    """−y log ŷ − (1−y) log(1−ŷ)."""
    return -y * jnp.log(prediction) - (1 - y) * jnp.log(1 - prediction)


def _softplus(z: Array) -> Array:
    """log(1 + eᶻ), as it is written."""
    return jnp.log(1 + jnp.exp(z))


_in_p = in_terms_of(lambda z, y: sigmoid(z), lambda z, y: y)
_DEFINITION = definition(r"\ell({}, y)", "z", total(cross_entropy.binary))

RESIDUAL = of_logits(
    "residual",
    "The residual ŷ − y",
    r"\frac{\partial \ell}{\partial z}",
    _DEFINITION,
    r"= \frac{\partial}{\partial z} \left[ -y \log \hat y - (1-y) \log(1-\hat y) \right]",
    "the loss, with ŷ = σ(z)",
    lambda z, y: slope(lambda t: textbook(sigmoid(t), y), z),
    r"= -y \frac{\partial \log \hat y}{\partial z}"
    r" - (1-y) \frac{\partial \log(1-\hat y)}{\partial z}",
    "sum rule; y is a constant",
    lambda z, y: (
        -y * slope(lambda t: jnp.log(sigmoid(t)), z)
        - (1 - y) * slope(lambda t: jnp.log(1 - sigmoid(t)), z)
    ),
    r"= -\frac{y}{\hat y} \cdot \frac{\partial \hat y}{\partial z}"
    r" - \frac{1-y}{1-\hat y} \cdot \frac{\partial (1-\hat y)}{\partial z}",
    "chain rule; log′u = 1/u",
    lambda z, y: (
        -y / sigmoid(z) * slope(sigmoid, z)
        - (1 - y) / (1 - sigmoid(z)) * slope(lambda t: 1 - sigmoid(t), z)
    ),
    r"= \left( -\frac{y}{\hat y} + \frac{1-y}{1-\hat y} \right)"
    r" \frac{\partial \hat y}{\partial z}",
    "∂(1 − ŷ) = −∂ŷ, and ∂ŷ/∂z is a common factor",
    lambda z, y: (-y / sigmoid(z) + (1 - y) / (1 - sigmoid(z))) * slope(sigmoid, z),
    r"= \left( -\frac{y}{\hat y} + \frac{1-y}{1-\hat y} \right) \hat y (1-\hat y)",
    "σ′ = σ(1 − σ)",
    _in_p(lambda p, y: (-y / p + (1 - y) / (1 - p)) * p * (1 - p)),
    r"= -y (1-\hat y) + (1-y) \hat y",
    "multiplied out: each quotient cancels against a factor of σ′",
    _in_p(lambda p, y: -y * (1 - p) + (1 - y) * p),
    r"= -y + y \hat y + \hat y - y \hat y",
    "multiplied out",
    _in_p(lambda p, y: -y + y * p + p - y * p),
    r"= \hat y - y",
    "yŷ cancels: the textbook form",
    _in_p(lambda p, y: p - y),
    r"= (\hat y - y \hat y) - (y - y \hat y)",
    "yŷ taken from both",
    _in_p(lambda p, y: (p - y * p) - (y - y * p)),
    r"= (1-y) \, \hat y - y \, (1-\hat y)",
    "common factors: for y = 0 or y = 1 one of the two terms is 0",
    _in_p(lambda p, y: (1 - y) * p - y * (1 - p)),
    r"= (1-y) \, \sigma(z) - y \, \sigma(-z)",
    "1 − σ(z) = σ(−z): the form that keeps its digits",
    lambda z, y: (1 - y) * sigmoid(z) - y * sigmoid(-z),
)

FROM_LOGITS = of_logits(
    "residual_from_logits",
    "The residual again, from the loss as a function of the logit",
    r"\frac{\partial \ell}{\partial z}",
    _DEFINITION,
    r"= \frac{\partial}{\partial z}"
    r" \left[ -y \log \sigma(z) - (1-y) \log \sigma(-z) \right]",
    "the loss, with 1 − σ(z) = σ(−z)",
    lambda z, y: slope(lambda t: -y * jnp.log(sigmoid(t)) - (1 - y) * jnp.log(sigmoid(-t)), z),
    r"= \frac{\partial}{\partial z}"
    r" \left[ y \log(1+e^{-z}) + (1-y) \log(1+e^{z}) \right]",
    "−log σ(z) = log(1 + e⁻ᶻ)",
    lambda z, y: slope(lambda t: y * _softplus(-t) + (1 - y) * _softplus(t), z),
    r"= \frac{\partial}{\partial z}"
    r" \left[ y (\log(1+e^{z}) - z) + (1-y) \log(1+e^{z}) \right]",
    "log(1 + e⁻ᶻ) = log(e⁻ᶻ (eᶻ + 1)) = log(1 + eᶻ) − z",
    lambda z, y: slope(lambda t: y * (_softplus(t) - t) + (1 - y) * _softplus(t), z),
    r"= \frac{\partial}{\partial z} \left[ \log(1+e^{z}) - y z \right]",
    "y + (1 − y) = 1: the label is left in one place",
    lambda z, y: slope(lambda t: _softplus(t) - y * t, z),
    r"= \frac{\partial \log(1+e^{z})}{\partial z} - y",
    "sum rule; yz is linear in z",
    lambda z, y: slope(_softplus, z) - y,
    r"= \sigma(z) - y",
    "the derivative of softplus is the sigmoid",
    _in_p(lambda p, y: p - y),
    r"= (1-y) \, \sigma(z) - y \, \sigma(-z)",
    "yσ(z) taken from both terms; 1 − σ(z) = σ(−z)",
    lambda z, y: (1 - y) * sigmoid(z) - y * sigmoid(-z),
)

LABEL = of_logits(
    "label_derivative",
    "Binary cross-entropy in its label",
    r"\frac{\partial \ell}{\partial y}",
    definition(r"\ell(z, {})", "y", total(cross_entropy.binary), argnums=1),
    r"= \frac{\partial}{\partial y} \left[ -y \log \hat y - (1-y) \log(1-\hat y) \right]",
    "the loss, with ŷ = σ(z)",
    lambda z, y: slope(lambda t: textbook(sigmoid(z), t), y),
    r"= -\log \hat y + \log(1-\hat y)",
    "the loss is linear in y",
    _in_p(lambda p, y: -jnp.log(p) + jnp.log(1 - p)),
    r"= \log \frac{1-\hat y}{\hat y}",
    "log a − log b = log(a/b): the odds against class 1",
    _in_p(lambda p, y: jnp.log((1 - p) / p)),
    r"= \log \left[ \frac{e^{-z}}{1+e^{-z}} (1+e^{-z}) \right]",
    "1 − σ(z) = e⁻ᶻ/(1 + e⁻ᶻ), and 1/σ(z) = 1 + e⁻ᶻ",
    lambda z, y: jnp.log(jnp.exp(-z) / (1 + jnp.exp(-z)) * (1 + jnp.exp(-z))),
    r"= \log e^{-z}",
    "1 + e⁻ᶻ cancels",
    lambda z, y: jnp.log(jnp.exp(-z)),
    r"= -z",
    "the logarithm undoes the exponential: a logit is the logarithm of the odds",
    lambda z, y: -z,
)


# --- squared error, the contrast ------------------------------------------------------------------

SCALE = 3.0
"""k: any number above 0 would do."""


def _scaled(prediction: Array, y: Array) -> Array:
    return squared_error.squared_error(prediction, y, scale=SCALE)


SCALED_SQUARE = derive(
    "scaled_square",
    "A scaled square keeps its minimum",
    r"\frac{\partial}{\partial \hat y} k (\hat y - y)^2",
    r"= \lim_{h \to 0} \frac{k (\hat y + h - y)^2 - k (\hat y - h - y)^2}{2h}",
    "definition of the derivative",
    Limit(total(_scaled)),
    r"= k \frac{\partial}{\partial \hat y} (\hat y - y)^2",
    "a constant factor comes out of a derivative",
    lambda p, y: SCALE * slope(lambda t: jnp.square(t - y), p),
    r"= k \cdot 2 (\hat y - y) \frac{\partial (\hat y - y)}{\partial \hat y}",
    "power rule and chain rule",
    lambda p, y: SCALE * 2 * (p - y) * slope(lambda t: t - y, p),
    r"= 2 k (\hat y - y)",
    "the inner derivative is 1; it is 0 at ŷ = y, whatever k is",
    lambda p, y: 2 * SCALE * (p - y),
    given="ŷ and y are arrays of one shape, elementwise; k = 3 is a constant above 0.",
    example=_example,
    source=BINARY,
)

THROUGH_A_SIGMOID = of_logits(
    "sigmoid_squared_error",
    "Squared error through a sigmoid: the extra factor ŷ(1 − ŷ)",
    r"\frac{\partial}{\partial z} \frac{1}{2} (\hat y - y)^2",
    r"= \lim_{h \to 0} \frac{(\sigma(z+h) - y)^2 - (\sigma(z-h) - y)^2}{4h}",
    "definition of the derivative",
    Limit(total(squared_error.from_logits)),
    r"= \frac{\partial}{\partial z} \frac{1}{2} (\sigma(z) - y)^2",
    "ŷ = σ(z)",
    lambda z, y: slope(lambda t: 0.5 * jnp.square(sigmoid(t) - y), z),
    r"= (\hat y - y) \frac{\partial (\hat y - y)}{\partial z}",
    "power rule and chain rule: 2 and ½ cancel",
    lambda z, y: (sigmoid(z) - y) * slope(lambda t: sigmoid(t) - y, z),
    r"= (\hat y - y) \, \sigma'(z)",
    "y is a constant",
    lambda z, y: (sigmoid(z) - y) * slope(sigmoid, z),
    r"= (\hat y - y) \, \hat y (1 - \hat y)",
    "σ′ = σ(1 − σ); cross-entropy has the first factor alone",
    _in_p(lambda p, y: (p - y) * p * (1 - p)),
    r"= \left[ (1-y) \hat y - y (1-\hat y) \right] \hat y (1 - \hat y)",
    "yŷ taken away and added again: the residual split by label",
    _in_p(lambda p, y: ((1 - y) * p - y * (1 - p)) * p * (1 - p)),
    r"= \left[ (1-y) \sigma(z) - y \sigma(-z) \right] \sigma(z) \, \sigma(-z)",
    "1 − σ(z) = σ(−z), in both places where it would cancel",
    lambda z, y: ((1 - y) * sigmoid(z) - y * sigmoid(-z)) * (sigmoid(z) * sigmoid(-z)),
)
