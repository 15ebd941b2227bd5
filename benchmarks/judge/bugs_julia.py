"""Derivatives of Julia's packages that were reported wrong, their formulas written anew.

Zygote, ChainRules, DiffRules, ForwardDiff, Diffractor, Enzyme, Mooncake, Distributions, diff-zoo.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import hyp1f1, xlog1py, xlogy

from benchmarks.judge.bugs_jax import sinc_slope
from benchmarks.judge.bugs_torch import sinc_twice_by_parts, tanh_by_square
from benchmarks.judge.reports import Bug
from handgrad._types import Array

A, B = 0.1, 0.2
LEFT = np.array([[1.0, 0.0]] * 5)
RIGHT = np.array([[0.0, 0.0]] * 3 + [[1.0, 0.0], [0.0, 1.0]])


def morse_second(x: Array) -> Array:
    """The second derivative of (1 − e^(1 − x))²."""
    return 4 * jnp.exp(2 * (1 - x)) - 2 * jnp.exp(1 - x)


def morse_third_by_powers(x: Array) -> Array:
    """6u′u″ + 2uu‴ + 2·1·0 u⁻¹u′³ for u², the last being 0 · ∞ where u is 0."""
    e = jnp.exp(1 - x)
    u = 1 - e
    return 6 * e * -e + 2 * u * e + 0 * u**-1.0 * e**3


def hypergeometric(z: Array) -> Array:
    """₁F₁(0.1; 0.2; z)."""
    return hyp1f1(A, B, z)


def hypergeometric_of_two_terms(z: Array) -> Array:
    """a/b + a(a + 1)/(b(b + 1)) z, where the series goes on."""
    return A / B + A * (A + 1) / (B * (B + 1)) * z


def root_of_square(x: Array) -> Array:
    """√(x²)."""
    return jnp.sqrt(x**2)


def first_power(x: Array) -> Array:
    """x¹."""
    return jnp.power(x, 1.0)


def hypot(x: Array, y: Array) -> Array:
    """√(x² + y²)."""
    return jnp.hypot(x, y)


def hypot_swapped(x: Array, y: Array) -> tuple[Array, Array]:
    """y and x over the length, where x and y are due."""
    length = jnp.hypot(x, y)
    return y / length, x / length


def x_log_x(x: Array) -> Array:
    """x log x, and 0 at 0."""
    return xlogy(x, x)


def x_log_x_by_branch(x: Array) -> Array:
    """1 + log x above 0, and the derivative of a constant at 0."""
    return jnp.where(x > 0, 1 + jnp.log(jnp.where(x > 0, x, 1.0)), 0.0)


def von_mises(s: Array) -> Array:
    """√½((s₀ − s₁)² + (s₁ − s₂)² + (s₂ − s₀)² + 6(s₃² + s₄² + s₅²))."""
    differences = (s[0] - s[1]) ** 2 + (s[1] - s[2]) ** 2 + (s[2] - s[0]) ** 2
    return jnp.sqrt((differences + 6 * jnp.sum(s[3:] ** 2)) / 2)


def von_mises_by_quotients(s: Array) -> Array:
    """Squares differentiated as 2u²/u, which is NaN where a difference or a shear is 0."""
    d = jnp.stack([s[0] - s[1], s[1] - s[2], s[2] - s[0]])
    slopes = 2 * d**2 / d
    shears = 6 * 2 * s[3:] ** 2 / s[3:]
    normal = jnp.stack([slopes[0] - slopes[2], slopes[1] - slopes[0], slopes[2] - slopes[1]])
    return jnp.concatenate([normal, shears]) / (4 * von_mises(s))


def certain_success(p: Array) -> Array:
    """log NegativeBinomial(0 | 1, p) = log p."""
    return xlogy(1.0, p) + xlog1py(0.0, -p)


def certain_success_by_branch(p: Array) -> Array:
    """1/p, and the derivative of a constant at p = 1."""
    return jnp.where(p == 1, 0.0, 1 / p)


def x_log_23(x: Array) -> Array:
    """x log 23."""
    return xlogy(x, 23.0)


def two_products(x: Array) -> Array:
    """Σ A x₀₁ + B x₂₃ = 5x₀ + x₂ + x₃."""
    return jnp.sum(LEFT @ x[:2] + RIGHT @ x[2:])


def two_products_unless_zero(x: Array) -> Array:
    """The products skipped where the vector is 0, and with them the derivative."""
    left = jnp.where(jnp.all(x[:2] == 0), 0.0, LEFT.T @ jnp.ones(5, x.dtype))
    right = jnp.where(jnp.all(x[2:] == 0), 0.0, RIGHT.T @ jnp.ones(5, x.dtype))
    return jnp.concatenate([left, right])


def differences(x: Array) -> Array:
    """Σ of the differences along the rows of [[0, x], [1, 2x]]."""
    rows = jnp.stack([jnp.stack([0 * x, x]), jnp.stack([1 + 0 * x, 2 * x])])
    return jnp.sum(jnp.diff(rows, axis=1))


def passed_through(x: Array) -> Array:
    """The first of (x ≥ 0) x."""
    return ((x >= 0) * x)[0]


def idle_root(x: Array) -> Array:
    """x, beside √|x − 1| that nothing uses."""
    return x + 0 * jnp.sqrt(jnp.abs(x - 1))


def idle_root_slope(x: Array) -> Array:
    """1 + 0 · sign(x − 1)/(2√|x − 1|)."""
    return 1 + 0 * jnp.sign(x - 1) / (2 * jnp.sqrt(jnp.abs(x - 1)))


def logistic_by_quotient(x: Array) -> Array:
    """eˣ/(1 + eˣ)², which is ∞/∞."""
    e = jnp.exp(x)
    return e / (1 + e) ** 2


def quotient(x: Array) -> Array:
    """x³/x²."""
    return x**3 / x**2


def quotient_misplaced(x: Array) -> Array:
    """a′b − ab′/b², where (a′b − ab′)/b² is due."""
    a, b = x**3, x**2
    return 3 * x**2 * b - a * 2 * x / b**2


# fmt: off
JULIA = (
    Bug("FluxML/Zygote.jl#726", "(1 − e^(1−x))²‴", morse_second, (1.0,), morse_third_by_powers),
    Bug("FluxML/Zygote.jl#796", "₁F₁(0.1; 0.2; z)", hypergeometric, (0.75,), hypergeometric_of_two_terms),
    Bug("FluxML/Zygote.jl#1625", "√(x²)", root_of_square, (0.0,), lambda x: 0.5 / jnp.sqrt(x**2) * 2 * x),
    Bug("JuliaDiff/Diffractor.jl#26", "x¹", first_power, (0.0,), lambda x: jnp.power(x, 1.0) / x),
    Bug("JuliaDiff/ChainRules.jl#55", "hypot", hypot, (3.0, 4.0), hypot_swapped, "float64", (0, 1)),
    Bug("JuliaDiff/ChainRules.jl#576", "0 √x", lambda x: 0 * jnp.sqrt(x), (0.0,), lambda x: 0 / (2 * jnp.sqrt(x))),
    Bug("JuliaDiff/DiffRules.jl#102", "tanh", jnp.tanh, (20.5,), tanh_by_square),
    Bug("JuliaDiff/ForwardDiff.jl#466", "sinc″", sinc_slope, (1.0000000000000006e-11,), sinc_twice_by_parts),
    Bug("JuliaDiff/ForwardDiff.jl#466", "sinc″", sinc_slope, (1.0000000000000008e-16,), sinc_twice_by_parts),
    Bug("JuliaDiff/ForwardDiff.jl#365", "x log x", x_log_x, (0.0,), x_log_x_by_branch),
    Bug("JuliaDiff/ForwardDiff.jl#55", "von Mises stress", von_mises, ([100.0, 0.0, 0.0, 0.0, 0.0, 0.0],), von_mises_by_quotients),
    Bug("JuliaStats/Distributions.jl#1582", "NegativeBinomial(1, p)", certain_success, (1.0,), certain_success_by_branch),
    Bug("EnzymeAD/Enzyme.jl#1601", "xlogy(x, 23)", x_log_23, (0.0,), lambda x: jnp.where(x == 0, 0.0, jnp.log(23.0))),
    Bug("EnzymeAD/Enzyme.jl#445", "Σ A x + B x", two_products, ([0.0, 0.0, 0.0, 0.0],), two_products_unless_zero),
    Bug("EnzymeAD/Enzyme.jl#1119", "Σ diff [[0, x], [1, 2x]]", differences, (2.0,), jnp.ones_like),
    Bug("EnzymeAD/Enzyme.jl#2858", "(x ≥ 0) x", passed_through, ([1.0],), jnp.zeros_like),
    Bug("chalk-lab/Mooncake.jl#794", "x beside √|x − 1|", idle_root, (1.0,), idle_root_slope),
    Bug("chalk-lab/Mooncake.jl#879", "logistic", jax.nn.sigmoid, (1000.0,), logistic_by_quotient),
    Bug("MikeInnes/diff-zoo#17", "x³/x²", quotient, (2.0,), quotient_misplaced),
)
# fmt: on
