"""Softmax, log-softmax and log-sum-exp over the last axis, with their Jacobian products.

P(class i) = e^{z_i} / Σ_j e^{z_j}. Its Jacobian is diag(p) − p pᵀ, which is symmetric, so the
product with a tangent (jvp) and with a cotangent (vjp) are one formula. The Jacobian of
log-softmax is I − 1 pᵀ, whose two products differ. The gradient of log-sum-exp is p itself.
Softmax of two classes is the sigmoid of the difference: softmax([a, b])₀ = σ(a − b).

Source: "Neural networks", section on the sigmoid function (softmax).
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handgrad._checks import require_floating, require_same_shape
from handgrad.errors import InputError
from handgrad.gradients.exclusive import exclusive_sum


def _check(z: Array) -> None:
    require_floating("z", z)
    if jnp.ndim(z) == 0 or jnp.shape(z)[-1] == 0:
        raise InputError(
            "z", "at least one class on the last axis", f"shape {jnp.shape(z)}", "pass (..., K)"
        )


def _check_beside(name: str, array: Array, z: Array) -> None:
    require_floating(name, array)
    _check(z)
    require_same_shape(name, array, "z", z)


def softmax(z: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """p_i = e^{z_i − m} / Σ_j e^{z_j − m} with m = max z, so that nothing overflows.

    >>> [f"{p:.2f}" for p in softmax(jnp.array([2.0, 1.0, 0.0]))]
    ['0.67', '0.24', '0.09']
    """
    _check(z)
    e = jnp.exp(z - jnp.max(z, axis=-1, keepdims=True))
    return e / jnp.sum(e, axis=-1, keepdims=True)


def _is_top(z: Array) -> Array:
    """The largest logit of each row as a mask: a tie has one owner."""
    argmax = jnp.argmax(z, axis=-1, keepdims=True)
    return argmax == lax.broadcasted_iota(argmax.dtype, z.shape, z.ndim - 1)


def _from_top(z: Array, tangent: Array) -> Array:
    """ż − ż_top: a shift of all logits moves no probability, and so p_top ≈ 1 swallows no digit."""
    top = jnp.sum(jnp.where(_is_top(z), tangent, 0.0), axis=-1, keepdims=True)
    return tangent - top


def softmax_jvp(
    z: Float[Array, "*batch K"], tangent: Float[Array, "*batch K"]
) -> Float[Array, "*batch K"]:
    """(diag(p) − p pᵀ) ż = p ∘ (ż − ⟨p, ż⟩), with ż counted from its value at the largest logit.

    >>> softmax_jvp(jnp.array([17.0, 0.0]), jnp.array([1.0, 0.0])).tolist()
    [4.1399...e-08, -4.1399...e-08]
    """
    _check_beside("tangent", tangent, z)
    p, tangent = softmax(z), _from_top(z, tangent)
    return p * (tangent - jnp.sum(p * tangent, axis=-1, keepdims=True))


def softmax_vjp(
    cotangent: Float[Array, "*batch K"], z: Float[Array, "*batch K"]
) -> Float[Array, "*batch K"]:
    """p̄ᵀ (diag(p) − p pᵀ) = p ∘ (p̄ − ⟨p, p̄⟩): the Jacobian is symmetric."""
    _check_beside("cotangent", cotangent, z)
    return softmax_jvp(z, cotangent)


def _top_and_rest(z: Array) -> tuple[Array, Array]:
    """m = max z, and log(Σ_j e^{z_j − m}) as log1p of the sum without the largest term.

    The largest term is e⁰ = 1 and would swallow the others: log(1 + 4e-8) is 0 in float32. It is
    picked by a mask rather than by `max`, so that a tie has one owner and a derivative.
    """
    is_top = _is_top(z)
    top = jnp.sum(jnp.where(is_top, z, 0.0), axis=-1, keepdims=True)
    others = jnp.where(is_top, 0.0, jnp.exp(jnp.where(is_top, 0.0, z - top)))
    return top, jnp.log1p(jnp.sum(others, axis=-1, keepdims=True))


def logsumexp(z: Float[Array, "*batch K"]) -> Float[Array, "*batch"]:
    """log Σ_j e^{z_j}, without overflow, keeping the digits of what lies below the largest z."""
    _check(z)
    top, rest = _top_and_rest(z)
    return (top + rest)[..., 0]


def logsumexp_gradient(z: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """∂/∂z_i log Σ_j e^{z_j} = softmax(z)_i."""
    return softmax(z)


def log_softmax(z: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
    """log p_i = (z_i − m) − log Σ_j e^{z_j − m}: two terms of one sign, so nothing cancels.

    >>> log_softmax(jnp.array([17.0, 0.0])).tolist()
    [-4.1399...e-08, -17.0]
    """
    _check(z)
    top, rest = _top_and_rest(z)
    return (z - top) - rest


def log_softmax_jvp(
    z: Float[Array, "*batch K"], tangent: Float[Array, "*batch K"]
) -> Float[Array, "*batch K"]:
    """(I − 1 pᵀ) ż = ż − ⟨p, ż⟩, with ż counted from its value at the largest logit."""
    _check_beside("tangent", tangent, z)
    tangent = _from_top(z, tangent)
    return tangent - jnp.sum(softmax(z) * tangent, axis=-1, keepdims=True)


def log_softmax_vjp(
    cotangent: Float[Array, "*batch K"], z: Float[Array, "*batch K"]
) -> Float[Array, "*batch K"]:
    """ℓ̄ᵀ (I − 1 pᵀ) = ℓ̄ − p Σ_j ℓ̄_j, as ℓ̄_i Σ_{j≠i} p_j − p_i Σ_{j≠i} ℓ̄_j: 1 − p_i cancels."""
    _check_beside("cotangent", cotangent, z)
    p = softmax(z)
    return cotangent * exclusive_sum(p) - p * exclusive_sum(cotangent)
