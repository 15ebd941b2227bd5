"""Softmax regression: logistic regression for K classes.

    E(W, b) = (1/N) Σ_n ℓ(z_n, y_n) + ½ λ ‖W‖²          z = x W + b, ℓ: `cross_entropy.categorical`
    ∇E      = (1/N) Σ_n (x_n, 1)ᵀ (p_n − y_n) + (λ W, 0)
    ∇²E     = (1/N) Σ_n (x_n, 1)(x_n, 1)ᵀ ⊗ (diag(p_n) − p_n p_nᵀ) + λ on the weight's diagonal

Adding one vector to every column of W changes no probability: without a penalty the minimum is a
subspace, and the Hessian is positive semidefinite but singular.

Source: "Neural networks", section on multi-class classification; the gradient is derived as there
for two classes.
"""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from handgrad._checks import require_class_labels, require_linear, require_size, require_tangent
from handgrad._types import ClassLabels, DTypeLike, Inputs, Key, Model, Scalar, Weights
from handgrad.gradients import cross_entropy, linear
from handgrad.gradients.linear import Params
from handgrad.gradients.softmax import softmax, softmax_jvp


def init(key: Key, features: int, classes: int = 2, dtype: DTypeLike | None = None) -> Params:
    """Random weights (D, K) and zero biases (K,). Raises InputError for fewer than two classes."""
    require_size("classes", classes, 2)
    return linear.init(key, features, (classes,), dtype)


def logits(params: Params, x: Inputs) -> Float[Array, "N K"]:
    """z = x W + b. Raises InputError if the shapes do not fit."""
    require_linear(params, x)
    return linear.affine(params, x)


def predict(params: Params, x: Inputs) -> Float[Array, "N K"]:
    """ŷ = softmax(x W + b): one row of class probabilities for each example."""
    return softmax(logits(params, x))


def _error(z: Array, y: Array, weight: Array, l2: float, sample_weight: Array | None) -> Scalar:
    data = linear.mean_loss(cross_entropy.categorical(z, y), sample_weight)
    return data + linear.penalty(weight, l2)


def loss(
    params: Params,
    x: Inputs,
    y: ClassLabels,
    l2: float = 0.0,
    sample_weight: Weights | None = None,
) -> Scalar:
    """E: mean cross-entropy in nats, plus ½ λ ‖W‖². Raises InputError if the shapes do not fit."""
    return _error(logits(params, x), y, params.weight, l2, sample_weight)


def value_and_gradient(
    params: Params,
    x: Inputs,
    y: ClassLabels,
    l2: float = 0.0,
    sample_weight: Weights | None = None,
) -> tuple[Scalar, Params]:
    """(E, ∇E) from one forward pass. Raises InputError if the shapes do not fit."""
    z = logits(params, x)
    residual = linear.mean_residual(cross_entropy.categorical_residual(z, y), sample_weight)
    data = linear.affine_pullback(residual, x)
    value = _error(z, y, params.weight, l2, sample_weight)
    return value, linear.with_penalty(data, params.weight, l2)


def gradient(
    params: Params,
    x: Inputs,
    y: ClassLabels,
    l2: float = 0.0,
    sample_weight: Weights | None = None,
) -> Params:
    """∇E = (x, 1)ᵀ(p − y), averaged, plus (λ W, 0). Raises InputError if the shapes do not fit."""
    return value_and_gradient(params, x, y, l2, sample_weight)[1]


def _logits_beside(y: ClassLabels, params: Params, x: Inputs) -> Float[Array, "N K"]:
    """The logits, for curvature, in which the labels have no say; their shape is checked."""
    z = logits(params, x)
    require_class_labels(y, z)
    return z


def hessian(params: Params, x: Inputs, y: ClassLabels, l2: float = 0.0) -> Params:
    """∇²E as blocks, in the structure of jax.hessian: h.weight.weight is (D, K, D, K)."""
    p = softmax(_logits_beside(y, params, x))
    x = linear.columns(x)
    (n, d), k = x.shape, p.shape[1]
    # diag(p) − p pᵀ, its diagonal as p (1 − p) with 1 − p summed from the others
    outer = p[:, :, None] * p[:, None, :]
    eye = jnp.eye(k, dtype=bool)[None, :, :]
    others = jnp.sum(jnp.where(eye, 0.0, outer), axis=-1)
    curvature = jnp.where(eye, others[:, :, None], -outer) / n
    xs = linear.einsum("nd,nkl->dkl", x, curvature)
    ww = linear.einsum("nd,nkl,ne->dkel", x, curvature, x)
    ridge = l2 * jnp.eye(d * k, dtype=x.dtype).reshape(d, k, d, k)
    return Params(
        weight=Params(weight=ww + ridge, bias=xs),  # type: ignore[arg-type]
        bias=Params(weight=xs.transpose(1, 0, 2), bias=jnp.sum(curvature, axis=0)),  # type: ignore[arg-type]
    )


def hvp(params: Params, tangent: Params, x: Inputs, y: ClassLabels, l2: float = 0.0) -> Params:
    """∇²E V = (x, 1)ᵀ [softmax′(z) (x V_w + v_b)]/N + λ V_w, without forming the Hessian."""
    require_tangent(tangent, params)
    z = _logits_beside(y, params, x)
    data = linear.affine_pullback(softmax_jvp(z, linear.affine(tangent, x)) / z.shape[0], x)
    return linear.with_penalty(data, tangent.weight, l2)


def model(l2: float = 0.0) -> Model[Params]:
    """Softmax regression with the penalty bound: the record that `fit` trains."""
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
