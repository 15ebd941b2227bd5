"""One pass over packed blocks gives the reference's loss and gradient, for any N."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.errors import InputError, MissingExtraError
from handgrad.fast import one_pass
from handgrad.gradients import logistic, softmax_regression
from handgrad.gradients.linear import Params


@partial(jax.jit, static_argnames=("reference", "rows"))
def three(params, x, y, l2, reference, rows):
    """(E, ∇E) from packed blocks, from blocks of rows, and of the reference."""
    packed = one_pass.pack(x, y, rows)
    return (
        one_pass.value_and_gradient(params, packed, l2=l2),
        one_pass.value_and_gradient(params, x, y, l2, rows),
        reference(params, x, y, l2),
    )


def problem(n, d, k, labels, seed=0):
    rng = np.random.default_rng(seed)
    outputs = (k,) if k > 1 else ()
    params = Params(
        jnp.asarray(rng.normal(size=(d, *outputs))), jnp.asarray(rng.normal(size=outputs))
    )
    x = rng.normal(size=(n, d))
    if k == 1:
        y = rng.integers(0, 2, n).astype(float) if labels == "hard" else rng.random(n)
    else:
        y = rng.integers(0, k, n) if labels == "hard" else rng.dirichlet(np.ones(k), n)
    model = softmax_regression if k > 1 else logistic
    return params, jnp.asarray(x), jnp.asarray(y), model.value_and_gradient


def assert_all_close(given, expected):
    (value, gradient), (expected_value, expected_gradient) = given, expected
    np.testing.assert_allclose(value, expected_value, rtol=1e-13)
    for a, b in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("n", "rows", "k", "labels"),
    [
        (5, 3, 1, "soft"), (1, 4, 1, "hard"), (5, 3, 5, "hard"), (2, 1, 2, "soft"),
        (5, 3, 40, "hard"), (1, 4, 40, "soft"),
    ],
)  # fmt: skip
def test_it_equals_the_reference(n, rows, k, labels):
    with x64():
        params, x, y, reference = problem(n, 6, k, labels)
        packed, by_rows, expected = three(params, x, y, 0.3, reference, rows)
    assert_all_close(packed, expected)
    assert_all_close(by_rows, expected)


def test_blocks_of_an_array_past_32_bits_are_cut_from_rows(monkeypatch):
    """A place in the flat view of such an array does not fit an int32, and would wrap."""
    huge = jax.ShapeDtypeStruct((40_000_000, 64), np.float32)
    shapes = Params(jax.ShapeDtypeStruct((64,), np.float32), jax.ShapeDtypeStruct((), np.float32))
    labels = jax.ShapeDtypeStruct((40_000_000,), np.float32)
    run = jax.make_jaxpr(one_pass.value_and_gradient)
    assert "2560000000" not in str(run(shapes, huge, labels))
    monkeypatch.setattr(one_pass, "MOST_FLAT", 100)
    with x64():
        params, x, y, reference = problem(40, 6, 1, "hard")
        _, by_rows, expected = three(params, x, y, 0.0, reference, 30)
    assert_all_close(by_rows, expected)


@pytest.mark.digits
@pytest.mark.parametrize(("z", "y"), [(17.0, 1.0), (-17.0, 0.0), (60.0, 1.0), (-88.0, 1.0)])
def test_far_points_keep_their_digits(z, y):
    params = Params(jnp.ones(1, jnp.float32), jnp.zeros((), jnp.float32))
    x, labels = jnp.full((3, 1), z, jnp.float32), jnp.full(3, y, jnp.float32)
    for value, gradient in three(params, x, labels, 0.0, logistic.value_and_gradient, 2)[:2]:
        with x64():
            at = Params(jnp.ones(1), jnp.zeros(())), jnp.full((3, 1), z), jnp.full(3, y)
            exact, slope = exact_logistic(*at)
        np.testing.assert_allclose(value, exact, rtol=3e-6)
        np.testing.assert_allclose(gradient.weight, slope.weight, rtol=3e-6)


exact_logistic = jax.jit(logistic.value_and_gradient)


@pytest.mark.digits
@pytest.mark.parametrize("classes", [2, 40])
def test_a_certain_class_keeps_its_digits(classes):
    """Classes first where they are few, last where they are many."""
    weight = jnp.zeros((1, classes), jnp.float32).at[0, 1].set(17.0)
    params = Params(weight, jnp.zeros(classes, jnp.float32))
    x, y = jnp.ones((3, 1), jnp.float32), jnp.ones(3, jnp.int32)
    given = three(params, x, y, 0.0, softmax_regression.value_and_gradient, 2)[:2]
    for value, gradient in given:
        np.testing.assert_allclose(value, (classes - 1) * 4.1399374e-8, rtol=3e-6)
        np.testing.assert_allclose(gradient.weight[0, 0], 4.1399374e-8, rtol=3e-6)
        np.testing.assert_allclose(gradient.weight[0, 1], -(classes - 1) * 4.1399374e-8, rtol=3e-6)
    for wrong in (-1, classes):
        given = three(params, x, y.at[1].set(wrong), 0.0, softmax_regression.value_and_gradient, 2)
        assert all(jnp.isnan(value) for value, _ in given)


def test_an_array_on_the_host_is_packed_as_it_is():
    params, x, y, _ = problem(50, 3, 4, "hard")
    params = jax.tree.map(lambda a: a.astype(jnp.float32), params)
    x, y = np.asarray(x, np.float32), np.array(y)
    packed = one_pass.pack(x, y, 20).x, one_pass.pack(jnp.asarray(x), y, 20).x
    for ours, theirs in zip(*packed, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    y[7] = 4
    assert jnp.isnan(jax.jit(one_pass.gradient)(params, one_pass.pack(x, y)).bias).any()


def test_parameters_that_are_numbers():
    """A bias may be a Python float, as in the reference."""
    params, x, y, _ = problem(5, 3, 1, "hard")
    params, number = (Params(np.ones(3, np.float32), bias) for bias in (np.float32(0.5), 0.5))
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    for data in ((one_pass.pack(x, y),), (x, y)):
        given, expected = (one_pass.value_and_gradient(p, *data) for p in (number, params))
        assert given[0] == expected[0]
        np.testing.assert_array_equal(given[1].weight, expected[1].weight)


def test_a_block_fills_its_bytes_and_blocks_stay_few():
    assert one_pass.rows_of_block(10**6, 64, 4) == one_pass.BLOCK_BYTES // 256
    assert -(-(10**8) // one_pass.rows_of_block(10**8, 64, 4)) <= one_pass.MOST_BLOCKS
    assert one_pass.rows_of_block(10, 64, 4) == 10


def test_without_numba_xla_does_it(monkeypatch):
    monkeypatch.setattr(one_pass, "find_spec", lambda name: None)
    monkeypatch.setattr(one_pass, "LARGE", 0)
    monkeypatch.setenv(one_pass.VARIABLE, "numba")
    value, _ = one_pass.value_and_gradient(BINARY, X, Y)
    assert value == one_pass.value_and_gradient(BINARY, X, Y, form="xla")[0]
    with pytest.raises(MissingExtraError, match=r"handgrad\[numba\]"):
        one_pass.value_and_gradient(BINARY, X, Y, form="numba")


X, Y = np.ones((4, 3), np.float32), np.ones(4, np.float32)
BINARY = Params(jnp.ones(3, jnp.float32), jnp.zeros((), jnp.float32))
CLASSES = Params(jnp.ones((3, 2), jnp.float32), jnp.zeros(2, jnp.float32))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: one_pass.pack(X.astype(int), Y), "x"),
        (lambda: one_pass.pack(X[0], Y), "x"),
        (lambda: one_pass.pack(X[:0], Y[:0]), "x"),
        (lambda: one_pass.pack(X, Y[:3]), "y"),
        (lambda: one_pass.pack(X, Y[:, None, None]), "y"),
        (lambda: one_pass.pack(X, Y, rows=0), "rows"),
        (lambda: one_pass.pack(X, Y, rows=2.5), "rows"),
        (lambda: one_pass.value_and_gradient(BINARY, X), "y"),
        (lambda: one_pass.value_and_gradient(BINARY, X.astype(np.float16), Y), "params.weight"),
        (lambda: one_pass.value_and_gradient(BINARY, one_pass.pack(X, Y), rows=2), "rows"),
        (lambda: one_pass.value_and_gradient(BINARY, X, Y, rows=-1), "rows"),
        (lambda: one_pass.value_and_gradient(BINARY, X, Y, form="cuda"), "form"),
        (lambda: one_pass.value_and_gradient(BINARY, X, Y, rows=2, form="numba"), "form"),
        (lambda: one_pass.value_and_gradient(BINARY, one_pass.pack(X, Y), form="numba"), "form"),
        (lambda: one_pass.value_and_gradient(BINARY, X, Y[:2]), "y"),
        (lambda: one_pass.value_and_gradient(CLASSES, X, Y), "y"),
        (lambda: one_pass.value_and_gradient(BINARY, one_pass.pack(X, Y), Y), "y"),
        (lambda: one_pass.value_and_gradient(BINARY, one_pass.pack(X, Y[:, None])), "y"),
        (lambda: one_pass.value_and_gradient(CLASSES, one_pass.pack(X, Y)), "y"),
        (lambda: one_pass.value_and_gradient(BINARY, one_pass.pack(X[:, :2], Y)), "params.weight"),
        (
            lambda: one_pass.value_and_gradient(
                BINARY._replace(bias=jnp.zeros((1,))), one_pass.pack(X, Y)
            ),
            "params.bias",
        ),
    ],
)
def test_bad_input(call, argument):
    with pytest.raises(InputError) as error:
        call()
    assert error.value.argument == argument
