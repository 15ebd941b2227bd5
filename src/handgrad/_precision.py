"""Sixty-four bits for a while: one spelling of `enable_x64` for every supported JAX."""

import importlib
from contextlib import AbstractContextManager

import jax


def x64(enabled: bool = True) -> AbstractContextManager:
    """A context in which JAX has (or has not) float64 and int64.

    >>> import jax.numpy as jnp
    >>> with x64():
    ...     jnp.ones(()).dtype
    dtype('float64')
    """
    if not hasattr(jax, "enable_x64"):  # jax 0.7 keeps it among the experiments
        return importlib.import_module("jax.experimental").enable_x64(enabled)
    return jax.enable_x64(enabled)
