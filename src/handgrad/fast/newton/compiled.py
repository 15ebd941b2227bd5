"""A pass for one logit as machine code, by numba: value, gradient and margin from one read.

    z = x w + b;   ℓ = log(1 + e^−|z|) + (1 − y or y) |z|;   r = σ(z) − y;   Σ r (x, 1)

The blocks and their products are those of `fast.blocks`; here all is in float64, whatever x is in,
and the threads are Python's, which numba lets run side by side. Of categories as codes a row looks
its weights up, and adds its residual to as many sums. Importing this needs numba.

Equals: `newton.objective.value_and_gradient`.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from handgrad._types import Coded, values_of
from handgrad.fast.blocks import BLOCK_BYTES, EXACTLY, add_products, cores, logits, total
from handgrad.fast.newton.objective import value_and_gradient
from handgrad.fast.newton.rows import ProgramCache, Rows

ROWS = 512
"""Of a block of codes."""


@njit(**EXACTLY)
def binary(z: Any, y: Any, losses: Any) -> Any:
    """The least margin; losses, and residuals in the place of the logits, R of z."""
    least = math.inf
    for i in range(len(y)):
        at, label = z[i], y[i]
        signed = at if label == 1 else -at if label == 0 else -math.inf
        least = signed if signed < least else least
        e = math.exp(-abs(at))
        slope = 1 - label if at >= 0 else -label
        top = (1 - label) - label * e if at >= 0 else (1 - label) * e - label
        losses[i] = math.log1p(e) + (0.0 if slope == 0 else slope * at)
        z[i] = top / (1 + e)
    return least


@njit(**EXACTLY)
def pass_over(x: Any, y: Any, theta: Any) -> Any:
    """Σ ℓ, Σ r (x, 1) of shape (D+1,), and the least margin."""
    examples, features = x.shape
    size = max(16, BLOCK_BYTES // (x.itemsize * features) // 4 * 4)
    z, losses, sums = np.empty(size), np.empty(size), np.zeros(features + 1)
    value, least = 0.0, math.inf
    for start in range(0, examples, size):
        stop = min(start + size, examples)
        block = x[start:stop]
        logits(block, theta[:features], theta[features], z)
        margin = binary(z, y[start:stop], losses)
        least = margin if margin < least else least
        value += total(losses, stop - start)
        add_products(block, z, sums[:features])
        sums[features] += total(z, stop - start)
    return value, sums, least


@njit(**EXACTLY)
def pass_over_codes(values: Any, y: Any, theta: Any, starts: Any, sizes: Any) -> Any:
    """The same for `Coded` features: their values (N, C), and the starts and sizes of columns."""
    examples, columns = values.shape
    z, losses, sums = np.empty(ROWS), np.empty(ROWS), np.zeros(len(theta))
    value, least = 0.0, math.inf
    for start in range(0, examples, ROWS):
        stop = min(start + ROWS, examples)
        for i in range(start, stop):
            at = theta[-1]
            for c in range(columns):
                v, size = values[i, c], sizes[c]
                if size == 0:
                    at += theta[starts[c]] * v
                elif 0 <= v < size and v == math.floor(v):
                    at += theta[starts[c] + int(v)]
                elif v != -1:
                    at = math.nan
            z[i - start] = at
        margin = binary(z, y[start:stop], losses)
        least = margin if margin < least else least
        value += total(losses, stop - start)
        for i in range(start, stop):
            r = z[i - start]
            for c in range(columns):
                v, size = values[i, c], sizes[c]
                if size == 0:
                    sums[starts[c]] += r * v
                elif 0 <= v < size:
                    sums[starts[c] + int(v)] += r
        sums[-1] += total(z, stop - start)
    return value, sums, least


class CompiledRows(NamedTuple):
    """Rows whose value and gradient machine code takes, from x (N, D) and y (N,) where they lie."""

    rows: Rows
    x: np.ndarray | Coded
    y: np.ndarray

    @property
    def examples(self) -> int:
        """N."""
        return self.rows.examples

    def sums(self, function: Callable, programs: ProgramCache, *args: Any) -> tuple[Any, ...]:
        """What a pass finds over all examples."""
        if function is not value_and_gradient:
            return self.rows.sums(function, programs, *args)
        (theta,) = args
        x = values_of(self.x)
        more: tuple[np.ndarray, ...] = ()
        run = pass_over
        if isinstance(self.x, Coded):
            run, more = pass_over_codes, (np.array(self.x.starts), np.array(self.x.sizes))
        began = time.perf_counter()
        known = len(run.signatures)
        run(x[:1], self.y[:1], theta, *more)
        if len(run.signatures) > known:
            programs.seconds += time.perf_counter() - began
        shares, threads = len(self.y), cores()
        parts = [slice(shares * t // threads, shares * (t + 1) // threads) for t in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(lambda part: run(x[part], self.y[part], theta, *more), parts)
            losses, gradients, margins = zip(*found, strict=True)
        return sum(losses), sum(gradients), min(margins)
