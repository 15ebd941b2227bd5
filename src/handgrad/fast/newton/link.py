"""From the logits of a block to all that a Newton step needs.

Loss and residual are those of `fast.residuals`, from one exponential of each logit. Beside them:

    curvature:  ∂²ℓ/∂z² = σ(z) σ(−z) = e/(1 + e)², e = e^−|z|, for two classes
    margin:     the least (2y−1) z, or z_y − max_{j≠y} z_j: above 0 the logits separate the classes

Logits of K classes are (K, R) here, the classes first: then both products of a pass are plain
row-major ones.
"""

import jax.numpy as jnp

from handgrad._types import Array
from handgrad.fast import residuals


def binary(z: Array, y: Array) -> tuple[Array, Array, Array]:
    """Σ ℓ, ∂ℓ/∂z (R,) and the margin; soft labels have the margin −∞."""
    signed = jnp.where(y == 1, z, jnp.where(y == 0, -z, -jnp.inf))
    return *residuals.binary(z, y), jnp.min(signed)


def softmax(z: Array, y: Array) -> tuple[Array, Array, Array]:
    """Σ ℓ, ∂ℓ/∂z (K, R) and the margin.

    `y` is (R,) integers or (R, K) probabilities, whose margin is −∞.
    """
    if y.ndim == 2:
        return *residuals.categorical(z, y.T), jnp.asarray(-jnp.inf, z.dtype)
    chosen = y[None, :] == jnp.arange(z.shape[0], dtype=y.dtype)[:, None]
    rival = jnp.max(jnp.where(chosen, -jnp.inf, z), axis=0)
    score = jnp.sum(jnp.where(chosen, z, 0), axis=0)
    return *residuals.categorical(z, y), jnp.min(score - rival)


def curvature(z: Array) -> Array:
    """σ(z) σ(−z) (R,); compiled with the residual, it has its exponential already."""
    e = jnp.exp(-jnp.abs(z))
    return e / jnp.square(1 + e)
