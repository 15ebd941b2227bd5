"""The corpus of public derivative bugs: real, faulty by the truth, and convicted."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.judge import bugs as corpus
from benchmarks.judge.bugs import BUGS, bugs
from benchmarks.judge.reports import ABSENT, FIXED, PRESENT, accusations, find, has, is_right, truth

OF_JULIA = {"Zygote.jl", "ChainRules.jl", "DiffRules.jl", "ForwardDiff.jl", "Enzyme.jl"}
ASKED_FOR = {
    "jax", "optax", "pytorch", "tensorflow", "scikit-learn", "xgboost", "LightGBM", "math", "stan",
} | OF_JULIA  # fmt: skip


@pytest.fixture(autouse=True)
def standard_promotion():
    """What packages write promotes dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def row(report, function=None):
    (found,) = (b for b in BUGS if b.report.endswith(report) and function in (None, b.function))
    return found


def test_every_row_names_its_report_and_the_packages_are_all_there():
    assert all(re.fullmatch(r"[\w-]+/[\w.-]+#\d+", bug.report) for bug in BUGS)
    assert len({(bug.report, bug.function, str(bug.at)) for bug in BUGS}) == len(BUGS)
    assert sum(bug.package in ASKED_FOR for bug in BUGS) >= 110
    assert {bug.package for bug in BUGS} >= ASKED_FOR
    asked = {f"jax#{n}" for n in (*range(39794, 39800), 40315, *range(40342, 40345),
                                  *range(40383, 40389), 40409, 40634)}  # fmt: skip
    assert {bug.report.split("/")[1] for bug in BUGS} >= asked


TYPED = [
    ("jax#39794", None, 4.248354255291589e-18),
    ("jax#39796", None, 1.7334290832552396e-304),
    ("jax#39797", None, 5e-301),
    ("jax#39798", None, -8.614807714413836e-306),
    ("jax#39799", None, 2.2494568972715982e161),
    ("jax#40315", None, -2e16),
    ("jax#40382", None, 1.2460659279419801e308),
    ("jax#40629", None, 7.304974700020789e-16),
    ("tensorflow#124831", None, 1.7580993408473768),
    ("pytorch#195682", None, -1.0820525268131133e-16),
    ("pytorch#196703", None, 35.56404073668897),
    ("Zygote.jl#796", None, 1.0029644434748202),
    ("Enzyme.jl#1601", None, 3.1354942159291497),
]


@pytest.mark.parametrize(("report", "function", "expected"), TYPED, ids=lambda v: str(v))
def test_the_truth_is_what_the_report_says(report, function, expected):
    (slopes,) = truth(row(report, function))
    assert slopes == (slopes[0], slopes[0])
    assert slopes[0] == pytest.approx(expected, rel=1e-12, abs=0)


SAMPLE = [
    ("jax#39794", None),  # 0 for a normal number, in JAX to this day or not
    ("jax#2107", None),  # repaired in JAX
    ("xgboost#3037", "fair loss"),  # NumPy, wrong sign
    ("ForwardDiff.jl#365", None),  # 0 for −∞
    ("tensorflow#12514", None),  # complex numbers on the way
    ("tensorflow#57786", None),  # NaN from an entry that the loss does not see
    ("pytorch#2421", None),  # NaN at a kink
]


@pytest.mark.parametrize(("report", "function"), SAMPLE, ids=lambda v: str(v))
def test_a_formula_that_was_reported_is_wrong_and_convicted(report, function):
    finding = find(row(report, function))
    assert finding.is_faulty
    assert finding.convicted
    assert finding.is_judged_well
    assert finding.installed in (PRESENT, FIXED, ABSENT)
    assert (finding.live_verdict is None) == (finding.installed == ABSENT)


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda b: f"{b.report} {b.function} {str(b.at)[:20]}")
def test_every_formula_that_was_reported_is_wrong_and_convicted(bug):
    finding = find(bug)
    assert finding.is_faulty
    assert finding.is_judged_well


def test_a_right_formula_in_the_corpus_is_found_out_and_not_convicted():
    planted = replace(row("casadi#2585"), faulty=jnp.sinh, live=jnp.sinh)
    finding = find(planted)
    assert not finding.is_faulty
    assert not finding.convicted
    assert finding.installed == FIXED
    assert finding.live_verdict
    assert not finding.is_judged_well
    assert not any(finding.accused.values())


def test_a_fault_that_is_still_there_is_present_and_its_live_derivative_convicted():
    bug = row("casadi#2585")
    finding = find(replace(bug, live=bug.faulty))
    assert finding.installed == PRESENT
    assert finding.live_verdict is False
    assert finding.is_judged_well
    assert finding.accused["check_grads"]
    assert finding.accused["check_vjp"]
    assert "sign" in finding.cause


def test_right_is_within_rounding_between_the_slopes_or_the_same_infinity():
    assert is_right(1 + 1e-7, (1.0, 1.0), "float64")
    assert not is_right(1 + 1e-5, (1.0, 1.0), "float64")
    assert is_right(1 + 1e-5, (1.0, 1.0), "float32")
    assert is_right(0.3, (0.0, 1.0), "float64")
    assert not is_right(-0.3, (0.0, 1.0), "float64")
    assert is_right(-np.inf, (-np.inf, -np.inf), "float64")
    assert not is_right(0.0, (-np.inf, -np.inf), "float64")
    assert not is_right(np.nan, (0.0, 0.0), "float64")
    assert is_right(0.0, (1e-320, 1e-320), "float64")
    assert not is_right(0.0, (1e-300, 1e-300), "float64")


def test_gradcheck_has_its_say_where_torch_is():
    told = accusations(row("casadi#2585"))["gradcheck"]
    assert told is (True if has("torch") else None)


def test_the_script_counts_and_ends_with_1_if_anything_passes(script, monkeypatch, tmp_path):
    ran = script(bugs, "--only", "casadi", "--json", tmp_path / "found.json")
    assert ran.code == 0, ran.err
    assert "handgrad convicts 1 of 1" in ran.out
    assert '"installed": "not here"' in (tmp_path / "found.json").read_text()
    monkeypatch.setattr(corpus, "BUGS", (replace(row("casadi#2585"), faulty=jnp.sinh),))
    ran = script(bugs)
    assert ran.code == 1
    assert "handgrad convicts 0 of 1" in ran.out
    assert "not a fault here: casadi/casadi#2585" in ran.out
    assert script(bugs, "--only", "no such report").code == 2
