"""Derivatives of PyTorch that were reported wrong; the live ones are PyTorch's, where it is here."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, log_softmax, sigmoid, silu

from benchmarks.judge.bugs_jax import (
    LN2,
    TAIL,
    log_softmax_first,
    log_softmax_first_by_output,
    sigmoid_by_output,
    sinc_slope,
    softmax_first,
    softmax_first_by_output,
)
from benchmarks.judge.reports import Bug, has
from handgrad._types import Array

SILU_TAIL = 40.410841513445845
TORCH = has("torch")


def by_torch(f: Callable, argnums: int | tuple[int, ...] = 0, second: bool = False) -> Any:
    """The derivative of `f(torch, *tensors)` by `torch.autograd`, or None without PyTorch.

    With `second`, that of the sum of its first derivative.
    """
    if not TORCH:
        return None
    positions = (argnums,) if isinstance(argnums, int) else argnums

    def derivative(*args: Any) -> Any:
        import torch

        tensors = [torch.tensor(np.array(arg)) for arg in args]
        chosen = [tensors[i].requires_grad_() for i in positions]
        value = f(torch, *tensors)
        if second:
            value = sum(g.sum() for g in torch.autograd.grad(value, chosen, create_graph=True))
        found = torch.autograd.grad(value, chosen, allow_unused=True)
        numbers = tuple(
            np.zeros(t.shape, str(t.dtype)[6:]) if g is None else g.numpy()
            for g, t in zip(found, chosen, strict=True)
        )
        return numbers[0] if isinstance(argnums, int) else numbers

    return derivative


# --- results that have rounded --------------------------------------------------------------------


def tanh_by_square(x: Array) -> Array:
    """1 − y², where y has rounded to ±1."""
    return 1 - jnp.square(jnp.tanh(x))


def log_sigmoid_twice(x: Array) -> Array:
    """(σ − 1)σ."""
    s = sigmoid(x)
    return (s - 1) * s


def silu_twice_by_sigmoid(x: Array) -> Array:
    """σ(1 − σ)(2 + x(1 − 2σ))."""
    s = sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def cross_entropy(z: Array) -> Array:
    """Softmax cross-entropy of one example at class 0."""
    return -log_softmax(z)[0, 0]


def cross_entropy_by_output(z: Array) -> Array:
    """p − y, where p has rounded to 1."""
    return jnp.exp(log_softmax(z)) - jnp.array([[1.0, 0.0]], z.dtype)


def angle_by_reciprocal(a: Array, b: Array) -> tuple[Array, Array]:
    """b and −a times 1/(a² + b²), which has overflowed in float16."""
    reciprocal = 1 / (a * a + b * b)
    return b * reciprocal, -a * reciprocal


# --- second derivatives with a term dropped -------------------------------------------------------


def products(t: Array) -> Array:
    """Weighted cumulative products of polynomials, one factor of which is 0 at t = 1."""
    first = t + 2 * t * (t + 1) + 3 * t * (t + 1) * (2 - t)
    second = 4 * (t - 1) + 5 * (t - 1) * (2 * t + 1) + 6 * (t - 1) * (2 * t + 1) * (t + 3)
    return first + second


def products_twice(t: Array) -> Array:
    """The second derivative, each mixed term with the factor that is 0 taken once, not twice."""
    first = 4 + 3 * (2 - 6 * t)
    return first + 5 * 2 + 6 * (2 * (t + 3) + (2 * t + 1))


def determinant(t: Array) -> Array:
    """det [[t + 2, 1], [1, 2t + 3]]."""
    return (t + 2) * (2 * t + 3) - 1


def determinant_twice(t: Array) -> Array:
    """det · tr(A⁻¹A′)²: the derivative of A⁻¹ dropped."""
    inverse = jnp.array([[2 * t + 3, -1.0], [-1.0, t + 2]]) / determinant(t)
    trace = inverse[0, 0] + 2 * inverse[1, 1]
    return determinant(t) * trace * trace


def log_determinant(t: Array) -> Array:
    """log det [[t + 2, 1], [1, 3]]."""
    return jnp.log(3 * t + 5)


def determinant_along(a: Array) -> Array:
    """The derivative of det along the first entry."""
    return a[1, 1]


def determinant_along_by_inverse(a: Array) -> Array:
    """det · tr(A⁻¹V) · A⁻ᵀ, the derivative of A⁻¹ dropped."""
    det = a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]
    inverse = jnp.array([[a[1, 1], -a[0, 1]], [-a[1, 0], a[0, 0]]]) / det
    return det * inverse[0, 0] * inverse.T


def three_sincs_once(t: Array) -> Array:
    """The derivative of 2 sinc(t) − 3 sinc(2t + 1) + 5 sinc(2 − t/2)."""
    return 2 * sinc_slope(t) - 6 * sinc_slope(2 * t + 1) - 2.5 * sinc_slope(2 - t / 2)


def sinc_twice_by_parts(x: Array) -> Array:
    """π²(−sin z/z − 2 cos z/z² + 2 sin z/z³), which is NaN at 0."""
    z = jnp.pi * x
    return jnp.pi**2 * (-jnp.sin(z) / z - 2 * jnp.cos(z) / z**2 + 2 * jnp.sin(z) / z**3)


def three_sincs_twice(t: Array) -> Array:
    """The same for each of the three."""
    s = sinc_twice_by_parts
    return 2 * s(t) - 12 * s(2 * t + 1) + 1.25 * s(2 - t / 2)


def product_by_division(x: Array) -> Array:
    """Π x / x."""
    return jnp.prod(x) / x


def product_slopes(x: Array) -> Array:
    """The sum of the first derivatives of a product of four."""
    others = [jnp.prod(jnp.delete(x, i, assume_unique_indices=True)) for i in range(4)]
    return sum(others[1:], others[0])


# --- edges ----------------------------------------------------------------------------------------


def hard_shrink(x: Array) -> Array:
    """The sum of x where |x| is above 0."""
    return jnp.sum(jnp.where(jnp.abs(x) > 0, x, 0.0))


def norm(x: Array) -> Array:
    """‖x‖."""
    return jnp.sqrt(jnp.sum(x * x))


def norm_slope(x: Array) -> Array:
    """x/‖x‖."""
    return x / norm(x)


# fmt: off
PYTORCH = (
    Bug("pytorch/pytorch#195527", "sigmoid", sigmoid, (40.0,), sigmoid_by_output, live=by_torch(lambda torch, x: torch.sigmoid(x))),
    Bug("pytorch/pytorch#195527", "tanh", jnp.tanh, (20.0,), tanh_by_square, live=by_torch(lambda torch, x: torch.tanh(x))),
    Bug("pytorch/pytorch#195681", "sigmoid", sigmoid, (TAIL,), sigmoid_by_output, live=by_torch(lambda torch, x: torch.sigmoid(x))),
    Bug("pytorch/pytorch#195685", "tanh", jnp.tanh, (-9.010913848876953,), tanh_by_square, "float32", live=by_torch(lambda torch, x: torch.tanh(x))),
    Bug("pytorch/pytorch#192406", "expm1", jnp.expm1, (-40.0,), lambda x: jnp.expm1(x) + 1, live=by_torch(lambda torch, x: torch.expm1(x))),
    Bug("pytorch/pytorch#192407", "exp2", jnp.exp2, (1024.0,), lambda x: np.exp2(x) * LN2, live=by_torch(lambda torch, x: torch.exp2(x))),
    Bug("pytorch/pytorch#192408", "exp2″", lambda x: LN2 * jnp.exp2(x), (1024.0,), lambda x: np.exp2(x) * LN2 * LN2, live=by_torch(lambda torch, x: torch.exp2(x), second=True)),
    Bug("pytorch/pytorch#195678", "cross-entropy", cross_entropy, ([[TAIL, 0.0]],), cross_entropy_by_output, live=by_torch(lambda torch, z: torch.nn.functional.cross_entropy(z, torch.tensor([0])))),
    Bug("pytorch/pytorch#195680", "log_softmax[0]", log_softmax_first, ([TAIL, 0.0],), log_softmax_first_by_output, live=by_torch(lambda torch, z: torch.log_softmax(z, 0)[0])),
    Bug("pytorch/pytorch#195531", "softmax[0]", softmax_first, ([40.0, 0.0],), softmax_first_by_output, live=by_torch(lambda torch, z: torch.softmax(z, 0)[0])),
    Bug("pytorch/pytorch#195530", "log_sigmoid″", jax.grad(log_sigmoid), (40.0,), log_sigmoid_twice, live=by_torch(lambda torch, x: torch.nn.functional.logsigmoid(x), second=True)),
    Bug("pytorch/pytorch#195679", "log_sigmoid″", jax.grad(log_sigmoid), (TAIL,), log_sigmoid_twice, live=by_torch(lambda torch, x: torch.nn.functional.logsigmoid(x), second=True)),
    Bug("pytorch/pytorch#195682", "silu″", jax.grad(silu), (SILU_TAIL,), silu_twice_by_sigmoid, live=by_torch(lambda torch, x: torch.nn.functional.silu(x), second=True)),
    Bug("pytorch/pytorch#193040", "atan2", jnp.arctan2, (2e-3, 2e-3), angle_by_reciprocal, "float16", (0, 1), live=by_torch(lambda torch, a, b: torch.atan2(a, b), (0, 1))),
    Bug("pytorch/pytorch#196701", "cumprod″", jax.grad(products), (1.0,), products_twice),
    Bug("pytorch/pytorch#196696", "det″", jax.grad(determinant), (0.7,), determinant_twice),
    Bug("pytorch/pytorch#196697", "slogdet″", jax.grad(log_determinant), (0.7,), lambda t: 0 * t),
    Bug("pytorch/pytorch#192540", "det along e₁e₁ᵀ", determinant_along, ([[1.3, 0.4], [-0.7, 0.9]],), determinant_along_by_inverse),
    Bug("pytorch/pytorch#196703", "sincs″", three_sincs_once, (-0.5,), three_sincs_twice, live=by_torch(lambda torch, t: 2 * torch.sinc(t) - 3 * torch.sinc(2 * t + 1) + 5 * torch.sinc(2 - t / 2), second=True)),
    Bug("pytorch/pytorch#773", "prod", jnp.prod, ([0.0, 2.0, 3.0],), product_by_division, live=by_torch(lambda torch, x: torch.prod(x))),
    Bug("pytorch/pytorch#106789", "Σ prod′", product_slopes, ([2.0, 3.0, 0.0, 0.0],), jnp.zeros_like, live=by_torch(lambda torch, x: torch.prod(x), second=True)),
    Bug("pytorch/pytorch#80803", "hardshrink, λ = 0", hard_shrink, ([0.0],), lambda x: jnp.where(jnp.abs(x) > 0, 1.0, 0.0), live=by_torch(lambda torch, x: torch.nn.functional.hardshrink(x, 0.0).sum())),
    Bug("pytorch/pytorch#2421", "‖x‖", norm, ([0.0],), norm_slope, live=by_torch(lambda torch, x: torch.norm(x))),
)
# fmt: on
