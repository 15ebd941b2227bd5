r"""Softmax regression: the same chain as for two classes, with the Jacobian of softmax in it.

The error is a function of p, which is a function of K logits, each of which is linear in its own
column of W. What comes out is again a residual times the point, one column for each class.
"""

from functools import partial

import jax.numpy as jnp

from handgrad._types import Array, Features
from handgrad.derivations.linear_models import (
    LAMBDA,
    as_matrices,
    error,
    error_open,
    example,
    example_along,
    in_prediction,
    labels,
    mean_open,
    mean_push,
    penalised,
    predicted,
    residual,
    ridge,
    scores_open,
    split,
    times_points,
    times_scores,
)
from handgrad.derivations.scalars import along
from handgrad.derivations.softmax import rows_sum, through_jacobian
from handgrad.derivations.steps import definition, derive, slope
from handgrad.gradients import softmax_regression as house
from handgrad.gradients.linear import Params, affine

_EVERY = ", for every weight and every bias"
_GIVEN = (
    "x is (N, D), W is (D, K) and b (K,); z = xW + b, p = softmax(z), (N, K). y is one-hot or "
    "holds probabilities, (N, K), or indices of classes, which stand for one-hot rows. E is the "
    "mean over the examples, in nats. Each line holds ∂/∂W and ∂/∂b."
)
_example, _example_along = partial(example, classes=3), partial(example_along, classes=3)

_difference = in_prediction(lambda p, y: p * rows_sum(y) - y)
"""p Σ_i y_i − y."""


SOFTMAX_REGRESSION = derive(
    "softmax_regression",
    "The gradient of softmax regression",
    r"\frac{\partial E}{\partial (W, b)}",
    definition(r"E(\ldots, {}, \ldots)", "W_{dk}", house.loss, _EVERY),
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
    given=_GIVEN,
    example=_example,
)

SOFTMAX_REGRESSION_L2 = derive(
    "softmax_regression_l2",
    "Softmax regression with a penalty on its weights",
    r"\frac{\partial E}{\partial (W, b)}",
    definition(r"E(\ldots, {}, \ldots)", "W_{dk}", partial(house.loss, l2=LAMBDA), _EVERY),
    r"= \frac{\partial}{\partial (W, b)} \left[ \frac{1}{N} \sum_n \ell(z_n, y_n)"
    r" + \frac{\lambda}{2} \sum_d \sum_k W_{dk}^2 \right]",
    "the error: data and penalty",
    lambda params, x, y: slope(lambda q: error(affine(q, x), y) + ridge(q), params),
    r"= \frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
    r" + (\lambda W, 0)",
    "sum rule and power rule; b is not in the penalty",
    penalised(error_open),
    r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} \left( p_n \sum_i y_{ni} - y_n \right)"
    r" + (\lambda W, 0)",
    "the gradient of softmax regression",
    penalised(times_points(_difference)),
    given=_GIVEN + " λ = 0.3 is a constant.",
    example=_example,
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


HVP = derive(
    "softmax_regression_hvp",
    "The Hessian of softmax regression times a matrix",
    r"\frac{\partial}{\partial (W, b)} \langle \nabla E, V \rangle",
    definition(
        r"\langle \nabla E(\ldots, {}, \ldots), V \rangle", "W_{dk}", along(house.gradient), _EVERY
    ),
    r"= \frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \sum_i (p_{ni} - y_{ni})"
    r" u_{ni}",
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
    given=_GIVEN + " V = (V_W, V_b) is constant, with the structure of (W, b); u = xV_W + V_b.",
    example=_example_along,
)
