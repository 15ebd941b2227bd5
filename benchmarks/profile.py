"""Where a fast form spends its time: each of its parts alone, and what else was tried.

The parts read x from memory, each by itself: the logits, the second product (as a product, and as
a sum of products), and the residuals, which do not read x. What was tried are whole gradients in
other shapes; two devices take part only where JAX has them:

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python -m benchmarks profile

Each attempt is held against optax before it is timed. The output layer comes last: the parts of a
chunk of tokens, and other chunk sizes. `MISSES.md` says what follows.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from handgrad.bench.linear_cross_entropy import dense, output_layer
from handgrad.bench.one_pass import TOLERANCE, optax_loss, problem
from handgrad.bench.report import Report, row
from handgrad.bench.timing import (
    Contender,
    Peak,
    compiled,
    equal_to,
    fastest,
    installed,
    multipliers,
    plain,
    race,
    ratio,
    readers,
)
from handgrad.fast import linear_cross_entropy, one_pass
from handgrad.fast.residuals import binary, unscaled_classes
from handgrad.gradients import logistic
from handgrad.gradients.linear import Params, matmul

TITLE = "where one pass and the output layer spend their time, and what else was tried"
SHAPES = ((1_000_000, 64), (100_000, 512))
LAYER = (2_048, 256, 65_536)
"""Tokens, features and words: a quarter of the tokens that the race has."""
SMALL, MIDDLE, LARGE = 2**17, 2**20, 2**23
"""Bytes of a block: for a core's own cache, for both of them, for the last one."""


