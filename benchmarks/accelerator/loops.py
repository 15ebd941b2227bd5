"""`fit` beside the usual loops, of optax and of PyTorch, and many models at once; microseconds.

A step is small here, so what counts is what starting it costs: the loops run on breast-cancer.
"""

import time
from collections.abc import Iterator
from time import monotonic
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator import by_torch
from benchmarks.accelerator.runner import first_line
from handgrad.bench import loop
from handgrad.bench.report import Report
from handgrad.bench.timing import Quartiles

SIZES = (1, 32, 426)
STEPS, REPEATS = 1_000, 3
SMALL_STEPS = 13
MODELS, EPOCHS, SINGLY = 256, 4, 4
WARM_UP = 3
"""Steps of PyTorch before it is timed."""
TOLERANCE = 1e-3


def steps(small: bool, seconds: float) -> Iterator[Report]:
    """A report for each batch size: `fit`, optax's loop in three ways, PyTorch's in two."""
    end = monotonic() + seconds
    with jax.default_matmul_precision("highest"):
        for number, size in enumerate(SIZES[1:2] if small else SIZES):
            if number and end - monotonic() < seconds / 4:
                return
            total, repeats = (SMALL_STEPS, 1) if small else (STEPS, REPEATS)
            report = loop.measure_steps(size, total, repeats)
            rows, notes = by_torch.taking_part(torch_loops, size, total, repeats)
            for row in rows:
                row["times_fit"] = row["seconds"] / report.rows[0]["seconds"]
            yield Report(
                report.job, report.title, [*report.rows, *rows], report.bars,
                [*report.notes, *notes],
            )  # fmt: skip


def many(small: bool, seconds: float) -> Iterator[Report]:
    """A report for each batch size: all models at once, and one after another."""
    end = monotonic() + seconds
    models, epochs, singly = (4, 1, 2) if small else (MODELS, EPOCHS, SINGLY)
    sizes: tuple[int | str, ...] = (32,) if small else (1, 32, "full")
    with jax.default_matmul_precision("highest"):
        for number, size in enumerate(sizes):
            if number and end - monotonic() < seconds / 4:
                return
            yield loop.measure_many(size, models, epochs, singly, 1 if small else 2)


def torch_loops(
    torch: Any, size: int, total: int, repeats: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """The usual loop of PyTorch on this device, as it is and with its step compiled.

    Its parameters are held against the same steps in NumPy before anything is timed.
    """
    x, y = loop.data()
    tx = by_torch.tensor(jnp.asarray(x))
    ty = by_torch.tensor(jnp.asarray(y, jnp.float32))
    rng = np.random.default_rng(0)
    picks = [torch.from_numpy(rng.integers(0, len(x), size)).to(tx.device) for _ in range(total)]
    functional = torch.nn.functional

    def loss(w: Any, b: Any, rows: Any, labels: Any) -> Any:
        return functional.binary_cross_entropy_with_logits(rows @ w + b, labels)

    def run(loss: Any, batches: list[Any]) -> tuple[Any, float]:
        w = torch.zeros(x.shape[1], device=tx.device, requires_grad=True)
        b = torch.zeros((), device=tx.device, requires_grad=True)
        by_torch.wait()
        began = time.perf_counter()
        for pick in batches:
            by_w, by_b = torch.autograd.grad(loss(w, b, tx[pick], ty[pick]), (w, b))
            with torch.no_grad():
                w -= loop.RATE * by_w
                b -= loop.RATE * by_b
        by_torch.wait()
        return w.detach().cpu().numpy(), time.perf_counter() - began

    first = picks[:WARM_UP]
    right = by_numpy(x, y, [pick.cpu().numpy() for pick in first])
    rows, notes = [], []
    for name in ("PyTorch, autograd", "PyTorch, compiled"):
        try:
            program = torch.compile(loss) if name.endswith("compiled") else loss
            apart = np.abs(run(program, first)[0] - right).max()
            assert apart <= TOLERANCE * np.abs(right).max(), f"{name}: {apart:.1e} off"
            took = Quartiles.of([run(program, picks)[1] / total for _ in range(repeats)])
        except Exception as fault:  # no compiler, or a wrong answer, which has no time
            notes.append(f"{name} is left out: {first_line(fault)}")
            continue
        rows.append({"name": name, "seconds": took.median, "lower": took.lower,
                     "upper": took.upper})  # fmt: skip
    return rows, notes


def by_numpy(x: np.ndarray, y: np.ndarray, picks: list[np.ndarray]) -> np.ndarray:
    """The weight after these steps from 0, in float64."""
    x, w, b = x.astype(np.float64), np.zeros(x.shape[1]), 0.0
    for pick in picks:
        rows, labels = x[pick], y[pick]
        r = (1 / (1 + np.exp(-(rows @ w + b))) - labels) / len(pick)
        w, b = w - loop.RATE * rows.T @ r, b - loop.RATE * r.sum()
    return w
