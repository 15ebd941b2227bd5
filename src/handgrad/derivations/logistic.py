r"""Logistic regression: the chain rule from the error to the weights, −(y − ŷ)(x, 1).

The error is a function of ŷ, which is a function of z, which is a function of the weights; each
factor of the product is worked out in turn, and two of them cancel. What is left is a scalar times
the point. The penalty of ridge regression adds λw and leaves the bias alone.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.residual import textbook
from handgrad.derivations.steps import Derivation, Step, still_open
from handgrad.gradients import logistic as house
from handgrad.gradients.linear import Params, affine
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative

SOURCE = "Neural networks"
LAMBDA = 0.3
"""The strength of the penalty: any number would do."""
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


def mean_open(weights: Array, f: Callable, params: Params) -> Params:
    """(1/N) Σ_n weights_n ∂f_n/∂(w, b), not worked out yet."""
    return still_open(weights / weights.shape[0], f, params)


def mean_push(weights: Array, x: Features) -> Params:
    """(1/N) Σ_n weights_n (x_n, 1)."""
    return Params(jnp.sum(weights[:, None] * x, axis=0) / x.shape[0], jnp.sum(weights) / x.shape[0])


def _plain_error(params: Params, x: Features, y: Array) -> Array:
    return jnp.sum(textbook(prediction(params, x), y)) / x.shape[0]


def _error_open(params: Params, x: Features, y: Array) -> Params:
    one = jnp.ones((), x.dtype)
    return still_open(one, lambda p: _plain_error(p, x, y), params)


def _quotients(p: Array, y: Array) -> Array:
    return -y / p + (1 - y) / (1 - p)


LOGISTIC = Derivation(
    name="logistic",
    title="The gradient of logistic regression",
    of=r"\frac{\partial E}{\partial (w, b)}",
    given=GIVEN,
    example=example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{E(\ldots, w_d+h, \ldots) - E(\ldots, w_d-h, \ldots)}{2h}",
            "definition of the partial derivative, for every weight and for the bias",
            Limit(house.loss),
        ),
        Step(
            r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n"
            r" \left[ -y_n \log \hat y_n - (1-y_n) \log (1-\hat y_n) \right]",
            "the error: the mean of binary cross-entropy",
            _error_open,
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ -y_n \frac{\partial \log \hat y_n}{\partial (w, b)}"
            r" - (1-y_n) \frac{\partial \log (1-\hat y_n)}{\partial (w, b)} \right]",
            "sum rule; y and 1/N are constants",
            lambda params, x, y: still_open(
                jnp.stack([-y, -(1 - y)]) / x.shape[0],
                lambda p: jnp.log(jnp.stack([prediction(p, x), 1 - prediction(p, x)])),
                params,
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
            r" \frac{\partial \hat y_n}{\partial (w, b)}",
            "chain rule; log′u = 1/u, and the derivative of 1 − ŷ is that of ŷ with a minus",
            lambda params, x, y: mean_open(
                _quotients(prediction(params, x), y), lambda p: prediction(p, x), params
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
            r" \sigma'(z_n) \frac{\partial z_n}{\partial (w, b)}",
            "chain rule: ŷ = σ(z)",
            lambda params, x, y: mean_open(
                _quotients(prediction(params, x), y) * sigmoid_derivative(affine(params, x)),
                lambda p: affine(p, x),
                params,
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
            r" \hat y_n (1-\hat y_n) \frac{\partial z_n}{\partial (w, b)}",
            "σ′ = σ(1 − σ)",
            lambda params, x, y: mean_open(
                _quotients(prediction(params, x), y)
                * prediction(params, x)
                * (1 - prediction(params, x)),
                lambda p: affine(p, x),
                params,
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
            r" \hat y_n (1-\hat y_n) (x_n, 1)",
            "z = w·x + b is linear: ∂z/∂w = x, ∂z/∂b = 1",
            lambda params, x, y: mean_push(
                _quotients(prediction(params, x), y)
                * prediction(params, x)
                * (1 - prediction(params, x)),
                x,
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ -y_n (1-\hat y_n) + (1-y_n) \hat y_n \right] (x_n, 1)",
            "multiplied out: each quotient cancels against a factor of σ′",
            lambda params, x, y: mean_push(
                -y * (1 - prediction(params, x)) + (1 - y) * prediction(params, x), x
            ),
        ),
        Step(
            r"= -\frac{1}{N} \sum_n (y_n - \hat y_n) (x_n, 1)",
            "yŷ cancels: a scalar times the point",
            lambda params, x, y: mean_push(-(y - prediction(params, x)), x),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]"
            r" (x_n, 1)",
            "the residual split by label: the form that keeps its digits",
            lambda params, x, y: mean_push(
                (1 - y) * sigmoid(affine(params, x)) - y * sigmoid(-affine(params, x)), x
            ),
        ),
        Step(
            r"= \left( X^{\top} r, \sum_n r_n \right), \quad"
            r" r_n = \frac{1}{N} \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]",
            "the sum over examples is a product of matrices: X and r are read once",
            lambda params, x, y: _as_matrices(
                ((1 - y) * sigmoid(affine(params, x)) - y * sigmoid(-affine(params, x)))
                / x.shape[0],
                x,
            ),
        ),
    ),
    source=SOURCE,
)


def _as_matrices(r: Array, x: Features) -> Params:
    return Params(x.T @ r, jnp.sum(r))


def _with_penalty(data: Params, params: Params) -> Params:
    return Params(data.weight + LAMBDA * params.weight, data.bias)


LOGISTIC_L2 = Derivation(
    name="logistic_l2",
    title="Logistic regression with a penalty on its weights",
    of=r"\frac{\partial E}{\partial (w, b)}",
    given=GIVEN + " λ = 0.3 is a constant.",
    example=example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{E(\ldots, w_d+h, \ldots) - E(\ldots, w_d-h, \ldots)}{2h}",
            "definition of the partial derivative, for every weight and for the bias",
            Limit(partial(house.loss, l2=LAMBDA)),
        ),
        Step(
            r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
            r" + \frac{\partial}{\partial (w, b)} \frac{\lambda}{2} \sum_d w_d^2",
            "sum rule: the data and the penalty stand apart",
            lambda params, x, y: Params(
                *(
                    data + ridge
                    for data, ridge in zip(
                        _error_open(params, x, y),
                        still_open(
                            jnp.ones((), x.dtype),
                            lambda p: LAMBDA / 2 * jnp.sum(jnp.square(p.weight)),
                            params,
                        ),
                        strict=True,
                    )
                )
            ),
        ),
        Step(
            r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
            r" + (\lambda w, 0)",
            "power rule: ½ and 2 cancel; b is not in the penalty",
            lambda params, x, y: _with_penalty(_error_open(params, x, y), params),
        ),
        Step(
            r"= -\frac{1}{N} \sum_n (y_n - \hat y_n) (x_n, 1) + (\lambda w, 0)",
            "the gradient of logistic regression",
            lambda params, x, y: _with_penalty(mean_push(-(y - prediction(params, x)), x), params),
        ),
        Step(
            r"= \frac{1}{N} \sum_n \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]"
            r" (x_n, 1) + (\lambda w, 0)",
            "the residual split by label: the form that keeps its digits",
            lambda params, x, y: _with_penalty(
                mean_push(
                    (1 - y) * sigmoid(affine(params, x)) - y * sigmoid(-affine(params, x)), x
                ),
                params,
            ),
        ),
    ),
    source=SOURCE,
)
