"""From functions to scalar losses: what has a gradient is one real number.

An elementwise function f enters as Σ f, whose gradient is f′ coordinate by coordinate; a Jacobian
product as ⟨cotangent, f⟩; a Hessian-vector product as ⟨∇E, v⟩.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from handgrad._checks import require_floating, require_same_shape, require_tangent
from handgrad._types import Array
from handgrad.gradients.linear import Params


def total(f: Callable) -> Callable:
    """Σ f(...): its gradient is the elementwise derivative."""

    def total_of_f(*args: Array) -> Array:
        return jnp.sum(f(*args))

    return total_of_f


def paired(f: Callable) -> Callable:
    """⟨c, f(z)⟩ as a function of (c, z): its gradient in z is the vjp of f at c."""

    def paired_with_f(cotangent: Array, z: Array) -> Array:
        value = f(z)
        require_floating("cotangent", cotangent)
        require_same_shape("cotangent", cotangent, "what it is paired with", value)
        return jnp.sum(cotangent * value)

    return paired_with_f


def along(gradient: Callable) -> Callable:
    """⟨∇E(params), v⟩ as a function of (params, v, x, y): its gradient is the Hessian times v."""

    def gradient_along(params: Params, v: Params, x: Array, y: Array) -> Array:
        require_tangent(v, params)
        products = jax.tree.map(lambda g, t: jnp.sum(g * t), gradient(params, x, y), v)
        return sum(jax.tree.leaves(products), jnp.zeros((), x.dtype))

    return gradient_along
