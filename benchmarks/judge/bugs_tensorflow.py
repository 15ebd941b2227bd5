"""Derivatives of TensorFlow that were reported wrong, their formulas written anew."""

import jax
import jax.numpy as jnp
from jax.nn import elu, log_sigmoid, selu, silu, softmax, softplus

from benchmarks.judge.bugs_jax import (
    SELU_ALPHA,
    SELU_SCALE,
    TAIL,
    elu_by_output,
    log_softmax_first,
    log_softmax_first_by_output,
    selu_by_output,
    silu_by_sigmoid,
    softmax_first,
    softmax_first_by_output,
)
from benchmarks.judge.bugs_torch import (
    SILU_TAIL,
    cross_entropy,
    cross_entropy_by_output,
    product_by_division,
    silu_twice_by_sigmoid,
    tanh_by_square,
)
from benchmarks.judge.reports import Bug
from handgrad._types import Array

LN10 = 2.302585092994046


def sigmoid_of_softplus(x: Array) -> Array:
    """σ(1 − σ), the second derivative of softplus, where σ has rounded to 1."""
    s = jax.nn.sigmoid(x)
    return s * (1 - s)


def elu_twice_by_output(x: Array) -> Array:
    """eˣ where the output is below 0: it is not, having rounded to 0."""
    y = jnp.exp(x) - 1
    return jnp.where(y < 0, y + 1, 0.0)


def selu_twice_by_output(x: Array) -> Array:
    """The same for λα(eˣ − 1)."""
    y = SELU_SCALE * SELU_ALPHA * (jnp.exp(x) - 1)
    return jnp.where(y < 0, y + SELU_SCALE * SELU_ALPHA, 0.0)


def cumulative(x: Array) -> Array:
    """The sum of the cumulative products."""
    return jnp.sum(jnp.cumprod(x))


def cumulative_by_division(x: Array) -> Array:
    """The products that an entry is part of, added up and divided by it; 0 at an entry of 0."""
    total = jnp.cumsum(jnp.cumprod(x)[::-1])[::-1]
    return jnp.where(x == 0, 0.0, total / jnp.where(x == 0, 1.0, x))


def cumulative_divided(x: Array) -> Array:
    """The same, divided whatever the entry is."""
    return jnp.cumsum(jnp.cumprod(x)[::-1])[::-1] / x


def first_slope(x: Array) -> Array:
    """∂(x₀ x₁)/∂x₀."""
    return jax.grad(jnp.prod)(x)[0]


def complex_product(x: Array) -> Array:
    """Re Π (x + 2xi) over two equal factors: −3x²."""
    return jnp.real(jnp.prod(jax.lax.complex(jnp.stack([x, x]), jnp.stack([2 * x, 2 * x]))))


def complex_product_unconjugated(x: Array) -> Array:
    """Re Σ w̄ Π/z with w = 1 + 2i, where w itself is due."""
    return 2 * (1 * x + 2 * (2 * x))


def untaken_power(a: Array) -> Array:
    """a below 15, and 10 to the power eᵃ beyond."""
    return jnp.where(a < 15, a, 10 ** jnp.exp(a))


def untaken_power_masked(a: Array) -> Array:
    """Each branch's derivative times its mask: 0 · ∞."""
    taken = jnp.where(a < 15, 1.0, 0.0)
    return taken + (1 - taken) * LN10 * 10 ** jnp.exp(a) * jnp.exp(a)


def untaken_exponential(x: Array) -> Array:
    """0 above 0, and eˣ below."""
    return jnp.where(x > 0, 0.0, jnp.exp(x))


def untaken_exponential_masked(x: Array) -> Array:
    """The mask times eˣ."""
    return jnp.where(x > 0, 0.0, 1.0) * jnp.exp(x)


def first_arccos(x: Array) -> Array:
    """The first of the arc cosines."""
    return jnp.arccos(x)[0]


