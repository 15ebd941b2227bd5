"""The scalar gradients of the cross-entropy family: what they are, and how people compute them.

Each truth is one float64 formula in e^−|z| that cancels nowhere, beside the same number in ball
arithmetic, which encloses it. `reference_error` is how far the first is from the second.

A truth t is handed on as three float32 numbers: a signed power of two `scale`, and `high + low`
= t · scale. They measure a computed float32 y at full speed, without float64: y · scale is exact,
and |y · scale − high − low| · 2²³ is the error of y in ulp of float32. Where t is subnormal the
scale stays 2¹²⁶ and high < 1, so the same line gives the error in units of 2⁻¹⁴⁹. Where float64's
own exponential underflows (|z| > 708) t is taken as 0; it is below 2⁻¹⁰²⁰ there, and float32's
smallest number is 2⁻¹⁴⁹.

The formulas are elementwise functions of an array of logits. Of four forms, for each target:

- textbook: the closed form as books give it;
- stable: the closed form of this package;
- library autodiff: `jax.grad` through the loss of optax, or the function of `jax.nn`;
- naive autodiff: `jax.grad` through the loss as one would write it down first.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flint import arb, ctx
from jax import lax
from jaxtyping import Array, Float

from handgrad import losses
from handgrad._precision import x64
from handgrad.gradients import cross_entropy, sigmoid

# --- the truths -------------------------------------------------------------------------------


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


SIGMA = Truth("σ(z)", _sigmoid, _sigmoid_ball)
SIGMA_OF_MINUS = Truth("σ(−z)", lambda z: _sigmoid(-z), lambda z: _sigmoid_ball(-z))
MINUS_SIGMA_OF_MINUS = Truth("−σ(−z)", lambda z: -_sigmoid(-z), lambda z: -_sigmoid_ball(-z))
SIGMA_DERIVATIVE = Truth("σ(z) σ(−z)", _sigmoid_derivative, _sigmoid_derivative_ball)
SECH_SQUARED = Truth(
    "sech²z",
    lambda z: 4 * _sigmoid_derivative(2 * z),
    lambda z: 4 * _sigmoid_derivative_ball(2 * z),
)
TRUTHS = (SIGMA, SIGMA_OF_MINUS, MINUS_SIGMA_OF_MINUS, SIGMA_DERIVATIVE, SECH_SQUARED)


@partial(jax.jit, static_argnums=0)
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

    >>> reference_error(SIGMA, np.array([-87.5, -1.0, 0.0, 17.0], np.float32)) < 1e-6
    True
    """
    with x64():
        parts = [np.asarray(part, np.float64) for part in scaled(truth, jnp.asarray(points))]
    with ctx.workprec(400):
        gaps = [
            abs(arb(high) + arb(low) - truth.ball(arb(z)) * arb(scale))
            for z, scale, high, low in zip(*map(np.ndarray.tolist, (points, *parts)), strict=True)
        ]
        return max((float(gap.upper()) for gap in gaps), default=0.0) * 2.0**23


