"""The smallest and the largest number on the way through a function, as part of the function.

A search in float32 wants to know, for thousands of points, which of them the loss itself cannot
carry: the loss is run in float64 with every equation's outputs looked at.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")


def with_passage(f: Callable) -> Callable:
    """f, returning (value, smallest nonzero |number| on the way, largest), all as floats.

    >>> value, small, large = with_passage(lambda x: 1e-3 * x + 1e3)(jnp.float32(1))
    >>> round(float(small), 6), round(float(large), 3)
    (0.001, 1000.001)
    """

    def watched(*args: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        closed = jax.make_jaxpr(f)(*args)
        seen: list[tuple[jax.Array, jax.Array]] = []
        (value,) = _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), seen)
        smallest = jnp.stack([small for small, _ in seen]) if seen else jnp.ones(1, value.dtype)
        largest = jnp.stack([large for _, large in seen]) if seen else jnp.ones(1, value.dtype)
        return value, jnp.min(smallest), jnp.max(largest)

    return watched


def _run(jaxpr: Any, consts: list, args: list, seen: list) -> list:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    for equation in jaxpr.eqns:
        operands = [v.val if isinstance(v, Literal) else values[v] for v in equation.invars]
        inner = next((equation.params[k] for k in INNER if k in equation.params), None)
        if equation.primitive.name in CALLS and inner is not None:
            body = inner.jaxpr if hasattr(inner, "consts") else inner
            outputs = _run(body, list(getattr(inner, "consts", ())), operands, seen)
        else:
            bound: Any = equation.primitive.get_bind_params(equation.params)
            functions, params = bound if isinstance(bound, tuple) else ((), bound)  # jax 0.7, 0.10
            outputs = equation.primitive.bind(*functions, *operands, **params)
            if not equation.primitive.multiple_results:
                outputs = [outputs]
            seen += [_extent(out) for out in outputs if jnp.issubdtype(out.dtype, jnp.floating)]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]


def _extent(array: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Smallest nonzero and largest finite magnitude, as float64 where there is one."""
    size = jnp.abs(array).ravel().astype(jnp.zeros(()).dtype)
    nonzero = jnp.where(size > 0, size, jnp.inf)
    finite = jnp.where(jnp.isfinite(size), size, 0.0)
    return jnp.min(nonzero, initial=jnp.inf), jnp.max(finite, initial=0.0)
