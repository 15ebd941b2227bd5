"""Bernoulli trials: the worked numbers of the notes, the logarithm's rules, the gradients in p."""

import itertools
import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.gradients import bernoulli

DOORS = (0.8, 0.7, 0.1)
# Outcome of the three doors (1 for a gift), its probability, its cross-entropy in nats.
OUTCOMES = [
    ((1, 1, 0), 0.504, 0.69),
    ((1, 0, 0), 0.216, 1.53),
    ((0, 1, 0), 0.126, 2.07),
    ((1, 1, 1), 0.056, 2.88),
    ((0, 0, 0), 0.054, 2.92),
    ((1, 0, 1), 0.024, 3.73),
    ((0, 1, 1), 0.014, 4.27),
    ((0, 0, 1), 0.006, 5.12),
]


def coins(n, dtype):
    """n fair coins that all came up heads."""
    return jnp.full(n, 0.5, dtype), jnp.ones(n, dtype)


# --- the numbers of the notes ---------------------------------------------------------------------


def test_likelihood_prefers_the_model_that_expected_the_accepted_student():
    accepted = jnp.array([1.0])
    sure, doubtful = (bernoulli.likelihood(jnp.array([p]), accepted) for p in (0.8, 0.55))
    assert (round(float(sure), 2), round(float(doubtful), 2)) == (0.8, 0.55)


def test_the_better_model_has_the_smaller_negative_log_likelihood():
    accepted = jnp.array([1.0])
    sure, doubtful = (
        bernoulli.negative_log_likelihood(jnp.array([p]), accepted) for p in (0.8, 0.55)
    )
    assert sure < doubtful


def test_four_points_have_probability_0_0084():
    """P(red) = 0.1, P(blue) = 0.6, P(red) = 0.7, P(blue) = 0.2, where P(red) = 1 − P(blue)."""
    blue, is_blue = jnp.array([0.9, 0.6, 0.3, 0.2]), jnp.array([0.0, 1.0, 0.0, 1.0])
    assert float(bernoulli.likelihood(blue, is_blue)) == pytest.approx(0.0084, rel=1e-6)


def test_the_better_model_of_four_points_has_probability_0_3024():
    blue, is_blue = jnp.array([0.3, 0.9, 0.2, 0.6]), jnp.array([0.0, 1.0, 0.0, 1.0])
    assert float(bernoulli.likelihood(blue, is_blue)) == pytest.approx(0.3024, rel=1e-6)


def test_0_3024_has_only_one_reading_as_four_probabilities_of_one_digit():
    """The notes print the product alone: 0.6 · 0.7 · 0.8 · 0.9 is the only way to get it."""
    tenths = itertools.combinations_with_replacement(range(1, 11), 4)
    assert [c for c in tenths if math.prod(c) == 3024] == [(6, 7, 8, 9)]


@pytest.mark.parametrize(("outcome", "probability", "entropy"), OUTCOMES, ids=str)
def test_each_outcome_of_the_three_doors(outcome, probability, entropy):
    p, y = jnp.array(DOORS), jnp.array(outcome, jnp.float32)
    assert float(bernoulli.likelihood(p, y)) == pytest.approx(probability, rel=1e-5)
    assert round(float(bernoulli.negative_log_likelihood(p, y)), 2) == entropy


def test_the_eight_outcomes_of_the_doors_exhaust_the_possibilities():
    with x64():
        p = jnp.array(DOORS)
        every = itertools.product((0.0, 1.0), repeat=3)
        assert sum(float(bernoulli.likelihood(p, jnp.array(y))) for y in every) == pytest.approx(
            1, rel=1e-15
        )


def test_high_probability_is_low_entropy_and_vice_versa():
    p = jnp.array(DOORS)
    ys = [jnp.array(y, jnp.float32) for y in itertools.product((0, 1), repeat=3)]
    by_probability = sorted(range(8), key=lambda i: -bernoulli.likelihood(p, ys[i]))
    by_entropy = sorted(range(8), key=lambda i: bernoulli.negative_log_likelihood(p, ys[i]))
    assert by_probability == by_entropy


# --- products and sums ----------------------------------------------------------------------------


def test_one_trial_is_p_for_success_and_1_minus_p_for_failure():
    trial = bernoulli.trial(jnp.array([0.25, 0.25]), jnp.array([1.0, 0.0]))
    assert trial.tolist() == [0.25, 0.75]


