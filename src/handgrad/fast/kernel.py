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

XLA hands a custom call one address, that of a call frame: a C struct, laid out in the header
`xla/ffi/api/c_api.h` that comes with jaxlib, the same from JAX 0.7.2 to 0.12. All that is needed
of it are whole words of 64 bits, counted here:

    frame    1 extensions   7 arguments: how many   9 arguments: addresses   14 results: addresses
    buffer   3 its numbers   4 its rank   5 its shape
    extension that asks for the version of the interface    1 its type   3 where to write
    what is written there    3 major version, and minor version in the upper half

Nothing here holds an address at compile time, so that numba may keep the machine code on disk.

Equals: `logistic.value_and_gradient`, and `softmax_regression.value_and_gradient`.
"""

import ctypes
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import llvmlite.binding as llvm
import numpy as np
from jaxtyping import Array
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from handgrad._types import Scalar
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


# --- as XLA calls it, by threads ------------------------------------------------------------------

CALLED_BY_C: dict[str, Any] = {"nopython": True, "cache": True, "error_model": "numpy"}
ASKS_FOR_VERSION = 1
VERSION = 1 << 32
"""0.1: the oldest minor version of this layout."""


@intrinsic
def _pointer(typing: Any, address: Any, dtype: Any) -> tuple:
    """The address as a pointer to numbers of this dtype."""
    signature = types.CPointer(dtype.dtype)(types.int64, dtype)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.inttoptr(given[0], context.get_value_type(signature.return_type))

    return signature, generate


@njit(inline="always")
def array(address: int, shape: tuple, dtype: Any) -> Any:
    """The numbers that lie there, in rows."""
    return carray(_pointer(address, dtype), shape)


_create = types.ExternalFunction(
    "pthread_create", types.int32(types.int64, types.int64, types.int64, types.int64)
)
_join = types.ExternalFunction("pthread_join", types.int32(types.int64, types.int64))


def in_threads(function: Callable[[int], int], name: str) -> Any:
    """A compiled function of jobs (T, words): `function` of each row's address, a thread for each.

    It returns when all have. `name` is the symbol by which machine code finds `function`. A job
    for which the system starts no thread is done at once.
    """
    body = cfunc("int64(int64)", **CALLED_BY_C)(function)
    llvm.add_symbol(name, body.address)
    in_place = types.ExternalFunction(name, types.int64(types.int64))

    @intrinsic
    def address_of_body(typing: Any) -> tuple:
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            word = context.get_value_type(types.int64)
            kind = cgutils.ir.FunctionType(word, [word])
            found = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.ptrtoint(found, word)

        return types.int64(), generate

    @njit
    def run(jobs: Any) -> None:
        count = len(jobs)
        threads = np.zeros(count, np.int64)
        started = np.zeros(count, np.bool_)
        for t in range(count):
            job = jobs[t:].ctypes.data
            started[t] = _create(threads[t:].ctypes.data, 0, address_of_body(), job) == 0
            if not started[t]:
                in_place(job)
        for t in range(count):
            if started[t]:
                _join(threads[t], 0)

    return run


@njit
def asks_for_version(frame: Any) -> bool:
    """Whether XLA asks, before the first call, what this was written for; it is answered."""
    if frame[1] == 0:
        return False
    extension = array(frame[1], (4,), np.int64)
    if extension[1] & 0xFFFFFFFF != ASKS_FOR_VERSION:
        return False
    array(extension[3], (4,), np.int64)[3] = VERSION
    return True


@njit
def argument(frame: Any, number: int) -> tuple[int, int, int]:
    """(address, rows, columns) of an argument that is a vector, of one column, or a matrix."""
    return _buffer(array(frame[9], (frame[7],), np.int64)[number])


@njit
def result(frame: Any, number: int) -> tuple[int, int, int]:
    """The same of a result."""
    return _buffer(array(frame[14], (frame[12],), np.int64)[number])


@njit
def _buffer(address: int) -> tuple[int, int, int]:
    buffer = array(address, (6,), np.int64)
    rank = buffer[4] & 0xFFFFFFFF
    shape = array(buffer[5], (rank,), np.int64)
    rows = shape[0] if rank > 0 else 1
    return buffer[3], rows, (shape[1] if rank > 1 else 1)


ADDRESSES = 8
"""Words of a job before its share of the result: where its arrays are, and their shape."""


def _share(job: int) -> int:
    """What one thread does: [x, y, weight, bias, sums, rows, features, classes], by addresses."""
    words = array(job, (ADDRESSES,), np.int64)
    rows, features, classes = words[5], words[6], words[7]
    x = array(words[0], (rows, features), np.float32)
    weight = array(words[2], (classes, features), np.float32)
    bias = array(words[3], (classes,), np.float32)
    sums = array(words[4], (classes * (features + 1) + 1,), np.float64)
    products = sums[: classes * features].reshape((classes, features))
    biases = sums[classes * features : -1]
    if classes == 1:
        y = array(words[1], (rows,), np.float32)
        sums[-1] = pass_over(x, y, weight, bias, products, biases)
    else:
        labels = array(words[1], (rows,), np.int32)
        sums[-1] = pass_over(x, labels, weight, bias, products, biases)
    return 0


_run = in_threads(_share, "handgrad_one_pass_share")


def _handler(address: int) -> int:
    """Called by XLA: x (N, D), y (N,), weight (K, D), bias (K,), threads (T,), to sums."""
    frame = array(address, (15,), np.int64)
    if asks_for_version(frame):
        return 0
    x, examples, features = argument(frame, 0)
    y = argument(frame, 1)[0]
    weight, classes, _ = argument(frame, 2)
    bias = argument(frame, 3)[0]
    threads = argument(frame, 4)[1]
    address_of_sums, size, _ = result(frame, 0)
    sums = np.zeros((threads, size), np.float64)
    jobs = np.zeros((threads, ADDRESSES), np.int64)
    for t in range(threads):
        first, last = examples * t // threads, examples * (t + 1) // threads
        jobs[t, 0], jobs[t, 1] = x + 4 * features * first, y + 4 * first
        jobs[t, 2], jobs[t, 3], jobs[t, 4] = weight, bias, sums[t:].ctypes.data
        jobs[t, 5], jobs[t, 6], jobs[t, 7] = last - first, features, classes
    _run(jobs)
    out = array(address_of_sums, (size,), np.float32)
    for place in range(size):
        so_far = 0.0
        for t in range(threads):
            so_far += sums[t, place]
        out[place] = f32(so_far)
    return 0


_compiled = cfunc("int64(int64)", **CALLED_BY_C)(_handler)
"""XLA has its address: it must never be freed."""
_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.restype, _capsule.argtypes = ctypes.py_object, [ctypes.c_void_p] * 3
jax.ffi.register_ffi_target(NAME, _capsule(_compiled.address, None, None), platform="cpu")


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
