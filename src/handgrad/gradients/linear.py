"""The affine map x W + b, its pullbacks, and the penalty on its weight: what all models share.

Matrix products ask for full precision: the default on an accelerator is allowed to round the
inputs to bfloat16 or TF32, and a reference may not.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax, random
from jaxtyping import Array, Float

from handgrad._checks import require_axis, require_examples, require_floating, require_rank
from handgrad._types import DTypeLike, Features, Key, Scalar


class Params(NamedTuple):
    """Weight (D,) with bias () for one logit an example, or (D, K) with (K,) for K of them."""

    weight: Float[Array, " D"] | Float[Array, "D K"]
    bias: Scalar | Float[Array, " K"]


def matmul(a: Array, b: Array) -> Array:
    """a @ b at the full precision of the dtype on every device."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def check_features(x: Array, weight: Array) -> None:
    """Raise InputError unless `x` is (N, D) for N > 0 and floating, as `weight` (D, ...) needs."""
    require_floating("x", x)
    require_rank("x", x, 2, "(N, D)")
    require_examples("x", x)
    require_axis("x", x, 1, jnp.shape(weight)[0], "features, as the weight has")


def init(
    key: Key, features: int, outputs: tuple[int, ...] = (), dtype: DTypeLike | None = None
) -> Params:
    """Random weights w ~ N(0, 1/D), zero biases; `outputs` is () or (K,)."""
    dtype = jnp.zeros(()).dtype if dtype is None else dtype
    weight = random.normal(key, (features, *outputs), dtype) / jnp.sqrt(
        jnp.asarray(features, dtype)
    )
    return Params(weight=weight, bias=jnp.zeros(outputs, dtype))


def affine(params: Params, x: Features) -> Float[Array, " N"] | Float[Array, "N K"]:
    """x W + b: (N,) or (N, K)."""
    return matmul(x, params.weight) + jnp.broadcast_to(
        params.bias, (x.shape[0], *params.bias.shape)
    )


def affine_pullback(cotangent: Float[Array, " N"] | Float[Array, "N K"], x: Features) -> Params:
    """(xᵀ r, Σ_n r_n): what a cotangent r on x W + b is for (W, b). This is r times (x, 1).

    A vector goes in front: XLA on a CPU reads x in order for r x, and takes about ten times as long
    for the same sum as xᵀ r. For K columns both take the same time.
    """
    weight = matmul(cotangent, x) if cotangent.ndim == 1 else matmul(x.T, cotangent)
    return Params(weight=weight, bias=jnp.sum(cotangent, axis=0))


def affine_pullback_input(
    cotangent: Float[Array, " N"] | Float[Array, "N K"], params: Params
) -> Features:
    """r Wᵀ: what a cotangent r on x W + b is for x."""
    if cotangent.ndim == 1:
        return cotangent[:, None] * params.weight[None, :]
    return matmul(cotangent, params.weight.T)


def penalty(weight: Array, l2: float) -> Scalar:
    """½ λ ‖w‖²; the bias is never penalised."""
    if _is_absent(l2):
        return jnp.zeros((), weight.dtype)
    return 0.5 * l2 * jnp.sum(jnp.square(weight))


def penalty_gradient(weight: Array, l2: float) -> Array:
    """λ w."""
    if _is_absent(l2):
        return jnp.zeros_like(weight)
    return l2 * weight


def _is_absent(l2: float) -> bool:
    """Whether λ is the number 0: XLA keeps a product with 0, which is NaN for an infinite weight.

    A step on one example takes six times as long with it.
    """
    return isinstance(l2, int | float) and l2 == 0