def test_exp_of_minus_cross_entropy_is_the_probability_of_all_events(dtype):
    p = jax.random.uniform(jax.random.key(0), (20,), dtype)
    y = (p > 0.5).astype(dtype)
    likelihood = bernoulli.likelihood(p, y)
    # The exponential turns an absolute error of the sum into a relative one of the product.
    bound = 20 * float(jnp.finfo(dtype).eps) * float(bernoulli.negative_log_likelihood(p, y))
    assert float(jnp.exp(-bernoulli.negative_log_likelihood(p, y))) == pytest.approx(
        float(likelihood), rel=bound
    )


@pytest.mark.parametrize(("n", "x"), [(150, "float32"), (1075, "float64")], ids=str)
def test_the_product_of_many_coins_underflows_and_the_sum_of_logarithms_does_not(n, x):
    with x64(x == "float64"):
        p, y = coins(n, x)
        assert bernoulli.likelihood(p, y) == 0
        assert float(bernoulli.log_likelihood(p, y)) == pytest.approx(-n * math.log(2), rel=1e-6)


@pytest.mark.parametrize(("n", "x"), [(126, "float32"), (1022, "float64")], ids=str)
def test_a_few_coins_less_do_not_underflow(n, x):
    with x64(x == "float64"):
        assert bernoulli.likelihood(*coins(n, x)) == jnp.finfo(x).tiny


@pytest.mark.parametrize("scale", [1.0, 1 / 8, 5.0])
def test_scaling_the_log_likelihood_leaves_its_optimum_where_it_is(scale):
    """Three successes in eight trials with one p: the optimum is 3/8, scaled by 1/N or by k."""
    y = jnp.array([1.0, 0, 0, 1, 0, 1, 0, 0])
    grid = np.arange(1, 16) / 16
    scaled = [scale * float(bernoulli.log_likelihood(jnp.full(8, p), y)) for p in grid]
    assert grid[np.argmax(scaled)] == 3 / 8
    slope = scale * bernoulli.log_likelihood_gradient(jnp.full(8, 3 / 8), y).sum()
    assert abs(float(slope)) < 1e-5


def test_ascent_on_the_log_likelihood_is_descent_on_its_negative():
    p, y = jnp.array([0.3, 0.6, 0.8]), jnp.array([1.0, 1.0, 0.0])
    up = bernoulli.log_likelihood_gradient(p, y)
    down = bernoulli.negative_log_likelihood_gradient(p, y)
    assert (up == -down).all()
    assert bernoulli.log_likelihood(p + 0.01 * up, y) > bernoulli.log_likelihood(p, y)
    stepped = bernoulli.negative_log_likelihood(p - 0.01 * down, y)
    assert stepped < bernoulli.negative_log_likelihood(p, y)


# --- all but one ----------------------------------------------------------------------------------

rows = arrays(np.float64, (2, 5), elements=st.integers(-9, 9).map(float))


def loop(combine, a):
    """The loop: combine every row without each of its elements in turn."""
    return [[combine(np.delete(row, i)) for i in range(len(row))] for row in a]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(rows)
def test_leave_one_out_sum_is_the_loop(a):
    """Small integers, so that both are exact."""
    with x64():
        assert bernoulli.leave_one_out_sum(jnp.asarray(a)).tolist() == loop(math.fsum, a)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(rows)
def test_leave_one_out_product_is_the_loop_zeros_and_all(a):
    with x64():
        assert bernoulli.leave_one_out_product(jnp.asarray(a)).tolist() == loop(math.prod, a)


def test_a_dominant_term_does_not_swallow_the_rest(dtype):
    """sum(a) − a[0] is 0 here."""
    a = jnp.asarray([1.0, 1e-20, 2e-20], dtype)
    assert a.sum() - a[0] == 0
    assert bernoulli.leave_one_out_sum(a)[0] == a[1] + a[2]


@pytest.mark.parametrize(
    ("a", "products"),
    [([2.0, 0.0, 5.0], [0, 10, 0]), ([0.0, 0.0, 5.0], [0, 0, 0]), ([0.0], [1])],
    ids=["one-zero", "two-zeros", "alone"],
)
def test_zeros_in_a_product(a, products):
    assert bernoulli.leave_one_out_product(jnp.array(a)).tolist() == products


def test_a_lone_element_has_the_empty_sum():
    assert bernoulli.leave_one_out_sum(jnp.array([7.0])).tolist() == [0]


@pytest.mark.bad_input
def test_a_scalar_is_refused():
    with pytest.raises(
        InputError, match=r"a: expected at least one class on the last axis, got shape"
    ):
        bernoulli.leave_one_out_sum(jnp.array(1.0))


# --- the ends of the interval ---------------------------------------------------------------------


def test_what_was_certain_and_came_costs_nothing():
    p = y = jnp.array([0.0, 1.0])
    assert bernoulli.trial(p, y).tolist() == [1, 1]
    assert bernoulli.log_trial(p, y).tolist() == [0, 0]


