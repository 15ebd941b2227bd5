"""How long the judge takes: a small case cold and warm, the whole catalogue, and large problems.

Commands are timed as a whole, from a cold start: with an empty folder as JAX's compilation cache.
Beside the small case stand JAX's own checks, which compare one direction at a few digits, and the
same gradient in mpmath, at 60 digits and at one point. Every verdict has to be the right one before
its time counts.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads, check_vjp

from handgrad._precision import x64
from handgrad.bench.report import Bar, Report, row
from handgrad.bench.timing import Check, equal_to, installed, missing, plain, race
from handgrad.catalogue import case
from handgrad.gradients import mlp, softmax_regression
from handgrad.verify import verify

TITLE = "the judge"
SMALL = "logistic"
COMMANDS = {SMALL: ([SMALL], 3.0), "catalogue": ([], 60.0)}
"""What `handgrad verify` is given, and the seconds that it may take from a cold start."""
EXAMPLES, DIGITS = 32, 60
REPEATS = 3
"""Of each command."""


# --- problems of a size ---------------------------------------------------------------------------


class Size(NamedTuple):
    """A problem of one size, the seconds that it may take, and what a gradient is called."""

    loss: Callable
    gradient: Callable
    at: tuple
    bar: float
    right: str = "identical"
    wrong: str = "different"


def softmax_784(pixels: int = 784) -> Size:
    """Softmax regression on 28 × 28 pixels and 10 classes: 7,850 parameters."""
    params = softmax_regression.init(jax.random.key(0), pixels, 10)
    at = (params, *_examples(pixels, 10))
    return Size(softmax_regression.loss, softmax_regression.gradient, at, 10)


def mlp_784_100_10() -> Size:
    """A network of one hidden layer of 100: 79,510 parameters."""
    params = mlp.init(jax.random.key(0), 784, 10, hidden=(100,))
    return Size(mlp.loss, mlp.gradient, (params, *_examples(784, 10)), 60)


def _examples(features: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(EXAMPLES, features)), rng.integers(0, classes, EXAMPLES)


def cross_entropy(size: int, bar: float, right: str = "identical") -> Size:
    """Binary cross-entropy over a vector of logits of this size."""
    rng = np.random.default_rng(0)

    def loss(z: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(jnp.logaddexp(0, z) - y * z)

    def gradient(z: jax.Array, y: jax.Array) -> jax.Array:
        return (jax.nn.sigmoid(z) - y) / z.size

    at = 3 * rng.normal(size=size), (rng.random(size) < 0.5).astype(np.float64)
    return Size(loss, gradient, at, bar, right)


def vector_100_000() -> Size:
    """Binary cross-entropy over 100,000 logits."""
    return cross_entropy(100_000, 20)


# --- the job --------------------------------------------------------------------------------------


def run(quick: bool = False) -> Iterator[Report]:
    """A small case, commands from a cold start, and large problems."""
    yield measure_small(quick)
    if quick:
        yield measure_large({"softmax, 6 pixels": lambda: softmax_784(6)})
        return
    yield measure_commands()
    yield measure_large({f.__name__: f for f in (softmax_784, mlp_784_100_10, vector_100_000)})


def measure_small(quick: bool = False) -> Report:
    """A verdict on a small case once everything is loaded, and what else one might do with it."""
    entry = case(SMALL)
    assert isinstance(entry.argnums, int)
    with x64():
        at = entry.example(jax.random.key(0))
        right = entry.gradient(*at)
        params, rest = at[0], at[1:]

        def loss(params: Any) -> jax.Array:
            return entry.loss(params, *rest)

        def checked(check: Callable, *how: Any, **options: Any) -> Callable[[], None]:
            def call() -> None:
                with x64():
                    check(loss, *how, (params,), **options)

            return call

        runs: dict[str, tuple[Callable[[], Any], Check | None]] = {
            "handgrad": (lambda: verify(entry.gradient, of=entry.loss, at=at), _is_right),
            "check_grads": (checked(check_grads, order=1, modes=("rev",)), None),
            "check_vjp": (checked(check_vjp, lambda *p: jax.vjp(loss, *p)), None),
        }
        if installed("mpmath"):
            runs["mpmath"] = (lambda: in_mpmath(*at), equal_to(right, 1e-14))
        contenders = [plain(name, call, check) for name, (call, check) in runs.items()]
        timings = race(contenders, 10.0, quick)
    ours = timings["handgrad"]
    rows = [row(timing, ours, compares=COMPARES[timing.name]) for timing in timings.values()]
    notes = ["speed: how many verdicts in its time", *missing(["mpmath"])]
    return Report("judge", f"{SMALL}, warm", rows, [], notes)


COMPARES = {
    "handgrad": "all digits, 2 dtypes, a search",
    "check_grads": "a direction, 1 dtype",
    "check_vjp": "a direction, 1 dtype",
    "mpmath": "nothing: one point, 60 digits",
}
"""What each looks at."""


def _is_right(verdict: Any) -> None:
    assert verdict.ok, verdict.cause


def in_mpmath(params: Any, x: Any, y: Any) -> tuple[np.ndarray, float]:
    """The gradient of logistic regression: the mean of (σ(x·w + b) − y)(x, 1), at 60 digits."""
    import mpmath

    with mpmath.workdps(DIGITS):
        weight, bias = [mpmath.mpf(float(w)) for w in params.weight], mpmath.mpf(float(params.bias))
        rows = [[mpmath.mpf(float(number)) for number in example] for example in x]
        residuals = [
            1 / (1 + mpmath.exp(-(mpmath.fdot(example, weight) + bias))) - float(label)
            for example, label in zip(rows, y, strict=True)
        ]
        columns = [mpmath.fdot(residuals, column) / len(rows) for column in zip(*rows, strict=True)]
        return np.array([float(c) for c in columns]), float(mpmath.fsum(residuals) / len(rows))


def measure_commands() -> Report:
    """`handgrad verify` from a cold start."""
    rows, bars = [], []
    for name, (options, bar) in COMMANDS.items():
        found = [cold_start(options) for _ in range(REPEATS if options else 1)]
        assert all(code == 0 for _, _, code in found), f"handgrad verify {name} found a fault"
        cpu, wall = (float(np.median(part)) for part in list(zip(*found, strict=True))[:2])
        rows.append({"name": f"handgrad verify, {name}", "seconds": wall, "CPU seconds": cpu})
        bars.append(Bar(f"seconds for {name}", bar, wall, at_most=True))
    return Report("judge", "commands, cold", rows, bars)


def cold_start(options: list[str]) -> tuple[float, float, int]:
    """The seconds of `handgrad verify`, of the processor and of the clock, and its exit code."""
    before, began = os.times(), time.perf_counter()
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, "-m", "handgrad", "verify", *options], check=False,
            stdout=subprocess.DEVNULL, env={**os.environ, "JAX_COMPILATION_CACHE_DIR": empty},
        )  # fmt: skip
    after, wall = os.times(), time.perf_counter() - began
    cpu = sum(after[2:4]) - sum(before[2:4])  # of the children
    return cpu, wall, done.returncode


def measure_large(sizes: dict[str, Callable[[], Size]]) -> Report:
    """A verdict on the right gradient of each large problem."""
    rows, bars = [], []
    for name, make in sizes.items():
        size = make()
        began, cpu = time.perf_counter(), time.process_time()
        verdict = verify(size.gradient, of=size.loss, at=size.at, name=name)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert verdict.hand == size.right, f"{name}: {verdict.hand}"
        rows.append({"name": name, "seconds": wall, "CPU seconds": cpu})
        bars.append(Bar(f"seconds for {name}", size.bar, wall, at_most=True))
    return Report("judge", "large problems", rows, bars)