def first_arccos_masked(x: Array) -> Array:
    """The cotangent [1, 0, 0] times −(1 − x²)^−½, which has no value beyond 1."""
    return jnp.array([1.0, 0.0, 0.0], x.dtype) * -jax.lax.rsqrt(1 - x * x)


def first_residual(z: Array) -> Array:
    """The first component of softmax(z) − y: the gradient of cross-entropy."""
    return softmax(z)[0] - 1


# fmt: off
TENSORFLOW = (
    Bug("tensorflow/tensorflow#126524", "tanh", jnp.tanh, (20.0,), tanh_by_square),
    Bug("tensorflow/tensorflow#126525", "softmax[0]", softmax_first, ([40.0, 0.0],), softmax_first_by_output),
    Bug("tensorflow/tensorflow#126628", "log_sigmoid″", jax.grad(log_sigmoid), (-TAIL,), lambda x: -sigmoid_of_softplus(-x)),
    Bug("tensorflow/tensorflow#126630", "log_softmax[0]", log_softmax_first, ([TAIL, 0.0],), log_softmax_first_by_output),
    Bug("tensorflow/tensorflow#126632", "silu″", jax.grad(silu), (SILU_TAIL,), silu_twice_by_sigmoid),
    Bug("tensorflow/tensorflow#126634", "cross-entropy", cross_entropy, ([[TAIL, 0.0]],), cross_entropy_by_output),
    Bug("tensorflow/tensorflow#126635", "softplus″", jax.grad(softplus), (TAIL,), sigmoid_of_softplus),
    Bug("tensorflow/tensorflow#124830", "elu″", jax.grad(elu), (-1e-300,), elu_twice_by_output),
    Bug("tensorflow/tensorflow#124831", "selu″", jax.grad(selu), (-1e-300,), selu_twice_by_output),
    Bug("tensorflow/tensorflow#124832", "silu″", jax.grad(silu), (-709.0,), silu_twice_by_sigmoid),
    Bug("tensorflow/tensorflow#124833", "elu", elu, (-40.0,), elu_by_output),
    Bug("tensorflow/tensorflow#124834", "selu", selu, (-700.0,), selu_by_output),
    Bug("tensorflow/tensorflow#124835", "silu", silu, (-709.0,), silu_by_sigmoid),
    Bug("tensorflow/tensorflow#119430", "Σ cumprod", cumulative, ([0.0, 2.0, 3.0],), cumulative_by_division),
    Bug("tensorflow/tensorflow#119430", "Σ cumprod", cumulative, ([2.0, 3.0, 0.0],), cumulative_by_division),
    Bug("tensorflow/tensorflow#119430", "Σ cumprod", cumulative, ([2.0, 0.0, 0.0, 3.0],), cumulative_by_division),
    Bug("tensorflow/tensorflow#3862", "Σ cumprod", cumulative, ([0.0],), cumulative_divided, "float32"),
    Bug("tensorflow/tensorflow#2641", "reduce_prod", jnp.prod, ([0.0, 2.0],), product_by_division, "float32"),
    Bug("tensorflow/tensorflow#61117", "reduce_prod′", first_slope, ([0.0, 1.0],), jnp.zeros_like, "float32"),
    Bug("tensorflow/tensorflow#12514", "Re reduce_prod", complex_product, (1.0,), complex_product_unconjugated, "float32"),
    Bug("tensorflow/tensorflow#38349", "where(a < 15, a, 10^eᵃ)", untaken_power, (10.0,), untaken_power_masked, "float32"),
    Bug("tensorflow/tensorflow#2540", "where(x > 0, 0, eˣ)", untaken_exponential, (1e10,), untaken_exponential_masked, "float32"),
    Bug("tensorflow/tensorflow#57786", "acos[0]", first_arccos, ([-0.5, 0.5, 2.0],), first_arccos_masked, "float32"),
    Bug("tensorflow/tensorflow#7403", "(p − y)[0]", first_residual, ([0.5, 0.5],), jnp.zeros_like, "float32"),
)
# fmt: on
