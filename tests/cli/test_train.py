"""`handgrad train` on real data: what it reports, against scikit-learn on the same split."""

import json
import re
import subprocess
import sys
from functools import cache

import pytest
from sklearn.linear_model import LogisticRegression

from handgrad._precision import x64
from handgrad.data import load, split, standardise
from handgrad.gradients import logistic

SIDE = {
    "loss", "train_accuracy", "test_accuracy", "steps_per_second", "steps", "stopped",
    "compile_seconds",
}  # fmt: skip


@cache
def scikit_learn(name, target=None):
    """Test accuracy of LogisticRegression on the split that the command makes."""
    train, test = standardise(*split(load(name, target)))
    return LogisticRegression(max_iter=5_000).fit(train.x, train.y).score(test.x, test.y)


@pytest.fixture
def trained(command, tmp_path):
    """trained("iris") -> (what was printed, the JSON)."""

    def run(*args, code=0):
        path = tmp_path / "out.json"
        ran = command("train", *args, "--json", path)
        assert ran.code == code, ran.err
        assert ran.err == ""
        return ran.out, json.loads(path.read_text())

    return run


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("breast-cancer", "logistic"),
        ("iris", "softmax"),
        ("wine", "softmax"),
        ("digits", "softmax"),
        ("moons", "logistic"),
    ],
)
def test_a_linear_model_is_as_good_as_scikit_learns(trained, name, model):
    out, data = trained(name)
    assert (data["data"], data["model"]) == (name, model)
    assert data["check"]["ok"] is True
    assert data["check"]["compared"] > 0
    assert f"agrees with jax.grad in all {data['check']['compared']:,} coordinates" in out
    for side in ("hand", "optax"):
        assert set(data[side]) == SIDE
        assert data[side]["test_accuracy"] >= scikit_learn(name) - 0.01
        assert 0 < data[side]["loss"] < 0.5
        assert data[side]["train_accuracy"] > 0.85
        assert data[side]["steps_per_second"] > 0
        loss, accuracy = f"{data[side]['loss']:.6f}", f"{data[side]['test_accuracy']:.2%}"
        assert re.search(rf"^{side} +{re.escape(loss)} .* {accuracy} ", out, re.MULTILINE)
    assert data["max_parameter_difference"] < 1e-4
    assert f"largest difference of the parameters: {data['max_parameter_difference']:.1e}" in out


def test_an_mlp_bends_the_line_where_a_linear_model_cannot(trained, tmp_path):
    figure = tmp_path / "moons.png"
    out, bent = trained("moons", "--model", "mlp", "--plot", figure)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert out.endswith(f"figure: {figure}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moons.png", "out.json"]
    _, straight = trained("moons", "--model", "logistic", "--epochs", 50)
    for side in ("hand", "optax"):
        assert bent[side]["test_accuracy"] >= 0.95
        assert straight[side]["test_accuracy"] < 0.90
    assert scikit_learn("moons") < 0.90


def test_a_file_of_ones_own(trained, fruit):
    out, data = trained(fruit, "--target", "fruit")
    assert out.startswith("fruit: 18 training and 6 test examples, 5 features, 3 classes\n")
    assert "softmax, sgd at 0.1, batches of 18, 200 epochs, float32" in out
    assert (data["data"], data["model"]) == ("fruit", "softmax")
    assert data["hand"]["test_accuracy"] >= scikit_learn(fruit, "fruit") - 0.01
    assert data["hand"]["test_accuracy"] == 1


def test_soft_labels_of_ones_own(trained, tmp_path):
    path = tmp_path / "soft.csv"
    path.write_text("dose,share\n" + "".join(f"{d},{d / 40:.3f}\n" for d in range(1, 40)))
    _, data = trained(path, "--target", "share", "--epochs", 20)
    assert data["model"] == "logistic"
    assert data["check"]["ok"]


def test_float64_in_full_batches(trained):
    out, data = trained(
        "breast-cancer", "--dtype", "float64", "--batch-size", "full", "--epochs", 1_000
    )
    assert data["max_parameter_difference_relative"] < 1e-12
    assert data["hand"]["steps"] == 1_000
    assert "batches of 426, 1,000 epochs, float64" in out


def test_the_perceptron_in_order(trained):
    out, data = trained(
        "breast-cancer", "--model", "perceptron", "--batch-size", 1, "--in-order", "--epochs", 5,
        "--learning-rate", 1,
    )  # fmt: skip
    assert data["hand"]["steps"] == 5 * 426
    assert data["hand"]["train_accuracy"] > 0.95
    assert "batches of 1, 5 epochs" in out


