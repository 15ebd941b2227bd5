"""The true derivatives of the sigmoid family at a float32 logit, with an error that is measured.

Each truth is one float64 formula in e^−|z| that cancels nowhere, beside the same number in ball
arithmetic, which encloses it. `reference_error` is how far the first is from the second.

A truth t is handed on as three float32 numbers: a signed power of two `scale`, and `high + low`
= t · scale. They measure a computed float32 y at full speed, without float64: y · scale is exact,
and |y · scale − high − low| · 2²³ is the error of y in ulp of float32. Where t is subnormal the
scale stays 2¹²⁶ and high < 1, so the same line gives the error in units of 2⁻¹⁴⁹. Where float64's
own exponential underflows (|z| > 708) t is taken as 0; it is below 2⁻¹⁰²⁰ there, and float32's
smallest number is 2⁻¹⁴⁹.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx
from jax import lax
from jaxtyping import Array, Float

from handgrad._precision import x64


class Truth(NamedTuple):
    """A derivative of float64 arguments, beside the same in ball arithmetic."""

    name: str
    float64: Callable[[Array], Array]
    ball: Callable[[arb], arb]


class Scaled(NamedTuple):
    """`high + low` = truth · scale, in [1, 2) where the truth is a normal float32, below 1 else."""

    scale: Float[Array, "*shape"]
    high: Float[Array, "*shape"]
    low: Float[Array, "*shape"]


def _sigmoid(z: Array) -> Array:
    e = jnp.exp(-jnp.abs(z))
    return jnp.where(z >= 0, 1.0, e) / (1 + e)


def _sigmoid_derivative(z: Array) -> Array:
    e = jnp.exp(-jnp.abs(z))
    return e / jnp.square(1 + e)


def _sigmoid_ball(z: arb) -> arb:
    return 1 / (1 + (-z).exp())


def _sigmoid_derivative_ball(z: arb) -> arb:
    return _sigmoid_ball(z) * _sigmoid_ball(-z)


SIGMOID = Truth("σ(z)", _sigmoid, _sigmoid_ball)
SIGMOID_OF_MINUS = Truth("σ(−z)", lambda z: _sigmoid(-z), lambda z: _sigmoid_ball(-z))
MINUS_SIGMOID_OF_MINUS = Truth("−σ(−z)", lambda z: -_sigmoid(-z), lambda z: -_sigmoid_ball(-z))
SIGMOID_DERIVATIVE = Truth("σ(z) σ(−z)", _sigmoid_derivative, _sigmoid_derivative_ball)
TANH_DERIVATIVE = Truth(
    "sech²z",
    lambda z: 4 * _sigmoid_derivative(2 * z),
    lambda z: 4 * _sigmoid_derivative_ball(2 * z),
)

TRUTHS = (
    SIGMOID,
    SIGMOID_OF_MINUS,
    MINUS_SIGMOID_OF_MINUS,
    SIGMOID_DERIVATIVE,
    TANH_DERIVATIVE,
)


def scaled(truth: Truth, z: Float[Array, "*shape"]) -> Scaled:
    """The truth at float32 `z`, ready to measure with. Must be traced with float64 enabled."""
    t = truth.float64(z.astype(jnp.float64))
    exponent = (lax.bitcast_convert_type(t, jnp.uint64) >> 52).astype(jnp.int32) & 0x7FF
    exponent = jnp.maximum(exponent - 1023, -126)
    scale = lax.bitcast_convert_type((127 - exponent) << 23, jnp.float32)
    scale = jnp.where(t < 0, -scale, scale)
    product = t * scale.astype(jnp.float64)
    high = product.astype(jnp.float32)
    return Scaled(scale, high, (product - high.astype(jnp.float64)).astype(jnp.float32))


def reference_error(truth: Truth, points: np.ndarray) -> float:
    """The largest error of `scaled`, in ulp of float32 (below 2⁻¹²⁶: 2⁻¹⁴⁹), at float32 `points`.

    An upper bound: the balls' radii count as error. 400 bits are enough for 1 + e^−z at z = 276;
    beyond, the ball still encloses the truth.

    >>> reference_error(SIGMOID, np.array([-87.5, -1.0, 0.0, 17.0], np.float32)) < 1e-6
    True
    """
    with x64():
        scale, high, low = (np.asarray(a, np.float64) for a in scaled(truth, jnp.asarray(points)))
    worst, bits = 0.0, ctx.prec
    ctx.prec = 400
    try:
        for z, s, *parts in zip(points.tolist(), scale, high, low, strict=True):
            found = arb(float(parts[0])) + arb(float(parts[1]))
            gap = abs(found - truth.ball(arb(z)) * arb(float(s)))
            worst = max(worst, float(gap.upper()) * 2.0**23)
    finally:
        ctx.prec = bits
    return worst


def spread_floats(count: int) -> np.ndarray:
    """About `count` finite float32 numbers over all signs and exponents, from a stride in the bits.

    >>> points = spread_floats(1000)
    >>> len(points) > 990 and bool(np.isfinite(points).all())
    True
    """
    stride = (2**32 // count) | 1
    points = (np.arange(count, dtype=np.uint64) * stride).astype(np.uint32).view(np.float32)
    return points[np.isfinite(points)]
