"""Functions of NumPy and of PyTorch read as functions of JAX arrays.

`as_jax` decides: what JAX traces stays as it is, NumPy is followed by `numpy.from_numpy`, PyTorch
by `torch.from_torch`. What was read says so: `read_through(function)`.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

from handgrad import jaxprs
from handgrad.interop.numpy import from_numpy, uses_numpy

__all__ = ["as_jax", "from_numpy", "read_through"]


def as_jax(function: Callable, at: tuple, argnums: int | tuple[int, ...] = 0) -> Callable:
    """`function` as JAX can trace it at arguments like `at`, differentiated along `argnums`.

    Raises NotFollowed, which names the line, for a function of NumPy that cannot be followed.
    """
    try:
        jaxprs.attempt(function, at)
    except Exception:
        pass
    else:
        return function
    if importlib.util.find_spec("handgrad.interop.torch"):
        torch: Any = importlib.import_module("handgrad.interop.torch")
        if torch.uses_torch(function):
            return torch.from_torch(function)
    return from_numpy(function)


def read_through(function: Callable) -> str | None:
    """'NumPy' or 'PyTorch' for what `as_jax` has read, None for a function of JAX."""
    return getattr(function, "read_through", None)
