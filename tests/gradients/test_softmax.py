"""Softmax, log-softmax, log-sum-exp: worked numbers, identities, Jacobian products, accuracy."""

from types import SimpleNamespace

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
from handgrad.gradients import softmax
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative
from handgrad.verify.ulp import ulp_error


def compiled(module):
    """The functions of a module, each one program instead of one for each operation."""
    own = (f for f in vars(module).values() if getattr(f, "__module__", "") == module.__name__)
    return SimpleNamespace(
        **{f.__name__: jax.jit(f) for f in own if not f.__name__.startswith("_")}
    )


s = compiled(softmax)
row = arrays(np.float64, 4, elements=st.floats(-8, 8, allow_subnormal=False))
# Value, product with a tangent, product with a cotangent.
PRODUCTS = {
    "softmax": (s.softmax, s.softmax_jvp, s.softmax_vjp),
    "log_softmax": (s.log_softmax, s.log_softmax_jvp, s.log_softmax_vjp),
}
JACOBIANS = {name: jax.jit(jax.jacobian(value)) for name, (value, _, _) in PRODUCTS.items()}


def drawn_logits(dtype, scale):
    return jnp.asarray(scale * np.random.default_rng(1).normal(size=(40, 5)), dtype)


# --- values ---------------------------------------------------------------------------------------


def test_the_three_classes_of_the_notes():
    """Scores 2, 1, 0 have probabilities 0.67, 0.24, 0.09."""
    assert [f"{p:.2f}" for p in s.softmax(jnp.array([2.0, 1.0, 0.0]))] == ["0.67", "0.24", "0.09"]


def test_softmax_of_two_classes_is_the_sigmoid_of_the_difference(dtype):
    a, b = drawn_logits(dtype, 3).T[:2]
    two = s.softmax(jnp.stack([a, b], axis=-1))
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(two[:, 0], sigmoid(a - b), rtol=8 * eps)
    np.testing.assert_allclose(two[:, 1], sigmoid(b - a), rtol=8 * eps)


def test_shifting_all_logits_changes_nothing(dtype):
    """A shift by a power of two keeps these logits exact: the results are equal to the bit."""
    z = jnp.asarray([[1.5, -0.25, 3.0], [0.0, 0.5, -2.0]], dtype)
    for shift in (-1024.0, 64.0):
        assert (s.softmax(z + shift) == s.softmax(z)).all()
        assert (s.log_softmax(z + shift) == s.log_softmax(z)).all()
        np.testing.assert_array_equal(
            s.logsumexp(z + shift).round(2), (s.logsumexp(z) + shift).round(2)
        )


def test_each_row_of_probabilities_sums_to_1(dtype):
    p = s.softmax(drawn_logits(dtype, 10))
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=4 * float(jnp.finfo(dtype).eps))


def test_log_softmax_is_the_logarithm_of_softmax(dtype):
    z = drawn_logits(dtype, 3)
    np.testing.assert_allclose(
        jnp.exp(s.log_softmax(z)), s.softmax(z), rtol=32 * float(jnp.finfo(dtype).eps)
    )


@pytest.mark.digits
@pytest.mark.parametrize("scale", [1, 5, 15])
def test_every_probability_and_its_logarithm_keep_their_digits(scale, dtype, real_softmax):
    """z_i − max z rounds: half an ulp of it is |z_i − max z|/2 ulps of the exponential."""
    z = drawn_logits(dtype, scale)
    truth = real_softmax(z)
    explained = 4 + np.asarray(z.max(axis=-1, keepdims=True) - z, np.float64).max(-1, keepdims=True)
    assert (ulp_error(s.softmax(z), truth.astype(float), dtype) <= explained).all()
    logs = np.vectorize(lambda p: float(mpmath.log(p)))(truth)
    assert (ulp_error(s.log_softmax(z), logs, dtype) <= explained).all()


@pytest.mark.digits
def test_a_confident_log_probability_keeps_its_digits():
    """log(1 + 4e-8) is 0 in float32 if the 1 is in the sum; −4.14e-8 is the truth at (17, 0)."""
    assert float(s.log_softmax(jnp.float32([17, 0]))[0]) == pytest.approx(-4.1399374e-8, rel=1e-6)


def test_logsumexp_lies_above_the_largest_by_at_most_log_k(dtype):
    z = drawn_logits(dtype, 5)
    above = s.logsumexp(z) - z.max(axis=-1)
    assert (above >= 0).all()
    assert (above <= np.log(5)).all()


def test_the_gradient_of_logsumexp_is_softmax(dtype):
    z = drawn_logits(dtype, 5)
    auto = jax.grad(lambda a: s.logsumexp(a).sum())(z)
    np.testing.assert_allclose(s.logsumexp_gradient(z), auto, rtol=64 * float(jnp.finfo(dtype).eps))


