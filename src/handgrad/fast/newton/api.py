"""Logistic and softmax regression to the optimum, in as few passes over the data as can be.

    θ ← θ − t B ∇E(θ)          B ≈ (∇²E)⁻¹, t = 1 nearly always

A sample brings θ within its sampling error of the optimum; one pass then takes the gradient, exact
in float64, and the Hessian, in float32; the next take the gradient alone while that Hessian will do
(see `descent`). Few examples of few features, with a penalty, go there in one program (see
`descent.fused_newton`). Every point judged is judged by all the data in float64.

Source: the gradient and Hessian are those of `gradients.logistic` and
`gradients.softmax_regression`; "Neural networks", section on gradient descent, for the objective.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from threadpoolctl import ThreadpoolController

from handgrad._checks import (
    as_numpy,
    check_features,
    check_labels,
    describe,
    is_real,
    is_whole,
    relative_weights,
    require_examples,
    require_floating,
    require_linear,
    require_params,
    require_rank,
)
from handgrad._precision import x64
from handgrad._types import Coded, values_of
from handgrad.errors import InputError
from handgrad.fast.newton.descent import Fused, descend, fused_newton, fused_pays, select_hessian
from handgrad.fast.newton.objective import (
    Blocks,
    Objective,
    Partitioned,
    ProgramCache,
    Rows,
    Scaling,
    draw_sample,
    lay_out,
    moments,
    partition,
)
from handgrad.fast.one_pass import LARGE, form_of_environment
from handgrad.gradients.linear import Params

SAMPLE, SAMPLE_PER_FEATURE = 16_384, 40
"""Examples of a sample to start on, where there are four times as many."""
MOST_PASSES_ON_SAMPLE = 30
LARGE_CODES = 2**22
"""Bytes of codes from which a pass is machine code: XLA takes 5 ms."""


@dataclass(frozen=True)
class Optimum:
    """Where the gradient vanishes, and what it took to get there."""

    params: Params
    """float64 NumPy arrays: weight (D,) and bias (), or (D, K) and (K,)."""
    loss: float
    """E in nats, penalty included."""
    gradient_norm: float
    """max |∂E/∂w|, of the mean over the examples."""
    stopped: str
    """'tolerance'; 'separable': no optimum exists; 'rounding': E has no digits left; 'passes'."""
    passes: int
    """Passes over all the examples in float64."""
    hessians: int
    """How many of these took the Hessian too."""
    products: int
    """Products with the Hessian in float32, each two reads of at most `descent.SAMPLE_BYTES`."""
    iterations: int
    """Steps taken on all the examples."""
    compile_seconds: float
    seconds: float
    """Of the run without `compile_seconds`."""

    @property
    def converged(self) -> bool:
        """Whether the gradient is within the tolerance of an optimum."""
        return self.stopped == "tolerance"

    @property
    def separable(self) -> bool:
        """Whether the loss has no minimum because some weights separate the classes."""
        return self.stopped == "separable"


class Options(NamedTuple):
    """The numbers that a run is given."""

    l2: float
    tol: float
    max_passes: int
    seed: int

    def check(self) -> None:
        """Raise InputError unless they can be used."""
        l2, tol, most, seed = self
        if not (is_real(l2) and 0 <= l2 < math.inf):
            raise InputError("l2", "a finite number of 0 or more", repr(l2), "pass 1e-4, or 0")
        if not (is_real(tol) and 0 < tol < math.inf):
            raise InputError("tol", "a finite number above 0", repr(tol), "pass 1e-9")
        if not (is_whole(most) and most > 0):
            raise InputError("max_passes", "a whole number above 0", repr(most), "pass 200")
        if not (is_whole(seed) and seed >= 0):
            raise InputError("seed", "a whole number of 0 or more", repr(seed), "pass 0")


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
    sample_weight: Any = None,
) -> Optimum:
    """The least E over x (N, D), y and λ = `l2`: E is the mean cross-entropy in nats + ½ λ ‖w‖².

    Logistic regression for labels (N,) in {0, 1} or [0, 1]; softmax regression for (N,) integers of
    more classes, or (N, K) probabilities. `params`, the point to start at, decides if given; None
    starts on a sample drawn with `seed`, or at zero where there are few examples. Ends where
    max |∂E/∂w| ≤ `tol`, or where `Optimum.stopped` says. A NumPy array in row-major order is read
    where it lies; another is copied once. All is in float64, whatever the dtype of `x`. `mesh`,
    with one axis, spreads the examples over its devices, which send one message per pass.
    `sample_weight` (N,) says how much each example counts in the mean. Features may be `Coded`: a
    pass then sums over the rows of each category, and its Hessian over those of each pair.

    With the extra `numba`, passes for one logit over a row-major NumPy array of 32 MB or more, or
    over 4 MB of codes, in float32 or float64, are machine code (see `compiled`), unless
    HANDGRAD_ONE_PASS=xla.

    Raises InputError for shapes and dtypes that do not fit, features that are not finite, labels
    out of range, a class with no example, and options that cannot be used.

    >>> x, y = np.array([[-2.0], [-1.0], [0.5], [-0.5], [1.0], [2.0]]), np.array([0, 0, 0, 1, 1, 1])
    >>> optimum = fit(None, x, y, l2=0.1)
    >>> optimum.converged, optimum.params.weight.round(3).tolist()
    (True, [0.898])
    >>> fit(None, x[[0, 1, 4, 5]], y[[0, 1, 4, 5]]).stopped  # no weight is large enough
    'separable'
    """
    options, began = Options(l2, tol, max_passes, seed), time.perf_counter()
    options.check()
    with x64(), _blas().limit(limits=1):
        x = as_features(x)
        y, classes = as_labels(y, x.shape[0], params)
        if sample_weight is not None:
            y = as_masses(y, classes, relative_weights(sample_weight, x.shape[0]))
        theta = as_theta(params, x, classes)
        rows = _compiled(lay_out(x, y), x, y) if mesh is None else partition(x, y, mesh)
        if isinstance(rows, Rows) and rows.few:
            x = rows.rest  # few examples, which JAX has by now
        refusal = partial(features_error, x)
        return _solve(rows, (x, y), theta, params is None, refusal, options, began)


def _compiled(rows: Rows, x: Any, y: np.ndarray) -> Any:
    """Rows whose passes for one logit are machine code, where numba is there and they take long."""
    values, least = values_of(x), LARGE_CODES if isinstance(x, Coded) else LARGE
    suits = (
        isinstance(values, np.ndarray)
        and values.dtype in (np.float32, np.float64)
        and values.flags.c_contiguous
        and values.nbytes >= least
        and y.ndim == 1
        and y.dtype == np.float64
    )
    if not suits or form_of_environment() == "xla" or find_spec("numba") is None:
        return rows
    from handgrad.fast.newton.compiled import CompiledRows

    return CompiledRows(rows, x, y)


def fit_blocks(
    blocks: Blocks,
    sample: tuple[Any, np.ndarray],
    classes: int | None = None,
    l2: float = 0.0,
    *,
    tol: float = 1e-9,
    max_passes: int = 200,
    seed: int = 0,
) -> Optimum:
    """`fit` for examples that are read block by block, once per pass, in memory that does not grow.

    `sample` (x, y) are some of the examples, from all over: Newton starts on them, and learns from
    them how features vary. `classes` is K for softmax regression on integers, None for one logit.
    Raises InputError for options that cannot be used, features that are not finite, and labels of
    no class.

    >>> x, y = np.array([[-2.0], [-1.0], [0.5], [-0.5], [1.0], [2.0]]), np.array([0, 0, 0, 1, 1, 1])
    >>> halves = Blocks(6, lambda: iter([(x[:3], y[:3]), (x[3:], y[3:])]))
    >>> fit_blocks(halves, (x, y), l2=0.1).params.weight.round(3).tolist()
    [0.898]
    """
    options, began = Options(l2, tol, max_passes, seed), time.perf_counter()
    options.check()

    def read() -> Iterator[tuple[Any, np.ndarray]]:
        return ((x, as_block_labels(y, classes)) for x, y in blocks.read())

    with x64(), _blas().limit(limits=1):
        some = as_features(sample[0]), as_block_labels(sample[1], classes)
        theta = as_theta(None, some[0], classes)
        rows = Blocks(blocks.examples, read)
        return _solve(rows, some, theta, True, blocks_error, options, began)


def _solve(
    rows: Rows | Partitioned | Blocks,
    some: tuple[Any, np.ndarray],
    theta: np.ndarray,
    free: bool,
    refusal: Callable[[], InputError],
    options: Options,
    began: float,
) -> Optimum:
    """To the optimum over `rows`; `some` are its examples, or enough of them to sample.

    `free`: nobody asked for θ, so it may be moved before the first point is judged. `refusal` says
    what is wrong where the first point is not finite: one such value in the data is enough for it.
    """
    x, y = some
    programs, features = ProgramCache(), x.shape[1]
    penalty = np.append(np.full(features, float(options.l2)), 0.0)
    sample = draw_sample(x, y, max(SAMPLE, SAMPLE_PER_FEATURE * features), options.seed)
    scaling = Scaling(*map(np.asarray, programs.run(moments, sample[0])))
    if not (np.isfinite(scaling.mean).all() and np.isfinite(scaling.scale).all()):
        raise features_error(x)
    objective, fused, near = Objective(rows, penalty, scaling, programs), Fused(theta), False
    if free and len(sample[1]) < rows.examples:
        theta, near = _optimum_of_sample(programs, *sample, scaling, penalty, theta), True
    elif free and fused_pays(rows, theta, options.l2, options.max_passes):
        fused = fused_newton(objective, theta, options.tol)
        theta, near = fused.theta, fused.hessian is not None
    hessian = select_hessian(objective, x, y, theta, options.seed, fused.hessian)
    point, stopped, steps = descend(
        objective, hessian, theta, options.tol, options.max_passes, near=near
    )
    if stopped == "not finite":
        raise refusal()
    return Optimum(
        params=Params(weight=point.theta[..., :-1].T, bias=point.theta[..., -1]),  # type: ignore[arg-type]
        loss=point.loss,
        gradient_norm=point.gradient_max,
        stopped=stopped,
        passes=objective.passes,
        hessians=objective.hessians,
        products=getattr(hessian, "products", 0),
        iterations=fused.steps + steps,
        compile_seconds=programs.seconds,
        seconds=time.perf_counter() - began - programs.seconds,
    )


def _optimum_of_sample(
    programs: ProgramCache,
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
    objective = Objective(lay_out(x, y), penalty, scaling, programs)
    hessian = select_hessian(objective, x, y, theta)
    enough = 0.01 * theta.size / len(y)
    return descend(objective, hessian, theta, 0.0, MOST_PASSES_ON_SAMPLE, enough=enough)[0].theta


@cache
def _blas() -> ThreadpoolController:
    """The threads of BLAS under NumPy and SciPy: after a Cholesky they spin, waiting for another.

    Small matrices need only one, and a pass needs the cores.
    """
    return ThreadpoolController()


# --- what is accepted: labels and features as the passes want them --------------------------------
#
# JAX wraps a class index out of range and carries a NaN to every parameter without a word, so
# labels are looked at here. Features are not: reading them costs as much as a pass, and one that is
# not finite makes the first gradient not finite, which is when they are.


def as_features(x: Any) -> Any:
    """x as a JAX or NumPy array (N, D), or Coded. Raises InputError for other shapes and dtypes."""
    x = x if isinstance(x, jax.Array | Coded) else as_numpy("x", x)
    require_floating("x", x)
    require_rank("x", x, 2, "(N, D)")
    require_examples("x", x)
    if x.shape[1] == 0:
        raise InputError("x", "at least one feature", f"shape {x.shape}", "pass some features")
    return x


def as_labels(y: Any, examples: int, params: Params | None) -> tuple[np.ndarray, int | None]:
    """Labels for N examples and K, or None for K with one logit.

    (N,) in [0, 1] as float64 for one logit; (N,) int32 below K, or (N, K) float64 probabilities.
    Raises InputError for labels out of range or missing, and for a class with no example, whose
    bias would fall for ever.
    """
    y = as_numpy("y", y)
    y = y.astype(np.int32) if y.dtype == bool else y
    check_labels(y, examples)
    classes = _classes(y, params)
    check_labels(y, examples, 2 if classes is None else classes)
    if classes is None:
        y = y.astype(np.float64)
        shares = np.array([np.mean(1 - y), np.mean(y)])
    elif y.ndim == 1:
        y = y.astype(np.int32)
        shares = np.bincount(y, minlength=classes) / examples
    else:
        y = y.astype(np.float64)
        shares = y.mean(axis=0)
    if not shares.all():
        raise InputError(
            "y", f"examples of each of the {len(shares)} classes",
            f"none of class {int(np.argmin(shares))}",
            "leave that class out, and number the others without a gap",
        )  # fmt: skip
    return y, classes


def as_masses(y: np.ndarray, classes: int | None, weights: np.ndarray) -> np.ndarray:
    """How much each example weighs as one of each class: (N, 2) for one logit, else (N, K).

    Raises InputError for a class without weight, whose bias would fall for ever.
    """
    if classes is None:
        labels = np.stack([1 - y, y], axis=1)
    else:
        labels = np.eye(classes)[y] if y.ndim == 1 else y
    masses = labels * weights[:, None]
    if not masses.any(axis=0).all():
        raise InputError(
            "sample_weight", "weight on examples of each class",
            f"none on class {int(np.argmin(masses.any(axis=0)))}", "leave that class out",
        )  # fmt: skip
    return masses


def _classes(y: np.ndarray, params: Params | None) -> int | None:
    """K: what `params` has, the columns of probabilities, or one more than the largest index."""
    whole = jnp.issubdtype(y.dtype, jnp.integer)
    if params is None:
        if y.ndim == 2:
            return y.shape[1]
        return int(y.max()) + 1 if whole and y.max() > 1 else None
    require_params(params)
    if np.ndim(params.weight) == 1:
        require_rank("y", y, 1, "(N,), for one logit per example")
        return None
    if y.ndim == 1 and not whole:
        raise InputError(
            "y", f"integer indices of shape {y.shape} or (N, K) probabilities", describe(y),
            "convert the labels to int32 indices",
        )  # fmt: skip
    return int(np.shape(params.weight)[1])


def as_theta(params: Params | None, x: Any, classes: int | None) -> np.ndarray:
    """θ (D+1,) or (K, D+1), the bias last; zeros for None. Raises InputError for other shapes."""
    if params is None:
        return np.zeros((*(() if classes is None else (classes,)), x.shape[1] + 1))
    require_linear(params, x)
    weight, bias = np.asarray(params.weight, np.float64), np.asarray(params.bias, np.float64)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise InputError("params", "finite parameters", "some that are not", "pass None to start")
    return np.concatenate([weight.T, bias[..., None]], axis=-1)


def features_error(x: Any) -> InputError:
    """Why the first gradient over the features x was not finite."""
    if isinstance(x, Coded):
        try:
            check_features(x)
        except InputError as error:
            return error
        x = x.values
    x = np.asarray(x)
    bad = ~np.isfinite(x)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        return InputError(
            "x", "finite features", f"{x[row, column]} at position [{row}, {column}]",
            "drop those rows, or fill the gaps with a number",
        )  # fmt: skip
    return InputError(
        "x", "features whose squares float64 can hold", f"up to {np.abs(x).max():.3g}",
        "rescale them",
    )  # fmt: skip


def blocks_error() -> InputError:
    """What is wrong with rows that only their reader knows."""
    return InputError(
        "blocks", "finite features, and labels of the classes", "a row with others",
        "mend or drop it",
    )  # fmt: skip


def as_block_labels(y: Any, classes: int | None) -> np.ndarray:
    """Labels of a block as a pass takes them: in [0, 1] for one logit, else integers below K.

    Raises InputError for others.
    """
    given: Any = np.asarray(y)
    most = 1 if classes is None else classes - 1
    fits = (given >= 0) & (given <= most)
    if not (fits if classes is None else fits & (given == np.floor(given))).all():
        raise blocks_error()
    return given.astype(np.float64 if classes is None else np.int32)
