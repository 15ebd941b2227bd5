"""The objective and its derivatives, one pass over the examples at a time, and its coordinates.

    E(θ) = (1/N) Σ_n ℓ(z_n, y_n) + ½ Σ_j λ_j θ_j²          θ = (w, b), λ = 0 at the bias

    value and gradient:  Σ_n ℓ_n,  Σ_n ∂ℓ_n/∂z (x_n, 1), in float64
    Hessian beside it:   Σ_n s_n a_n a_nᵀ with a_n = ((x_n − m)/s, 1), products in float32
    margin:              the least (2y−1) z, or z_y − max_{j≠y} z_j: above 0 the classes are apart

A pass reads x once. The Hessian only shapes the next step, so seven digits of it are plenty; the
gradient decides where the optimum is and is exact. Features are centred and scaled before they
are rounded: a column of years, 2013 ± 1, would lose four of the seven digits, one of seconds since
1970 all. Steps too are computed for the scaled features a, where the Hessian is well conditioned;
z stays the same with v = (s w, b + m·w). Parameters, gradients and tolerance belong to the features
as they were given. Logits of K classes are (K, R), the classes first: then both products of a pass
are plain row-major ones.

Source: loss and residual are those of `fast.residuals`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad._types import Array, Coded, Inputs
from handgrad.fast import residuals
from handgrad.fast.newton.rows import Blocks, Partitioned, ProgramCache, Rows, fold
from handgrad.gradients import linear
from handgrad.gradients.linear import matmul

# --- what a block gives ---------------------------------------------------------------------------


def logits(theta: Array, x: Inputs) -> Array:
    """θ (D+1,) or (K, D+1), the bias last, on x (R, D): z (R,) or (K, R)."""
    axis = theta.ndim - 1
    if isinstance(x, Coded):
        scores = linear.product(x, theta[..., :-1].T).T
    else:
        scores = lax.dot_general(
            theta[..., :-1], x, (((axis,), (1,)), ((), ())), precision=lax.Precision.HIGHEST
        )
    return scores + (theta[..., -1] if axis == 0 else theta[:, -1:])


def pullback(residual: Array, x: Inputs) -> Array:
    """rᵀ (x, 1): the gradient in θ."""
    weight = linear.pullback(residual.T, x).T if isinstance(x, Coded) else matmul(residual, x)
    return jnp.concatenate([weight, jnp.sum(residual, axis=-1)[..., None]], axis=-1)


def binary(z: Array, y: Array) -> tuple[Array, Array, Array]:
    """Σ ℓ, ∂ℓ/∂z (R,) and the margin; soft labels have the margin −∞.

    `y` is (R,) in [0, 1]; or (R, 2), how much each example weighs as one of either class:
    m₀ ℓ(z, 0) + m₁ ℓ(z, 1) with r = m₀ σ(z) − m₁ σ(−z).
    """
    if y.ndim == 2:
        against, in_favour = y[:, 0], y[:, 1]
        e, right = jnp.exp(-jnp.abs(z)), z >= 0
        missed = jnp.where(right, against, in_favour)
        losses = (against + in_favour) * jnp.log1p(e) + jnp.where(missed == 0, 0, missed * abs(z))
        residual = jnp.where(right, against - in_favour * e, against * e - in_favour) / (1 + e)
        one_sided = jnp.where(in_favour == 0, jnp.where(against == 0, jnp.inf, -z), -jnp.inf)
        signed = jnp.where((against == 0) & (in_favour > 0), z, one_sided)
        return jnp.sum(losses), residual, jnp.min(signed)
    signed = jnp.where(y == 1, z, jnp.where(y == 0, -z, -jnp.inf))
    return *residuals.binary(z, y), jnp.min(signed)


def softmax(z: Array, y: Array) -> tuple[Array, Array, Array]:
    """Σ ℓ, ∂ℓ/∂z (K, R) and the margin.

    `y` is (R,) integers; or (R, K) probabilities, or how much each example weighs as one of each
    class, whose margin is −∞.
    """
    if y.ndim == 2:
        return *residuals.categorical(z, y.T), jnp.asarray(-jnp.inf, z.dtype)
    chosen = y[None, :] == jnp.arange(z.shape[0], dtype=y.dtype)[:, None]
    rival = jnp.max(jnp.where(chosen, -jnp.inf, z), axis=0)
    score = jnp.sum(jnp.where(chosen, z, 0), axis=0)
    return *residuals.categorical(z, y), jnp.min(score - rival)


def curvature(z: Array) -> Array:
    """∂²ℓ/∂z² = σ(z) σ(−z) = e/(1 + e)², e = e^−|z|, of two classes (R,).

    Compiled with the residual, it has its exponential already.
    """
    e = jnp.exp(-jnp.abs(z))
    return e / jnp.square(1 + e)


def weights_of(y: Array) -> Array | float:
    """How much each example weighs, (R,); 1 where labels say only which class it is."""
    return 1.0 if y.ndim == 1 else jnp.sum(y, axis=1)


def scaled(x: Inputs, mean: Array, scale: Array, dtype: str) -> Any:
    """(x − m)/s, rounded to `dtype` at the end. Categories that are codes have m = 0 and s = 1."""
    if isinstance(x, Coded):
        starts = jnp.array(x.starts)
        return x.with_values(scaled(x.values, mean[starts], scale[starts], dtype))
    return ((x.astype(jnp.float64) - mean[None]) * (1 / scale)[None]).astype(dtype)


# --- passes ---------------------------------------------------------------------------------------


def value_and_gradient(rows: Rows, theta: Array) -> tuple[Array, Array, Array]:
    """Σ ℓ, its gradient in θ, and the least margin."""
    from_logits = binary if theta.ndim == 1 else softmax

    def body(carry: tuple, x: Inputs, y: Array) -> tuple:
        loss, residual, margin = from_logits(logits(theta, x), y)
        return carry[0] + loss, carry[1] + pullback(residual, x), jnp.minimum(carry[2], margin)

    return fold(rows, body, (jnp.zeros(()), jnp.zeros(theta.shape), jnp.asarray(jnp.inf)))


def with_hessian(
    rows: Rows, theta: Array, mean: Array, scale: Array
) -> tuple[Array, Array, Array, Array]:
    """The same for two classes, and Σ s_n a_n a_nᵀ (D+1, D+1) in float64 from float32 products.

    With categories as codes there are few products to take, and they are taken in float64.
    """

    def products(x: Inputs, s: Array) -> Array:
        if isinstance(x, Coded):
            return linear.gram(scaled(x, mean, scale, "float64"), s)
        root = jnp.sqrt(s.astype(jnp.float32))
        a = scaled(x, mean, scale, "float32")
        a = jnp.pad(a, ((0, 0), (0, 1)), constant_values=1.0) * root[:, None]
        a = lax.optimization_barrier(a)  # or XLA computes it for each product
        return matmul(a.T, a).astype(jnp.float64)

    def body(carry: tuple, x: Inputs, y: Array) -> tuple:
        z = logits(theta, x)
        loss, residual, margin = binary(z, y)
        return (
            carry[0] + loss,
            carry[1] + pullback(residual, x),
            jnp.minimum(carry[2], margin),
            carry[3] + products(x, curvature(z) * weights_of(y)),
        )

    size = theta.shape[0]
    empty = jnp.zeros(()), jnp.zeros(size), jnp.asarray(jnp.inf), jnp.zeros((size, size))
    return fold(rows, body, empty)


def moments(x: Inputs) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature of x (n, D), in float64.

    A constant one has its own size in place of a deviation, or 1; of a category that is a code the
    mean is taken to be 0 and the deviation 1, so that its rows stay sums of few.
    """
    if isinstance(x, Coded):
        columns, deviations = moments(x.values)
        numbers, places = jnp.array(x.numbers, int), jnp.array(x.starts)[jnp.array(x.numbers, int)]
        mean = jnp.zeros(x.shape[1]).at[places].set(columns[numbers])
        return mean, jnp.ones(x.shape[1]).at[places].set(deviations[numbers])
    x = x.astype(jnp.float64)
    mean = jnp.mean(x, axis=0)
    deviation = jnp.sqrt(jnp.mean(jnp.square(x - mean[None]), axis=0))
    size = jnp.abs(mean)
    return mean, jnp.where(deviation > 1e-12 * size, deviation, jnp.where(size > 0, size, 1.0))