# Logits at the ends of the number line: their probabilities.
EXTREMES = {
    "1e4": ([1e4, 0.0, -1e4], [1, 0, 0]),
    "3e38": ([3e38, 0.0, -3e38], [1, 0, 0]),
    "two-large": ([3e38, 3e38, 0.0], [0.5, 0.5, 0]),
    "all-small": ([-3e38, -3e38], [0.5, 0.5]),
    "one": ([-1e30], [1]),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_logits_give_probabilities(name, dtype):
    logits, probabilities = EXTREMES[name]
    assert s.softmax(jnp.asarray(logits, dtype)).tolist() == probabilities


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_logits_have_a_finite_log_probability_wherever_it_is_a_float(name, dtype):
    z = jnp.asarray(EXTREMES[name][0], dtype)
    representable = jnp.abs(z - z.max()) < jnp.finfo(dtype).max
    assert (jnp.isfinite(s.log_softmax(z)) == representable).all()
    assert jnp.isfinite(s.logsumexp(z))


# --- Jacobian products ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRODUCTS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(z=row, v=row)
def test_products_are_those_with_the_jacobian(name, z, v):
    _, jvp, vjp = PRODUCTS[name]
    with x64():
        z, v = jnp.asarray(z), jnp.asarray(v)
        jacobian = JACOBIANS[name](z)
        atol = 32 * 2.0**-52 * float(jnp.abs(v).max())  # no entry of either Jacobian is above 1
        np.testing.assert_allclose(jvp(z, v), jacobian @ v, rtol=1e-13, atol=atol)
        np.testing.assert_allclose(vjp(v, z), v @ jacobian, rtol=1e-13, atol=atol)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_linear(name):
    _, jvp, vjp = PRODUCTS[name]
    with x64():
        z, a, b = jax.random.normal(jax.random.key(0), (3, 2, 6))
        for product in (lambda t: jvp(z, t), lambda c: vjp(c, z)):
            np.testing.assert_allclose(
                product(2 * a - 3 * b), 2 * product(a) - 3 * product(b), rtol=1e-13, atol=1e-14
            )


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_two_products_are_adjoint(name):
    """⟨c, J t⟩ = ⟨Jᵀ c, t⟩."""
    _, jvp, vjp = PRODUCTS[name]
    with x64():
        z, t, c = jax.random.normal(jax.random.key(1), (3, 7))
        assert float(c @ jvp(z, t)) == pytest.approx(float(vjp(c, z) @ t), rel=1e-13)


def test_moving_all_logits_together_moves_no_probability(dtype):
    z = drawn_logits(dtype, 3)
    assert (s.softmax_jvp(z, jnp.full_like(z, 3)) == 0).all()


@pytest.mark.digits
@pytest.mark.parametrize("logit", [17.0, 40.0, 80.0])
def test_products_keep_their_digits_where_one_class_is_all_but_certain(logit, dtype):
    """J is σ′(17) times [[1, −1], [−1, 1]]; p ∘ (t − ⟨p, t⟩) as it stands gives 0 in a row."""
    z, t = jnp.asarray([logit, 0], dtype), jnp.asarray([1, 0], dtype)
    slope = float(sigmoid_derivative(z[0]))
    tolerance = 8 * float(jnp.finfo(dtype).eps)
    for product in (s.softmax_jvp(z, t), s.softmax_vjp(t, z)):
        np.testing.assert_allclose(product, [slope, -slope], rtol=tolerance)


@pytest.mark.digits
@pytest.mark.parametrize("logit", [17.0, 40.0, 80.0])
def test_log_softmax_products_keep_their_digits_there_too(logit, dtype):
    """J is [[q, −q], [−p, p]] with q = σ(−17), which is lost in 1 − p."""
    z, t = jnp.asarray([logit, 0], dtype), jnp.asarray([1, 0], dtype)
    p, q = float(sigmoid(z[0])), float(sigmoid(-z[0]))
    tolerance = 8 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(s.log_softmax_jvp(z, t), [q, -p], rtol=tolerance)
    np.testing.assert_allclose(s.log_softmax_vjp(t, z), [q, -q], rtol=tolerance)


def test_sums_over_many_classes_do_not_overflow_float16():
    """70,000 equal logits: a sum of 70,000 is beyond float16, and 1/70,000 is not."""
    n = 70_000
    z, one = jnp.zeros(n, "float16"), jnp.ones(n, "float16")
    assert float(s.log_softmax(z)[0]) == pytest.approx(-np.log(n), rel=2.0**-11)
    for p in (s.softmax(z), s.logsumexp_gradient(z)):
        assert p.dtype == "float16"
        assert float(p[0]) == pytest.approx(1 / n, rel=1e-2)  # one of the last subnormal numbers
    for product in (s.log_softmax_jvp(z, one), s.log_softmax_vjp(one, z), s.softmax_jvp(z, one)):
        assert product.dtype == "float16"
        assert abs(product).max() < 1e-5
    first = jnp.zeros(n, "float16").at[0].set(1)
    assert float(s.log_softmax_vjp(first, z)[0]) == pytest.approx(1, rel=2.0**-11)
    assert float(s.log_softmax_jvp(z, first)[1]) == pytest.approx(-1 / n, rel=1e-2)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_direction_of_another_shape_is_refused(name):
    _, jvp, vjp = PRODUCTS[name]
    z, one = jnp.zeros((2, 3)), jnp.zeros((1, 3))
    with pytest.raises(InputError, match=r"^tangent: expected the shape of z, \(2, 3\)"):
        jvp(z, one)
    with pytest.raises(InputError, match=r"^cotangent: expected the shape of z, \(2, 3\)"):
        vjp(one, z)


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [s.softmax, s.log_softmax, s.logsumexp])
@pytest.mark.parametrize("shape", [(), (3, 0)], ids=str)
def test_logits_without_a_class_are_refused(function, shape):
    with pytest.raises(InputError, match="z: expected at least one class on the last axis"):
        function(jnp.zeros(shape))


@pytest.mark.bad_input
def test_integer_logits_are_refused():
    with pytest.raises(InputError, match="z: expected a floating dtype, got int32"):
        s.softmax(jnp.arange(3))
