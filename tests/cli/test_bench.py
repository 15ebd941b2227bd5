"""`handgrad bench`: a real race on small shapes, its table, its data; and what it refuses."""

import json
from importlib import import_module

import pytest
from typer.testing import CliRunner

from handgrad.cli import main
from handgrad.cli.app import app
from handgrad.cli.bench import JOBS, duration, load_job


def test_a_race_is_printed_and_kept(tmp_path, monkeypatch):
    racing, limits = (import_module(f"handgrad.measure.{name}") for name in ("race", "limits"))
    monkeypatch.setattr(racing, "REST", 0.0)  # nobody reads these times
    monkeypatch.setattr(racing, "MOST", racing.FEWEST)
    job = load_job("linear_cross_entropy")
    monkeypatch.setattr(job, "ON_CPU", ((2_048, 32, 4_096, "float32"),))
    monkeypatch.setattr(job, "multipliers", lambda dtype: limits.multipliers(dtype, (256,)))
    file = tmp_path / "results.json"
    outcome = CliRunner().invoke(
        app, ["bench", "linear_cross_entropy", "--quick", "--json", str(file)]
    )
    assert outcome.exit_code == 0, outcome.output
    assert "in the forward pass" in outcome.output
    data = json.loads(file.read_text())
    first = data["reports"][0]
    rows = {row["name"]: row for row in first["rows"]}
    ours, theirs = rows["in the forward pass"], rows["optax + jax.grad"]
    assert theirs["speed"] == 1.0
    assert ours["seconds"] > 0
    assert ours["temporaries"] < theirs["temporaries"]
    assert {bar["name"] for bar in first["bars"]} >= {"of optax + jax.grad's temporaries"}
    assert data["machine"]["cores"] >= 1


@pytest.mark.parametrize("name", JOBS)
def test_every_job_has_a_script(name):
    module = load_job(name)
    assert module.TITLE
    assert callable(module.job)


def test_an_unknown_job_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["handgrad", "bench", "speed"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "one_pass" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 µs"), (3e-9, "3 ns")]
)
def test_durations_have_a_unit(seconds, text):
    assert duration(seconds) == text
