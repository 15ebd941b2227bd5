"""Logistic regression: the gradient of the notes, its Hessian, convexity, the penalty."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from handgrad._errors import InputError
from handgrad._precision import x64
from handgrad.gradients import logistic
from handgrad.gradients.linear import Params
from handgrad.gradients.sigmoid import sigmoid_derivative

AUTODIFF = jax.jit(jax.grad(logistic.loss))
HAND = jax.jit(logistic.gradient)
HESSIAN = jax.jit(logistic.hessian)


def drawn(seed, n=7, d=3, soft=False, scale=1.0):
    """Parameters, features and labels in the default dtype."""
    a, b, c = jax.random.split(jax.random.key(seed), 3)
    params = logistic.init(a, d)._replace(bias=jax.random.normal(b))
    labels = jax.random.uniform(c, (n,))
    x = scale * jax.random.normal(b, (n, d))
    return params, x, labels if soft else labels.round()


def as_matrix(h):
    """The blocks of a Hessian as one (D + 1, D + 1) matrix."""
    top = np.column_stack([h.weight.weight, h.weight.bias])
    return np.vstack([top, np.append(h.bias.weight, h.bias.bias)])


# --- the notes ------------------------------------------------------------------------------------


def test_the_two_points_on_the_line_have_an_even_chance():
    params = Params(jnp.array([4.0, 5.0]), jnp.array(-9.0))
    x = jnp.array([[1.0, 1.0], [-4.0, 5.0]])
    assert logistic.logits(params, x).tolist() == [0, 0]
    assert logistic.predict(params, x).tolist() == [0.5, 0.5]


def test_the_gradient_of_one_point_is_minus_y_minus_prediction_times_x_and_1():
    params, x, y = drawn(0, n=1)
    gradient, error = logistic.gradient(params, x, y), y[0] - logistic.predict(params, x)[0]
    np.testing.assert_allclose(gradient.weight, -error * x[0], rtol=1e-5)
    np.testing.assert_allclose(gradient.bias, -error, rtol=1e-5)


def test_the_gradient_of_many_is_the_mean_of_those_of_each():
    with x64():
        params, x, y = drawn(0)
        each = [logistic.gradient(params, x[i : i + 1], y[i : i + 1]) for i in range(7)]
        mean = jax.tree.map(lambda *g: np.mean(g, axis=0), *each)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-16),
            logistic.gradient(params, x, y),
            mean,
        )


def test_a_well_classified_point_gets_a_small_gradient_and_still_pushes():
    params, x = Params(jnp.array([1.0]), jnp.array(0.0)), jnp.array([[6.0]])
    well, poorly = (logistic.gradient(params, x, jnp.array([y])).bias for y in (1.0, 0.0))
    assert 0 < abs(well) < 0.003 < 0.99 < poorly


# --- against autodiff -----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(1, 1), (1, 4), (6, 1), (9, 3)]),
    soft=st.booleans(),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
    l2=st.sampled_from([0.0, 0.25]),
)
def test_the_gradient_is_that_of_autodiff(seed, shape, soft, scale, l2):
    with x64():
        params, x, y = drawn(seed, *shape, soft=soft, scale=scale)
        hand, auto = HAND(params, x, y, l2), AUTODIFF(params, x, y, l2)
        # What the inputs explain: the terms of the residual, and what rounding does to a logit.
        z = logistic.logits(params, x)
        terms = (1 - y) * jax.nn.sigmoid(z) + y * jax.nn.sigmoid(-z)
        moved = sigmoid_derivative(z) * (jnp.abs(x) @ jnp.abs(params.weight) + 1)
        bound = 16 * 2.0**-52 * (terms + moved) / len(y)
        slack = 2.0**-48 * l2 * jnp.abs(params.weight)
        assert (jnp.abs(hand.weight - auto.weight) <= jnp.abs(x).T @ bound + slack).all()
        assert jnp.abs(hand.bias - auto.bias) <= bound.sum()


def test_value_and_gradient_are_loss_and_gradient(dtype):
    params, x, y = drawn(3, soft=True)
    value, gradient = logistic.value_and_gradient(params, x, y, 0.5)
    assert value == logistic.loss(params, x, y, 0.5)
    assert gradient.weight.dtype == x.dtype == dtype
    np.testing.assert_array_equal(gradient.weight, logistic.gradient(params, x, y, 0.5).weight)


def test_a_batch_of_confident_hits_has_a_gradient_in_float32():
    """Logits of 20: the textbook residual would be 0 for all of them."""
    params, x = Params(jnp.array([1.0]), jnp.array(0.0)), jnp.array([[20.0], [-20.0]])
    gradient = logistic.gradient(params, x, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(gradient.weight, [-20 * 2.0611536e-9], rtol=1e-6)


# --- the Hessian ----------------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_hessian_is_that_of_autodiff_block_by_block(l2):
    with x64():
        params, x, y = drawn(1)
        hand, auto = (
            logistic.hessian(params, x, y, l2),
            jax.hessian(logistic.loss)(params, x, y, l2),
        )
        assert jax.tree.structure(hand) == jax.tree.structure(auto)
        for a, b in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_the_hessian_vector_product_is_the_hessian_times_the_vector():
    with x64():
        (params, x, y), (v, _, _) = drawn(1), drawn(2)
        matrix = as_matrix(logistic.hessian(params, x, y, 0.3))
        product = logistic.hvp(params, v, x, y, 0.3)
        np.testing.assert_allclose(
            np.append(product.weight, product.bias),
            matrix @ np.append(v.weight, v.bias),
            rtol=1e-13,
            atol=1e-15,
        )


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_the_hessian_is_positive_semidefinite_everywhere(seed, scale):
    with x64():
        matrix = as_matrix(HESSIAN(*drawn(seed, n=3, scale=scale)))
        rounding = 16 * 2.0**-52 * abs(matrix).max()
        assert abs(matrix - matrix.T).max() <= rounding
        assert np.linalg.eigvalsh(matrix).min() >= -rounding  # three points: one eigenvalue is 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), t=st.floats(0, 1, allow_subnormal=False))
def test_the_loss_lies_below_its_chords(seed, t):
    """Convexity: E(t a + (1−t) b) ≤ t E(a) + (1−t) E(b)."""
    with x64():
        (a, x, y), (b, _, _) = drawn(seed), drawn(seed + 1)
        between = Params(*(t * p + (1 - t) * q for p, q in zip(a, b, strict=True)))
        chord = t * logistic.loss(a, x, y) + (1 - t) * logistic.loss(b, x, y)
        assert logistic.loss(between, x, y) <= chord * (1 + 1e-14)


# --- the penalty ----------------------------------------------------------------------------------


def test_the_penalty_pulls_on_the_weight_and_never_on_the_bias():
    with x64():
        params, x, y = drawn(4)
        free, ridge = (logistic.gradient(params, x, y, l2) for l2 in (0.0, 0.7))
        np.testing.assert_allclose(ridge.weight - free.weight, 0.7 * params.weight, rtol=1e-13)
        assert ridge.bias == free.bias


def test_the_penalty_adds_lambda_to_the_diagonal_of_the_weight_alone():
    with x64():
        params, x, y = drawn(4)
        free, ridge = (as_matrix(logistic.hessian(params, x, y, l2)) for l2 in (0.0, 0.7))
        np.testing.assert_allclose(ridge - free, np.diag([0.7, 0.7, 0.7, 0]), atol=1e-15)


# --- the record, and bad input --------------------------------------------------------------------


def test_the_model_binds_the_penalty():
    params, x, y = drawn(5)
    model = logistic.model(l2=0.5)
    assert model.loss(params, x, y) == logistic.loss(params, x, y, 0.5)
    assert (
        model.gradient(params, x, y).weight == logistic.gradient(params, x, y, 0.5).weight
    ).all()
    assert model.hvp is not None
    assert model.hessian is not None


FUNCTIONS = [
    logistic.loss,
    logistic.gradient,
    logistic.value_and_gradient,
    logistic.hessian,
    lambda params, x, y: logistic.hvp(params, params, x, y),
]


@pytest.mark.bad_input
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (jnp.zeros((4, 3)), jnp.zeros((4, 1)), r"y: .*\(4,\), got shape \(4, 1\); reshape"),
        (jnp.zeros((4, 3)), jnp.zeros(5), r"y: expected the shape of the logits, \(4,\), got"),
        (jnp.zeros((4, 2)), jnp.zeros(4), r"x: expected 3 along axis 1 .*got shape \(4, 2\)"),
        (jnp.zeros((0, 3)), jnp.zeros(0), r"x: expected at least one example"),
        (jnp.zeros((4, 3), int), jnp.zeros(4), r"x: expected a floating dtype, got int32"),
    ],
    ids=["column-labels", "too-many-labels", "wrong-width", "empty", "integer-features"],
)
def test_data_that_do_not_fit_are_refused(function, x, y, words):
    with pytest.raises(InputError, match=words):
        function(Params(jnp.zeros(3), jnp.array(0.0)), x, y)


def test_more_than_two_classes_are_sent_to_softmax_regression():
    with pytest.raises(InputError, match=r"classes: expected 2, got 3; use softmax_regression"):
        logistic.init(jax.random.key(0), 4, classes=3)
