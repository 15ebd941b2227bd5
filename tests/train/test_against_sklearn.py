"""Training beside scikit-learn, which shares no code with it: the same algorithms, float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier

from handgrad._precision import x64
from handgrad.gradients import logistic, perceptron, softmax_regression
from handgrad.train import fit


def zeros(features):
    return logistic.Params(jnp.zeros(features), jnp.zeros(()))


@pytest.mark.parametrize("epochs", [2])
def test_per_example_descent_is_sgd_classifier(breast_cancer, epochs):
    """The algorithm of the notes: update on every point, in order, from a given start."""
    part, rng = breast_cancer[0], np.random.default_rng(0)
    start = rng.normal(size=part.features)
    theirs = SGDClassifier(
        loss="log_loss",
        penalty=None,
        learning_rate="constant",
        eta0=0.1,
        shuffle=False,
        max_iter=epochs,
        tol=None,
    ).fit(
        part.x, part.y, coef_init=start.copy(), intercept_init=np.array([0.25])
    )  # fmt: skip; it works in place
    with x64():
        ours = fit(
            logistic.model(), part.x, part.y, learning_rate=0.1, batch_size=1, shuffle=False,
            epochs=epochs, params=logistic.Params(jnp.array(start), jnp.array(0.25)),
        )  # fmt: skip
        assert len(ours.history.batch_losses) == epochs * part.examples == theirs.t_ - 1
        np.testing.assert_allclose(ours.params.weight, theirs.coef_[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours.params.bias, theirs.intercept_[0], rtol=0, atol=1e-9)


def test_per_example_descent_from_zero(breast_cancer):
    part = breast_cancer[0]
    theirs = SGDClassifier(
        loss="log_loss", penalty="l2", alpha=0, learning_rate="constant", eta0=0.05,
        shuffle=False, max_iter=3, tol=None,
    ).fit(part.x, part.y)  # fmt: skip
    with x64():
        ours = fit(
            logistic.model(), part.x, part.y, learning_rate=0.05, batch_size=1, shuffle=False,
            epochs=3, params=zeros(part.features),
        )  # fmt: skip
        np.testing.assert_allclose(ours.params.weight, theirs.coef_[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours.params.bias, theirs.intercept_[0], rtol=0, atol=1e-9)


def test_the_perceptron_makes_the_same_mistakes(breast_cancer):
    """Point by point: the same points are mistakes, and the weights after each are the same."""
    x, y = breast_cancer[0].x[:150], breast_cancer[0].y[:150]
    theirs = Perceptron(eta0=1, shuffle=False, penalty=None, tol=None)
    mistakes, rule = 0, jax.jit(perceptron.rule)
    with x64():
        params = jax.device_get(zeros(x.shape[1]))
        for point, label in zip(x, y, strict=True):
            after = jax.device_get(rule(params, point, label))
            moved = bool((after.weight != params.weight).any())
            old = theirs.coef_.copy() if mistakes else np.zeros((1, x.shape[1]))
            theirs.partial_fit(point[None], [label], classes=[0, 1])
            assert moved == bool((theirs.coef_ != old).any())
            params = after
            np.testing.assert_allclose(params.weight, theirs.coef_[0], rtol=0, atol=1e-12)
            mistakes += moved
        assert 10 < mistakes < 100
        run = fit(
            perceptron.model(), x, y, learning_rate=1.0, batch_size=1, shuffle=False, epochs=1,
            params=zeros(x.shape[1]),
        )  # fmt: skip
        np.testing.assert_allclose(run.params.weight, params.weight, rtol=0, atol=1e-12)
        np.testing.assert_allclose(run.params.bias, params.bias, rtol=0, atol=1e-12)
        assert run.history.batch_losses.shape == (150,)


@pytest.mark.parametrize("epochs", [4])
def test_the_perceptron_over_epochs(breast_cancer, epochs):
    part = breast_cancer[0]
    theirs = Perceptron(eta0=1, shuffle=False, penalty=None, tol=None, max_iter=epochs)
    theirs.fit(part.x, part.y)
    with x64():
        ours = fit(
            perceptron.model(), part.x, part.y, learning_rate=1.0, batch_size=1, shuffle=False,
            epochs=epochs, params=zeros(part.features),
        )  # fmt: skip
        np.testing.assert_allclose(ours.params.weight, theirs.coef_[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.params.bias, theirs.intercept_[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "rate", "c"),
    [
        ("momentum", 0.5, 1.0),
        pytest.param("sgd", 0.55, 0.1, marks=pytest.mark.slow),
        pytest.param("adam", 0.02, 1.0, marks=pytest.mark.slow),
    ],
)
def test_the_optimum_is_scikit_learns(breast_cancer, optimizer, rate, c):
    """Its objective is C Σ ℓ + ½ ‖w‖², ours the mean of ℓ + ½ λ ‖w‖²: λ = 1 / (C N)."""
    part = breast_cancer[0]
    theirs = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12).fit(part.x, part.y)
    with x64():
        ours = fit(
            logistic.model(1 / (c * part.examples)), part.x, part.y, optimizer=optimizer,
            learning_rate=rate, batch_size="full", epochs=20_000, tol=1e-12,
        )  # fmt: skip
        assert ours.history.stopped == "tolerance"
        assert len(ours.history.batch_losses) < 20_000
        assert ours.history.gradient_max[-1] <= 1e-12 < ours.history.gradient_max[-2]
        largest = np.abs(theirs.coef_).max()
        np.testing.assert_allclose(ours.params.weight, theirs.coef_[0], rtol=0, atol=1e-8 * largest)
        np.testing.assert_allclose(ours.params.bias, theirs.intercept_[0], rtol=0, atol=1e-8)


def test_the_softmax_optimum_is_scikit_learns(iris):
    """The biases are free up to one number for all of them; the penalty fixes the weights."""
    part = iris[0]
    theirs = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(part.x, part.y)
    with x64():
        ours = fit(
            softmax_regression.model(1 / part.examples), part.x, part.y, optimizer="momentum",
            learning_rate=0.3, batch_size="full", epochs=20_000, tol=1e-12,
        )  # fmt: skip
        assert ours.history.stopped == "tolerance"
        np.testing.assert_allclose(ours.params.weight.T, theirs.coef_, rtol=0, atol=1e-8)
        centred = ours.params.bias - ours.params.bias.mean()
        np.testing.assert_allclose(
            centred, theirs.intercept_ - theirs.intercept_.mean(), rtol=0, atol=1e-8
        )
