"""Where the output layer spends its time: the parts of a chunk of tokens, and what else was tried.

Tried: chunks of other sizes, and a gradient in which no pass over the chunk multiplies e^z by its
row's 1/Σ: the smaller factor of each product takes that, and the entries at the labels come in by
index. Each is held against optax before it is timed.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax, random

from handgrad.bench.limits import Peak, multipliers
from handgrad.bench.one_pass import TOLERANCE
from handgrad.bench.report import Report, row
from handgrad.bench.timing import Contender, compiled, equal_to, race, ratio
from handgrad.fast import linear_cross_entropy
from handgrad.fast.residuals import at_label, from_sums, many_classes
from handgrad.gradients.linear import matmul

CHUNKS = (128, 256, 512, 1_024)
SLICES = 4
SECONDS = 90.0


def unscaled(hidden: jax.Array, weight: jax.Array, y: jax.Array, size: int) -> tuple:
    """(E, (∂E/∂h, ∂E/∂W)) of chunks of `size`, ∂E/∂W in SLICES of the features."""
    tokens, features = hidden.shape
    width = features // SLICES

    def step(carry: tuple, chunk: tuple) -> tuple:
        by_weight, total = carry
        h, labels = chunk
        z = matmul(h, weight)
        own = at_label(z, labels, axis=1)
        top = jnp.maximum(jnp.max(z, axis=1), own)
        true = lax.broadcasted_iota(labels.dtype, z.shape, 1) == labels[:, None]
        others = jnp.where(true, 0, jnp.exp(z - top[:, None]))
        rest = jnp.sum(others, axis=1)
        losses, scale = from_sums(top - own, rest, labels, weight.shape[1])
        scale, at_true = scale[:, None] / tokens, (-rest * scale)[:, None] / tokens
        factor = (h * scale).T

        def add(i: int, sums: jax.Array) -> jax.Array:
            part = matmul(lax.dynamic_slice_in_dim(factor, i * width, width), others)
            before = lax.dynamic_slice_in_dim(sums, i * width, width)
            return lax.dynamic_update_slice_in_dim(sums, before + part, i * width, 0)

        by_weight = lax.fori_loop(0, SLICES, add, by_weight)
        by_weight = by_weight.at[:, labels].add((h * at_true).T)
        by_hidden = matmul(others, weight.T) * scale + at_true * weight[:, labels].T
        return (by_weight, total + jnp.sum(losses)), by_hidden

    chunks = hidden.reshape(-1, size, features), y.reshape(-1, size)
    start = jnp.zeros(weight.shape), jnp.zeros(())
    by_hidden: jax.Array
    (by_weight, total), by_hidden = lax.scan(step, start, chunks)
    return total / tokens, (by_hidden.reshape(hidden.shape), by_weight)


def layer(tokens: int, features: int, words: int, quick: bool = False) -> Report:
    """The parts of the output layer's gradient, all chunks of them, and what was tried."""
    keys = random.split(random.key(0), 3)
    hidden = random.normal(keys[0], (tokens, features))
    weight = random.normal(keys[1], (features, words)) / np.sqrt(features)
    y = random.randint(keys[2], (tokens,), 0, words)
    at = hidden, weight, y

    def dense(hidden: jax.Array, weight: jax.Array, y: jax.Array) -> jax.Array:
        z = hidden @ weight
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, y))

    baseline = compiled("optax + jax.grad", jax.value_and_grad(dense, (0, 1)), *at)
    check = equal_to(baseline.answer, TOLERANCE)
    usual = linear_cross_entropy.chunk_size(4 * tokens, None, words)

    def of(size: int) -> Contender:
        name = f"chunks of {size}" + (", as it is" if size == usual else "")
        run = partial(linear_cross_entropy.value_and_gradient, chunk=size)
        return compiled(name, run, *at, check=check)

    tried = compiled("tried: no pass that scales", partial(unscaled, size=usual), *at, check=check)
    whole = [*map(of, sorted({*CHUNKS, usual})), tried]
    h, labels, chunks = hidden[:usual], y[:usual], tokens // usual
    z = matmul(h, weight)
    parts = [
        compiled("part: logits, h W", matmul, h, weight),
        compiled("part: loss and residuals", partial(many_classes, axis=1), z, labels),
        compiled("part: residuals times Wᵀ", lambda r, w: matmul(r, w.T), z, weight),
        compiled("part: hᵀ times residuals", lambda h, r: matmul(h.T, r), h, z),
        compiled("part: copying logits", lambda z: z + 1, z),
    ]
    products = multipliers("float32")
    timings = race([baseline, *whole, *parts, *(c for c, _ in products.values())], SECONDS, quick)
    peak = Peak.of(products, timings)
    slow, flops = timings[baseline.name], 6.0 * tokens * features * words
    as_it_is = next(timings[c.name] for c in whole if c.name.endswith("as it is"))
    rows = [row(timings[c.name], slow, of_peak=peak.share(timings[c.name], flops), of_whole=None)
            for c in [baseline, *whole]]  # fmt: skip
    rows += [
        row(timings[c.name], slow, of_peak=None,
            of_whole=chunks * ratio(timings[c.name], as_it_is).median)
        for c in parts
    ]  # fmt: skip
    title = f"{tokens:,} tokens, {features} features, {words:,} words, by parts"
    notes = [
        f"a part is of one chunk of {usual}, of which there are {chunks}; of_whole is of all, and "
        "more than the run's own: alone, a part writes where nothing has been written yet",
        f"matrix peak {peak.rate / 1e9:,.0f} Gflop/s",
    ]
    return Report("profile", title, rows, [], notes)
