"""To the optimum: `fast.newton` beside scikit-learn's solvers and glum, in turn in one process.

Everyone gets the same float64 arrays and the same penalty, and the loosest tolerance that brings
max |∂E/∂w| to 1e-9, as the reference gradient finds it. Who does not get there, or ends at another
value of E, has no time. For flights the peers also get the one-hot columns as a sparse matrix, and
handgrad the categories as codes; glum takes these too, as matrices of its own. All of it is made
before the clock starts.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import handgrad as hg
from handgrad._precision import x64
from handgrad._types import Coded
from handgrad.bench.report import Bar, Report, row
from handgrad.bench.timing import Contender, fastest, installed, missing, race, ratio
from handgrad.errors import MissingExtraError
from handgrad.fast import newton
from handgrad.gradients import logistic, softmax_regression
from handgrad.gradients.linear import Params

TITLE = "to the optimum of logistic and softmax regression"
WANTED = 1e-9
SAME = 1e-10
TOLERANCES = (1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
BUDGET = 25.0
"""Seconds of racing for each data set."""


@dataclass(frozen=True)
class RegressionProblem:
    """Data and a penalty; `sparse` is x for the peers where that is not x itself."""

    name: str
    x: np.ndarray
    y: np.ndarray
    l2: float
    peers: tuple[str, ...]
    wanted: float
    """How many times as fast as the best peer handgrad is to be."""
    sparse: Any = None
    codes: Coded | None = None
    """x with its categories as codes, another row of handgrad."""
    by_category: Any = None
    """The same as glum has it."""


def synthetic(
    examples: int, features: int, peers: tuple[str, ...], wanted: float
) -> RegressionProblem:
    """Independent normal features, labels drawn from the model itself."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(examples, features))
    z = 2 * (x @ draw.normal(size=features)) / np.sqrt(features) + 0.5
    y = (draw.random(examples) < 1 / (1 + np.exp(-z))).astype(int)
    return RegressionProblem(f"synthetic, {examples:,} × {features}", x, y, 1e-4, peers, wanted)


def flights(sparse: bool) -> RegressionProblem:
    """The flights, numbers standardised, categories one-hot."""
    data = hg.load("flights")
    x, numbers = data.x.copy(), ["=" not in name for name in data.feature_names]
    x[:, numbers] = (x[:, numbers] - x[:, numbers].mean(axis=0)) / x[:, numbers].std(axis=0)
    peers = ("newton-cholesky", "glum", "lbfgs")
    if not sparse:
        return RegressionProblem("flights, one-hot", x, data.y, 1e-4, peers[:2], 3.0)
    from scipy.sparse import csr_matrix

    name = "flights, one-hot, sparse for the peers, codes for handgrad"
    codes = as_codes(x, data.feature_names)
    by_category = as_matrices(codes) if installed("glum") else None
    return RegressionProblem(
        name, x, data.y, 1e-4, (*peers, GLUM_CODED), 3.0, csr_matrix(x), codes, by_category
    )  # fmt: skip


def as_matrices(codes: Coded) -> Any:
    """Codes as glum has them: a matrix of the numbers, and one for each category."""
    from tabmat import CategoricalMatrix, DenseMatrix, SplitMatrix

    values, starts = codes.values, codes.starts
    parts = [DenseMatrix(np.asfortranarray(values[:, list(codes.numbers)]))]
    places = [np.array([starts[column] for column in codes.numbers])]
    for column in codes.categories:
        parts.append(CategoricalMatrix(values[:, column].astype(np.int32)))
        places.append(starts[column] + np.arange(codes.sizes[column]))
    return SplitMatrix(parts, places)


def as_codes(x: np.ndarray, names: tuple[str, ...]) -> Coded:
    """One-hot columns, called `category=value`, as codes: the same features, in the same order."""
    values, sizes = [], []
    for category, places in groupby(range(len(names)), lambda place: names[place].split("=")[0]):
        own = list(places)
        is_category = names[own[0]] != category
        values.append(x[:, own].argmax(axis=1) if is_category else x[:, own[0]])
        sizes.append(len(own) if is_category else 0)
    return Coded(np.stack(values, axis=1).astype(float), tuple(sizes))


