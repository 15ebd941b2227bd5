"""Between dtypes: real numbers have none, so floats stay floats; bits are the nearest float's."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flint import arb

from handgrad.errors import Undecided, UnsupportedPrimitive
from handgrad.exact import order
from handgrad.exact.balls import NAN, as_balls, kind
from handgrad.exact.elementwise import Rule


def convert_element_type(x: Any, *, new_dtype: Any, **params: Any) -> np.ndarray:
    """To floats: the same number. To integers: towards 0. To booleans: whether it is not 0."""
    if kind(new_dtype) == "complex":
        raise UnsupportedPrimitive("convert_element_type", "complex numbers are not covered")
    if kind(new_dtype) == "real":
        return as_balls(x)
    if new_dtype == np.dtype(bool):
        nonzero = np.frompyfunc(lambda ball: order.not_equal(ball, arb(0)), 1, 1)
        return np.asarray(nonzero(as_balls(x)), dtype=bool)
    whole = np.frompyfunc(lambda ball: as_integer(ball, new_dtype), 1, 1)(as_balls(x))
    return np.asarray(whole, dtype=new_dtype)


def as_integer(ball: arb, dtype: Any) -> int:
    """The integer of `dtype` that a real number becomes: towards 0, held in range, NaN to 0."""
    if ball is NAN:
        return 0
    limits = np.iinfo(dtype)
    return order.as_integer(order.clamp(arb(int(limits.min)), ball, arb(int(limits.max))))


def as_float(ball: arb, dtype: Any) -> float:
    """The float of `dtype` nearest to a real number: the one whose bits a program would see."""
    if ball is NAN:
        return float("nan")
    low, high = (
        float(np.asarray(float(end)).astype(dtype)) for end in (ball.lower(), ball.upper())
    )
    if low != high:
        raise Undecided(f"the nearest {dtype} to {order.short(ball)} is open")
    return low


def bitcast_of(x: np.ndarray, dtype: Any, new_dtype: Any) -> Any:
    """The bits of the nearest floats as integers, or the floats that integers are bits of."""
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
    return as_balls(counts) if kind(dtype) == "real" else counts.astype(dtype)


def empty(*sizes: Any, dtype: Any, shape: Any = (), **params: Any) -> np.ndarray:
    """An array whose contents nobody may read: zeros."""
    zeros = np.zeros(shape, dtype=np.int32)
    return as_balls(zeros) if kind(dtype) == "real" else np.asarray(jnp.zeros(shape, dtype))


def stacked(outputs: list[Any]) -> Any:
    """Arrays of one shape as one array with a new first axis."""
    if isinstance(outputs[0], np.ndarray):
        return np.stack(outputs)
    return jnp.stack(outputs)  # random keys


RULES: dict[str, Rule] = {
    "convert_element_type": convert_element_type,
    "empty": empty,
    "empty2": empty,
    "iota": iota,
}
