"""The reference of the sweep is itself measured, against ball arithmetic."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from flint import arb

from handgrad._precision import x64
from handgrad.accuracy.formulas import SIGMA, TRUTHS, reference_error, scaled, spread_floats

BOUND = 1e-6  # ulp of float32


@pytest.mark.parametrize("count", [300, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.name)
def test_the_reference_is_within_a_millionth_of_an_ulp(truth, count):
    """Over all exponents, and densely where the results are normal numbers that vary."""
    rng = np.random.default_rng(0)
    dense = rng.uniform(-110, 110, count).astype(np.float32)
    near = rng.uniform(-1, 1, count).astype(np.float32)
    edges = np.float32([0.0, -0.0, 87.3365, -87.3365, 88.0, 103.97, 104.0, 1e-45, 3.4e38, -3.4e38])
    spread = spread_floats(count)
    assert len(spread) > 0.99 * count
    assert reference_error(truth, np.concatenate([spread, dense, near, edges])) < BOUND


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.name)
def test_the_balls_are_what_mpmath_says(truth):
    def sigma(z):
        return 1 / (1 + mpmath.exp(-z))

    real = {
        "σ(z)": sigma,
        "σ(−z)": lambda z: sigma(-z),
        "−σ(−z)": lambda z: -sigma(-z),
        "σ(z) σ(−z)": lambda z: mpmath.diff(sigma, z, h=mpmath.mpf("1e-30")),
        "sech²z": lambda z: mpmath.sech(z) ** 2,
    }[truth.name]
    with mpmath.workdps(60):
        for z in (-80.0, -3.5, -0.052, 0.0, 0.7, 17.0, 40.0):
            ball = truth.ball(arb(z))
            assert (
                abs(mpmath.mpf(ball.mid().str(30, radius=False)) / real(mpmath.mpf(z)) - 1) < 1e-12
            )


def test_a_wrong_reference_is_seen():
    wrong = SIGMA._replace(float64=lambda z: SIGMA.float64(z) * (1 + 1e-12))
    assert reference_error(wrong, spread_floats(200)) > 1e-6


def test_scaled_truths_are_normal_exactly_where_the_truth_is():
    z = jnp.float32([-87.0, -87.33654, -87.33655, -100.0, -104.5, -1e30, 1e30])
    with x64():
        found = scaled(SIGMA, z)
    true = [float(1 / (1 + mpmath.exp(-mpmath.mpf(float(a))))) for a in z]
    assert (found.high >= 1).tolist() == [t >= 2.0**-126 for t in true]
    assert (found.high >= 2.0**-24).tolist() == [t >= 2.0**-150 for t in true]
    assert {"float32"} == {part.dtype.name for part in found}


def test_a_spread_reaches_every_exponent_and_both_signs():
    points = spread_floats(4000)
    exponents = set((points.view(np.uint32) >> 23).tolist())
    assert exponents == set(range(0x1FF)) - {0xFF}
