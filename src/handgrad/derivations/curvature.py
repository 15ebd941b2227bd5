r"""The Hessian of logistic regression, whole and along a vector, and why the error is convex.

∇E is a sum over points of the residual times the point; the label is a constant and drops out, so
what is left to differentiate is ŷ. Along any direction the second derivative is a mean of squares
with weights ŷ(1 − ŷ) above 0: there is one valley.
"""

import jax
import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Features, Key
from handgrad.derivations.logistic import (
    EVERY,
    GIVEN,
    example,
    mean_open,
    mean_push,
    prediction,
    scores_open,
)
from handgrad.derivations.scalars import along
from handgrad.derivations.steps import Derivation, Limit, definition, lines, slope
from handgrad.gradients import logistic as house
from handgrad.gradients.linear import Params, affine
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative


def _example_along(key: Key) -> tuple:
    params, x, y = example(key)
    a, b = random.split(random.fold_in(key, 1))
    return params, Params(random.normal(a, (2,)), random.normal(b, ())), x, y


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


def _variance(params: Params, x: Features) -> Array:
    """ŷ (1 − ŷ)."""
    return prediction(params, x) * (1 - prediction(params, x))


def _stable_variance(params: Params, x: Features) -> Array:
    """σ(z) σ(−z)."""
    return sigmoid(affine(params, x)) * sigmoid(-affine(params, x))


def _blocks(s: Array, x: Features) -> Params:
    return Params(
        weight=Params(x.T @ jnp.diag(s) @ x, x.T @ s),  # type: ignore[arg-type]
        bias=Params(s @ x, jnp.sum(s)),  # type: ignore[arg-type]
    )


def _along_points(weights: Array, x: Features) -> Params:
    return Params(x.T @ weights / x.shape[0], jnp.sum(weights) / x.shape[0])


HESSIAN = Derivation(
    name="logistic_hessian",
    title="The Hessian of logistic regression",
    of=r"\frac{\partial^2 E}{\partial (w, b)^2}",
    given=GIVEN.rsplit(" Each line", 1)[0] + " Each line holds the four blocks in w and b.",
    example=example,
    steps=lines(
        r"= \lim_{h \to 0} \frac{\nabla E(\ldots, w_d+h, \ldots)"
        r" - \nabla E(\ldots, w_d-h, \ldots)}{2h}",
        "definition: the derivative of the gradient",
        Limit(house.gradient),
        r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n (\hat y_n - y_n) (x_n, 1)",
        "the gradient of logistic regression",
        lambda params, x, y: jax.jacfwd(lambda p: mean_push(prediction(p, x) - y, x))(params),
        r"= \frac{1}{N} \sum_n (x_n, 1)"
        r" \left( \frac{\partial \hat y_n}{\partial (w, b)} \right)^{\top}",
        "x and y are constants: the labels drop out",
        lambda params, x, y: _mean_outer(
            jnp.ones_like(y), _points(x), jax.jacfwd(prediction)(params, x)
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
            _variance(params, x), _points(x), jax.jacfwd(affine)(params, x)
        ),
        r"= \frac{1}{N} \sum_n \hat y_n (1-\hat y_n) (x_n, 1) (x_n, 1)^{\top}",
        "z = w·x + b is linear: ∂z/∂w = x, ∂z/∂b = 1",
        lambda params, x, y: _mean_outer(_variance(params, x), _points(x), _points(x)),
        r"= \frac{1}{N} \begin{pmatrix} X^{\top} S X & X^{\top} s \\ s^{\top} X & \sum_n s_n"
        r" \end{pmatrix}, \quad s_n = \sigma(z_n) \, \sigma(-z_n), \quad S = \mathrm{diag}(s)",
        "the sum as products of matrices; 1 − σ(z) = σ(−z)",
        lambda params, x, y: _blocks(_stable_variance(params, x) / x.shape[0], x),
    ),
)


HVP = Derivation(
    name="logistic_hvp",
    title="The Hessian of logistic regression times a vector",
    of=r"\frac{\partial}{\partial (w, b)} \langle \nabla E, v \rangle",
    given=GIVEN + " v = (v_w, v_b) is a constant vector with the structure of (w, b).",
    example=_example_along,
    steps=lines(
        definition(
            r"\langle \nabla E(\ldots, {}, \ldots), v \rangle",
            "w_d",
            Limit(along(house.gradient)),
            EVERY,
        ),
        r"= \frac{\partial}{\partial (w, b)} \frac{1}{N} \sum_n (\hat y_n - y_n) u_n,"
        r" \quad u_n = \langle (x_n, 1), v \rangle = v_w \cdot x_n + v_b",
        "the gradient of logistic regression; the inner product goes into the sum",
        lambda params, v, x, y: slope(
            lambda p: jnp.sum((prediction(p, x) - y) * affine(v, x)) / x.shape[0], params
        ),
        r"= \frac{1}{N} \sum_n u_n \frac{\partial \hat y_n}{\partial (w, b)}",
        "x, y and v are constants: the labels drop out",
        lambda params, v, x, y: mean_open(affine(v, x), lambda p: prediction(p, x), params),
        r"= \frac{1}{N} \sum_n u_n \, \hat y_n (1-\hat y_n)"
        r" \frac{\partial z_n}{\partial (w, b)}",
        "chain rule; σ′ = σ(1 − σ)",
        lambda params, v, x, y: scores_open(affine(v, x) * _variance(params, x), params, x),
        r"= \frac{1}{N} \sum_n u_n \, \hat y_n (1-\hat y_n) (x_n, 1)",
        "z = w·x + b is linear: the points again, weighted by how unsure each is",
        lambda params, v, x, y: mean_push(affine(v, x) * _variance(params, x), x),
        r"= \frac{1}{N} \left( X^{\top} (s \circ u), \sum_n s_n u_n \right),"
        r" \quad s_n = \sigma(z_n) \, \sigma(-z_n)",
        "the sum as products of matrices: no Hessian is formed; 1 − σ(z) = σ(−z)",
        lambda params, v, x, y: _along_points(_stable_variance(params, x) * affine(v, x), x),
    ),
)


def _moved(t: Array, params: Params, v: Params) -> Params:
    return Params(params.weight + t * v.weight, params.bias + t * v.bias)


def _slope_along(t: Array, params: Params, v: Params, x: Features, y: Array) -> Array:
    return along(house.gradient)(_moved(t, params, v), v, x, y)


def _inner(a: Params, b: Params) -> Array:
    return jnp.sum(a.weight * b.weight) + jnp.sum(a.bias * b.bias)


CONVEXITY = Derivation(
    name="logistic_convexity",
    title="Logistic regression is convex",
    of=r"\frac{d^2}{dt^2} E(w + t v_w, b + t v_b)",
    given=GIVEN.rsplit(" Each line", 1)[0] + " v = (v_w, v_b) is any direction; E along it, at t.",
    example=lambda key: (jnp.zeros(()), *_example_along(key)),
    steps=lines(
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
                * _variance(_moved(t, params, v), x)
                * (x @ v.weight + jnp.broadcast_to(v.bias, y.shape))
            )
            / x.shape[0]
        ),
        r"= \frac{1}{N} \sum_n \hat y_n (1-\hat y_n) \, u_n^2",
        "a mean of squares with weights above 0: never negative, so E is convex",
        lambda t, params, v, x, y: (
            jnp.sum(_variance(_moved(t, params, v), x) * jnp.square(affine(v, x))) / x.shape[0]
        ),
    ),
)
