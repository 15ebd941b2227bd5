"""`handgrad train --stream`: the same table, from a file that stays on the disk."""

import json

import numpy as np
import pytest

from handgrad.cli import streaming

QUICK = ("--epochs", 3, "--batch-size", 8)


def test_a_stream_is_trained_on_side_by_side(command, fruit, tmp_path):
    result = tmp_path / "result.json"
    ran = command("train", fruit, "--target", "fruit", "--stream", *QUICK, "--json", result)
    assert ran.code == 0, ran.err
    assert "streamed: learnt and encoded in" in ran.out
    assert "5 features, 3 classes" in ran.out
    assert "agrees with jax.grad in all 36 coordinates" in ran.out
    found = json.loads(result.read_text())
    assert found["max_parameter_difference_relative"] < 1e-5
    assert found["hand"]["steps"] == found["optax"]["steps"] > 0


def test_npy_is_streamed_unasked(command, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    np.save(tmp_path / "points.npy", np.c_[x, x[:, 0] > 0])
    plot = tmp_path / "plot.png"
    ran = command("train", tmp_path / "points.npy", "--target", 2, *QUICK, "--plot", plot)
    assert ran.code == 0, ran.err
    assert "streamed: learnt" in ran.out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_large_files_are_streamed_unasked(command, fruit, monkeypatch):
    size = fruit.stat().st_size
    monkeypatch.setattr(streaming, "memory", lambda: 4.0 * size)
    assert "streamed" not in command("train", fruit, "--target", "fruit", *QUICK).out
    monkeypatch.setattr(streaming, "memory", lambda: 3.9 * size)
    ran = command("train", fruit, "--target", "fruit", *QUICK)
    assert ran.code == 0, ran.err
    assert "is more than a quarter of this machine's memory: the file is streamed" in ran.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("iris", "--stream"), "--stream: expected a .csv, .parquet or .npy file, got 'iris'"),
        (("FRUIT", "--stream", "--target", "fruits"), "did you mean 'fruit'?"),
        (("FRUIT", "--stream", "--target", "fruit", "--model", "tree"), "expected one of logistic"),
        (("FRUIT", "--stream", "--target", "fruit", "--batch-size", 99), "at most the"),
    ],
)
def test_what_is_refused(command, fruit, arguments, message):
    ran = command("train", *(fruit if word == "FRUIT" else word for word in arguments))
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
