"""One pass over packed blocks gives the reference's loss and gradient, for any N."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.fast import one_pass
from handgrad.gradients import logistic, softmax_regression
from handgrad.gradients.linear import Params

jitted = jax.jit(one_pass.value_and_gradient, static_argnames="rows")


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
    return params, x, y, (softmax_regression if k > 1 else logistic)


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize(("n", "rows"), [(1, 4), (700, 300), (7, 1)])
def test_it_equals_the_reference(n, rows, k, labels):
    with x64():
        params, x, y, reference = problem(n, 6, k, labels)
        value, gradient = jitted(params, one_pass.pack(x, y, rows), l2=0.3)
        whole_value, whole = jitted(params, jnp.asarray(x), jnp.asarray(y), l2=0.3, rows=rows)
        expected_value, expected = reference.value_and_gradient(
            params, jnp.asarray(x), jnp.asarray(y), 0.3
        )
    for got, got_gradient in ((value, gradient), (whole_value, whole)):
        np.testing.assert_allclose(got, expected_value, rtol=1e-13)
        for a, b in zip(got_gradient, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)


def test_blocks_of_an_array_past_32_bits_are_cut_from_rows(monkeypatch):
    """A place in the flat view of such an array does not fit an int32, and would wrap."""
    huge = jax.ShapeDtypeStruct((40_000_000, 64), np.float32)
    shapes = Params(jax.ShapeDtypeStruct((64,), np.float32), jax.ShapeDtypeStruct((), np.float32))
    labels = jax.ShapeDtypeStruct((40_000_000,), np.float32)
    run = jax.make_jaxpr(one_pass.value_and_gradient)
    assert "2560000000" not in str(run(shapes, huge, labels))
    monkeypatch.setattr(one_pass, "MOST_FLAT", 100)
    with x64():
        params, x, y, reference = problem(700, 6, 1, "hard")
        value, gradient = one_pass.value_and_gradient(
            params, jnp.asarray(x), jnp.asarray(y), rows=300
        )
        expected_value, expected = reference.value_and_gradient(
            params, jnp.asarray(x), jnp.asarray(y)
        )
    np.testing.assert_allclose(value, expected_value, rtol=1e-13)
    np.testing.assert_allclose(gradient.weight, expected.weight, rtol=1e-11)


@pytest.mark.parametrize(("z", "y"), [(17.0, 1.0), (-17.0, 0.0), (60.0, 1.0), (-88.0, 1.0)])
def test_far_points_keep_their_digits(z, y):
    params = Params(jnp.array([1.0], jnp.float32), jnp.array(0.0, jnp.float32))
    x = np.full((300, 1), z, np.float32)
    labels = np.full(300, y, np.float32)
    value, gradient = one_pass.value_and_gradient(params, one_pass.pack(x, labels))
    expected_value, expected = logistic.value_and_gradient(
        params, jnp.asarray(x), jnp.asarray(labels)
    )
    np.testing.assert_allclose(value, expected_value, rtol=3e-6)
    np.testing.assert_allclose(gradient.weight, expected.weight, rtol=3e-6)


def test_a_certain_class_keeps_its_digits():
    params = Params(jnp.array([[17.0, 0.0]], jnp.float32), jnp.zeros(2, jnp.float32))
    x, y = np.ones((3, 1), np.float32), np.zeros(3, np.int32)
    value, gradient = one_pass.value_and_gradient(params, one_pass.pack(x, y))
    np.testing.assert_allclose(value, 4.1399374e-8, rtol=1e-6)
    np.testing.assert_allclose(gradient.weight[0], [-4.1399374e-8, 4.1399374e-8], rtol=1e-6)


def test_many_classes_keep_their_digits_and_know_their_labels():
    """With the classes last; an index out of range gives NaN, above and below."""
    params = Params(jnp.zeros((1, 40), jnp.float32).at[0, 3].set(17.0), jnp.zeros(40, jnp.float32))
    x, y = jnp.ones((3, 1), jnp.float32), jnp.full(3, 3, jnp.int32)
    value, gradient = one_pass.value_and_gradient(params, x, y, rows=2)
    np.testing.assert_allclose(value, 39 * 4.1399374e-8, rtol=3e-6)
    np.testing.assert_allclose(gradient.weight[0, 3], -39 * 4.1399374e-8, rtol=3e-6)
    for wrong in (-1, 40):
        assert jnp.isnan(one_pass.value_and_gradient(params, x, y.at[1].set(wrong))[0])


def test_a_block_fills_its_bytes_and_blocks_stay_few():
    assert one_pass.rows_of_block(10**6, 64, 4) == one_pass.BLOCK_BYTES // 256
    assert -(-(10**8) // one_pass.rows_of_block(10**8, 64, 4)) <= one_pass.MOST_BLOCKS
    assert one_pass.rows_of_block(10, 64, 4) == 10


def test_it_works_under_jit_and_an_index_out_of_range_gives_nan():
    params, x, y, _ = problem(50, 3, 4, "hard")
    packed = one_pass.pack(x.astype(np.float32), y, 20)
    params = jax.tree.map(lambda a: a.astype(jnp.float32), params)
    assert jnp.isfinite(jax.jit(one_pass.value_and_gradient)(params, packed)[0])
    y[7] = 4
    assert jnp.isnan(one_pass.value_and_gradient(params, one_pass.pack(x.astype(np.float32), y))[0])


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
        (lambda: one_pass.value_and_gradient(BINARY, X, Y, rows=-1), "rows"),
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
