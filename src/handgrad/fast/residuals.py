"""Summed cross-entropy and residuals of a block of logits, classes first, from one exponential.

    binary:       ℓ = max(z, 0) − y z + log(1 + e^−|z|),  r = (1−y) σ(z) − y σ(−z)
    categorical:  ℓ = log Σ_j e^{z_j} − z_y,               r_i = p_i, and at the label −Σ_{j≠y} p_j

Equals: `cross_entropy.binary` and `categorical`, summed, and their residuals.
"""

from functools import reduce

import jax.numpy as jnp
from jaxtyping import Array

from handgrad.gradients import cross_entropy

FEW = 32
"""Classes up to which the rows of logits are separate vectors."""


def binary(z: Array, y: Array) -> tuple[Array, Array]:
    """(Σ ℓ, r) for logits (R,) and labels (R,) in [0, 1]."""
    y = y.astype(z.dtype)
    e = jnp.exp(-jnp.abs(z))
    near = 1 / (1 + e)  # σ(|z|); and σ(−|z|) = e σ(|z|), with no cancellation
    positive, negative = jnp.where(z >= 0, near, e * near), jnp.where(z >= 0, e * near, near)
    linear = jnp.sum(jnp.maximum(z, 0) - y * z)
    return linear + jnp.sum(jnp.log1p(e)), (1 - y) * positive - y * negative


def categorical(z: Array, y: Array) -> tuple[Array, Array]:
    """(Σ ℓ, r) for logits (K, R) and labels (R,) integers, or (K, R) probabilities.

    An index out of range gives NaN, as in the reference.
    """
    if y.ndim == 2:
        y = y.astype(z.dtype)
        losses = cross_entropy.categorical(z.T, y.T)
        return jnp.sum(losses), cross_entropy.categorical_residual(z.T, y.T).T
    if z.shape[0] > FEW:
        return many_classes(z, y)
    rows = list(z)  # the few classes as separate vectors: XLA fuses them into one run over R
    top = reduce(jnp.maximum, rows)
    gap = top - sum(jnp.where(y == k, row, 0) for k, row in enumerate(rows))
    others = [jnp.where(y == k, 0, jnp.exp(row - top)) for k, row in enumerate(rows)]
    rest = sum(others)
    total = rest + jnp.exp(-gap)
    losses = gap + jnp.log1p(jnp.where(gap == 0, rest, total - 1))  # at the top total is 1 + rest
    valid = jnp.where((y >= 0) & (y < len(rows)), 1 / total, jnp.nan)
    residuals = [jnp.where(y == k, -rest, other) * valid for k, other in enumerate(others)]
    return jnp.sum(losses + 0 * valid), jnp.stack(residuals)


def many_classes(z: Array, y: Array) -> tuple[Array, Array]:
    """The same for logits (K, R) and integers (R,), as whole arrays."""
    true = jnp.arange(z.shape[0], dtype=y.dtype)[:, None] == y[None, :]
    top = jnp.max(z, axis=0)
    gap = top - jnp.sum(jnp.where(true, z, 0), axis=0)
    others = jnp.where(true, 0, jnp.exp(z - top[None, :]))
    rest = jnp.sum(others, axis=0)
    total = rest + jnp.exp(-gap)
    losses = gap + jnp.log1p(jnp.where(gap == 0, rest, total - 1))
    valid = jnp.where((y >= 0) & (y < z.shape[0]), 1 / total, jnp.nan)
    return jnp.sum(losses + 0 * valid), jnp.where(true, -rest[None, :], others) * valid[None, :]