def spread_floats(count: int) -> np.ndarray:
    """About `count` finite float32 numbers over all signs and exponents, from a stride in the bits.

    >>> points = spread_floats(1000)
    >>> len(points) > 990 and bool(np.isfinite(points).all())
    True
    """
    stride = (2**32 // count) | 1
    points = (np.arange(count, dtype=np.uint64) * stride).astype(np.uint32).view(np.float32)
    return points[np.isfinite(points)]


# --- the formulas -----------------------------------------------------------------------------


class Target(NamedTuple):
    """A derivative that the formulas compute, and what it really is."""

    name: str
    truth: Truth


class Formula(NamedTuple):
    """One way to compute a target."""

    target: Target
    form: str
    text: str
    function: Callable[[Array], Array]


RESIDUAL_0 = Target("residual, y = 0", SIGMA)
RESIDUAL_1 = Target("residual, y = 1", MINUS_SIGMA_OF_MINUS)
LOG_SIGMOID = Target("log_sigmoid′", SIGMA_OF_MINUS)
SOFTPLUS = Target("softplus′", SIGMA)
SIGMOID = Target("sigmoid′", SIGMA_DERIVATIVE)
TANH = Target("tanh′", SECH_SQUARED)

TARGETS = (RESIDUAL_0, RESIDUAL_1, LOG_SIGMOID, SOFTPLUS, SIGMOID, TANH)

TEXTBOOK, STABLE, DROP_IN = "textbook", "stable", "drop-in loss"
LIBRARY, NAIVE = "library autodiff", "naive autodiff"
OWN = (STABLE, DROP_IN)
"""What this package offers for use, and answers for."""


def grad(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """`jax.grad` of an elementwise function, for an array of points at once."""
    return jax.grad(lambda z: jnp.sum(function(z)))


def labelled(function: Callable[[Array, Array], Array], y: float) -> Callable[[Array], Array]:
    """A function of logits and labels, at one label."""
    return lambda z: function(z, jnp.full_like(z, y))


def p(z: Array) -> Array:
    """The sigmoid as one would write it down first."""
    return 1 / (1 + jnp.exp(-z))


def naive_tanh(z: Array) -> Array:
    """tanh by its definition."""
    return (jnp.exp(z) - jnp.exp(-z)) / (jnp.exp(z) + jnp.exp(-z))


BCE = optax.sigmoid_binary_cross_entropy
OURS = losses.sigmoid_binary_cross_entropy
RESIDUAL, DIFFERENCE = cross_entropy.binary_residual, cross_entropy.binary_residual_textbook

FORMULAS = (
    Formula(RESIDUAL_0, TEXTBOOK, "σ(z) − y", labelled(DIFFERENCE, 0)),
    Formula(RESIDUAL_0, STABLE, "(1−y) σ(z) − y σ(−z)", labelled(RESIDUAL, 0)),
    Formula(RESIDUAL_0, DROP_IN, "jax.grad of the loss of handgrad", grad(labelled(OURS, 0))),
    Formula(RESIDUAL_0, LIBRARY, "jax.grad of optax's loss", grad(labelled(BCE, 0))),
    Formula(
        RESIDUAL_0, NAIVE, "jax.grad of −log(1 − 1/(1+e⁻ᶻ))", grad(lambda z: -jnp.log(1 - p(z)))
    ),
    Formula(RESIDUAL_1, TEXTBOOK, "σ(z) − y", labelled(DIFFERENCE, 1)),
    Formula(RESIDUAL_1, STABLE, "(1−y) σ(z) − y σ(−z)", labelled(RESIDUAL, 1)),
    Formula(RESIDUAL_1, DROP_IN, "jax.grad of the loss of handgrad", grad(labelled(OURS, 1))),
    Formula(RESIDUAL_1, LIBRARY, "jax.grad of optax's loss", grad(labelled(BCE, 1))),
    Formula(RESIDUAL_1, NAIVE, "jax.grad of −log(1/(1+e⁻ᶻ))", grad(lambda z: -jnp.log(p(z)))),
    Formula(LOG_SIGMOID, TEXTBOOK, "1 − σ(z)", lambda z: 1 - sigmoid.sigmoid(z)),
    Formula(LOG_SIGMOID, STABLE, "σ(−z)", sigmoid.log_sigmoid_derivative),
    Formula(LOG_SIGMOID, LIBRARY, "jax.grad of jax.nn.log_sigmoid", grad(jax.nn.log_sigmoid)),
    Formula(LOG_SIGMOID, NAIVE, "jax.grad of log(1/(1+e⁻ᶻ))", grad(lambda z: jnp.log(p(z)))),
    Formula(SOFTPLUS, TEXTBOOK, "eᶻ/(1+eᶻ)", lambda z: jnp.exp(z) / (1 + jnp.exp(z))),
    Formula(SOFTPLUS, STABLE, "σ(z)", sigmoid.softplus_derivative),
    Formula(SOFTPLUS, LIBRARY, "jax.grad of jax.nn.softplus", grad(jax.nn.softplus)),
    Formula(SOFTPLUS, NAIVE, "jax.grad of log(1+eᶻ)", grad(lambda z: jnp.log(1 + jnp.exp(z)))),
    Formula(SIGMOID, TEXTBOOK, "σ(z)(1 − σ(z))", sigmoid.sigmoid_derivative_textbook),
    Formula(SIGMOID, STABLE, "σ(z) σ(−z)", sigmoid.sigmoid_derivative),
    Formula(SIGMOID, LIBRARY, "jax.grad of jax.nn.sigmoid", grad(jax.nn.sigmoid)),
    Formula(SIGMOID, NAIVE, "jax.grad of 1/(1+e⁻ᶻ)", grad(p)),
    Formula(TANH, TEXTBOOK, "1 − tanh²z", lambda z: 1 - jnp.square(jnp.tanh(z))),
    Formula(TANH, STABLE, "4q/(1+q(2+q)), q = e^−2|z|", sigmoid.tanh_derivative),
    Formula(TANH, LIBRARY, "jax.grad of jnp.tanh", grad(jnp.tanh)),
    Formula(TANH, NAIVE, "jax.grad of (eᶻ−e⁻ᶻ)/(eᶻ+e⁻ᶻ)", grad(naive_tanh)),
)
