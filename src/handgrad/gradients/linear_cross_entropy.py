"""The output layer of a language model: hidden states times a vocabulary, then cross-entropy.

    z = h W,   E(h, W) = (1/T) Σ_t ℓ(z_t, y_t)          ℓ: `cross_entropy.categorical`
    with R = (p − y)/T:   ∂E/∂h = R Wᵀ,   ∂E/∂W = hᵀ R

T tokens, D features, V words. This is the direct form: all T × V logits are held at once, which is
what a language model cannot afford.

Source: "Neural networks", section on multi-class cross entropy, with scores that are linear.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from handgrad._checks import require_axis, require_examples, require_floating, require_rank
from handgrad._types import Scalar
from handgrad.errors import InputError
from handgrad.gradients import cross_entropy
from handgrad.gradients.linear import matmul

Hidden = Float[Array, "T D"]
Weight = Float[Array, "D V"]
Labels = Int[Array, " T"] | Float[Array, "T V"]


def check_shapes(hidden: Hidden, weight: Weight) -> None:
    """Raise InputError unless `hidden` is (T, D) for T > 0 and `weight` (D, V) for V > 0."""
    for name, array, letters in (("hidden", hidden, "(T, D)"), ("weight", weight, "(D, V)")):
        require_floating(name, array)
        require_rank(name, array, 2, letters)
    require_examples("hidden", hidden)
    require_axis("hidden", hidden, 1, jnp.shape(weight)[0], "features, as the weight has")
    if jnp.shape(weight)[1] == 0:
        raise InputError("weight", "at least one word", f"shape {jnp.shape(weight)}", "pass (D, V)")


def logits(hidden: Hidden, weight: Weight) -> Float[Array, "T V"]:
    """z = h W. Raises InputError if the shapes do not fit."""
    check_shapes(hidden, weight)
    return matmul(hidden, weight)


def value_and_gradient(
    hidden: Hidden, weight: Weight, y: Labels
) -> tuple[Scalar, tuple[Hidden, Weight]]:
    """(E, (∂E/∂h, ∂E/∂W)) from one forward pass. Raises InputError if the shapes do not fit."""
    z = logits(hidden, weight)
    residual = cross_entropy.categorical_residual(z, y) / z.shape[0]
    value = jnp.mean(cross_entropy.categorical(z, y))
    return value, (matmul(residual, weight.T), matmul(hidden.T, residual))


def loss(hidden: Hidden, weight: Weight, y: Labels) -> Scalar:
    """E: mean cross-entropy over tokens, in nats. `y` is (T,) indices or (T, V) probabilities."""
    return jnp.mean(cross_entropy.categorical(logits(hidden, weight), y))


def gradient(hidden: Hidden, weight: Weight, y: Labels) -> tuple[Hidden, Weight]:
    """(∂E/∂h, ∂E/∂W) = (R Wᵀ, hᵀ R): what jax.grad(loss, (0, 1)) returns."""
    return value_and_gradient(hidden, weight, y)[1]
