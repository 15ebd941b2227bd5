r"""Softmax regression: the same chain as for two classes, with the Jacobian of softmax in it.

The error is a function of p, which is a function of K logits, each of which is linear in its own
column of W. What comes out is again a residual times the point, one column for each class.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key
from handgrad.derivations.limit import Limit
from handgrad.derivations.logistic import LAMBDA
from handgrad.derivations.softmax_products import delta, others, rows_sum
from handgrad.derivations.steps import Derivation, Step, still_open
from handgrad.gradients import softmax_regression as house
from handgrad.gradients.linear import Params, affine
from handgrad.gradients.softmax import softmax

SOURCE = "Neural networks"
GIVEN = (
    "x is (N, D), W is (D, K) and b (K,); z = xW + b, p = softmax(z), (N, K). y is one-hot or "
    "holds probabilities, (N, K), or indices of classes, which stand for one-hot rows. E is the "
    "mean over the examples, in nats. Each line holds ∂/∂W and ∂/∂b."
)


def example(key: Key) -> tuple:
    """Parameters (2, 3) and (3,), features (3, 2) and class indices."""
    a, b, c, d = random.split(key, 4)
    params = Params(random.normal(a, (2, 3)), random.normal(b, (3,)))
    return params, random.normal(c, (3, 2)), random.randint(d, (3,), 0, 3)


def as_rows(y: Array, z: Array) -> Array:
    """Labels as rows of probabilities: indices become one-hot."""
    indices = jnp.issubdtype(y.dtype, jnp.integer)
    return jax.nn.one_hot(y, z.shape[-1], dtype=z.dtype) if indices else y


def probabilities(params: Params, x: Features) -> Array:
    """p = softmax(xW + b)."""
    return softmax(affine(params, x))


def _plain_error(params: Params, x: Features, y: Array) -> Array:
    p = probabilities(params, x)
    return -jnp.sum(as_rows(y, p) * jnp.log(p)) / x.shape[0]


def _error_open(params: Params, x: Features, y: Array) -> Params:
    return still_open(jnp.ones((), x.dtype), lambda p: _plain_error(p, x, y), params)


def mean_open(weights: Array, params: Params, x: Features) -> Params:
    """(1/N) Σ_n Σ_k weights_nk ∂z_nk/∂(W, b), not worked out yet."""
    return still_open(weights / x.shape[0], lambda p: affine(p, x), params)


def mean_push(weights: Array, x: Features) -> Params:
    """(1/N) Σ_n (x_n, 1)ᵀ weights_n."""
    products = x[:, :, None] * weights[:, None, :]
    return Params(jnp.sum(products, axis=0) / x.shape[0], jnp.sum(weights, axis=0) / x.shape[0])


def through_jacobian(p: Array, c: Array) -> Array:
    """Σ_i c_i p_i (δ_ik − p_k)."""
    return jnp.sum((c * p)[:, :, None] * (delta(p) - p[:, None, :]), axis=1)


def _residual(params: Params, x: Features, y: Array) -> Array:
    """p Σ y − y."""
    p = probabilities(params, x)
    return p * rows_sum(as_rows(y, p)) - as_rows(y, p)


def _split_residual(params: Params, x: Features, y: Array) -> Array:
    """p_k Σ_{i≠k} y_i − y_k Σ_{i≠k} p_i."""
    p = probabilities(params, x)
    return p * others(as_rows(y, p)) - as_rows(y, p) * others(p)


SOFTMAX_REGRESSION = Derivation(
    name="softmax_regression",
    title="The gradient of softmax regression",
    of=r"\frac{\partial E}{\partial (W, b)}",
    given=GIVEN,
    example=example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{E(\ldots, W_{dk}+h, \ldots)"
            r" - E(\ldots, W_{dk}-h, \ldots)}{2h}",
            "definition of the partial derivative, for every weight and every bias",
            Limit(house.loss),
        ),
        Step(
            r"= -\frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \sum_i y_{ni} \log p_{ni}",
            "the error: the mean of categorical cross-entropy",
            _error_open,
        ),
        Step(
            r"= -\frac{1}{N} \sum_n \sum_i \frac{y_{ni}}{p_{ni}}"
            r" \cdot \frac{\partial p_{ni}}{\partial (W, b)}",
            "sum rule and chain rule; log′u = 1/u",
            lambda params, x, y: still_open(
                -as_rows(y, probabilities(params, x)) / probabilities(params, x) / x.shape[0],
                lambda q: probabilities(q, x),
                params,
            ),
        ),
        Step(
            r"= -\frac{1}{N} \sum_n \sum_i \sum_k \frac{y_{ni}}{p_{ni}}"
            r" p_{ni} (\delta_{ik} - p_{nk}) \frac{\partial z_{nk}}{\partial (W, b)}",
            "chain rule over the K logits; the Jacobian of softmax",
            lambda params, x, y: mean_open(
                -through_jacobian(
                    probabilities(params, x),
                    as_rows(y, probabilities(params, x)) / probabilities(params, x),
                ),
                params,
                x,
            ),
        ),
        Step(
            r"= -\frac{1}{N} \sum_n \sum_k \left( y_{nk} - p_{nk} \sum_i y_{ni} \right)"
            r" \frac{\partial z_{nk}}{\partial (W, b)}",
            "p_ni cancels; δ picks one term of the sum over i",
            lambda params, x, y: mean_open(
                -(
                    as_rows(y, probabilities(params, x))
                    - probabilities(params, x) * rows_sum(as_rows(y, probabilities(params, x)))
                ),
                params,
                x,
            ),
        ),
        Step(
            r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} \left( p_n \sum_i y_{ni} - y_n \right)",
            "z_k = x·W_k + b_k: ∂z_k/∂W_dk = x_d, ∂z_k/∂b_k = 1, and other columns are not in it",
            lambda params, x, y: mean_push(_residual(params, x, y), x),
        ),
        Step(
            r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} r_n, \quad"
            r" r_{nk} = p_{nk} \sum_{i \neq k} y_{ni} - y_{nk} \sum_{i \neq k} p_{ni}",
            "p_nk y_nk taken from both terms, and 1 − p_nk is the sum of the others",
            lambda params, x, y: mean_push(_split_residual(params, x, y), x),
        ),
        Step(
            r"= \frac{1}{N} \left( X^{\top} R, \sum_n r_n \right)",
            "the sum over examples is a product of matrices",
            lambda params, x, y: Params(
                x.T @ _split_residual(params, x, y) / x.shape[0],
                jnp.sum(_split_residual(params, x, y), axis=0) / x.shape[0],
            ),
        ),
    ),
    source=SOURCE,
)


def _with_penalty(data: Params, params: Params) -> Params:
    return Params(data.weight + LAMBDA * params.weight, data.bias)


def _ridge(params: Params) -> Array:
    return LAMBDA / 2 * jnp.sum(jnp.square(params.weight))


SOFTMAX_REGRESSION_L2 = Derivation(
    name="softmax_regression_l2",
    title="Softmax regression with a penalty on its weights",
    of=r"\frac{\partial E}{\partial (W, b)}",
    given=GIVEN + " λ = 0.3 is a constant.",
    example=example,
    steps=(
        Step(
            r"= \lim_{h \to 0} \frac{E(\ldots, W_{dk}+h, \ldots)"
            r" - E(\ldots, W_{dk}-h, \ldots)}{2h}",
            "definition of the partial derivative, for every weight and every bias",
            Limit(partial(house.loss, l2=LAMBDA)),
        ),
        Step(
            r"= \frac{\partial}{\partial (W, b)} \left[ \frac{1}{N} \sum_n \ell(z_n, y_n)"
            r" + \frac{\lambda}{2} \sum_d \sum_k W_{dk}^2 \right]",
            "the error: data and penalty",
            lambda params, x, y: still_open(
                jnp.ones((), x.dtype), lambda q: _plain_error(q, x, y) + _ridge(q), params
            ),
        ),
        Step(
            r"= \frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
            r" + (\lambda W, 0)",
            "sum rule and power rule; b is not in the penalty",
            lambda params, x, y: _with_penalty(_error_open(params, x, y), params),
        ),
        Step(
            r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} \left( p_n \sum_i y_{ni} - y_n \right)"
            r" + (\lambda W, 0)",
            "the gradient of softmax regression",
            lambda params, x, y: _with_penalty(mean_push(_residual(params, x, y), x), params),
        ),
    ),
    source=SOURCE,
)
