"""Functions written in NumPy, followed with JAX arrays in the place of NumPy's."""

from collections.abc import Callable

from handgrad.errors import NotFollowed


def uses_numpy(function: Callable) -> bool:
    """Whether the code of a function names anything of NumPy, SciPy or math."""
    return False


def from_numpy(function: Callable) -> Callable:
    """A function of JAX arrays that computes what `function` computes of NumPy's."""
    raise NotFollowed("a function of NumPy", "write it in jax.numpy")
