"""How long the judge takes as problems grow: `python -m benchmarks.judge.sizes [NAMES]`.

Each problem is judged with the options of `handgrad.verify` as they are: with its right gradient,
with one that is wrong in a single coordinate, and with one that is twice too large everywhere.
Times are in seconds, without the imports, of the processor (user and system) and of the clock. Two
commands are timed as a whole, from a cold start: with an empty folder as JAX's compilation cache.
"""

import resource
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import handgrad as hg
from handgrad.bench.judge import (
    COMMANDS,
    Size,
    cold_start,
    cross_entropy,
    mlp_784_100_10,
    softmax_784,
    vector_100_000,
)


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
    return cross_entropy(10_000_000, 10, right="undecided")


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


def _print_line(
    name: str, label: str, cpu: float, wall: float, bar: float, memory: float, said: str
) -> None:
    print(f"{name:24}{label:>10}{cpu:8.1f}{wall:8.1f}{bar:6.0f}{memory:6.1f}  {said}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
