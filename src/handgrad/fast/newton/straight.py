"""Newton's steps as one program, where the examples are few: a fresh Hessian for each, all the way.

    v ← v − (∇²E)⁻¹ ∇E          until max |∂E/∂θ| ≤ tol, or until E does not fall

Where a pass takes a tenth of a millisecond, to start a program and to wait for it takes as long.
With a penalty there is an optimum, and nearly always these steps need no thought; so they are not
waited for. `descend` judges the point they end at, and goes on where a step has to be damped.

Source: the gradient and Hessian are those of `gradients.logistic`, for features a = (x − m)/s.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad._types import Array
from handgrad.fast.newton import link
from handgrad.fast.newton.hessian import NOTHING, RIDGE
from handgrad.fast.newton.passes import scaled
from handgrad.fast.newton.problem import Problem
from handgrad.fast.newton.rows import Rows
from handgrad.gradients.linear import matmul

MOST_STEPS = 12
MOST_BYTES, MOST_PARAMETERS = 2**22, 33
"""Beyond these, in float64, a pass or a Hessian takes longer than to start it."""
ROUNDING = 1e-15
"""How much E may seem to rise at the optimum, where a step still brings the gradient down."""
UNSEEN = float(np.finfo(np.float64).max)


class State(NamedTuple):
    """The last v that was accepted, what was seen there, and the step to try."""

    v: Array
    loss: Array
    largest: Array
    """max |∂E/∂θ|."""
    hessian: Array
    next: Array
    passes: Array
    falls: Array
    """Whether the last v tried was accepted: E was no higher there, but for rounding."""


class Ahead(NamedTuple):
    """θ, the steps to it, and the Hessian there in scaled coordinates, if it was taken."""

    theta: np.ndarray
    steps: int = 0
    hessian: np.ndarray | None = None


def pays(data: Any, theta: np.ndarray, l2: float, max_passes: int) -> bool:
    """Whether there is an optimum, and all the steps take less time than to think about each."""
    few = isinstance(data, Rows) and data.few and 8 * data.rest.size <= MOST_BYTES
    small = theta.ndim == 1 and theta.size <= MOST_PARAMETERS
    return few and small and l2 > 0 and max_passes > MOST_STEPS + 1


def solve(problem: Problem, theta: np.ndarray, tol: float) -> Ahead:
    """At most MOST_STEPS from θ over the rows of `problem`, which counts the passes."""
    rows, scaling = problem.rows, problem.scaling
    assert isinstance(rows, Rows)
    assert rows.few
    last = problem.programs.run(
        _solve, rows.rest, rows.rest_labels, scaling.mean, scaling.scale,
        scaling.penalty(problem.penalty), scaling.coordinates(theta), np.float64(tol),
    )  # fmt: skip
    passes, falls = int(last.passes), bool(last.falls)
    problem.passes += passes
    problem.hessians += passes
    if last.loss == UNSEEN:
        return Ahead(theta)
    steps = passes - 1 if falls else passes - 2
    return Ahead(scaling.step(np.asarray(last.v)), steps, np.array(last.hessian))


def _solve(
    x: Array, y: Array, mean: Array, scale: Array, penalty: Array, v: Array, tol: Array
) -> State:
    a = jnp.pad(scaled(x, mean, scale, "float64"), ((0, 0), (0, 1)), constant_values=1.0)

    def goes_on(state: State) -> Array:
        return state.falls & (state.largest > tol) & (state.passes <= MOST_STEPS)

    def step(state: State) -> State:
        v = state.next
        z = matmul(a, v)
        loss, residual, _ = link.binary(z, y)
        loss = loss / a.shape[0] + 0.5 * jnp.sum(penalty * jnp.square(v))
        gradient = matmul(residual, a) / a.shape[0] + penalty * v
        rooted = (a * jnp.sqrt(link.curvature(z))[:, None]).astype(jnp.float32)
        weight = scale * gradient[:-1] + mean * gradient[-1]
        largest = jnp.maximum(jnp.max(jnp.abs(weight)), jnp.abs(gradient[-1]))
        product = matmul(rooted.T, rooted).astype(jnp.float64)
        hessian = product / a.shape[0] + jnp.diag(penalty)
        further = v - solved(hessian, gradient)
        falls = loss <= state.loss + ROUNDING * (1 + jnp.abs(loss))
        new = State(v, loss, largest, hessian, further, state.passes + 1, falls)
        kept = jax.tree.map(lambda new, old: jnp.where(falls, new, old), new, state)
        return kept._replace(passes=new.passes, falls=falls)

    unseen = jnp.asarray(UNSEEN)
    first = State(v, unseen, unseen, jnp.diag(penalty), v, jnp.int32(0), jnp.bool_(True))
    return lax.while_loop(goes_on, step, first)


def solved(hessian: Array, gradient: Array) -> Array:
    """H⁻¹ g as `KeptHessian` has it: for H with a diagonal of 1, and ridges where it says."""
    diagonal = jnp.diag(hessian)
    usable = diagonal > NOTHING * jnp.max(diagonal)
    unit = 1 / jnp.sqrt(jnp.where(usable, diagonal, 1))
    ones = jnp.diag_indices_from(hessian)
    hessian = (hessian * jnp.outer(unit, unit)).at[ones].set(1 + RIDGE)
    factor = jnp.linalg.cholesky(hessian), True
    return unit * jax.scipy.linalg.cho_solve(factor, unit * gradient)
