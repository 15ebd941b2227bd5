"""One pass of per-example logistic descent: handgrad beside numba and scikit-learn.

Every contender is held equal to the loop of `fit` before it is timed. scikit-learn's `fit` is one
epoch in order, with a constant rate and no penalty.

A loop on a CPU starts each of its small programs by itself, unless XLA makes one program of all of
it. That it does by itself where a step moves less than 1 kB; this raises the limit to 64 kB:

    XLA_FLAGS=--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=65536
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from handgrad._precision import x64
from handgrad.bench.report import Bar, Report, row
from handgrad.bench.timing import installed, missing, plain, race, ratio
from handgrad.fast.per_example import per_example
from handgrad.gradients import logistic
from handgrad.gradients.linear import Params
from handgrad.train import fit

TITLE = "descent on one example after the other"
SIZES = ((32, 100_000), (1_024, 10_000))
RATE = 0.1


def problem(features: int, examples: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Normal features of length about 1; labels from a noisy line."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, features)) / np.sqrt(features)
    y = x @ rng.normal(size=features) + 0.5 * rng.normal(size=examples) > 0
    return x.astype(dtype), y.astype(dtype)


def numba_loop(x: np.ndarray, y: np.ndarray) -> Callable[[], np.ndarray]:
    """The loop one would write, with fastmath, so that LLVM may split the sum into lanes too."""
    import numba

    @numba.njit(fastmath=True)
    def descend(x: Any, y: Any, weight: Any, bias: Any, rate: Any) -> None:
        for i in range(x.shape[0]):
            z = bias
            for d in range(x.shape[1]):
                z += x[i, d] * weight[d]
            push = rate * (1 / (1 + np.exp(-z)) - y[i])
            for d in range(x.shape[1]):
                weight[d] -= push * x[i, d]
            bias -= push

    def run() -> np.ndarray:
        weight = np.zeros(x.shape[1], x.dtype)
        descend(x, y, weight, x.dtype.type(0), x.dtype.type(RATE))
        return weight

    return run


def sklearn_loop(x: np.ndarray, y: np.ndarray) -> Callable[[], np.ndarray]:
    """SGDClassifier, one epoch in order; its bias moves at the same rate on dense data."""
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(
        loss="log_loss", penalty=None, learning_rate="constant", eta0=RATE, shuffle=False,
        max_iter=1, tol=None,
    )  # fmt: skip
    labels = y.astype(int)
    return lambda: model.fit(x, labels).coef_[0]


def run(quick: bool = False) -> Iterator[Report]:
    """A report for each size and dtype."""
    for dtype in ("float32", "float64"):
        for features, examples in SIZES[: 1 if quick else None]:
            with x64(dtype == "float64"):
                yield measure(features, examples // 10 if quick else examples, dtype, quick)


def measure(features: int, examples: int, dtype: str, quick: bool = False) -> Report:
    """All contenders at one size."""
    x, y = problem(features, examples, dtype)
    start = Params(jnp.zeros(features, dtype), jnp.zeros((), dtype))
    on_device = jnp.asarray(x), jnp.asarray(y)
    reference = fit(
        logistic.model(), x, y, batch_size=1, shuffle=False, epochs=1, learning_rate=RATE,
        params=start,
    ).params.weight  # fmt: skip

    def ours(form: str) -> np.ndarray:
        return np.asarray(per_example(start, *on_device, RATE, form=form).weight)

    def check(found: Any) -> None:
        apart = np.abs(found - reference).max() / np.abs(reference).max()
        assert apart < 1e3 * np.finfo(dtype).eps, f"{apart:.1e} off"

    runs: dict[str, Callable[[], np.ndarray]] = {
        "handgrad": partial(ours, "auto"),
        "handgrad, plain": partial(ours, "plain"),
        "handgrad, gram": partial(ours, "gram"),
        "scikit-learn": sklearn_loop(x, y),
    }
    if installed("numba"):
        runs["numba"] = numba_loop(x, y)
    contenders = []
    for name, run in runs.items():
        first = plain(name, run, check)  # compiles, where there is something to compile
        contenders.append(replace(plain(name, run), compile_seconds=first.first_seconds))
    timings = race(contenders, 5.0, quick)
    mine, theirs = timings["handgrad"], timings["scikit-learn"]
    bars = [Bar("times as fast as scikit-learn", 2.0, ratio(theirs, mine).median)]
    if "numba" in timings:
        bars.append(Bar("of numba's time", 2.5, ratio(mine, timings["numba"]).median, True))
    rows = [row(t, theirs, ns_an_example=t.quartiles.median / examples * 1e9)
            for t in timings.values()]  # fmt: skip
    notes = ["compiled in: what the first run took", *missing(["numba"])]
    return Report("per_example", f"{examples:,} × {features} {dtype}", rows, bars, notes)
