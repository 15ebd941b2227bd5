"""Dtypes: conversions between them, and what holds no real numbers at all.

Real numbers have no dtype, so floats stay floats. Equations of integers, booleans and random keys
(indices, masks, counters) run as they are: NumPy does the frequent ones, because XLA would compile
each for every shape; the rest, random bits among them, are bound to JAX itself.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flint import arb

from handgrad.errors import Undecided
from handgrad.exact import balls
from handgrad.exact.balls import NAN, as_balls, kind
from handgrad.exact.elementwise import Rule


def convert_element_type(x: Any, *, new_dtype: Any, **params: Any) -> np.ndarray:
    """To floats: the same number. To integers: towards 0. To booleans: whether it is not 0."""
    if kind(new_dtype) == "real":
        return as_balls(x)
    if new_dtype == np.dtype(bool):
        nonzero = np.frompyfunc(lambda ball: balls.not_equal(ball, arb(0)), 1, 1)
        return np.asarray(nonzero(as_balls(x)), dtype=bool)
    whole = np.frompyfunc(lambda ball: as_integer(ball, new_dtype), 1, 1)(as_balls(x))
    return np.asarray(whole, dtype=new_dtype)


def as_integer(ball: arb, dtype: Any) -> int:
    """The integer of `dtype` that a real number becomes: towards 0, held in range, NaN to 0."""
    if ball is NAN:
        return 0
    limits = np.iinfo(dtype)
    return balls.whole_number(balls.clamp(arb(int(limits.min)), ball, arb(int(limits.max))))


def as_float(ball: arb, dtype: Any) -> float:
    """The float of `dtype` that a ball is. Raises Undecided for all other real numbers.

    Only floats have bits. A program that looks at them is a step function of a real number: its
    derivative would come out as 0.
    """
    if ball is NAN:
        return float("nan")
    number = float(np.asarray(float(ball.mid())).astype(dtype))
    if not balls.is_exact(ball) or not ball == arb(number):
        raise Undecided(f"the bits of {balls.short(ball)}, a real number and no {dtype}")
    return number


def bitcast_of(x: np.ndarray, dtype: Any, new_dtype: Any) -> Any:
    """The bits of floats as integers, or the floats that integers are bits of."""
    if x.dtype == object:
        x = np.array([as_float(ball, dtype) for ball in x.ravel()]).reshape(x.shape).astype(dtype)
    from_size, to_size = x.dtype.itemsize, np.dtype(new_dtype).itemsize
    if from_size > to_size:
        x = x[..., None]
    bits = np.frombuffer(x.tobytes(), dtype=new_dtype)
    shape = x.shape[:-1] if from_size < to_size else x.shape
    bits = bits.reshape((*shape[:-1], from_size // to_size) if from_size > to_size else shape)
    return as_balls(bits) if kind(new_dtype) == "real" else bits


def iota(*sizes: Any, dtype: Any, shape: Any, dimension: int, **params: Any) -> np.ndarray:
    """0, 1, 2, ... along one axis."""
    within = [1] * len(shape)
    within[dimension] = shape[dimension]
    counts = np.broadcast_to(np.arange(shape[dimension]).reshape(within), shape)
    return counts.astype(dtype) if kind(dtype) == "discrete" else as_balls(counts)


def empty(*sizes: Any, dtype: Any, shape: Any = (), **params: Any) -> np.ndarray:
    """An array whose contents nobody may read: zeros."""
    zeros = np.zeros(shape, dtype=np.int32)
    return np.asarray(jnp.zeros(shape, dtype)) if kind(dtype) == "discrete" else as_balls(zeros)


RULES: dict[str, Rule] = {
    "convert_element_type": convert_element_type,
    "empty": empty,
    "empty2": empty,
    "iota": iota,
}


# --- without real numbers ---------------------------------------------------------------------


def _elementwise(ufunc: Any) -> Any:
    """A rule that keeps the operands' dtype, wrapping around as XLA does."""

    def rule(*operands: Any, **params: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(ufunc(*operands))

    return rule


def _reduction(ufunc: Any) -> Any:
    """A rule that reduces over the named axes in the operand's own dtype."""

    def rule(x: np.ndarray, *, axes: Any, **params: Any) -> np.ndarray:
        return np.asarray(ufunc.reduce(x, axis=tuple(axes), dtype=x.dtype))

    return rule


def _cast(x: np.ndarray, *, new_dtype: Any, **params: Any) -> np.ndarray:
    """Integers and booleans in another dtype, wrapping around."""
    return x.astype(new_dtype)


INTEGER_RULES: dict[str, Any] = {
    "add": _elementwise(np.add),
    "and": _elementwise(np.bitwise_and),
    "convert_element_type": _cast,
    "eq": _elementwise(np.equal),
    "ge": _elementwise(np.greater_equal),
    "gt": _elementwise(np.greater),
    "iota": iota,
    "le": _elementwise(np.less_equal),
    "lt": _elementwise(np.less),
    "max": _elementwise(np.maximum),
    "min": _elementwise(np.minimum),
    "mul": _elementwise(np.multiply),
    "ne": _elementwise(np.not_equal),
    "neg": _elementwise(np.negative),
    "not": _elementwise(np.invert),
    "or": _elementwise(np.bitwise_or),
    "reduce_and": _reduction(np.bitwise_and),
    "reduce_or": _reduction(np.bitwise_or),
    "reduce_sum": _reduction(np.add),
    "sub": _elementwise(np.subtract),
    "xor": _elementwise(np.bitwise_xor),
}
