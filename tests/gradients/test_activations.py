"""Activations of hidden layers and their derivatives."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.gradients.activations import (
    ACTIVATIONS,
    activation,
    relu,
    relu_derivative,
    tanh_derivative,
)
from handgrad.verify.ulp import ulp_error


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_derivative_is_that_of_autodiff(name, dtype):
    z = jnp.asarray([-2.5, -1.0, -0.1, 0.1, 1.0, 2.5], dtype)
    auto = jax.vmap(jax.grad(activation(name).value))(z)
    # Autodiff of tanh and sigmoid cancels in 1 − y², 1 − σ: at 2.5 that costs 4 bits.
    rtol = 64 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(activation(name).derivative(z), auto, rtol=rtol)


def test_the_derivative_of_tanh_keeps_its_digits_far_out(dtype, real):
    """1 − tanh² is 0 from z = 10 on in float32; the truth at 40 is 7e-35."""
    far = 43 if dtype == "float32" else 350
    z = jnp.asarray(np.random.default_rng(0).uniform(-far, far, 300), dtype)
    truth = real(lambda a: mpmath.sech(a) ** 2, z)
    assert 1 - jnp.square(jnp.tanh(jnp.float32(10))) == 0
    assert ulp_error(tanh_derivative(z), truth, dtype).max() <= 3


def test_the_derivative_of_tanh_is_smooth_at_zero(dtype):
    """Written with |z| it would have no curvature there, since JAX gives |z| the slope 0 at 0."""
    zero = jnp.zeros((), dtype)
    assert jax.grad(tanh_derivative)(zero) == 0
    assert jax.grad(jax.grad(tanh_derivative))(zero) == -2


def test_no_derivative_of_the_derivative_of_tanh_is_nan(dtype):
    z = jnp.asarray([-jnp.inf, -800, -400, -89, -44.3, 0, 44.3, 89, 400, 800, jnp.inf], dtype)
    assert jnp.isfinite(jax.vmap(jax.grad(tanh_derivative))(z)).all()


def test_tanh_is_flat_at_the_ends_of_the_number_line(dtype):
    ends = jnp.asarray([-1, 1], dtype) * jnp.finfo(dtype).max
    assert tanh_derivative(ends).tolist() == [0, 0]


def test_at_its_kink_relu_has_a_slope_between_those_of_its_sides():
    zero = jnp.zeros(1)
    left, right = (relu(zero) - relu(zero - 1), relu(zero + 1) - relu(zero))
    assert left <= relu_derivative(zero) <= right


@pytest.mark.bad_input
def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match="activation: expected one of sigmoid, tanh, relu, got 'gelu'"
    ):
        activation("gelu")
