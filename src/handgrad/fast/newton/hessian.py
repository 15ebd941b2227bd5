"""Newton directions: from a Hessian that is kept and corrected, or from products with it.

**Kept.** Near the optimum the Hessian hardly changes, while a pass that takes it costs several that
do not. So it is kept until a step leaves more than a tenth of what there was to gain, or a
thousandth where features are few. Each step s, with its change of the gradient
d = ∇E(θ + s) − ∇E(θ) ≈ H s, corrects the inverse along s, by the formula of Broyden, Fletcher,
Goldfarb and Shanno:

    B ← (1 − s dᵀ/sᵀd) B (1 − d sᵀ/sᵀd) + s sᵀ/sᵀd          B⁻¹ the kept Hessian at first

which is applied without forming B, by two loops over the steps. It also corrects what is lost by
forming the Hessian in float32.

**Products.** Where the Hessian is too large to form, conjugate gradients solve with products:

    softmax:  H V = aᵀ [p ∘ u − p (p·u)]/N + λ V,  u = a V          a = ((x − m)/s, 1), in float32
    binary:   H v = aᵀ [s ∘ (a v)]/N + λ v

A product reads the examples once more and costs no more than a gradient; the Hessian of 10 classes
and 784 features would have 62 million numbers. In float32, and over a sample where the examples
are many: the direction need only be good, the gradient is exact.

Source: Nocedal & Wright, "Numerical Optimization", section 7.2 and algorithm 7.1; the Hessian and
the products are those of `gradients.logistic` and `gradients.softmax_regression`.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad._types import Array, Coded, Inputs, values_of
from handgrad.fast.newton.objective import Evaluation, Objective, Scaling, logits, pullback, scaled
from handgrad.fast.newton.rows import ProgramCache, draw_sample
from handgrad.gradients.sigmoid import sigmoid_derivative

RIDGE = 3e-7
"""What float32 products may be off by, relative to the diagonal."""
NOTHING = 1e-20
"""Of the largest: a constant column, centred, has 1e-32 from the rounding of its mean."""
FEW = 32
"""Features of which a Hessian costs little."""
KEEPS, KEEPS_OF_FEW = 0.1, 1e-3
"""It is kept while a step leaves no more than this part of what there was to gain."""
MOST_FEATURES = 1_024
"""Of a Hessian that is formed."""
SAMPLE_BYTES = 2**26
"""The examples that a product with the Hessian reads, in float32."""
EXACT_BYTES = 2**22
"""Below this, products in float64 cost nothing."""
MOST_PRODUCTS = 400
LOOSEST, TIGHTEST = 0.3, 1e-3


class KeptHessian:
    """Directions for a binary problem from the last Hessian taken and the steps since.

    `hessian`, if there is one, is that of a point nearby.
    """

    keeps: float | None
    """Another Hessian is taken where a step left more than this part of what there was to gain."""
    ready: bool
    """Whether there is a Hessian to begin with."""
    fresh: bool
    """Whether the Hessian is that of the last point taken in."""

    def __init__(self, scaling: Scaling, hessian: np.ndarray | None = None) -> None:
        self.scaling = scaling
        self.ready = hessian is not None
        self.fresh = False
        self.keeps = KEEPS_OF_FEW if scaling.mean.size <= FEW else KEEPS
        if hessian is not None:
            self._take(hessian)

    def update(self, new: Evaluation, old: Evaluation | None) -> None:
        """Take in an accepted point: its Hessian if it has one, else the step from `old`."""
        self.fresh = new.hessian is not None
        if new.hessian is not None:
            self._take(new.hessian)
        elif old is not None:
            s = self.scaling.coordinates(new.theta - old.theta)
            d = self.scaling.gradient(new.gradient - old.gradient)
            if s @ d > 0:
                self._pairs.append((s, d))

    def _take(self, hessian: np.ndarray) -> None:
        diagonal = np.diag(hessian)
        usable = diagonal > NOTHING * diagonal.max()
        self._unit = 1 / np.sqrt(np.where(usable, diagonal, 1.0))
        self._hessian = hessian * np.outer(self._unit, self._unit)
        self._damping = -1.0
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def direction(self, point: Evaluation, damping: float) -> np.ndarray:
        """−(H + μ diag H)⁻¹ ∇E or near it, a step in θ."""
        from scipy.linalg import cho_solve

        self._factor(damping)
        q = -self.scaling.gradient(point.gradient)
        projections = []
        for s, d in reversed(self._pairs):
            a = (s @ q) / (s @ d)
            q = q - a * d
            projections.append(a)
        p = self._unit * cho_solve(self._factored, self._unit * q)
        for (s, d), a in zip(self._pairs, reversed(projections), strict=True):
            p = p + (a - (d @ p) / (s @ d)) * s
        return self.scaling.step(p)

    def _factor(self, damping: float) -> None:
        from scipy.linalg import cho_factor

        if damping == self._damping:
            return
        ridge = RIDGE
        while True:
            self._hessian[np.diag_indices_from(self._hessian)] = 1.0 + ridge + damping
            try:
                self._factored = cho_factor(self._hessian, lower=True)
            except np.linalg.LinAlgError:
                ridge *= 10
            else:
                self._damping = damping
                return


class HessianProducts:
    """Directions by conjugate gradients over `sample` (n, D), which is scaled, in its dtype.

    `weights` (n,), or 1, are those of its examples.

    Nothing is kept: every direction is that of the Hessian at its point.
    """

    keeps: float | None = None
    ready = fresh = True

    def __init__(
        self, scaling: Scaling, penalty: np.ndarray, sample: Inputs, programs: ProgramCache,
        weights: np.ndarray | float = 1.0,
    ) -> None:  # fmt: skip
        self.scaling, self.sample, self.programs = scaling, sample, programs
        self.weights = np.asarray(weights, sample.dtype)
        self.dtype = np.dtype(sample.dtype)
        self.penalty = scaling.penalty(penalty).astype(self.dtype)
        self.products = 0

    def update(self, new: Evaluation, old: Evaluation | None) -> None:
        """Nothing to take in."""

    def direction(self, point: Evaluation, damping: float) -> np.ndarray:
        """−(H + μ diag H)⁻¹ ∇E to one digit at first and three at last, a step in θ."""
        gradient = self.scaling.gradient(point.gradient)
        size = float(np.max(np.abs(gradient)))
        if size == 0:
            return np.zeros_like(point.theta)
        v = self.scaling.coordinates(point.theta).astype(self.dtype)
        tolerance = self.dtype.type(min(LOOSEST, max(TIGHTEST, size**0.5)))
        step, products = self.programs.run(
            conjugate_gradients, self.sample, self.weights, v, (gradient / size).astype(self.dtype),
            self.penalty, tolerance, self.dtype.type(damping),
        )  # fmt: skip
        self.products += int(products)
        return self.scaling.step(np.asarray(step, np.float64) * size)


def conjugate_gradients(
    sample: Inputs,
    mass: Array,
    v: Array,
    gradient: Array,
    penalty: Array,
    tolerance: Array,
    damping: Array,
) -> tuple[Array, Array]:
    """p with |H p + g| ≤ tolerance |g|, in the preconditioner's norm, and the products taken."""
    examples = sample.shape[0]
    z = logits(v, sample)
    if v.ndim == 1:
        p, curvature = None, mass * sigmoid_derivative(z)
        weights = curvature
    else:
        e = jnp.exp(z - jnp.max(z, axis=0)[None])
        p = e / jnp.sum(e, axis=0)[None]
        curvature = jnp.reshape(mass, (1, -1)) * p
        weights = curvature * (1 - p)

    def product(direction: Array) -> Array:
        u = logits(direction, sample)
        su = curvature * u
        if p is not None:
            su = su - p * jnp.sum(su, axis=0)[None]
        data = pullback(su, sample) / examples
        return data + penalise(direction) + damping * diagonal * direction

    def penalise(direction: Array) -> Array:
        return direction * (penalty if v.ndim == 1 else penalty[None])

    squares = squared(sample)
    diagonal = pullback(weights, squares) / examples + penalise(jnp.ones_like(v))
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


