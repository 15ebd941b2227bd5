"""The output layer of a language model: loss and both gradients, time and memory."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random

from handgrad.bench.report import Bar, Report, row
from handgrad.bench.timing import (
    QUICK_SIDES,
    SIDES,
    Contender,
    Peak,
    by_torch,
    compiled,
    equal_to,
    fastest,
    installed,
    missing,
    multipliers,
    plain,
    race,
    ratio,
    torch_gradient,
)
from handgrad.fast import linear_cross_entropy

TITLE = "the output layer of a language model, its gradient taken in the forward pass"
ON_CPU = ((2048, 512, 32_768, "float32"), (8192, 256, 65_536, "float32"))
ON_ACCELERATOR = (
    (4096, 2304, 128_256, "bfloat16"),
    (16_384, 4096, 128_256, "bfloat16"),
    (32_768, 2304, 256_000, "bfloat16"),
)
TOLERANCES = {"float32": 1e-5, "bfloat16": 3e-2}
TORCH_LIMIT = 2**31
"""Bytes of logits up to which PyTorch, which holds them several times, takes part on a CPU."""


def run(quick: bool = False) -> Iterator[Report]:
    """A report for each shape that suits the device."""
    shapes = ON_CPU if jax.default_backend() == "cpu" else ON_ACCELERATOR
    for tokens, features, words, dtype in shapes[: 1 if quick else None]:
        shrink = 8 if quick else 1
        yield measure(tokens // shrink, features, words // shrink, dtype, quick)


def output_layer(
    tokens: int, features: int, words: int, dtype: str = "float32"
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Hidden states and weights, whose logits are of order 1, and random labels."""
    keys = random.split(random.key(0), 3)
    hidden = random.normal(keys[0], (tokens, features)).astype(dtype)
    weight = (random.normal(keys[1], (features, words)) / np.sqrt(features)).astype(dtype)
    return hidden, weight, random.randint(keys[2], (tokens,), 0, words)


def dense(hidden: jax.Array, weight: jax.Array, y: jax.Array) -> jax.Array:
    """The loss by optax, from all logits at once."""
    z = jnp.matmul(hidden, weight, preferred_element_type=jnp.float32)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, y))


def measure(tokens: int, features: int, words: int, dtype: str, quick: bool = False) -> Report:
    """All contenders at one shape."""
    at = output_layer(tokens, features, words, dtype)
    baseline = compiled("optax + jax.grad", jax.value_and_grad(dense, (0, 1)), *at)
    check = equal_to(baseline.answer, TOLERANCES[dtype])
    forward = linear_cross_entropy.value_and_gradient
    ours = compiled("in the forward pass", forward, *at, check=check)
    check_loss = equal_to(baseline.answer[0], TOLERANCES[dtype])
    evaluation = compiled("the loss alone", linear_cross_entropy.loss, *at, check=check_loss)
    peers, left_out = in_torch(*at, check)
    products = multipliers(dtype, QUICK_SIDES if quick else SIDES)
    contenders = [baseline, ours, evaluation, *peers]
    timings = race([*contenders, *(c for c, _ in products.values())], 60.0, quick)
    peak = Peak.of(products, timings)
    slow, fast = timings[baseline.name], timings[ours.name]
    flops = 6.0 * tokens * features * words
    rows = []
    for contender in contenders:
        timing, work = timings[contender.name], flops / 3 if contender is evaluation else flops
        rows.append(row(timing, slow, of_peak=peak.share(timing, work)))
    own, theirs = ours.temporaries, baseline.temporaries
    assert own is not None
    assert theirs is not None
    accelerated = jax.default_backend() != "cpu"
    most = 1 / 5 if accelerated else 1 / 12
    bars = [
        Bar("of optax + jax.grad's temporaries", most, own / theirs, True),
        Bar("of optax + jax.grad's time", 1.0, 1 / ratio(slow, fast).median, True),
    ]
    if not accelerated:
        bars.append(Bar("of the matrix peak", 0.80, peak.share(fast, flops)))
    for peer in peers[:1]:
        times = ratio(timings[peer.name], fast).median
        bars.append(Bar(f"times as fast as {peer.name}", 2.5, times))
    if peers:
        best = fastest([timings[peer.name] for peer in peers])
        times = ratio(best, fast).median
        bars.append(Bar(f"times as fast as the best peer, {best.name}", 1.0, times))
    notes = [
        f"6 TDV = {flops / 1e9:,.0f} Gflop, matrix peak {peak.rate / 1e9:,.0f} Gflop/s",
        f"temporaries {own / 1e6:,.1f} MB against {theirs / 1e6:,.1f} MB",
        *left_out,
        *missing(["torch"]),
    ]
    title = f"{tokens:,} tokens, {features} features, {words:,} words, {dtype}"
    return Report("linear_cross_entropy", title, rows, bars, notes, {"kind": "roofline"})


def in_torch(
    hidden: jax.Array, weight: jax.Array, y: jax.Array, check: Any
) -> tuple[list[Contender], list[str]]:
    """PyTorch's dense layer with autograd, and compiled, where it is installed and logits fit.

    And its own layer in chunks of tokens, on a weight laid out as that wants it (V, D).
    """
    torch: Any = installed("torch")
    logits = 4 * len(hidden) * weight.shape[1]
    if torch is None or hidden.dtype != jnp.float32 or logits > TORCH_LIMIT:
        return [], []
    functional = torch.nn.functional
    h = torch.tensor(np.asarray(hidden)).requires_grad_()
    w = torch.tensor(np.asarray(weight)).requires_grad_()
    across = torch.tensor(np.asarray(weight.T)).requires_grad_()
    labels = torch.tensor(np.asarray(y, np.int64))

    def dense(h: Any, w: Any) -> Any:
        return functional.cross_entropy(h @ w, labels)

    def in_chunks(h: Any, across: Any) -> Any:
        options = torch.nn.LinearCrossEntropyOptions()
        return functional.linear_cross_entropy(h, across, labels, options=options)

    def run_in_chunks() -> Any:
        value, (by_hidden, by_weight) = torch_gradient(in_chunks, (h, across))
        return value, (by_hidden, by_weight.T)

    found, notes = by_torch(dense, (h, w), check)
    if hasattr(functional, "linear_cross_entropy"):  # since 2.13
        found.append(plain("PyTorch, linear_cross_entropy", run_in_chunks, check))
    return found, notes
