r"""Logistic regression: the chain rule from the error to the weights, a step, and the curvature.

The error is a function of ŷ, which is a function of z, which is a function of the weights; each
factor of the product is worked out in turn, and two of them cancel. What is left is a scalar times
the point, −(y − ŷ)(x, 1). The penalty of ridge regression adds λw and leaves the bias alone.

∇E is a sum over points of the residual times the point; the label is a constant and drops out, so
what is left to differentiate for the Hessian is ŷ. Along any direction the second derivative is a
mean of squares with weights ŷ(1 − ŷ) above 0: there is one valley.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key, Scalar
from handgrad.derivations.linear_models import (
    LAMBDA,
    as_matrices,
    error_open,
    example,
    example_along,
    in_prediction,
    mean_open,
    mean_push,
    penalised,
    predicted,
    ridge,
    scores_open,
    split,
    times_points,
    times_scores,
)
from handgrad.derivations.scalars import along
from handgrad.derivations.steps import Limit, definition, derive, slope, still_open
from handgrad.gradients import logistic as house
from handgrad.gradients.linear import Params, affine
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative

_EVERY = ", for every weight and for the bias"
_SYMBOLS = (
    "x is (N, D), y is (N,) in [0, 1]; the parameters are w, (D,), and b. z_n = w·x_n + b, "
    "ŷ_n = σ(z_n), and E is the mean over the examples, in nats."
)
_GIVEN = _SYMBOLS + " Each line holds ∂/∂w and ∂/∂b."


@in_prediction
def _quotients(p: Array, y: Array) -> Array:
    return -y / p + (1 - y) / (1 - p)


def _variance(z: Array) -> Array:
    """ŷ (1 − ŷ)."""
    return sigmoid(z) * (1 - sigmoid(z))


LOGISTIC = derive(
    "logistic",
    "The gradient of logistic regression",
    r"\frac{\partial E}{\partial (w, b)}",
    definition(r"E(\ldots, {}, \ldots)", "w_d", house.loss, _EVERY),
    r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n"
    r" \left[ -y_n \log \hat y_n - (1-y_n) \log (1-\hat y_n) \right]",
    "the error: the mean of binary cross-entropy",
    error_open,
    r"= \frac{1}{N} \sum_n \left[ -y_n \frac{\partial \log \hat y_n}{\partial (w, b)}"
    r" - (1-y_n) \frac{\partial \log (1-\hat y_n)}{\partial (w, b)} \right]",
    "sum rule; y and 1/N are constants",
    lambda params, x, y: still_open(
        jnp.stack([-y, -(1 - y)]) / x.shape[0],
        lambda q: jnp.log(jnp.stack([predicted(q, x), 1 - predicted(q, x)])),
        params,
    ),
    r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
    r" \frac{\partial \hat y_n}{\partial (w, b)}",
    "chain rule; log′u = 1/u, and the derivative of 1 − ŷ is that of ŷ with a minus",
    lambda params, x, y: mean_open(
        _quotients(affine(params, x), y), lambda q: predicted(q, x), params
    ),
    r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
    r" \sigma'(z_n) \frac{\partial z_n}{\partial (w, b)}",
    "chain rule: ŷ = σ(z)",
    times_scores(lambda z, y: _quotients(z, y) * sigmoid_derivative(z)),
    r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
    r" \hat y_n (1-\hat y_n) \frac{\partial z_n}{\partial (w, b)}",
    "σ′ = σ(1 − σ)",
    times_scores(lambda z, y: _quotients(z, y) * _variance(z)),
    r"= \frac{1}{N} \sum_n \left[ -\frac{y_n}{\hat y_n} + \frac{1-y_n}{1-\hat y_n} \right]"
    r" \hat y_n (1-\hat y_n) (x_n, 1)",
    "z = w·x + b is linear: ∂z/∂w = x, ∂z/∂b = 1",
    times_points(lambda z, y: _quotients(z, y) * _variance(z)),
    r"= \frac{1}{N} \sum_n \left[ -y_n (1-\hat y_n) + (1-y_n) \hat y_n \right] (x_n, 1)",
    "multiplied out: each quotient cancels against a factor of σ′",
    times_points(in_prediction(lambda p, y: -y * (1 - p) + (1 - y) * p)),
    r"= -\frac{1}{N} \sum_n (y_n - \hat y_n) (x_n, 1)",
    "yŷ cancels: a scalar times the point",
    times_points(in_prediction(lambda p, y: -(y - p))),
    r"= \frac{1}{N} \sum_n \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]"
    r" (x_n, 1)",
    "the residual split by label: the form that keeps its digits",
    times_points(split),
    r"= \left( X^{\top} r, \sum_n r_n \right), \quad"
    r" r_n = \frac{1}{N} \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]",
    "the sum over examples is a product of matrices: X and r are read once",
    lambda params, x, y: as_matrices(split(affine(params, x), y), x),
    given=_GIVEN,
    example=example,
)

LOGISTIC_L2 = derive(
    "logistic_l2",
    "Logistic regression with a penalty on its weights",
    r"\frac{\partial E}{\partial (w, b)}",
    definition(r"E(\ldots, {}, \ldots)", "w_d", partial(house.loss, l2=LAMBDA), _EVERY),
    r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
    r" + \frac{\partial}{\partial (w, b)} \frac{\lambda}{2} \sum_d w_d^2",
    "sum rule: the data and the penalty stand apart",
    lambda params, x, y: jax.tree.map(jnp.add, error_open(params, x, y), slope(ridge, params)),
    r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
    r" + (\lambda w, 0)",
    "power rule: ½ and 2 cancel; b is not in the penalty",
    penalised(error_open),
    r"= -\frac{1}{N} \sum_n (y_n - \hat y_n) (x_n, 1) + (\lambda w, 0)",
    "the gradient of logistic regression",
    penalised(times_points(in_prediction(lambda p, y: -(y - p)))),
    r"= \frac{1}{N} \sum_n \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]"
    r" (x_n, 1) + (\lambda w, 0)",
    "the residual split by label: the form that keeps its digits",
    penalised(times_points(split)),
    given=_GIVEN + " λ = 0.3 is a constant.",
    example=example,
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


def _of_point(params: Params, x: Array) -> Scalar:
    return sigmoid(jnp.sum(params.weight * x) + params.bias)


def _pushed(params: Params, length: Scalar, x: Array) -> Params:
    """(w, b) + length · (x, 1)."""
    return Params(params.weight + length * x, params.bias + length)


DESCENT = derive(
    "descent_step",
    "One step of gradient descent",
    r"(w', b')",
    r"= (w, b) - \alpha \lim_{h \to 0}"
    r" \frac{E(\ldots, w_d+h, \ldots) - E(\ldots, w_d-h, \ldots)}{2h}",
    "definition of the step, against the gradient; definition of the partial derivative",
    Limit(_stepped),
    r"= (w, b) - \alpha \left[ -(y - \hat y) (x, 1) \right]",
    "the gradient of logistic regression, for one point",
    lambda params, rate, x, y: _pushed(params, -rate * -(y - _of_point(params, x)), x),
    r"= (w, b) + \alpha (y - \hat y) (x, 1)",
    "two minus signs: towards the point if its label is above the prediction",
    lambda params, rate, x, y: _pushed(params, rate * (y - _of_point(params, x)), x),
    r"= (w, b) - \alpha (\hat y - y) (x, 1)",
    "the same with the residual ŷ − y, as the algorithm is often written",
    lambda params, rate, x, y: _pushed(params, -rate * (_of_point(params, x) - y), x),
    r"= \left( w - \alpha (\hat y - y) x, \; b - \alpha (\hat y - y) \right)",
    "written out: the bias moves as a weight whose feature is 1, and no x is in it",
    lambda params, rate, x, y: Params(
        params.weight - rate * (_of_point(params, x) - y) * x,
        params.bias - rate * (_of_point(params, x) - y),
    ),
    given="x is one point, (D,), y its label in [0, 1], α the learning rate; the parameters are w, "
    "(D,), and b, ŷ = σ(w·x + b), and E is the cross-entropy of this point, in nats.",
    example=_one_point,
)


# --- the Hessian ----------------------------------------------------------------------------------


def _points(x: Features) -> Params:
    """(x_n, 1) for each n."""
    return Params(x, jnp.ones(x.shape[0], x.dtype))


def _mean_outer(weights: Array, left: Params, right: Params) -> Params:
    """(1/N) Σ_n weights_n left_n right_nᵀ, as blocks in the structure of jax.hessian."""
    count = weights.shape[0]
    weighted = Params(weights[:, None] * left.weight / count, weights * left.bias / count)
    ww, wb = weighted.weight.T @ right.weight, weighted.weight.T @ right.bias
    bw, bb = right.weight.T @ weighted.bias, jnp.sum(weighted.bias * right.bias)
    return Params(weight=Params(ww, wb), bias=Params(bw, bb))  # type: ignore[arg-type]


def _stable_variance(z: Array) -> Array:
    """σ(z) σ(−z)."""
    return sigmoid(z) * sigmoid(-z)


def _blocks(s: Array, x: Features) -> Params:
    return Params(
        weight=Params(x.T @ jnp.diag(s) @ x, x.T @ s),  # type: ignore[arg-type]
        bias=Params(s @ x, jnp.sum(s)),  # type: ignore[arg-type]
    )


HESSIAN = derive(
    "logistic_hessian",
    "The Hessian of logistic regression",
    r"\frac{\partial^2 E}{\partial (w, b)^2}",
    r"= \lim_{h \to 0} \frac{\nabla E(\ldots, w_d+h, \ldots)"
    r" - \nabla E(\ldots, w_d-h, \ldots)}{2h}",
    "definition: the derivative of the gradient",
    Limit(house.gradient),
    r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n (\hat y_n - y_n) (x_n, 1)",
    "the gradient of logistic regression",
    lambda params, x, y: jax.jacfwd(lambda p: mean_push(predicted(p, x) - y, x))(params),
    r"= \frac{1}{N} \sum_n (x_n, 1)"
    r" \left( \frac{\partial \hat y_n}{\partial (w, b)} \right)^{\top}",
    "x and y are constants: the labels drop out",
    lambda params, x, y: _mean_outer(
        jnp.ones_like(y), _points(x), jax.jacfwd(predicted)(params, x)
    ),
    r"= \frac{1}{N} \sum_n \sigma'(z_n) (x_n, 1)"
    r" \left( \frac{\partial z_n}{\partial (w, b)} \right)^{\top}",
    "chain rule: ŷ = σ(z)",
    lambda params, x, y: _mean_outer(
        sigmoid_derivative(affine(params, x)), _points(x), jax.jacfwd(affine)(params, x)
    ),
    r"= \frac{1}{N} \sum_n \hat y_n (1-\hat y_n) (x_n, 1)"
    r" \left( \frac{\partial z_n}{\partial (w, b)} \right)^{\top}",
    "σ′ = σ(1 − σ)",
    lambda params, x, y: _mean_outer(
        _variance(affine(params, x)), _points(x), jax.jacfwd(affine)(params, x)
    ),
    r"= \frac{1}{N} \sum_n \hat y_n (1-\hat y_n) (x_n, 1) (x_n, 1)^{\top}",
    "z = w·x + b is linear: ∂z/∂w = x, ∂z/∂b = 1",
    lambda params, x, y: _mean_outer(_variance(affine(params, x)), _points(x), _points(x)),
    r"= \frac{1}{N} \begin{pmatrix} X^{\top} S X & X^{\top} s \\ s^{\top} X & \sum_n s_n"
    r" \end{pmatrix}, \quad s_n = \sigma(z_n) \, \sigma(-z_n), \quad S = \mathrm{diag}(s)",
    "the sum as products of matrices; 1 − σ(z) = σ(−z)",
    lambda params, x, y: _blocks(_stable_variance(affine(params, x)) / x.shape[0], x),
    given=_SYMBOLS + " Each line holds the four blocks in w and b.",
    example=example,
)

HVP = derive(
    "logistic_hvp",
    "The Hessian of logistic regression times a vector",
    r"\frac{\partial}{\partial (w, b)} \langle \nabla E, v \rangle",
    definition(
        r"\langle \nabla E(\ldots, {}, \ldots), v \rangle", "w_d", along(house.gradient), _EVERY
    ),
    r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n (\hat y_n - y_n) u_n,"
    r" \quad u_n = \langle (x_n, 1), v \rangle = v_w \cdot x_n + v_b",
    "the gradient of logistic regression; the inner product goes into the sum",
    lambda params, v, x, y: slope(
        lambda q: jnp.sum((predicted(q, x) - y) * affine(v, x)) / x.shape[0], params
    ),
    r"= \frac{1}{N} \sum_n u_n \frac{\partial \hat y_n}{\partial (w, b)}",
    "x, y and v are constants: the labels drop out",
    lambda params, v, x, y: mean_open(affine(v, x), lambda q: predicted(q, x), params),
    r"= \frac{1}{N} \sum_n u_n \, \hat y_n (1-\hat y_n)"
    r" \frac{\partial z_n}{\partial (w, b)}",
    "chain rule; σ′ = σ(1 − σ)",
    lambda params, v, x, y: scores_open(affine(v, x) * _variance(affine(params, x)), params, x),
    r"= \frac{1}{N} \sum_n u_n \, \hat y_n (1-\hat y_n) (x_n, 1)",
    "z = w·x + b is linear: the points again, weighted by how unsure each is",
    lambda params, v, x, y: mean_push(affine(v, x) * _variance(affine(params, x)), x),
    r"= \frac{1}{N} \left( X^{\top} (s \circ u), \sum_n s_n u_n \right),"
    r" \quad s_n = \sigma(z_n) \, \sigma(-z_n)",
    "the sum as products of matrices: no Hessian is formed; 1 − σ(z) = σ(−z)",
    lambda params, v, x, y: as_matrices(_stable_variance(affine(params, x)) * affine(v, x), x),
    given=_GIVEN + " v = (v_w, v_b) is a constant vector with the structure of (w, b).",
    example=example_along,
)


def _moved(t: Array, params: Params, v: Params) -> Params:
    return Params(params.weight + t * v.weight, params.bias + t * v.bias)


def _slope_along(t: Array, params: Params, v: Params, x: Features, y: Array) -> Array:
    return along(house.gradient)(_moved(t, params, v), v, x, y)


def _inner(a: Params, b: Params) -> Array:
    return jnp.sum(a.weight * b.weight) + jnp.sum(a.bias * b.bias)


CONVEXITY = derive(
    "logistic_convexity",
    "Logistic regression is convex",
    r"\frac{d^2}{dt^2} E(w + t v_w, b + t v_b)",
    r"= \lim_{h \to 0} \frac{E'(t+h) - E'(t-h)}{2h}",
    "definition: the derivative of the slope ⟨∇E, v⟩ along the line",
    Limit(_slope_along),
    r"= \langle \nabla^2 E \, v, v \rangle",
    "chain rule along a line",
    lambda t, params, v, x, y: _inner(
        slope(lambda p: along(house.gradient)(p, v, x, y), _moved(t, params, v)), v
    ),
    r"= \frac{1}{N} \sum_n u_n \, \hat y_n (1-\hat y_n) \langle (x_n, 1), v \rangle,"
    r" \quad u_n = \langle (x_n, 1), v \rangle",
    "the Hessian times a vector; the inner product goes into the sum",
    lambda t, params, v, x, y: (
        jnp.sum(
            affine(v, x)
            * _variance(affine(_moved(t, params, v), x))
            * (x @ v.weight + jnp.broadcast_to(v.bias, y.shape))
        )
        / x.shape[0]
    ),
    r"= \frac{1}{N} \sum_n \hat y_n (1-\hat y_n) \, u_n^2",
    "a mean of squares with weights above 0: never negative, so E is convex",
    lambda t, params, v, x, y: (
        jnp.sum(_variance(affine(_moved(t, params, v), x)) * jnp.square(affine(v, x))) / x.shape[0]
    ),
    given=_SYMBOLS + " v = (v_w, v_b) is any direction; E along it, at t.",
    example=lambda key: (jnp.zeros(()), *example_along(key)),
)
