"""A grid of models trained at once: each is its own `fit`, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from handgrad._precision import x64
from handgrad.errors import DivergedError, InputError
from handgrad.gradients import logistic, mlp, softmax_regression
from handgrad.train import fit, fit_many, folds

RATES, PENALTIES = (0.03, 0.3), (0.0, 0.1)


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    return x, (x @ [1, -2, 0.5] + rng.normal(size=50) > 0).astype("int32")


def assert_same(ours, theirs, rtol=1e-12):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        scale = float(jnp.max(jnp.abs(b)))
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("batch_size", [1, pytest.param("full", marks=pytest.mark.slow)])
def test_each_model_is_its_own_fit(points, batch_size):
    """Rates, penalties and starts, in float64: of eight models the first, the last and one more."""
    with x64():
        x, y = points
        key, keys = jax.random.key(7), jax.random.split(jax.random.key(8), 2)
        run = {"batch_size": batch_size, "epochs": 4, "key": key}
        many = fit_many(logistic.model, x, y, learning_rates=RATES, l2s=PENALTIES, keys=keys, **run)
        assert len(many.settings) == 8 == len(many.losses) == len(many.gradient_max)
        assert len(set(many.settings)) == 8
        for number in (0, 5, 7):
            own = many.settings[number]
            start = logistic.init(keys[own.key], 3, dtype=x.dtype)
            alone = fit(
                logistic.model(own.l2), x, y, learning_rate=own.learning_rate, params=start, **run
            )
            assert_same(many.params(number), alone.params)
            assert many.losses[number] == pytest.approx(alone.loss, rel=1e-12)
            largest = alone.history.gradient_max[-1]
            assert many.gradient_max[number] == pytest.approx(largest, rel=1e-10)
        assert many.steps == len(alone.history.batch_losses)
        assert many.losses[many.best] == many.losses.min()


def test_folds_of_softmax(points):
    with x64():
        x, _ = points
        y = np.arange(50, dtype="int32") % 3
        training, held_out = folds(50, 4, seed=1)
        run = {"batch_size": 8, "epochs": 3, "key": jax.random.key(1)}
        many = fit_many(
            softmax_regression.model(0.01), x, y, rows=training, learning_rates=RATES, **run
        )
        assert [s.fold for s in many.settings] == [0, 0, 1, 1, 2, 2, 3, 3]
        start = softmax_regression.init(jax.random.split(run["key"])[0], 3, 3, dtype=x.dtype)
        for fold, left in enumerate(held_out):
            assert not set(training[fold]) & set(left)
        for number in (0, 7):
            own = many.settings[number]
            part = training[own.fold]
            alone = fit(
                softmax_regression.model(0.01), x[part], y[part], params=start,
                learning_rate=own.learning_rate, **run,
            )  # fmt: skip
            assert_same(many.params(number), alone.params)
            assert many.losses[number] == pytest.approx(alone.loss, rel=1e-12)


def test_a_rule_of_optax_with_memory(points):
    """For a model of layers."""

    def model(l2):
        return mlp.model((2,), l2=l2)

    with x64(), jax.numpy_dtype_promotion("standard"):  # optax's rules need it
        run = {"batch_size": "full", "epochs": 10, "key": jax.random.key(1)}
        many = fit_many(
            model, *points, optimizer=optax.rmsprop, learning_rates=RATES, l2s=PENALTIES, **run
        )
        own = many.settings[2]
        alone = fit(model(own.l2), *points, optimizer=optax.rmsprop(own.learning_rate), **run)
        assert_same(many.params(2), alone.params)


def test_more_models_than_are_evaluated_at_once(points):
    """In float32; without keys all start where `fit` does."""
    rates = tuple(np.linspace(0.01, 0.5, 37))
    many = fit_many(logistic.model(), *points, learning_rates=rates, epochs=2, batch_size="full")
    for number in (0, 31, 32, 36):
        loss = logistic.loss(many.params(number), *map(jnp.asarray, points))
        assert many.losses[number] == pytest.approx(float(loss), rel=1e-5)
    assert len(set(many.losses)) == 37
    run = {"learning_rate": rates[36], "epochs": 2, "batch_size": "full"}
    assert_same(many.params(36), fit(logistic.model(), *points, **run).params, 3e-6)


def test_one_that_diverges_harms_no_other(points):
    run = {"epochs": 100, "batch_size": "full"}
    many = fit_many(logistic.model, *points, l2s=(0.1, 100.0), learning_rates=(0.1, 1.0), **run)
    assert np.isfinite(many.losses).tolist() == [True, True, False, False]
    assert many.best in (0, 1)
    alone = fit(logistic.model(0.1), *points, learning_rate=1.0, **run)
    assert_same(many.params(1), alone.params, 1e-5)
    with pytest.raises(DivergedError, match="the loss is"):
        _ = replace(many, losses=many.losses[2:]).best


@pytest.mark.parametrize(("examples", "count"), [(10, 2), (11, 3), (7, 7)])
def test_folds(examples, count):
    training, held_out = folds(examples, count)
    assert len(set(held_out.ravel())) == held_out.size == examples // count * count
    for kept, left in zip(training, held_out, strict=True):
        assert sorted([*kept, *left]) == list(range(examples))
    assert (folds(examples, count)[0] == training).all()


X = np.random.default_rng(0).normal(size=(12, 2)).astype("float32")
Y = np.arange(12) % 2
REFUSED = {
    "model_with_its_penalty": (
        logistic.model(), {"l2s": (0.1,)},
        r"model: expected a function from l2 to a Model, .* got Model; pass logistic\.model, w",
    ),
    "function_without_penalties": (logistic.model, {}, r"model: expected a Model, got function"),
    "no_rate": (logistic.model(), {"learning_rates": ()}, r"learning_rates: expected at least one"),
    "one_rate": (logistic.model(), {"learning_rates": 0.1}, r"learning_rates: expected a sequence"),
    "rate": (logistic.model(), {"learning_rates": (0.1, -1)}, r"learning_rate: .* got -1; pass 0"),
    "l2": (logistic.model, {"l2s": (-0.1,)}, r"l2s: expected finite numbers of 0 or more, got -0"),
    "keys": (logistic.model(), {"keys": (3,)}, r"key: expected a random key, got 3; pass jax\.r"),
    "rule": (logistic.model(), {"optimizer": "sdg"}, r"optimizer: .* got 'sdg'; pass optax\.adam"),
    "made_rule": (
        logistic.model(), {"optimizer": optax.sgd(0.1)},
        r"optimizer: expected one of sgd, .* got GradientTransformation.*; pass optax\.adam, w",
    ),
    "rows_flat": (logistic.model(), {"rows": np.arange(6)}, r"rows: expected integers of shape"),
    "rows_beyond": (logistic.model(), {"rows": [[0, 12]]}, r"rows: expected positions in 0\.\.11"),
    "batch": (logistic.model(), {"batch_size": 13}, r"batch_size: expected at most the 12"),
    "batch_of_a_fold": (
        logistic.model(), {"batch_size": 9, "rows": [[0, 1, 2, 3]]},
        r"batch_size: expected at most the 4 training examples, got 9",
    ),
    "epochs": (logistic.model(), {"epochs": 0}, r"epochs: expected a whole number above 0, got 0"),
}  # fmt: skip


@pytest.mark.parametrize(("model", "options", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(model, options, words):
    with pytest.raises(InputError, match=words):
        fit_many(model, X, Y, **options)


def test_folds_refused():
    for count in (1, 13, 2.0):
        with pytest.raises(InputError, match=r"count: expected a whole number in 2\.\.12, got"):
            folds(12, count)
