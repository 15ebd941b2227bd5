"""The output layer of a language model, in bfloat16: loss and both gradients, time and memory.

Rivals hold all logits at once: optax with `jax.grad`, on logits in float32 and in bfloat16 (which
then take half the memory, and have three digits), and PyTorch. Before anything is timed, a shape
that no chunk divides is held against float64.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random

from benchmarks.accelerator import by_torch
from benchmarks.accelerator.runner import first_line, shape_by_shape
from handgrad.bench.report import Bar, Report, row
from handgrad.bench.timing import (
    Check,
    Contender,
    Peak,
    compiled,
    equal_to,
    fastest,
    multipliers,
    race,
    ratio,
)
from handgrad.fast import linear_cross_entropy

GOAL = (32_768, 2_560, 128_256)
SHAPES = (GOAL, (4_096, 2_304, 128_256), (32_768, 4_096, 151_936), (8_192, 4_096, 128_256),
          (16_384, 2_304, 151_936))  # fmt: skip
"""Tokens, features and words, in the order of worth."""
SMALL = (64, 16, 512)
AWKWARD = (37, 24, 1_003)
TOLERANCE = 3e-2
"""Of bfloat16, which has 8 bits, relative to the largest of an array."""
USEFUL, TEMPORARIES = 500e12, 6 * 2**30
"""Flops a second and bytes that are asked of the goal's shape."""
SIDE = 8_192
FEWEST_SECONDS = 30.0
"""With less than this left no further shape is begun: its programs must be compiled and raced."""


def race_shapes(small: bool, seconds: float) -> Iterator[Report]:
    """A report for each shape, as many as there is time for; PyTorch compiles for the first."""
    check_awkward()
    shapes = (SMALL,) if small else SHAPES

    def at(shape: tuple[int, ...], left: float) -> Report:
        tokens, features, words = shape
        race_seconds = min(10.0, left / 4)
        return measure(tokens, features, words, small, race_seconds, shape == shapes[0])

    yield from shape_by_shape(shapes, seconds, FEWEST_SECONDS, at)


