"""From the logits of a block to all that a Newton step needs, with one exponential a logit.

    binary:   e = exp(−|z|), σ(|z|) = 1/(1+e), σ(−|z|) = e/(1+e)
              ℓ = max(z, 0) − y z + log1p(e),  ∂ℓ/∂z = (1−y) σ(z) − y σ(−z),  ∂²ℓ/∂z² = σ(z) σ(−z)
    softmax:  e = exp(z − max z), p = e / Σ e
              ℓ = log Σ e + max z − z_y,  ∂ℓ/∂z = p − y with Σ_{j≠y} p_j at the label

These equal `cross_entropy.binary`, `categorical` and their residuals, which take an exponential for
each of σ(z), σ(−z) and softplus. Logits of K classes are (K, R) here, the classes first: then both
products of a pass are plain row-major ones.

The *margin* is the least (2y−1) z, or z_y − max_{j≠y} z_j: above 0 the logits separate the classes.
"""

import jax.numpy as jnp

from handgrad._types import Array


def binary(z: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Σ ℓ, ∂ℓ/∂z (R,), ∂²ℓ/∂z² (R,) and the margin; soft labels have the margin −∞."""
    e = jnp.exp(-jnp.abs(z))
    near = 1 / (1 + e)
    far = e * near
    positive = z >= 0
    residual = (1 - y) * jnp.where(positive, near, far) - y * jnp.where(positive, far, near)
    loss = jnp.sum(jnp.maximum(z, 0) - y * z + jnp.log1p(e))
    signed = jnp.where(y == 1, z, jnp.where(y == 0, -z, -jnp.inf))
    return loss, residual, near * far, jnp.min(signed)


def softmax(z: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Σ ℓ, ∂ℓ/∂z (K, R), the probabilities (K, R) and the margin.

    `y` is (R,) integers or (R, K) probabilities, whose margin is −∞.
    """
    highest = jnp.max(z, axis=0)
    e = jnp.exp(z - highest[None])
    total = jnp.sum(e, axis=0)
    p = e / total[None]
    log_total = highest + jnp.log(total)
    if y.ndim == 2:
        y = y.T
        mass = jnp.sum(y, axis=0)
        loss = jnp.sum(log_total * mass) - jnp.sum(y * z)
        return loss, p * mass[None] - y, p, jnp.asarray(-jnp.inf, z.dtype)
    chosen = y[None, :] == jnp.arange(z.shape[0], dtype=y.dtype)[:, None]
    score = jnp.sum(jnp.where(chosen, z, 0), axis=0)
    others = jnp.sum(jnp.where(chosen, 0, p), axis=0)
    residual = jnp.where(chosen, -others[None], p)
    rival = jnp.max(jnp.where(chosen, -jnp.inf, z), axis=0)
    return jnp.sum(log_total - score), residual, p, jnp.min(score - rival)
