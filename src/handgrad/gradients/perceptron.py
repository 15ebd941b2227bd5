"""The perceptron: a step of a score, the rule that corrects mistakes, and the loss it descends.

With the label as a sign, t = 2y − 1:

    E(w, b) = (1/N) Σ_n max(0, −t_n z_n)                z = x·w + b
    a subgradient: (1/N) Σ_{n: t_n z_n ≤ 0} −t_n (x_n, 1)

**The kink.** At z = 0 the loss has no derivative: anything from −t to 0 times (x, 1) is a
subgradient. This file takes −t, so that a point on the line counts as a mistake and the algorithm
leaves zero weights. Once a point is on its side it has no further influence; with cross-entropy
it keeps pushing.

The number of mistakes itself cannot be descended: it is flat wherever it is continuous.

Source: "Neural networks", sections on the error function and on the gradient descent algorithm.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from handgrad._checks import require_binary_labels, require_rank, require_scalar
from handgrad._types import BinaryLabels, Inputs, Model, Scalar
from handgrad.gradients.linear import Params, affine_pullback
from handgrad.gradients.logistic import init, logits
from handgrad.gradients.sigmoid import step

__all__ = [
    "Params", "gradient", "init", "logits", "loss", "mistakes", "model", "predict", "rule",
    "value_and_gradient",
]  # fmt: skip


def predict(params: Params, x: Inputs) -> Float[Array, " N"]:
    """ŷ = step(x·w + b): 1 or 0, a probability that admits no doubt."""
    return step(logits(params, x))


def _sign(y: Array, z: Array) -> Array:
    """t = 2y − 1."""
    require_binary_labels(y, z)
    return 2 * jnp.asarray(y, z.dtype) - 1


def mistakes(params: Params, x: Inputs, y: BinaryLabels) -> Scalar:
    """The share of points where step(z) ≠ y: a staircase, whose derivative is 0 or missing."""
    z = logits(params, x)
    return jnp.mean(jnp.square((_sign(y, z) + 1) / 2 - step(z)))


def _error(t: Array, z: Array) -> Scalar:
    return jnp.mean(jnp.maximum(-t * z, 0.0))


def value_and_gradient(params: Params, x: Inputs, y: BinaryLabels) -> tuple[Scalar, Params]:
    """(E, a subgradient) from one forward pass. Raises InputError if the shapes do not fit."""
    z = logits(params, x)
    t = _sign(y, z)
    residual = jnp.where(t * z <= 0, -t, jnp.zeros_like(t)) / z.shape[0]
    return _error(t, z), affine_pullback(residual, x)


def loss(params: Params, x: Inputs, y: BinaryLabels) -> Scalar:
    """E = mean of max(0, −t z): how far the mistakes are on the wrong side."""
    z = logits(params, x)
    return _error(_sign(y, z), z)


def gradient(params: Params, x: Inputs, y: BinaryLabels) -> Params:
    """A subgradient: −t (x, 1) for each mistake, averaged; at the kink z = 0 it takes −t too."""
    return value_and_gradient(params, x, y)[1]


def rule(params: Params, x: Float[Array, " D"], y: Scalar, learning_rate: float = 1.0) -> Params:
    """The perceptron rule for one point: (w, b) + α t (x, 1) if it is misclassified, else nothing.

    >>> zero = Params(jnp.zeros(2), jnp.array(0.0))
    >>> rule(zero, jnp.array([1.0, 2.0]), jnp.array(1.0)).weight.tolist()
    [1.0, 2.0]
    """
    require_rank("x", x, 1, "(D,)")
    require_scalar("y", y)
    require_scalar("learning_rate", learning_rate)
    push = gradient(params, x[None, :], jnp.asarray(y)[None])
    return Params(*(p - learning_rate * g for p, g in zip(params, push, strict=True)))


def model() -> Model[Params]:
    """The perceptron as a record that `fit` trains: batches of one in order are its algorithm."""
    return Model(
        init=init,
        logits=logits,
        predict=predict,
        loss=loss,
        gradient=gradient,
        value_and_gradient=value_and_gradient,
    )
