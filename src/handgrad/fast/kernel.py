"""One read of the features as machine code: `one_pass` for a CPU, compiled by numba.

What XLA makes of a block of rows are products, passes over logits and a sum, each a program of its
own that hands arrays to the next. Here a block of 64 kB goes through all of them in the cache of
one core, and no thread waits for another before the end:

    z = x W + b;   ℓ, r by one exponential of each logit;   ∂E/∂W += xᵀ r,   ∂E/∂b += Σ r

Logits are kept classes first, (K, R), so that losses and residuals are taken for several rows at
a time. Sums over a block are in float32, sums over blocks in float64.

e^a and log(1 + u) are polynomials, so that the compiler makes vector instructions of them. With
k the whole number next to a log₂e, and f = a − k log 2, |f| ≤ ½ log 2,

    e^a = 2^k (1 + f + f²/2! + … + f⁷/7!)

and with 1 + u = 2^n m, ½√2 ≤ m < √2, s = (m − 1) / (m + 1), |s| ≤ 0.172, and what 1 + u rounds off,

    log(1 + u) = n log 2 + 2 (s + s³/3 + s⁵/5 + s⁷/7 + s⁹/9) + (u − ((1 + u) − 1)) / (1 + u)

The first term left out is below 2^−27 of the result in both. Importing this module needs numba.

Equals: `logistic.value_and_gradient`, and `softmax_regression.value_and_gradient`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numba import njit

from handgrad._types import Scalar
from handgrad.fast import ffi
from handgrad.fast.blocks import BLOCK_BYTES, EXACTLY, add_products, cores, logits, total
from handgrad.gradients.linear import Params

NAME = "handgrad_one_pass"
ROWS = 256
"""Of a block at most; and about as many are summed in float32."""

f32, i32 = np.float32, np.int32
ZERO, ONE, TWO = f32(0), f32(1), f32(2)
LOG2_E = f32(1 / math.log(2))
LOG_2_HIGH = f32(355 / 512)
"""log 2 in nine bits, which k times is exact."""
LOG_2_LOW = f32(math.log(2) - 355 / 512)
TO_WHOLE = f32(3 * 2**22)
"""A sum with this has no bits left below 1; its last bits are the whole number."""
WHOLE_BITS = 0x4B400000
LEAST = f32(-104)
"""Below half the smallest number there is: e^a is 0."""
E2, E3, E4, E5, E6, E7 = (f32(1 / math.factorial(k)) for k in range(2, 8))
A3, A5, A7, A9 = (f32(2 / k) for k in (3, 5, 7, 9))
ROOT_HALF_BITS = int(f32(math.sqrt(0.5)).view(i32))


@njit(**EXACTLY)
def exp(a: Any) -> Any:
    """e^a for a ≤ 0, subnormal numbers included; within 1.1 ulp."""
    a = LEAST if a < LEAST else a
    shifted = a * LOG2_E + TO_WHOLE
    k = shifted - TO_WHOLE
    f = (a - k * LOG_2_HIGH) - k * LOG_2_LOW
    p = E2 + f * (E3 + f * (E4 + f * (E5 + f * (E6 + f * E7))))
    whole = i32(f32(shifted).view(i32) - WHOLE_BITS)
    half = i32(whole >> 1)  # 2^k in two factors, as for a small result 2^k alone is no number
    first = i32((half + 127) << 23).view(f32)
    second = i32((whole - half + 127) << 23).view(f32)
    return (ONE + (f + f * f * p)) * first * second


@njit(**EXACTLY)
def log1p(u: Any) -> Any:
    """log(1 + u) for finite u ≥ 0; within 2 ulp."""
    total = ONE + u
    lost = (u - (total - ONE)) / total
    bits = i32(f32(total).view(i32) - ROOT_HALF_BITS)
    n = f32(bits >> 23)
    m = i32((bits & 0x7FFFFF) + ROOT_HALF_BITS).view(f32)
    s = (m - ONE) / (m + ONE)
    q = s * s
    small = s * (q * (A3 + q * (A5 + q * (A7 + q * A9)))) + (n * LOG_2_LOW + lost)
    return n * LOG_2_HIGH + (TWO * s + small)


# --- a block of rows ------------------------------------------------------------------------------


@njit(**EXACTLY)
def binary(z: Any, y: Any, losses: Any) -> None:
    """Losses, the first R of `losses`, and residuals in the place of the logits, R of z."""
    for i in range(len(y)):
        at, label = z[i], y[i]
        e = exp(-abs(at))
        slope = ONE - label if at >= ZERO else -label
        top = (ONE - label) - label * e if at >= ZERO else (ONE - label) * e - label
        losses[i] = log1p(e) + (ZERO if slope == ZERO else slope * at)
        z[i] = top / (ONE + e)


@njit(**EXACTLY)
def categorical(z: Any, y: Any, losses: Any) -> None:
    """Losses, the first R of `losses`, and residuals in the place of the logits, R of z[k]."""
    rows, classes = len(y), len(z)
    top, rest, gap = np.empty((3, rows), np.float32)
    for i in range(rows):
        top[i], gap[i], rest[i] = z[0, i], ZERO, ZERO
    for k in range(classes):
        of_class = z[k]
        for i in range(rows):
            at = of_class[i]
            top[i] = top[i] if top[i] >= at else at
            gap[i] = at if y[i] == k else gap[i]
    for i in range(rows):
        gap[i] = top[i] - gap[i]
    for k in range(classes):
        of_class = z[k]
        for i in range(rows):
            e = exp(of_class[i] - top[i])
            e = ZERO if y[i] == k else e
            of_class[i] = e
            rest[i] += e
    for i in range(rows):
        total = rest[i] + exp(-gap[i])
        known = ONE if 0 <= y[i] < classes else f32(math.nan)
        u = rest[i] if gap[i] == ZERO else total - ONE
        losses[i] = (gap[i] + log1p(u)) * known
        top[i] = known / total
    for k in range(classes):
        of_class = z[k]
        for i in range(rows):
            of_class[i] = (-rest[i] if y[i] == k else of_class[i]) * top[i]


# --- all rows -------------------------------------------------------------------------------------


@njit(**EXACTLY)
def pass_over(x: Any, y: Any, weight: Any, bias: Any, sums: Any, biases: Any) -> Any:
    """Σ ℓ; adds xᵀ r to `sums` (K, D) and Σ r to `biases` (K,), both in float64."""
    examples, features = x.shape
    classes = len(weight)
    size = min(ROWS, max(16, BLOCK_BYTES // (4 * features) // 16 * 16))
    z, losses = np.empty((classes, size), np.float32), np.empty(size, np.float32)
    share = np.zeros((classes, features), np.float32)
    value, since = 0.0, 0
    for start in range(0, examples, size):
        stop = min(start + size, examples)
        block, labels = x[start:stop], y[start:stop]
        for k in range(classes):
            logits(block, weight[k], bias[k], z[k])
        if classes == 1:
            binary(z[0], labels, losses)
        else:
            categorical(z, labels, losses)
        value += total(losses, stop - start)
        for k in range(classes):
            add_products(block, z[k], share[k])
            biases[k] += total(z[k], stop - start)
        since += size
        if since >= ROWS or stop == examples:
            for k in range(classes):
                for j in range(features):
                    sums[k, j] += share[k, j]
                    share[k, j] = ZERO
            since = 0
    return value


ADDRESSES = 8
"""Words of a job before its share of the result: where its arrays are, and their shape."""


def _share(job: int) -> int:
    """What one thread does: [x, y, weight, bias, sums, rows, features, classes], by addresses."""
    words = ffi.array(job, (ADDRESSES,), np.int64)
    rows, features, classes = words[5], words[6], words[7]
    x = ffi.array(words[0], (rows, features), np.float32)
    weight = ffi.array(words[2], (classes, features), np.float32)
    bias = ffi.array(words[3], (classes,), np.float32)
    sums = ffi.array(words[4], (classes * (features + 1) + 1,), np.float64)
    products = sums[: classes * features].reshape((classes, features))
    biases = sums[classes * features : -1]
    if classes == 1:
        y = ffi.array(words[1], (rows,), np.float32)
        sums[-1] = pass_over(x, y, weight, bias, products, biases)
    else:
        labels = ffi.array(words[1], (rows,), np.int32)
        sums[-1] = pass_over(x, labels, weight, bias, products, biases)
    return 0


_run = ffi.in_threads(_share, "handgrad_one_pass_share")


def _handler(address: int) -> int:
    """Called by XLA: x (N, D), y (N,), weight (K, D), bias (K,), threads (T,), to sums."""
    frame = ffi.array(address, (15,), np.int64)
    if ffi.asks_for_version(frame):
        return 0
    x, examples, features = ffi.argument(frame, 0)
    y = ffi.argument(frame, 1)[0]
    weight, classes, _ = ffi.argument(frame, 2)
    bias = ffi.argument(frame, 3)[0]
    threads = ffi.argument(frame, 4)[1]
    out, size, _ = ffi.result(frame, 0)
    sums = np.zeros((threads, size), np.float64)
    jobs = np.zeros((threads, ADDRESSES), np.int64)
    for t in range(threads):
        first, last = examples * t // threads, examples * (t + 1) // threads
        jobs[t, 0], jobs[t, 1] = x + 4 * features * first, y + 4 * first
        jobs[t, 2], jobs[t, 3], jobs[t, 4] = weight, bias, sums[t:].ctypes.data
        jobs[t, 5], jobs[t, 6], jobs[t, 7] = last - first, features, classes
    _run(jobs)
    result = ffi.array(out, (size,), np.float32)
    for place in range(size):
        so_far = 0.0
        for t in range(threads):
            so_far += sums[t, place]
        result[place] = f32(so_far)
    return 0


ffi.register(NAME, _handler)


def sums(params: Params, x: Array, y: Array) -> tuple[Scalar, Params]:
    """(Σ ℓ, its gradient) for x (N, D) in float32 and weight (D,) or (D, K).

    y is (N,), in [0, 1] or integers; an index out of range gives NaN. By one thread for each core
    that this process may use.
    """
    features, classes = x.shape[1], max(1, params.bias.size)
    if params.weight.ndim == 1:
        y = y.astype(jnp.float32)
    else:
        y = jnp.where((y >= 0) & (y < classes), y, -1).astype(jnp.int32)
    products = classes * features
    shape = jax.ShapeDtypeStruct((products + classes + 1,), jnp.float32)
    call = jax.ffi.ffi_call(NAME, shape, vmap_method="sequential")
    weight, bias = params.weight.T.reshape(classes, features), params.bias.reshape(classes)
    found = call(x, y, weight, bias, jnp.zeros(cores(), jnp.int8))
    by_weight = found[:products].reshape(classes, features).T.reshape(params.weight.shape)
    return found[-1], Params(by_weight, found[products:-1].reshape(params.bias.shape))
