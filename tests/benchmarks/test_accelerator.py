"""The run on an accelerator: its wheels, its steps at a small size, and what stops a step."""

import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from time import monotonic

import jax
import pytest

from benchmarks.accelerator import bundle, correctness, loops, one_pass, output_layer, runner
from benchmarks.accelerator.__main__ import STEPS, main, parse, prepare, show
from benchmarks.accelerator.runner import Run, Step, run_steps
from handgrad.bench.report import Report, read_report
from handgrad.bench.timing import WrongAnswerError

PLANTED = """
import os, time
from handgrad.bench.report import Bar, Report

def good(small, seconds):
    yield Report("good", f"small: {small}", [{"name": "a", "seconds": 1e-3}], [Bar("a", 1.0, 2.0)])

def judge(small, seconds):
    yield Report("judge", "verdicts", [{"name": "logistic", "wrong": "twice too large"}])

def fails(small, seconds):
    yield Report("fails", "first", [])
    raise ValueError("no such shape\\nat all")

def dies(small, seconds):
    os._exit(3)
    yield

def never_ends(small, seconds):
    yield Report("never_ends", "first", [])
    time.sleep(600)
"""


@pytest.fixture
def as_users_run_it():
    """The peers are written for JAX's own promotion of dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


# --- the wheels -----------------------------------------------------------------------------------


def needed_by(name, known=()):
    """The names of what a package needs, and of what that needs."""
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        return set()
    names = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines
             if "extra" not in line and "sys_platform" not in line}  # fmt: skip
    new = names - set(known)
    return new.union(*(needed_by(other, {*known, *names}) for other in new))


def test_the_bundle_is_all_that_its_packages_need():
    with_jax = {"jax", *needed_by("jax")}
    for name in bundle.PACKAGES:
        assert needed_by(name) <= {*bundle.PACKAGES, *with_jax}, name
    pinned = {line.split("==")[0].lower().replace("_", "-")
              for line in bundle.CONSTRAINTS.read_text().splitlines() if "==" in line}  # fmt: skip
    assert set(bundle.PACKAGES) <= pinned
    ignored = (bundle.ROOT / ".gitignore").read_text().split()
    assert f"/{bundle.FOLDER.relative_to(bundle.ROOT)}/" in ignored


def test_it_is_collected_for_one_platform_and_no_larger_than_it_may_be(tmp_path, monkeypatch):
    seen = []

    def download(command, check):
        seen.append(command)
        (tmp_path / "a-1.0-py3-none-any.whl").write_bytes(b"12345")

    (tmp_path / "old-1.0-py3-none-any.whl").write_bytes(b"")
    monkeypatch.setattr(subprocess, "run", download)
    assert [wheel.name for wheel in bundle.collect(tmp_path)] == ["a-1.0-py3-none-any.whl"]
    assert {"--only-binary=:all:", "3.12", "manylinux_2_17_x86_64", "python-flint"} <= set(seen[0])
    monkeypatch.setattr(bundle, "MOST_BYTES", 4)
    with pytest.raises(ValueError, match="more than 0"):
        bundle.collect(tmp_path)


def test_what_is_missing_is_unpacked_and_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("os.environ", {"PYTHONPATH": "before"})
    for name in ("not_there", "numpy"):
        with zipfile.ZipFile(tmp_path / f"{name}-1.5-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}_of_the_bundle.py", "there = True")
    into = tmp_path / "site"
    assert prepare(tmp_path, into) == {"not-there": "1.5"}
    assert [path.name for path in into.iterdir()] == ["not_there_of_the_bundle.py"]
    assert sys.path[-1] == str(into)
    assert prepare(tmp_path / "none", into) == {}


# --- the steps ------------------------------------------------------------------------------------


def test_steps_that_fail_die_or_never_end_are_recorded_and_the_next_goes_on(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "planted_steps.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(tmp_path)
    steps = [
        Step(name, f"planted_steps:{name}", seconds, cases)
        for name, seconds, cases in (
            ("judge", 60, ()), ("fails", 60, ()), ("never_ends", 0.5, ()), ("dies", 60, ()),
            ("good", 60, ("softmax",)), ("good", 60, ("logistic",)),
        )
    ]  # fmt: skip
    run = Run(tmp_path / "results", {"a": "1"})
    run_steps(steps, run, True, 100.0, show)
    said = [(o.step, o.result, o.reason, o.reports) for o in run.outcomes]
    assert said == [
        ("judge", "done", "", 1),
        ("fails", "failed", "ValueError: no such shape (planted_steps.py:13)", 1),
        ("never_ends", "out of time", "it was not done after 0 s", 1),
        ("dies", "failed", "its process died, exit code 3", 0),
        ("good", "done", "", 1),
        ("good", "left out", "wrong on this device: logistic, twice too large", 0),
    ]
    (folder,) = (tmp_path / "results").iterdir()
    written = json.loads((folder / "accelerator.json").read_text())
    assert [step["result"] for step in written["steps"]] == [outcome[1] for outcome in said]
    assert written["unpacked"] == {"a": "1"}
    machine, reports = read_report(folder / "good.json")
    assert machine == written["machine"] == run.machine
    assert [report.title for report in reports] == ["small: True"]
    assert "met  2 a (at least 1)" in capsys.readouterr().out
    show(Report("odd", "odd", [{"name": "a"}, {}]))
    assert "not shown: KeyError: 'name'" in capsys.readouterr().out
    late = Run(tmp_path / "results", {})
    run_steps(steps[:1], late, True, 1.0, show)
    assert late.outcomes[0].reason == "no time was left for it"


def found_by(function):
    """What a step yields at its small size, in this process."""
    sent = []
    runner.answer(f"benchmarks.accelerator.{function}", True, 100.0, sent.append)
    assert sent[-1] == ("done", "")
    return [value for _, value in sent[:-1]]


@pytest.mark.parametrize(
    "names",
    [("limits", "judge"), pytest.param(tuple(step[0] for step in STEPS), marks=pytest.mark.slow)],
    ids=len,
)
def test_steps_run_at_a_small_size(names, monkeypatch, as_users_run_it):
    monkeypatch.setattr(correctness, "SMALL", ("loss_sigmoid_binary",))
    monkeypatch.setattr(correctness, "DTYPES", ("bfloat16", "float32"))
    monkeypatch.setattr(output_layer, "SMALL_CHUNKS", (16,))
    monkeypatch.setattr(runner, "release", lambda: None)  # other tests have programs too
    found = {name: found_by(function) for name, function, _, _ in STEPS if name in names}
    assert all(found.values())
    reports = [one for some in found.values() for one in some if isinstance(one, Report)]
    assert all(report.rows for report in reports)
    here = f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}"
    (verdicts,) = found["judge"]
    assert [row["device"] for row in verdicts.rows] == [here]
    assert verdicts.bars[0].met
    if names == ("limits", "judge"):
        return
    text = json.loads(found["atlas"][0].text)
    assert (text["arithmetic"], text["machine"]["platform"]) == ([here], "cpu")
    layer = found["linear_cross_entropy"][0].rows
    assert [row["name"] for row in layer[:2]] == [
        "optax + jax.grad, float32 logits", "optax + jax.grad, bfloat16 logits",
    ]  # fmt: skip
    assert "tried: a kernel, one read" in [row["name"] for row in found["one_pass"][0].rows]


def test_a_gradient_that_is_wrong_here_is_said_to_be(monkeypatch):
    entry = correctness.case("sigmoid")
    twice = replace(entry, gradient=lambda z: 2 * entry.gradient(z))
    monkeypatch.setattr(correctness, "case", lambda name: twice)
    monkeypatch.setattr(correctness, "DTYPES", ("float32",))
    row = correctness.judge_one("sigmoid")
    assert row["verdict"] == "wrong"
    assert "wrong" in row["wrong"]
    report = correctness.as_report([row], ["sigmoid", "tanh"])
    assert not report.bars[0].met
    assert report.notes[0] == "not judged, as no time was left: tanh"
    monkeypatch.setattr(correctness, "case", lambda name: None)
    assert correctness.judge_one("sigmoid")["said"].startswith("AttributeError: ")


def test_no_verdict_is_waited_for_beyond_the_end():
    assert list(correctness.judge_all(["sigmoid"], 0, 0.0)) == []
    assert list(correctness.judge_all(["sigmoid"], 1, 0.0)) == []


@pytest.mark.slow
def test_several_processes_judge_what_one_does():
    names = ["sigmoid", "tanh", "one_pass_rows_logistic"]
    found = list(correctness.judge_all(names, 2, monotonic() + 120))
    assert sorted(row["name"] for row in found) == sorted(names)
    assert {row["verdict"] for row in found} == {"right"}


def test_a_wrong_layer_is_not_timed(monkeypatch, as_users_run_it):
    monkeypatch.setattr(output_layer, "TOLERANCE", 1e-9)
    monkeypatch.setattr(runner, "release", lambda: None)
    sent = []
    function = "benchmarks.accelerator.output_layer:race_shapes"
    runner.answer(function, True, 100.0, sent.append)
    assert len(sent) == 1
    assert sent[0][1].startswith("WrongAnswerError: chunks of None at")


def test_a_shape_that_fails_does_not_stop_the_others(monkeypatch):
    monkeypatch.setattr(runner, "release", lambda: None)

    def measure(shape, left):
        if shape == (1, 2_000):
            raise MemoryError("too large")
        if shape == (3,):
            raise WrongAnswerError("ours: off by 1")
        return Report("a", str(shape), [])

    found = []
    with pytest.raises(RuntimeError, match=r"^1 × 2,000: MemoryError: too large$"):
        found += runner.shape_by_shape([(1, 2_000), (2,)], 50.0, 1.0, measure)
    taken = runner.shape_by_shape([(0,), (1, 2_000), (2,)], 50.0, 1.0, measure)
    assert [next(taken).title for _ in range(2)] == ["(0,)", "(2,)"]
    assert [one.title for one in runner.shape_by_shape([(0,), (2,)], 1.0, 9.0, measure)] == ["(0,)"]
    with pytest.raises(WrongAnswerError):
        list(runner.shape_by_shape([(3,), (0,)], 50.0, 1.0, measure))


def test_the_kernel_takes_rows_that_divide_alone():
    params, x, y = one_pass.problem(40, 4)
    monkey = one_pass.OF_A_PROGRAM // 4
    assert monkey > 40
    value, gradient = one_pass.in_one_kernel(params, x, y, interpret=True)
    expected = one_pass.logistic.value_and_gradient(params, x, y)
    assert jax.tree.all(
        jax.tree.map(lambda a, b: abs(a - b).max() < 1e-6, (value, gradient), expected)
    )
    params, x, y = one_pass.problem(3 * 2**10 + 1, 2**10)
    with pytest.raises(ValueError, match="3073 rows do not divide into programs of 1024"):
        one_pass.in_one_kernel(params, x, y, interpret=True)


def test_the_peers_steps_are_checked_by_numpy():
    x, y = loops.loop.data()
    weight = loops.by_numpy(x, y, [loops.np.arange(3), loops.np.arange(5, 9)])
    assert weight.shape == (x.shape[1],)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is an accelerator")
def test_large_shapes_are_refused_on_a_cpu(tmp_path, capsys):
    assert main(["limits", "--results", str(tmp_path)]) == 2
    assert "no accelerator among JAX's devices: pass --small" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [(["speed"], "STEP: expected any of limits, "), (["--seconds", "0"], "a number above 0")],
)
def test_what_cannot_be_asked(given, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(given)
    assert said in capsys.readouterr().err


def test_what_runs_if_nothing_is_named():
    assert "sweep" not in parse([]).steps
    assert parse(["--sweep"]).steps[-1] == "sweep"
    assert parse(["loop"]).steps == ["loop"]
    assert parse([]).results == Path(bundle.ROOT / "benchmarks" / "results")
    assert parse(["--small"]).results == bundle.ROOT / "out" / "accelerator"


@pytest.mark.slow
def test_the_whole_dry_run(tmp_path):
    assert main(["--small", "--sweep", "--results", str(tmp_path)]) == 0
    (folder,) = tmp_path.iterdir()
    names = {path.name for path in folder.iterdir()} - {f"atlas-jax-{jax.__version__}.json"}
    jobs = ("limits", "judge", "linear_cross_entropy", "one_pass", "loop", "sweep")
    assert names == {"accelerator.json", *(f"{job}.json" for job in jobs)}