def mnist() -> RegressionProblem:
    """MNIST-5k, pixels from 0 to 1, ten classes."""
    data = hg.load("mnist-5k")
    return RegressionProblem("mnist-5k", data.x / 255, data.y, 1e-3, ("newton-cg", "lbfgs"), 2.0)


OURS, CODED = "handgrad", "handgrad, codes"
GLUM, GLUM_CODED = "glum", "glum, by category"
SMALL = ("saga", "optax.lbfgs")
"""Who also takes part where the data are few: it reads them hundreds of times."""
SOLVERS = ("lbfgs", "newton-cholesky", "newton-cg", "glum")
PROBLEMS: tuple[Callable[[], RegressionProblem], ...] = (
    partial(synthetic, 10_000, 20, (*SOLVERS, *SMALL), 1.0),
    partial(synthetic, 500_000, 100, SOLVERS, 3.0),
    partial(flights, sparse=False),
    partial(flights, sparse=True),
    mnist,
)


Solver = Callable[[RegressionProblem, float], tuple[Params, float, str]]
"""(problem, tolerance) -> (parameters, seconds of compiling, what it took)."""


def handgrad(who: str, problem: RegressionProblem, tol: float) -> tuple[Params, float, str]:
    """The parameters, the seconds of compiling, and what it took."""
    x = problem.codes if who == CODED else problem.x
    found = newton.fit(None, x, problem.y, problem.l2, tol=tol)
    note = f"{found.passes} passes, {found.hessians} Hessians, {found.products} products"
    return found.params, found.compile_seconds, note


def peer(who: str, problem: RegressionProblem, tol: float) -> tuple[Params, float, str]:
    """The same of scikit-learn's solver of that name, or of glum."""
    x = problem.x if problem.sparse is None else problem.sparse
    if who in (GLUM, GLUM_CODED):
        x = problem.by_category if who == GLUM_CODED else x
        from glum import GeneralizedLinearRegressor

        model = GeneralizedLinearRegressor(
            family="binomial", alpha=problem.l2, l1_ratio=0, gradient_tol=tol, max_iter=1000
        ).fit(x, problem.y.astype(float))
        return Params(model.coef_, model.intercept_), 0.0, f"{model.n_iter_} iterations"
    if who == "optax.lbfgs":
        return by_optax(problem, tol)
    from sklearn.linear_model import LogisticRegression

    penalty = 1 / (len(problem.y) * problem.l2)
    model = LogisticRegression(C=penalty, solver=who, tol=tol, max_iter=10_000).fit(x, problem.y)
    weight, bias = model.coef_.T, model.intercept_
    if weight.shape[1] == 1:
        weight, bias = weight[:, 0], bias[0]
    return Params(weight, bias), 0.0, f"{model.n_iter_[0]} iterations"


def by_optax(problem: RegressionProblem, tol: float) -> tuple[Params, float, str]:
    """`optax.lbfgs` on the loss by `jax.grad`, compiled as one loop."""
    with x64():
        began = time.perf_counter()
        at = np.float64(tol), problem.x, problem.y.astype(float), np.float64(problem.l2)
        if problem.name not in _COMPILED:
            _COMPILED[problem.name] = jax.jit(lbfgs_loop).lower(*at).compile()
        compiling = time.perf_counter() - began
        weight, bias, steps = _COMPILED[problem.name](*at)
        return Params(*jax.device_get((weight, bias))), compiling, f"{int(steps)} iterations"


_COMPILED: dict[str, Any] = {}


