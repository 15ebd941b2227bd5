"""`handgrad bench`: a real race on small shapes, its table, its data; and what it refuses."""

import json
import sys

import pytest

from handgrad.bench import JOBS, load_job


@pytest.fixture
def small(monkeypatch):
    """The output layer at a shape that takes no time."""
    job = load_job("linear_cross_entropy")
    monkeypatch.setattr(job, "ON_CPU", ((2_048, 32, 4_096, "float32"),))
    monkeypatch.setattr(job, "QUICK_SIDES", (64,))
    return "linear_cross_entropy"


def test_a_quick_race_without_peers_is_printed_and_kept(command, small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    file, folder, figures = tmp_path / "results.json", tmp_path / "results", tmp_path / "figures"
    ran = command("bench", small, "--quick", "--json", file, "--results", folder,
                  "--figures", figures)  # fmt: skip
    assert ran.code == 0, ran.err
    assert "in the forward pass" in ran.out
    assert "torch is not installed: left out" in ran.out
    assert "missed" not in ran.out  # small shapes are held to no bar
    data = json.loads(file.read_text())
    first = data["reports"][0]
    rows = {row["name"]: row for row in first["rows"]}
    ours, theirs = rows["in the forward pass"], rows["optax + jax.grad"]
    assert theirs["speed"] == 1.0
    assert ours["seconds"] > 0
    assert ours["temporaries"] < theirs["temporaries"]
    assert {bar["name"] for bar in first["bars"]} >= {"of optax + jax.grad's temporaries"}
    assert data["machine"]["cores"] >= 1
    (by_device,) = folder.glob(f"*/{small}.json")
    assert json.loads(by_device.read_text()) == data
    assert [path.name for path in figures.iterdir()] == ["roofline.png"]


def test_the_bars_of_a_whole_race_are_met_or_missed(command, monkeypatch):
    from handgrad.bench.report import Bar, Report

    job = load_job("scaling")
    bars = [Bar("times as fast", 2.0, 2.5), Bar("of the time", 0.5, 0.625, at_most=True)]
    reports = [Report("scaling", "a shape", [{"name": "[bold]", "seconds": 1.0}], bars, ["quiet"])]
    monkeypatch.setattr(job, "run", lambda quick: iter(reports))
    ran = command("bench", "scaling")
    assert "met  2.5 times as fast (at least 2)" in ran.out
    assert "missed  0.625 of the time (at most 0.5)" in ran.out
    assert "[bold]" in ran.out


@pytest.mark.parametrize("name", JOBS)
def test_every_job_has_a_module(name):
    module = load_job(name)
    assert module.TITLE
    assert callable(module.run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("speed",), "JOB: expected one of one_pass, newton"),
        (("loop", "--json", "a.txt"), "--json: expected a file name ending in .json"),
        (("loop", "--results", "file.txt"), "--results: expected a folder, got 'file.txt'"),
        (("loop", "--figures", "file.txt"), "--figures: expected a folder, got 'file.txt'"),
        (("loop", "--figures", "file.txt/f"), "'file.txt/f' (Not a directory)"),
        (("loop", "--results", "x" * 300), "(File name too long); name another"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    command, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("not a folder")
    ran = command("bench", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
