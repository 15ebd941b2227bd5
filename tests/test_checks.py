"""What is no array, and what cannot be learned from, is refused in words, by name."""

import datetime

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad import losses
from handgrad._checks import (
    as_index,
    as_numpy,
    check_features,
    check_labels,
    check_two_classes,
    check_values,
    dtype_of,
    floating_dtype,
    require_floating,
    require_key,
)
from handgrad.errors import InputError
from handgrad.gradients import cross_entropy, logistic, mlp, softmax_regression
from handgrad.gradients.linear import Params


class Explodes:
    def __array__(self, *args, **kwargs):
        raise RuntimeError("boom")


@pytest.mark.parametrize(
    "thing",
    [None, "float32", b"x", [1.0], (), {}, int, np.float32, datetime.date(2020, 1, 1), Explodes(),
     10**400,
     np.array(["x"]), np.array([None]), np.zeros(2, "datetime64[s]"), np.zeros(2, "longdouble"),
     np.ma.masked_array([1.0, 2.0], [0, 1])],
    ids=lambda thing: type(thing).__name__,
)  # fmt: skip
def test_what_is_no_array(thing):
    with pytest.raises(InputError, match=r"z: expected an array of numbers, got .*; convert it"):
        dtype_of("z", thing)


def test_what_is_one():
    for array in (jnp.ones(2), np.ones(2), 1.0, np.float32(1), np.zeros(2, ml_dtypes.bfloat16)):
        require_floating("z", array)
    assert jax.eval_shape(lambda z: (require_floating("z", z), z)[1], jnp.ones(2)).shape == (2,)
    with pytest.raises(InputError, match="z: expected a floating dtype, got float8"):
        require_floating("z", jnp.ones(2, "float8_e4m3fn"))


@pytest.mark.parametrize("thing", [Explodes(), [[1.0], [1.0, 2.0]], jax.random.key(0)])
def test_what_numpy_cannot_take(thing):
    with pytest.raises(InputError, match="x: expected an array of numbers"):
        as_numpy("x", thing)


def test_gaps_are_not_forgotten():
    with pytest.raises(InputError, match="x: expected a value in every place, got a masked array"):
        as_numpy("x", np.ma.masked_array([1.0, 2.0], [0, 1]))


