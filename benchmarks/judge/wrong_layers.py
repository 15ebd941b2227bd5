"""Wrong gradients of softmax regression and of hidden layers. Each says what is wrong with it."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import random

from benchmarks.judge.wrong_binary import through
from handgrad._types import Array, Key
from handgrad.gradients import mlp, softmax_regression
from handgrad.gradients.cross_entropy import binary_residual, categorical, categorical_residual
from handgrad.gradients.linear import Params, affine, affine_pullback, matmul
from handgrad.gradients.softmax import softmax

SMOOTHING = 0.1
TEMPERATURE = 2.5


# --- softmax regression ---------------------------------------------------------------------------


def class_data(key: Key) -> tuple:
    """Parameters (4, 4) and (4,), features (9, 4), integer labels."""
    a, b, c, d = random.split(key, 4)
    params = softmax_regression.init(a, 4, 4)._replace(bias=random.normal(d, (4,)))
    return params, random.normal(b, (9, 4)), random.randint(c, (9,), 0, 4)


def class_right(params: Params, x: Array, y: Array) -> Params:
    """The right gradient, for others to spoil."""
    return through(categorical_residual)(params, x, y)


def weight_transposed(params: Params, x: Array, y: Array) -> Params:
    """rᵀx in place of xᵀr, which a square weight does not notice."""
    g = class_right(params, x, y)
    return g._replace(weight=g.weight.T)


def bias_over_everything(params: Params, x: Array, y: Array) -> Params:
    """One sum over examples and classes for all biases: 0, since residuals sum to 0."""
    g = class_right(params, x, y)
    return g._replace(bias=jnp.broadcast_to(jnp.sum(g.bias), g.bias.shape))


def wrong_softmax_axis(z: Array, y: Array) -> Array:
    """Probabilities normalised over the examples."""
    return softmax(z.T).T - one_hot(z, y)


def softmax_twice(z: Array, y: Array) -> Array:
    """Probabilities taken for logits."""
    return softmax(softmax(z)) - one_hot(z, y)


def labels_from_one(z: Array, y: Array) -> Array:
    """Labels counted from 1 in the gradient."""
    return softmax(z) - one_hot(z, (y + 1) % z.shape[1])


def label_forgotten(z: Array, y: Array) -> Array:
    """p without −1 at the true class."""
    return softmax(z)


def one_hot(z: Array, y: Array) -> Array:
    """Rows of the identity."""
    return (y[:, None] == jnp.arange(z.shape[1], dtype=y.dtype)[None, :]).astype(z.dtype)


def smoothed_loss(params: Params, x: Array, y: Array) -> Array:
    """Cross-entropy against labels smoothed by ε."""
    z = affine(params, x)
    labels = (1 - SMOOTHING) * one_hot(z, y) + SMOOTHING / z.shape[1]
    return jnp.mean(categorical(z, labels))


def tempered_loss(params: Params, x: Array, y: Array) -> Array:
    """Cross-entropy of logits divided by a temperature."""
    return jnp.mean(categorical(affine(params, x) / TEMPERATURE, y))


def smoothing_forgotten(z: Array, y: Array) -> Array:
    """p − y with the labels as they were before smoothing."""
    return softmax(z) - one_hot(z, y)


def tempered_residual(z: Array, y: Array) -> Array:
    """p − y at the tempered logits, without the factor 1/T."""
    return softmax(z / TEMPERATURE) - one_hot(z, y)


# --- a hidden layer -------------------------------------------------------------------------------


def scores_and_classes(key: Key) -> tuple:
    """Logits (6, 4) and integer labels."""
    a, b = random.split(key)
    return 2 * random.normal(a, (6, 4)), random.randint(b, (6,), 0, 4)


def as_it_is(weight: Array) -> Array:
    """The transpose forgotten."""
    return weight


def deep_data(key: Key) -> tuple:
    """Two hidden layers of four units on four features: every hidden weight is square."""
    a, b, c = random.split(key, 3)
    params = mlp.init(a, 4, hidden=(4, 4))
    x = random.normal(b, (12, 4))
    return params, x, random.bernoulli(c, 0.5, (12,)).astype(x.dtype)


def backwards(
    derivative: Callable[[Array, Array], Array],
    weight: Callable[[Array], Array] = jnp.transpose,
    step: float = 0.0,
) -> Callable:
    """Backpropagation with φ′(z, a), with the matrix on the way back, or with updated weights."""

    def gradient(params: mlp.Params, x: Array, y: Array) -> mlp.Params:
        z, residuals = mlp.forward(params, x)
        r = binary_residual(z, y) / z.shape[0]
        layers: list[Params] = []
        for depth in (2, 1, 0):
            g = affine_pullback(r, residuals.inputs[depth])
            layers.insert(0, g)
            if depth:
                w = params.layers[depth].weight - step * g.weight
                back = r[:, None] * w[None, :] if w.ndim == 1 else matmul(r, weight(w))
                r = back * derivative(residuals.hidden[depth - 1], residuals.inputs[depth])
        return mlp.Params(tuple(layers))

    return gradient


def right_slope(z: Array, a: Array) -> Array:
    """tanh′ = 1 − a²."""
    return 1 - a * a


def no_slope(z: Array, a: Array) -> Array:
    """φ′ forgotten."""
    return jnp.ones_like(a)


def slope_of_logit(z: Array, a: Array) -> Array:
    """1 − z²: the formula for the activation, given the logit."""
    return 1 - z * z


def slope_at_activation(z: Array, a: Array) -> Array:
    """tanh′ of an activation."""
    return 1 - jnp.square(jnp.tanh(a))


def layers_exchanged(params: mlp.Params, x: Array, y: Array) -> mlp.Params:
    """The two hidden layers' gradients in the wrong order."""
    first, second, last = mlp.gradient(params, x, y).layers
    return mlp.Params((second, first, last))


def first_layer_frozen(params: mlp.Params, x: Array, y: Array) -> mlp.Params:
    """The first layer gets no gradient."""
    first, *rest = mlp.gradient(params, x, y).layers
    return mlp.Params((Params(*(jnp.zeros_like(g) for g in first)), *rest))
