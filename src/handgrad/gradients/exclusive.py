"""All but one: sums and products that leave out each element in turn.

`sum(a) - a[i]` cancels when `a[i]` dominates, and `prod(a) / a[i]` divides by zero. Joining what
stands before `i` with what stands after it does neither, and costs no more.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handgrad.errors import InputError


def _around(a: Array, running: Callable[..., Array], neutral: float) -> tuple[Array, Array]:
    """What stands before and what stands after each element, accumulated by `running`."""
    if jnp.ndim(a) == 0:
        raise InputError("a", "at least one axis", "a scalar", "pass an array of shape (..., K)")
    axis = a.ndim - 1
    empty = jnp.full_like(a[..., :1], neutral)
    before = jnp.concatenate([empty, running(a[..., :-1], axis=axis)], axis=axis)
    after = jnp.concatenate([running(a[..., 1:], axis=axis, reverse=True), empty], axis=axis)
    return before, after


def exclusive_sum(a: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """Σ_{j≠i} a_j for each i along the last axis; no cancellation where all a_j ≥ 0.

    >>> exclusive_sum(jnp.array([1.0, 2.0, 4.0])).tolist()
    [6.0, 5.0, 3.0]
    """
    before, after = _around(a, lax.cumsum, 0.0)
    return before + after


def exclusive_product(a: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """Π_{j≠i} a_j for each i along the last axis; zeros among the a_j do no harm.

    >>> exclusive_product(jnp.array([2.0, 0.0, 5.0])).tolist()
    [0.0, 10.0, 0.0]
    """
    before, after = _around(a, lax.cumprod, 1.0)
    return before * after
