"""Hand-derived training beside the optax baseline: one loop, two gradients."""

import jax
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.train import comparison, fit
from handgrad.train.comparison import parameter_difference

THOUSAND = {"batch_size": "full", "epochs": 1_000}


def both(name, part, *, optimizer="sgd", learning_rate=0.1, **run):
    """Parameters by hand and by optax from one start, float64."""
    options = {k: run.pop(k) for k in ("l2", "hidden", "activation") if k in run}
    pair = comparison.contenders(name, optimizer, learning_rate, **options)
    params = pair[0].model.init(jax.random.key(3), part.features, part.classes, "float64")
    return [
        fit(side.model, part.x, part.y, optimizer=side.rule, params=params, **run) for side in pair
    ]


@pytest.mark.parametrize(
    ("name", "data", "l2"),
    [
        ("logistic", "breast_cancer", 0.01),
        pytest.param("softmax", "iris", 0.0, marks=pytest.mark.slow),
        pytest.param("logistic", "breast_cancer", 0.0, marks=pytest.mark.slow),
        pytest.param("softmax", "digits", 0.0, marks=pytest.mark.slow),
        pytest.param("softmax", "iris", 0.01, marks=pytest.mark.slow),
    ],
)
def test_a_thousand_full_batch_steps(name, data, l2, request):
    part = request.getfixturevalue(data)[0]
    with x64():
        hand, optax = both(name, part, l2=l2, **THOUSAND)
        assert len(hand.history.batch_losses) == len(optax.history.batch_losses) == 1_000
        assert parameter_difference(hand.params, optax.params).relative < 1e-12
        assert hand.loss < hand.history.batch_losses[0] / 2


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_rules_with_memory(breast_cancer, optimizer):
    part = breast_cancer[0]
    with x64(), jax.numpy_dtype_promotion("standard"):  # optax's adam needs it
        hand, optax = both(
            "logistic", part, optimizer=optimizer, learning_rate=0.01, batch_size="full", epochs=200
        )
        assert parameter_difference(hand.params, optax.params).relative < 1e-12


@pytest.mark.parametrize(
    ("data", "hidden", "activation"),
    [
        pytest.param("moons", (16,), "tanh", marks=pytest.mark.slow),
        ("iris", (4, 3), "relu"),
    ],
)
def test_one_step_of_an_mlp(data, hidden, activation, request):
    part = request.getfixturevalue(data)[0]
    with x64():
        hand, optax = both(
            "mlp", part, hidden=hidden, activation=activation, l2=0.01, batch_size="full", epochs=1
        )
        assert parameter_difference(hand.params, optax.params).relative < 1e-14
        start = hand.history.batch_losses[0]
        assert start > hand.loss
        assert start == pytest.approx(optax.history.batch_losses[0], rel=1e-14)


def test_the_perceptron_and_its_optax_loss(breast_cancer):
    """Away from the kink z = 0 both take the same subgradient."""
    with x64():
        hand, optax = both("perceptron", breast_cancer[0], batch_size=1, epochs=2, shuffle=False)
        assert parameter_difference(hand.params, optax.params).relative < 1e-12


def test_the_figures_of_a_comparison(moons):
    """What `compare` reports is what its two results say."""
    pair = comparison.contenders("logistic", "sgd", 0.1)
    seen = []
    result = comparison.compare(
        pair,
        *moons,
        dtype="float32",
        epochs=3,
        batch_size=250,
        progress=lambda side, p: seen.append((side, p.step)),
    )
    assert result.check.ok
    assert result.check.compared == 2 * 3
    for side in ("hand", "optax"):
        outcome, run = getattr(result, side), result.results[side]
        assert outcome.loss == run.loss == run.history.losses[-1]
        assert outcome.steps == len(run.history.batch_losses) == 9
        assert outcome.stopped == "epochs"
        assert 0 < outcome.train_accuracy <= 1
        assert outcome.steps_per_second > 0
    assert result.difference == parameter_difference(*(r.params for r in result.results.values()))
    assert [step for side, step in seen if side == "hand"] == [2, 4, 6, 8, 9]
    assert [side for side, _ in seen] == ["hand"] * 5 + ["optax"] * 5


def test_parameter_difference():
    a, b = {"w": np.array([1.0, -4.0])}, {"w": np.array([1.5, -4.0])}
    found = parameter_difference(a, b)
    assert (found.absolute, found.relative) == (0.5, 0.125)
    nothing = parameter_difference({"w": np.zeros(2)}, {"w": np.zeros(2)})
    assert (nothing.absolute, nothing.relative) == (0, 0)
