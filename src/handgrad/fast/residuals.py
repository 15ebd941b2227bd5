"""Cross-entropy and its residuals for a block of logits, from one exponential of each.

    binary, with e = e^−|z|:
        ℓ = log(1 + e) + (1−y) z,   r = ((1−y) − y e) / (1 + e)      where z ≥ 0
        ℓ = log(1 + e) − y z,       r = ((1−y) e − y) / (1 + e)      elsewhere
    categorical:
        ℓ = log Σ_j e^{z_j} − z_y,  r_i = p_i, and at the label −Σ_{j≠y} p_j

Equals: `cross_entropy.binary` and `categorical`, and their residuals.
"""

from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from handgrad.gradients import cross_entropy

FEW = 32
"""Classes up to which logits are best kept classes first, their rows as separate vectors."""


def binary(z: Array, y: Array) -> tuple[Array, Array]:
    """(Σ ℓ, r) for logits (R,) and labels (R,) in [0, 1]."""
    y = y.astype(z.dtype)
    e, right = jnp.exp(-jnp.abs(z)), z >= 0
    slope = jnp.where(right, 1 - y, -y)
    losses = jnp.log1p(e) + jnp.where(slope == 0, 0, slope * z)  # 0 at an infinite z too
    return jnp.sum(losses), jnp.where(right, (1 - y) - y * e, (1 - y) * e - y) / (1 + e)


def categorical(z: Array, y: Array, axis: int = 0) -> tuple[Array, Array]:
    """(Σ ℓ, r) for logits (K, R) and labels (R,) integers, or (K, R) probabilities.

    With `axis` 1 the classes come last: logits (R, K), which is faster for many. An index out of
    range gives NaN, as in the reference.
    """
    if y.ndim == 2:
        rows = (z, y.astype(z.dtype)) if axis else (z.T, y.T.astype(z.dtype))
        residuals = cross_entropy.categorical_residual(*rows)
        return jnp.sum(cross_entropy.categorical(*rows)), residuals if axis else residuals.T
    few = axis == 0 and z.shape[0] <= FEW
    losses, residuals = few_classes(z, y) if few else many_classes(z, y, axis)
    return jnp.sum(losses), residuals


def few_classes(z: Array, y: Array) -> tuple[Array, Array]:
    """(ℓ, r) for logits (K, R) and integers (R,), each class a vector of its own.

    XLA fuses them into one run over R.
    """
    rows = list(z)
    top = reduce(jnp.maximum, rows)
    gap = top - sum(jnp.where(y == k, row, 0) for k, row in enumerate(rows))
    others = [jnp.where(y == k, 0, jnp.exp(row - top)) for k, row in enumerate(rows)]
    rest = reduce(jnp.add, others)
    losses, scale = from_sums(gap, rest, y, len(rows))
    residuals = [jnp.where(y == k, -rest, other) * scale for k, other in enumerate(others)]
    return losses, jnp.stack(residuals)


def many_classes(z: Array, y: Array, axis: int) -> tuple[Array, Array]:
    """(ℓ, r) for logits whose classes run along `axis`, and integers (R,), as whole arrays."""
    losses, residuals, scale = unscaled_classes(z, y, axis)
    return losses, residuals * jnp.expand_dims(scale, axis)


def unscaled_classes(z: Array, y: Array, axis: int) -> tuple[Array, Array, Array]:
    """(ℓ, r / s, s), s = 1 / Σ_j e^{z_j − max z}, for the same.

    What is not at the label is kept as it is summed: XLA puts it, and the residual, where z was.
    """
    true = lax.broadcasted_iota(y.dtype, z.shape, axis) == jnp.expand_dims(y, axis)
    own = at_label(z, y, axis)
    top = jnp.maximum(jnp.max(z, axis=axis), own)  # so that z_y is read before z is written over
    others = jnp.where(true, 0, jnp.exp(z - jnp.expand_dims(top, axis)))
    rest = jnp.sum(others, axis=axis)
    losses, scale = from_sums(top - own, rest, y, z.shape[axis])
    return losses, jnp.where(true, -jnp.expand_dims(rest, axis), others), scale


def at_label(z: Array, y: Array, axis: int) -> Array:
    """z_y (R,); of the nearest class if there is no such."""
    picked = jnp.take_along_axis(z, jnp.expand_dims(y, axis), axis=axis, mode="clip")
    return jnp.squeeze(picked, axis)


def from_sums(gap: Array, rest: Array, y: Array, classes: int) -> tuple[Array, Array]:
    """(ℓ, 1/Σ_j e^{z_j − max z}) from max z − z_y and Σ_{j≠y} e^{z_j − max z}; NaN for no class."""
    known = jnp.where((y >= 0) & (y < classes), jnp.ones((), rest.dtype), jnp.nan)
    total = rest + jnp.exp(-gap)
    losses = gap + jnp.log1p(jnp.where(gap == 0, rest, total - 1))  # at the top total is 1 + rest
    return losses * known, known / total
