"""Bad input: one line that says what and what to do, exit code 2, nothing written, no traceback."""

import re

import pytest

FILES = {
    "empty.csv": b"",
    "header.csv": b"a,label\n",
    "one_class.csv": b"a,label\n1,u\n2,u\n3,u\n",
    "nan.csv": b"a,label\n1,0\nnan,1\n2,0\n",
    "inf.csv": b"a,label\n1,0\ninf,1\n2,0\n",
    "gap.csv": b"a,label\n1,u\n2,\n3,v\n",
    "above.csv": b"a,label\n1,0.5\n2,1.5\n3,0.1\n",
    "below.csv": b"a,label\n1,0.5\n2,-0.5\n3,0.1\n",
    "soft.csv": b"a,label\n" + b"".join(b"%d,0.%d\n" % (n, n) for n in range(11, 60)),
    "noise.csv": b"\x00\x01\x02\xff" * 500,
    "ragged_noise.csv": b"a,label\n\xff,\x00,\x1b\n" * 9,
    "noise.parquet": b"\x00\x01\x02\xff" * 500,
    "notes.txt": b"a,label\n1,u\n2,v\n",
}
TARGET = "--target label"

CASES = {
    "no_such_data": ("brest-cancer", "got 'brest-cancer'; .* did you mean 'breast-cancer'?"),
    "no_such_file": (f"none.csv {TARGET}", "none.csv: expected a file that exists, got nothing at"),
    "folder": (f"folder.csv {TARGET}", "folder.csv: expected a file, got the folder"),
    "empty": (f"empty.csv {TARGET}", "empty.csv: expected a table, got an empty file; write"),
    "header": (f"header.csv {TARGET}", "header.csv: expected at least one row, got column names"),
    "one_class": (f"one_class.csv {TARGET}", "at least two classes, got one class only, 'u', in"),
    "nan": (f"nan.csv {TARGET}", "column 'a' of nan.csv: expected .* row 2 .*; drop those rows"),
    "inf": (f"inf.csv {TARGET}", "column 'a' of inf.csv: expected finite numbers, .* inf in row 2"),
    "gap": (f"gap.csv {TARGET}", "'label' of gap.csv: expected .* missing, the first in row 2"),
    "above": (f"above.csv {TARGET}", "'label' of above.csv: expected labels in .0, 1., .* 1.5"),
    "below": (f"below.csv {TARGET}", "'label' of below.csv: expected labels in .0, 1., .* -0.5"),
    "noise": (f"noise.csv {TARGET}", "(noise.csv|target): expected "),
    "ragged_noise": (f"ragged_noise.csv {TARGET}", "ragged_noise.csv: expected 2 values in every"),
    "noise_parquet": (f"noise.parquet {TARGET}", "noise.parquet: expected a readable parquet file"),
    "suffix": (f"notes.txt {TARGET}", "notes.txt: expected a .csv, .* file, got the "),
    "missing_column": ("gap.csv --target lable", "target: .* 'lable'; .* did you mean 'label'?"),
    "no_target": ("gap.csv", "target: expected the column of gap.csv to predict, got none; name"),
    "target_of_a_known_set": ("iris --target species", "target: expected none for 'iris'"),
    "unknown_model": ("iris --model tree", "model: expected one of logistic, .* got 'tree'; name"),
    "three_logistic": ("iris --model logistic", "model: expected softmax or mlp for 3 classes, "),
    "three_perceptron": ("wine --model perceptron", "model: .* for 3 classes, got 'perceptron'"),
    "soft_softmax": (f"soft.csv {TARGET} --model softmax", "model: expected logistic or mlp for s"),
    "penalised_perceptron": ("moons --model perceptron --l2 1", "l2: expected 0 for the perc"),
    "optimizer": ("iris --optimizer newton", "optimizer: expected one of sgd, .* got 'newton'"),
    "dtype": ("iris --dtype float16", "dtype: expected float32 or float64, got 'float16'; name"),
    "activation": ("iris --model mlp --activation gelu", "activation: .* got 'gelu'; name one"),
    "rate_zero": ("iris --learning-rate 0", "learning_rate: .* above 0, got 0.0; pass 0.1"),
    "rate_nan": ("iris --learning-rate nan", "learning_rate: .* above 0, got nan; pass 0.1"),
    "rate_negative": ("iris --learning-rate -1", "learning_rate: .* above 0, got -1.0; pass 0.1"),
    "rate_too_small": ("iris --learning-rate 1e-99", "learning_rate: .* above 0, got 1e-99; pass"),
    "batch_beyond": ("iris --batch-size 113", "batch_size: expected at most the 112 training ex"),
    "batch_zero": ("iris --batch-size 0", "batch_size: .* above 0, got 0; pass 32"),
    "batch_negative": ("iris --batch-size -3", "batch_size: .* above 0, got -3; pass 32"),
    "batch_text": ("iris --batch-size all", "batch_size: expected 'full' or .*, got 'all'; pass"),
    "batch_half": ("iris --batch-size 1.5", "batch_size: expected 'full' or .*, got '1.5'; pass"),
    "epochs": ("iris --epochs 0", "epochs: expected a whole number above 0, got 0; pass 100"),
    "tol_nan": ("iris --tol nan", "tol: expected a finite number of 0 or more, got nan; pass 1e-6"),
    "tol_negative": ("iris --tol -1", "tol: expected a finite number of 0 or more, got -1.0; pass"),
    "l2_nan": ("iris --l2 nan", "l2: expected a finite number of 0 or more, got nan; pass 0.01"),
    "l2_negative": ("iris --l2 -1", "l2: expected a finite number of 0 or more, got -1.0; pass"),
    "hidden_zero": ("iris --model mlp --hidden 0", "hidden: expected a whole number .*, got 0"),
    "hidden_text": ("iris --model mlp --hidden big", "hidden: expected sizes .* got 'big'; write"),
    "hidden_huge": ("iris --model mlp --hidden 99999999999999", "hidden: expected a whole number"),
    "seed": ("iris --seed -1", "seed: expected an integer in 0..2.32-1, got -1; pass 0"),
    "diverging": ("moons --l2 99 --learning-rate 1", "training diverged: the loss is inf at step"),
}  # fmt: skip


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with files that are all wrong in some way, as the current one."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "folder.csv").mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(("arguments", "words"), CASES.values(), ids=CASES.keys())
def test_refused(command, files, tmp_path, arguments, words):
    json, png = tmp_path / "out.json", tmp_path / "out.png"
    ran = command("train", *arguments.split(), "--json", json, "--plot", png)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("\n")
    assert re.search(words, ran.err), ran.err
    assert "Traceback" not in ran.out + ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]
    assert {path.name for path in files.iterdir()} == {*FILES, "folder.csv"}


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("--json", "no/out.json", "--json: expected a file in a folder that can be written to"),
        ("--json", "out.txt", "--json: expected a file name ending in .json, got .*; rename it"),
        ("--json", "taken.json", "--json: expected a file in a folder that can be written to"),
        ("--plot", "no/out.png", "--plot: expected a file in a folder that can be written to"),
        ("--plot", "out.jpg", "--plot: expected a file name ending in .png, got .*; rename it"),
    ],
)
def test_paths_that_cannot_be_written(command, tmp_path, option, name, words):
    """Seen before any work is done."""
    (tmp_path / "taken.json").mkdir()
    ran = command("train", "iris", option, tmp_path / name)
    assert (ran.code, ran.out) == (2, "")
    assert re.search(words, ran.err), ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["taken.json"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "Missing argument 'data'"),
        (["train", "iris", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["train", "iris", "--epochs", "1.5"], "Invalid value for '--epochs'"),
        (["train", "iris", "--learning-rate", "fast"], "Invalid value for '--learning-rate'"),
        (["train", "iris", "--no-such"], "No such option: --no-such"),
        (["trian"], "No such command 'trian'"),
    ],
)
def test_usage(command, arguments, words):
    ran = command(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert re.search(words, ran.err, re.IGNORECASE), ran.err
