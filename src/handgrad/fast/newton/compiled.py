"""A pass for one logit as machine code, by numba: value, gradient and margin from one read.

    z = x w + b;   ℓ = log(1 + e^−|z|) + (1 − y or y) |z|;   r = σ(z) − y;   Σ r (x, 1)

The blocks and their products are those of `fast.blocks`; here all is in float64, whatever x is in,
and the threads are Python's, which numba lets run side by side. Of categories as codes a row looks
its weights up, and adds its residual to as many sums. The Hessian is that of the rows
a = √(σ(z) σ(−z)) ((x − m)/s, 1), written in float32 beside the pass: aᵀ a by BLAS, some
hundred thousand numbers at a time. Importing this needs numba.

Equals: `newton.objective.value_and_gradient`, and `with_hessian` where features are no codes.
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
from handgrad.fast.newton.objective import ProgramCache, Rows, value_and_gradient, with_hessian

ROWS = 512
"""Of a block of codes."""
ROOTS = 2**17
"""Numbers of a, in float32, that stay in the second cache until they are multiplied."""


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
def root_rows(x: Any, z: Any, mean: Any, unit: Any, a: Any) -> None:
    """a (R, D+1) of rows x (R, D) with logits z; `unit` is 1/s."""
    rows, features = x.shape
    for i in range(rows):
        e = math.exp(-abs(z[i]))
        root = math.sqrt(e) / (1 + e)
        for j in range(features):
            a[i, j] = root * ((x[i, j] - mean[j]) * unit[j])
        a[i, features] = root


@njit(**EXACTLY)
def pass_over(x: Any, y: Any, theta: Any, mean: Any = None, unit: Any = None, a: Any = None) -> Any:
    """Σ ℓ, Σ r (x, 1) of shape (D+1,), and the least margin; and `a` of these rows, if asked."""
    examples, features = x.shape
    size = max(16, BLOCK_BYTES // (x.itemsize * features) // 4 * 4)
    z, losses, sums = np.empty(size), np.empty(size), np.zeros(features + 1)
    value, least = 0.0, math.inf
    for start in range(0, examples, size):
        stop = min(start + size, examples)
        block = x[start:stop]
        logits(block, theta[:features], theta[features], z)
        if a is not None:
            root_rows(block, z, mean, unit, a[start:stop])
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
        if function is with_hessian and isinstance(self.x, np.ndarray):
            run = products_over
        elif function is value_and_gradient:
            run = pass_over_codes if isinstance(self.x, Coded) else pass_over
        else:
            return self.rows.sums(function, programs, *args)
        values, y = values_of(self.x), self.y
        if isinstance(self.x, Coded):
            args = *args, np.array(self.x.starts), np.array(self.x.sizes)
        began, known = time.perf_counter(), _compiled_programs()
        run(values[:1], y[:1], *args)
        if _compiled_programs() > known:
            programs.seconds += time.perf_counter() - began
        threads = cores()
        parts = [slice(len(y) * t // threads, len(y) * (t + 1) // threads) for t in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(lambda part: run(values[part], y[part], *args), parts)
            losses, gradients, margins, *products = zip(*found, strict=True)
        return sum(losses), sum(gradients), min(margins), *map(sum, products)


def products_over(
    x: np.ndarray, y: np.ndarray, theta: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> tuple[float, np.ndarray, float, np.ndarray]:
    """What `pass_over` finds, and Σ a aᵀ (D+1, D+1) in float64 from float32 products."""
    size, columns = max(16, ROOTS // len(theta)), len(theta)
    a = np.empty((size, columns), np.float32)
    loss, gradient, margin = 0.0, np.zeros(columns), math.inf
    hessian, unit = np.zeros((columns, columns)), 1 / scale
    for start in range(0, len(y), size):
        block, labels = x[start : start + size], y[start : start + size]
        found = pass_over(block, labels, theta, mean, unit, a)
        loss, gradient, margin = loss + found[0], gradient + found[1], min(margin, found[2])
        own = a[: len(labels)]
        hessian += own.T @ own
    return loss, gradient, margin, hessian


def _compiled_programs() -> int:
    return len(pass_over.signatures) + len(pass_over_codes.signatures)
