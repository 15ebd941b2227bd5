"""Squared error, for contrast: scaled by any k > 0 its minimum stays where it is.

Through a sigmoid its gradient carries an extra factor ŷ(1−ŷ), which vanishes exactly where the
model is confident and wrong. Showing cross-entropy and updating with this gradient is a
well-known mistake.

Source: "How did binary cross-entropy loss come into existence?", section on scaling a function.
"""

import jax.numpy as jnp
from jaxtyping import Array

from handgrad._checks import require_floating, require_same_shape, require_scalar
from handgrad._types import Elementwise
from handgrad.gradients.cross_entropy import binary_residual
from handgrad.gradients.sigmoid import sigmoid_derivative


def _check(prediction: Array, y: Array, scale: float) -> None:
    require_floating("prediction", prediction)
    require_floating("y", y)
    require_same_shape("y", y, "the prediction", prediction)
    require_scalar("scale", scale)


def squared_error(prediction: Elementwise, y: Elementwise, scale: float = 1.0) -> Elementwise:
    """k (ŷ − y)², elementwise; with y = 0 it is the parabola k x²."""
    _check(prediction, y, scale)
    return scale * jnp.square(prediction - y)


def squared_error_gradient(
    prediction: Elementwise, y: Elementwise, scale: float = 1.0
) -> Elementwise:
    """∂/∂ŷ k (ŷ − y)² = 2k (ŷ − y): zero at ŷ = y, whatever k > 0 is."""
    _check(prediction, y, scale)
    return 2 * scale * (prediction - y)


def from_logits(logits: Elementwise, y: Elementwise) -> Elementwise:
    """½ (σ(z) − y)², elementwise: squared error of a probability."""
    return 0.5 * jnp.square(binary_residual(logits, y))


def from_logits_gradient(logits: Elementwise, y: Elementwise) -> Elementwise:
    """∂/∂z ½ (σ(z) − y)² = (ŷ − y) ŷ (1 − ŷ): cross-entropy's residual times σ′(z)."""
    return binary_residual(logits, y) * sigmoid_derivative(logits)
