"""Calls that reach the derivative rules of distrax."""

import distrax
import jax
import jax.numpy as jnp
from distrax._src.utils import math


def test_von_mises():
    @jax.jit
    def call(loc, concentration, x, key):
        law = distrax.VonMises(loc, concentration)
        return law.cdf(x), law.sample(seed=key)

    for concentration in (0.7, 3.0, 20.0):
        call(*map(jnp.float32, (0.2, concentration, 0.9)), jax.random.key(0))


def test_no_nan():
    x, y = jnp.float32([0.3, 1.4, 2.0]), jnp.float32([1.2, 0.0, -0.7])
    jax.jit(math.multiply_no_nan)(x, y)
    jax.jit(math.power_no_nan)(x, y)
    jax.jit(math.power_no_nan)(x[:2], y[::2])


def test_entropy():
    probs = jnp.float32([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    jax.jit(lambda p: distrax.Categorical(probs=p).entropy())(probs)