def run(quick: bool = False) -> Iterator[Report]:
    """A report for each shape of one pass, and one for the output layer."""
    for examples, features in SHAPES:
        yield passes(examples // 50 if quick else examples, features, quick)
    tokens, features, words = LAYER
    yield layer(tokens, features, words // (32 if quick else 1), quick)


def in_blocks(params: Params, x: jax.Array, y: jax.Array, size: int, as_sum: bool) -> tuple:
    """(Σ ℓ, Σ r x, Σ r) over blocks of `size` rows, the second product also as a sum over rows."""
    features = x.shape[1]
    flat, whole = x.reshape(-1), x.shape[0] // size

    def share(block: jax.Array, labels: jax.Array) -> tuple:
        losses, r = binary(matmul(block, params.weight) + params.bias, labels)
        by_weight = jnp.sum(r[:, None] * block, axis=0) if as_sum else matmul(r, block)
        return losses, by_weight, jnp.sum(r)

    def step(sums: tuple, numbered: tuple) -> tuple:
        number, labels = numbered
        block = lax.dynamic_slice_in_dim(flat, number * (size * features), size * features)
        return jax.tree.map(jnp.add, sums, share(block.reshape(size, features), labels)), None

    first = share(x[whole * size :], y[whole * size :])  # what is left over, perhaps nothing
    labels = y[: whole * size].reshape(whole, size)
    return lax.scan(step, first, (jnp.arange(whole), labels))[0]


def on_two_devices(params: Params, x: np.ndarray, y: np.ndarray, check: Any) -> Contender:
    """Each core its own half of the rows, where they lie, in blocks that stay in its own cache."""
    mesh = Mesh(np.array(jax.devices()[:2]), ("half",))
    halves, all_of_it = PartitionSpec("half"), PartitionSpec()
    rows = SMALL // (4 * x.shape[1])

    def sums(params: Params, x: jax.Array, y: jax.Array) -> tuple:
        return lax.psum(in_blocks(params, x, y, rows, as_sum=False), "half")

    gradient = jax.shard_map(
        sums, mesh=mesh, in_specs=(all_of_it, halves, halves), out_specs=all_of_it
    )
    split, everywhere = NamedSharding(mesh, halves), NamedSharding(mesh, all_of_it)
    at = jax.device_put(params, everywhere), jax.device_put(x, split), jax.device_put(y, split)
    return compiled("tried: two devices, 128 kB", gradient, *at, check=check)


def two_at_once(params: Params, packed: one_pass.Packed) -> tuple:
    """(Σ ℓ, Σ r x, Σ r) over packed blocks, of which no more than two are in work.

    XLA starts whatever has its inputs, here the logits of every block, and `optimization_barrier`
    binds the compiler only. So a weight is made to wait for a gradient: what is NaN stays NaN.
    """
    sums = [jax.tree.map(jnp.zeros_like, (params.bias, params.weight, params.bias))]
    for block, labels in zip(packed.x, packed.y, strict=True):
        waits_for = sums[max(0, len(sums) - 2)][1]
        weight = jnp.where(jnp.isnan(waits_for), jnp.nan, params.weight)
        losses, r = binary(matmul(weight, block) + params.bias, labels)
        sums.append(jax.tree.map(jnp.add, sums[-1], (losses, matmul(block, r), jnp.sum(r))))
    return sums[-1]


def passes(examples: int, features: int, quick: bool = False) -> Report:
    """The parts and the attempts at one shape."""
    params, x, y = problem(examples, features, 1)
    held, labels = jnp.asarray(x), jnp.asarray(y)

    at, packed = (params, held, labels), one_pass.pack(x, y)
    baseline = compiled("optax + jax.grad", jax.value_and_grad(optax_loss(1)), *at)
    check = equal_to(baseline.answer, TOLERANCE)

    def check_sums(answer: Any) -> None:
        check(jax.tree.map(lambda part: part / examples, answer))

    def blocks(size: int, **options: Any) -> Callable:
        rows = max(1, size // (4 * features))
        return partial(in_blocks, size=min(rows, examples), **options)

    z = matmul(held, params.weight)
    parts = [
        compiled("part: logits, x w", matmul, held, params.weight),
        compiled("part: loss and residuals", binary, z, labels),
        compiled("part: rᵀ x as a product", matmul, z, held),
        compiled(
            "part: rᵀ x as a sum", lambda r, x: jnp.sum(r[:, None] * x, axis=0), z, held
        ),
    ]  # fmt: skip
    whole = [
        compiled("one pass", one_pass.value_and_gradient, *at, check=check),
        compiled("packed", one_pass.value_and_gradient, params, packed, check=check),
        compiled("tried: packed, two at once", two_at_once, params, packed, check=check_sums),
        compiled("plain, two reads", logistic.value_and_gradient, *at, check=check),
        compiled(
            "tried: two reads, a sum", blocks(held.nbytes, as_sum=True), *at, check=check_sums
        ),
        compiled("tried: 8 MB blocks, a sum", blocks(LARGE, as_sum=True), *at, check=check_sums),
        compiled(
            "tried: 1 MB blocks, a product", blocks(MIDDLE, as_sum=False), *at, check=check_sums
        ),
    ]
    notes = ["parts are of the whole of x; one pass has the second product's x in the cache"]
    if jax.device_count() > 1:
        whole.append(on_two_devices(params, x, y, check_sums))
    else:
        notes.append("one device: XLA_FLAGS=--xla_force_host_platform_device_count=2 makes two")
    limits = readers(held, params.weight)
    timings = race([baseline, *whole, *parts, *limits], quick=quick)
    slow, read = timings[baseline.name], fastest([timings[limit.name] for limit in limits])
    rows_of = [row(timings[c.name], slow, of_read=ratio(read, timings[c.name]).median)
               for c in [baseline, *whole, *parts, *limits]]  # fmt: skip
    most = ratio(slow, read).median
    notes.append(f"reading x once is {most:.2f} times as fast as optax + jax.grad: no more can be")
    return Report("profile", f"{examples:,} × {features} float32, by parts", rows_of, [], notes)


# --- the output layer -----------------------------------------------------------------------------

CHUNKS = (128, 256, 512, 1_024)
SECONDS = 90.0


def by_torch(h: jax.Array, weight: jax.Array, z: jax.Array) -> list[Contender]:
    """The three products by PyTorch, which multiplies by MKL or oneDNN, where it is installed.

    Into arrays that are there already, as they are in the loop that XLA makes of the chunks.
    """
    torch: Any = installed("torch")
    if torch is None:
        return []
    a, w, r = (torch.tensor(np.asarray(part)) for part in (h, weight, z))
    like_h, like_w, like_r = map(torch.empty_like, (a, w, r))
    return [
        plain("part: logits by PyTorch", lambda: torch.mm(a, w, out=like_r)),
        plain("part: residuals times Wᵀ by PyTorch", lambda: torch.mm(r, w.T, out=like_h)),
        plain("part: hᵀ times residuals by PyTorch", lambda: torch.mm(a.T, r, out=like_w)),
    ]


def layer(tokens: int, features: int, words: int, quick: bool = False) -> Report:
    """The parts of the output layer's gradient, all chunks of them, and what was tried."""
    at = hidden, weight, y = output_layer(tokens, features, words)
    baseline = compiled("optax + jax.grad", jax.value_and_grad(dense, (0, 1)), *at)
    check = equal_to(baseline.answer, TOLERANCE)
    usual = linear_cross_entropy.chunk_size(4 * tokens, None, words)

    def of(size: int) -> Contender:
        name = f"chunks of {size}" + (", as it is" if size == usual else "")
        run = partial(linear_cross_entropy.value_and_gradient, chunk=size)
        return compiled(name, run, *at, check=check)

    whole = list(map(of, sorted({*CHUNKS, usual})))
    h, labels, chunks = hidden[:usual], y[:usual], tokens // usual
    z = matmul(h, weight)
    parts = [
        compiled("part: logits, h W", matmul, h, weight),
        compiled("part: loss and residuals", partial(unscaled_classes, axis=1), z, labels),
        compiled("part: residuals times Wᵀ", lambda r, w: matmul(r, w.T), z, weight),
        compiled("part: hᵀ times residuals", lambda h, r: matmul(h.T, r), h, z),
        compiled("part: copying logits", lambda z: z + 1, z),
    ]
    parts += by_torch(h, weight, z)
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
