"""A Hessian that is kept as long as steps get on with it: factored once, corrected by every step.

Near the optimum the Hessian hardly changes, while a pass that takes it costs several that do not.
So it is kept until a step leaves more than a tenth of what there was to gain, or a thousandth where
features are few. Each step s, with its change of the gradient d = ∇E(θ + s) − ∇E(θ) ≈ H s, mends
the inverse along s, by the formula of Broyden, Fletcher, Goldfarb and Shanno:

    B ← (1 − s dᵀ/sᵀd) B (1 − d sᵀ/sᵀd) + s sᵀ/sᵀd          B⁻¹ the kept Hessian at first

which is applied without forming B, by two loops over the steps. Also what is lost by forming the
Hessian in float32 is mended.

Source: Nocedal & Wright, "Numerical Optimization", section 7.2; the Hessian is that of
`gradients.logistic`.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from handgrad.fast.newton.problem import Point, Scaling

RIDGE = 3e-7
"""What float32 products may be off by, relative to the diagonal."""
NOTHING = 1e-20
"""Of the largest: a constant column, centred, has 1e-32 from the rounding of its mean."""
FEW = 32
"""Features of which a Hessian costs little."""
KEEPS, KEEPS_OF_FEW = 0.1, 1e-3
"""It is kept while a step leaves no more than this part of what there was to gain."""


class KeptHessian:
    """Directions for a binary problem from the last Hessian seen and the steps since.

    `hessian`, if there is one, is that of a point nearby.
    """

    keeps: float | None

    def __init__(self, scaling: Scaling, hessian: np.ndarray | None = None) -> None:
        self.scaling = scaling
        self.ready = hessian is not None
        self.fresh = False
        self.keeps = KEEPS_OF_FEW if scaling.mean.size <= FEW else KEEPS
        if hessian is not None:
            self._take(hessian)

    def see(self, new: Point, old: Point | None) -> None:
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

    def direction(self, point: Point, damping: float) -> np.ndarray:
        """−B ∇E, a step in θ."""
        self._factor(damping)
        q = -self.scaling.gradient(point.gradient)
        projections = []
        for s, d in reversed(self._pairs):
            a = (s @ q) / (s @ d)
            q = q - a * d
            projections.append(a)
        p = self._solve(q)
        for (s, d), a in zip(self._pairs, reversed(projections), strict=True):
            p = p + (a - (d @ p) / (s @ d)) * s
        return self.scaling.step(p)

    def _factor(self, damping: float) -> None:
        if damping == self._damping:
            return
        ridge = RIDGE
        while True:
            self._hessian[np.diag_indices_from(self._hessian)] = 1.0 + ridge + damping
            try:
                self._factored = cho_factor(self._hessian, lower=True)
            except LinAlgError:
                ridge *= 10
            else:
                self._damping = damping
                return

    def _solve(self, gradient: np.ndarray) -> np.ndarray:
        """H⁻¹ g."""
        return self._unit * cho_solve(self._factored, self._unit * gradient)
