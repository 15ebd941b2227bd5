"""Cross-entropy: worked numbers, the residual and its accuracy, soft labels, extremes, refusals."""

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
from handgrad.gradients import cross_entropy
from handgrad.gradients.sigmoid import sigmoid
from handgrad.gradients.softmax import softmax
from handgrad.verify.ulp import ulp_error


def compiled(module):
    """The functions of a module, each one program instead of one for each operation."""
    own = (f for f in vars(module).values() if getattr(f, "__module__", "") == module.__name__)
    return SimpleNamespace(
        **{f.__name__: jax.jit(f) for f in own if not f.__name__.startswith("_")}
    )


ce = compiled(cross_entropy)
logits = arrays(np.float64, (3, 4), elements=st.floats(-20, 20, allow_subnormal=False))
weights = arrays(np.float64, (3, 4), elements=st.sampled_from([0.0, 1.0]) | st.floats(2.0**-10, 1))
CONFIDENT = [17.0, 50.0, 80.0]


def drawn(dtype, scale=4.0, shape=(30, 5)):
    rng = np.random.default_rng(2)
    return jnp.asarray(scale * rng.normal(size=shape), dtype), rng.integers(0, shape[-1], shape[0])


# --- values ---------------------------------------------------------------------------------------


def test_the_most_likely_outcome_of_the_three_doors_costs_0_69():
    p, y = jnp.array([0.8, 0.7, 0.1]), jnp.array([1.0, 1.0, 0.0])
    assert round(float(ce.binary_from_probabilities(p, y).sum()), 2) == 0.69


def test_cross_entropy_of_logits_is_that_of_their_probabilities(dtype):
    z, _ = drawn(dtype, 2)
    y = jax.random.uniform(jax.random.key(0), z.shape, dtype)
    rtol = 64 * float(jnp.finfo(dtype).eps)  # 1 − p loses up to 5 bits at these logits
    np.testing.assert_allclose(
        ce.binary(z, y), ce.binary_from_probabilities(sigmoid(z), y), rtol=rtol
    )
    np.testing.assert_allclose(
        ce.categorical(z, y), ce.categorical_from_probabilities(softmax(z), y), rtol=rtol
    )


def test_two_classes_are_the_binary_case(dtype):
    z = drawn(dtype)[0][:, :2]
    y = jnp.arange(len(z)) % 2
    np.testing.assert_allclose(
        ce.categorical(z, y),
        ce.binary(z[:, 1] - z[:, 0], y),
        rtol=8 * float(jnp.finfo(dtype).eps),
    )


def test_indices_and_one_hot_rows_are_the_same_labels(dtype):
    z, y = drawn(dtype)
    one_hot = jnp.eye(5, dtype=dtype)[y]
    assert (ce.categorical(z, jnp.asarray(y)) == ce.categorical(z, one_hot)).all()
    by_index = ce.categorical_residual(z, jnp.asarray(y))
    by_row = ce.categorical_residual(z, one_hot)  # sums the other classes in another order
    assert (abs(by_index - by_row) <= 4 * jnp.finfo(dtype).eps * abs(by_row)).all()


def test_hard_labels_may_be_integers_or_booleans():
    z = jnp.array([-1.0, 2.0])
    for y in (jnp.array([0, 1]), jnp.array([False, True])):
        assert (ce.binary(z, y) == ce.binary(z, jnp.array([0.0, 1.0]))).all()


def test_what_did_not_happen_has_no_say():
    """p = 0 for a class that did not come: 0·log 0 = 0, in the value and in the gradient."""
    p, y = jnp.array([0.0, 1.0]), jnp.array([0.0, 1.0])
    assert ce.categorical_from_probabilities(p, y) == 0
    assert ce.categorical_from_probabilities_gradient(p, y).tolist() == [0, -1]


def test_certainty_with_the_matching_label_costs_nothing():
    p = y = jnp.array([0.0, 1.0])
    assert ce.binary_from_probabilities(p, y).tolist() == [0, 0]
    assert ce.binary_from_probabilities_gradient(p, y).tolist() == [1, -1]


def test_an_impossible_event_that_came_costs_infinity():
    assert ce.binary_from_probabilities(jnp.array([0.0]), jnp.array([1.0])) == jnp.inf
    p, y = jnp.array([0.0, 1.0]), jnp.array([1.0, 0.0])
    assert ce.categorical_from_probabilities(p, y) == jnp.inf


# --- the residual ---------------------------------------------------------------------------------


@pytest.mark.digits
@pytest.mark.parametrize("label", [0, 1])
def test_the_binary_residual_keeps_its_digits_for_hard_labels(label, dtype, real):
    far = 87 if dtype == "float32" else 708
    z = jnp.asarray(np.random.default_rng(0).uniform(-far, far, 400), dtype)
    truth = real(lambda a: 1 / (1 + mpmath.exp(-a)) if label == 0 else -1 / (1 + mpmath.exp(a)), z)
    error = ulp_error(ce.binary_residual(z, jnp.full(z.shape, label)), truth, dtype)
    assert error.max() <= 3  # measured: 2.0


