"""What is too large for balls: what it would take, and what float64 can tell instead.

A ball is an object of 120 bytes, and a number takes 0.4 microseconds for each operation. Where a
verdict would take more time or memory than there is, nothing is evaluated over balls, and the
verdict is never 'identical'. Hand and autodiff are compared in float64 at every coordinate. Where
they are apart, the loss itself is differenced along the worst coordinate, in float64 too; hand is
'different' only if the slopes on both sides agree with each other and with autodiff, and hand is
far from them: at a kink nothing is said.
"""

import os
from typing import Any, NamedTuple

import jax
import numpy as np

from handgrad._precision import x64
from handgrad.verify.mathematics import EVALUATIONS_PER_SLOPE, MathResult
from handgrad.verify.search import called
from handgrad.verify.witnesses import GRACE_SECONDS, Problem, Programs, rounded

MOST_SECONDS = 900.0
"""For the mathematics at the point given, where no time is asked for."""
MEMORY_SHARE = 0.5
"""Of the machine's memory."""
APART = 1e-6
"""Relative difference of two gradients in float64 that is looked into."""
NEGLIGIBLE = 1e-12
"""Of the largest coordinate: what rounding in float64 may do to the others."""
HALVINGS = range(3, 28)
"""Steps from an eighth of a number down."""
CONVICTING = 1e-3
"""Relative error of a gradient that differences in float64 may convict."""


def too_large(problem: Problem, programs: Programs) -> str | None:
    """What a verdict would take, in words, if that is more than there is; else None."""
    gradient, loss = programs.gradient_effort, programs.loss_effort
    seconds = EVALUATIONS_PER_SLOPE * loss.seconds + 2 * gradient.seconds
    allowed = MOST_SECONDS if problem.seconds is None else problem.seconds + GRACE_SECONDS
    if seconds <= allowed and gradient.bytes <= MEMORY_SHARE * _memory():
        return None
    return (
        f"{problem.layout.size:,} coordinates are too many for exact arithmetic here: it would "
        f"take about {_duration(seconds)} and {max(1, round(gradient.bytes / 1e9)):,} GB for the "
        "mathematics alone; judge smaller arrays, on which the algebra is the same"
    )


def _memory() -> float:
    """Bytes of memory that the machine has; unknown counts as unlimited."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60):,} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def compare_in_float64(
    programs: Programs, leaves: list, hand: np.ndarray, auto: np.ndarray
) -> MathResult:
    """What float64 says of both gradients, given as rows: 'different', or 'undecided'."""
    size = float(np.abs(auto[np.isfinite(auto)]).max(initial=0))
    with np.errstate(invalid="ignore"):
        scale = np.maximum(np.abs(auto), NEGLIGIBLE / APART * size)
        gap = np.where(hand == auto, 0.0, np.abs(hand - auto))
        apart = gap / np.where(scale > 0, scale, 1.0)
    gap, apart = (np.where(np.isnan(a), np.inf, a) for a in (gap, apart))
    differing = apart > APART
    # the widest gap is the one that differences of the loss show best
    count, worst = int(differing.sum()), int(np.argmax(np.where(differing, gap, 0.0)))
    place = programs.layout.coordinate(worst)
    values = f"{hand[worst]:.9g} and {auto[worst]:.9g} at {place}"
    where, cause, status = None, None, "undecided"
    if count == 0:
        most = max(float(apart.max(initial=0)), 1e-16)
        note = (
            f"in float64 the gradient and jax.grad agree at all {len(hand):,} coordinates, to "
            f"{most:.0e} at the worst: no proof, since both may be wrong"
        )
    else:
        note = f"in float64 the gradient and jax.grad differ at {count:,} of {len(hand):,} "
        note += f"coordinates: {values}"
        slope = _slope(programs, leaves, worst)
        if slope.is_smooth and slope.excludes(hand[worst]) and slope.allows(auto[worst]):
            status, where = "different", worst
            cause = f"{hand[worst]:.9g} where differences of the loss give {slope.value:.6g}"
    return MathResult(
        hand=status, autodiff="undecided", digits=0, truth="none: float64 alone", where=where,
        cause=cause, compared=len(hand), notes=(note,),
    )  # fmt: skip


class _FloatSlope(NamedTuple):
    """The slope of the loss along one coordinate, by differences in float64."""

    value: float
    low: float
    high: float
    """The smaller and the larger of the slopes on both sides."""
    error: float
    """How far off they may be."""
    is_smooth: bool
    """Whether the slopes on both sides agree."""

    def excludes(self, claimed: float) -> bool:
        """Whether a number is surely not the slope, nor between both; NaN is none."""
        slack = 10 * self.error + CONVICTING * max(abs(self.value), abs(claimed))
        return not self.low - slack <= claimed <= self.high + slack

    def allows(self, claimed: float) -> bool:
        """Whether a number may be the slope."""
        return abs(claimed - self.value) <= self.error + CONVICTING / 10 * abs(self.value)


def _slope(programs: Programs, leaves: list, index: int) -> _FloatSlope:
    """The difference quotients at the step at which two successive ones are closest."""
    layout = programs.layout
    row = layout.row(leaves, np.float64)
    scale = abs(row[index]) or 1.0

    def at_row(row: Any, leaves: list) -> Any:
        return called(programs.loss, layout.replaced(leaves, row))[0]

    with x64():
        rest = rounded(leaves, np.float64)
        loss = jax.jit(at_row).lower(row, rest).compile()
        middle, sides, least = float(loss(row, rest)), [], np.inf
        for halvings in HALVINGS:
            step = scale * 2.0**-halvings
            noise = abs(middle) * 2.0**-50 / step
            if noise >= least:
                break  # smaller steps can only be worse
            values = []
            for sign in (1, -1):
                moved = row.copy()
                moved[index] += sign * step
                values.append(float(loss(moved, rest)))
            right, left = (values[0] - middle) / step, (middle - values[1]) / step
            sides.append((right, left, noise))
            last = [(right + left) / 2 for right, left, _ in sides[-2:]]
            if len(last) == 2 and np.isfinite(last).all():
                least = min(least, abs(last[1] - last[0]) + noise)
    found = np.array(sides)
    central = (found[:, 0] + found[:, 1]) / 2
    errors = np.abs(np.diff(central)) + found[1:, 2]
    best = int(np.nanargmin(np.where(np.isfinite(errors), errors, np.inf)))
    right, left, noise = found[best + 1]
    smooth = abs(right - left) <= 4 * noise + 0.1 * abs(central[best + 1])
    return _FloatSlope(
        float(central[best + 1]), float(min(left, right)), float(max(left, right)),
        float(4 * errors[best]), bool(smooth),
    )  # fmt: skip
