"""The affine map x W + b, its pullbacks, and the penalty on its weight: what all models share.

Features are an array, or `Coded`: then x W picks the weight of each category where one-hot columns
would multiply it by 1 and all others by 0, and xᵀ r sums the r of each category's rows:

    (x W)_n = Σ_j x_nj W_j + Σ_c W_{k(n,c)}        (xᵀ r)_k = Σ_{n: k(n,c)=k} r_n

over columns of numbers j and of categories c; k(n, c) is the feature of row n's category in c.

Matrix products ask for full precision: the default on an accelerator is allowed to round the
inputs to bfloat16 or TF32, and a reference may not.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax, random
from jaxtyping import Array, Float

from handgrad._checks import floating_dtype, require_init, require_same_shape, require_scalar
from handgrad._types import Coded, DTypeLike, Features, Inputs, Key, Logits, Scalar


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


# --- products with features, in columns or in codes -----------------------------------------------


def product(x: Inputs, weight: Array) -> Logits:
    """x W, (N,) or (N, K)."""
    if not isinstance(x, Coded):
        return matmul(x, weight)
    scores = matmul(x.values, _of_numbers(x, weight[jnp.array(x.starts)]))
    padded = jnp.concatenate([weight, jnp.zeros_like(weight[:1])])  # what no category weighs
    for column in x.categories:
        feature, valid = _feature(x, column)
        picked = padded.at[feature].get(mode="promise_in_bounds")
        known = jnp.expand_dims(valid, range(1, weight.ndim))
        scores = scores + jnp.where(known, picked, jnp.nan)
    return scores


def pullback(cotangent: Logits, x: Inputs) -> Array:
    """xᵀ r, (D,) or (D, K): pulls a cotangent r of x W back to W."""
    if not isinstance(x, Coded):
        return matmul(cotangent.T, x).T
    columns = matmul(cotangent.T, x.values).T
    sums = jnp.zeros((x.shape[1] + 1, *cotangent.shape[1:]), cotangent.dtype)
    sums = sums.at[jnp.array(x.starts)].set(_of_numbers(x, columns))
    for column in x.categories:
        feature, _ = _feature(x, column)
        sums = sums.at[feature].add(cotangent, mode="promise_in_bounds")
    return sums[:-1]


def gram(x: Coded, s: Array) -> Array:
    """Σ_n s_n (x_n, 1)(x_n, 1)ᵀ, (D+1, D+1), for s (N,): numbers by numbers as a product.

    A row of categories by numbers sums (x_n, 1) over the rows of a category, and one of categories
    by categories counts, with weights s, the rows that have both.
    """
    constant, nothing = x.shape[1], x.shape[1] + 1
    size = nothing + 1
    numbers = x.values[:, jnp.array(x.numbers, int)]
    rows = jnp.concatenate([numbers, jnp.ones_like(x.values[:, :1])], axis=1)
    weighted = rows * s[:, None]
    places = jnp.array([*(x.starts[column] for column in x.numbers), constant])
    features = [_feature(x, column)[0] for column in x.categories]
    features = [jnp.where(feature == constant, nothing, feature) for feature in features]
    mixed = jnp.zeros((size, len(places)), s.dtype)
    joint = jnp.zeros((size, size), s.dtype)
    for number, feature in enumerate(features):
        mixed = mixed.at[feature].add(weighted, mode="promise_in_bounds")
        for other in features[:number]:
            joint = joint.at[other, feature].add(s, mode="promise_in_bounds")
    both = joint + joint.T + jnp.diag(mixed[:, -1])
    both = both.at[:, places].add(mixed).at[places].add(mixed.T)
    both = both.at[places[:, None], places[None]].add(matmul(rows.T, weighted))
    return both[:nothing, :nothing]


def columns(x: Inputs) -> Features:
    """The features as an array (N, D), categories one-hot; NaN for codes out of range."""
    if not isinstance(x, Coded):
        return x
    dtype = jnp.asarray(x.values[:0]).dtype  # which JAX has for it
    return product(x, jnp.eye(x.shape[1], dtype=dtype))


def _of_numbers(x: Coded, columns: Array) -> Array:
    """What each of the C columns has, (C,) or (C, K), and 0 for categories."""
    number = jnp.array([not size for size in x.sizes])
    return jnp.where(jnp.expand_dims(number, range(1, columns.ndim)), columns, 0)


def _feature(x: Coded, column: int) -> tuple[Array, Array]:
    """Of each row the feature of its category, D where there is none; and whether it is a code."""
    code, size = x.values[:, column], x.sizes[column]
    known = (code >= 0) & (code < size) & (code == jnp.floor(code))
    feature = jnp.where(known, x.starts[column] + code.astype(jnp.int32), x.shape[1])
    return feature, known | (code == -1)


# --- the map --------------------------------------------------------------------------------------


def affine(params: Params, x: Inputs) -> Logits:
    """x W + b: (N,) or (N, K); of a tangent of the parameters, the tangent of x W + b."""
    return product(x, params.weight) + jnp.expand_dims(params.bias, 0)


def affine_pullback(cotangent: Logits, x: Inputs) -> Params:
    """(xᵀ r, Σ_n r_n): pulls a cotangent r of x W + b back to (W, b). This is r times (x, 1)."""
    return Params(weight=pullback(cotangent, x), bias=jnp.sum(cotangent, axis=0))


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
