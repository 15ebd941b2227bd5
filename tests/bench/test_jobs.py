"""Every job at a size that takes no time: its contenders agree, its rows and bars are there."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from handgrad.bench import (
    JOBS,
    judge,
    load_job,
    loop,
    newton,
    one_pass,
    per_example,
    scaling,
    timing,
)
from handgrad.errors import InputError, MissingExtraError


@pytest.fixture(autouse=True)
def as_users_run_it(monkeypatch):
    """The peers are written for JAX's own promotion of dtypes and ranks; one round will do."""
    monkeypatch.setattr(timing, "QUICK", 1)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def names(report):
    return [row["name"] for row in report.rows]


@pytest.mark.parametrize("classes", [1, 3])
def test_one_pass(classes):
    report = one_pass.measure(200, 4, classes, quick=True)
    assert {"optax + jax.grad", "one pass", "one pass, packed", "NumPy"} <= set(names(report))
    assert len(report.bars) == (3 if classes == 1 else 2)
    assert all(row["seconds"] > 0 and row["of_read"] > 0 for row in report.rows)


def test_newton_and_a_solver_that_does_not_get_there(monkeypatch):
    real = newton.peer

    def peer(who, problem, tol):
        params, seconds, note = real(who.removesuffix(", astray"), problem, tol)
        astray = 0.1 if who.endswith("astray") else 0.0
        return params._replace(bias=params.bias + astray), seconds, note

    monkeypatch.setattr(newton, "peer", peer)
    problem = newton.synthetic(300, 3, ("newton-cg", "optax.lbfgs", "newton-cg, astray"), 1.0)
    report = newton.measure(problem, quick=True)
    assert names(report) == ["handgrad", "newton-cg", "optax.lbfgs"]
    assert any(note.startswith("newton-cg, astray is not there") for note in report.notes)


def test_newton_over_codes_is_another_row_of_handgrad():
    plain = newton.synthetic(300, 3, ("newton-cg",), 1.0)
    kind = np.eye(4)[np.arange(300) % 4]
    names_ = ("a", "b", "c", *(f"kind={number}" for number in range(4)))
    x = np.c_[plain.x, kind]
    problem = replace(plain, x=x, codes=newton.as_codes(x, names_))
    assert problem.codes.sizes == (0, 0, 0, 4)
    report = newton.measure(problem, quick=True)
    assert names(report) == ["handgrad", "handgrad, codes", "newton-cg"]
    assert report.bars[0].name == "times as fast as the best peer, newton-cg"


def test_data_whose_packages_are_missing_are_named(monkeypatch):
    def flights():
        raise MissingExtraError("flights", "data")

    monkeypatch.setattr(newton, "PROBLEMS", (flights,))
    (report,) = newton.run(quick=True)
    assert report.rows == []
    assert "handgrad[data]" in report.notes[0]


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"])
def test_one_example_after_another(dtype):
    with jax.enable_x64(dtype == "float64"):
        report = per_example.measure(4, 50, dtype, quick=True)
    assert {"handgrad", "handgrad, plain", "handgrad, gram", "scikit-learn"} <= set(names(report))


def test_the_loop(monkeypatch):
    monkeypatch.setattr(loop, "QUICK_STEPS", 13)
    monkeypatch.setattr(loop, "QUICK_REPEATS", 1)
    x, y = loop.data()
    monkeypatch.setattr(loop, "data", lambda: (x[:48], y[:48]))
    reports = list(loop.run(quick=True))
    assert [row["name"] for row in reports[1].rows][:2] == ["fit", "usual loop, gathered by jax"]
    assert names(reports[-1]) == ["at once", "one after another"]


@pytest.mark.parametrize(
    ("letter", "sizes", "problem"),
    [
        ("N", [16, 64], lambda n: scaling.regression(n, 3)),
        ("K", [5], lambda k: scaling.regression(16, 3, k)),
        ("V", [64], lambda v: scaling.tokens(32, 4, v)),
    ],
    ids=["N", "K", "V"],
)
def test_how_cost_grows(letter, sizes, problem):
    report = scaling.measure(letter, "sizes", sizes, 16, problem, quick=True)
    assert len(report.rows) == 2 * len(sizes)
    assert len(report.notes) == (2 if letter == "N" else 0)  # a slope takes two sizes
    assert all("seconds grow as N^" in note for note in report.notes)


@pytest.mark.parametrize("name", ["one_pass", "per_example", "linear_cross_entropy", "scaling"])
def test_a_quick_run_has_fewer_reports(name, monkeypatch):
    job = load_job(name)
    monkeypatch.setattr(job, "measure", lambda *shape: shape)
    quick, whole = list(job.run(quick=True)), list(job.run())
    assert 0 < len(quick) < len(whole)
    assert all(shape[-1] for shape in quick)
    assert not any(shape[-1] for shape in whole)


def test_the_judge_on_small_and_on_large_problems(monkeypatch):
    monkeypatch.setattr(judge, "verify", partial(judge.verify, evaluations=0))
    small, large = judge.run(quick=True)
    assert names(small) == ["handgrad", "check_grads", "check_vjp", "mpmath"]
    assert all(row["seconds"] > 0 for row in (*small.rows, *large.rows))
    assert [bar.wanted for bar in large.bars] == [10]


def test_a_judge_that_is_wrong_has_no_time(monkeypatch):
    monkeypatch.setattr(judge, "verify", lambda *args, **options: SimpleNamespace(hand="different"))
    with pytest.raises(AssertionError, match="tiny: different"):
        judge.measure_large({"tiny": lambda: judge.softmax_784(2)})


def test_a_command_is_timed_from_a_cold_start():
    cpu, wall, code = judge.cold_start(["nothing"])
    assert code == 2
    assert cpu > 0
    assert wall > 0


def test_a_command_that_finds_a_fault_has_no_time(monkeypatch):
    runs = iter([(1.0, 3.0, 0), (2.0, 5.0, 0), (4.0, 4.0, 0)])
    monkeypatch.setattr(judge, "cold_start", lambda options: next(runs))
    monkeypatch.setattr(judge, "COMMANDS", {"one": (["one"], 4.0)})
    report = judge.measure_commands()
    assert names(report) == ["handgrad verify, one"]
    assert (report.rows[0]["seconds"], report.rows[0]["CPU seconds"]) == (4.0, 2.0)
    assert [bar.met for bar in report.bars] == [True]
    monkeypatch.setattr(judge, "cold_start", lambda options: (1.0, 1.0, 2))
    with pytest.raises(AssertionError, match="handgrad verify one found a fault"):
        judge.measure_commands()


def test_what_is_too_large_is_left_out():
    assert scaling.regression(2**31, 1) == []


def test_an_unknown_job():
    with pytest.raises(InputError, match=r"JOB: expected one of one_pass, .*, got 'speed'"):
        load_job("speed")


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_every_job_runs_quickly(name):
    reports = list(load_job(name).run(quick=True))
    assert reports
    assert all(report.rows for report in reports)
