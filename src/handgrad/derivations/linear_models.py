r"""Linear models, z = xW + b of one score per example or of K: gradients, a step, the curvature.

The last step of all of them is the same: a cotangent r of z is a number times the point for each
example, (x_n, 1)ᵀ r_n, and their mean is a product of matrices.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key, Scalar
from handgrad.derivations.binary import textbook
from handgrad.derivations.softmax import others, rows_sum, through_jacobian
from handgrad.derivations.steps import (
    Limit,
    along,
    definition,
    derive,
    in_terms_of,
    slope,
    still_open,
)
from handgrad.gradients import logistic, perceptron, softmax_regression
from handgrad.gradients.linear import Params, affine
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative, step
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


# --- logistic regression --------------------------------------------------------------------------
#
# The error is a function of ŷ, which is a function of z, which is a function of the weights; each
# factor of the product is worked out in turn, and two of them cancel. What is left is a scalar
# times the point, −(y − ŷ)(x, 1). The penalty of ridge regression adds λw and leaves the bias.

_EVERY = ", for every weight and for the bias"
_SYMBOLS = (
    "x is (N, D), y is (N,) in [0, 1]; the parameters are w, (D,), and b. z_n = w·x_n + b, "
    "ŷ_n = σ(z_n), and E is the mean over the examples, in nats."
)
_BINARY = _SYMBOLS + " Each line holds ∂/∂w and ∂/∂b."
of_two_classes = partial(derive, given=_BINARY, example=example)


@in_prediction
def _quotients(p: Array, y: Array) -> Array:
    return -y / p + (1 - y) / (1 - p)


def _variance(z: Array) -> Array:
    """ŷ (1 − ŷ)."""
    return sigmoid(z) * (1 - sigmoid(z))


LOGISTIC = of_two_classes(
    "logistic",
    "The gradient of logistic regression",
    r"\frac{\partial E}{\partial (w, b)}",
    definition(r"E(\ldots, {}, \ldots)", "w_d", logistic.loss, _EVERY),
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
    r"= \frac{1}{N} \sum_n \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right] (x_n, 1)",
    "the residual split by label: the form that keeps its digits",
    times_points(split),
    r"= \left( X^{\top} r, \sum_n r_n \right), \quad"
    r" r_n = \frac{1}{N} \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]",
    "the sum over examples is a product of matrices: X and r are read once",
    lambda params, x, y: as_matrices(split(affine(params, x), y), x),
)

LOGISTIC_L2 = of_two_classes(
    "logistic_l2",
    "Logistic regression with a penalty on its weights",
    r"\frac{\partial E}{\partial (w, b)}",
    definition(r"E(\ldots, {}, \ldots)", "w_d", partial(logistic.loss, l2=LAMBDA), _EVERY),
    r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
    r" + \frac{\partial}{\partial (w, b)} \frac{\lambda}{2} \sum_d w_d^2",
    "sum rule: the data and the penalty stand apart",
    lambda params, x, y: jax.tree.map(jnp.add, error_open(params, x, y), slope(ridge, params)),
    r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \ell(z_n, y_n) + (\lambda w, 0)",
    "power rule: ½ and 2 cancel; b is not in the penalty",
    penalised(error_open),
    r"= -\frac{1}{N} \sum_n (y_n - \hat y_n) (x_n, 1) + (\lambda w, 0)",
    "the gradient of logistic regression",
    penalised(times_points(in_prediction(lambda p, y: -(y - p)))),
    r"= \frac{1}{N} \sum_n \left[ (1-y_n) \, \sigma(z_n) - y_n \, \sigma(-z_n) \right]"
    r" (x_n, 1) + (\lambda w, 0)",
    "the residual split by label: the form that keeps its digits",
    penalised(times_points(split)),
    given=_BINARY + " λ = 0.3 is a constant.",
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
    return half_square - rate * logistic.loss(params, x[None, :], y[None])


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
#
# ∇E is a sum over points of the residual times the point; the label is a constant and drops out, so
# what is left to differentiate is ŷ. Along any direction the second derivative is a mean of squares
# with weights ŷ(1 − ŷ) above 0: there is one valley.


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


HESSIAN = of_two_classes(
    "logistic_hessian",
    "The Hessian of logistic regression",
    r"\frac{\partial^2 E}{\partial (w, b)^2}",
    r"= \lim_{h \to 0} \frac{\nabla E(\ldots, w_d+h, \ldots)"
    r" - \nabla E(\ldots, w_d-h, \ldots)}{2h}",
    "definition: the derivative of the gradient",
    Limit(logistic.gradient),
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
)

HVP = derive(
    "logistic_hvp",
    "The Hessian of logistic regression times a vector",
    r"\frac{\partial}{\partial (w, b)} \langle \nabla E, v \rangle",
    definition(
        r"\langle \nabla E(\ldots, {}, \ldots), v \rangle", "w_d", along(logistic.gradient), _EVERY
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
    r"= \frac{1}{N} \sum_n u_n \, \hat y_n (1-\hat y_n) \frac{\partial z_n}{\partial (w, b)}",
    "chain rule; σ′ = σ(1 − σ)",
    lambda params, v, x, y: scores_open(affine(v, x) * _variance(affine(params, x)), params, x),
    r"= \frac{1}{N} \sum_n u_n \, \hat y_n (1-\hat y_n) (x_n, 1)",
    "z = w·x + b is linear: the points again, weighted by how unsure each is",
    lambda params, v, x, y: mean_push(affine(v, x) * _variance(affine(params, x)), x),
    r"= \frac{1}{N} \left( X^{\top} (s \circ u), \sum_n s_n u_n \right),"
    r" \quad s_n = \sigma(z_n) \, \sigma(-z_n)",
    "the sum as products of matrices: no Hessian is formed; 1 − σ(z) = σ(−z)",
    lambda params, v, x, y: as_matrices(_stable_variance(affine(params, x)) * affine(v, x), x),
    given=_BINARY + " v = (v_w, v_b) is a constant vector with the structure of (w, b).",
    example=example_along,
)


def _moved(t: Array, params: Params, v: Params) -> Params:
    return Params(params.weight + t * v.weight, params.bias + t * v.bias)


def _slope_along(t: Array, params: Params, v: Params, x: Features, y: Array) -> Array:
    return along(logistic.gradient)(_moved(t, params, v), v, x, y)


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
        slope(lambda p: along(logistic.gradient)(p, v, x, y), _moved(t, params, v)), v
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


# --- softmax regression ---------------------------------------------------------------------------
#
# The same chain with the Jacobian of softmax in it: the error is a function of p, which is a
# function of K logits, each of which is linear in its own column of W. What comes out is again a
# residual times the point, one column for each class.

_BY_CLASS = ", for every weight and every bias"
_CLASSES = (
    "x is (N, D), W is (D, K) and b (K,); z = xW + b, p = softmax(z), (N, K). y is one-hot or "
    "holds probabilities, (N, K), or indices of classes, which stand for one-hot rows. E is the "
    "mean over the examples, in nats. Each line holds ∂/∂W and ∂/∂b."
)
of_classes = partial(derive, given=_CLASSES, example=partial(example, classes=3))

_difference = in_prediction(lambda p, y: p * rows_sum(y) - y)
"""p Σ_i y_i − y."""


SOFTMAX_REGRESSION = of_classes(
    "softmax_regression",
    "The gradient of softmax regression",
    r"\frac{\partial E}{\partial (W, b)}",
    definition(r"E(\ldots, {}, \ldots)", "W_{dk}", softmax_regression.loss, _BY_CLASS),
    r"= -\frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \sum_i y_{ni} \log p_{ni}",
    "the error: the mean of categorical cross-entropy",
    error_open,
    r"= -\frac{1}{N} \sum_n \sum_i \frac{y_{ni}}{p_{ni}}"
    r" \cdot \frac{\partial p_{ni}}{\partial (W, b)}",
    "sum rule and chain rule; log′u = 1/u",
    lambda params, x, y: mean_open(
        -labels(affine(params, x), y) / predicted(params, x), lambda q: predicted(q, x), params
    ),
    r"= -\frac{1}{N} \sum_n \sum_i \sum_k \frac{y_{ni}}{p_{ni}}"
    r" p_{ni} (\delta_{ik} - p_{nk}) \frac{\partial z_{nk}}{\partial (W, b)}",
    "chain rule over the K logits; the Jacobian of softmax",
    times_scores(in_prediction(lambda p, y: -through_jacobian(y / p * p, p))),
    r"= -\frac{1}{N} \sum_n \sum_k \left( y_{nk} - p_{nk} \sum_i y_{ni} \right)"
    r" \frac{\partial z_{nk}}{\partial (W, b)}",
    "p_ni cancels; δ picks one term of the sum over i",
    times_scores(in_prediction(lambda p, y: -(y - p * rows_sum(y)))),
    r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} \left( p_n \sum_i y_{ni} - y_n \right)",
    "z_k = x·W_k + b_k: ∂z_k/∂W_dk = x_d, ∂z_k/∂b_k = 1, and other columns are not in it",
    times_points(_difference),
    r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} r_n, \quad"
    r" r_{nk} = p_{nk} \sum_{i \neq k} y_{ni} - y_{nk} \sum_{i \neq k} p_{ni}",
    "p_nk y_nk taken from both terms, and 1 − p_nk is the sum of the others",
    times_points(split),
    r"= \frac{1}{N} \left( X^{\top} R, \sum_n r_n \right)",
    "the sum over examples is a product of matrices",
    lambda params, x, y: as_matrices(split(affine(params, x), y), x),
)

SOFTMAX_REGRESSION_L2 = of_classes(
    "softmax_regression_l2",
    "Softmax regression with a penalty on its weights",
    r"\frac{\partial E}{\partial (W, b)}",
    definition(
        r"E(\ldots, {}, \ldots)",
        "W_{dk}",
        partial(softmax_regression.loss, l2=LAMBDA),
        _BY_CLASS,
    ),
    r"= \frac{\partial}{\partial (W, b)} \left[ \frac{1}{N} \sum_n \ell(z_n, y_n)"
    r" + \frac{\lambda}{2} \sum_d \sum_k W_{dk}^2 \right]",
    "the error: data and penalty",
    lambda params, x, y: slope(lambda q: error(affine(q, x), y) + ridge(q), params),
    r"= \frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \ell(z_n, y_n) + (\lambda W, 0)",
    "sum rule and power rule; b is not in the penalty",
    penalised(error_open),
    r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} \left( p_n \sum_i y_{ni} - y_n \right) + (\lambda W, 0)",
    "the gradient of softmax regression",
    penalised(times_points(_difference)),
    given=_CLASSES + " λ = 0.3 is a constant.",
)


# --- the Hessian along a matrix V -----------------------------------------------------------------
#
# ∇E is a sum over points of (p − y) times the point; the labels are constants and drop out, so what
# is left to differentiate is p, and its Jacobian is known.


def _gradient_along(params: Params, v: Params, x: Features, y: Array) -> Array:
    return jnp.sum(residual(affine(params, x), y) * affine(v, x)) / x.shape[0]


def _centred(params: Params, v: Params, x: Features) -> Array:
    """p ∘ (u − ⟨p, u⟩)."""
    p, u = predicted(params, x), affine(v, x)
    return p * (u - rows_sum(p * u))


SOFTMAX_HVP = derive(
    "softmax_regression_hvp",
    "The Hessian of softmax regression times a matrix",
    r"\frac{\partial}{\partial (W, b)} \langle \nabla E, V \rangle",
    definition(
        r"\langle \nabla E(\ldots, {}, \ldots), V \rangle",
        "W_{dk}",
        along(softmax_regression.gradient),
        _BY_CLASS,
    ),
    r"= \frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \sum_i (p_{ni} - y_{ni}) u_{ni}",
    "the gradient of softmax regression; the inner product goes into the sum",
    lambda params, v, x, y: slope(lambda q: _gradient_along(q, v, x, y), params),
    r"= \frac{1}{N} \sum_n \sum_i u_{ni} \frac{\partial p_{ni}}{\partial (W, b)}",
    "x, y and V are constants: the labels drop out",
    lambda params, v, x, y: mean_open(affine(v, x), lambda q: predicted(q, x), params),
    r"= \frac{1}{N} \sum_n \sum_k \sum_i u_{ni} p_{ni} (\delta_{ik} - p_{nk})"
    r" \frac{\partial z_{nk}}{\partial (W, b)}",
    "chain rule over the K logits; the Jacobian of softmax",
    lambda params, v, x, y: scores_open(
        through_jacobian(affine(v, x) * predicted(params, x), predicted(params, x)),
        params,
        x,
    ),
    r"= \frac{1}{N} \sum_n \sum_k p_{nk} \left( u_{nk} - \langle p_n, u_n \rangle \right)"
    r" \frac{\partial z_{nk}}{\partial (W, b)}",
    "δ picks one term of the sum over i; p_nk is a common factor",
    lambda params, v, x, y: scores_open(_centred(params, v, x), params, x),
    r"= \frac{1}{N} \sum_n (x_n, 1)^{\top}"
    r" \left[ p_n \circ \left( u_n - \langle p_n, u_n \rangle \right) \right]",
    "z is linear: ∂z_k/∂W_dk = x_d, ∂z_k/∂b_k = 1",
    lambda params, v, x, y: mean_push(_centred(params, v, x), x),
    given=_CLASSES + " V = (V_W, V_b) is constant, with the structure of (W, b); u = xV_W + V_b.",
    example=partial(example_along, classes=3),
)


# --- the perceptron -------------------------------------------------------------------------------
#
# A subgradient where mistakes count by how far they are on the wrong side. Each point is either a
# mistake, where its cost is linear, or not, where it is 0: away from the line between the two the
# derivative is read off. On the line (z = 0) is a kink, and only a subgradient. What comes out is
# −(y − ŷ)(x, 1) again, with ŷ the step of the score: a point on its side says nothing.


def _mistakes(key: Key) -> tuple:
    a, b, c = random.split(key, 3)
    params = Params(random.normal(a, (2,)), random.normal(b, ()))
    x = random.normal(c, (4, 2))
    wrong = 1 - step(affine(params, x))
    return params, x, jnp.where(jnp.arange(4) < 2, wrong, 1 - wrong)  # two mistakes, two right


def _sign(y: Array) -> Array:
    """t = 2y − 1."""
    return 2 * y - 1


def _is_mistake(params: Params, x: Features, y: Array) -> Array:
    return _sign(y) * affine(params, x) < 0


def _pushes(params: Params, x: Features, y: Array) -> Array:
    """−t for a mistake, else 0."""
    return jnp.where(_is_mistake(params, x, y), -_sign(y), jnp.zeros_like(y))


PERCEPTRON = derive(
    "perceptron",
    "The perceptron's subgradient",
    r"\frac{\partial E}{\partial (w, b)}",
    definition(
        r"E(\ldots, {}, \ldots)",
        "w_d",
        perceptron.loss,
        "; with a point on the line there is no limit",
    ),
    r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n \max(0, -t_n z_n)",
    "the error: how far the mistakes are on the wrong side",
    lambda params, x, y: slope(
        lambda p: jnp.sum(jnp.maximum(0.0, -_sign(y) * affine(p, x))) / x.shape[0], params
    ),
    r"= \frac{1}{N} \sum_n \begin{cases} \frac{\partial}{\partial (w, b)} (-t_n z_n)"
    r" & t_n z_n < 0 \\ 0 & t_n z_n > 0 \end{cases}",
    "sum rule; off the kink the maximum is one of the two all around",
    lambda params, x, y: mean_open(
        _is_mistake(params, x, y).astype(x.dtype),
        lambda p: -_sign(y) * affine(p, x),
        params,
    ),
    r"= \frac{1}{N} \sum_{n: \, t_n z_n < 0} -t_n \frac{\partial z_n}{\partial (w, b)}",
    "only the mistakes are left; t is a constant",
    lambda params, x, y: scores_open(_pushes(params, x, y), params, x),
    r"= \frac{1}{N} \sum_{n: \, t_n z_n < 0} -t_n (x_n, 1)",
    "z = w·x + b is linear: ∂z/∂w = x, ∂z/∂b = 1",
    lambda params, x, y: mean_push(_pushes(params, x, y), x),
    r"= -\frac{1}{N} \sum_n (y_n - \hat y_n) (x_n, 1), \quad \hat y_n = \mathrm{step}(z_n)",
    "y − ŷ is t for a mistake and 0 otherwise: the form of logistic regression",
    lambda params, x, y: mean_push(-(y - step(affine(params, x))), x),
    given="x is (N, D), y is (N,) in {0, 1}, t_n = 2y_n − 1; z_n = w·x_n + b, E is the mean of "
    "max(0, −t_n z_n). A declared kink at z_n = 0: the points here lie off it. Each line holds "
    "∂/∂w and ∂/∂b.",
    example=_mistakes,
)
