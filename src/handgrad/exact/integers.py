"""Equations without real numbers: indices, masks, counters. They run as they are.

NumPy does the frequent ones, because XLA would compile each for every shape; the rest, random
bits among them, are bound to JAX itself.
"""

from typing import Any

import numpy as np

from handgrad.exact.conversion import iota
from handgrad.exact.movement import DIRECT


def elementwise(ufunc: Any) -> Any:
    """A rule that keeps the operands' dtype, wrapping around as XLA does."""

    def rule(*operands: Any, **params: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(ufunc(*operands))

    return rule


def reduction(ufunc: Any) -> Any:
    """A rule that reduces over the named axes in the operand's own dtype."""

    def rule(x: np.ndarray, *, axes: Any, **params: Any) -> np.ndarray:
        return np.asarray(ufunc.reduce(x, axis=tuple(axes), dtype=x.dtype))

    return rule


def cast(x: np.ndarray, *, new_dtype: Any, **params: Any) -> np.ndarray:
    """Integers and booleans in another dtype, wrapping around."""
    return x.astype(new_dtype)


RULES: dict[str, Any] = {
    **DIRECT,
    "add": elementwise(np.add),
    "and": elementwise(np.bitwise_and),
    "convert_element_type": cast,
    "eq": elementwise(np.equal),
    "ge": elementwise(np.greater_equal),
    "gt": elementwise(np.greater),
    "iota": iota,
    "le": elementwise(np.less_equal),
    "lt": elementwise(np.less),
    "max": elementwise(np.maximum),
    "min": elementwise(np.minimum),
    "mul": elementwise(np.multiply),
    "ne": elementwise(np.not_equal),
    "neg": elementwise(np.negative),
    "not": elementwise(np.invert),
    "or": elementwise(np.bitwise_or),
    "reduce_and": reduction(np.bitwise_and),
    "reduce_or": reduction(np.bitwise_or),
    "reduce_sum": reduction(np.add),
    "sub": elementwise(np.subtract),
    "xor": elementwise(np.bitwise_xor),
}
