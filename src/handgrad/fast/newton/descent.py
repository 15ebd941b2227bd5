"""The steps to the optimum, and when to stop: at the tolerance, or where there is no optimum.

Newton's step goes all the way, as long as the loss falls. If it does not, the Hessian was that of
another point and is taken anew, or it does not reach that far and is damped, H + μ diag H, with μ
growing tenfold. That is a line search along a curve that bends from Newton's step to a short one
down the scaled gradient; a straight one would halve its way back from a step that a nearly singular
Hessian made a million times too long.

Without a penalty, weights that tell the classes apart on every example have no best length: the
loss only falls as they grow, and so does the gradient. A point whose least margin is above 0 is a
proof, and ends the search at once. Where the classes touch (some margins stay 0 for ever), the
steps give it away: each goes on in a direction that hurts no example, and gains the same factor.

Source: Nocedal & Wright, "Numerical Optimization", sections 4.1 and 10.3 (Levenberg, Marquardt).
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from handgrad.fast.newton.problem import Point, Problem

PROMISED = 1e-4
"""The part of the promised fall of the loss that a step has to bring."""
SLOW_GAIN, MOST_SLOW = 0.1, 5
"""A step should leave a tenth of what there was to gain; after so many slow ones, ask why."""
LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e9
FAR = 1e-3
TOUCHING = 1e-4
"""How far below 0 a margin may be along a step that hurts nobody, relative to the step."""


@runtime_checkable
class Curvature(Protocol):
    """What knows how E bends."""

    keeps: float | None
    """It takes another Hessian from a pass, unless a step left no more than this part of what there
    was to gain; None takes none at all."""

    ready: bool
    """It has a Hessian to begin with, or needs none."""

    fresh: bool
    """Whether directions are known to be those of the Hessian at the last point seen."""

    def see(self, new: Point, old: Point | None) -> None:
        """Take in an accepted point."""

    def direction(self, point: Point, damping: float) -> np.ndarray:
        """−(H + μ diag H)⁻¹ ∇E or near it, a step in θ."""


def descend(
    problem: Problem,
    curvature: Curvature,
    theta: np.ndarray,
    tol: float,
    most: int,
    *,
    enough: float = 0.0,
    near: bool = False,
    refuse: Callable[[], None] | None = None,
) -> tuple[Point, str, int]:
    """The last point, why it is the last, and the steps taken.

    Stops where max |∂E/∂θ| ≤ tol, where a step promises no more than `enough` nats, or after `most`
    passes. `near` says that the Hessian at θ will do; `refuse` is called if E or ∇E at θ is not
    finite.
    """
    point = problem.evaluate(theta, not curvature.ready)
    if refuse and not point.finite:
        refuse()
    curvature.see(point, None)
    wanted = curvature.keeps is not None and not near
    bounded = bool(problem.penalty.any())
    steps, slow, damping, before = 0, 0, 0.0, None
    while True:
        if not bounded and point.margin > 0:
            return point, "separable", steps
        if point.gradient_max <= tol:
            if not bounded and recedes(problem, curvature, point):
                return point, "separable", steps
            return point, "tolerance", steps
        step = curvature.direction(point, damping)
        promise = -0.5 * float(np.sum(step * point.gradient))
        if promise <= enough:
            return point, "enough" if promise > 0 else "rounding", steps
        if curvature.keeps is not None and before is not None and damping == 0:
            wanted = not promise <= curvature.keeps * before
        if problem.passes >= most:
            return point, "passes", steps
        new = problem.evaluate(point.theta + step, wanted)
        if better(new, point, promise):
            slow = slow + 1 if new.gradient_max > SLOW_GAIN * point.gradient_max else 0
            if not bounded and slow == MOST_SLOW:
                slow = 0
                if hurts_nobody(problem, new, step):
                    return new, "separable", steps + 1
            curvature.see(new, point)
            point, before, steps = new, promise, steps + 1
            damping = damping / 10 if damping > LEAST_DAMPING else 0.0
        elif not curvature.fresh:
            point = problem.evaluate(point.theta, True)
            curvature.see(point, None)
        elif damping > MOST_DAMPING:
            return point, "rounding", steps
        else:
            damping = max(LEAST_DAMPING, 10 * damping)


def better(new: Point, old: Point, promise: float) -> bool:
    """Whether the loss fell as promised; where that is below its rounding, whether ∇E shrank."""
    if not new.finite:
        return False
    if promise <= 1e-14 * (1 + abs(old.loss)):
        return new.gradient_max < old.gradient_max
    return new.loss <= old.loss - PROMISED * promise


def recedes(problem: Problem, curvature: Curvature, point: Point) -> bool:
    """Whether the gradient is small at `point` only because the optimum is infinitely far away.

    What a step promises is about |∇E|² at an optimum, and about |∇E| on the way to infinity.
    """
    step = curvature.direction(point, 0.0)
    promise = -0.5 * float(np.sum(step * point.gradient))
    return promise > FAR * point.gradient_max and hurts_nobody(problem, point, step)


def hurts_nobody(problem: Problem, point: Point, direction: np.ndarray) -> bool:
    """Whether logits along `direction` favour the label of every example, or are level."""
    if not np.isfinite(point.margin):  # soft labels want finite logits
        return False
    size = np.max(np.abs(problem.scaling.coordinates(direction)))
    return problem.evaluate(direction / size).margin > -TOUCHING