def test_class_indices_keep_their_meaning():
    """2³² is not class 0, and 300 is a class beside 8-bit labels."""
    assert as_index(np.array([3, 2**32, -1, -(2**40)])).tolist() == [3, 2**31 - 1, -1, 2**31 - 1]
    assert as_index(np.array([2**64 - 1], np.uint64)).tolist() == [2**31 - 1]
    assert as_index(np.array([-3, 3], np.int8)).tolist() == [-3, 3]
    z = jnp.zeros((1, 300))
    value = cross_entropy.categorical(z, jnp.array([44], jnp.int8))
    assert value.item() == pytest.approx(np.log(300), rel=1e-6)
    residual = cross_entropy.categorical_residual(z, jnp.array([44], jnp.int8))
    assert np.flatnonzero(residual[0] < 0).tolist() == [44]
    for f in (cross_entropy.categorical, losses.softmax_cross_entropy_with_integer_labels):
        assert np.isnan(f(z, np.array([2**32]))).all()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (None, "params: expected a weight and a bias, got NoneType"),
        (Params(None, jnp.zeros(())), "params.weight: expected an array of numbers"),
        (Params(jnp.zeros(2), None), "params.bias: expected an array of numbers"),
        (Params(jnp.zeros(2), jnp.zeros(3)), r"params.bias: expected shape \(\), .* shape \(3,\)"),
        (Params(jnp.zeros(()), jnp.zeros(())), r"params.weight: expected shape \(D,\) or \(D, K\)"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit(params, words):
    """A bias of three numbers for one logit would be broadcast to (N, 3)."""
    for room in (logistic, softmax_regression):
        with pytest.raises(InputError, match=words):
            room.logits(params, jnp.zeros((3, 2)))
    with pytest.raises(InputError, match="layer"):
        mlp.logits(params, jnp.zeros((3, 2)))


def test_layers_that_do_not_follow():
    params = mlp.init(jax.random.key(0), 2, 2, hidden=(3,))
    with pytest.raises(
        InputError, match=r"layers\[1\].weight: expected the width of the layer before"
    ):
        mlp.logits(mlp.Params((params.layers[1], params.layers[1])), jnp.zeros((4, 3)))


@pytest.mark.parametrize("key", [0, None, "x", jnp.zeros(2), jax.random.split(jax.random.key(0))])
def test_what_is_no_key(key):
    with pytest.raises(InputError, match="key: expected a random key"):
        require_key(key)


def test_sizes_and_dtypes_of_a_model():
    key = jax.random.key(0)
    for features in (0, -1, 1.5, True, None, 2**31, 10**30):
        with pytest.raises(InputError, match=r"features: expected a whole number in 1\.\."):
            logistic.init(key, features)
    with pytest.raises(
        InputError, match="hidden: expected at most 2,147,483,647 weights in a layer"
    ):
        mlp.init(key, 4, hidden=(10**9,))
    for dtype in ("int32", "x", "a", "float8_e4m3fn", 3):
        with pytest.raises(InputError, match="dtype: expected a floating dtype"):
            floating_dtype(dtype)
    require_key(jax.random.PRNGKey(0))


# --- values ---------------------------------------------------------------------------------------

X = np.arange(12.0).reshape(4, 3)

GOOD = {
    "indices": np.array([0, 2, 1, 0], np.int32),
    "unsigned": np.array([0, 2, 1, 0], np.uint8),
    "hard_floats": np.array([0.0, 1.0, 1.0, 0.0]),
    "soft_floats": np.array([0.5, 0.5, 0.5, 0.5], np.float32),
    "bfloat16": jnp.array([0.0, 0.5, 1.0, 0.0], jnp.bfloat16),
    "probabilities": np.full((4, 3), 1 / 3, np.float32),
    "list": [0, 1, 0, 1],
}


@pytest.mark.parametrize("y", GOOD.values(), ids=GOOD)
def test_good_labels_pass(y):
    check_values(X, y)


BAD_LABELS = {
    "negative": ([0, 1, -1, 2], None, r"y: .*0 or more, got -1 at position 2 \(1 of 4 labels is"),
    "too_large": ([0, 3, 3, 2], 3, r"in 0\.\.2, got 3 at position 1 \(2 of 4 labels are out"),
    "nan": ([0.0, 1.0, np.nan, 0.0], None, r"a label for every example, got nan at position 2"),
    "above_one": ([0.0, 1.0, 2.0, 0.0], None, r"\[0, 1\], got 2\.0 at position 2.*astype\('int32'"),
    "below_zero": ([0.0, -0.1, 1.0, 0.0], None, r"\[0, 1\], got -0\.1 at position 1"),
    "infinite": ([0.0, np.inf, 1.0, 0.0], None, r"\[0, 1\], got inf at position 1"),
    "floats_for_three": ([0.0, 1.0, 1.0, 0.0], 3, r"integer class indices for 3 classes"),
    "column": ([[0], [1], [1], [0]], None, r"shape \(4, 1\), which broadcasts to \(4, 4\).*ravel"),
    "column_of_floats": ([[0.0], [1.0], [1.0], [0.0]], None, r"flatten them: y\.ravel\(\)"),
    "matrix_of_integers": (np.eye(4, dtype=int), None, r"y: expected shape \(N,\)"),
    "scalar": (1, None, r"y: expected shape \(N,\)"),
    "too_few": ([0, 1], None, r"y: expected 4 along axis 0 \(N, the rows of x\), got shape \(2,\)"),
    "none": (np.array([], int), None, r"y: expected at least one example"),
    "strings": (["a", "b", "a", "b"], None, r"integers or floats, got <U1.*one-hot"),
    "booleans": (
        [True, False, True, False],
        None,
        r"got bool of shape \(4,\); .*astype\('int32'\)",
    ),
    "ragged": ([[0.5, 0.5], [1.0]], None, r"rows of unequal length"),
    "sum": (np.full((4, 2), 0.6), None, r"sum to 1, got a sum of 1\.2 in row 0 \(4 of 4 rows are"),
    "negative_probability": (np.array([[1.5, -0.5]] * 4), None, r"got 1\.5 at position \[0, 0\]"),
    "nan_probability": (np.full((4, 2), np.nan), None, r"nan at position \[0, 0\] \(8 of 8"),
    "columns": (np.full((4, 2), 0.5), 3, r"expected 3 along axis 1 \(K, the classes\)"),
    "one_class": ([2, 2, 2, 2], 3, r"at least two classes, got one class only, in all 4 labels"),
    "one_hard_class": ([1.0, 1.0, 1.0, 1.0], None, r"one class only"),
    "one_hot_class": (np.array([[0.0, 1.0]] * 4), None, r"one class only"),
}


@pytest.mark.parametrize(("y", "classes", "words"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels_are_refused(y, classes, words):
    with pytest.raises(InputError, match=words):
        check_values(X, y, classes)


BAD_FEATURES = {
    "nan": (
        [[1.0, 2.0], [np.nan, np.inf]],
        r"finite.*, got nan at position \[1, 0\] \(2 of 4",
    ),
    "bfloat16_inf": (jnp.array([[jnp.inf]], jnp.bfloat16), r"got inf at position \[0, 0\]"),
    "no_rows": (np.empty((0, 3)), r"x: expected at least one example"),
    "no_columns": (np.empty((3, 0)), r"x: expected at least one feature"),
    "vector": ([1.0, 2.0], r"x: expected shape \(N, D\), got shape \(2,\)"),
    "complex": (np.ones((2, 2), complex), r"x: expected integers or floats, got complex128"),
    "objects": (np.array([["a", 1]], object), r"x: expected integers or floats, got object"),
}


@pytest.mark.parametrize(("x", "words"), BAD_FEATURES.values(), ids=BAD_FEATURES)
def test_bad_features_are_refused(x, words):
    with pytest.raises(InputError, match=words):
        check_features(x)


def test_a_part_may_hold_one_class():
    check_labels(np.array([1, 1]), examples=2, classes=2)
    with pytest.raises(InputError, match="one class only"):
        check_two_classes(np.array([1, 1]))


@settings(deadline=None)
@given(st.lists(st.integers(-3, 6), min_size=1), st.integers(1, 5))
def test_indices_pass_exactly_when_all_are_in_range(labels, classes):
    y = np.array(labels)
    if all(0 <= label < classes for label in labels):
        check_labels(y, len(y), classes)
    else:
        with pytest.raises(InputError, match="class indices"):
            check_labels(y, len(y), classes)


@settings(deadline=None)
@given(st.lists(st.floats(width=32), min_size=1))
def test_floats_pass_exactly_when_all_are_in_the_unit_interval(labels):
    y = np.array(labels, np.float32)
    if all(0 <= label <= 1 for label in labels):
        check_labels(y, len(y))
    else:
        with pytest.raises(InputError, match=r"\[0, 1\]|a label for every"):
            check_labels(y, len(y))
