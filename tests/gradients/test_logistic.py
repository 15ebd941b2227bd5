"""Logistic regression: the gradient of the notes, its Hessian, convexity, the penalty."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.gradients import logistic
from handgrad.gradients.linear import Params

# One program each instead of one for every operation; the penalty is a constant of the program.
loss, gradient, hessian, hvp, autodiff, autodiff_hessian = (
    jax.jit(function, static_argnames="l2")
    for function in (
        logistic.loss,
        logistic.gradient,
        logistic.hessian,
        logistic.hvp,
        jax.grad(logistic.loss),
        jax.hessian(logistic.loss),
    )
)


def drawn(seed, n=7, d=3, soft=False, scale=1.0):
    """Parameters, features and labels in the default dtype."""
    rng = np.random.default_rng(seed)
    params = Params(jnp.asarray(rng.normal(size=d)), jnp.asarray(rng.normal()))
    labels = rng.uniform(size=n)
    y = labels if soft else labels.round()
    return params, jnp.asarray(scale * rng.normal(size=(n, d))), jnp.asarray(y)


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
    g, error = gradient(params, x, y), y[0] - logistic.predict(params, x)[0]
    np.testing.assert_allclose(g.weight, -error * x[0], rtol=1e-5)
    np.testing.assert_allclose(g.bias, -error, rtol=1e-5)


def test_the_gradient_of_many_is_the_mean_of_those_of_each():
    with x64():
        params, x, y = drawn(0)
        each = [gradient(params, x[i : i + 1], y[i : i + 1]) for i in range(7)]
        mean = jax.tree.map(lambda *g: np.mean(g, axis=0), *each)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-16),
            gradient(params, x, y),
            mean,
        )


def test_a_well_classified_point_gets_a_small_gradient_and_still_pushes():
    params, x = Params(jnp.array([1.0]), jnp.array(0.0)), jnp.array([[6.0]])
    well, poorly = (gradient(params, x, jnp.array([y])).bias for y in (1.0, 0.0))
    assert 0 < abs(well) < 0.003 < 0.99 < poorly


# --- against autodiff -----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(1, 1), (9, 3)]),
    soft=st.booleans(),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_the_gradient_is_that_of_autodiff(seed, shape, soft, scale):
    l2 = 0.25
    with x64():
        params, x, y = drawn(seed, *shape, soft=soft, scale=scale)
        hand, auto = gradient(params, x, y, l2), autodiff(params, x, y, l2)
    # What the inputs explain: the terms of the residual, and what rounding does to a logit.
    x, y, w, b = map(np.asarray, (x, y, *params))
    p, q = 1 / (1 + np.exp(-x @ w - b)), 1 / (1 + np.exp(x @ w + b))
    moved = p * q * (abs(x) @ abs(w) + abs(b))
    bound = 16 * 2.0**-52 * ((1 - y) * p + y * q + moved) / len(y)
    slack = 16 * 2.0**-52 * l2 * abs(w)
    assert (abs(np.subtract(hand.weight, auto.weight)) <= abs(x).T @ bound + slack).all()
    assert abs(np.subtract(hand.bias, auto.bias)) <= bound.sum()


def test_value_and_gradient_are_loss_and_gradient(dtype):
    params, x, y = drawn(3, soft=True)
    value, g = logistic.value_and_gradient(params, x, y, 0.5)
    assert value == logistic.loss(params, x, y, 0.5)
    assert g.weight.dtype == x.dtype == dtype
    assert (g.weight == logistic.gradient(params, x, y, 0.5).weight).all()


@pytest.mark.digits
def test_a_batch_of_confident_hits_has_a_gradient_in_float32():
    """Logits of 20: the textbook residual would be 0 for all of them."""
    params, x = Params(jnp.array([1.0]), jnp.array(0.0)), jnp.array([[20.0], [-20.0]])
    g = gradient(params, x, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(g.weight, [-20 * 2.0611536e-9], rtol=1e-6)


# --- the Hessian ----------------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_hessian_is_that_of_autodiff_block_by_block(l2):
    with x64():
        params, x, y = drawn(1)
        hand, auto = hessian(params, x, y, l2), autodiff_hessian(params, x, y, l2)
        assert jax.tree.structure(hand) == jax.tree.structure(auto)
        for a, b in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_the_hessian_vector_product_is_the_hessian_times_the_vector():
    with x64():
        (params, x, y), (v, _, _) = drawn(1), drawn(2)
        matrix = as_matrix(hessian(params, x, y, 0.3))
        product = hvp(params, v, x, y, 0.3)
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
        matrix = as_matrix(hessian(*drawn(seed, n=3, scale=scale)))
    rounding = 16 * 2.0**-52 * abs(matrix).max()
    assert abs(matrix - matrix.T).max() <= rounding
    assert np.linalg.eigvalsh(matrix).min() >= -rounding  # three points: one eigenvalue is 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), t=st.floats(0, 1, allow_subnormal=False))
def test_the_loss_lies_below_its_chords(seed, t):
    """Convexity: E(t a + (1−t) b) ≤ t E(a) + (1−t) E(b)."""
    with x64():
        (a, x, y), (b, _, _) = drawn(seed), drawn(seed + 1)
        mixed = (t * np.asarray(p) + (1 - t) * np.asarray(q) for p, q in zip(a, b, strict=True))
        between = float(loss(Params(*map(jnp.asarray, mixed)), x, y))
        chord = t * float(loss(a, x, y)) + (1 - t) * float(loss(b, x, y))
    assert between <= chord * (1 + 1e-14)


# --- the penalty ----------------------------------------------------------------------------------


def test_the_penalty_pulls_on_the_weight_and_never_on_the_bias():
    with x64():
        params, x, y = drawn(4)
        free, ridge = (gradient(params, x, y, l2) for l2 in (0.0, 0.7))
        np.testing.assert_allclose(ridge.weight - free.weight, 0.7 * params.weight, rtol=1e-13)
        assert ridge.bias == free.bias


def test_the_penalty_adds_lambda_to_the_diagonal_of_the_weight_alone():
    with x64():
        params, x, y = drawn(4)
        free, ridge = (as_matrix(hessian(params, x, y, l2)) for l2 in (0.0, 0.7))
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
