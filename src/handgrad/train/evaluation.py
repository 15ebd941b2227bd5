"""How good a trained model is: accuracy, and hand beside optax."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._checks import as_numpy, require_floating, require_rank
from handgrad._types import ArrayLike
from handgrad.data.checks import check_labels
from handgrad.gradients.model import Model
from handgrad.scale.streams import Stream


def accuracy(model: Model, params: Any, x: ArrayLike, y: ArrayLike) -> float:
    """The share of examples whose most probable class is their label's most probable class.

    Raises InputError for features and labels that do not fit.
    """
    x = x if isinstance(x, jax.Array) else as_numpy("x", x)
    require_floating("x", x)
    require_rank("x", x, 2, "(N, D)")
    check_labels(y, examples=x.shape[0])
    for leaf in jax.tree.leaves(params):
        require_floating("params", leaf)
    return float(np.mean(right(jax.jit(model.predict)(params, jnp.asarray(x)), y)))


def stream_accuracy(model: Model, params: Any, stream: Stream) -> float:
    """`accuracy` on the examples of a stream, by one pass."""
    predict = jax.jit(model.predict)
    hits = sum(int(np.sum(right(predict(params, x), y))) for x, y in stream.blocks())
    return hits / stream.examples


def right(probabilities: ArrayLike, y: ArrayLike) -> np.ndarray:
    """(N,) of bool: whether the most probable class is the label's most probable class."""
    return _classes(probabilities) == _classes(y)


def _classes(a: ArrayLike) -> np.ndarray:
    """Class indices from (N, K) probabilities, from (N,) probabilities of class 1, or as given."""
    a = np.asarray(a)
    if a.ndim == 2:
        return np.argmax(a, axis=1)
    return a if np.issubdtype(a.dtype, np.integer) else (a > 0.5).astype(int)


@dataclass(frozen=True)
class ParameterDifference:
    """The largest difference between two sets of parameters, and how large that is."""

    absolute: float
    relative: float
    """Divided by the largest parameter."""


def parameter_difference(a: Any, b: Any) -> ParameterDifference:
    """max |a − b|, also over max |a|, across all leaves of two trees of one structure."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    arrays = [(np.asarray(p, np.float64), np.asarray(q, np.float64)) for p, q in pairs]
    largest = max(float(np.max(np.abs(p))) for p, _ in arrays)
    difference = max(float(np.max(np.abs(p - q))) for p, q in arrays)
    return ParameterDifference(difference, difference / largest if largest else difference)
