"""Logistic regression: one logit z = x·w + b, cross-entropy, and the gradient −(y−ŷ)(x, 1).

    E(w, b) = (1/N) Σ_n ℓ(z_n, y_n) + ½ λ ‖w‖²          ℓ: `cross_entropy.binary`
    ∇E      = (1/N) Σ_n −(y_n − ŷ_n)(x_n, 1) + (λ w, 0)
    ∇²E     = (1/N) Σ_n ŷ_n (1 − ŷ_n)(x_n, 1)(x_n, 1)ᵀ + diag(λ, …, λ, 0)

The gradient is a scalar times the point: far labels push hard, near ones gently. The Hessian is a
sum of squares with positive weights, so E is convex. Where examples have weights w_n, each ℓ_n and
each term of the gradient is taken w_n times.

Source: "Neural networks", sections on the error function and on gradient descent.
"""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from handgrad._checks import require_binary_labels, require_linear, require_size, require_tangent
from handgrad._types import BinaryLabels, Coded, DTypeLike, Inputs, Key, Model, Scalar, Weights
from handgrad.gradients import cross_entropy, linear
from handgrad.gradients.linear import Params
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative


def init(key: Key, features: int, classes: int = 2, dtype: DTypeLike | None = None) -> Params:
    """Random weights (D,) and a zero bias (). Raises InputError unless there are two classes."""
    require_size("classes", classes, 2, 2, "use softmax_regression for more classes")
    return linear.init(key, features, (), dtype)


def logits(params: Params, x: Inputs) -> Float[Array, " N"]:
    """z = x·w + b. Raises InputError if the shapes do not fit."""
    require_linear(params, x)
    return linear.affine(params, x)


def predict(params: Params, x: Inputs) -> Float[Array, " N"]:
    """ŷ = σ(x·w + b), the probability of class 1."""
    return sigmoid(logits(params, x))


def _error(z: Array, y: Array, weight: Array, l2: float, sample_weight: Array | None) -> Scalar:
    return linear.mean_loss(cross_entropy.binary(z, y), sample_weight) + linear.penalty(weight, l2)


def loss(
    params: Params,
    x: Inputs,
    y: BinaryLabels,
    l2: float = 0.0,
    sample_weight: Weights | None = None,
) -> Scalar:
    """E: mean cross-entropy in nats, plus ½ λ ‖w‖². Raises InputError if the shapes do not fit."""
    return _error(logits(params, x), y, params.weight, l2, sample_weight)


def value_and_gradient(
    params: Params,
    x: Inputs,
    y: BinaryLabels,
    l2: float = 0.0,
    sample_weight: Weights | None = None,
) -> tuple[Scalar, Params]:
    """(E, ∇E) from one forward pass. Raises InputError if the shapes do not fit.

    >>> x, y = jnp.array([[1.0, 1.0], [-4.0, 5.0]]), jnp.array([1.0, 0.0])
    >>> value, gradient = value_and_gradient(Params(jnp.array([4.0, 5.0]), jnp.array(-9.0)), x, y)
    >>> round(float(value), 4), gradient.weight.tolist()  # both scores are 0, both ŷ are ½
    (0.6931, [-1.25, 1.0])
    """
    z = logits(params, x)
    residual = linear.mean_residual(cross_entropy.binary_residual(z, y), sample_weight)
    data = linear.affine_pullback(residual, x)
    value = _error(z, y, params.weight, l2, sample_weight)
    return value, linear.with_penalty(data, params.weight, l2)


def gradient(
    params: Params,
    x: Inputs,
    y: BinaryLabels,
    l2: float = 0.0,
    sample_weight: Weights | None = None,
) -> Params:
    """∇E = −(y − ŷ)(x, 1), averaged, plus (λ w, 0). Raises InputError if the shapes do not fit."""
    return value_and_gradient(params, x, y, l2, sample_weight)[1]


def _curvature(params: Params, x: Inputs, y: BinaryLabels) -> Float[Array, " N"]:
    """ŷ(1 − ŷ)/N of each example; the labels have no say, but their shape is checked."""
    z = logits(params, x)
    require_binary_labels(y, z)
    return sigmoid_derivative(z) / z.shape[0]


def hessian(params: Params, x: Inputs, y: BinaryLabels, l2: float = 0.0) -> Params:
    """∇²E as blocks, in the structure of jax.hessian: h.weight.bias is ∂²E/∂w∂b, (D,)."""
    s = _curvature(params, x, y)
    ridge = l2 * jnp.eye(x.shape[1], dtype=x.dtype)
    if isinstance(x, Coded):
        both = linear.gram(x, s)
        squares, mixed = both[:-1, :-1], both[-1, :-1]
    else:
        sx = s[:, None] * x
        squares, mixed = linear.matmul(x.T, sx), jnp.sum(sx, axis=0)
    return Params(
        weight=Params(weight=squares + ridge, bias=mixed),  # type: ignore[arg-type]
        bias=Params(weight=mixed, bias=jnp.sum(s)),  # type: ignore[arg-type]
    )


def hvp(params: Params, tangent: Params, x: Inputs, y: BinaryLabels, l2: float = 0.0) -> Params:
    """∇²E v = Xᵀ(s ∘ (X v_w + v_b)) + λ v_w, s = ŷ(1 − ŷ)/N, without forming the Hessian."""
    require_tangent(tangent, params)
    data = linear.affine_pullback(_curvature(params, x, y) * linear.affine(tangent, x), x)
    return linear.with_penalty(data, tangent.weight, l2)


def model(l2: float = 0.0) -> Model[Params]:
    """Logistic regression with the penalty bound: the record that `fit` trains."""
    return Model(
        init=init,
        logits=logits,
        predict=predict,
        loss=partial(loss, l2=l2),
        gradient=partial(gradient, l2=l2),
        value_and_gradient=partial(value_and_gradient, l2=l2),
        hessian=partial(hessian, l2=l2),
        hvp=partial(hvp, l2=l2),
    )
