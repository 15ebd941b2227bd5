"""`handgrad train --save`, `predict` and `show`: from a file as people have it to new rows."""

import csv
import json
import re

import numpy as np
import pytest

from handgrad import load_model
from handgrad.scale import streams
from handgrad.train import saved
from train.test_saved import as_text, customers

QUICK = ("--epochs", 2, "--batch-size", "full")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Semicolons, gaps, dates, a town of many values, classes in words; and new rows without."""
    folder = tmp_path_factory.mktemp("files")
    as_text(customers(), folder / "customers.csv")
    new = customers(60, seed=1, label=False)
    towns = ["Atlantis", *new["town"].to_pylist()[1:]]
    as_text(new.set_column(2, "town", [towns]), folder / "new.csv")
    return folder


def predictions(path):
    with path.open(encoding="utf-8") as file:
        heading, *lines = csv.reader(file)
    return heading, [line[0] for line in lines], np.array([line[1:] for line in lines], float)


def test_train_save_predict(command, files, tmp_path, monkeypatch):
    """The command and Python give the same numbers to the bit; so does a file read in blocks."""
    model, out = tmp_path / "model.npz", tmp_path / "out.csv"
    ran = command(
        "train", files / "customers.csv", "--target", "kind", "--impute", "median",
        "--max-categories", 12, "--save", model, *QUICK,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    for guess in ("semicolons", "decimal comma", "dates as %d.%m.%Y", "share one feature"):
        assert guess in ran.out
    assert f"model: {model}\n" in ran.out
    ran = command("predict", model, files / "new.csv", "--out", out)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("60 rows: fair ")
    heading, classes, p = predictions(out)
    assert heading == ["prediction", "p(fair)", "p(good)", "p(poor)"]
    again = load_model(model)
    np.testing.assert_array_equal(again.predict_proba(files / "new.csv"), p)
    np.testing.assert_array_equal(again.predict(files / "new.csv"), classes)
    monkeypatch.setattr("handgrad.data.table_file.CSV_BLOCK", 700)
    monkeypatch.setattr(saved, "ROWS", 32)
    assert command("predict", model, files / "new.csv", "--out", out).code == 0
    np.testing.assert_array_equal(predictions(out)[2], p)

    shown = command("show", model, "--json", tmp_path / "card.json")
    assert re.search(r"^model +softmax: \d+ parameters *$", shown.out, re.MULTILINE)
    assert re.search(r"^column since +date, written as %d.%m.%Y *$", shown.out, re.MULTILINE)
    assert json.loads((tmp_path / "card.json").read_text())["data"] == "customers.csv"


def test_what_was_not_seen_is_told_or_refused(command, files, tmp_path):
    """To the terminal, where the numbers are on standard output and the rest beside it."""
    model, new = tmp_path / "model.npz", tmp_path / "new.csv"
    data = tmp_path / "t.csv"
    data.write_text("a,b,label\n" + "x,1,u\ny,2,v\ny,4,v\n" * 6)
    assert command("train", data, "--target", "label", "--save", model, *QUICK).code == 0
    new.write_text("b,a\n3,x\n5,z\n")
    ran = command("predict", model, new, "--json", tmp_path / "s.json")
    assert ran.code == 0
    assert ran.out.startswith("prediction,p(u),p(v)\n")
    assert len(ran.out.splitlines()) == 3
    assert "1 values were not seen in training: a 'z'" in ran.err
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["unknown"] == [{"column": "a", "value": "z", "rows": 1}]
    ran = command("predict", model, new, "--unknown", "refuse", "--out", tmp_path / "o.csv")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "values that were seen in training, got 'z'" in ran.err
    assert not (tmp_path / "o.csv").exists()
    new.write_text("b\n3\n")
    assert "--missing fill" in command("predict", model, new).err
    assert command("predict", model, new, "--missing", "fill").code == 0
    new.write_text("a;b\nx;1,5\ny;2\n")
    assert command("predict", model, new).out.count("\n") == 3
    new.write_text("a,b\nx,many\n")
    assert "got 'many' in column 2" in command("predict", model, new).err
    assert "missing: expected one of" in command("predict", model, new, "--missing", "x").err


def test_columns_without_names_are_known_by_number(command, tmp_path):
    """The target is the first: a file that lacks it is no longer numbered as it was."""
    model, data = tmp_path / "model.npz", tmp_path / "t.csv"
    lines = "u,1,5\nv,2,5\nv,4,7\n" * 6
    data.write_text(lines)
    ran = command(
        "train", data, "--no-header", "--target", "1", "--save", model, *QUICK,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    whole = command("predict", model, data).out
    data.write_text("1,5\n2,5\n4,7\n" * 6)
    assert command("predict", model, data).out == whole
    data.write_text("1\n2\n")
    assert "3 columns as in training, or all but the target" in command("predict", model, data).err


def test_a_stream_of_arrays(command, tmp_path, monkeypatch):
    model = tmp_path / "model.npz"
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    np.save(tmp_path / "points.npy", np.c_[x, x[:, 0] > 0])
    monkeypatch.setattr(streams, "BLOCK_NUMBERS", 100)
    ran = command("train", tmp_path / "points.npy", "--target", 2, "--save", model, *QUICK)
    assert ran.code == 0, ran.err
    with_target = command("predict", model, tmp_path / "points.npy").out
    np.save(tmp_path / "x.npy", x)
    assert command("predict", model, tmp_path / "x.npy").out == with_target
    np.save(tmp_path / "x.npy", np.c_[x, x])
    ran = command("predict", model, tmp_path / "x.npy")
    assert "the 2 features in the order of training, got 4 columns" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "none.npz", "iris"), "none.npz: expected a model that handgrad train --save"),
        (("predict", "t.csv", "iris"), "t.csv: expected a model that handgrad train --save wrote"),
        (("show", "t.csv"), "t.csv: expected a model that handgrad train --save wrote"),
        (("show", "."), "expected a model that handgrad train --save wrote, got nothing at"),
        (
            ("predict", "t.csv", "iris", "--out", "p.txt"),
            "--out: expected a file name ending",
        ),
        (("train", "iris", "--save", "m.pkl"), "--save: expected a file name ending in .npz"),
        (("train", "iris", "--test-fraction", 1.5), "test_fraction: expected a number between 0"),
    ],
)
def test_refused(command, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    ran = command(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
