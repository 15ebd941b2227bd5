"""Sixty-four bits for a while: one spelling of `enable_x64` for every supported JAX."""

from contextlib import AbstractContextManager

import jax


def x64(enabled: bool = True) -> AbstractContextManager:
    """A context in which JAX has (or has not) float64 and int64.

    >>> import jax.numpy as jnp
    >>> with x64():
    ...     jnp.ones(()).dtype
    dtype('float64')
    """
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(enabled)
    from jax.experimental import enable_x64  # before jax 0.8

    return enable_x64(enabled)