def test_at_certainty_the_gradients_are_the_one_sided_slopes():
    p = y = jnp.array([0.0, 1.0])
    assert bernoulli.trial_gradient(p, y).tolist() == [-1, 1]
    assert bernoulli.log_trial_gradient(p, y).tolist() == [-1, 1]


def test_autodiff_of_the_logarithm_has_the_one_sided_slope_there_too():
    p = y = jnp.array([0.0, 1.0])
    assert jax.grad(lambda q: bernoulli.log_trial(q, y).sum())(p).tolist() == [-1, 1]


def test_autodiff_in_the_label_is_the_log_odds_for_hard_labels_too():
    p, y = jnp.array([0.25, 0.25]), jnp.array([0.0, 1.0])
    slope = jax.grad(lambda t: bernoulli.log_trial(p, t).sum())(y)
    np.testing.assert_allclose(slope, np.log(1 / 3), rtol=1e-6)


def test_the_impossible_that_came_has_probability_0_and_infinite_entropy():
    p = jnp.array([0.0, 1.0])
    assert bernoulli.trial(p, 1 - p).tolist() == [0, 0]
    assert bernoulli.negative_log_likelihood(p, 1 - p) == jnp.inf


@pytest.mark.digits
def test_a_small_probability_keeps_its_digits_in_the_logarithm(dtype, real):
    p = jnp.asarray([1e-10, 1e-5, 0.1, 0.6], dtype)
    value = bernoulli.log_trial(p, jnp.zeros_like(p))
    np.testing.assert_allclose(
        value, real(lambda q: mpmath.log1p(-q), p), rtol=2 * float(jnp.finfo(dtype).eps)
    )


# --- gradients ------------------------------------------------------------------------------------

GRADIENTS = {
    "trial": (bernoulli.trial, bernoulli.trial_gradient),
    "likelihood": (bernoulli.likelihood, bernoulli.likelihood_gradient),
    "log_likelihood": (bernoulli.log_likelihood, bernoulli.log_likelihood_gradient),
    "negative_log_likelihood": (
        bernoulli.negative_log_likelihood,
        bernoulli.negative_log_likelihood_gradient,
    ),
}
COMPILED = {
    name: (jax.jit(gradient), jax.jit(jax.grad(lambda p, y, value=value: value(p, y).sum())))
    for name, (value, gradient) in GRADIENTS.items()
}
inside = arrays(np.float64, 5, elements=st.floats(1 / 64, 63 / 64))
labels = arrays(
    np.float64, 5, elements=st.floats(0, 1, allow_subnormal=False) | st.sampled_from([0.0, 1.0])
)


@pytest.mark.parametrize("name", GRADIENTS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(p=inside, y=labels)
def test_gradients_in_p_are_those_of_autodiff(name, p, y):
    hand, autodiff = COMPILED[name]
    with x64():
        p, y = jnp.asarray(p), jnp.asarray(y)
        # Both terms of the derivative are at most 64 times the value: their difference may cancel.
        np.testing.assert_allclose(hand(p, y), autodiff(p, y), rtol=1e-13, atol=64 * 8 * 2.0**-52)


def test_the_likelihood_has_a_gradient_where_one_event_was_impossible():
    """Dividing the product by its factor would give 0/0."""
    p, y = jnp.array([0.0, 0.5, 0.25]), jnp.array([1.0, 1.0, 0.0])
    assert bernoulli.likelihood_gradient(p, y).tolist() == [0.375, 0, 0]


def test_the_log_likelihood_is_flat_where_the_prediction_is_the_label():
    p = jnp.array([0.25, 0.5, 0.75])
    assert bernoulli.log_likelihood_gradient(p, p).tolist() == [0, 0, 0]


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("name", GRADIENTS)
def test_labels_of_another_shape_are_refused(name):
    for function in GRADIENTS[name]:
        with pytest.raises(
            InputError, match=r"y: expected the shape of p, \(3,\), got shape \(3, 1\); reshape"
        ):
            function(jnp.full(3, 0.5), jnp.ones((3, 1)))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["likelihood", "log_likelihood", "negative_log_likelihood"])
def test_no_trial_at_all_is_refused(name):
    with pytest.raises(InputError, match=r"p: expected at least one example.*pass some data"):
        GRADIENTS[name][0](jnp.zeros(0), jnp.zeros(0))


@pytest.mark.bad_input
def test_integer_probabilities_are_refused():
    with pytest.raises(InputError, match=r"p: expected a floating dtype, got int32.*convert it"):
        bernoulli.trial(jnp.ones(2, int), jnp.ones(2, int))
