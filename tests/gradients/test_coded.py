"""Categories as codes: the features, products and gradients of the same table in columns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad._types import Coded
from handgrad.gradients import linear, logistic, mlp, perceptron, softmax_regression
from handgrad.verify import agree, verify, verify_hessian

SIZES = (0, 3, 0, 2)
"""Number, category, number, category: 7 features."""


def drawn(rows=9, dtype=None):
    """Coded features, some rows with none of the three; the same in columns; labels of 2 and 3."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, len(SIZES)))
    for place, size in enumerate(SIZES):
        if size:
            values[:, place] = rng.integers(-1 if size == 3 else 0, size, rows)
    eye = np.eye(8, 7)  # its last row is that of no feature
    first, second = (values[:, place].astype(int) for place in (1, 3))
    x = values[:, [0, 0, 0, 0, 2, 0, 0]] * np.array([1, 0, 0, 0, 1, 0, 0])
    x += eye[np.where(first < 0, 7, 1 + first)] + eye[5 + second]
    y = rng.integers(0, 2, rows), rng.integers(0, 3, rows)
    return Coded(jnp.asarray(values, dtype), SIZES), jnp.asarray(x, dtype), *map(jnp.asarray, y)


def same(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_the_features_are_those_of_the_columns():
    with x64():
        coded, x, _, _ = drawn()
        assert coded.shape == x.shape
        assert coded.starts == (0, 1, 4, 5)
        assert repr(coded) == "Coded(9 x 7: 2 numbers, 2 categories, float64)"
        np.testing.assert_array_equal(jax.jit(linear.columns)(coded), x)
        s, one = np.linspace(0.1, 1, 9), np.c_[x, np.ones(9)]
        same(jax.jit(linear.gram)(coded, s), one.T @ (s[:, None] * one))


def test_every_model_learns_the_same():
    with x64():
        coded, x, two, three = drawn()
        for model, y in (
            (logistic.model(0.1), two),
            (softmax_regression.model(0.1), three),
            (perceptron.model(), two),
            (mlp.model((4,), l2=0.1), three),
        ):
            params = model.init(jax.random.key(0), 7, int(y.max()) + 1, x.dtype)

            @jax.jit
            def found(params, x, y, model=model):
                second = model.hessian and (
                    model.hessian(params, x, y), model.hvp(params, params, x, y)
                )  # fmt: skip
                return model.predict(params, x), model.value_and_gradient(params, x, y), second

            same(found(params, coded, y), found(params, x, y))


def test_a_forgotten_category_is_found():
    """The gradient itself is in the catalogue, and judged there."""
    coded, _, two, _ = drawn(4)
    at = logistic.init(jax.random.key(0), 7), coded, two.astype(coded.dtype)

    @jax.jit
    def forgets_the_second_category(params, x, y):
        gradient = logistic.gradient(params, x, y)
        return gradient._replace(weight=gradient.weight.at[5:].set(0))

    assert agree(jax.jit(logistic.gradient), of=logistic.loss, at=at).ok
    assert not agree(forgets_the_second_category, of=logistic.loss, at=at).ok


@pytest.mark.slow
def test_the_judge_finds_gradient_and_hessian_right():
    coded, _, two, _ = drawn(4)
    at = logistic.init(jax.random.key(0), 7), coded, two.astype(coded.dtype)
    verdict = verify(logistic.gradient, of=logistic.loss, at=at, evaluations=40)
    assert (verdict.ok, verdict.hand, verdict.autodiff) == (True, "identical", "identical")
    assert verify_hessian(logistic.hessian, of=logistic.loss, at=at, dtypes=("float64",)).ok


@pytest.mark.parametrize("code", [3, -2, 0.5, jnp.nan])
def test_a_code_out_of_range_gives_nan_where_jax_would_clamp(code):
    coded, _, _, _ = drawn()
    params = logistic.init(jax.random.key(0), 7)
    odd = coded.with_values(coded.values.at[2, 1].set(code))
    found = jax.jit(logistic.logits)(params, odd)
    assert np.flatnonzero(np.isnan(found)).tolist() == [2]
