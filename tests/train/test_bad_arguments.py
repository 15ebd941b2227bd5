"""What `fit` refuses, before anything is computed, and in which words."""

import jax
import numpy as np
import optax
import pytest

from handgrad._precision import x64
from handgrad.data import Dataset
from handgrad.errors import HandgradError, InputError
from handgrad.gradients import logistic, softmax_regression
from handgrad.train import baseline, comparison, fit

X = np.random.default_rng(0).normal(size=(12, 2)).astype("float32")
Y = np.arange(12) % 2
BINARY, CLASSES = logistic.model(), softmax_regression.model()
WITH_NAN, WITH_INF = X.copy(), X.copy()
WITH_NAN[3, 1], WITH_INF[5, 0] = np.nan, -np.inf

CASES = {
    "label_above_one": (BINARY, X, Y * 1.5, {}, r"y: expected labels in \[0, 1\], got 1\.5 at pos"),
    "label_below_zero": (BINARY, X, Y - 0.5, {}, r"y: expected labels in \[0, 1\], got -0\.5 at"),
    "index_out_of_range": (
        CLASSES, X, Y * 2, {"params": softmax_regression.init(jax.random.key(0), 2, 2)},
        r"y: expected class indices in 0\.\.1, got up to 2; choose a model with more classes",
    ),
    "index_beyond_a_binary_model": (BINARY, X, Y * 2, {}, r"classes: expected 2, got 3; use soft"),
    "index_negative": (CLASSES, X, Y - 1, {}, r"y: expected class indices of 0 .* got -1 at posi"),
    "label_missing": (
        BINARY, X, np.where(Y == 1, np.nan, 0), {},
        r"y: expected a label for every example, got nan at position 1 .* drop the examples",
    ),
    "column_of_labels": (
        BINARY, X, Y[:, None], {},
        r"y: expected labels of shape \(12,\), got shape \(12, 1\), .* flatten them: y\.ravel",
    ),
    "too_few_labels": (BINARY, X, Y[:-1], {}, r"y: expected 12 along axis 0 .* got shape \(11,\)"),
    "nan_feature": (BINARY, WITH_NAN, Y, {}, r"x: expected finite features, got nan .*\[3, 1\]"),
    "infinite_feature": (BINARY, WITH_INF, Y, {}, r"x: expected finite features, got -inf .*\[5"),
    "one_axis": (BINARY, X[:, 0], Y, {}, r"x: expected shape \(N, D\), got shape \(12,\); resh"),
    "no_example": (BINARY, X[:0], Y[:0], {}, r"x: expected at least one example, got shape \(0, 2"),
    "no_feature": (BINARY, X[:, :0], Y, {}, r"x: expected at least one feature, got .*\(12, 0\)"),
    "one_class": (BINARY, X, Y * 0, {}, r"y: expected at least two classes, got one class only"),
    "strings": (BINARY, X, np.array(["u", "v"] * 6), {}, r"y: expected integers or floats, got <U"),
    "soft_labels_for_softmax": (
        CLASSES, X, Y * 0.9, {}, r"y: expected integer class indices .* float32 of shape \(12,\)"
    ),
    "no_model": (logistic.model, X, Y, {}, r"model: expected a Model, got function; pass logistic"),
    "key_as_number": (BINARY, X, Y, {"key": 3}, r"key: expected a random key, got 3; pass jax\.r"),
    "features_of_params": (
        BINARY, X, Y, {"params": logistic.init(jax.random.key(0), 5)},
        r"x: expected 5 along axis 1 .* got shape \(12, 2\)",
    ),
    "rate_zero": (BINARY, X, Y, {"learning_rate": 0}, r"learning_rate: .* above 0, got 0; pass"),
    "rate_nan": (BINARY, X, Y, {"learning_rate": np.nan}, r"learning_rate: .* got nan; pass 0\.1"),
    "rate_negative": (BINARY, X, Y, {"learning_rate": -1}, r"learning_rate: .* got -1; pass 0\.1"),
    "rate_twice": (
        BINARY, X, Y, {"optimizer": optax.sgd(0.1), "learning_rate": 0.1},
        r"learning_rate: expected nothing beside an optax optimizer, got 0\.1; give the rate",
    ),
    "optimizer": (BINARY, X, Y, {"optimizer": "newton"}, r"optimizer: .* got 'newton'; name one"),
    "batch_beyond": (BINARY, X, Y, {"batch_size": 13}, r"batch_size: expected at most the 12 "),
    "batch_zero": (BINARY, X, Y, {"batch_size": 0}, r"batch_size: .* above 0, got 0; pass 32"),
    "batch_text": (BINARY, X, Y, {"batch_size": "all"}, r"batch_size: expected 'full' .* 'all'"),
    "epochs_zero": (BINARY, X, Y, {"epochs": 0}, r"epochs: expected a whole number above 0, got 0"),
    "epochs_half": (BINARY, X, Y, {"epochs": 1.5}, r"epochs: expected a whole .* got 1\.5; pass"),
    "tol_nan": (BINARY, X, Y, {"tol": np.nan}, r"tol: expected a finite number of 0 .* got nan"),
    "tol_negative": (BINARY, X, Y, {"tol": -1e-3}, r"tol: .* got -0\.001; pass 1e-6, or leave it"),
    "tol_text": (BINARY, X, Y, {"tol": "small"}, r"tol: .* got 'small'; pass"),
}  # fmt: skip


