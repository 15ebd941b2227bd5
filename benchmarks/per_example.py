"""One pass of per-example logistic descent: handgrad beside numba and scikit-learn, interleaved.

Every row is held equal to the loop in numba, or in handgrad's reference where there is no numba,
before a time is shown. Times are nanoseconds an example, medians; the first call, which compiles,
is apart. scikit-learn's `fit` is one epoch with a constant rate and no penalty.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad.fast.per_example import per_example
from handgrad.gradients import logistic
from handgrad.gradients.linear import Params
from handgrad.train import fit

SIZES = ((32, 100_000), (1_024, 10_000))
RATE, REPEATS = 0.1, 15


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
    def descend(x, y, weight, bias, rate):
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


def job(dtype: str = "float32", sizes: tuple = SIZES) -> list[dict[str, Any]]:
    """One row for each size and implementation."""
    rows = []
    with jax.enable_x64(dtype == "float64"):
        for features, examples in sizes:
            x, y = problem(features, examples, dtype)
            start = Params(jnp.zeros(features, dtype), jnp.zeros((), dtype))
            on_device = jnp.asarray(x), jnp.asarray(y)

            def ours(form: str, start: Params = start, data: tuple = on_device) -> np.ndarray:
                return np.asarray(per_example(start, *data, RATE, form=form).weight)

            runs = {
                "handgrad": lambda: ours("auto"),
                "handgrad, plain": lambda: ours("plain"),
                "handgrad, gram": lambda: ours("gram"),
                "scikit-learn": sklearn_loop(x, y),
            }
            if importlib.util.find_spec("numba"):
                runs["numba"] = numba_loop(x, y)
            first, times = {}, {name: [] for name in runs}
            reference = fit(
                logistic.model(), x, y, batch_size=1, shuffle=False, epochs=1, learning_rate=RATE,
                params=start,
            ).params.weight  # fmt: skip
            for name, run in runs.items():
                began = time.perf_counter()
                found = run()
                first[name] = time.perf_counter() - began
                apart = np.abs(found - reference).max() / np.abs(reference).max()
                assert apart < 1e3 * np.finfo(dtype).eps, f"{name} is {apart:.1e} off"
            for _ in range(REPEATS):
                for name, run in runs.items():
                    began = time.perf_counter()
                    run()
                    times[name].append((time.perf_counter() - began) / examples * 1e9)
            medians = {name: statistics.median(found) for name, found in times.items()}
            for name, median in medians.items():
                rows.append(
                    {
                        "features": features, "examples": examples, "dtype": dtype, "name": name,
                        "ns": median, "fastest_ns": min(times[name]), "first_s": first[name],
                        "sklearn_ratio": medians["scikit-learn"] / median,
                        "numba_ratio": median / medians["numba"] if "numba" in medians else None,
                    }
                )  # fmt: skip
    return rows


if __name__ == "__main__":
    for dtype in ("float32", "float64"):
        print(
            f"{dtype}\n     D  implementation      ns/example  x scikit-learn  numba = 1   first s"
        )
        for row in job(dtype):
            against = "no numba" if row["numba_ratio"] is None else f"{row['numba_ratio']:.2f}"
            print(
                f"{row['features']:6,}  {row['name']:<18} {row['ns']:11.1f}"
                f" {row['sklearn_ratio']:15.1f} {against:>10} {row['first_s']:9.2f}"
            )
