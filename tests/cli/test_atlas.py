"""`handgrad atlas`: its table, its files and its exit codes."""

import json
from functools import partial

import jax
import pytest

from handgrad.accuracy import atlas, every_logit, formulas


def test_a_sample_is_printed_drawn_and_written(command, tmp_path, monkeypatch):
    some = [
        f for f in formulas.FORMULAS
        if (f.target, f.form) in (
            (formulas.SIGMOID, formulas.STABLE), (formulas.SIGMOID, formulas.LIBRARY),
            (formulas.TANH, formulas.STABLE),
        )
    ]  # fmt: skip
    monkeypatch.setattr(every_logit, "sweep", partial(every_logit.sweep, some))
    files = {"--json": tmp_path / "a.json", "--plot": tmp_path / "a.png"}
    result = command(
        "atlas",
        "--every-logit",
        "--sample",
        40_000,
        *(part for pair in files.items() for part in pair),
    )
    assert (result.code, result.err) == (0, "")
    assert "the forms of this package hold" in result.out
    assert "…" not in result.out  # no column is cut at 80
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads((tmp_path / "a.json").read_text())
    assert len(data["forms"]) == len(some)
    assert data["faults"] == []
    assert not data["all_inputs"]
    assert data["reference_error_ulp"] < 1e-6
    assert {"jax", "optax"} <= data["versions"].keys()


def test_a_form_that_does_not_hold_gives_exit_code_1(command, monkeypatch):
    textbook = formulas.FORMULAS[-8]
    assert (textbook.target, textbook.form) == (formulas.SIGMOID, formulas.TEXTBOOK)
    bad = textbook._replace(form=formulas.STABLE)
    found = every_logit.sweep([bad], sample=40_000)
    monkeypatch.setattr(every_logit, "sweep", lambda **options: found)
    result = command("atlas", "--every-logit")
    assert result.code == 1
    assert "sigmoid′, stable" in result.out
    assert "x zero, the first at 0x1.0" in result.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sample", "0"), "sample: expected a number from 1 to 4,278,190,080, got 0"),
        (("--sample", "4278190081"), "leave it out for every input"),
        (("--plot", "a.pdf"), "--plot: expected a file name ending in .png"),
        (("--json", "nowhere/a.json"), "--json: expected a file in a folder"),
    ],
)
def test_bad_options_are_refused_before_any_work(command, options, message):
    result = command("atlas", "--every-logit", *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_a_function_is_printed_written_read_and_compared(command, tmp_path, monkeypatch):
    """Measured in this process: those that the command starts are tested where they are made."""
    real = atlas.measure_functions
    monkeypatch.setattr(
        atlas, "measure_functions", lambda names, **how: real(names, **{**how, "processes": 0})
    )
    path, zero = tmp_path / "a.json", 12_288 if jax.__version_info__ < (0, 12) else 0
    some = ("--dtypes", "float16", "--orders", "1")
    result = command("atlas", "arcsinh", "sigmoid", *some, "--processes", 1, "--json", path)
    assert (result.code, result.err) == (0, "")
    assert "…" not in result.out
    assert "jnp.arcsinh" in result.out
    assert f"{zero:,}" in result.out
    again = command("atlas", "arcsinh", "--read", path, "--html", tmp_path / "a.html")
    assert f"{zero:,}" in again.out
    assert "sigmoid" not in again.out
    assert "The accuracy of derivatives" in (tmp_path / "a.html").read_text()
    copy = tmp_path / "copy.json"
    whole = command("atlas", "--read", path, "--results", tmp_path / "kept", "--json", copy)
    assert "first derivatives that fail most" in whole.out
    assert "2 functions" in whole.out
    assert "…" not in whole.out
    (kept,) = (tmp_path / "kept").rglob("atlas-jax-*.json")
    assert kept.read_text() == copy.read_text() == path.read_text()

    same = command("atlas", "--diff", path, kept)
    assert (same.code, same.out.strip()) == (0, "nothing is better or worse")
    worse = tmp_path / "b.json"
    worse.write_text(path.read_text().replace(f'"zero": {zero}', f'"zero": {zero + 1}', 1))
    result = command("atlas", "--diff", path, worse)
    assert result.code == 1
    assert f"{zero:,} → {zero + 1:,} zero" in result.out
    assert "1 worse" in result.out
    assert command("atlas", "--diff", worse, path).code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("tanhh",), "try tanh"),
        (("tanh", "--dtypes", "int8"), "dtype: expected bfloat16 or float16"),
        (("tanh", "--orders", "x"), "--orders: expected 1, 2 or 1,2, got 'x'"),
        (("tanh", "--orders", "3"), "orders: expected 1, 2 or both"),
        (("tanh", "--processes", "0"), "--processes: expected 1 or more"),
        (("--sample", "9"), "--every-logit beside them"),
        (("--every-logit", "tanh"), "only --sample, --plot and --json"),
        (("--read", "nowhere.json"), "file: expected an atlas"),
        (("--html", "a.txt"), "a file name ending in .html"),
    ],
)
def test_bad_options_of_the_atlas_are_refused(command, options, message):
    result = command("atlas", *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
