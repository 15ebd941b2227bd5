"""Squared error: the parabola that scaling does not move, and what it does to a sure mistake."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.gradients import cross_entropy
from handgrad.gradients import squared_error as se


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_scaling_a_parabola_leaves_its_minimum_where_it_is(scale):
    """y = k x² for the notes' three graphs."""
    x, zero = jnp.linspace(-2, 2, 17), jnp.zeros(17)
    assert x[jnp.argmin(se.squared_error(x, zero, scale))] == 0
    assert se.squared_error_gradient(zero, zero, scale).tolist() == [0] * 17


def test_scaling_the_value_scales_the_gradient():
    x, y = jnp.array([1.0, -2.0]), jnp.array([0.5, 0.0])
    assert (se.squared_error_gradient(x, y, 4.0) == 4 * se.squared_error_gradient(x, y)).all()


@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_gradient_through_the_sigmoid_is_that_of_autodiff(label, dtype):
    z = jnp.asarray([-3.0, -0.5, 0.0, 2.0], dtype)
    y = jnp.full_like(z, label)
    auto = jax.jit(jax.grad(lambda a: se.from_logits(a, y).sum()))(z)
    rtol = 16 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(se.from_logits_gradient(z, y), auto, rtol=rtol, atol=rtol)


def test_a_sure_mistake_hardly_pushes_where_cross_entropy_pushes_fully():
    """The extra factor ŷ(1−ŷ): 4.5e-5 at logit −10 for a label of 1."""
    z, y = jnp.array([-10.0]), jnp.array([1.0])
    assert abs(float(se.from_logits_gradient(z, y)[0])) < 1e-4
    assert abs(float(cross_entropy.binary_residual(z, y)[0])) > 0.9999


@pytest.mark.parametrize("logit", [17.0, 30.0])
def test_a_sure_hit_keeps_its_digits(logit, dtype):
    """Value ½q², gradient −q²(1−q) with q = σ(−z): 0 in float32 if taken from ŷ − 1."""
    z = jnp.asarray([logit], dtype)
    q = 1 / (1 + np.exp(logit))
    rtol = 16 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(se.from_logits(z, jnp.ones_like(z)), q * q / 2, rtol=rtol)
    np.testing.assert_allclose(
        se.from_logits_gradient(z, jnp.ones_like(z)), -q * q * (1 - q), rtol=rtol
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [se.squared_error, se.squared_error_gradient])
def test_a_column_of_labels_is_refused(function):
    with pytest.raises(InputError, match=r"y: expected the shape of the prediction, \(3,\), got"):
        function(jnp.zeros(3), jnp.zeros((3, 1)))


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [se.from_logits, se.from_logits_gradient])
def test_a_column_of_labels_is_refused_for_logits_too(function):
    with pytest.raises(InputError, match=r"y: expected the shape of the logits, \(3,\), got"):
        function(jnp.zeros(3), jnp.zeros((3, 1)))
