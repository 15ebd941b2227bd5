"""Softmax regression: logistic regression for K classes, and its Hessian in four blocks."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.gradients import logistic, softmax_regression
from handgrad.gradients.linear import Params

# One program each instead of one for every operation; the penalty is a constant of the program.
gradient, hessian, hvp, autodiff, autodiff_hessian = (
    jax.jit(function, static_argnames="l2")
    for function in (
        softmax_regression.gradient,
        softmax_regression.hessian,
        softmax_regression.hvp,
        jax.grad(softmax_regression.loss),
        jax.hessian(softmax_regression.loss),
    )
)
predict = jax.jit(softmax_regression.predict)


def drawn(seed, n=7, d=3, k=4, soft=False):
    """Parameters, features and labels in the default dtype."""
    rng = np.random.default_rng(seed)
    params = Params(jnp.asarray(rng.normal(size=(d, k))), jnp.asarray(rng.normal(size=k)))
    labels = np.exp(2 * rng.normal(size=(n, k)))
    y = labels / labels.sum(axis=1, keepdims=True) if soft else labels.argmax(axis=1)
    return params, jnp.asarray(rng.normal(size=(n, d))), jnp.asarray(y)


def as_matrix(h):
    """The blocks of a Hessian as one matrix over all parameters."""
    k = h.bias.bias.shape[0]
    dk = h.weight.bias.size // k
    top = np.hstack([h.weight.weight.reshape(dk, dk), h.weight.bias.reshape(dk, k)])
    return np.vstack([top, np.hstack([h.bias.weight.reshape(k, dk), h.bias.bias])])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(1, 1, 2), (9, 3, 5)]),
    soft=st.booleans(),
)
def test_the_gradient_is_that_of_autodiff(seed, shape, soft):
    l2 = 0.25
    with x64():
        params, x, y = drawn(seed, *shape, soft=soft)
        hand, auto = gradient(params, x, y, l2), autodiff(params, x, y, l2)
    # Residuals are at most 1, and probabilities move by what rounding does to a logit.
    x, w, b = map(np.asarray, (x, *params))
    moved = (abs(x) @ abs(w) + abs(b) + 1).max(axis=1)
    bound = 16 * 2.0**-52 * moved / len(x)
    slack = 16 * 2.0**-52 * l2 * abs(w)
    reach = (abs(x).T @ bound)[:, None]
    assert (abs(np.subtract(hand.weight, auto.weight)) <= reach + slack).all()
    assert (abs(np.subtract(hand.bias, auto.bias)) <= bound.sum()).all()


def test_the_gradient_of_one_point_is_x_and_1_times_p_minus_y():
    params, x, _ = drawn(0, n=1)
    g = gradient(params, x, jnp.array([2]))
    residual = predict(params, x)[0] - jnp.eye(4)[2]
    np.testing.assert_allclose(g.weight, jnp.outer(x[0], residual), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(g.bias, residual, rtol=1e-5, atol=1e-7)


def test_indices_and_one_hot_rows_give_one_gradient(dtype):
    params, x, y = drawn(0)
    by_index = gradient(params, x, y)
    by_row = gradient(params, x, jnp.eye(4, dtype=dtype)[y])
    # Two programs: JAX 0.12 adds the examples of one of them in another order.
    bound = 4 * float(jnp.finfo(dtype).eps) * float(jnp.abs(by_row.weight).max())
    np.testing.assert_allclose(by_index.weight, by_row.weight, rtol=0, atol=bound)


def test_the_pushes_on_the_classes_balance():
    """Every row of residuals sums to 0, and so does every row of the gradient."""
    with x64():
        g = gradient(*drawn(2))
        np.testing.assert_allclose(g.weight.sum(axis=1), 0, atol=1e-15)
        np.testing.assert_allclose(g.bias.sum(), 0, atol=1e-15)


def test_two_classes_are_logistic_regression_of_the_difference():
    with x64():
        params, x, y = drawn(1, k=2)
        difference = Params(params.weight[:, 1] - params.weight[:, 0], jnp.diff(params.bias)[0])
        two, one = gradient(params, x, y), jax.jit(logistic.gradient)(difference, x, y)
        np.testing.assert_allclose(two.weight[:, 1], one.weight, rtol=1e-13)
        np.testing.assert_allclose(two.weight[:, 0], -one.weight, rtol=1e-13)
        np.testing.assert_allclose(two.bias, [-one.bias, one.bias], rtol=1e-13)


def test_one_vector_added_to_every_class_changes_no_probability():
    with x64():
        params, x, _ = drawn(1)
        moved = params._replace(weight=params.weight + jnp.array([[1.0], [-2.0], [0.5]]))
        np.testing.assert_allclose(predict(params, x), predict(moved, x), rtol=1e-13)


# --- the Hessian ----------------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_hessian_is_that_of_autodiff_block_by_block(l2):
    with x64():
        params, x, y = drawn(1)
        hand = hessian(params, x, y, l2)
        auto = autodiff_hessian(params, x, y, l2)
        assert jax.tree.structure(hand) == jax.tree.structure(auto)
        for a, b in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_the_hessian_vector_product_is_the_hessian_times_the_vector():
    with x64():
        (params, x, y), (v, _, _) = drawn(1), drawn(2)
        product = hvp(params, v, x, y, 0.3)
        np.testing.assert_allclose(
            np.append(product.weight, product.bias),
            as_matrix(hessian(params, x, y, 0.3)) @ np.append(v.weight, v.bias),
            rtol=1e-12,
            atol=1e-15,
        )


@pytest.mark.parametrize("seed", range(10))
def test_the_hessian_is_positive_semidefinite_and_singular(seed):
    with x64():
        values = np.linalg.eigvalsh(as_matrix(hessian(*drawn(seed))))
        rounding = 64 * 2.0**-52 * values.max()
        assert values.min() >= -rounding
        assert (abs(values) <= rounding).sum() >= 4  # D + 1 shifts of all classes


@pytest.mark.digits
def test_the_hessian_of_a_confident_prediction_keeps_its_digits_in_float32():
    """Its diagonal is p(1 − p), which is 0 if 1 − p is taken as it stands."""
    params = Params(jnp.zeros((1, 2)), jnp.array([17.0, 0.0]))
    h = hessian(params, jnp.ones((1, 1)), jnp.array([0]))
    np.testing.assert_allclose(jnp.abs(h.bias.bias), 4.1399371e-8, rtol=1e-6)


def test_the_penalty_pulls_on_the_weight_and_never_on_the_bias():
    with x64():
        params, x, y = drawn(4)
        free, ridge = (gradient(params, x, y, l2) for l2 in (0.0, 0.7))
        np.testing.assert_allclose(
            ridge.weight - free.weight, 0.7 * params.weight, rtol=1e-12, atol=1e-15
        )
        assert (ridge.bias == free.bias).all()


# --- bad input ------------------------------------------------------------------------------------


def test_a_class_index_out_of_range_makes_the_whole_gradient_nan():
    params, x, _ = drawn(0, n=2)
    assert jnp.isnan(gradient(params, x, jnp.array([0, 4])).weight).all()
    assert jnp.isnan(softmax_regression.loss(params, x, jnp.array([0, -1])))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "function",
    [
        softmax_regression.loss,
        softmax_regression.gradient,
        softmax_regression.hessian,
        lambda params, x, y: softmax_regression.hvp(params, params, x, y),
    ],
)
@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ((4, 3), jnp.zeros((4, 1), int), r"y: expected integer class indices of shape \(4,\)"),
        ((4, 3), jnp.zeros(4), r"y: expected integer class indices.*convert the labels to int32"),
        ((4, 2), jnp.zeros(4, int), r"x: expected 3 along axis 1"),
        ((0, 3), jnp.zeros(0, int), r"x: expected at least one example"),
    ],
    ids=["column-labels", "float-labels", "wrong-width", "empty"],
)
def test_data_that_do_not_fit_are_refused(function, x, y, words):
    with pytest.raises(InputError, match=words):
        function(Params(jnp.zeros((3, 2)), jnp.zeros(2)), jnp.zeros(x), y)


def test_fewer_than_two_classes_are_refused():
    with pytest.raises(InputError, match=r"classes: expected a whole number in 2\.\.2.*, got 1"):
        softmax_regression.init(jax.random.key(0), 3, classes=1)