@pytest.mark.parametrize(("model", "x", "y", "options", "words"), CASES.values(), ids=CASES.keys())
def test_refused(model, x, y, options, words):
    with pytest.raises(InputError, match=words) as caught:
        fit(model, x, y, **options)
    assert isinstance(caught.value, HandgradError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.remedy in str(caught.value)


def test_the_baseline_refuses_what_the_hand_refuses():
    """optax broadcasts two labels of two probabilities to two logits; the baseline does not."""
    pairs = np.array([[0.5, 0.5], [0.2, 0.8]], "float32")
    for model in (BINARY, baseline(BINARY)):
        with pytest.raises(
            InputError, match=r"y: expected the shape of the logits, \(2,\), got sh"
        ):
            fit(model, X[:2], pairs)


def test_features_that_float32_cannot_hold():
    with pytest.raises(
        InputError, match=r"x: expected features that float32 can hold, got 1e\+200"
    ):
        fit(BINARY, X.astype("float64") * 0 + 1e200, Y)


def test_params_of_another_dtype():
    with (
        x64(),
        pytest.raises(
            InputError,
            match=r"params\.weight: expected float32, as x has, got float64 of shape \(2,\); conv",
        ),
    ):
        fit(BINARY, X, Y, params=logistic.init(jax.random.key(0), 2, 2, "float64"))


def test_models_and_labels_that_do_not_suit():
    def data(y, names):
        return Dataset("made up", X.astype("float64"), y, ("a", "b"), names, "Made up.")

    three = data((np.arange(12) % 3).astype("int32"), ("u", "v", "w"))
    soft = data(np.linspace(0, 1, 12), ("0", "1"))
    for name in ("logistic", "perceptron"):
        with pytest.raises(
            InputError, match=r"model: expected softmax or mlp for 3 classes, got '"
        ):
            comparison.check_labels_suit(name, three)
        comparison.check_labels_suit(name, soft)
    with pytest.raises(InputError, match=r"model: expected logistic or mlp for soft .*'softmax'"):
        comparison.check_labels_suit("softmax", soft)
    for name in ("softmax", "mlp"):
        comparison.check_labels_suit(name, three)


def test_unknown_choices_of_a_comparison():
    with pytest.raises(
        InputError, match=r"model: expected one of logistic, .* got 'tree'; name one"
    ):
        comparison.contenders("tree", "sgd", 0.1)
    with pytest.raises(InputError, match=r"l2: expected 0 for the perceptron, got 0\.1; leave the"):
        comparison.contenders("perceptron", "sgd", 0.1, l2=0.1)
    with pytest.raises(InputError, match=r"activation: expected one of .* got 'gelu'"):
        comparison.contenders("mlp", "sgd", 0.1, activation="gelu")
