r"""What the derivations of linear models share: z = xW + b, of one score per example or of K.

The last step of all of them is the same: a cotangent r of z is a number times the point for each
example, (x_n, 1)ᵀ r_n, and their mean is a product of matrices.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key
from handgrad.derivations.residual import textbook
from handgrad.derivations.softmax import others
from handgrad.derivations.steps import in_terms_of, slope, still_open
from handgrad.gradients.linear import Params, affine
from handgrad.gradients.sigmoid import sigmoid
from handgrad.gradients.softmax import softmax

LAMBDA = 0.3
"""The strength of the penalty: any number would do."""

Line = Callable[[Params, Features, Array], Params]


def example(key: Key, classes: int = 2) -> tuple:
    """Parameters, features (N, 2), and soft labels; for more than two classes their indices."""
    a, b, c, d = random.split(key, 4)
    outputs, n = ((), 4) if classes == 2 else ((classes,), 3)
    params = Params(random.normal(a, (2, *outputs)), random.normal(b, outputs))
    y = random.uniform(d, (n,)) if classes == 2 else random.randint(d, (n,), 0, classes)
    return params, random.normal(c, (n, 2)), y


def example_along(key: Key, classes: int = 2) -> tuple:
    """The same with a tangent of the parameters in second place."""
    params, x, y = example(key, classes)
    return params, example(random.fold_in(key, 1), classes)[0], x, y


# --- the error in the scores: one of two classes, or one of K -------------------------------------


def prediction(z: Array) -> Array:
    """ŷ = σ(z), or softmax(z) for rows of K scores."""
    return sigmoid(z) if z.ndim == 1 else softmax(z)


def predicted(params: Params, x: Features) -> Array:
    """ŷ of each example."""
    return prediction(affine(params, x))


def labels(z: Array, y: Array) -> Array:
    """Labels in the shape of z: indices become one-hot rows."""
    indices = jnp.issubdtype(y.dtype, jnp.integer)
    return jax.nn.one_hot(y, z.shape[-1], dtype=z.dtype) if indices else y


in_prediction = in_terms_of(lambda z, y: prediction(z), labels)
"""Weights written in ŷ and y, where z and y are given."""
residual = in_prediction(lambda p, y: p - y)
"""ŷ − y, for labels that sum to 1."""


def error(z: Array, y: Array) -> Array:
    """The mean of cross-entropy over examples, as the textbook writes it."""
    p, y = prediction(z), labels(z, y)
    return jnp.sum(textbook(p, y) if z.ndim == 1 else -y * jnp.log(p)) / z.shape[0]


def split(z: Array, y: Array) -> Array:
    """(1−y) σ(z) − y σ(−z), or p_k Σ_{i≠k} y_i − y_k Σ_{i≠k} p_i."""
    if z.ndim == 1:
        return (1 - y) * sigmoid(z) - y * sigmoid(-z)
    p, y = prediction(z), labels(z, y)
    return p * others(y) - y * others(p)


# --- lines ----------------------------------------------------------------------------------------


def mean_open(weights: Array, f: Callable, params: Params) -> Params:
    """(1/N) Σ_n weights_n ∂f_n/∂(w, b), not worked out yet."""
    return still_open(weights / weights.shape[0], f, params)


def scores_open(weights: Array, params: Params, x: Features) -> Params:
    """(1/N) Σ_n weights_n ∂z_n/∂(w, b), not worked out yet."""
    return mean_open(weights, lambda q: affine(q, x), params)


def mean_push(weights: Array, x: Features) -> Params:
    """(1/N) Σ_n (x_n, 1)ᵀ weights_n."""
    each = weights[:, None] * x if weights.ndim == 1 else x[:, :, None] * weights[:, None, :]
    return Params(jnp.sum(each, axis=0) / x.shape[0], jnp.sum(weights, axis=0) / x.shape[0])


def as_matrices(weights: Array, x: Features) -> Params:
    """(1/N) (Xᵀ weights, Σ_n weights_n)."""
    return Params(x.T @ weights / x.shape[0], jnp.sum(weights, axis=0) / x.shape[0])


def error_open(params: Params, x: Features, y: Array) -> Params:
    """∂E/∂(w, b), not worked out yet."""
    return slope(lambda q: error(affine(q, x), y), params)


def times_scores(weights: Callable) -> Line:
    """The line `scores_open`, its weights a function of z and y."""
    return lambda params, x, y: scores_open(weights(affine(params, x), y), params, x)


def times_points(weights: Callable) -> Line:
    """The line `mean_push`, its weights a function of z and y."""
    return lambda params, x, y: mean_push(weights(affine(params, x), y), x)


def ridge(params: Params) -> Array:
    """½ λ ‖w‖²."""
    return LAMBDA / 2 * jnp.sum(jnp.square(params.weight))


def penalised(line: Line) -> Line:
    """A line of the data's derivative with that of ½ λ ‖w‖² beside it: + (λw, 0)."""

    def with_penalty(params: Params, x: Features, y: Array) -> Params:
        data = line(params, x, y)
        return Params(data.weight + LAMBDA * params.weight, data.bias)

    return with_penalty
