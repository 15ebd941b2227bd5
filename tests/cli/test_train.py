"""`handgrad train` on real data, against scikit-learn; saved, stopped by signals, resumed."""

import io
import json
import os
import re
import signal
import threading
import time
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from sklearn.linear_model import LogisticRegression

from handgrad.cli import output
from handgrad.cli import train as cli_train
from handgrad.data import load, split, standardise
from handgrad.gradients import logistic
from handgrad.train.log import Progress

SIDE = {
    "loss", "train_accuracy", "test_accuracy", "steps_per_second", "steps", "stopped",
    "compile_seconds",
}  # fmt: skip
QUICK = ("--epochs", 3, "--batch-size", 8)


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
        pytest.param("iris", "softmax", marks=pytest.mark.slow),
        pytest.param("wine", "softmax", marks=pytest.mark.slow),
        pytest.param("digits", "softmax", marks=pytest.mark.slow),
        pytest.param("moons", "logistic", marks=pytest.mark.slow),
    ],
)
def test_a_linear_model_is_as_good_as_scikit_learns(command, trained, tmp_path, name, model):
    saved, predicted = tmp_path / "model.npz", tmp_path / "predicted.csv"
    out, data = trained(name, "--save", saved)
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
    ran = command("predict", saved, name, "--out", predicted)
    assert ran.out.startswith(f"{load(name).examples:,} rows: {load(name).class_names[0]} ")
    assert len(predicted.read_text().splitlines()) == load(name).examples + 1