@pytest.mark.digits
@pytest.mark.parametrize("scale", [1, 5, 15])
def test_the_categorical_residual_keeps_its_digits_for_hard_labels(
    scale, dtype, real, real_softmax
):
    """z_i − max z rounds: half an ulp of it is |z_i − max z|/2 ulps of the exponential."""
    z, y = drawn(dtype, scale)
    p = real_softmax(z)
    with mpmath.workdps(50):
        truth = (p - np.eye(5)[y].astype(int)).astype(float)
    explained = 5 + np.ptp(np.asarray(z, np.float64), axis=-1, keepdims=True)
    residual = ce.categorical_residual(z, jnp.asarray(y))
    assert (ulp_error(residual, truth, dtype) <= explained).all()


@pytest.mark.digits
@pytest.mark.parametrize("logit", CONFIDENT)
def test_no_hard_label_has_a_residual_of_0_in_float32(logit):
    """The textbook ŷ − y has: at 17 the sigmoid is 1."""
    z = jnp.float32(logit)
    truth = 1 / (1 + mpmath.exp(logit))
    assert ulp_error(ce.binary_residual(z, jnp.float32(1)), float(-truth), "float32") <= 2
    assert ulp_error(ce.binary_residual(-z, jnp.float32(0)), float(truth), "float32") <= 2
    assert ce.binary_residual_textbook(z, jnp.float32(1)) == 0


@pytest.mark.digits
@pytest.mark.parametrize("logit", CONFIDENT)
def test_no_class_index_has_a_residual_of_0_in_float32(logit):
    z, y = jnp.float32([logit, 0, -1]), jnp.int32(0)
    assert (ce.categorical_residual(z, y) != 0).all()
    assert ce.categorical_residual_textbook(z, y)[0] == 0


def test_the_textbook_residual_is_right_as_algebra(dtype):
    """What it loses is an error of eps, absolute."""
    z, y = drawn(dtype)
    atol = 4 * float(jnp.finfo(dtype).eps)
    y = jnp.asarray(y)
    np.testing.assert_allclose(
        ce.categorical_residual_textbook(z, y), ce.categorical_residual(z, y), rtol=0, atol=atol
    )
    hard = (z > 1).astype(dtype)
    np.testing.assert_allclose(
        ce.binary_residual_textbook(z, hard), ce.binary_residual(z, hard), rtol=0, atol=atol
    )


def test_the_residuals_of_a_row_sum_to_0(dtype):
    z, y = drawn(dtype, 10)
    sums = ce.categorical_residual(z, jnp.asarray(y)).sum(axis=-1)
    np.testing.assert_allclose(sums, 0, atol=2 * float(jnp.finfo(dtype).eps))


def test_the_residual_pushes_towards_the_label():
    z, y = drawn("float32")
    residual = ce.categorical_residual(z, jnp.asarray(y))
    assert ((residual < 0) == (np.eye(5)[y] == 1)).all()


def test_a_prediction_equal_to_the_label_leaves_no_residual():
    assert ce.binary_residual(jnp.array([0.0]), jnp.array([0.5])) == 0
    z = jnp.zeros((1, 4))
    assert (ce.categorical_residual(z, jnp.full((1, 4), 0.25)) == 0).all()


DERIVATIVES = {
    "binary": (ce.binary, ce.binary_residual, 0),
    "binary label": (ce.binary, ce.binary_label_derivative, 1),
    "categorical": (ce.categorical, ce.categorical_residual, 0),
    "categorical label": (ce.categorical, ce.categorical_label_derivative, 1),
}
COMPILED = {
    name: (hand, jax.jit(jax.grad(lambda z, y, value=value: value(z, y).sum(), argnums)))
    for name, (value, hand, argnums) in DERIVATIVES.items()
}


