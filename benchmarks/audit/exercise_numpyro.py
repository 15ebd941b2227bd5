"""Calls that reach the derivative rules of numpyro."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest
from numpyro.distributions import util


def test_log1mexp():
    jax.jit(util.log1mexp)(jnp.float32([-0.2, -0.9, -3.0]))
    jax.jit(util.logdiffexp)(jnp.float32([1.2, 0.4]), jnp.float32([0.3, -0.5]))


@pytest.mark.parametrize("alpha", [-2.3, -1.0, 0.7])
def test_power_law(alpha):
    @jax.jit
    def call(alpha, low, high, x, q):
        law = dist.DoublyTruncatedPowerLaw(alpha, low, high)
        return law.log_prob(x), law.cdf(x), law.icdf(q)

    call(*map(jnp.float32, (alpha, 0.6, 2.9, 1.3, 0.35)))