def test_tolerance_is_said(trained):
    out, data = trained(
        "iris", "--tol", 0.05, "--batch-size", "full", "--epochs", 2_000, "--l2", 0.01
    )
    for side in ("hand", "optax"):
        assert data[side]["stopped"] == "tolerance"
        assert data[side]["steps"] < 2_000
        assert f"{side} stopped at step {data[side]['steps']:,}: tolerance" in out


def test_names_are_not_markup(trained, tmp_path, fruit):
    path = fruit.rename(tmp_path / "[red]fruit.csv")
    out, data = trained(path, "--target", "fruit", "--epochs", 1)
    assert out.startswith("[red]fruit: 18 training")
    assert data["data"] == "[red]fruit"


def plant(monkeypatch, change):
    """Multiply one coordinate of the gradient that trains."""
    right = logistic.value_and_gradient

    def planted(params, x, y, l2=0.0):
        value, gradient = right(params, x, y, l2)
        return value, gradient._replace(weight=gradient.weight.at[7].multiply(change))

    monkeypatch.setattr(logistic, "value_and_gradient", planted)


@pytest.mark.parametrize(("change", "words"), [(1.001, ""), (-1.0, "(wrong sign)")])
def test_a_planted_wrong_gradient_is_named(trained, monkeypatch, change, words):
    """An error of 0.1% in one coordinate, or a wrong sign: exit code 1, and which one."""
    plant(monkeypatch, change)
    out, data = trained("breast-cancer", "--epochs", 1, code=1)
    assert data["check"]["ok"] is False
    faults = [leaf["fault"] for leaf in data["check"]["leaves"] if leaf["fault"]]
    assert [fault[:22] for fault in faults] == ["float32 .weight[7]: ha", "float64 .weight[7]: ha"]
    assert f"gradient on this data: differs: {faults[0]}\n" in out
    assert faults[0].endswith(words)
    assert data["hand"]["loss"] > 0  # and it shows what such a gradient does
    assert data["max_parameter_difference_relative"] > 1e-6


def test_a_planted_nan_is_named_though_training_diverges(trained, monkeypatch):
    plant(monkeypatch, float("nan"))
    out, data = trained("breast-cancer", "--epochs", 1, code=1)
    assert "gradient on this data: differs: float32 .weight[7]: hand nan, autodiff" in out
    assert out.splitlines()[-1].startswith("training diverged: the loss is nan at step 2;")
    assert set(data) == {"data", "model", "check"}


def test_an_interrupt_keeps_both_sides(trained, monkeypatch):
    """Ctrl-C in the hand-derived run; the table says where it stopped."""
    from handgrad.train import comparison

    real, calls = comparison.fit, []

    def interrupted(*args, progress, **options):
        def stop(p):
            calls.append(p)
            if len(calls) == 2:
                raise KeyboardInterrupt

        return real(*args, progress=stop, **options)

    monkeypatch.setattr(comparison, "fit", interrupted)
    out, data = trained("iris", "--batch-size", "full", "--epochs", 100)
    assert data["hand"]["stopped"] == "interrupted"
    stopped_at = calls[1].step
    assert 0 < stopped_at < 100
    assert f"hand stopped at step {stopped_at}: interrupted" in out


def test_the_precision_is_put_back(command):
    import jax.numpy as jnp

    """And the largest seed is one."""
    seed = 2**32 - 1
    assert command("train", "iris", "--dtype", "float64", "--epochs", 1, "--seed", seed).code == 0
    assert jnp.zeros(()).dtype == "float32"
    with x64():
        assert jnp.zeros(()).dtype == "float64"


def run(*args):
    """The installed command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from handgrad.cli import main; main()", *map(str, args)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_a_process_of_its_own(tmp_path):
    """adam, whose optax form needs JAX's standard promotion; warnings would show on stderr."""
    path = tmp_path / "iris.json"
    done = run("train", "iris", "--optimizer", "adam", "--epochs", 30, "--json", path)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(path.read_text())
    assert data["hand"]["test_accuracy"] >= scikit_learn("iris") - 0.01
    assert data["max_parameter_difference"] < 1e-4


def test_bad_input_in_a_process_of_its_own(tmp_path):
    done = run("train", "iris", "--batch-size", 1_000, "--json", tmp_path / "iris.json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: batch_size: expected at most the 112 training examples, got 1000; "
        "pass 'full', or a smaller batch\n"
    )
    assert list(tmp_path.iterdir()) == []
