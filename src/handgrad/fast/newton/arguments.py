"""What `newton.fit` accepts, and its data as the passes want them: θ and z with the classes first.

JAX wraps a class index out of range and carries a NaN to every parameter without a word, so labels
are looked at here. Features are not: reading them costs as much as a pass, and one that is not
finite makes the first gradient not finite, which is when they are.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._checks import (
    as_numpy,
    describe,
    require_axis,
    require_examples,
    require_features,
    require_floating,
    require_params,
    require_rank,
)
from handgrad.errors import InputError
from handgrad.gradients.linear import Params


def check_options(l2: Any, tol: Any, max_passes: Any, seed: Any) -> None:
    """Raise InputError unless the numbers can be used."""
    if not (_is_real(l2) and 0 <= l2 < math.inf):
        raise InputError("l2", "a finite number of 0 or more", repr(l2), "pass 1e-4, or 0 for none")
    if not (_is_real(tol) and 0 < tol < math.inf):
        raise InputError("tol", "a finite number above 0", repr(tol), "pass 1e-9, say")
    if not (_is_whole(max_passes) and max_passes > 0):
        raise InputError("max_passes", "a whole number above 0", repr(max_passes), "pass 200, say")
    if not (_is_whole(seed) and seed >= 0):
        raise InputError("seed", "a whole number of 0 or more", repr(seed), "pass 0, say")


def as_features(x: Any) -> Any:
    """x as a JAX or NumPy array (N, D). Raises InputError for other shapes and dtypes."""
    x = x if isinstance(x, jax.Array) else as_numpy("x", x)
    require_floating("x", x)
    require_rank("x", x, 2, "(N, D)")
    require_examples("x", x)
    if x.shape[1] == 0:
        raise InputError("x", "at least one feature", f"shape {x.shape}", "pass some features")
    return x


def as_labels(y: Any, examples: int, params: Params | None) -> tuple[np.ndarray, int | None]:
    """Labels for N examples and K, or None for K with one logit.

    (N,) in [0, 1] as float64 for one logit; (N,) int32 below K, or (N, K) float64 probabilities.
    Raises InputError for labels out of range or missing, and for a class with no example, whose
    bias would fall for ever.
    """
    y = as_numpy("y", y)
    whole = jnp.issubdtype(y.dtype, jnp.integer) or y.dtype == bool
    if not whole and not jnp.issubdtype(y.dtype, jnp.floating):
        raise InputError("y", "integers or floats", describe_numpy(y), "number the classes from 0")
    require_rank("y", y, 1 if whole or y.ndim < 2 else 2, "(N,), or (N, K) for probabilities")
    require_axis("y", y, 0, examples, "N, the rows of x")
    classes = _classes(y, whole, params)
    if classes is None:
        _check_range(y, y.astype(np.float64), "labels in [0, 1]")
        y = y.astype(np.float64)
        shares = np.array([np.mean(1 - y), np.mean(y)])
    elif whole:
        bad = (y < 0) | (y >= classes)
        if bad.any():
            where = int(np.argmax(bad))
            raise InputError(
                "y", f"class indices in 0..{classes - 1}", f"{y[where]} at position {where}",
                "number the classes from 0, or start at params with more classes",
            )  # fmt: skip
        y = y.astype(np.int32)
        shares = np.bincount(y, minlength=classes) / examples
    else:
        require_axis("y", y, 1, classes, "K, the classes")
        _check_range(y, y.astype(np.float64), "probabilities in [0, 1]")
        off = np.abs(y.sum(axis=1, dtype=np.float64) - 1) > float(jnp.finfo(y.dtype).eps) ** 0.5
        if off.any():
            row = int(np.argmax(off))
            raise InputError(
                "y", "rows of probabilities that sum to 1",
                f"a sum of {y[row].sum():.6g} in row {row}",
                "divide each row by its sum: y / y.sum(axis=1, keepdims=True)",
            )  # fmt: skip
        y = y.astype(np.float64)
        shares = y.mean(axis=0)
    if not shares.all():
        raise InputError(
            "y", f"examples of each of the {len(shares)} classes",
            f"none of class {int(np.argmin(shares))}",
            "leave that class out, and number the others without a gap",
        )  # fmt: skip
    return y, classes


def as_theta(params: Params | None, x: Any, classes: int | None) -> np.ndarray:
    """θ (D+1,) or (K, D+1), the bias last; zeros for None. Raises InputError for other shapes."""
    if params is None:
        return np.zeros((*(() if classes is None else (classes,)), x.shape[1] + 1))
    require_features(x, params.weight)
    weight, bias = np.asarray(params.weight, np.float64), np.asarray(params.bias, np.float64)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise InputError("params", "finite parameters", "some that are not", "pass None to start")
    return np.concatenate([weight.T, bias[..., None]], axis=-1)


def refuse_features(x: Any) -> None:
    """Raise the InputError that says why the first gradient was not finite."""
    x = np.asarray(x)
    bad = ~np.isfinite(x)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            "x", "finite features", f"{x[row, column]} at position [{row}, {column}]",
            "drop those rows, or fill the gaps with a number",
        )  # fmt: skip
    raise InputError(
        "x", "features whose squares float64 can hold", f"up to {np.abs(x).max():.3g}",
        "rescale them",
    )  # fmt: skip


def refuse_blocks() -> None:
    """Raise the InputError of rows that only their reader knows."""
    raise InputError(
        "blocks", "finite features, and labels of the classes", "a row with others",
        "mend or drop it",
    )  # fmt: skip


def as_block_labels(y: Any, classes: int | None) -> np.ndarray:
    """Labels of a block as a pass takes them: in [0, 1] for one logit, else integers below K.

    Raises InputError for others.
    """
    given: Any = np.asarray(y)
    most = 1 if classes is None else classes - 1
    fits = (given >= 0) & (given <= most)
    if not (fits if classes is None else fits & (given == np.floor(given))).all():
        refuse_blocks()
    return given.astype(np.float64 if classes is None else np.int32)


def describe_numpy(array: np.ndarray) -> str:
    """Dtype and shape, for dtypes that JAX does not have."""
    return f"{array.dtype} of shape {array.shape}"


def _classes(y: np.ndarray, whole: bool, params: Params | None) -> int | None:
    """K: what `params` has, the columns of probabilities, or one more than the largest index."""
    if params is not None:
        require_params(params)
        if np.ndim(params.weight) == 1:
            require_rank("y", y, 1, "(N,), for one logit an example")
            return None
        if y.ndim == 1 and not whole:
            raise InputError(
                "y", f"integer indices of shape {y.shape} or (N, K) probabilities", describe(y),
                "convert the labels to int32 indices",
            )  # fmt: skip
        return int(np.shape(params.weight)[1])
    if y.ndim == 2:
        return y.shape[1]
    return int(y.max()) + 1 if whole and y.max() > 1 else None


def _check_range(y: np.ndarray, values: np.ndarray, expected: str) -> None:
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        where = [int(i) for i in np.argwhere(bad)[0]]
        raise InputError(
            "y", expected, f"{y[tuple(where)]} at position {where[0] if y.ndim == 1 else where}",
            "drop the examples without a label, and rescale or renumber the others",
        )  # fmt: skip


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, float | np.floating)
