"""To the optimum: `fast.newton` beside scikit-learn's solvers and glum, in turn in one process.

    python benchmarks/newton.py [synthetic] [flights] [flights-sparse] [mnist-5k] [small]

Everyone gets the same float64 arrays and the same penalty, and the loosest tolerance that brings
max |∂E/∂w| to 1e-9, as the reference gradient finds it. Who does not get there, or ends at another
value of E, has no time. In flights-sparse the peers, not handgrad, get the one-hot columns as a
sparse matrix, made before the clock starts.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import handgrad as hg
from handgrad._precision import x64
from handgrad.fast import newton
from handgrad.gradients import logistic, softmax_regression
from handgrad.gradients.linear import Params

WANTED = 1e-9
SAME = 1e-10
TOLERANCES = (1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
ROUNDS, FEW = 5, 20_000
PAUSE = 0.2
"""Seconds before each run: the threads of the one before spin for a while after their work."""


@dataclass(frozen=True)
class Row:
    """One contender on one data set; times in seconds, none if it did not get to the optimum."""

    data: str
    who: str
    gradient: float
    above: float
    """E above the least E of all contenders, in nats."""
    seconds: tuple[float, ...]
    compile_seconds: float
    note: str

    @property
    def median(self) -> float:
        """The median of its times, NaN for none."""
        return statistics.median(self.seconds) if self.seconds else float("nan")


@dataclass(frozen=True)
class Problem:
    """Data and a penalty; `sparse` is x for the peers where that is not x itself."""

    name: str
    x: np.ndarray
    y: np.ndarray
    l2: float
    peers: tuple[str, ...]
    sparse: Any = None


def synthetic(examples: int, features: int, name: str, peers: tuple[str, ...]) -> Problem:
    """Independent normal features, labels drawn from the model itself."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(examples, features))
    z = 2 * (x @ draw.normal(size=features)) / np.sqrt(features) + 0.5
    return Problem(name, x, (draw.random(examples) < 1 / (1 + np.exp(-z))).astype(int), 1e-4, peers)


def flights(sparse: bool) -> Problem:
    """The flights, numbers standardised, categories one-hot."""
    data = hg.load("flights")
    x, numbers = data.x.copy(), ["=" not in name for name in data.feature_names]
    x[:, numbers] = (x[:, numbers] - x[:, numbers].mean(axis=0)) / x[:, numbers].std(axis=0)
    peers = ("newton-cholesky", "glum", "lbfgs")
    if not sparse:
        return Problem("flights", x, data.y, 1e-4, peers[:2])
    from scipy.sparse import csr_matrix

    return Problem("flights-sparse", x, data.y, 1e-4, peers, csr_matrix(x))


def mnist() -> Problem:
    """MNIST-5k, pixels from 0 to 1, ten classes."""
    data = hg.load("mnist-5k")
    return Problem("mnist-5k", data.x / 255, data.y, 1e-3, ("newton-cg", "lbfgs"))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "synthetic": lambda: synthetic(
        500_000, 100, "synthetic", ("lbfgs", "newton-cholesky", "newton-cg", "glum")
    ),
    "flights": lambda: flights(sparse=False),
    "flights-sparse": lambda: flights(sparse=True),
    "mnist-5k": mnist,
    "small": lambda: synthetic(
        10_000, 20, "small", ("lbfgs", "newton-cholesky", "newton-cg", "glum")
    ),
}


def handgrad(problem: Problem, tol: float) -> tuple[Params, float, str]:
    """The parameters, the seconds of compiling, and what it took."""
    found = newton.fit(None, problem.x, problem.y, problem.l2, tol=tol)
    note = f"{found.passes} passes, {found.hessians} Hessians, {found.products} products"
    return found.params, found.compile_seconds, note