def lbfgs_loop(tol: Any, x: Any, y: Any, l2: Any) -> tuple:
    """(weight, bias, steps) where max |∂E/∂w| ≤ tol, or after 500 steps."""

    def loss(params: tuple) -> Any:
        weight, bias = params
        z = x @ weight + bias
        return jnp.mean(optax.sigmoid_binary_cross_entropy(z, y)) + l2 / 2 * weight @ weight

    rule, evaluate = optax.lbfgs(), optax.value_and_grad_from_state(loss)

    def more(carry: tuple) -> Any:
        return (carry[2] > tol) & (carry[3] < 500)

    def step(carry: tuple) -> tuple:
        params, state, _, steps = carry
        value, gradient = evaluate(params, state=state)
        updates, state = rule.update(
            gradient, state, params, value=value, grad=gradient, value_fn=loss
        )
        params = optax.apply_updates(params, updates)
        seen = optax.tree.get(state, "grad")
        largest = jnp.maximum(jnp.max(jnp.abs(seen[0])), jnp.abs(seen[1]))
        return params, state, largest, steps + 1

    start = jnp.zeros(x.shape[1]), jnp.zeros(())
    first = start, rule.init(start), jnp.asarray(jnp.inf), jnp.int32(0)
    (weight, bias), _, _, steps = jax.lax.while_loop(more, step, first)
    return weight, bias, steps


def judge(problem: RegressionProblem, params: Params) -> tuple[float, float]:
    """E and max |∂E/∂w|, by the reference in float64."""
    with x64():
        model = logistic if params.weight.ndim == 1 else softmax_regression
        run = jax.jit(model.value_and_gradient)
        at = Params(*(jnp.asarray(part, jnp.float64) for part in params))
        value, gradient = run(at, problem.x, problem.y, problem.l2)
        return float(value), max(float(abs(part).max()) for part in gradient)


def run(quick: bool = False) -> Iterator[Report]:
    """A report for each data set; those whose packages are not installed are named."""
    for draw in PROBLEMS[: 1 if quick else None]:
        try:
            problem = draw()
        except MissingExtraError as fault:
            yield Report("newton", "left out", [], notes=[str(fault)])
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peers warn where they stop short; the gradient tells
            report = measure(problem, quick)
        yield report


def measure(problem: RegressionProblem, quick: bool = False) -> Report:
    """Who gets to the optimum, and how fast."""
    peers = [who for who in problem.peers if installed("glum") or who not in (GLUM, GLUM_CODED)]
    ours = [OURS, *([] if problem.codes is None else [CODED])]
    runs: dict[str, Solver] = {
        **{who: partial(handgrad, who) for who in ours},
        **{who: partial(peer, who) for who in peers},
    }
    found = [loosest(problem, who, run) for who, run in runs.items()]
    least = min(value for _, value, _, _ in found)
    contenders, notes = [], []
    for contender, value, gradient, note in found:
        who, above = contender.name, value - least
        if gradient > WANTED or above > SAME:
            notes.append(f"{who} is not there: gradient {gradient:.1e}, E {above:.1e} above")
            continue
        contenders.append(contender)
        notes.append(f"{who}: {note}, max |∂E/∂w| {gradient:.1e}, E {above:.1e} above")
    timings = race(contenders, BUDGET, quick)
    mine = timings[ours[-1]]
    best = fastest([timing for name, timing in timings.items() if name not in ours])
    rows = [row(timing, best) for timing in timings.values()]
    times = ratio(best, mine).median
    bar = Bar(f"times as fast as the best peer, {best.name}", problem.wanted, times)
    return Report("newton", problem.name, rows, [bar], [*notes, *missing(["glum"])])


def loosest(
    problem: RegressionProblem, who: str, run: Solver
) -> tuple[Contender, float, float, str]:
    """A solver at the loosest tolerance that gets there; E, max |∂E/∂w|, and what it took."""
    compiling = 0.0
    for tol in (WANTED,) if who in (OURS, CODED) else TOLERANCES:
        began = time.perf_counter()
        params, seconds, note = run(problem, tol)
        first = time.perf_counter() - began - seconds
        compiling += seconds
        value, gradient = judge(problem, params)
        if gradient <= WANTED:
            break
    return Contender(who, partial(run, problem, tol), compiling, first), value, gradient, note
