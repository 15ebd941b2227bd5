"""The output layer of a language model, in its direct form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.gradients import linear_cross_entropy as lce
from handgrad.gradients import softmax_regression
from handgrad.gradients.linear import Params


def drawn(t=6, d=4, v=9, soft=False):
    rng = np.random.default_rng(0)
    labels = rng.uniform(size=(t, v))
    y = labels if soft else labels.argmax(axis=1)
    return tuple(map(jnp.asarray, (rng.normal(size=(t, d)), rng.normal(size=(d, v)), y)))


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_both_gradients_are_those_of_autodiff(soft):
    with x64():
        data = drawn(soft=soft)
        for hand, auto in zip(
            jax.jit(lce.gradient)(*data), jax.jit(jax.grad(lce.loss, (0, 1)))(*data), strict=True
        ):
            np.testing.assert_allclose(hand, auto, rtol=1e-12, atol=1e-15)


def test_in_the_weight_it_is_softmax_regression_without_a_bias():
    with x64():
        hidden, weight, y = drawn()
        value, (_, by_weight) = jax.jit(lce.value_and_gradient)(hidden, weight, y)
        params = Params(weight, jnp.zeros(9))
        expected, gradient = jax.jit(softmax_regression.value_and_gradient)(params, hidden, y)
        assert float(value) == pytest.approx(float(expected), rel=1e-15)
        np.testing.assert_allclose(by_weight, gradient.weight, rtol=1e-13, atol=1e-16)


def test_value_and_gradient_are_loss_and_gradient(dtype):
    data, eps = drawn(), float(jnp.finfo(dtype).eps)
    value, gradient = jax.jit(lce.value_and_gradient)(*data)
    assert float(value) == pytest.approx(float(jax.jit(lce.loss)(*data)), rel=2 * eps)
    for a, b in zip(gradient, jax.jit(lce.gradient)(*data), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=2 * eps)


def test_words_that_are_never_right_are_pushed_away():
    hidden, weight, _ = drawn()
    _, by_weight = jax.jit(lce.gradient)(jnp.abs(hidden), weight, jnp.zeros(6, int))
    assert (by_weight[:, 1:] > 0).all()
    assert (by_weight[:, 0] < 0).all()


def test_a_word_out_of_the_vocabulary_gives_nan_and_never_a_guess():
    hidden, weight, y = drawn()
    assert jnp.isnan(jax.jit(lce.loss)(hidden, weight, y.at[2].set(9)))


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [lce.loss, lce.gradient, lce.value_and_gradient])
@pytest.mark.parametrize(
    ("hidden", "weight", "y", "words"),
    [
        ((6, 4), (3, 9), (6,), r"hidden: expected 3 along axis 1 \(features, as the weight has\)"),
        ((6, 4), (4,), (6,), r"weight: expected shape \(D, V\), got shape \(4,\)"),
        ((2, 6, 4), (4, 9), (6,), r"hidden: expected shape \(T, D\), got shape \(2, 6, 4\)"),
        ((0, 4), (4, 9), (0,), r"hidden: expected at least one example"),
        ((6, 4), (4, 9), (6, 1), r"y: expected integer class indices of shape \(6,\)"),
    ],
    ids=["wrong-width", "flat-weight", "batched", "empty", "column-labels"],
)
def test_arrays_that_do_not_fit_are_refused(function, hidden, weight, y, words):
    with pytest.raises(InputError, match=words):
        function(jnp.zeros(hidden), jnp.zeros(weight), jnp.zeros(y, int))
