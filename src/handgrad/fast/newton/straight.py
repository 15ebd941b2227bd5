"""Newton's steps as one program, where the examples are few: a fresh Hessian for each, all the way.

    v ← v − (∇²E)⁻¹ ∇E          until max |∂E/∂θ| ≤ tol, or until E does not fall

Where a pass takes a tenth of a millisecond, to start a program and to wait for it takes as long;
so the steps that need no thought are not waited for. The point they end at is one to start from:
`descend` judges it, and goes on wherever a step has to be damped or an optimum does not exist.

Source: the gradient and Hessian are those of `gradients.logistic`, for features a = (x − m)/s.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from handgrad._types import Array
from handgrad.fast.newton import link, passes
from handgrad.fast.newton.hessian import RIDGE
from handgrad.fast.newton.problem import Problem
from handgrad.fast.newton.rows import Rows
from handgrad.gradients.linear import matmul

MOST_STEPS = 12
MOST_BYTES, MOST_FEATURES = 2**22, 33
"""In float64: beyond these a pass, or a Hessian, takes longer than to start it."""
ROUNDING = 1e-15
"""How much E may seem to rise at the optimum, where a step still brings the gradient down."""
UNSEEN = float(np.finfo(np.float64).max)


class State(NamedTuple):
    """The last v at which E was no higher than before: E, max |∂E/∂θ|, ∇²E, and where to go on."""

    v: Array
    loss: Array
    largest: Array
    hessian: Array
    next: Array
    passes: Array
    falls: Array


class Ahead(NamedTuple):
    """θ, the steps tried, and the Hessian at θ in scaled coordinates, if there is one."""

    theta: np.ndarray
    steps: int = 0
    hessian: np.ndarray | None = None


def pays(data: Any, theta: np.ndarray, max_passes: int) -> bool:
    """Whether all the steps together take less time than to think about each."""
    few = isinstance(data, Rows) and data.few and 8 * data.rest.size <= MOST_BYTES
    return few and theta.ndim == 1 and theta.size <= MOST_FEATURES and max_passes > 2


def solve(problem: Problem, theta: np.ndarray, tol: float, most: int) -> Ahead:
    """At most `most` steps from θ over the rows of `problem`, which counts the passes."""
    rows, scaling = problem.rows, problem.scaling
    assert isinstance(rows, Rows)
    assert rows.few
    last = problem.programs.run(
        _solve, rows.rest, rows.rest_labels, scaling.mean, scaling.scale,
        scaling.penalty(problem.penalty), scaling.coordinates(theta), np.float64(tol),
        np.int64(1 + min(most, MOST_STEPS)),
    )  # fmt: skip
    read = int(last.passes)
    problem.passes += read
    problem.hessians += read
    if last.loss == UNSEEN:
        return Ahead(theta)
    return Ahead(scaling.step(np.asarray(last.v)), read - 1, np.array(last.hessian))


def _solve(
    x: Array, y: Array, mean: Array, scale: Array, penalty: Array, v: Array, tol: Array, most: Array
) -> State:
    a = jnp.pad(passes.scaled(x, mean, scale, "float64"), ((0, 0), (0, 1)), constant_values=1.0)

    def goes_on(state: State) -> Array:
        return state.falls & (state.largest > tol) & (state.passes < most)

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
        factor = jnp.linalg.cholesky(hessian + RIDGE * jnp.diag(jnp.diag(hessian))), True
        further = v - jax.scipy.linalg.cho_solve(factor, gradient)
        falls = loss <= state.loss + ROUNDING * (1 + jnp.abs(loss))
        new = State(v, loss, largest, hessian, further, state.passes + 1, falls)
        kept = jax.tree.map(lambda new, old: jnp.where(falls, new, old), new, state)
        return kept._replace(passes=new.passes, falls=falls)

    unseen, none = jnp.asarray(UNSEEN), jnp.zeros_like(most)
    first = State(v, unseen, unseen, jnp.diag(penalty), v, none, jnp.bool_(True))
    return lax.while_loop(goes_on, step, first)
