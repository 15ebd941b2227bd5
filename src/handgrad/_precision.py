"""Sixty-four bits for a while, in one spelling for every supported JAX; the wider of two dtypes."""

import importlib
from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


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


def wider(a: DTypeLike, b: DTypeLike) -> np.dtype:
    """The floating dtype that holds both, whatever JAX's rules of promotion are.

    >>> wider("bfloat16", "float16"), wider("float16", "float64")
    (dtype('float32'), dtype('float64'))
    """
    one, other = jnp.dtype(a), jnp.dtype(b)
    if one.itemsize == other.itemsize and one != other:  # digits in one, range in the other
        return jnp.dtype("float32")
    return max(one, other, key=lambda dtype: dtype.itemsize)
