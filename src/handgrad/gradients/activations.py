"""Activations of hidden layers, each beside its derivative, and the table that names them.

Source: "Neural networks", section on the sigmoid function; non-linear regions.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from handgrad._checks import require_floating
from handgrad.errors import InputError
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative


def tanh(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """tanh z = (eᶻ − e⁻ᶻ)/(eᶻ + e⁻ᶻ), in (−1, 1)."""
    require_floating("z", z)
    return jnp.tanh(z)


def tanh_derivative(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """tanh′(z) = 1 − tanh²z = sech²z = 4q/(1 + q(2 + q)) with q = e^−2|z|: no cancellation.

    Where q underflows, 4q may yet be a normal number; there it is (2e^−|z|)².
    """
    require_floating("z", z)
    minus_abs = jnp.where(z < 0, z, -z)  # jnp.abs has slope 0 at 0, which falsifies tanh‴(0) = −2
    q = jnp.exp(2 * minus_abs)  # and not the square of e^−|z|, which doubles the error of exp
    far = jnp.square(2 * jnp.exp(minus_abs))
    return jnp.where(q < jnp.finfo(q.dtype).tiny, far, 4 * q / (1 + q * (2 + q)))


def relu(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(z, 0). A kink at z = 0."""
    require_floating("z", z)
    return jnp.where(z > 0, z, jnp.zeros_like(z))


def relu_derivative(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 where z > 0, else 0; at the kink anything in [0, 1] is a subgradient, and 0 is taken."""
    require_floating("z", z)
    return jnp.where(z > 0, jnp.ones_like(z), jnp.zeros_like(z))


class Activation(NamedTuple):
    """An elementwise function beside its derivative, both taking z."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
}


def activation(name: str) -> Activation:
    """The activation called `name`. Raises InputError for any other name."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise InputError("activation", f"one of {', '.join(ACTIVATIONS)}", repr(name), "name one")
    return ACTIVATIONS[name]
