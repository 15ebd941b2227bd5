"""The steps to the optimum, their directions, and when to stop: at the tolerance, or at no optimum.

Newton's step goes all the way, as long as the loss falls. If it does not, the Hessian was that of
another point and is taken anew, or it does not reach that far and is damped, H + μ diag H, with μ
growing tenfold. That is a line search along a curve that bends from Newton's step to a short one
down the scaled gradient; a straight one would halve its way back from a step that a nearly singular
Hessian made a million times too long.

Without a penalty, weights that separate the classes on every example have no best length: the loss
only falls as they grow, and so does the gradient. A point whose least margin is above 0 is a proof,
and ends the search at once. Where the classes touch (some margins stay 0 for ever), the steps show
it: each goes on in a direction that lowers no example's margin, and gains the same factor.

Where the examples are few, a pass takes a tenth of a millisecond, and to start a program and to
wait for it takes as long. `fused_newton` takes all the steps in one program, a fresh Hessian for
each:

    v ← v − (∇²E)⁻¹ ∇E          until max |∂E/∂θ| ≤ tol, or until E does not fall

With a penalty there is an optimum, and nearly always these steps need no thought. `descend` judges
the point they end at, and goes on where a step has to be damped.

**A Hessian that is kept.** Near the optimum the Hessian hardly changes, while a pass that takes it
costs several that do not. So it is kept until a step leaves more than a tenth of what there was to
gain, or a thousandth where features are few. Each step s, with its change of the gradient
d = ∇E(θ + s) − ∇E(θ) ≈ H s, corrects the inverse along s, by the formula of Broyden, Fletcher,
Goldfarb and Shanno:

    B ← (1 − s dᵀ/sᵀd) B (1 − d sᵀ/sᵀd) + s sᵀ/sᵀd          B⁻¹ the kept Hessian at first

which is applied without forming B, by two loops over the steps. It also corrects what is lost by
forming the Hessian in float32.

**Products.** Where it is too large to form, conjugate gradients solve with products:

    softmax:  H V = aᵀ [p ∘ u − p (p·u)]/N + λ V,  u = a V          a = ((x − m)/s, 1), in float32
    binary:   H v = aᵀ [s ∘ (a v)]/N + λ v

A product reads the examples once more and costs no more than a gradient; the Hessian of 10 classes
and 784 features would have 62 million numbers. In float32, and over a sample where the examples
are many: the direction need only be good, the gradient is exact.

Source: Nocedal & Wright, "Numerical Optimization", sections 4.1 and 10.3 (Levenberg, Marquardt),
section 7.2 and algorithm 7.1; the gradient, the Hessian and products with it are those of
`gradients.logistic` and `gradients.softmax_regression`, for features a = (x − m)/s.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad._types import Array, Coded, Inputs, values_of
from handgrad.fast.newton.objective import (
    Evaluation,
    Objective,
    ProgramCache,
    Rows,
    Scaling,
    binary,
    curvature,
    draw_sample,
    logits,
    pullback,
    scaled,
    weights_of,
)
from handgrad.gradients.linear import matmul
from handgrad.gradients.sigmoid import sigmoid_derivative

PROMISED = 1e-4
"""The part of the promised fall of the loss that a step has to bring."""
SLOW_GAIN, MOST_SLOW = 0.1, 5
"""A step should leave a tenth of what there was to gain; after MOST_SLOW slow ones, ask why."""
LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e9
FAR = 1e-3
TOUCHING = 1e-4
"""How far below 0 a margin may be along a direction of recession, relative to the step."""
MOST_STEPS = 12
MOST_BYTES, MOST_PARAMETERS = 2**22, 33
"""Beyond these, in float64, a pass or a Hessian takes longer than to start it."""
ROUNDING = 1e-15
"""Of E and ∇E: E may seem to rise so much at the optimum while a step still brings ∇E down."""
UNSEEN = float(np.finfo(np.float64).max)

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


# --- directions -----------------------------------------------------------------------------------


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


# --- steps ----------------------------------------------------------------------------------------


def descend(
    objective: Objective,
    hessian: KeptHessian | HessianProducts,
    theta: np.ndarray,
    tol: float,
    most: int,
    *,
    enough: float = 0.0,
    near: bool = False,
) -> tuple[Evaluation, str, int]:
    """The last point, why it is the last, and the steps taken.

    Stops where max |∂E/∂θ| ≤ tol, where a step promises no more than `enough` nats, after `most`
    passes, or at once where E or ∇E at θ is not finite. `near` says that the Hessian at θ will do.
    """
    point = objective.evaluate(theta, not hessian.ready)
    if not point.finite:
        return point, "not finite", 0
    hessian.update(point, None)
    wanted = hessian.keeps is not None and not near
    bounded = bool(objective.penalty.any())
    steps, slow, damping, before = 0, 0, 0.0, None
    while True:
        if not bounded and point.margin > 0:
            return point, "separable", steps
        if point.gradient_max <= tol:
            if not bounded and is_unbounded(objective, hessian, point):
                return point, "separable", steps
            return point, "tolerance", steps
        step = hessian.direction(point, damping)
        promise = _promise(step, point)
        if promise <= enough:
            return point, "enough" if promise > 0 else "rounding", steps
        if hessian.keeps is not None and before is not None and damping == 0:
            wanted = not promise <= hessian.keeps * before
        if objective.passes >= most:
            return point, "passes", steps
        new = objective.evaluate(point.theta + step, wanted)
        if is_better(new, point, promise):
            slow = slow + 1 if new.gradient_max > SLOW_GAIN * point.gradient_max else 0
            if not bounded and slow == MOST_SLOW:
                slow = 0
                if is_recession_direction(objective, new, step):
                    return new, "separable", steps + 1
            hessian.update(new, point)
            point, before, steps = new, promise, steps + 1
            damping = damping / 10 if damping > LEAST_DAMPING else 0.0
        elif not hessian.fresh:
            point = objective.evaluate(point.theta, True)
            hessian.update(point, None)
        elif damping > MOST_DAMPING:
            return point, "rounding", steps
        else:
            damping = max(LEAST_DAMPING, 10 * damping)


def _promise(step: np.ndarray, point: Evaluation) -> float:
    """−½ ⟨step, ∇E⟩: by how much a Newton step lowers E if E is quadratic."""
    return -0.5 * float(np.sum(step * point.gradient))


def is_better(new: Evaluation, old: Evaluation, promise: float) -> bool:
    """Whether the loss fell as promised; where that is below its rounding, whether ∇E shrank."""
    if not new.finite:
        return False
    if promise <= 1e-14 * (1 + abs(old.loss)):
        return new.gradient_max < old.gradient_max
    return new.loss <= old.loss - PROMISED * promise


def is_unbounded(
    objective: Objective, hessian: KeptHessian | HessianProducts, point: Evaluation
) -> bool:
    """Whether the gradient is small at `point` only because the optimum is infinitely far away.

    What a step promises is about |∇E|² at an optimum, and about |∇E| on the way to infinity. A
    gradient of rounding alone says nothing: its step may be a long one along which E is level.
    """
    if point.gradient_max <= ROUNDING:
        return False
    step = hessian.direction(point, 0.0)
    far = _promise(step, point) > FAR * point.gradient_max
    return far and is_recession_direction(objective, point, step)


def is_recession_direction(objective: Objective, point: Evaluation, direction: np.ndarray) -> bool:
    """Whether logits along `direction` favour the label of every example, or are level."""
    if not np.isfinite(point.margin):  # soft labels want finite logits
        return False
    size = np.max(np.abs(objective.scaling.coordinates(direction)))
    return objective.evaluate(direction / size).margin > -TOUCHING


# --- all the steps in one program -----------------------------------------------------------------


class Fused(NamedTuple):
    """θ, the steps to it, and the Hessian there in scaled coordinates, if it was taken."""

    theta: np.ndarray
    steps: int = 0
    hessian: np.ndarray | None = None


def fused_pays(rows: Any, theta: np.ndarray, l2: float, max_passes: int) -> bool:
    """Whether there is an optimum, and all the steps take less time than to think about each."""
    few = isinstance(rows, Rows) and rows.few and 8 * rows.rest.size <= MOST_BYTES
    few = few and not isinstance(rows.rest, Coded)
    small = theta.ndim == 1 and theta.size <= MOST_PARAMETERS
    return few and small and l2 > 0 and max_passes > MOST_STEPS + 1


def fused_newton(objective: Objective, theta: np.ndarray, tol: float) -> Fused:
    """At most MOST_STEPS from θ over the rows of `objective`, which counts the passes."""
    rows, scaling = objective.rows, objective.scaling
    assert isinstance(rows, Rows)
    assert rows.few
    last = objective.programs.run(
        _all_steps, rows.rest, rows.rest_labels, scaling.mean, scaling.scale,
        scaling.penalty(objective.penalty), scaling.coordinates(theta), np.float64(tol),
    )  # fmt: skip
    passes = int(last.passes)
    objective.passes += passes
    objective.hessians += passes
    if last.loss == UNSEEN:
        return Fused(theta)
    steps = passes - (1 if last.falls else 2)
    return Fused(scaling.step(np.asarray(last.v)), steps, np.array(last.hessian))


class _State(NamedTuple):
    """The last v that was accepted, what was found there, and the step to try."""

    v: Array
    loss: Array
    largest: Array
    """max |∂E/∂θ|."""
    hessian: Array
    next: Array
    passes: Array
    falls: Array
    """Whether the last v tried was accepted: E was no higher there, but for rounding."""


def _all_steps(
    x: Array, y: Array, mean: Array, scale: Array, penalty: Array, v: Array, tol: Array
) -> _State:
    a = jnp.pad(scaled(x, mean, scale, "float64"), ((0, 0), (0, 1)), constant_values=1.0)

    def goes_on(state: _State) -> Array:
        return state.falls & (state.largest > tol) & (state.passes <= MOST_STEPS)

    def step(state: _State) -> _State:
        v = state.next
        z = matmul(a, v)
        loss, residual, _ = binary(z, y)
        loss = loss / a.shape[0] + 0.5 * jnp.sum(penalty * jnp.square(v))
        gradient = matmul(residual, a) / a.shape[0] + penalty * v
        rooted = (a * jnp.sqrt(curvature(z) * weights_of(y))[:, None]).astype(jnp.float32)
        weight = scale * gradient[:-1] + mean * gradient[-1]
        largest = jnp.maximum(jnp.max(jnp.abs(weight)), jnp.abs(gradient[-1]))
        product = matmul(rooted.T, rooted).astype(jnp.float64)
        hessian = product / a.shape[0] + jnp.diag(penalty)
        further = v - _solved(hessian, gradient)
        falls = loss <= state.loss + ROUNDING * (1 + jnp.abs(loss))
        new = _State(v, loss, largest, hessian, further, state.passes + 1, falls)
        kept = jax.tree.map(lambda new, old: jnp.where(falls, new, old), new, state)
        return kept._replace(passes=new.passes, falls=falls)

    unseen = jnp.asarray(UNSEEN)
    first = _State(v, unseen, unseen, jnp.diag(penalty), v, jnp.int32(0), jnp.bool_(True))
    return lax.while_loop(goes_on, step, first)


def _solved(hessian: Array, gradient: Array) -> Array:
    """H⁻¹ g as `KeptHessian` has it: for H with a diagonal of 1, and ridges where it says."""
    diagonal = jnp.diag(hessian)
    usable = diagonal > NOTHING * jnp.max(diagonal)
    unit = 1 / jnp.sqrt(jnp.where(usable, diagonal, 1))
    ones = jnp.diag_indices_from(hessian)
    hessian = (hessian * jnp.outer(unit, unit)).at[ones].set(1 + RIDGE)
    factor = jnp.linalg.cholesky(hessian), True
    return unit * jax.scipy.linalg.cho_solve(factor, unit * gradient)
