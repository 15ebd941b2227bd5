"""Derivatives of other packages that were reported wrong, their formulas written anew.

CasADi, HIPS autograd, burn, MLX, tt-metal, snntorch.
"""

import jax.numpy as jnp
from jax.nn import sigmoid

from benchmarks.judge.bugs_tensorflow import cumulative, cumulative_divided
from benchmarks.judge.reports import Bug
from handgrad._types import Array

FLOOR, SLOPE = 1e-10, 25.0


def bell(x: Array) -> Array:
    """exp(−‖x‖²)."""
    return jnp.exp(-jnp.sum(x * x))


def bell_by_norm(x: Array) -> Array:
    """−2‖x‖ · x/‖x‖ · exp(−‖x‖²)."""
    n = jnp.sqrt(jnp.sum(x * x))
    return -2 * n * (x / n) * jnp.exp(-n * n)


def floored_length(x: Array) -> Array:
    """√(x₀² + x₁²), and at least 10⁻¹⁰."""
    return jnp.maximum(jnp.sqrt(jnp.sum(x * x)), FLOOR)


def floored_length_masked(x: Array) -> Array:
    """The mask times x/‖x‖: 0 · NaN below the floor."""
    length = jnp.sqrt(jnp.sum(x * x))
    return jnp.where(length > FLOOR, 1.0, 0.0) * (x / length)


def steep_sigmoid(x: Array) -> Array:
    """σ(25x)."""
    return sigmoid(SLOPE * x)


def steep_sigmoid_by_exponential(x: Array) -> Array:
    """25 e⁻²⁵ˣ/(1 + e⁻²⁵ˣ)², which is ∞/∞."""
    e = jnp.exp(-SLOPE * x)
    return SLOPE * e / (e + 1) ** 2


# fmt: off
OTHERS = (
    Bug("casadi/casadi#2585", "cosh", jnp.cosh, (1.0,), lambda x: -jnp.sinh(x)),
    Bug("HIPS/autograd#183", "exp(−‖x‖²)", bell, ([0.0, 0.0],), bell_by_norm),
    Bug("tracel-ai/burn#3864", "Σ cumprod", cumulative, ([2.0, 0.0, 3.0, 4.0],), cumulative_divided, "float32"),
    Bug("ml-explore/mlx#3668", "max(‖x‖, 10⁻¹⁰)", floored_length, ([0.0, 0.0],), floored_length_masked, "float32"),
    Bug("tenstorrent/tt-metal#55725", "asinh", jnp.arcsinh, (1e25,), lambda x: 1 / jnp.sqrt(x * x + 1), "float32"),
    Bug("jeshraghian/snntorch#433", "σ(25x)", steep_sigmoid, (-5.0,), steep_sigmoid_by_exponential, "float32"),
)
# fmt: on
