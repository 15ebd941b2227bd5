"""Problem: the objective over some rows, evaluated one pass at a time, and its coordinates.

    E(θ) = (1/N) Σ_n ℓ(z_n, y_n) + ½ Σ_j λ_j θ_j²          θ = (w, b), λ = 0 at the bias

Steps are computed for centred and scaled features a = (x − m)/s, where the Hessian is well
conditioned; z stays the same with v = (s w, b + m·w). Parameters, gradients and tolerance belong to
the features as they were given.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from handgrad.fast.newton import passes
from handgrad.fast.newton.parted import Blocks, Spread
from handgrad.fast.newton.passes import Programs
from handgrad.fast.newton.rows import Rows


class Point(NamedTuple):
    """What one pass saw at θ, in float64; the Hessian is that of the scaled coordinates."""

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


@dataclass
class Problem:
    """E over `rows`; counts the passes, and those that took the Hessian too."""

    rows: Rows | Spread | Blocks
    penalty: np.ndarray
    scaling: Scaling
    programs: Programs
    passes: int = field(default=0, init=False)
    hessians: int = field(default=0, init=False)

    def evaluate(self, theta: np.ndarray, hessian: bool = False) -> Point:
        """Value, gradient and margin at θ, by one pass over the rows."""
        self.passes += 1
        if hessian:
            self.hessians += 1
            found = self._sums(passes.with_hessian, theta, self.scaling.mean, self.scaling.scale)
        else:
            found = self._sums(passes.value_and_gradient, theta)
        loss, gradient, margin, *products = found
        curvature = np.asarray(products[0]) / self.rows.examples if products else None
        if curvature is not None:
            curvature[np.diag_indices_from(curvature)] += self.scaling.penalty(self.penalty)
        penalised = self.penalty * theta
        return Point(
            theta=theta,
            loss=float(loss) / self.rows.examples + 0.5 * float(np.sum(penalised * theta)),
            gradient=np.asarray(gradient) / self.rows.examples + penalised,
            margin=float(margin),
            hessian=curvature,
        )

    def _sums(self, function: Callable, *args: np.ndarray) -> tuple[Any, ...]:
        if isinstance(self.rows, Rows):
            return self.programs.run(function, self.rows, *args)
        return self.rows.sums(function, self.programs, *args)
