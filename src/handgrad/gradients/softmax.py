"""Softmax, log-softmax and log-sum-exp over the last axis, with their Jacobian products.

P(class i) = e^{z_i} / Σ_j e^{z_j}. Its Jacobian is diag(p) − p pᵀ, which is symmetric, so the
product with a tangent (jvp) and with a cotangent (vjp) are one formula. The Jacobian of
log-softmax is I − 1 pᵀ, whose two products differ. The gradient of log-sum-exp is p itself.
Softmax of two classes is the sigmoid of the difference: softmax([a, b])₀ = σ(a − b).

Sums over classes are taken in float32 at least, since float16 ends at 65,504: results have the
dtype of the logits.

Source: "Neural networks", section on the sigmoid function (softmax).
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handgrad._checks import require_rows, require_same_shape
from handgrad._precision import wider
from handgrad._types import Rows
from handgrad.gradients.bernoulli import leave_one_out_sum


def _rows(z: Array, **beside: Array) -> tuple[Any, ...]:
    """Arrays (..., K) of one shape, in float32 at least, and the dtype of z."""
    require_rows("z", z)
    for name, array in beside.items():
        require_rows(name, array)
        require_same_shape(name, array, "z", z)
    wide = wider(jnp.result_type(z), jnp.float32)
    return *(jnp.asarray(array, wide) for array in (z, *beside.values())), jnp.result_type(z)


def _is_top(z: Array) -> Array:
    """The largest logit of each row as a mask: a tie has one owner."""
    argmax = jnp.argmax(z, axis=-1, keepdims=True)
    return argmax == lax.broadcasted_iota(argmax.dtype, z.shape, z.ndim - 1)


def _from_top(z: Array, tangent: Array) -> Array:
    """ż − ż_top: a shift of all logits moves no probability, and so p_top ≈ 1 swallows no digit."""
    top = jnp.sum(jnp.where(_is_top(z), tangent, 0.0), axis=-1, keepdims=True)
    return tangent - top


def _top_and_rest(z: Array) -> tuple[Array, Array]:
    """m = max z, and log(Σ_j e^{z_j − m}) as log1p of the sum without the largest term.

    The largest term is e⁰ = 1 and would swallow the others: log(1 + 4e-8) is 0 in float32. It is
    picked by a mask rather than by `max`, so that a tie has one owner and a derivative.
    """
    is_top = _is_top(z)
    top = jnp.sum(jnp.where(is_top, z, 0.0), axis=-1, keepdims=True)
    others = jnp.where(is_top, 0.0, jnp.exp(jnp.where(is_top, 0.0, z - top)))
    return top, jnp.log1p(jnp.sum(others, axis=-1, keepdims=True))


# --- softmax ------------------------------------------------------------------------------------


def softmax(z: Rows) -> Rows:
    """p_i = e^{z_i − m} / Σ_j e^{z_j − m} with m = max z, so that nothing overflows.

    >>> [f"{p:.2f}" for p in softmax(jnp.array([2.0, 1.0, 0.0]))]
    ['0.67', '0.24', '0.09']
    """
    z, dtype = _rows(z)
    e = jnp.exp(z - jnp.max(z, axis=-1, keepdims=True))
    return (e / jnp.sum(e, axis=-1, keepdims=True)).astype(dtype)


def softmax_jvp(z: Rows, tangent: Rows) -> Rows:
    """(diag(p) − p pᵀ) ż = p ∘ (ż − ⟨p, ż⟩), with ż counted from its value at the largest logit.

    >>> softmax_jvp(jnp.array([17.0, 0.0]), jnp.array([1.0, 0.0])).tolist()
    [4.1399...e-08, -4.1399...e-08]
    """
    z, tangent, dtype = _rows(z, tangent=tangent)
    p, tangent = softmax(z), _from_top(z, tangent)
    return (p * (tangent - jnp.sum(p * tangent, axis=-1, keepdims=True))).astype(dtype)


def softmax_vjp(cotangent: Rows, z: Rows) -> Rows:
    """p̄ᵀ (diag(p) − p pᵀ) = p ∘ (p̄ − ⟨p, p̄⟩): the Jacobian is symmetric."""
    z, cotangent, dtype = _rows(z, cotangent=cotangent)
    return softmax_jvp(z, cotangent).astype(dtype)


# --- log-sum-exp --------------------------------------------------------------------------------


def logsumexp(z: Rows) -> Float[Array, "*batch"]:
    """log Σ_j e^{z_j}, without overflow, keeping the digits of what lies below the largest z."""
    z, dtype = _rows(z)
    top, rest = _top_and_rest(z)
    return (top + rest)[..., 0].astype(dtype)


def logsumexp_gradient(z: Rows) -> Rows:
    """∂/∂z_i log Σ_j e^{z_j} = softmax(z)_i."""
    return softmax(z)


# --- log-softmax --------------------------------------------------------------------------------


def log_softmax(z: Rows) -> Rows:
    """log p_i = (z_i − m) − log Σ_j e^{z_j − m}: two terms of one sign, so nothing cancels.

    >>> log_softmax(jnp.array([17.0, 0.0])).tolist()
    [-4.1399...e-08, -17.0]
    """
    z, dtype = _rows(z)
    top, rest = _top_and_rest(z)
    return ((z - top) - rest).astype(dtype)


def log_softmax_jvp(z: Rows, tangent: Rows) -> Rows:
    """(I − 1 pᵀ) ż = ż − ⟨p, ż⟩, with ż counted from its value at the largest logit."""
    z, tangent, dtype = _rows(z, tangent=tangent)
    tangent = _from_top(z, tangent)
    return (tangent - jnp.sum(softmax(z) * tangent, axis=-1, keepdims=True)).astype(dtype)


def log_softmax_vjp(cotangent: Rows, z: Rows) -> Rows:
    """ℓ̄ᵀ (I − 1 pᵀ) = ℓ̄ − p Σ_j ℓ̄_j, as ℓ̄_i Σ_{j≠i} p_j − p_i Σ_{j≠i} ℓ̄_j: 1 − p_i cancels."""
    z, cotangent, dtype = _rows(z, cotangent=cotangent)
    p = softmax(z)
    return (cotangent * leave_one_out_sum(p) - p * leave_one_out_sum(cotangent)).astype(dtype)
