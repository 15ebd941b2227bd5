"""Checks of shape and dtype: what can be known while tracing, before a number is looked at.

JAX broadcasts (N, 1) against (N,) to (N, N) without a word. Everything public in `gradients/`
passes through here first.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from handgrad._errors import InputError


def shape_of(array: Any) -> tuple[int, ...]:
    """The shape of an array, a tracer or a Python number."""
    return tuple(jnp.shape(array))


def describe(array: Any) -> str:
    """Dtype and shape in one phrase, such as 'float32 of shape (3, 2)'."""
    return f"{jnp.result_type(array)} of shape {shape_of(array)}"


def require_floating(name: str, array: Any) -> None:
    """Raise InputError unless `array` has a floating dtype."""
    if not jnp.issubdtype(jnp.result_type(array), jnp.floating):
        raise InputError(
            name, "a floating dtype", describe(array), f"convert it: {name}.astype('float32')"
        )


def require_rank(name: str, array: Any, rank: int, letters: str) -> None:
    """Raise InputError unless `array` has `rank` axes, called `letters` in the message."""
    if len(shape_of(array)) != rank:
        raise InputError(
            name,
            f"shape {letters}",
            f"shape {shape_of(array)}",
            f"reshape {name}; nothing is broadcast here",
        )


def require_same_shape(name: str, array: Any, other_name: str, other: Any) -> None:
    """Raise InputError unless both arrays have one shape: nothing is broadcast."""
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
    """Raise InputError unless `y` holds one number for each logit, (N,)."""
    require_same_shape("y", y, "the logits", logits)


def require_class_labels(y: Any, logits: Any) -> None:
    """Raise InputError unless `y` is (N,) integers or (N, K) probabilities for (N, K) logits."""
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
