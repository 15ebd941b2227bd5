"""The second question: ulps against the truth, conditioning beside them, and what counts as bad."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb

from handgrad._precision import x64
from handgrad.catalogue import case
from handgrad.verify import verify
from handgrad.verify.numerics import PointResult, half_ulps

pytestmark = pytest.mark.usefixtures("without_diagnosis")

TINY = float(np.finfo(np.float32).tiny)


def softplus_total(z):
    return jnp.sum(jax.nn.softplus(z))


def naive(z):
    return jnp.exp(z) / (1 + jnp.exp(z))


def point(computed, true, reach=None):
    """One coordinate in float32: what was computed, what is true, and how far that moves."""
    moves = None if reach is None else np.array([reach])
    return PointResult(
        np.ones(1), np.array([true]), moves, {"hand": np.array([computed])}, (), "float32"
    )


@pytest.mark.parametrize(
    ("computed", "true", "bad"),
    [
        (1.0, arb(1), False),
        (math.nan, arb(1), True),
        (math.nan, arb("nan"), True),
        (math.inf, arb(1), True),
        (math.inf, arb("1e39"), False),
        (0.0, arb(1), True),
        (0.0, arb(TINY / 2), False),
        (-1.0, arb(1), True),
        (-TINY / 2, arb(TINY / 2), False),
        (math.inf, arb("inf"), False),
        (-math.inf, arb("inf"), True),
        (1.0, arb("inf"), True),
        (1.0, arb("1e400"), False),
        (-1.0, arb("1e400"), True),
        (math.inf, arb("nan"), False),
    ],
    ids=str,
)
def test_bad_is_nan_inf_zero_for_a_normal_number_and_the_wrong_sign(computed, true, bad):
    assert point(computed, true, arb(0)).bad["hand"] == [bad]


def test_a_sign_that_the_inputs_leave_open_is_not_bad():
    assert not point(-1.0, arb(1), arb(1)).bad["hand"]
    assert point(-1.0, arb(1), arb(1)).explained()
    assert not point(-1.0, arb(1), arb(1)).explained(by_conditioning=False)


@pytest.mark.parametrize("true", [1.0, -3.0, 1e-30])
def test_one_float_away_is_one_ulp(true):
    away = float(np.nextafter(np.float32(true), np.float32(np.inf * np.sign(true))))
    assert point(away, arb(float(np.float32(true)))).errors["hand"] == [1]


def test_what_is_not_finite_is_infinitely_far():
    for computed in (math.nan, math.inf):
        assert point(computed, arb(1)).errors["hand"] == [math.inf]


def test_conditioning_is_what_half_an_ulp_of_the_input_does():
    (step,) = half_ulps([np.array([1.5])], (0,), "float32")
    assert point(1.5, arb(1.5), arb(step[0])).costs == pytest.approx(0.5)
    for reach in (None, arb("nan")):
        assert point(1.0, arb(1), reach).costs == [math.inf]


def test_whole_numbers_move_only_where_they_are_differentiated():
    leaves = [np.array([1.0, 0.0, 2.5, np.inf]), np.array([1.0, 0.5]), np.arange(2)]
    steps = half_ulps(leaves, (0,), "float32")
    assert [np.count_nonzero(step) for step in steps] == [2, 1, 0]


def test_an_ill_conditioned_point_is_told_apart_from_a_bad_formula():
    """σ(z) − y near σ(z) = y: the problem loses digits, and the formula no more than that."""
    entry = case("binary_cross_entropy_soft")
    z = np.array([0.5])
    y = 1 / (1 + np.exp(-z)) * (1 + 1e-5)
    at = tuple(np.asarray(a, np.float32) for a in (z, y))
    verdict = verify(entry.gradient, of=entry.loss, at=at, dtypes=("float32",), evaluations=0)
    (row,) = verdict.numerics
    assert row.conditioning_ulp > 1e4
    assert row.hand_max_ulp < 4 * row.conditioning_ulp


def test_the_worst_input_replays_bit_for_bit():
    entry = case("sigmoid")
    verdict = verify(entry.gradient, of=entry.loss, at=(np.array([2.0, -7.0]),), evaluations=400)
    for row in verdict.numerics:
        (_, numbers), *_ = row.hand_worst_at.inputs
        z = np.array([float.fromhex(number) for number in numbers])
        index = int(row.hand_worst_at.coordinate.removeprefix("z[").removesuffix("]"))
        assert float.fromhex(row.hand_worst_at.own) == z[index]
        with x64(row.dtype == "float64"):
            again = jax.jit(entry.gradient)(jnp.asarray(z, row.dtype))[index]
        computed = float.fromhex(row.hand_worst_at.computed)
        assert float(again) == computed
        truth = Fraction(row.hand_worst_at.truth)
        ulp = Fraction(float(np.spacing(np.dtype(row.dtype).type(float(truth)))))
        error = float(abs(Fraction(computed) - truth) / ulp)
        assert error == pytest.approx(row.hand_max_ulp, rel=1e-2)


def test_nan_is_the_worst_there_is_and_the_most_modest_one_is_shown():
    """e^z / (1 + e^z) is NaN from 88.73 on in float32, where σ passes through a subnormal."""
    at = (np.array([0.5, 1.0]),)
    verdict = verify(naive, of=softplus_total, at=at, dtypes=("float32",))
    (row,) = verdict.numerics
    assert row.hand_bad > 0 == row.autodiff_bad
    assert row.hand_max_ulp == math.inf
    assert math.isnan(float.fromhex(row.hand_worst_at.computed))
    assert 88 < float.fromhex(row.hand_worst_at.own) < 1e4
    assert verdict.ok
    strict = verify(naive, of=softplus_total, at=at, dtypes=("float32",), strict=True)
    assert not strict.ok
    assert "float32: the gradient is nan at z[0] = 88.7" in strict.fault


def test_subnormal_truths_are_counted_apart():
    verdict = verify(
        lambda z: jnp.exp(z), of=lambda z: jnp.sum(jnp.exp(z)), at=(np.array([-90.0, 1.0]),),
        dtypes=("float32",), evaluations=0,
    )  # fmt: skip
    (row,) = verdict.numerics
    assert verdict.ok
    assert row.subnormal > 0 == row.hand_bad
