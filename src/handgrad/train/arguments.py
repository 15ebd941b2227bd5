"""Checks of what `fit` is asked to do, and its data as JAX arrays of one float dtype."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._checks import dtype_of
from handgrad._types import Array, Key
from handgrad.data.checks import check_values
from handgrad.errors import InputError
from handgrad.gradients.model import Model

NEEDED = ("init", "logits", "predict", "loss", "gradient", "value_and_gradient")


def is_whole(value: Any) -> bool:
    """Whether `value` is an integer of Python or NumPy; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether `value` is a number of Python or NumPy; True and False are none."""
    return is_whole(value) or isinstance(value, float | np.floating)


def check_run(epochs: Any, tol: Any) -> None:
    """Raise InputError unless a run can have that many epochs and that tolerance."""
    if not is_whole(epochs) or epochs < 1:
        raise InputError("epochs", "a whole number above 0", repr(epochs), "pass 100, say")
    if tol is not None and not (is_real(tol) and 0 <= tol < math.inf):
        raise InputError("tol", "a finite number of 0 or more", repr(tol), "pass 1e-6, or leave it")


def check_model(model: Any) -> None:
    """Raise InputError unless `model` has the functions of a Model."""
    if not all(hasattr(model, name) for name in NEEDED):
        raise InputError(
            "model", "a Model", type(model).__name__, "pass logistic.model(), say, with its ()"
        )


def check_key(key: Any) -> Key:
    """The key, or that of seed 0 for None. Raises InputError for anything but a key."""
    if key is None:
        return jax.random.key(0)
    if not isinstance(key, jax.Array):
        raise InputError("key", "a random key", repr(key), "pass jax.random.key(0), say")
    return key


def as_arrays(x: Any, y: Any, on_host: bool = False) -> tuple[Array, Array]:
    """x and y as JAX has them, float labels in the dtype of x. Raises InputError for their values.

    Features keep their floating dtype if JAX has it enabled; integers take the default one.
    `on_host`: as NumPy arrays, to be spread over devices of which none need have room for all.
    """
    place: Any = np.asarray if on_host else jnp.asarray
    check_values(x, y)
    y = jnp.asarray(y)
    given = np.asarray(x).dtype
    dtype = given if jnp.issubdtype(given, jnp.floating) else jnp.zeros(()).dtype
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    y = y.astype(dtype) if jnp.issubdtype(y.dtype, jnp.floating) else y
    if dtype == given:
        return place(x), place(y)
    with np.errstate(over="ignore"):
        features = np.asarray(x).astype(dtype)
    lost = ~np.isfinite(features)
    if lost.any():
        raise InputError(
            "x",
            f"features that {dtype} can hold",
            np.asarray(x)[lost][0],
            "rescale them, or enable float64 in JAX",
        )
    return place(features), place(y)


def class_count(y: Array) -> int:
    """K: the columns of probabilities, the largest index plus one, or 2 for labels in [0, 1]."""
    if jnp.ndim(y) == 2:
        return y.shape[1]
    if jnp.issubdtype(y.dtype, jnp.integer):
        return max(2, int(jnp.max(y)) + 1)
    return 2


def check_labels_fit(model: Model, params: Any, x: Array, y: Array) -> None:
    """Let the model refuse shapes that do not fit; refuse class indices beyond its logits."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if dtype_of(f"params{jax.tree_util.keystr(path)}", leaf) != x.dtype:
            raise InputError(
                f"params{jax.tree_util.keystr(path)}",
                f"{x.dtype}, as x has",
                jnp.result_type(leaf),
                "convert one of them",
            )
    jax.eval_shape(model.value_and_gradient, params, x, y)
    logits = jax.eval_shape(model.logits, params, x)
    available = 2 if len(logits.shape) == 1 else logits.shape[1]
    if jnp.ndim(y) == 1 and class_count(y) > available:
        raise InputError(
            "y",
            f"class indices in 0..{available - 1}",
            f"up to {class_count(y) - 1}",
            "choose a model with more classes: softmax_regression, or an mlp",
        )
