"""The affine map x W + b, its pullbacks, and the penalty on its weight: what all models share.

Matrix products ask for full precision: the default on an accelerator is allowed to round the
inputs to bfloat16 or TF32, and a reference may not.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax, random
from jaxtyping import Array, Float

from handgrad._checks import (
    MOST,
    floating_dtype,
    require_axis,
    require_examples,
    require_floating,
    require_key,
    require_rank,
    require_scalar,
    require_size,
    shape_of,
)
from handgrad._types import DTypeLike, Features, Key, Scalar
from handgrad.errors import InputError


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
    require_floating("weight", weight)
    if shape_of(weight) == ():
        raise InputError("weight", "shape (D, ...)", "shape ()", "pass one weight for each feature")
    require_axis("x", x, 1, jnp.shape(weight)[0], "features, as the weight has")


def check_params(params: Params, name: str = "params") -> None:
    """Raise InputError unless `params` has a floating weight (D,) or (D, K) and a bias to match."""
    if not (hasattr(params, "weight") and hasattr(params, "bias")):
        raise InputError(
            name, "a weight and a bias", type(params).__name__, "pass what init returns"
        )
    require_floating(f"{name}.weight", params.weight)
    require_floating(f"{name}.bias", params.bias)
    if len(shape_of(params.weight)) not in (1, 2):
        raise InputError(
            f"{name}.weight", "shape (D,) or (D, K)", f"shape {shape_of(params.weight)}",
            "pass what init returns",
        )  # fmt: skip
    if shape_of(params.bias) != shape_of(params.weight)[1:]:
        raise InputError(
            f"{name}.bias", f"shape {shape_of(params.weight)[1:]}, as the weight has outputs",
            f"shape {shape_of(params.bias)}", "pass one bias for each output",
        )  # fmt: skip


def check_tangent(tangent: Params, params: Params) -> None:
    """Raise InputError unless `tangent` has the shapes of `params`."""
    check_params(params)
    check_params(tangent, "tangent")
    if shape_of(tangent.weight) != shape_of(params.weight):
        raise InputError(
            "tangent.weight", f"shape {shape_of(params.weight)}, as params has",
            f"shape {shape_of(tangent.weight)}", "pass one number for each weight",
        )  # fmt: skip


def init(
    key: Key, features: int, outputs: tuple[int, ...] = (), dtype: DTypeLike | None = None
) -> Params:
    """Random weights w ~ N(0, 1/D), zero biases; `outputs` is () or (K,).

    Raises InputError for what is no key, no floating dtype, or no size; and for too many weights.
    """
    require_key(key)
    dtype = floating_dtype(dtype)
    require_size("features", features)
    for size in outputs:
        require_size("outputs", size)
    if features * math.prod(outputs) > MOST:
        raise InputError(
            "hidden", f"at most {MOST:,} weights in a layer",
            f"{features:,} x {math.prod(outputs):,}", "make the layers smaller",
        )  # fmt: skip
    weight = random.normal(key, (features, *outputs), dtype) / jnp.sqrt(
        jnp.asarray(features, dtype)
    )
    return Params(weight=weight, bias=jnp.zeros(outputs, dtype))


def affine(params: Params, x: Features) -> Float[Array, " N"] | Float[Array, "N K"]:
    """x W + b: (N,) or (N, K)."""
    return matmul(x, params.weight) + jnp.broadcast_to(
        params.bias, (x.shape[0], *shape_of(params.bias))
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


def _is_absent(l2: Any) -> bool:
    """Whether λ is the number 0: XLA keeps a product with 0, which is NaN for an infinite weight.

    A step on one example takes six times as long with it.
    """
    require_scalar("l2", l2)
    return isinstance(l2, int | float) and l2 == 0
