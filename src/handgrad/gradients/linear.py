"""The affine map x W + b, its pullbacks, and the penalty on its weight: what all models share.

Matrix products ask for full precision: the default on an accelerator is allowed to round the
inputs to bfloat16 or TF32, and a reference may not.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax, random
from jaxtyping import Array, Float

from handgrad._checks import floating_dtype, require_init, require_same_shape, require_scalar
from handgrad._types import DTypeLike, Features, Key, Logits, Scalar


class Params(NamedTuple):
    """Weight (D,) with bias () for one logit per example, or (D, K) with (K,) for K of them."""

    weight: Float[Array, " D"] | Float[Array, "D K"]
    bias: Scalar | Float[Array, " K"]


def init(
    key: Key, features: int, outputs: tuple[int, ...] = (), dtype: DTypeLike | None = None
) -> Params:
    """Random weights w ~ N(0, 1/D), zero biases; `outputs` is () or (K,).

    Raises InputError unless there are a random key, a floating dtype, and sizes of 1 or more.
    """
    require_init(key, features, outputs)
    dtype = floating_dtype(dtype)
    scale = jnp.sqrt(jnp.asarray(features, dtype))
    weight = random.normal(key, (features, *outputs), dtype) / scale
    return Params(weight=weight, bias=jnp.zeros(outputs, dtype))


def matmul(a: Array, b: Array) -> Array:
    """a @ b at the full precision of the dtype on every device."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def einsum(subscripts: str, *operands: Array) -> Array:
    """A sum of products, likewise."""
    return jnp.einsum(subscripts, *operands, precision=lax.Precision.HIGHEST)


def affine(params: Params, x: Features) -> Logits:
    """x W + b: (N,) or (N, K); of a tangent of the parameters, the tangent of x W + b."""
    return matmul(x, params.weight) + jnp.expand_dims(params.bias, 0)


def affine_pullback(cotangent: Logits, x: Features) -> Params:
    """(xᵀ r, Σ_n r_n): pulls a cotangent r of x W + b back to (W, b). This is r times (x, 1)."""
    return Params(weight=matmul(cotangent.T, x).T, bias=jnp.sum(cotangent, axis=0))


def affine_pullback_input(cotangent: Logits, params: Params) -> Features:
    """r Wᵀ: pulls a cotangent r of x W + b back to x."""
    if cotangent.ndim == 1:
        return jnp.outer(cotangent, params.weight)
    return matmul(cotangent, params.weight.T)


def mean_loss(losses: Array, sample_weight: Array | None = None) -> Scalar:
    """(1/N) Σ_n w_n ℓ_n over the examples; w_n = 1 where no weights (N,) are given."""
    if sample_weight is None:
        return jnp.mean(losses)
    require_same_shape("sample_weight", sample_weight, "the losses", losses)
    return jnp.mean(sample_weight * losses)


def mean_residual(residual: Logits, sample_weight: Array | None = None) -> Logits:
    """w_n r_n/N: the cotangent of the logits that `mean_loss` gives, from r = ∂ℓ/∂z of each."""
    if sample_weight is not None:
        residual = residual * jnp.expand_dims(sample_weight, range(1, residual.ndim))
    return residual / residual.shape[0]


def penalty(weight: Array, l2: float) -> Scalar:
    """½ λ ‖w‖²; the bias is never penalised."""
    return 0.5 * l2 * jnp.sum(jnp.square(weight)) if _counts(l2) else jnp.zeros((), weight.dtype)


def penalty_gradient(weight: Array, l2: float) -> Array:
    """λ w."""
    return l2 * weight if _counts(l2) else jnp.zeros_like(weight)


def with_penalty(gradient: Params, weight: Array, l2: float) -> Params:
    """The gradient of the data, with that of the penalty on `weight` added: (λ w, 0)."""
    return Params(gradient.weight + penalty_gradient(weight, l2), gradient.bias)


def _counts(l2: float) -> bool:
    """False if λ is the number 0, whose product with an infinite weight would be NaN."""
    require_scalar("l2", l2)
    return not isinstance(l2, int | float) or l2 != 0