def peer(who: str, problem: Problem, tol: float) -> tuple[Params, float, str]:
    """The same of scikit-learn's solver of that name, or of glum."""
    x = problem.x if problem.sparse is None else problem.sparse
    if who == "glum":
        from glum import GeneralizedLinearRegressor

        model = GeneralizedLinearRegressor(
            family="binomial", alpha=problem.l2, l1_ratio=0, gradient_tol=tol, max_iter=1000
        ).fit(x, problem.y.astype(float))
        return Params(model.coef_, model.intercept_), 0.0, f"{model.n_iter_} iterations"
    from sklearn.linear_model import LogisticRegression

    penalty = 1 / (len(problem.y) * problem.l2)
    model = LogisticRegression(C=penalty, solver=who, tol=tol, max_iter=10_000).fit(x, problem.y)
    weight, bias = model.coef_.T, model.intercept_
    if weight.shape[1] == 1:
        weight, bias = weight[:, 0], bias[0]
    return Params(weight, bias), 0.0, f"{model.n_iter_[0]} iterations"


def judge(problem: Problem, params: Params) -> tuple[float, float]:
    """E and max |∂E/∂w|, by the reference in float64."""
    import jax

    with x64():
        model = logistic if params.weight.ndim == 1 else softmax_regression
        run = jax.jit(model.value_and_gradient)
        at = Params(*(np.asarray(part, np.float64) for part in params))
        value, gradient = run(at, problem.x, problem.y, problem.l2)
        return float(value), max(float(abs(part).max()) for part in gradient)


def job(names: tuple[str, ...] = tuple(PROBLEMS), rounds: int = ROUNDS) -> list[Row]:
    """The rows of each data set, handgrad first."""
    rows = []
    for name in names:
        problem = PROBLEMS[name]()
        runs: dict[str, Callable] = {"handgrad": lambda p, tol: handgrad(p, tol)}
        runs |= {who: lambda p, tol, who=who: peer(who, p, tol) for who in problem.peers}
        seen = {}
        for who, run in runs.items():  # the first runs: to compile, to find the tolerance, to judge
            compiling = 0.0
            for tol in (WANTED,) if who == "handgrad" else TOLERANCES:
                params, seconds, note = run(problem, tol)
                compiling += seconds
                value, gradient = judge(problem, params)
                if gradient <= WANTED:
                    break
            seen[who] = (tol, value, gradient, compiling, note)
        least = min(value for _, value, *_ in seen.values())
        times: dict[str, list[float]] = {
            who: [] for who, (_, value, gradient, *_) in seen.items()
            if gradient <= WANTED and value - least <= SAME
        }  # fmt: skip
        there = list(times)
        for turn in range(rounds if len(problem.y) > FEW else 5 * rounds):
            for who in there[turn % len(there) :] + there[: turn % len(there)]:  # no one's heir
                time.sleep(PAUSE)
                began = time.perf_counter()
                runs[who](problem, seen[who][0])
                times[who].append(time.perf_counter() - began)
        rows += [
            Row(name, who, gradient, value - least, tuple(times.get(who, ())), compiling, note)
            for who, (_, value, gradient, compiling, note) in seen.items()
        ]
    return rows


def table(rows: list[Row]) -> str:
    """One line a contender; the ratio is its median over that of handgrad."""
    lines = [
        f"{'data':<15} {'who':<16} {'median s':>9} {'from':>8} {'to':>8} {'ratio':>6} "
        f"{'max |dE/dw|':>12} {'E above':>9} {'compile s':>9}"
    ]
    for row in rows:
        mine = next(r for r in rows if r.data == row.data and r.who == "handgrad")
        spent = (
            f"{row.median:9.4f} {min(row.seconds):8.4f} {max(row.seconds):8.4f} "
            f"{row.median / mine.median:6.2f}"
            if row.seconds
            else f"{'not there':>9} {'':>8} {'':>8} {'':>6}"
        )
        compiling = f"{row.compile_seconds:9.2f}" if row.compile_seconds else f"{'-':>9}"
        lines.append(
            f"{row.data:<15} {row.who:<16} {spent} {row.gradient:12.1e} {row.above:9.1e} "
            f"{compiling}  {row.note}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(table(job(tuple(sys.argv[1:]) or tuple(PROBLEMS))))
