"""Where the output layer spends its time: the parts of a chunk of tokens, and other chunk sizes.

Each chunk size is held against optax before it is timed.
"""

from functools import partial
from typing import Any

import jax
import numpy as np

from handgrad.bench.linear_cross_entropy import dense, problem
from handgrad.bench.one_pass import TOLERANCE
from handgrad.bench.report import Report, row
from handgrad.bench.timing import (
    Contender,
    Peak,
    compiled,
    equal_to,
    installed,
    multipliers,
    plain,
    race,
    ratio,
)
from handgrad.fast import linear_cross_entropy
from handgrad.fast.residuals import unscaled_classes
from handgrad.gradients.linear import matmul

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
    at = hidden, weight, y = problem(tokens, features, words)
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