@pytest.mark.parametrize("name", DERIVATIVES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(z=logits, y=weights)
def test_derivatives_are_those_of_autodiff_for_any_labels(name, z, y):
    """Rows need not sum to 1, and may be 0."""
    hand, autodiff = COMPILED[name]
    with x64():
        z, y = jnp.asarray(z), jnp.asarray(y)
        # Each derivative is a sum of a few terms no larger than Σ y or |z|, and rounds with them.
        atol = 64 * 2.0**-52
        np.testing.assert_allclose(hand(z, y), autodiff(z, y), rtol=1e-13, atol=atol)


PROBABILITIES = {
    "binary": (ce.binary_from_probabilities, ce.binary_from_probabilities_gradient),
    "categorical": (ce.categorical_from_probabilities, ce.categorical_from_probabilities_gradient),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_derivatives_in_the_probabilities_are_those_of_autodiff(name, dtype):
    value, gradient = PROBABILITIES[name]
    p = softmax(drawn(dtype, 1)[0])
    y = softmax(drawn(dtype, 1, (31, 5))[0][1:])
    auto = jax.grad(lambda q: value(q, y).sum())(p)
    atol = 64 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(gradient(p, y), auto, rtol=atol, atol=atol)


# --- extremes -------------------------------------------------------------------------------------


def extremes(dtype):
    largest = float(jnp.finfo(dtype).max)
    z = [0.0, 1e4, 3e38, largest]
    return jnp.asarray([*z, *(-a for a in z)], dtype)


@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
def test_no_binary_logit_gives_nan_or_infinity(label, dtype):
    z = extremes(dtype)
    y = jnp.full_like(z, label)
    value, residual = ce.binary(z, y), ce.binary_residual(z, y)
    assert jnp.isfinite(value).all()
    np.testing.assert_allclose(value[1:4], (1 - label) * z[1:4])
    np.testing.assert_allclose(value[5:], -label * z[5:])
    assert residual[1:4].tolist() == [1 - label] * 3
    assert residual[5:].tolist() == [-label] * 3


@pytest.mark.parametrize("size", [1e4, 3e38])
def test_no_row_of_logits_gives_nan(size, dtype):
    z = jnp.asarray([[size, 0, 0], [-size, 0, 0]], dtype)
    y = jnp.array([0, 0])
    np.testing.assert_allclose(ce.categorical(z, y), [0, size + np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(
        ce.categorical_residual(z, y), [[0, 0, 0], [-1, 0.5, 0.5]], rtol=1e-6
    )


def test_a_class_that_cannot_come_and_did_not_leaves_the_loss_finite():
    """At logits (max, −max) the second log-probability is −∞, with weight 0."""
    largest = float(jnp.finfo("float32").max)
    z, y = jnp.array([largest, -largest]), jnp.array([1.0, 0.0])
    assert ce.categorical(z, y) == 0
    assert ce.categorical_residual(z, y).tolist() == [0, 0]


# --- labels that cannot be ------------------------------------------------------------------------


@pytest.mark.parametrize("index", [-1, 3, 1000])
def test_a_class_index_out_of_range_gives_nan_under_jit_and_never_a_guess(index):
    z, y = jnp.zeros((2, 3)), jnp.array([0, index])
    value, residual = ce.categorical(z, y), ce.categorical_residual(z, y)
    assert jnp.isnan(value).tolist() == [False, True]
    assert jnp.isnan(residual).all(axis=1).tolist() == [False, True]


BINARY = [ce.binary, ce.binary_residual, ce.binary_residual_textbook, ce.binary_label_derivative]
CATEGORICAL = [ce.categorical, ce.categorical_residual, ce.categorical_residual_textbook]


@pytest.mark.bad_input
@pytest.mark.parametrize("function", BINARY)
def test_a_column_of_binary_labels_is_refused(function):
    """(N,) against (N, 1) would broadcast to (N, N)."""
    words = r"y: expected the shape of the logits, \(4,\), got shape \(4, 1\); reshape.*y.ravel"
    with pytest.raises(InputError, match=words):
        function(jnp.zeros(4), jnp.zeros((4, 1)))


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [*BINARY, *CATEGORICAL])
def test_integer_logits_are_refused(function):
    with pytest.raises(InputError, match=r"logits: expected a floating dtype, got int32.*astype"):
        function(jnp.zeros(4, int), jnp.zeros(4))


@pytest.mark.bad_input
@pytest.mark.parametrize("function", CATEGORICAL)
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (jnp.zeros((4, 1), int), r"got int32 of shape \(4, 1\); convert the labels"),
        (jnp.zeros(3, int), r"got int32 of shape \(3,\); convert the labels"),
        (jnp.zeros(4), r"got float32 of shape \(4,\); convert the labels"),
        (jnp.zeros((4, 2)), r"got float32 of shape \(4, 2\); convert the labels"),
        (jnp.zeros((4, 3), bool), r"got bool of shape \(4, 3\); convert the labels"),
    ],
    ids=["column", "too-few", "float-indices", "too-few-classes", "boolean"],
)
def test_class_labels_that_do_not_fit_are_refused(function, labels, words):
    forms = (
        r"y: expected integer class indices of shape \(4,\) or probabilities of shape \(4, 3\), "
    )
    with pytest.raises(InputError, match=forms + words):
        function(jnp.zeros((4, 3)), labels)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", PROBABILITIES)
def test_probabilities_and_labels_of_different_shapes_are_refused(name):
    for function in PROBABILITIES[name]:
        with pytest.raises(InputError, match=r"y: expected the shape of p, \(2, 3\)"):
            function(jnp.full((2, 3), 0.5), jnp.ones(3))
