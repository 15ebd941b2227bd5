"""How long the judge takes as problems grow: `python -m benchmarks.judge.sizes [NAMES]`.

Each problem is judged with the options of `handgrad.verify` as they are: with its right gradient,
with one that is wrong in a single coordinate, and with one that is twice too large everywhere.
Times are in seconds, without the imports, of the processor (user and system) and of the clock. Two
commands are timed as a whole, from a cold start: with an empty folder as JAX's compilation cache.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import handgrad as hg
from handgrad.gradients import mlp, softmax_regression

EXAMPLES = 32


class Size(NamedTuple):
    """A problem of one size, the seconds that it may take, and what a gradient is called."""

    loss: Callable
    gradient: Callable
    at: tuple
    bar: float
    right: str = "identical"
    wrong: str = "different"


def softmax_784() -> Size:
    """Softmax regression on 28 × 28 pixels and 10 classes: 7,850 parameters."""
    params = softmax_regression.init(jax.random.key(0), 784, 10)
    at = (params, *_examples(784, 10))
    return Size(softmax_regression.loss, softmax_regression.gradient, at, 10)


def mlp_784_100_10() -> Size:
    """A network of one hidden layer of 100: 79,510 parameters."""
    params = mlp.init(jax.random.key(0), 784, 10, hidden=(100,))
    return Size(mlp.loss, mlp.gradient, (params, *_examples(784, 10)), 60)


def _examples(features: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(EXAMPLES, features)), rng.integers(0, classes, EXAMPLES)


def attention_128_64() -> Size:
    """The queries of an attention over 128 positions of 64 numbers."""
    rng = np.random.default_rng(0)

    def loss(q: jax.Array, k: jax.Array, v: jax.Array, c: jax.Array) -> jax.Array:
        return jnp.sum(c * (jax.nn.softmax(q @ k.T / 8, axis=-1) @ v))

    def gradient(q: jax.Array, k: jax.Array, v: jax.Array, c: jax.Array) -> jax.Array:
        p = jax.nn.softmax(q @ k.T / 8, axis=-1)
        r = c @ v.T
        return p * (r - jnp.sum(p * r, axis=-1, keepdims=True)) @ k / 8

    return Size(loss, gradient, tuple(rng.normal(size=(128, 64)) for _ in range(4)), 20)


def _cross_entropy(size: int, bar: float, right: str = "identical") -> Size:
    rng = np.random.default_rng(0)

    def loss(z: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(jnp.logaddexp(0, z) - y * z)

    def gradient(z: jax.Array, y: jax.Array) -> jax.Array:
        return (jax.nn.sigmoid(z) - y) / z.size

    at = 3 * rng.normal(size=size), (rng.random(size) < 0.5).astype(np.float64)
    return Size(loss, gradient, at, bar, right)


def vector_100_000() -> Size:
    """Binary cross-entropy over 100,000 logits."""
    return _cross_entropy(100_000, 20)


def softmax_vector_100_000() -> Size:
    """Softmax cross-entropy over 100,000 classes."""
    rng = np.random.default_rng(0)

    def loss(z: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(z) - z[7]

    def gradient(z: jax.Array) -> jax.Array:
        return jax.nn.softmax(z).at[7].add(-1)

    return Size(loss, gradient, (rng.normal(size=100_000),), 20)


def quadratic_100_000() -> Size:
    """Half of the sum of 100,000 squares."""
    at = (np.random.default_rng(0).normal(size=100_000),)
    return Size(lambda x: jnp.sum(x * x) / 2, lambda x: x, at, 20)


def vector_10_000_000() -> Size:
    """Binary cross-entropy over ten million logits: too many for balls."""
    return _cross_entropy(10_000_000, 10, right="undecided")


SIZES: tuple[Callable[[], Size], ...] = (
    softmax_784, mlp_784_100_10, attention_128_64, vector_100_000, softmax_vector_100_000,
    quadratic_100_000, vector_10_000_000,
)  # fmt: skip


def wrong_in_one_coordinate(gradient: Callable) -> Callable:
    """The gradient with 1.5 times its last coordinate but 10, of its first leaf."""

    def wrong(*args: jax.Array) -> object:
        leaves, tree = jax.tree.flatten(gradient(*args))
        first = leaves[0].ravel()
        leaves[0] = first.at[-10].multiply(1.5).reshape(leaves[0].shape)
        return jax.tree.unflatten(tree, leaves)

    return wrong


def twice_too_large(gradient: Callable) -> Callable:
    """The gradient with every coordinate doubled."""
    return lambda *args: jax.tree.map(lambda leaf: 2 * leaf, gradient(*args))


GRADIENTS: dict[str, Callable[[Callable], Callable]] = {
    "right": lambda gradient: gradient,
    "one wrong": wrong_in_one_coordinate,
    "all wrong": twice_too_large,
}
COMMANDS = {"logistic": (["logistic"], 3), "catalogue": ([], 60)}
"""What `handgrad verify` is given, and the seconds that it may take from a cold start."""


def main(names: list[str]) -> int:
    """Print a line for each verdict; 1 if one is wrong, whatever the time."""
    known = [make.__name__ for make in SIZES] + list(COMMANDS)
    if unknown := [name for name in names if name not in known]:
        print(f"error: there is no {', '.join(unknown)}; choose from {', '.join(known)}")
        return 2
    wrong = 0
    print(f"{'problem':24}{'gradient':>10}{'CPU s':>8}{'wall s':>8}{'bar':>6}{'GB':>6}  verdict")
    for make in [make for make in SIZES if not names or make.__name__ in names]:
        for label, change in GRADIENTS.items():
            size = make()
            began, cpu = time.perf_counter(), time.process_time()
            verdict = hg.verify(change(size.gradient), of=size.loss, at=size.at, name=make.__name__)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            expected = size.right if label == "right" else size.wrong
            wrong += verdict.hand != expected
            said = f"{verdict.hand} at {verdict.where}" if verdict.where else verdict.hand
            said += "" if verdict.hand == expected else f", expected {expected}"
            _print_line(make.__name__, label, cpu, wall, size.bar, memory, said)
    for name in [name for name in COMMANDS if not names or name in names]:
        options, bar = COMMANDS[name]
        cpu, wall, code = cold_start(options)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        _print_line(name, "command", cpu, wall, bar, memory, f"exit code {code}")
    return int(wrong > 0)


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


def _print_line(
    name: str, label: str, cpu: float, wall: float, bar: float, memory: float, said: str
) -> None:
    print(f"{name:24}{label:>10}{cpu:8.1f}{wall:8.1f}{bar:6.0f}{memory:6.1f}  {said}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