# --- the objective --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scaling:
    """Mean m and deviation s of each feature, (D,); any m and any s > 0 are right, these good."""

    mean: np.ndarray
    scale: np.ndarray

    def gradient(self, gradient: np.ndarray) -> np.ndarray:
        """∂E/∂v from ∂E/∂θ."""
        weight, bias = gradient[..., :-1], gradient[..., -1:]
        return np.concatenate([(weight - self.mean * bias) / self.scale, bias], axis=-1)

    def step(self, step: np.ndarray) -> np.ndarray:
        """A step in θ from one in v."""
        weight = step[..., :-1] / self.scale
        bias = step[..., -1] - weight @ self.mean
        return np.concatenate([weight, bias[..., None]], axis=-1)

    def coordinates(self, theta: np.ndarray) -> np.ndarray:
        """v from θ."""
        weight, bias = theta[..., :-1], theta[..., -1:]
        return np.concatenate([weight * self.scale, bias + weight @ self.mean[:, None]], axis=-1)

    def penalty(self, penalty: np.ndarray) -> np.ndarray:
        """The penalties λ_j (D+1,) of the v_j."""
        return np.append(penalty[:-1] / self.scale**2, penalty[-1])


class Evaluation(NamedTuple):
    """What one pass found at θ, in float64; the Hessian is that of the scaled coordinates."""

    theta: np.ndarray
    loss: float
    gradient: np.ndarray
    margin: float
    hessian: np.ndarray | None = None

    @property
    def gradient_max(self) -> float:
        """max |∂E/∂θ|."""
        return float(np.max(np.abs(self.gradient)))

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.gradient).all())


@dataclass
class Objective:
    """E over `rows`; counts the passes, and those that took the Hessian too."""

    rows: Rows | Partitioned | Blocks
    penalty: np.ndarray
    scaling: Scaling
    programs: ProgramCache
    passes: int = field(default=0, init=False)
    hessians: int = field(default=0, init=False)

    def evaluate(self, theta: np.ndarray, hessian: bool = False) -> Evaluation:
        """Value, gradient and margin at θ, by one pass over the rows."""
        self.passes += 1
        self.hessians += hessian
        scaling = (self.scaling.mean, self.scaling.scale) if hessian else ()
        sums = with_hessian if hessian else value_and_gradient
        found = self.rows.sums(sums, self.programs, theta, *scaling)
        loss, gradient, margin, *products = found
        second = np.asarray(products[0]) / self.rows.examples if products else None
        if second is not None:
            second[np.diag_indices_from(second)] += self.scaling.penalty(self.penalty)
        penalised = self.penalty * theta
        return Evaluation(
            theta=theta,
            loss=float(loss) / self.rows.examples + 0.5 * float(np.sum(penalised * theta)),
            gradient=np.asarray(gradient) / self.rows.examples + penalised,
            margin=float(margin),
            hessian=second,
        )
