"""The perceptron: errors cannot be descended by counting them; the loss, its kink, the rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.gradients import logistic, perceptron
from handgrad.gradients.linear import Params

X = jnp.array([[1.0, 2.0], [-1.0, 0.5], [0.5, -1.5], [2.0, 1.0]])
Y = jnp.array([1.0, 0.0, 1.0, 0.0])
PARAMS = Params(jnp.array([0.5, -1.0]), jnp.array(0.25))  # two of the four on the wrong side


def leaves(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# --- what can be descended ------------------------------------------------------------------------


def test_mistakes_are_the_share_of_points_on_the_wrong_side():
    assert perceptron.predict(PARAMS, X).tolist() == [0, 0, 1, 1]
    assert perceptron.mistakes(PARAMS, X, Y) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_counting_errors_has_zero_gradient_almost_everywhere(seed):
    """By autodiff and by finite differences in every parameter: there is nothing to descend."""
    mistakes = jax.jit(perceptron.mistakes)
    params = Params(jnp.float32(np.random.default_rng(seed).normal(size=2)), jnp.float32(0.1))
    assert (leaves(jax.jit(jax.grad(mistakes))(params, X, Y)) == 0).all()
    here = mistakes(params, X, Y)
    for h in (1e-4, -1e-4):
        for moved in (
            params._replace(bias=params.bias + h),
            params._replace(weight=params.weight.at[0].add(h)),
            params._replace(weight=params.weight.at[1].add(h)),
        ):
            assert mistakes(moved, X, Y) == here


def test_the_perceptron_loss_can_be_descended_at_the_same_points():
    gradient = perceptron.gradient(PARAMS, X, Y)
    assert (leaves(gradient) != 0).any()
    down = Params(*(p - 0.1 * g for p, g in zip(PARAMS, gradient, strict=True)))
    assert perceptron.loss(down, X, Y) < perceptron.loss(PARAMS, X, Y)


def test_away_from_the_kink_the_gradient_is_that_of_autodiff(dtype):
    params, x, y = jax.tree.map(lambda a: jnp.asarray(a, dtype), (PARAMS, X, Y))
    auto = jax.grad(perceptron.loss)(params, x, y)
    hand = perceptron.gradient(params, x, y)
    assert hand.weight.dtype == dtype
    np.testing.assert_allclose(leaves(hand), leaves(auto), rtol=1e-6)


def test_value_and_gradient_are_loss_and_gradient():
    value, gradient = perceptron.value_and_gradient(PARAMS, X, Y)
    assert value == perceptron.loss(PARAMS, X, Y) == 0.375
    assert (leaves(gradient) == leaves(perceptron.gradient(PARAMS, X, Y))).all()


# --- the kink -------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_at_the_kink_the_slope_lies_between_those_of_its_sides(label):
    """In the bias, at z = 0."""
    x, y = jnp.array([[1.0, 1.0]]), jnp.array([label])

    def loss(bias):
        return float(perceptron.loss(Params(jnp.zeros(2), jnp.array(bias)), x, y))

    left, right = loss(0.0) - loss(-1.0), loss(1.0) - loss(0.0)
    chosen = perceptron.gradient(Params(jnp.zeros(2), jnp.array(0.0)), x, y).bias
    assert left != right
    assert left <= chosen <= right


def test_at_the_kink_a_point_counts_as_a_mistake_so_that_zero_weights_are_left():
    zero = Params(jnp.zeros(2), jnp.array(0.0))
    assert (leaves(perceptron.gradient(zero, X, Y)) != 0).any()


# --- the rule -------------------------------------------------------------------------------------


@pytest.mark.parametrize("i", [1, 2], ids=["negative", "positive"])
def test_the_rule_does_nothing_for_a_correct_point(i):
    params = PARAMS if i == 2 else PARAMS._replace(bias=jnp.array(-0.25))
    moved = perceptron.rule(params, X[i], Y[i])
    assert (leaves(moved) == leaves(params)).all()


@pytest.mark.parametrize(("i", "sign"), [(0, 1), (3, -1)], ids=["positive", "negative"])
@pytest.mark.parametrize("rate", [1.0, 0.125])
def test_the_rule_moves_a_mistake_by_the_rate_times_its_sign_times_x_and_1(i, sign, rate):
    moved = perceptron.rule(PARAMS, X[i], Y[i], rate)
    assert (moved.weight == PARAMS.weight + rate * sign * X[i]).all()
    assert moved.bias == PARAMS.bias + rate * sign


def test_a_correct_point_that_the_perceptron_ignores_still_pushes_on_cross_entropy():
    assert (leaves(perceptron.gradient(PARAMS, X[2:3], Y[2:3])) == 0).all()
    assert (leaves(logistic.gradient(PARAMS, X[2:3], Y[2:3])) != 0).all()


def test_the_rule_repeated_separates_what_a_line_can_separate():
    x = jnp.array([[2.0, 1.0], [1.0, 3.0], [-1.0, -1.0], [0.5, -2.0]])
    y, params = jnp.array([1.0, 1.0, 0.0, 0.0]), Params(jnp.zeros(2), jnp.array(0.0))
    for _ in range(3):
        for point, label in zip(x, y, strict=True):
            params = perceptron.rule(params, point, label)
    assert perceptron.mistakes(params, x, y) == 0


@pytest.mark.bad_input
@pytest.mark.parametrize("label", ["benign", None, Y[:1]])
def test_a_label_that_is_no_number_is_refused(label):
    with pytest.raises(InputError, match="y: expected "):
        perceptron.rule(PARAMS, X[0], label)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "function",
    [perceptron.loss, perceptron.gradient, perceptron.value_and_gradient, perceptron.mistakes],
)
def test_a_column_of_labels_is_refused(function):
    with pytest.raises(InputError, match=r"y: expected the shape of the logits, \(4,\), got shape"):
        function(PARAMS, X, Y[:, None])