def squared(x: Inputs) -> Inputs:
    """x² of each feature: those of 0 and 1 are their own."""
    if not isinstance(x, Coded):
        return jnp.square(x)
    number = jnp.array([not size for size in x.sizes])
    return x.with_values(jnp.where(number[None], jnp.square(x.values), x.values))


def select_hessian(
    objective: Objective,
    x: Any,
    y: np.ndarray,
    theta: np.ndarray,
    seed: int = 0,
    hessian: np.ndarray | None = None,
) -> KeptHessian | HessianProducts:
    """The Hessian itself for two classes and not too many features, else products with it.

    `hessian`, if there is one, is that of a point nearby; x and y are examples to sample.
    """
    scaling, programs = objective.scaling, objective.programs
    if theta.ndim == 1 and theta.size <= MOST_FEATURES:
        return KeptHessian(scaling, hessian)
    part, labels = draw_sample(x, y, SAMPLE_BYTES // (4 * values_of(x).shape[1]), seed)
    dtype = "float64" if part.size * 8 <= EXACT_BYTES else "float32"
    sample = programs.run(scaled, part, scaling.mean, scaling.scale, dtype=dtype)
    weights = 1.0 if labels.ndim == 1 else labels.sum(axis=1)
    return HessianProducts(scaling, objective.penalty, sample, programs, weights)
