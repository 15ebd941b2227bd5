r"""Logistic regression: the chain rule from the error to the weights, and one step of descent.

The error is a function of ŷ, which is a function of z, which is a function of the weights; each
factor of the product is worked out in turn, and two of them cancel. What is left is a scalar times
the point, −(y − ŷ)(x, 1). The penalty of ridge regression adds λw and leaves the bias alone.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key, Scalar
from handgrad.derivations.residual import textbook
from handgrad.derivations.steps import Derivation, Limit, definition, lines, slope, still_open
from handgrad.gradients import logistic as house
from handgrad.gradients.linear import Params, affine
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative

LAMBDA = 0.3
"""The strength of the penalty: any number would do."""
EVERY = ", for every weight and for the bias"
GIVEN = (
    "x is (N, D), y is (N,) in [0, 1]; the parameters are w, (D,), and b. z_n = w·x_n + b, "
    "ŷ_n = σ(z_n), and E is the mean over the examples, in nats. Each line holds ∂/∂w and ∂/∂b."
)


def example(key: Key) -> tuple:
    """Parameters, features (4, 2) and soft labels."""
    a, b, c, d = random.split(key, 4)
    params = Params(random.normal(a, (2,)), random.normal(b, ()))
    return params, random.normal(c, (4, 2)), random.uniform(d, (4,))


def prediction(params: Params, x: Features) -> Array:
    """ŷ = σ(w·x + b)."""
    return sigmoid(affine(params, x))


# --- lines of a linear model, of one score per example or of K ------------------------------------


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


def with_penalty(data: Params, params: Params) -> Params:
    """The derivative of the data and of ½ λ ‖w‖²."""
    return Params(data.weight + LAMBDA * params.weight, data.bias)


# --- the gradient ---------------------------------------------------------------------------------


def _times_scores(weights: Callable) -> Callable:
    """The line (1/N) Σ_n weights_n ∂z_n/∂(w, b), its weights written in ŷ and y."""
    return lambda params, x, y: scores_open(weights(prediction(params, x), y), params, x)


def _times_points(weights: Callable) -> Callable:
    """The line (1/N) Σ_n weights_n (x_n, 1), its weights written in ŷ and y."""
    return lambda params, x, y: mean_push(weights(prediction(params, x), y), x)


def _error(params: Params, x: Features, y: Array) -> Array:
    return jnp.sum(textbook(prediction(params, x), y)) / x.shape[0]


def _error_open(params: Params, x: Features, y: Array) -> Params:
    return slope(lambda q: _error(q, x, y), params)


def _quotients(p: Array, y: Array) -> Array:
    return -y / p + (1 - y) / (1 - p)


def _split(params: Params, x: Features, y: Array) -> Array:
    """(1−y) σ(z) − y σ(−z)."""
    return (1 - y) * sigmoid(affine(params, x)) - y * sigmoid(-affine(params, x))


def _as_matrices(r: Array, x: Features) -> Params:
    return Params(x.T @ r, jnp.sum(r))


def _ridge(params: Params) -> Scalar:
    return LAMBDA / 2 * jnp.sum(jnp.square(params.weight))


LOGISTIC = Derivation(
    name="logistic",
    title="The gradient of logistic regression",
    of=r"\frac{\partial E}{\partial (w, b)}",
    given=GIVEN,
    example=example,
    steps=lines(
        definition(r"E(\ldots, {}, \ldots)", "w_d", Limit(house.loss), EVERY),
        r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n"
        r" \left[ -y_n \log \hat y_n - (1-y_n) \log (1-\hat y_n) \right]",
        "the error: the mean of binary cross-entropy",
        _error_open,
        r"= \frac{1}{N} \sum_n \left[ -y_n \frac{\partial \log \hat y_n}{\partial (w, b)}"
        r" - (1-y_n) \frac{\partial \log (1-\hat y_n)}{\partial (w, b)} \right]",
        "sum rule; y and 1/N are constants",
        lambda params, x, y: still_open(
            jnp.stack([-y, -(1 - y)]) / x.shape[0],
            lambda p: jnp.log(jnp.stack([prediction(p, x), 1 - prediction(p, x)])),
            params,
        ),
        r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
        r" \frac{\partial \hat y_n}{\partial (w, b)}",
        "chain rule; log′u = 1/u, and the derivative of 1 − ŷ is that of ŷ with a minus",
        lambda params, x, y: mean_open(
            _quotients(prediction(params, x), y), lambda p: prediction(p, x), params
        ),
        r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
        r" \sigma'(z_n) \frac{\partial z_n}{\partial (w, b)}",
        "chain rule: ŷ = σ(z)",
        lambda params, x, y: _times_scores(
            lambda p, y: _quotients(p, y) * sigmoid_derivative(affine(params, x))
        )(params, x, y),
        r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
        r" \hat y_n (1-\hat y_n) \frac{\partial z_n}{\partial (w, b)}",
        "σ′ = σ(1 − σ)",
        _times_scores(lambda p, y: _quotients(p, y) * p * (1 - p)),
        r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
        r" \hat y_n (1-\hat y_n) (x_n, 1)",
        "z = w·x + b is linear: ∂z/∂w = x, ∂z/∂b = 1",
        _times_points(lambda p, y: _quotients(p, y) * p * (1 - p)),
        r"= \frac{1}{N} \sum_n \left[ -y_n (1-\hat y_n) + (1-y_n) \hat y_n \right] (x_n, 1)",
        "multiplied out: each quotient cancels against a factor of σ′",
        _times_points(lambda p, y: -y * (1 - p) + (1 - y) * p),
        r"= -\frac{1}{N} \sum_n (y_n - \hat y_n) (x_n, 1)",
        "yŷ cancels: a scalar times the point",
        _times_points(lambda p, y: -(y - p)),
        r"= \frac{1}{N} \sum_n \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]"
        r" (x_n, 1)",
        "the residual split by label: the form that keeps its digits",
        lambda params, x, y: mean_push(_split(params, x, y), x),
        r"= \left( X^{\top} r, \sum_n r_n \right), \quad"
        r" r_n = \frac{1}{N} \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]",
        "the sum over examples is a product of matrices: X and r are read once",
        lambda params, x, y: _as_matrices(_split(params, x, y) / x.shape[0], x),
    ),
)

LOGISTIC_L2 = Derivation(
    name="logistic_l2",
    title="Logistic regression with a penalty on its weights",
    of=r"\frac{\partial E}{\partial (w, b)}",
    given=GIVEN + " λ = 0.3 is a constant.",
    example=example,
    steps=lines(
        definition(r"E(\ldots, {}, \ldots)", "w_d", Limit(partial(house.loss, l2=LAMBDA)), EVERY),
        r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
        r" + \frac{\partial}{\partial (w, b)} \frac{\lambda}{2} \sum_d w_d^2",
        "sum rule: the data and the penalty stand apart",
        lambda params, x, y: jax.tree.map(
            jnp.add, _error_open(params, x, y), slope(_ridge, params)
        ),
        r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
        r" + (\lambda w, 0)",
        "power rule: ½ and 2 cancel; b is not in the penalty",
        lambda params, x, y: with_penalty(_error_open(params, x, y), params),
        r"= -\frac{1}{N} \sum_n (y_n - \hat y_n) (x_n, 1) + (\lambda w, 0)",
        "the gradient of logistic regression",
        lambda params, x, y: with_penalty(mean_push(-(y - prediction(params, x)), x), params),
        r"= \frac{1}{N} \sum_n \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]"
        r" (x_n, 1) + (\lambda w, 0)",
        "the residual split by label: the form that keeps its digits",
        lambda params, x, y: with_penalty(mean_push(_split(params, x, y), x), params),
    ),
)


# --- one step of descent --------------------------------------------------------------------------
#
# A step goes against the gradient, and the gradient of cross-entropy is −(y − ŷ)(x, 1): two minus
# signs make w + α(y − ŷ)x. With y + ŷ there, as one sometimes reads, no line would follow.


def _one_point(key: Key) -> tuple:
    a, b, c, d, e = random.split(key, 5)
    params = Params(random.normal(a, (2,)), random.normal(b, ()))
    return params, random.uniform(c, (), minval=0.1), random.normal(d, (2,)), random.uniform(e, ())


def _stepped(params: Params, rate: Scalar, x: Array, y: Scalar) -> Scalar:
    """½‖(w, b)‖² − α E: its derivative is (w, b) − α ∂E/∂(w, b), which is the step."""
    half_square = sum(0.5 * jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
    return half_square - rate * house.loss(params, x[None, :], y[None])


def _prediction(params: Params, x: Array) -> Scalar:
    return sigmoid(jnp.sum(params.weight * x) + params.bias)


def _moved(params: Params, length: Scalar, x: Array) -> Params:
    """(w, b) + length · (x, 1)."""
    return Params(params.weight + length * x, params.bias + length)


DESCENT = Derivation(
    name="descent_step",
    title="One step of gradient descent",
    of=r"(w', b')",
    given=(
        "x is one point, (D,), y its label in [0, 1], α the learning rate; the parameters are w, "
        "(D,), and b, ŷ = σ(w·x + b), and E is the cross-entropy of this point, in nats."
    ),
    example=_one_point,
    steps=lines(
        r"= (w, b) - \alpha \lim_{h \to 0}"
        r" \frac{E(\ldots, w_d+h, \ldots) - E(\ldots, w_d-h, \ldots)}{2h}",
        "definition of the step, against the gradient; definition of the partial derivative",
        Limit(_stepped),
        r"= (w, b) - \alpha \left[ -(y - \hat y) (x, 1) \right]",
        "the gradient of logistic regression, for one point",
        lambda params, rate, x, y: _moved(params, -rate * -(y - _prediction(params, x)), x),
        r"= (w, b) + \alpha (y - \hat y) (x, 1)",
        "two minus signs: towards the point if its label is above the prediction",
        lambda params, rate, x, y: _moved(params, rate * (y - _prediction(params, x)), x),
        r"= (w, b) - \alpha (\hat y - y) (x, 1)",
        "the same with the residual ŷ − y, as the algorithm is often written",
        lambda params, rate, x, y: _moved(params, -rate * (_prediction(params, x) - y), x),
        r"= \left( w - \alpha (\hat y - y) x, \; b - \alpha (\hat y - y) \right)",
        "written out: the bias moves as a weight whose feature is 1, and no x is in it",
        lambda params, rate, x, y: Params(
            params.weight - rate * (_prediction(params, x) - y) * x,
            params.bias - rate * (_prediction(params, x) - y),
        ),
    ),
)
