"""Wrong gradients of logistic regression. Each says what is wrong with it; the rest is right."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.gradients import logistic
from handgrad.gradients.cross_entropy import binary_residual
from handgrad.gradients.linear import Params, affine, affine_pullback
from handgrad.gradients.sigmoid import sigmoid

DECAY = 0.3


# --- logistic regression --------------------------------------------------------------------------


def binary_data(key: Key) -> tuple:
    """Parameters with a bias that is not 0, features (12, 3), labels 0 and 1."""
    a, b, c = random.split(key, 3)
    params = logistic.init(a, 3)._replace(bias=jnp.full((), 0.7))
    x = random.normal(b, (12, 3))
    return params, x, random.bernoulli(c, 0.5, (12,)).astype(x.dtype)


def scores_and_labels(key: Key) -> tuple:
    """Logits and labels 0 and 1, (8,)."""
    a, b = random.split(key)
    z = 3 * random.normal(a, (8,))
    return z, random.bernoulli(b, 0.5, (8,)).astype(z.dtype)


def through(residual: Callable[[Array, Array], Array]) -> Callable:
    """The gradient that a residual gives when everything after it is right."""

    def gradient(params: Params, x: Array, y: Array) -> Params:
        return affine_pullback(residual(affine(params, x), y) / x.shape[0], x)

    return gradient


def right(params: Params, x: Array, y: Array) -> Params:
    """The right gradient without a penalty, for others to spoil."""
    return through(binary_residual)(params, x, y)


def of_squared_error(z: Array, y: Array) -> Array:
    """(ŷ − y) ŷ(1 − ŷ): the residual of another loss."""
    return (sigmoid(z) - y) * sigmoid(z) * (1 - sigmoid(z))


def sum_of_label_and_prediction(z: Array, y: Array) -> Array:
    """−(y + ŷ) where −(y − ŷ) belongs."""
    return -(y + sigmoid(z))


def derivative_in_probability(z: Array, y: Array) -> Array:
    """(ŷ − y)/(ŷ(1 − ŷ)): stops at ŷ, without σ′."""
    return (sigmoid(z) - y) / (sigmoid(z) * (1 - sigmoid(z)))


def sigmoid_twice(z: Array, y: Array) -> Array:
    """σ(σ(z)) − y: the prediction goes through the sigmoid again."""
    return sigmoid(sigmoid(z)) - y


def thresholded(z: Array, y: Array) -> Array:
    """1[z > 0] − y: the perceptron's residual."""
    return jnp.where(z > 0, 1.0, 0.0) - y


def labels_as_signs(z: Array, y: Array) -> Array:
    """ŷ − t with t = ±1."""
    return sigmoid(z) - (2 * y - 1)


def all_pairs(params: Params, x: Array, y: Array) -> Params:
    """(N, 1) predictions minus (N,) labels is (N, N), averaged over its second axis."""
    prediction = sigmoid(affine(params, x))[:, None]
    return affine_pullback(jnp.mean(prediction - y[None, :], axis=1) / x.shape[0], x)


def student_exercise(params: Params, x: Array, y: Array) -> Params:
    """Squared error's residual, and a bias that is never updated."""
    return through(of_squared_error)(params, x, y)._replace(bias=jnp.zeros(()))


def bias_times_feature(params: Params, x: Array, y: Array) -> Params:
    """The bias is updated like the weight of the first feature."""
    g = right(params, x, y)
    return g._replace(bias=g.weight[0])


def ascent(params: Params, x: Array, y: Array) -> Params:
    """The direction to go, not the gradient."""
    return Params(*(-g for g in right(params, x, y)))


def not_averaged(params: Params, x: Array, y: Array) -> Params:
    """The sum over examples for a mean."""
    return Params(*(g * x.shape[0] for g in right(params, x, y)))


def averaged_twice(params: Params, x: Array, y: Array) -> Params:
    """1/N in the residual and again at the end."""
    return Params(*(g / x.shape[0] for g in right(params, x, y)))


def bias_averaged_twice(params: Params, x: Array, y: Array) -> Params:
    """The bias is the mean of a residual that holds 1/N already."""
    g = right(params, x, y)
    return g._replace(bias=g.bias / x.shape[0])


def averaged_over_features(params: Params, x: Array, y: Array) -> Params:
    """Divided by D in place of N."""
    return Params(*(g * x.shape[0] / x.shape[1] for g in right(params, x, y)))


def unbiased_mean(params: Params, x: Array, y: Array) -> Params:
    """Divided by N − 1."""
    return Params(*(g * x.shape[0] / (x.shape[0] - 1) for g in right(params, x, y)))


def last_example_only(params: Params, x: Array, y: Array) -> Params:
    """A loop over the examples that assigns where it should add."""
    return affine_pullback(binary_residual(affine(params, x), y)[-1:] / x.shape[0], x[-1:])


def normalised(params: Params, x: Array, y: Array) -> Params:
    """Each leaf divided by its norm; the bias left alone."""
    g = right(params, x, y)
    return g._replace(weight=g.weight / jnp.sqrt(jnp.sum(jnp.square(g.weight))))


def one_coordinate(params: Params, x: Array, y: Array) -> Params:
    """One weight off by a millionth."""
    g = right(params, x, y)
    return g._replace(weight=g.weight.at[1].mul(1 + 1e-6))


def shifted_coordinates(params: Params, x: Array, y: Array) -> Params:
    """Every weight has its neighbour's derivative."""
    g = right(params, x, y)
    return g._replace(weight=jnp.roll(g.weight, 1))


def epsilon_added(params: Params, x: Array, y: Array) -> Params:
    """1e-3 added to every weight's derivative."""
    g = right(params, x, y)
    return g._replace(weight=g.weight + 1e-3)


def decayed(on_weight: float, on_bias: float = 0.0, data: float = 1.0) -> Callable:
    """The data's share, scaled by `data`, plus multiples of the weight and of the bias."""

    def gradient(params: Params, x: Array, y: Array) -> Params:
        g = right(params, x, y)
        weight = data * g.weight + on_weight * params.weight
        return Params(weight, data * g.bias + on_bias * params.bias)

    return gradient
