"""Step, sigmoid, softplus, log-sigmoid: against fifty digits, and at extreme logits."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.gradients import sigmoid as s
from handgrad.verify.ulp import ulp_error


def real_sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


def real_sigmoid_derivative(z):
    return real_sigmoid(z) * real_sigmoid(-z)


def real_softplus(z):
    return mpmath.log1p(mpmath.exp(z))


# Function, its truth, and the ulps it may be off (measured: 2.0, 3.6, 2.3, 2.3, 2.0, 2.0).
ACCURATE = {
    "sigmoid": (s.sigmoid, real_sigmoid, 3),
    "sigmoid_derivative": (s.sigmoid_derivative, real_sigmoid_derivative, 4),
    "softplus": (s.softplus, real_softplus, 3),
    "log_sigmoid": (s.log_sigmoid, lambda z: -real_softplus(-z), 3),
    "softplus_derivative": (s.softplus_derivative, real_sigmoid, 3),
    "log_sigmoid_derivative": (s.log_sigmoid_derivative, lambda z: real_sigmoid(-z), 3),
}


def logits(dtype):
    """Logits whose sigmoid is a normal number, dense near 0 and out to the last that count."""
    last = 87 if dtype == "float32" else 708
    rng = np.random.default_rng(0)
    tiny = 10.0 ** rng.uniform(-9, 0, 100)
    z = np.concatenate([rng.uniform(-last, last, 200), rng.normal(0, 3, 200), tiny, -tiny])
    return jnp.asarray(z, dtype)


@pytest.mark.parametrize("name", ACCURATE)
def test_accurate_wherever_the_result_is_a_normal_number(name, dtype, real):
    function, truth, ulps = ACCURATE[name]
    z = logits(dtype)
    assert ulp_error(function(z), real(truth, z), dtype).max() <= ulps


def test_a_score_of_zero_is_an_even_chance():
    assert s.sigmoid(jnp.array(0.0)) == 0.5


@pytest.mark.parametrize("point", [(1.0, 1.0), (-4.0, 5.0)], ids=str)
def test_the_line_of_the_notes_gives_an_even_chance(point):
    """Score 4x₁ + 5x₂ − 9."""
    score = 4 * point[0] + 5 * point[1] - 9
    assert score == 0
    assert s.sigmoid(jnp.array(score)) == 0.5


def test_the_two_outcomes_share_the_probability(dtype):
    z = logits(dtype)
    np.testing.assert_allclose(s.sigmoid(z) + s.sigmoid(-z), 1, rtol=float(jnp.finfo(dtype).eps))


def test_the_derivative_is_symmetric(dtype):
    z = logits(dtype)
    assert (s.sigmoid_derivative(z) == s.sigmoid_derivative(-z)).all()


def test_the_textbook_derivative_vanishes_where_the_sigmoid_rounds_to_1():
    """17 in float32: the truth is 4.14e-8, and autodiff of the sigmoid is 0 too."""
    z = jnp.float32(17)
    assert s.sigmoid_derivative_textbook(z) == 0
    assert jax.grad(s.sigmoid)(z) == 0
    assert float(s.sigmoid_derivative(z)) == pytest.approx(4.1399374e-8, rel=1e-7)


def test_the_textbook_derivative_is_right_as_algebra(dtype, real):
    """σ(1 − σ) loses what the subtraction cancels: an error of eps, absolute."""
    z = logits(dtype)
    np.testing.assert_allclose(
        s.sigmoid_derivative_textbook(z),
        real(real_sigmoid_derivative, z),
        rtol=0,
        atol=float(jnp.finfo(dtype).eps),
    )


# Function and its limits at −∞ and +∞, where "z" stands for the logit itself.
EXTREMES = {
    "sigmoid": (s.sigmoid, 0, 1),
    "sigmoid_derivative": (s.sigmoid_derivative, 0, 0),
    "softplus": (s.softplus, 0, "z"),
    "log_sigmoid": (s.log_sigmoid, "z", 0),
    "softplus_derivative": (s.softplus_derivative, 0, 1),
    "log_sigmoid_derivative": (s.log_sigmoid_derivative, 1, 0),
    "step": (s.step, 0, 1),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("size", ["1e4", "3e38", "max"])
def test_extreme_logits_give_the_limit(name, size, dtype):
    function, low, high = EXTREMES[name]
    z = jnp.asarray(jnp.finfo(dtype).max if size == "max" else float(size), dtype)
    assert function(-z) == (-z if low == "z" else low)
    assert function(z) == (z if high == "z" else high)


def test_the_step_jumps_at_zero_and_belongs_to_the_right():
    assert s.step(jnp.array([-1e-30, 0.0, 1e-30])).tolist() == [0, 1, 1]


def test_the_step_is_flat():
    z = jnp.array([-2.0, -0.1, 0.1, 2.0])
    assert s.step_derivative(z).tolist() == [0, 0, 0, 0]
    assert ((s.step(z + 0.01) - s.step(z - 0.01)) == 0).all()


# --- tanh and relu ------------------------------------------------------------------------------


def test_the_derivative_of_tanh_keeps_its_digits_far_out(dtype, real):
    """1 − tanh² is 0 from z = 10 on in float32; the truth at 40 is 7e-35."""
    far = 43 if dtype == "float32" else 350
    z = jnp.asarray(np.random.default_rng(0).uniform(-far, far, 300), dtype)
    truth = real(lambda a: mpmath.sech(a) ** 2, z)
    assert 1 - jnp.square(jnp.tanh(jnp.float32(10))) == 0
    assert ulp_error(s.tanh_derivative(z), truth, dtype).max() <= 3


def test_the_derivative_of_tanh_is_smooth_at_zero(dtype):
    """Written with |z| it would have no curvature there, since JAX gives |z| the slope 0 at 0."""
    zero = jnp.zeros((), dtype)
    slope, curvature = (jax.grad(s.tanh_derivative), jax.grad(jax.grad(s.tanh_derivative)))
    assert jax.jit(lambda z: (slope(z), curvature(z)))(zero) == (0, -2)


def test_no_derivative_of_the_derivative_of_tanh_is_nan(dtype):
    z = jnp.asarray([-jnp.inf, -800, -400, -89, -44.3, 0, 44.3, 89, 400, 800, jnp.inf], dtype)
    assert jnp.isfinite(jax.jit(jax.vmap(jax.grad(s.tanh_derivative)))(z)).all()


def test_tanh_is_flat_at_the_ends_of_the_number_line(dtype):
    ends = jnp.asarray([-1, 1], dtype) * jnp.finfo(dtype).max
    assert s.tanh_derivative(ends).tolist() == [0, 0]


def test_at_its_kink_relu_has_a_slope_between_those_of_its_sides():
    zero = jnp.zeros(1)
    left, right = (s.relu(zero) - s.relu(zero - 1), s.relu(zero + 1) - s.relu(zero))
    assert left <= s.relu_derivative(zero) <= right


@pytest.mark.bad_input
@pytest.mark.parametrize("name", EXTREMES)
def test_integer_logits_are_refused(name):
    with pytest.raises(InputError, match=r"z: expected a floating dtype, got int32.*astype"):
        EXTREMES[name][0](jnp.arange(3))
