"""`handgrad exhaust`: its table, its files and its exit codes."""

import json

import pytest
from typer.testing import CliRunner

from handgrad._errors import InputError
from handgrad.cli.app import app
from handgrad.evidence import every_logit, forms


def exhaust(*options):
    return CliRunner().invoke(app, ["exhaust", *options], catch_exceptions=True)


def test_a_sample_is_printed_drawn_and_written(tmp_path):
    result = exhaust(
        "--sample", "40000", "--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")
    )
    assert result.exit_code == 0, result.output
    assert "the forms of this package hold" in result.output
    assert "…" not in result.output  # no column is cut at 80
    assert max(map(len, result.output.splitlines())) <= 80
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads((tmp_path / "a.json").read_text())
    assert len(data["forms"]) == len(forms.FORMS)
    assert data["faults"] == []
    assert not data["all_inputs"]
    assert data["reference_error_ulp"] < 1e-6
    assert {"jax", "optax"} <= data["versions"].keys()


def test_a_form_that_does_not_hold_gives_exit_code_1(monkeypatch):
    bad = forms.Form(forms.SIGMOID, forms.STABLE, "σ(1−σ)", forms.FORMS[-8].function)
    assert (bad.target, forms.FORMS[-8].name) == (forms.FORMS[-8].target, forms.TEXTBOOK)
    found = every_logit.sweep([bad], sample=40_000)
    monkeypatch.setattr(every_logit, "sweep", lambda **options: found)
    result = exhaust()
    assert result.exit_code == 1
    assert "sigmoid′, stable" in result.output
    assert "zero" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sample", "0"), "sample: expected a number from 1 to 4,278,190,080, got 0"),
        (("--sample", "4278190081"), "leave it out for every input"),
        (("--plot", "a.pdf"), "--plot: expected a file name ending in .png"),
        (("--json", "nowhere/a.json"), "--json: expected a file in a folder"),
    ],
)
def test_bad_options_are_refused_before_any_work(options, message):
    result = exhaust(*options)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
