"""`fit` beside the usual Python loop around a jitted optax step, and 256 models at once.

On breast-cancer, 10,000 steps (as near as whole epochs come). The usual loop calls a jitted
`jax.value_and_grad` of optax's loss with `optax.sgd`; its batch is gathered for each step, in one
of three ways: `x[i]` on a JAX array, `x[i]` on a NumPy array, or inside the jitted step. Times are
microseconds a step, medians of runs in turn, compilation apart. Parameters are held equal first.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import handgrad as hg
from handgrad.bench.report import Bar, Report
from handgrad.bench.timing import Quartiles
from handgrad.gradients import logistic
from handgrad.train import fit, fit_many
from handgrad.train.batches import Batches

TITLE = "the compiled loop, and many models at once"
STEPS, RATE, REPEATS = 10_000, 0.1, 7
QUICK_STEPS, QUICK_REPEATS = 500, 2
GATHERS = ("jax", "numpy", "inside")
WANTED = {1: 50.0, 32: 10.0}
"""By batch size: how many times as fast as the usual loop `fit` is to be."""


def data() -> tuple[np.ndarray, np.ndarray]:
    """The training part of breast-cancer in float32."""
    train, _ = hg.standardise(*hg.split(hg.load("breast-cancer")))
    return train.x.astype("float32"), train.y


def usual(x: np.ndarray, y: np.ndarray, params: Any, gather: str) -> Callable:
    """run(indices) -> (params, seconds): the loop as it is usually written."""
    optimizer = optax.sgd(RATE)
    on_device, labels = jnp.asarray(x), jnp.asarray(y, x.dtype)
    host_labels = np.asarray(labels)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        z = x @ params.weight + params.bias
        return optax.sigmoid_binary_cross_entropy(z, y).mean()

    @jax.jit
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array) -> tuple:
        value, gradient = jax.value_and_grad(loss)(params, x, y)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    @jax.jit
    def picking(params: Any, state: Any, rows: jax.Array) -> tuple:
        return step(params, state, on_device[rows], labels[rows])

    def run(indices: np.ndarray) -> tuple[Any, float]:
        p, state = params, optimizer.init(params)
        began = time.perf_counter()
        for rows in indices:
            if not rows.size:
                p, state, _ = step(p, state, on_device, labels)
            elif gather == "jax":
                p, state, _ = step(p, state, on_device[rows], labels[rows])
            elif gather == "numpy":
                p, state, _ = step(p, state, x[rows], host_labels[rows])
            else:
                p, state, _ = picking(p, state, rows)
        jax.block_until_ready(p)
        return p, time.perf_counter() - began

    return run


def measure_steps(size: int, total: int, repeats: int) -> Report:
    """`fit`, and the usual loop in its three ways, on batches of one size."""
    x, y = data()
    key, epochs = jax.random.key(0), max(1, round(total * size / len(x)))
    params = logistic.init(jax.random.key(1), x.shape[1])
    batches = Batches.of(len(x), size, True, jax.random.split(key)[1])
    steps = batches.steps(epochs)
    indices = batches.indices(0, steps)
    loops = {
        f"usual loop, gathered by {gather}": usual(x, y, params, gather)
        for gather in GATHERS[: 1 if batches.full else 3]
    }
    times: dict[str, list[float]] = {name: [] for name in ("fit", *loops)}
    for loop in loops.values():
        loop(indices[:3])  # compiles
    for _ in range(repeats):
        result = fit(
            logistic.model(), x, y, batch_size=size, epochs=epochs, key=key, params=params,
            learning_rate=RATE,
        )  # fmt: skip
        times["fit"].append(result.history.seconds / steps)
        for name, loop in loops.items():
            found, seconds = loop(indices)
            check_same(name, found, result.params)
            times[name].append(seconds / steps)
    took = {name: Quartiles.of(seconds) for name, seconds in times.items()}
    own = took["fit"].median
    rows = [
        {"name": name, "seconds": t.median, "lower": t.lower, "upper": t.upper,
         "times_fit": t.median / own}
        for name, t in took.items()
    ]  # fmt: skip
    bars = []
    if size in WANTED:
        best = min(took[name].median for name in loops)
        bars = [Bar("times as fast as the usual loop", WANTED[size], best / own)]
    note = f"fit compiled in {result.history.compile_seconds:.2f} s; seconds are of one step"
    return Report("loop", f"breast-cancer, batches of {size}, {steps:,} steps", rows, bars, [note])


def measure_many(size: int | str, models: int, epochs: int, singly: int, repeats: int) -> Report:
    """All learning rates at once, and one `fit` after another, of which `singly` stand for all."""
    x, y = data()
    rates, each = np.geomspace(0.001, 0.5, models), models // singly
    run: dict[str, Any] = {"batch_size": size, "epochs": 20 * epochs if size == "full" else epochs}
    once, alone = [], []
    for _ in range(repeats):
        many = fit_many(logistic.model(), x, y, learning_rates=tuple(rates), **run)
        once.append(many.seconds)
        spent = 0.0
        for number in range(0, models, each):
            one = fit(logistic.model(), x, y, learning_rate=rates[number], **run)
            spent += each * one.history.seconds
            check_same(f"model {number}", many.params(number), one.params)
        alone.append(spent)
    together, single = statistics.median(once), statistics.median(alone)
    took = {"at once": together, "one after another": single}
    rows = [{"name": name, "seconds": seconds} for name, seconds in took.items()]
    bar = Bar("times as fast as one after another", 10.0, single / together)
    note = f"compiled in {many.compile_seconds:.2f} s; {singly} of them ran one after another"
    return Report("loop", f"{models} models, batches of {size}", rows, [bar], [note])


def check_same(name: str, found: Any, expected: Any) -> None:
    """Assert that the weights are the same up to rounding."""
    apart = np.abs(found.weight - expected.weight).max()
    assert apart < 1e-3 * np.abs(expected.weight).max(), f"{name}: {apart:.1e} off"


def run(quick: bool = False) -> Iterator[Report]:
    """A report for each batch size, and one for many models at once."""
    total, repeats = (QUICK_STEPS, QUICK_REPEATS) if quick else (STEPS, REPEATS)
    for size in (1, 32, len(data()[0])):
        yield measure_steps(size, total, repeats)
    models, epochs, singly = (8, 2, 2) if quick else (256, 20, 16)
    for many in (1,) if quick else (1, 32, "full"):
        yield measure_many(many, models, epochs, singly, repeats)
