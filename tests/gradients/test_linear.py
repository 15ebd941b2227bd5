"""The affine map, its pullbacks and the penalty: what all models share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.gradients import linear, logistic

OUTPUTS = [(), (4,)]


def drawn(outputs):
    """Parameters, features (6, 3), a cotangent of the logits."""
    rng = np.random.default_rng(0)
    weight, bias, x, cotangent = (
        jnp.asarray(rng.normal(size=shape))
        for shape in ((3, *outputs), outputs, (6, 3), (6, *outputs))
    )
    return linear.Params(weight, bias), x, cotangent


@pytest.mark.parametrize("outputs", OUTPUTS, ids=str)
def test_each_example_is_its_row_times_the_weight_plus_the_bias(outputs):
    with x64():
        params, x, _ = drawn(outputs)
        rows = [row @ np.asarray(params.weight) + np.asarray(params.bias) for row in np.asarray(x)]
        np.testing.assert_allclose(linear.affine(params, x), rows, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("outputs", OUTPUTS, ids=str)
def test_the_pullbacks_are_those_of_autodiff(outputs):
    with x64():
        params, x, cotangent = drawn(outputs)
        by_params, by_input = jax.vjp(linear.affine, params, x)[1](cotangent)
        hand = linear.affine_pullback(cotangent, x)
        np.testing.assert_allclose(hand.weight, by_params.weight, rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(hand.bias, by_params.bias, rtol=1e-14, atol=1e-15)
        pulled = linear.affine_pullback_input(cotangent, params)
        np.testing.assert_allclose(pulled, by_input, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("outputs", OUTPUTS, ids=str)
def test_the_pullback_is_linear_in_the_cotangent(outputs):
    with x64():
        _, x, r = drawn(outputs)
        sum_first = linear.affine_pullback(2 * r + r[::-1], x)
        a, b = linear.affine_pullback(r, x), linear.affine_pullback(r[::-1], x)
        np.testing.assert_allclose(sum_first.weight, 2 * a.weight + b.weight, atol=1e-14)
        np.testing.assert_allclose(sum_first.bias, 2 * a.bias + b.bias, atol=1e-14)


def test_the_penalty_is_half_lambda_times_the_square_and_its_gradient_lambda_w():
    w = jnp.array([3.0, -4.0])
    assert linear.penalty(w, 0.5) == 6.25
    assert linear.penalty_gradient(w, 0.5).tolist() == [1.5, -2]


def test_init_draws_weights_of_the_dtype_and_starts_biases_at_zero(dtype):
    params = linear.init(jax.random.key(0), 400, (25,), dtype)
    assert params.weight.dtype == params.bias.dtype == dtype
    assert (params.bias == 0).all()
    # 10,000 draws of N(0, 1/400): their root mean square lies within 5 of its own deviations.
    assert float(jnp.sqrt(jnp.mean(params.weight**2))) == pytest.approx(1 / 20, rel=5 / 141)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (jnp.zeros((4, 2)), r"x: expected 3 along axis 1 \(features, .*got shape \(4, 2\); make"),
        (jnp.zeros((0, 3)), r"x: expected at least one example, got shape \(0, 3\); pass some"),
        (jnp.zeros(3), r"x: expected shape \(N, D\), got shape \(3,\); reshape x"),
        (jnp.zeros((4, 3), int), r"x: expected a floating dtype, got int32 of shape.*x.astype"),
    ],
    ids=["wrong-width", "empty", "one-row", "integer"],
)
def test_features_that_do_not_fit_are_refused(x, words):
    with pytest.raises(InputError, match=words):
        logistic.logits(linear.Params(jnp.zeros(3), jnp.zeros(())), x)
