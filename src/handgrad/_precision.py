"""Sixty-four bits for a while, in one spelling for every supported JAX; the wider of two dtypes."""

import gc
import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

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


class Switch:
    """`x64`, where what one mode makes of a NumPy array must not be met in the other.

    JAX keeps its own copy of each NumPy array that a function closes over, in the mode of the
    first trace, for as long as any cached program holds it: float64 traced before float32 stays
    float64, for the caller too. Where a function `captures` such arrays, JAX's caches are emptied
    whenever the mode changes. Elsewhere this is `x64` alone.
    """

    def __init__(self) -> None:
        self.captures = False
        self._mode: bool | None = None

    @contextmanager
    def x64(self, enabled: bool = True) -> Iterator[None]:
        """The mode, with nothing kept that was traced in the other one."""
        if self._mode not in (None, enabled):
            self.forget()
        self._mode = enabled
        with x64(enabled):
            yield

    def forget(self) -> None:
        """Empty JAX's caches, if any function captures arrays."""
        if self.captures:
            jax.clear_caches()
            gc.collect()  # programs in a cycle keep their constants
