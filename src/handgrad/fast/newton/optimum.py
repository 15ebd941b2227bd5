"""Logistic and softmax regression to the optimum, in as few passes over the data as can be.

    θ ← θ − t B ∇E(θ)          B ≈ (∇²E)⁻¹, t = 1 nearly always

A sample brings θ within its sampling error of the optimum; one pass then takes the gradient, exact
in float64, and the Hessian, in float32; the next take the gradient alone while that Hessian will do
(see `hessian`). Few examples of few features, with a penalty, go there at once (see `straight`).
Every point judged is judged by all the data in float64.

Source: the gradient and Hessian are those of `gradients.logistic` and
`gradients.softmax_regression`; "Neural networks", section on gradient descent, for the objective.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from jax.sharding import Mesh
from threadpoolctl import ThreadpoolController

from handgrad._precision import x64
from handgrad.fast.newton import passes, sampling, straight
from handgrad.fast.newton.arguments import (
    as_block_labels,
    as_features,
    as_labels,
    as_theta,
    check_options,
    refuse_blocks,
    refuse_features,
)
from handgrad.fast.newton.curvature import choose
from handgrad.fast.newton.descent import descend
from handgrad.fast.newton.parted import Blocks, Spread, spread
from handgrad.fast.newton.passes import Programs
from handgrad.fast.newton.problem import Problem, Scaling
from handgrad.fast.newton.result import Optimum
from handgrad.fast.newton.rows import Rows, lay_out, some_of
from handgrad.fast.newton.straight import Ahead
from handgrad.gradients.linear import Params


def fit(
    params: Params | None,
    x: Any,
    y: Any,
    l2: float = 0.0,
    *,
    tol: float = 1e-9,
    max_passes: int = 200,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> Optimum:
    """The least E over x (N, D), y and λ = `l2`: E is the mean cross-entropy in nats + ½ λ ‖w‖².

    Logistic regression for labels (N,) in {0, 1} or [0, 1]; softmax regression for (N,) integers of
    more classes, or (N, K) probabilities. `params`, the point to start at, decides if given; None
    starts on a sample drawn with `seed`, or at zero where there are few examples. Ends where
    max |∂E/∂w| ≤ `tol`, or where `Optimum.stopped` says. A NumPy array in row-major order is read
    where it lies; another is copied once. All is in float64, whatever the dtype of `x`. `mesh`,
    with one axis, spreads the examples over its devices, which send one message a pass.

    Raises InputError for shapes and dtypes that do not fit, features that are not finite, labels
    out of range, a class with no example, and options that cannot be used.

    >>> x, y = np.array([[-2.0], [-1.0], [0.5], [-0.5], [1.0], [2.0]]), np.array([0, 0, 0, 1, 1, 1])
    >>> optimum = fit(None, x, y, l2=0.1)
    >>> optimum.converged, optimum.params.weight.round(3).tolist()
    (True, [0.898])
    >>> fit(None, x[[0, 1, 4, 5]], y[[0, 1, 4, 5]]).stopped  # no weight is large enough
    'separable'
    """
    check_options(l2, tol, max_passes, seed)
    began = time.perf_counter()
    with x64(), _blas().limit(limits=1):
        x = as_features(x)
        y, classes = as_labels(y, x.shape[0], params)
        theta = as_theta(params, x, classes)
        laid = lay_out(x, y) if mesh is None else spread(x, y, mesh)
        if isinstance(laid, Rows) and laid.few:
            x = laid.rest  # few examples, which JAX has by now
        start = Start(theta, params is None, partial(refuse_features, x), seed)
        return _solve(laid, (x, y), start, float(l2), tol, max_passes, began)


def fit_blocks(
    blocks: Blocks,
    sample: tuple[np.ndarray, np.ndarray],
    classes: int | None = None,
    l2: float = 0.0,
    *,
    tol: float = 1e-9,
    max_passes: int = 200,
    seed: int = 0,
) -> Optimum:
    """`fit` for examples that are read block by block, once a pass, in memory that does not grow.

    `sample` (x, y) are some of the examples, from all over: Newton starts on them, and learns from
    them how features vary. `classes` is K for softmax regression on integers, None for one logit.
    Raises InputError for options that cannot be used, features that are not finite, and labels of
    no class.

    >>> x, y = np.array([[-2.0], [-1.0], [0.5], [-0.5], [1.0], [2.0]]), np.array([0, 0, 0, 1, 1, 1])
    >>> halves = Blocks(6, lambda: iter([(x[:3], y[:3]), (x[3:], y[3:])]))
    >>> fit_blocks(halves, (x, y), l2=0.1).params.weight.round(3).tolist()
    [0.898]
    """
    check_options(l2, tol, max_passes, seed)
    began = time.perf_counter()

    def read() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return ((x, as_block_labels(y, classes)) for x, y in blocks.read())

    with x64(), _blas().limit(limits=1):
        x = as_features(sample[0])
        y = as_block_labels(sample[1], classes)
        theta = as_theta(None, x, classes)
        start = Start(theta, True, refuse_blocks, seed)
        whole = Blocks(blocks.examples, read)
        return _solve(whole, (x, y), start, float(l2), tol, max_passes, began)


@dataclass(frozen=True)
class Start:
    """Where a run starts, and what it starts with."""

    theta: np.ndarray
    free: bool
    """Whether it may be moved before the first point is judged: nobody asked for this one."""
    refuse: Callable[[], None]
    """Called where the first point is not finite: one such value in the data is enough for that."""
    seed: int


def _solve(
    laid: Rows | Spread | Blocks,
    some: tuple[Any, np.ndarray],
    start: Start,
    l2: float,
    tol: float,
    max_passes: int,
    began: float,
) -> Optimum:
    """To the optimum over `laid`; `some` are its examples, or enough of them to sample."""
    x, y = some
    theta, programs = start.theta, Programs()
    penalty = np.append(np.full(x.shape[1], l2), 0.0)
    part = some_of(x, y, sampling.size(x.shape[1]), start.seed)
    scaling = Scaling(*map(np.asarray, programs.run(passes.moments, part[0])))
    if not (np.isfinite(scaling.mean).all() and np.isfinite(scaling.scale).all()):
        refuse_features(x)
    problem, ahead, near = Problem(laid, penalty, scaling, programs), Ahead(theta), False
    if start.free and len(part[1]) < laid.examples:
        theta, near = sampling.solve(programs, *part, scaling, penalty, theta), True
    elif start.free and straight.pays(laid, theta, l2, max_passes):
        ahead = straight.solve(problem, theta, tol)
        theta, near = ahead.theta, ahead.hessian is not None
    bends = choose(problem, x, y, theta, start.seed, ahead.hessian)
    point, stopped, steps = descend(
        problem, bends, theta, tol, max_passes, near=near, refuse=start.refuse
    )
    return Optimum(
        params=Params(weight=point.theta[..., :-1].T, bias=point.theta[..., -1]),  # type: ignore[arg-type]
        loss=point.loss,
        gradient_norm=point.gradient_max,
        stopped=stopped,
        passes=problem.passes,
        hessians=problem.hessians,
        products=getattr(bends, "products", 0),
        iterations=ahead.steps + steps,
        compile_seconds=programs.seconds,
        seconds=time.perf_counter() - began - programs.seconds,
    )


@cache
def _blas() -> ThreadpoolController:
    """The threads of BLAS under NumPy and SciPy: after a Cholesky they spin, waiting for another.

    Small matrices need only one, and a pass needs the cores.
    """
    return ThreadpoolController()
