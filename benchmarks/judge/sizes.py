"""How long the judge takes as problems grow: `python -m benchmarks.judge.sizes [NAMES]`.

Each problem is judged with the options of `handgrad.verify` as they are, twice: with its right
gradient, and with one that is wrong in a single coordinate. Times are in seconds of the processor
(user and system), without the imports; the bar is what issue 13 of the judge's sizes asks for.
"""

import resource
import sys
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
    """A problem of one size, the seconds that it may take, and what a right gradient is called."""

    loss: Callable
    gradient: Callable
    at: tuple
    bar: float
    expected: str = "identical"


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


def _cross_entropy(size: int, bar: float, expected: str = "identical") -> Size:
    rng = np.random.default_rng(0)

    def loss(z: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(jnp.logaddexp(0, z) - y * z)

    def gradient(z: jax.Array, y: jax.Array) -> jax.Array:
        return (jax.nn.sigmoid(z) - y) / z.size

    at = 3 * rng.normal(size=size), (rng.random(size) < 0.5).astype(np.float64)
    return Size(loss, gradient, at, bar, expected)


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
    return _cross_entropy(10_000_000, 20, expected="undecided")


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


def main(names: list[str]) -> int:
    """Print a line for each verdict; 1 if one is wrong, whatever the time."""
    wrong = 0
    chosen = [make for make in SIZES if not names or make.__name__ in names]
    print(f"{'problem':24}{'gradient':>9}{'CPU s':>8}{'bar':>6}{'wall s':>8}{'GB':>6}  verdict")
    for make in chosen:
        size = make()
        for label, gradient in (
            ("right", size.gradient), ("wrong", wrong_in_one_coordinate(size.gradient))
        ):  # fmt: skip
            began, cpu = time.perf_counter(), time.process_time()
            verdict = hg.verify(gradient, of=size.loss, at=size.at, name=make.__name__)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            expected = size.expected if label == "right" else "different"
            wrong += verdict.hand != expected
            said = f"{verdict.hand} at {verdict.where}" if verdict.where else verdict.hand
            print(
                f"{make.__name__:24}{label:>9}{cpu:8.1f}{size.bar:6.0f}{wall:8.1f}{memory:6.1f}  "
                f"{said}{'' if verdict.hand == expected else f', expected {expected}'}",
                flush=True,
            )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
