"""How E bends, as far as it is known: the Hessian itself, or products with it."""

from typing import Any

import numpy as np

from handgrad.fast.newton import passes
from handgrad.fast.newton.conjugate import ConjugateGradients
from handgrad.fast.newton.hessian import KeptHessian
from handgrad.fast.newton.problem import Problem
from handgrad.fast.newton.rows import some_of

MOST_FEATURES = 1_024
"""Of a Hessian that is formed."""
CURVATURE_BYTES = 2**26
"""The examples that a product with the Hessian reads, in float32."""
EXACT_BYTES = 2**22
"""So few that products in float64 cost nothing."""


def choose(
    problem: Problem,
    x: Any,
    y: np.ndarray,
    theta: np.ndarray,
    seed: int = 0,
    hessian: np.ndarray | None = None,
) -> KeptHessian | ConjugateGradients:
    """The Hessian itself for two classes and not too many features, else products with it.

    `hessian`, if there is one, is that of a point nearby; x and y are examples to sample.
    """
    scaling, programs = problem.scaling, problem.programs
    if theta.ndim == 1 and theta.size <= MOST_FEATURES:
        return KeptHessian(scaling, hessian)
    part = some_of(x, y, CURVATURE_BYTES // (4 * x.shape[1]), seed)[0]
    dtype = "float64" if part.size * 8 <= EXACT_BYTES else "float32"
    scaled = programs.run(passes.scaled, part, scaling.mean, scaling.scale, dtype=dtype)
    return ConjugateGradients(scaling, problem.penalty, scaled, programs)
