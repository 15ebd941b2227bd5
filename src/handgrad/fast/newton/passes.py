"""The compiled passes over the data, and a count of the seconds that compiling took.

    value and gradient:  Σ_n ℓ_n,  Σ_n ∂ℓ_n/∂z (x_n, 1), in float64
    Hessian beside it:   Σ_n s_n a_n a_nᵀ with a_n = ((x_n − m)/s, 1), products in float32

A pass reads x once. The Hessian only shapes the next step, so seven digits of it are plenty; the
gradient decides where the optimum is and is exact. Features are centred and scaled before they
are rounded: a column of years, 2013 ± 1, would lose four of the seven digits, one of seconds since
1970 all.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from handgrad._types import Array
from handgrad.fast.newton import link
from handgrad.fast.newton.rows import Rows, fold
from handgrad.gradients.linear import matmul

MOST_PROGRAMS = 64
_PROGRAMS: dict[Any, Any] = {}


class Programs:
    """Runs functions compiled for the shapes at hand; `seconds` is what compiling took."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def run(self, function: Callable, *args: Any, **static: Any) -> Any:
        """function(*args, **static), compiled once a process for these shapes."""
        leaves, structure = jax.tree.flatten(args)
        kinds = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        key = (function, tuple(static.items()), structure, kinds)
        program = _PROGRAMS.get(key)
        if program is None:
            began = time.perf_counter()
            program = jax.jit(partial(function, **static)).lower(*args).compile()
            self.seconds += time.perf_counter() - began
            while len(_PROGRAMS) >= MOST_PROGRAMS:
                _PROGRAMS.pop(next(iter(_PROGRAMS)))
            _PROGRAMS[key] = program
        return program(*args)


def logits(theta: Array, x: Array) -> Array:
    """θ (D+1,) or (K, D+1), the bias last, on x (R, D): z (R,) or (K, R)."""
    axis = theta.ndim - 1
    scores = lax.dot_general(
        theta[..., :-1], x, (((axis,), (1,)), ((), ())), precision=lax.Precision.HIGHEST
    )
    return scores + (theta[..., -1] if axis == 0 else theta[:, -1:])


def pullback(residual: Array, x: Array) -> Array:
    """rᵀ (x, 1): the gradient in θ."""
    weight = matmul(residual, x)
    return jnp.concatenate([weight, jnp.sum(residual, axis=-1)[..., None]], axis=-1)


def value_and_gradient(rows: Rows, theta: Array) -> tuple[Array, Array, Array]:
    """Σ ℓ, its gradient in θ, and the least margin."""
    from_logits = link.binary if theta.ndim == 1 else link.softmax

    def body(carry: tuple, x: Array, y: Array) -> tuple:
        loss, residual, margin = from_logits(logits(theta, x), y)
        return carry[0] + loss, carry[1] + pullback(residual, x), jnp.minimum(carry[2], margin)

    return fold(rows, body, (jnp.zeros(()), jnp.zeros(theta.shape), jnp.asarray(jnp.inf)))


def with_hessian(
    rows: Rows, theta: Array, mean: Array, scale: Array
) -> tuple[Array, Array, Array, Array]:
    """The same for two classes, and Σ s_n a_n a_nᵀ (D+1, D+1) in float64 from float32 products."""

    def body(carry: tuple, x: Array, y: Array) -> tuple:
        z = logits(theta, x)
        loss, residual, margin = link.binary(z, y)
        root = jnp.sqrt(link.curvature(z).astype(jnp.float32))
        a = scaled(x, mean, scale, "float32")
        a = jnp.pad(a, ((0, 0), (0, 1)), constant_values=1.0) * root[:, None]
        a = lax.optimization_barrier(a)  # or XLA computes it for each product
        return (
            carry[0] + loss,
            carry[1] + pullback(residual, x),
            jnp.minimum(carry[2], margin),
            carry[3] + matmul(a.T, a).astype(jnp.float64),
        )

    size = theta.shape[0]
    empty = jnp.zeros(()), jnp.zeros(size), jnp.asarray(jnp.inf), jnp.zeros((size, size))
    return fold(rows, body, empty)


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each column of x (n, D), in float64.

    A constant column has its own size in place of a deviation, or 1.
    """
    x = x.astype(jnp.float64)
    mean = jnp.mean(x, axis=0)
    deviation = jnp.sqrt(jnp.mean(jnp.square(x - mean[None]), axis=0))
    size = jnp.abs(mean)
    return mean, jnp.where(deviation > 1e-12 * size, deviation, jnp.where(size > 0, size, 1.0))


def scaled(x: Array, mean: Array, scale: Array, dtype: str) -> Array:
    """(x − m)/s, rounded to `dtype` at the end."""
    return ((x.astype(jnp.float64) - mean[None]) * (1 / scale)[None]).astype(dtype)
