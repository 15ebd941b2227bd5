"""The battery before the judge: every wrong gradient found out, every right one let through."""

import jax
import mpmath
import numpy as np
import pytest

from benchmarks.judge.battery import BATTERY, CONTROLS
from handgrad._precision import x64
from handgrad.verify import verify

ALGEBRA = [entry for entry in BATTERY if entry.expected == "different"]
FLOATS = [entry for entry in BATTERY if entry.expected == "numerics"]
name_of = lambda entry: entry.name


def test_the_table_is_what_it_says():
    names = [entry.name for entry in (*BATTERY, *CONTROLS)]
    assert len(set(names)) == len(names)
    assert len(ALGEBRA) + len(FLOATS) == len(BATTERY) >= 90
    assert all(entry.cause for entry in ALGEBRA)
    assert all(entry.shows for entry in FLOATS)
    assert all(entry.source for entry in BATTERY)


def mostly_slow(entries):
    """Every twelfth entry runs in `make test`, all of them in `make proofs`."""
    return [
        entry if number % 12 == 0 else pytest.param(entry, marks=pytest.mark.slow)
        for number, entry in enumerate(entries)
    ]


@pytest.mark.parametrize("entry", mostly_slow(ALGEBRA), ids=name_of)
def test_wrong_algebra_is_different_and_its_cause_is_named(entry):
    at = entry.example(jax.random.key(0))
    verdict = verify(
        entry.gradient,
        of=entry.loss,
        at=at,
        argnums=entry.argnums,
        dtypes=("float32",),
        evaluations=0,
    )
    assert verdict.hand == "different"
    # the trace of erf's derivative holds a rounded 2/√π: sixty digits cannot be had
    assert verdict.autodiff == "identical" or entry.name == "gelu_without_density"
    assert not verdict.ok
    assert entry.cause in verdict.cause


@pytest.mark.digits
@pytest.mark.parametrize("entry", mostly_slow(FLOATS), ids=name_of)
def test_right_algebra_is_identical_and_its_floats_are_not(entry):
    dtype, shows = entry.shows
    with x64(dtype == "float64"):
        at = entry.example(jax.random.key(0))
    verdict = verify(
        entry.gradient,
        of=entry.loss,
        at=at,
        argnums=entry.argnums,
        dtypes=(dtype,),
        evaluations=200,
    )
    assert verdict.hand == "identical"
    (row,) = verdict.numerics
    assert row.hand_bad > 0 or row.hand_max_ulp > 1000
    if shows in ("NaN", "zero"):
        assert not verdict.ok


@pytest.mark.digits
@pytest.mark.parametrize("entry", FLOATS, ids=name_of)
def test_what_shows_in_floating_point_shows_at_the_example(entry):
    dtype, shows = entry.shows
    with x64():
        truth = np.asarray(jax.grad(entry.loss)(*_as(entry, "float64")), np.float64)
    with x64(dtype == "float64"):
        value = np.asarray(entry.gradient(*_as(entry, dtype)), np.float64)
    if shows == "NaN":
        assert np.isnan(value).any()
    elif shows == "zero":
        assert ((value == 0) & (truth != 0)).any()
    else:
        assert not np.allclose(value, truth, rtol=1e-3)


def _as(entry, dtype):
    point = entry.example(jax.random.key(0))
    return tuple(jax.numpy.asarray(np.asarray(a, np.float64), dtype) for a in point)


@pytest.mark.parametrize("entry", mostly_slow(CONTROLS), ids=name_of)
def test_controls_pass_and_bad_conventions_do_not(entry):
    at = entry.example(jax.random.key(0))
    verdict = verify(
        entry.gradient,
        of=entry.loss,
        at=at,
        argnums=entry.argnums,
        dtypes=("float32",),
        evaluations=200,
    )
    assert verdict.hand == entry.expected
    assert verdict.ok == (entry.expected != "different")


@pytest.mark.digits
def test_sigmoid_at_17_against_mpmath():
    """The best-known of them, by hand: 4.1399374e-8, of which the textbook form keeps nothing."""
    with mpmath.workdps(40):
        s = 1 / (1 + mpmath.exp(-17))
        truth = float(s * (1 - s))
    (entry,) = (e for e in FLOATS if e.name == "sigmoid_textbook_17")
    assert truth == pytest.approx(4.1399374e-8, rel=1e-7)
    assert float(entry.gradient(*_as(entry, "float32"))[0]) == 0.0