def test_an_mlp_bends_the_line_where_a_linear_model_cannot(trained, tmp_path):
    figure, arrays = tmp_path / "moons.png", tmp_path / "moons.npz"
    out, bent = trained("moons", "--model", "mlp", "--plot", figure, "--params", arrays)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert out.endswith(f"figure: {figure}\nparameters: {arrays}\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["moons.npz", "moons.png", "out.json"]
    for side in ("hand", "optax"):
        assert bent[side]["test_accuracy"] >= 0.95
    assert scikit_learn("moons") < 0.90
    with np.load(arrays, allow_pickle=False) as found:
        assert {re.split(r"[.\[]", name)[0] for name in found} == {"hand", "optax"}
        assert all(found[name].dtype == "float32" for name in found)


def test_a_file_of_ones_own_whose_name_is_not_markup(trained, tmp_path, fruit):
    path = fruit.rename(tmp_path / "[red]fruit.csv")
    out, data = trained(path, "--target", "fruit")
    assert out.startswith("[red]fruit: 18 training and 6 test examples, 5 features, 3 classes\n")
    assert "softmax, sgd at 0.1, batches of 18, 200 epochs, float32" in out
    assert (data["data"], data["model"]) == ("[red]fruit", "softmax")
    assert data["hand"]["test_accuracy"] >= scikit_learn(path, "fruit") - 0.01
    assert data["hand"]["test_accuracy"] == 1


def test_soft_labels_and_adam_in_float64_to_a_tolerance(trained, tmp_path):
    """Full batches. The largest seed is one, and the precision is put back."""
    path = tmp_path / "soft.csv"
    path.write_text("dose,share\n" + "".join(f"{d},{d / 40:.3f}\n" for d in range(1, 40)))
    with jax.numpy_dtype_promotion("standard"):  # the optax form of adam needs it
        out, data = trained(
            path, "--target", "share", "--optimizer", "adam", "--dtype", "float64",
            "--batch-size", "full", "--epochs", 2_000, "--tol", 0.05, "--l2", 0.01,
            "--seed", 2**32 - 1,
        )  # fmt: skip
    assert data["model"] == "logistic"
    assert data["check"]["ok"]
    assert data["max_parameter_difference_relative"] < 1e-12
    assert "batches of 29, 2,000 epochs, float64" in out
    for side in ("hand", "optax"):
        assert data[side]["stopped"] == "tolerance"
        assert data[side]["steps"] < 2_000
        assert f"{side} stopped at step {data[side]['steps']:,}: tolerance" in out
    assert jnp.zeros(()).dtype == "float32"


def test_the_perceptron_in_order(trained):
    out, data = trained(
        "breast-cancer", "--model", "perceptron", "--batch-size", 1, "--in-order", "--epochs", 5,
        "--learning-rate", 1,
    )  # fmt: skip
    assert data["hand"]["steps"] == 5 * 426
    assert data["hand"]["train_accuracy"] > 0.95
    assert "batches of 1, 5 epochs" in out


def plant(monkeypatch, change):
    """Multiply one coordinate of the gradient that trains."""
    right = logistic.value_and_gradient

    def planted(params, x, y, l2=0.0):
        value, gradient = right(params, x, y, l2)
        return value, gradient._replace(weight=gradient.weight.at[7].multiply(change))

    monkeypatch.setattr(logistic, "value_and_gradient", planted)


def test_a_planted_wrong_gradient_is_named(trained, monkeypatch):
    """An error of 0.1% in one coordinate: exit code 1, and which one."""
    plant(monkeypatch, 1.001)
    out, data = trained("breast-cancer", "--epochs", 1, code=1)
    assert data["check"]["ok"] is False
    faults = [leaf["fault"] for leaf in data["check"]["leaves"] if leaf["fault"]]
    assert [fault[:22] for fault in faults] == ["float32 .weight[7]: ha", "float64 .weight[7]: ha"]
    assert f"gradient on this data: differs: {faults[0]}\n" in out
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


# --- streams --------------------------------------------------------------------------------------


def test_a_stream_is_trained_on_side_by_side(trained, tmp_path):
    """A .npy file is one unasked."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    np.save(tmp_path / "points.npy", np.c_[x, x[:, 0] > 0])
    plot = tmp_path / "plot.png"
    out, found = trained(tmp_path / "points.npy", "--target", 2, *QUICK, "--plot", plot)
    assert "streamed: learnt and encoded in" in out
    assert "2 features, 2 classes" in out
    assert "agrees with jax.grad in all 6 coordinates" in out
    assert found["max_parameter_difference_relative"] < 1e-5
    assert found["hand"]["steps"] == found["optax"]["steps"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_large_files_are_streamed_unasked(fruit, monkeypatch, capsys):
    size = fruit.stat().st_size
    monkeypatch.setattr(cli_train, "total_memory", lambda: 4.0 * size)
    assert not cli_train.is_streamed(str(fruit), asked=False)
    assert cli_train.is_streamed(str(fruit), asked=True)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(cli_train, "total_memory", lambda: 3.9 * size)
    assert cli_train.is_streamed(str(fruit), asked=False)
    said = "is more than a quarter of this machine's memory: the file is streamed"
    assert said in capsys.readouterr().out


def test_the_memory_of_this_machine():
    assert cli_train.total_memory() > 2**28


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("iris", "--stream"), "--stream: expected a .csv, .parquet or .npy file, got 'iris'"),
        (("FRUIT", "--stream", "--target", "fruits"), "did you mean 'fruit'?"),
        (("FRUIT", "--stream", "--target", "fruit", "--model", "tree"), "expected one of logistic"),
        (("FRUIT", "--stream", "--target", "fruit", "--batch-size", 99), "at most the"),
        (("FRUIT", "--stream", "--target", "fruit", "--devices", "all"), "a data set in memory"),
        (("iris", "--processes", 2), "processes: expected nothing without a coordinator"),
    ],
)
def test_what_is_refused(command, fruit, arguments, message):
    ran = command("train", *(fruit if word == "FRUIT" else word for word in arguments))
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_categories_as_codes_are_trained_on_and_predicted(command, tmp_path):
    file = tmp_path / "stalls.csv"
    rows = [f"{n},{'abc'[n % 3]},{'yes' if n % 2 else 'no'}\n" for n in range(24)]
    file.write_text("size,stall,sold\n" + "".join(rows))
    options = ("--target", "sold", "--categories", "codes", "--epochs", "3")
    for more in (("--save", tmp_path / "m.npz"), ("--stream",)):
        done = command("train", file, *options, *more)
        assert (done.code, done.err) == (0, "")
        assert "4 features, 2 classes" in done.out
    done = command("predict", tmp_path / "m.npz", file, "--out", tmp_path / "p.csv")
    assert done.code == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 25
    refused = command("train", file, "--target", "sold", "--categories", "some")
    assert "expected one of auto, columns, codes" in refused.err


# --- checkpoints, signals and the log -------------------------------------------------------------

LONG = ("breast-cancer", "--batch-size", "1", "--epochs", "1000000", "--every-seconds", "0.5")


@pytest.fixture
def signalled(command):
    """signalled(SIGINT, log, ...): the command, sent a signal when its log has three lines more."""

    def run(number, log, *args):
        ended = threading.Event()

        def send():
            until = time.monotonic() + 240
            while not (log.exists() and log.read_text().count("progress") > 2):
                if ended.wait(0.02) or time.monotonic() > until:
                    return
            os.kill(os.getpid(), number)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            return command("train", *args, "--log", log)
        finally:
            ended.set()
            sender.join()

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_says_how_to_go_on(command, signalled, tmp_path, number, request):
    log, saved = tmp_path / "log.jsonl", tmp_path / "saved"
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, before))
    ran = signalled(number, log, *LONG, "--checkpoint", saved)
    assert (ran.code, ran.err) == (128 + number, "")
    stopped = re.search(r"^hand stopped at step ([\d,]+); saved in (.*)$", ran.out, re.MULTILINE)
    assert stopped[2] == str(saved)
    assert ran.out.endswith("go on with the same command and --resume\n")
    step = int(stopped[1].replace(",", ""))
    assert (saved / "hand" / f"step-{step}").is_dir()
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["event"], last["stopped"], last["step"]) == ("end", "interrupted", step)
    if number == signal.SIGINT:  # shorter than what was done: it is taken up, and is at its end
        epochs = step // 426 + 2
        args = [*LONG[:4], epochs, "--checkpoint", saved, "--log", log, "--resume"]
        resumed = command("train", *args)
        assert resumed.code == 0, resumed.err
        assert f"hand went on from step {step:,}" in resumed.out


def test_a_run_is_saved_and_another_run_is_refused(command, tmp_path):
    """Resumed at its end, it has the same parameters."""
    kept, again = tmp_path / "kept.npz", tmp_path / "again.npz"
    saved, log = tmp_path / "saved", tmp_path / "log.jsonl"
    run = ("train", "iris", "--epochs", 3)
    here = (*run, "--checkpoint", saved)
    assert command(*here, "--every-steps", 5, "--params", kept, "--log", log).code == 0
    before = log.read_text()
    ran = command(*here, "--log", log)
    assert (ran.code, ran.out) == (2, "")
    assert "where a run was saved at step" in ran.err
    ran = command(*here, "--learning-rate", 0.2, "--resume")
    assert ran.code == 2
    assert "is of another run: other learning rate (0.1 there, 0.2 here); give" in ran.err
    assert log.read_text() == before
    assert command(*here, "--every-steps", 5, "--params", again, "--resume").code == 0
    assert kept.read_bytes() == again.read_bytes()
    (saved / "mine.txt").write_text("")
    assert "in which there is 'mine.txt'" in command(*here, "--resume").err


def test_what_it_refuses(command, tmp_path):
    run = ("train", "iris", "--epochs", 3, "--checkpoint", tmp_path / "saved")
    for words, args in (
        ("every_steps: expected a --checkpoint to go with it", (*run[:4], "--every-steps", 5)),
        ("resume: expected a --checkpoint to go with it", (*run[:4], "--resume")),
        ("every_steps: expected a whole number above 0, got 0", (*run, "--every-steps", 0)),
        ("every_seconds: expected a number above 0", (*run, "--every-seconds", 0)),
        ("log: expected a file", (*run, "--log", tmp_path)),
        ("--params: expected a file name ending in .npz", (*run, "--params", tmp_path / "a.txt")),
        ("name_or_path: expected the name of a data set", ("train", "a" * 300)),
        ("checkpoint: expected a folder at", (*run[:4], "--checkpoint", tmp_path / ("a" * 300))),
    ):
        ran = command(*args)
        assert (ran.code, ran.out) == (2, "")
        assert words in ran.err
    assert list(tmp_path.iterdir()) == []


def test_an_end_that_cannot_be_saved_is_an_error_after_the_results(command, tmp_path, monkeypatch):
    from handgrad.scale import checkpoints

    def refuses(folder, arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_arrays", refuses)
    params = tmp_path / "params.npz"
    run = ("train", "iris", "--epochs", 3, "--params", params)
    ran = command(*run, "--checkpoint", tmp_path / "saved")
    assert ran.code == 2
    assert "could not be saved" in ran.out
    assert "largest difference of the parameters" in ran.out
    assert "room to save the end of hand, step 11, got No space left on device; make" in ran.err
    assert params.exists()


def test_the_bar_has_loss_rate_and_time_left(monkeypatch):
    console = Console(force_terminal=True, width=100, record=True, file=io.StringIO())
    for module in (output, cli_train):
        monkeypatch.setattr(module, "console", console)
    for name in output.IN_A_KERNEL:
        monkeypatch.delenv(name, raising=False)
    with cli_train.show_progress(["hand"]) as show:
        show("hand", Progress(250, 1_000, 0.125, None, 10.0))
    text = console.export_text()
    assert "loss 0.125000" in text
    assert "10 steps/s, 0:01:15 left" in text
    assert cli_train.time_left(Progress(0, 7_300, 0.1, None, 2.0)) == "1:00:50"
