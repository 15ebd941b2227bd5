"""The output layer of a language model: loss and both gradients, time and memory."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random

from handgrad.bench.limits import QUICK_SIDES, SIDES, Peak, multipliers
from handgrad.bench.peers import by_compile, installed, missing
from handgrad.bench.report import Bar, Report, row
from handgrad.bench.timing import Contender, compiled, equal_to, plain, race, ratio
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


def measure(tokens: int, features: int, words: int, dtype: str, quick: bool = False) -> Report:
    """All contenders at one shape."""
    keys = random.split(random.key(0), 3)
    hidden = random.normal(keys[0], (tokens, features)).astype(dtype)
    weight = (random.normal(keys[1], (features, words)) / np.sqrt(features)).astype(dtype)
    y = random.randint(keys[2], (tokens,), 0, words)

    def dense(hidden: jax.Array, weight: jax.Array, y: jax.Array) -> jax.Array:
        z = jnp.matmul(hidden, weight, preferred_element_type=jnp.float32)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, y))

    at = (hidden, weight, y)
    baseline = compiled("optax + jax.grad", jax.value_and_grad(dense, (0, 1)), *at)
    check = equal_to(baseline.answer, TOLERANCES[dtype])
    ours = compiled(
        "in the forward pass", linear_cross_entropy.value_and_gradient, *at, check=check
    )
    evaluation = compiled("the loss alone", linear_cross_entropy.loss, *at,
                          check=equal_to(baseline.answer[0], TOLERANCES[dtype]))  # fmt: skip
    peers, left_out = by_torch(hidden, weight, y, check)
    products = multipliers(dtype, QUICK_SIDES if quick else SIDES)
    timings = race([baseline, ours, evaluation, *peers, *(c for c, _ in products.values())],
                   60.0, quick)  # fmt: skip
    peak = Peak.of(products, timings)
    slow, fast = timings[baseline.name], timings[ours.name]
    flops = 6.0 * tokens * features * words
    rows = []
    for timing in (slow, fast, timings[evaluation.name], *(timings[p.name] for p in peers)):
        work = flops / 3 if timing.name == evaluation.name else flops
        rows.append(row(timing, slow, of_peak=peak.share(timing, work)))
    assert baseline.memory is not None
    assert ours.memory is not None
    share = ours.memory.temporaries / baseline.memory.temporaries
    accelerated = jax.default_backend() != "cpu"
    bars = [
        Bar("of optax + jax.grad's temporaries", 1 / 5 if accelerated else 1 / 12, share, True),
        Bar("of optax + jax.grad's time", 1.0, 1 / ratio(slow, fast).median, True),
    ]
    if not accelerated:
        bars.append(Bar("of the matrix peak", 0.80, peak.share(fast, flops)))
    bars += [Bar(f"times as fast as {p.name}", 2.5, ratio(timings[p.name], fast).median)
             for p in peers[:1]]  # fmt: skip
    return Report(
        job="linear_cross_entropy",
        title=f"{tokens:,} tokens, {features} features, {words:,} words, {dtype}",
        rows=rows,
        bars=bars,
        notes=[
            f"6 TDV = {flops / 1e9:,.0f} Gflop, matrix peak {peak.rate / 1e9:,.0f} Gflop/s",
            f"temporaries {ours.memory.temporaries / 1e6:,.1f} MB against "
            f"{baseline.memory.temporaries / 1e6:,.1f} MB",
            *left_out,
            *missing(["torch"]),
        ],
        figure={
            "kind": "roofline",
            "bytes": hidden.nbytes + 2 * weight.nbytes,
            "flops": flops,
            "peak": peak.rate,
        },
    )


def by_torch(
    hidden: jax.Array, weight: jax.Array, y: jax.Array, check: Any
) -> tuple[list[Contender], list[str]]:
    """PyTorch's dense layer with autograd, and compiled, where it is installed and logits fit."""
    torch: Any = installed("torch")
    if torch is None or hidden.dtype != jnp.float32:
        return [], []
    if 4 * len(hidden) * weight.shape[1] > TORCH_LIMIT:
        return [], []
    h = torch.tensor(np.asarray(hidden)).requires_grad_()
    w = torch.tensor(np.asarray(weight)).requires_grad_()
    labels = torch.tensor(np.asarray(y, np.int64))

    def loss(h: Any, w: Any) -> Any:
        return torch.nn.functional.cross_entropy(h @ w, labels)

    def run(loss: Any) -> Any:
        value = loss(h, w)
        gradient = torch.autograd.grad(value, (h, w))
        return float(value.detach()), tuple(part.numpy() for part in gradient)

    compiled_too, notes = by_compile(run, loss, check)
    return [plain("PyTorch, autograd", lambda: run(loss), check), *compiled_too], notes
