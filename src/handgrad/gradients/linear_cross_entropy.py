"""The output layer of a language model: hidden states times a vocabulary, then cross-entropy.

    z = h W,   E(h, W) = (1/T) Σ_t ℓ(z_t, y_t)          ℓ: `cross_entropy.categorical`
    with R = Ē (p − y)/T:   ∂E/∂h = R Wᵀ,   ∂E/∂W = hᵀ R         Ē: the cotangent of E

T tokens, D features, V words. `forward` returns what `backward` will need. This is the direct form:
all T × V logits are held at once, which is what a language model cannot afford.

Source: "Neural networks", section on multi-class cross entropy, with scores that are linear.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from handgrad._checks import require_output_layer
from handgrad._types import Scalar
from handgrad.gradients import cross_entropy
from handgrad.gradients.linear import matmul

Hidden = Float[Array, "T D"]
Weight = Float[Array, "D V"]
Labels = Int[Array, " T"] | Float[Array, "T V"]


Saved = tuple[Hidden, Weight, Labels, Float[Array, "T V"]]
"""What the forward pass keeps: h, W, y and z."""


def forward(hidden: Hidden, weight: Weight, y: Labels) -> tuple[Scalar, Saved]:
    """E: mean cross-entropy over tokens, in nats, and the activations that `backward` takes.

    `y` is (T,) indices or (T, V) probabilities. Raises InputError if the shapes do not fit.
    """
    require_output_layer(hidden, weight)
    z = matmul(hidden, weight)
    return jnp.mean(cross_entropy.categorical(z, y)), (hidden, weight, y, z)


def backward(cotangent: Scalar, saved: Saved) -> tuple[Hidden, Weight]:
    """(R Wᵀ, hᵀ R): pulls a cotangent of E back to (h, W)."""
    hidden, weight, y, z = saved
    residual = cotangent * cross_entropy.categorical_residual(z, y) / z.shape[0]
    return matmul(residual, weight.T), matmul(hidden.T, residual)


def loss(hidden: Hidden, weight: Weight, y: Labels) -> Scalar:
    """E alone; see `forward`."""
    return forward(hidden, weight, y)[0]


def value_and_gradient(
    hidden: Hidden, weight: Weight, y: Labels
) -> tuple[Scalar, tuple[Hidden, Weight]]:
    """(E, (∂E/∂h, ∂E/∂W)) by one forward and one backward pass; see `forward`."""
    value, saved = forward(hidden, weight, y)
    return value, backward(jnp.ones_like(value), saved)


def gradient(hidden: Hidden, weight: Weight, y: Labels) -> tuple[Hidden, Weight]:
    """(∂E/∂h, ∂E/∂W): what jax.grad(loss, (0, 1)) returns; see `forward`."""
    return value_and_gradient(hidden, weight, y)[1]
