"""A sample to start on: its optimum is within its sampling error of the optimum."""

from typing import Any

import numpy as np

from handgrad.fast.newton.curvature import choose
from handgrad.fast.newton.descent import descend
from handgrad.fast.newton.passes import Programs
from handgrad.fast.newton.problem import Problem, Scaling
from handgrad.fast.newton.rows import lay_out

EXAMPLES = 16_384
"""Of a sample, where there are four times as many."""
EXAMPLES_A_FEATURE = 40
MOST_PASSES = 30


def size(features: int) -> int:
    """The examples of a sample with so many features."""
    return max(EXAMPLES, EXAMPLES_A_FEATURE * features)


def solve(
    programs: Programs,
    x: Any,
    y: np.ndarray,
    scaling: Scaling,
    penalty: np.ndarray,
    theta: np.ndarray,
) -> np.ndarray:
    """The optimum on a sample, until what is left to gain is small beside its sampling error.

    A ridge of 1/n for each scaled feature, also small beside it, keeps weights finite where the
    sample happens to be separable, or lacks a category.
    """
    penalty = penalty + np.append(scaling.scale**2, 0.0) / len(y)
    problem = Problem(lay_out(x, y), penalty, scaling, programs)
    bends = choose(problem, x, y, theta)
    enough = 0.01 * theta.size / len(y)
    return descend(problem, bends, theta, 0.0, MOST_PASSES, enough=enough)[0].theta
