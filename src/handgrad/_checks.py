"""Checks of shape and dtype: what can be known while tracing, before a number is looked at.

JAX broadcasts (N, 1) against (N,) to (N, N) without a word. Everything public in `gradients/`
passes through here first.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._types import Array
from handgrad.errors import InputError


class Shaped(jax.ShapeDtypeStruct):
    """The shape and dtype of an array that is not there, for checks alone."""


ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex, Shaped)
MOST = 2**31 - 1
"""Of one size: positions in an array are 32-bit integers."""


def dtype_of(name: str, array: Any) -> np.dtype:
    """The dtype that JAX gives to an array, a tracer or a Python number.

    Raises InputError for anything else: lists, masks, strings, objects, dtypes JAX does not have.
    """
    wanted = isinstance(array, ARRAYS) or hasattr(array, "__jax_array__")
    try:
        if not wanted or isinstance(array, np.ma.MaskedArray | str | bytes):
            raise TypeError
        dtype = jnp.result_type(array)
        if isinstance(array, int | float | complex):
            np.asarray(array, dtype)  # is it in range?
    except (TypeError, ValueError, OverflowError):
        kind = f"{array.dtype} in a " if isinstance(array, np.ndarray | np.generic) else ""
        raise InputError(
            name, "an array of numbers", f"{kind}{type(array).__name__}",
            f"convert it, e.g. {name} = jnp.asarray(..., 'float32')",
        ) from None  # fmt: skip
    return dtype


def shape_of(array: Any) -> tuple[int, ...]:
    """The shape of an array, a tracer or a Python number."""
    return tuple(jnp.shape(array))


def describe(array: Any) -> str:
    """Dtype and shape in one phrase, such as 'float32 of shape (3, 2)'."""
    return f"{jnp.result_type(array)} of shape {shape_of(array)}"


def require_floating(name: str, array: Any) -> None:
    """Raise InputError unless `array` has a floating dtype."""
    dtype = dtype_of(name, array)
    if not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize < 2:
        raise InputError(
            name, "a floating dtype", describe(array), f"convert it: {name}.astype('float32')"
        )


def require_real(name: str, array: Any) -> None:
    """Raise InputError unless `array` has a floating dtype, or one of integers or booleans."""
    dtype = dtype_of(name, array)
    if not jnp.issubdtype(dtype, jnp.bool_) and not jnp.issubdtype(dtype, jnp.integer):
        require_floating(name, array)


def require_scalar(name: str, number: Any) -> None:
    """Raise InputError unless `number` is one real number, traced or not."""
    require_real(name, number)
    require_rank(name, number, 0, "()")


def require_size(name: str, size: Any) -> None:
    """Raise InputError unless `size` can be the length of an axis that is not empty."""
    if not is_whole(size) or not 1 <= size <= MOST:
        raise InputError(name, f"a whole number in 1..{MOST:,}", repr(size), "pass 16, say")


def as_index(y: Any) -> Array:
    """Class indices in 32 bits or more. JAX cuts 64 off without a word: 2³² would be class 0.

    With 8 bits the classes beyond 127 could not be counted. What does not fit is out of range.
    """
    if isinstance(y, np.ndarray | np.generic | int):
        y = np.asarray(y)
        y = np.minimum(y, MOST) if y.dtype == np.uint64 else y.astype(np.int64)
        return jnp.asarray(np.where((y < -MOST) | (y > MOST), MOST, y).astype(np.int32))
    y = jnp.asarray(y)
    return y.astype(jnp.int32) if jnp.iinfo(y.dtype).bits < 32 else y


def is_whole(value: Any) -> bool:
    """Whether `value` is an integer of Python or NumPy; True and False are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether `value` is a number of Python or NumPy; True and False are not."""
    return is_whole(value) or isinstance(value, float | np.floating)


def require_key(key: Any) -> None:
    """Raise InputError unless `key` is one random key, of the new kind or the old."""
    if isinstance(key, jax.Array):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if (typed and key.shape == ()) or (key.dtype == np.uint32 and key.shape == (2,)):
            return
    raise InputError("key", "a random key", repr(key), "pass jax.random.key(0), say")


def floating_dtype(dtype: Any, name: str = "dtype") -> Any:
    """A floating dtype as JAX has it; the default one for None. Raises InputError for another."""
    try:
        found = jax.dtypes.canonicalize_dtype(float if dtype is None else dtype)
        require_floating(name, Shaped((), found))
    except (TypeError, ValueError):  # an InputError is a ValueError
        raise InputError(name, "a floating dtype", repr(dtype), "pass 'float32', say") from None
    return found


def as_numpy(name: str, array: Any) -> np.ndarray:
    """`array` as NumPy has it. Raises InputError for ragged rows, gaps, and what is no array."""
    try:
        values = np.asarray(array)
    except Exception as fault:  # whatever an object's own conversion raises
        ragged = isinstance(fault, ValueError)
        raise InputError(
            name, "an array of numbers",
            "rows of unequal length" if ragged else f"{type(array).__name__} ({fault})",
            "make the rows equally long" if ragged else "convert it to a NumPy array",
        ) from fault  # fmt: skip
    if np.ma.is_masked(array):
        raise InputError(
            name, "a value in every place", "a masked array", "fill the gaps, or drop their rows"
        )
    return values


def require_rank(name: str, array: Any, rank: int, letters: str) -> None:
    """Raise InputError unless `array` has `rank` axes, called `letters` in the message."""
    dtype_of(name, array)
    if len(shape_of(array)) != rank:
        raise InputError(
            name,
            f"shape {letters}",
            f"shape {shape_of(array)}",
            f"reshape {name}; nothing is broadcast here",
        )


def require_same_shape(name: str, array: Any, other_name: str, other: Any) -> None:
    """Raise InputError unless both arrays have one shape: nothing is broadcast."""
    dtype_of(name, array)
    dtype_of(other_name, other)
    if shape_of(array) != shape_of(other):
        raise InputError(
            name,
            f"the shape of {other_name}, {shape_of(other)}",
            f"shape {shape_of(array)}",
            f"reshape one of them, e.g. {name}.ravel(); nothing is broadcast here",
        )


def require_axis(name: str, array: Any, axis: int, size: int, meaning: str) -> None:
    """Raise InputError unless axis `axis` of `array` has length `size`."""
    shape = shape_of(array)
    if shape[axis] != size:
        raise InputError(
            name,
            f"{size} along axis {axis} ({meaning})",
            f"shape {shape}",
            "make the two arrays agree",
        )


def require_examples(name: str, array: Any) -> None:
    """Raise InputError if the first axis is empty: a mean over no example is not a number."""
    if shape_of(array)[0] == 0:
        raise InputError(name, "at least one example", f"shape {shape_of(array)}", "pass some data")


def require_binary_labels(y: Any, logits: Any) -> None:
    """Raise InputError unless `y` holds one real number for each logit, (N,)."""
    require_real("y", y)
    require_same_shape("y", y, "the logits", logits)


def require_class_labels(y: Any, logits: Any) -> None:
    """Raise InputError unless `y` is (N,) integers or (N, K) probabilities for (N, K) logits."""
    require_real("y", y)
    if not shape_of(logits):
        raise InputError("logits", "shape (..., K)", "shape ()", "pass one logit for each class")
    if jnp.issubdtype(jnp.result_type(y), jnp.integer):
        if shape_of(y) != shape_of(logits)[:-1]:
            raise InputError(
                "y",
                f"integer class indices of shape {shape_of(logits)[:-1]}",
                describe(y),
                "pass one index for each row of the logits",
            )
    elif np.ndim(y) != np.ndim(logits) or not jnp.issubdtype(jnp.result_type(y), jnp.floating):
        raise InputError(
            "y",
            f"integer indices of shape {shape_of(logits)[:-1]} "
            f"or probabilities of shape {shape_of(logits)}",
            describe(y),
            "convert the labels to int32 indices, or one-hot encode them",
        )
    else:
        require_same_shape("y", y, "the logits", logits)
