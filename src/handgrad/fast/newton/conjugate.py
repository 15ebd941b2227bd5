"""Newton directions where the Hessian is too large to form: conjugate gradients on products.

    softmax:  H V = aᵀ [p ∘ u − p (p·u)]/N + λ V,  u = a V          a = ((x − m)/s, 1), in float32
    binary:   H v = aᵀ [s ∘ (a v)]/N + λ v

A product reads the examples once more and costs no more than a gradient; the Hessian of 10 classes
and 784 features would have 62 million numbers. In float32, and over a sample where the examples
are many: the direction need only be good, the gradient is exact.

Source: Nocedal & Wright, "Numerical Optimization", algorithm 7.1; the products are those of
`gradients.softmax_regression.hvp` and `gradients.logistic.hvp`.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad._types import Array
from handgrad.fast.newton import passes
from handgrad.fast.newton.passes import Programs
from handgrad.fast.newton.problem import Point, Scaling
from handgrad.gradients.sigmoid import sigmoid_derivative

MOST_PRODUCTS = 400
LOOSEST, TIGHTEST = 0.1, 1e-3


class ConjugateGradients:
    """Directions from products with the Hessian over `sample` (n, D), scaled, in its dtype."""

    keeps: float | None = None
    ready = fresh = True

    def __init__(
        self, scaling: Scaling, penalty: np.ndarray, sample: Array, programs: Programs
    ) -> None:
        self.scaling, self.sample, self.programs = scaling, sample, programs
        self.dtype = np.dtype(sample.dtype)
        self.penalty = scaling.penalty(penalty).astype(self.dtype)
        self.products = 0

    def see(self, new: Point, old: Point | None) -> None:
        """Nothing is kept: every direction is that of the Hessian at its point."""

    def direction(self, point: Point, damping: float) -> np.ndarray:
        """−H⁻¹ ∇E to one digit at first and three at last, a step in θ."""
        gradient = self.scaling.gradient(point.gradient)
        size = float(np.max(np.abs(gradient)))
        if size == 0:
            return np.zeros_like(point.theta)
        v = self.scaling.coordinates(point.theta).astype(self.dtype)
        tolerance = self.dtype.type(min(LOOSEST, max(TIGHTEST, size**0.5)))
        step, products = self.programs.run(
            conjugate_gradients, self.sample, v, (gradient / size).astype(self.dtype),
            self.penalty, tolerance, self.dtype.type(damping),
        )  # fmt: skip
        self.products += int(products)
        return self.scaling.step(np.asarray(step, np.float64) * size)


def conjugate_gradients(
    sample: Array, v: Array, gradient: Array, penalty: Array, tolerance: Array, damping: Array
) -> tuple[Array, Array]:
    """p with |H p + g| ≤ tolerance |g|, in the preconditioner's norm, and the products taken."""
    examples = sample.shape[0]
    z = passes.logits(v, sample)
    if v.ndim == 1:
        curvature = sigmoid_derivative(z)
        weights = curvature
    else:
        e = jnp.exp(z - jnp.max(z, axis=0)[None])
        curvature = e / jnp.sum(e, axis=0)[None]
        weights = curvature * (1 - curvature)

    def product(direction: Array) -> Array:
        u = passes.logits(direction, sample)
        su = curvature * u
        if v.ndim == 2:
            su = su - curvature * jnp.sum(su, axis=0)[None]
        data = passes.pullback(su, sample) / examples
        return data + penalise(direction) + damping * diagonal * direction

    def penalise(direction: Array) -> Array:
        return direction * (penalty if v.ndim == 1 else penalty[None])

    diagonal = passes.pullback(weights, jnp.square(sample)) / examples + penalise(jnp.ones_like(v))
    diagonal = jnp.maximum(diagonal, 1e-7 * jnp.max(diagonal))
    inverse = 1 / ((1 + damping) * diagonal)

    def unfinished(state: tuple) -> Array:
        _, _, _, rz, count, alive = state
        return alive & (rz > tolerance**2 * first) & (count < MOST_PRODUCTS)

    def improve(state: tuple) -> tuple:
        p, residual, direction, rz, count, _ = state
        h = product(direction)
        bend = jnp.sum(direction * h)
        alive = bend > 0
        length = jnp.where(alive, rz / bend, 0.0)
        p, residual = p + length * direction, residual - length * h
        z = inverse * residual
        next_rz = jnp.sum(residual * z)
        return p, residual, z + next_rz / rz * direction, next_rz, count + 1, alive

    residual = -gradient
    z0 = inverse * residual
    first = jnp.sum(residual * z0)
    start = (jnp.zeros_like(v), residual, z0, first, jnp.int32(0), jnp.asarray(True))
    p, _, _, _, count, _ = lax.while_loop(unfinished, improve, start)
    return p, count
