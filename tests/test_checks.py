"""What is no array is refused in words, by name, wherever it comes in."""

import datetime

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from handgrad import losses
from handgrad._checks import (
    as_index,
    as_numpy,
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
