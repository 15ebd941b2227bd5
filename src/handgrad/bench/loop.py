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


def measure_steps(total: int, repeats: int) -> list[dict[str, Any]]:
    """One row for each batch size: `fit`, and the usual loop in its three ways."""
    x, y = data()
    examples, key = len(x), jax.random.key(0)
    params, rows = logistic.init(jax.random.key(1), x.shape[1]), []
    for size in (1, 32, examples):
        epochs = max(1, round(total * size / examples))
        batches = Batches.of(examples, size, True, jax.random.split(key)[1])
        indices = batches.indices(0, batches.steps(epochs))
        loops = {how: usual(x, y, params, how) for how in GATHERS[: 1 if batches.full else 3]}
        times: dict[str, list[float]] = {name: [] for name in ("fit", *loops)}
        for loop in loops.values():
            loop(indices[:3])  # compiles
        for _ in range(repeats):
            result = fit(
                logistic.model(), x, y, batch_size=size, epochs=epochs, key=key, params=params,
                learning_rate=RATE,
            )  # fmt: skip
            steps = len(result.history.batch_losses)
            times["fit"].append(result.history.seconds / steps * 1e6)
            for name, loop in loops.items():
                found, seconds = loop(indices)
                apart = np.abs(found.weight - result.params.weight).max()
                assert apart < 1e-3 * np.abs(found.weight).max(), f"{name}: {apart:.1e} off"
                times[name].append(seconds / steps * 1e6)
        compiling = result.history.compile_seconds
        rows.append({"batch": size, "steps": steps, "compile_s": compiling, "us": times})
    return rows


def measure_many(
    size: int | str, models: int, epochs: int, singly: int, repeats: int
) -> dict[str, Any]:
    """All learning rates at once, and one `fit` after another, of which `singly` stand for all."""
    x, y = data()
    rates = tuple(np.geomspace(0.001, 0.5, models))
    options: dict[str, Any] = {
        "batch_size": size,
        "epochs": epochs if size != "full" else 20 * epochs,
    }
    once, alone = [], []
    for _ in range(repeats):
        many = fit_many(logistic.model(), x, y, learning_rates=rates, **options)
        once.append(many.seconds)
        spent = 0.0
        for number in range(0, models, models // singly):
            one = fit(logistic.model(), x, y, learning_rate=rates[number], **options)
            spent += models // singly * one.history.seconds
            found = many.params(number).weight
            apart = np.abs(found - one.params.weight).max()
            assert apart < 1e-3 * np.abs(one.params.weight).max(), f"model {number}"
        alone.append(spent)
    together, single = statistics.median(once), statistics.median(alone)
    return {
        "models": models, "batch": size, "steps": many.steps, "at_once_s": together,
        "one_after_another_s": single, "ratio": single / together,
        "compile_s": many.compile_seconds,
    }  # fmt: skip


def run(quick: bool = False) -> Iterator[Report]:
    """A report for each batch size, and one for many models at once."""
    wanted = {1: 50.0, 32: 10.0}
    total, repeats = (QUICK_STEPS, QUICK_REPEATS) if quick else (STEPS, REPEATS)
    for found in measure_steps(total, repeats):
        own = Quartiles.of(found["us"]["fit"])
        rows = [timed(name, us, own) for name, us in found["us"].items()]
        least = min(Quartiles.of(us).median for name, us in found["us"].items() if name != "fit")
        bars = [Bar("times as fast as the usual loop", wanted[found["batch"]], least / own.median)
                ] if found["batch"] in wanted else []  # fmt: skip
        yield Report(
            "loop", f"breast-cancer, batches of {found['batch']}, {found['steps']:,} steps", rows,
            bars, [f"fit compiled in {found['compile_s']:.2f} s; seconds are of one step"],
        )  # fmt: skip
    models, epochs, singly = (8, 2, 2) if quick else (256, 20, 16)
    for size in (1,) if quick else (1, 32, "full"):
        found = measure_many(size, models, epochs, singly, repeats)
        rows = [
            {"name": "at once", "seconds": found["at_once_s"]},
            {"name": "one after another", "seconds": found["one_after_another_s"]},
        ]
        yield Report(
            "loop", f"{found['models']} models, batches of {found['batch']}", rows,
            [Bar("times as fast as one after another", 10.0, found["ratio"])],
            [f"compiled in {found['compile_s']:.2f} s; {singly} of them ran one after another"],
        )  # fmt: skip


def timed(name: str, us: list[float], own: Quartiles) -> dict[str, Any]:
    """A row: microseconds a step, and how much longer than `fit`."""
    took = Quartiles.of(us)
    return {
        "name": name if name == "fit" else f"usual loop, gathered by {name}",
        "seconds": took.median * 1e-6, "lower": took.lower * 1e-6, "upper": took.upper * 1e-6,
        "times_fit": took.median / own.median,
    }  # fmt: skip
