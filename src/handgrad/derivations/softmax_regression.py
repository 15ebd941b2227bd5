r"""Softmax regression: the same chain as for two classes, with the Jacobian of softmax in it.

The error is a function of p, which is a function of K logits, each of which is linear in its own
column of W. What comes out is again a residual times the point, one column for each class.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key
from handgrad.derivations.logistic import LAMBDA, mean_open, mean_push, scores_open, with_penalty
from handgrad.derivations.scalars import along
from handgrad.derivations.softmax import others, rows_sum, through_jacobian
from handgrad.derivations.steps import Derivation, Limit, definition, lines, slope
from handgrad.gradients import softmax_regression as house
from handgrad.gradients.linear import Params, affine
from handgrad.gradients.softmax import softmax

EVERY = ", for every weight and every bias"
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


def _times_scores(weights: Callable) -> Callable:
    """The line (1/N) Σ_n Σ_k weights_nk ∂z_nk/∂(W, b), its weights written in p and rows y."""

    def line(params: Params, x: Features, y: Array) -> Params:
        p = probabilities(params, x)
        return scores_open(weights(p, as_rows(y, p)), params, x)

    return line


def _times_points(weights: Callable) -> Callable:
    """The line (1/N) Σ_n (x_n, 1)ᵀ weights_n, its weights written in p and rows y."""

    def line(params: Params, x: Features, y: Array) -> Params:
        p = probabilities(params, x)
        return mean_push(weights(p, as_rows(y, p)), x)

    return line


def _error(params: Params, x: Features, y: Array) -> Array:
    p = probabilities(params, x)
    return -jnp.sum(as_rows(y, p) * jnp.log(p)) / x.shape[0]


def _error_open(params: Params, x: Features, y: Array) -> Params:
    return slope(lambda q: _error(q, x, y), params)


def _ridge(params: Params) -> Array:
    return LAMBDA / 2 * jnp.sum(jnp.square(params.weight))


def split(p: Array, y: Array) -> Array:
    """p_k Σ_{i≠k} y_i − y_k Σ_{i≠k} p_i."""
    return p * others(y) - y * others(p)


def _as_matrices(params: Params, x: Features, y: Array) -> Params:
    p = probabilities(params, x)
    r = split(p, as_rows(y, p))
    return Params(x.T @ r / x.shape[0], jnp.sum(r, axis=0) / x.shape[0])


SOFTMAX_REGRESSION = Derivation(
    name="softmax_regression",
    title="The gradient of softmax regression",
    of=r"\frac{\partial E}{\partial (W, b)}",
    given=GIVEN,
    example=example,
    steps=lines(
        definition(r"E(\ldots, {}, \ldots)", "W_{dk}", Limit(house.loss), EVERY),
        r"= -\frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \sum_i y_{ni} \log p_{ni}",
        "the error: the mean of categorical cross-entropy",
        _error_open,
        r"= -\frac{1}{N} \sum_n \sum_i \frac{y_{ni}}{p_{ni}}"
        r" \cdot \frac{\partial p_{ni}}{\partial (W, b)}",
        "sum rule and chain rule; log′u = 1/u",
        lambda params, x, y: mean_open(
            -as_rows(y, probabilities(params, x)) / probabilities(params, x),
            lambda q: probabilities(q, x),
            params,
        ),
        r"= -\frac{1}{N} \sum_n \sum_i \sum_k \frac{y_{ni}}{p_{ni}}"
        r" p_{ni} (\delta_{ik} - p_{nk}) \frac{\partial z_{nk}}{\partial (W, b)}",
        "chain rule over the K logits; the Jacobian of softmax",
        _times_scores(lambda p, y: -through_jacobian(y / p * p, p)),
        r"= -\frac{1}{N} \sum_n \sum_k \left( y_{nk} - p_{nk} \sum_i y_{ni} \right)"
        r" \frac{\partial z_{nk}}{\partial (W, b)}",
        "p_ni cancels; δ picks one term of the sum over i",
        _times_scores(lambda p, y: -(y - p * rows_sum(y))),
        r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} \left( p_n \sum_i y_{ni} - y_n \right)",
        "z_k = x·W_k + b_k: ∂z_k/∂W_dk = x_d, ∂z_k/∂b_k = 1, and other columns are not in it",
        _times_points(lambda p, y: p * rows_sum(y) - y),
        r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} r_n, \quad"
        r" r_{nk} = p_{nk} \sum_{i \neq k} y_{ni} - y_{nk} \sum_{i \neq k} p_{ni}",
        "p_nk y_nk taken from both terms, and 1 − p_nk is the sum of the others",
        _times_points(split),
        r"= \frac{1}{N} \left( X^{\top} R, \sum_n r_n \right)",
        "the sum over examples is a product of matrices",
        _as_matrices,
    ),
)

SOFTMAX_REGRESSION_L2 = Derivation(
    name="softmax_regression_l2",
    title="Softmax regression with a penalty on its weights",
    of=r"\frac{\partial E}{\partial (W, b)}",
    given=GIVEN + " λ = 0.3 is a constant.",
    example=example,
    steps=lines(
        definition(
            r"E(\ldots, {}, \ldots)", "W_{dk}", Limit(partial(house.loss, l2=LAMBDA)), EVERY
        ),
        r"= \frac{\partial}{\partial (W, b)} \left[ \frac{1}{N} \sum_n \ell(z_n, y_n)"
        r" + \frac{\lambda}{2} \sum_d \sum_k W_{dk}^2 \right]",
        "the error: data and penalty",
        lambda params, x, y: slope(lambda q: _error(q, x, y) + _ridge(q), params),
        r"= \frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \ell(z_n, y_n)"
        r" + (\lambda W, 0)",
        "sum rule and power rule; b is not in the penalty",
        lambda params, x, y: with_penalty(_error_open(params, x, y), params),
        r"= \frac{1}{N} \sum_n (x_n, 1)^{\top} \left( p_n \sum_i y_{ni} - y_n \right)"
        r" + (\lambda W, 0)",
        "the gradient of softmax regression",
        lambda params, x, y: with_penalty(
            _times_points(lambda p, y: p * rows_sum(y) - y)(params, x, y), params
        ),
    ),
)


# --- the Hessian along a matrix V -----------------------------------------------------------------
#
# ∇E is a sum over points of (p − y) times the point; the labels are constants and drop out, so what
# is left to differentiate is p, and its Jacobian is known.


def _example_along(key: Key) -> tuple:
    params, x, y = example(key)
    return params, example(random.fold_in(key, 1))[0], x, y


def _gradient_along(params: Params, v: Params, x: Features, y: Array) -> Array:
    p = probabilities(params, x)
    return jnp.sum((p - as_rows(y, p)) * affine(v, x)) / x.shape[0]


def _centred(params: Params, v: Params, x: Features) -> Array:
    """p ∘ (u − ⟨p, u⟩)."""
    p, u = probabilities(params, x), affine(v, x)
    return p * (u - rows_sum(p * u))


HVP = Derivation(
    name="softmax_regression_hvp",
    title="The Hessian of softmax regression times a matrix",
    of=r"\frac{\partial}{\partial (W, b)} \langle \nabla E, V \rangle",
    given=GIVEN + " V = (V_W, V_b) is constant, with the structure of (W, b); u = xV_W + V_b.",
    example=_example_along,
    steps=lines(
        definition(
            r"\langle \nabla E(\ldots, {}, \ldots), V \rangle",
            "W_{dk}",
            Limit(along(house.gradient)),
            EVERY,
        ),
        r"= \frac{\partial}{\partial (W, b)} \frac{1}{N} \sum_n \sum_i (p_{ni} - y_{ni})"
        r" u_{ni}",
        "the gradient of softmax regression; the inner product goes into the sum",
        lambda params, v, x, y: slope(lambda q: _gradient_along(q, v, x, y), params),
        r"= \frac{1}{N} \sum_n \sum_i u_{ni} \frac{\partial p_{ni}}{\partial (W, b)}",
        "x, y and V are constants: the labels drop out",
        lambda params, v, x, y: mean_open(affine(v, x), lambda q: probabilities(q, x), params),
        r"= \frac{1}{N} \sum_n \sum_k \sum_i u_{ni} p_{ni} (\delta_{ik} - p_{nk})"
        r" \frac{\partial z_{nk}}{\partial (W, b)}",
        "chain rule over the K logits; the Jacobian of softmax",
        lambda params, v, x, y: scores_open(
            through_jacobian(affine(v, x) * probabilities(params, x), probabilities(params, x)),
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
    ),
)