def problem(tokens: int, features: int, words: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Hidden states, weights and labels, drawn on the device."""
    keys = random.split(random.key(0), 3)
    hidden = random.normal(keys[0], (tokens, features), jnp.bfloat16)
    weight = random.normal(keys[1], (features, words), jnp.bfloat16) * features**-0.5
    return hidden, weight.astype(jnp.bfloat16), random.randint(keys[2], (tokens,), 0, words)


def dense(hidden: jax.Array, weight: jax.Array, y: jax.Array, logits: Any) -> jax.Array:
    """The loss by optax, from all logits at once, which the product leaves in a dtype."""
    z = jnp.matmul(hidden, weight, preferred_element_type=logits)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z.astype(jnp.float32), y))


def check_awkward() -> None:
    """Hold a shape that no chunk divides against float64 on the host. Raises AssertionError."""
    hidden, weight, y = problem(*AWKWARD)
    h, w = np.asarray(hidden, np.float64), np.asarray(weight, np.float64)
    z = h @ w
    z -= z.max(axis=1, keepdims=True)
    p = np.exp(z)
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(h))
    labels = np.asarray(y)
    value = -np.mean(np.log(p[rows, labels]))
    p[rows, labels] -= 1
    r = p / len(h)
    check = equal_to((value, (r @ w.T, h.T @ r)), TOLERANCE)
    for chunk in (None, 16):
        run = partial(linear_cross_entropy.value_and_gradient, chunk=chunk)
        compiled(f"chunks of {chunk} at {AWKWARD}", run, hidden, weight, y, check=check)


def baselines(at: tuple) -> tuple[list[Contender], list[str], Any]:
    """optax with jax.grad on logits of both dtypes, as far as memory allows; and (E, ∇E)."""
    found: list[Contender] = []
    notes: list[str] = []
    right: Any = None
    for dtype in (jnp.float32, jnp.bfloat16):
        name = f"optax + jax.grad, {jnp.dtype(dtype).name} logits"
        loss = partial(dense, logits=dtype)
        check = None if right is None else equal_to(right, TOLERANCE)
        try:
            one = compiled(name, jax.value_and_grad(loss, (0, 1)), *at, check=check)
        except jax.errors.JaxRuntimeError as fault:
            notes.append(f"{name} is left out: {first_line(fault)}")
            continue
        right = one.answer if right is None else right
        found.append(without_answer(one))
    return found, notes, right


def without_answer(contender: Contender) -> Contender:
    """The same; the memory of its first answer is free again."""
    return replace(contender, answer=None)


def peers(
    torch: Any, at: tuple, check: Check | None, compile_too: bool
) -> tuple[list[Contender], list[str]]:
    """PyTorch on all logits, by autograd and compiled; and layers that hold fewer, if there."""
    hidden, weight, y = at
    labels = by_torch.tensor(y).long()
    functional = torch.nn.functional

    def loss(h: Any, w: Any) -> Any:
        return functional.cross_entropy((h @ w).float(), labels)

    found, notes = by_torch.contenders(loss, (hidden, weight), check, compile_too=compile_too)
    at_weight = None if check is None else partial(check_across, check)
    across = jnp.asarray(weight.T)  # (V, D), as these want it
    for name, layer in layers_of_their_own(torch, labels).items():
        try:
            more, why = by_torch.contenders(layer(), (hidden, across), at_weight, name, False)
        except Exception as fault:  # it is not installed, or of another version
            more, why = [], [f"{name} is left out: {first_line(fault)}"]
        found, notes = [*found, *more], [*notes, *why]
    return found, notes


def check_across(check: Check, answer: Any) -> None:
    """The check of an answer whose ∂E/∂W is (V, D)."""
    value, (by_hidden, by_weight) = answer
    check((value, (by_hidden, by_weight.T)))


def layers_of_their_own(torch: Any, labels: Any) -> dict[str, Callable[[], Callable]]:
    """Losses of hidden states and a weight (V, D) that hold a part of the logits at a time."""

    def own() -> Callable:
        fused = torch.nn.functional.linear_cross_entropy  # since 2.13
        options = torch.nn.LinearCrossEntropyOptions()
        return lambda h, w: fused(h, w, labels, options=options).float()

    def liger() -> Callable:
        ops = importlib.import_module("liger_kernel.ops.fused_linear_cross_entropy")
        return lambda h, w: ops.LigerFusedLinearCrossEntropyFunction.apply(h, w, labels)[0]

    return {"PyTorch, linear_cross_entropy": own, "Liger": liger}


def measure(
    tokens: int,
    features: int,
    words: int,
    small: bool = False,
    seconds: float = 20.0,
    compile_too: bool = True,
) -> Report:
    """All contenders at one shape; the time of `seconds` is that of the race alone."""
    at = problem(tokens, features, words)
    rivals, notes, right = baselines(at)
    check = None if right is None else equal_to(right, TOLERANCE)
    chunk = linear_cross_entropy.chunk_size(tokens, None, words)
    forward = linear_cross_entropy.value_and_gradient
    ours = without_answer(compiled(f"in the forward pass, chunks of {chunk:,}", forward, *at,
                                   check=check))  # fmt: skip
    others, left_out = by_torch.taking_part(peers, at, check, compile_too)
    products = multipliers("bfloat16", (64,) if small else (SIDE,))
    contenders = [*rivals, ours, *others]
    timings = race([*contenders, *(c for c, _ in products.values())], seconds, small)
    peak, flops = Peak.of(products, timings), 6.0 * tokens * features * words
    fast = timings[ours.name]
    slow = fastest([timings[c.name] for c in rivals]) if rivals else fast
    rows = [
        row(timings[c.name], slow, useful_tflops=flops / timings[c.name].quartiles.median / 1e12,
            of_peak=peak.share(timings[c.name], flops))
        for c in contenders
    ]  # fmt: skip
    assert ours.temporaries is not None
    own, bars = ours.temporaries, []
    for rival in rivals:
        assert rival.temporaries is not None
        notes.append(f"{rival.name}: {rival.temporaries / 2**30:.2f} GiB of temporaries")
    if rivals:
        times = 1 / ratio(slow, fast).median
        bars.append(Bar(f"of the time of {slow.name}", 1.0, times, True))
    if (tokens, features, words) == GOAL:
        useful = flops / fast.quartiles.median
        bars.append(Bar("useful TFLOP/s", USEFUL / 1e12, useful / 1e12))
        bars.append(Bar("GiB of temporaries", TEMPORARIES / 2**30, own / 2**30, True))
    for other in others:
        times = ratio(timings[other.name], fast).median
        bars.append(Bar(f"times as fast as {other.name}", 1.0, times))
    notes += [f"6 TDV = {flops / 1e12:,.2f} Tflop; matrix peak {peak.rate / 1e12:,.1f} TFLOP/s",
              f"{own / 2**30:.2f} GiB of temporaries, by XLA's count", *left_out]  # fmt: skip
    title = f"{tokens:,} tokens, {features:,} features, {words:,} words, bfloat16"
    return Report("linear_cross_entropy", title, rows, bars, notes, {"kind": "roofline"})


# --- the sweep ------------------------------------------------------------------------------------

CHUNKS = (1_024, 2_048, 4_096, 8_192, 16_384)
SMALL_CHUNKS = (16, 32)
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    ", ∂E/∂W in float32": {"gradient_dtype": "float32"},
}


def sweep(small: bool, seconds: float) -> Iterator[Report]:
    """Chunks of other sizes at the goal's shape, beside the size that counting gives."""
    tokens, features, words = SMALL if small else GOAL
    at = problem(tokens, features, words)
    counted = linear_cross_entropy.chunk_size(tokens, None, words)
    forward: Callable = linear_cross_entropy.value_and_gradient
    found, notes = [], []
    check: Check | None = None
    end = monotonic() + 0.7 * seconds
    for size in sorted({*(SMALL_CHUNKS if small else CHUNKS), counted}, key=lambda c: c != counted):
        for name, options in VARIANTS.items():
            label = f"chunks of {size:,}{name}" + (", as counted" if size == counted else "")
            if monotonic() > end:
                notes.append(f"{label}: no time was left")
                continue
            run = partial(forward, chunk=size, **options)
            try:
                one = compiled(label, run, *at, check=check)
            except jax.errors.JaxRuntimeError as fault:
                notes.append(f"{label}: {first_line(fault)}")
                continue
            if check is None:
                check = equal_to(one.answer, TOLERANCE)
            found.append(without_answer(one))
    timings = race(found, 0.2 * seconds, small)
    flops, first = 6.0 * tokens * features * words, timings[found[0].name]
    rows = [
        row(timings[c.name], first, useful_tflops=flops / timings[c.name].quartiles.median / 1e12)
        for c in found
    ]  # fmt: skip
    best = fastest(list(timings.values()))
    notes.append(f"fastest: {best.name}; counted: {counted:,}")
    title = f"chunks at {tokens:,} tokens, {features:,} features, {words:,} words, bfloat16"
    yield Report("sweep", title, rows, [], notes)
