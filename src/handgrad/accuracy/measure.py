"""The error of a computed derivative at many inputs of a dtype, in ulp: inputs, truth, measure.

An error is |y − t| in units in the last place of the dtype, at the true value t of the derivative
at the input as it is; below the smallest normal number an ulp shrinks no further. Judged is every
input at which there is a t: not poles, kinks, and inputs outside of the domain. Where t is beyond
the largest number of the dtype, the infinity is right. Constants of a function have been rounded to
float64, and only what is beyond that counts. Set apart are the inputs at which t is subnormal, not
0 but below the smallest normal number when rounded, and the result is below it too; and subnormal
inputs, where the device takes these for 0.
The largest error, wrong signs and lost numbers are of true values that are normal numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.exact import series
from handgrad.exact.balls import NAN
from handgrad.verify.ulp import ulp

HALF = ("bfloat16", "float16")
DTYPES = (*HALF, "float32", "float64")
PER_BINADE = {"float32": 64, "float64": 8}
"""Inputs of each sign and exponent, where a dtype has too many numbers to take them all."""
SPARE_BITS = 20
"""By which the truth is more accurate than the dtype."""


# --- inputs -----------------------------------------------------------------------------------


def inputs_of(dtype: str, per_binade: int | None = None) -> np.ndarray:
    """All finite numbers of a half precision; of each sign and exponent some of a wider dtype.

    Both zeros are among them, and of each exponent the first number and the last.

    >>> [len(inputs_of(dtype)) for dtype in DTYPES]
    [65280, 63488, 32640, 32752]
    """
    check_dtype(dtype)
    info = jnp.finfo(dtype)
    mantissa = int(info.nmant)
    bits = np.dtype(f"uint{info.bits}")
    count = per_binade or PER_BINADE.get(dtype, 2**mantissa)
    exponents = 2 ** (info.bits - 1 - mantissa) - 1  # the last one is that of the infinities
    within = np.linspace(0, 2**mantissa - 1, count).astype(np.int64)
    positive = (np.arange(exponents, dtype=np.int64)[:, None] << mantissa) + within
    found = positive.astype(bits).ravel()
    return np.concatenate([found, found | bits.type(1 << (info.bits - 1))]).view(jnp.dtype(dtype))


def check_dtype(dtype: str) -> None:
    """Raise InputError for a dtype without an atlas."""
    if dtype not in DTYPES:
        raise InputError("dtype", " or ".join(DTYPES), repr(dtype), "name one of these")


@cache
def flushes(dtype: str) -> bool:
    """Whether the device takes the numbers of a dtype below its smallest normal one for 0."""
    with x64(dtype == "float64"):
        tiny = jnp.asarray(jnp.finfo(dtype).tiny, dtype)
        half = np.asarray(float(tiny) / 2).astype(jnp.dtype(dtype))
        return not bool(jax.jit(lambda x: x * 2)(jnp.asarray(half)) != 0)


# --- truth ------------------------------------------------------------------------------------


class TrueValues(NamedTuple):
    """True values at inputs of a dtype, `high + low`; NaN where there is none to judge by.

    `radius` is what the constants of the program leave open, rounded as they are in the trace.
    """

    high: np.ndarray
    low: np.ndarray
    radius: np.ndarray


class TrueDerivatives(NamedTuple):
    """The true value, derivative, ... of a function at its inputs, and why some have none."""

    orders: tuple[TrueValues, ...]
    kinks: int
    """Inputs at which the derivatives on the left and on the right differ."""
    undecided: int
    """Inputs that no precision up to the limit decided."""


def true_derivatives(
    f: Callable[..., Any],
    *args: np.ndarray,
    dtype: str,
    order: int = 1,
    argnum: int = 0,
    taylor: Callable[..., series.Taylor] | None = None,
) -> TrueDerivatives:
    """The truth of f, f′, f″ at inputs of a dtype, from power series over balls.

    `taylor` stands for a function that JAX only approximates: from balls to f, f′, f″/2. Raises as
    `handgrad.exact.series.derivatives` does.

    >>> truths = true_derivatives(jnp.square, np.array([3.0]), dtype="float16", order=2)
    >>> [truth.high.tolist() for truth in truths.orders]
    [[9.0], [6.0], [2.0]]
    """
    check_dtype(dtype)
    info = jnp.finfo(dtype)
    bits = int(info.nmant) + 1 + SPARE_BITS
    tiniest = int(info.minexp) - int(info.nmant) - SPARE_BITS
    wide = [np.asarray(array).astype(np.float64) for array in args]
    if taylor is not None:
        found = series.derivatives_by(taylor, *wide, order=order, bits=bits, tiniest=tiniest)
    else:
        found = series.derivatives(f, *wide, argnum=argnum, order=order, bits=bits, tiniest=tiniest)
    orders = tuple(map(_rounded, found.values))
    return TrueDerivatives(orders, int(found.kink.sum()), int(found.undecided.sum()))


def _floats(ball: arb) -> tuple[float, float, float]:
    if ball is NAN:
        return np.nan, 0.0, 0.0
    if abs(ball) > _LARGEST:
        return (np.inf if ball > 0 else -np.inf), 0.0, 0.0
    high = float(ball)
    return high, float(ball - high), float(ball.rad())


_LARGEST = arb(float(np.finfo(np.float64).max))


def _rounded(row: np.ndarray) -> TrueValues:
    found: Any = np.frompyfunc(_floats, 1, 3)(row)
    return TrueValues(*(np.asarray(part, np.float64) for part in found))


# --- measure ----------------------------------------------------------------------------------


class Computed(NamedTuple):
    """What a compiled function gave, the nanoseconds per element, and the device that computed."""

    values: np.ndarray
    ns: float
    device: str


def compute(
    function: Callable[..., Any], *args: np.ndarray, dtype: str, repeats: int = 3
) -> Computed:
    """A function of numbers at every input, vectorised, compiled in the dtype, and run.

    It runs on JAX's default device, and what that device's own instructions give is what is judged.
    """
    with x64(dtype == "float64"):
        operands = [jnp.asarray(array, dtype) for array in args]
        compiled = jax.jit(jax.vmap(function)).lower(*operands).compile()
        values = jax.block_until_ready(compiled(*operands))
        seconds = []
        for _ in range(repeats):
            start = perf_counter()
            jax.block_until_ready(compiled(*operands))
            seconds.append(perf_counter() - start)
    if values.dtype != jnp.dtype(dtype):
        got = str(values.dtype)
        raise InputError("function", f"one that stays in {dtype}", got, "cast its constants")
    count = max(1, len(args[0]))
    (device,) = values.devices()
    ns = min(seconds, default=np.nan) / count * 1e9
    return Computed(np.asarray(values), ns, f"{device.platform} {device.device_kind}")


class InputErrors(NamedTuple):
    """Computed values beside the truth, input by input."""

    error: np.ndarray
    """In ulp; infinite for NaN and for an infinity that is wrong; NaN where it is not judged."""
    normal: np.ndarray
    """Judged, and the truth is not 0 and not below the smallest normal number."""
    nan: np.ndarray
    inf: np.ndarray
    """Infinite, where the truth is within the range of the dtype."""
    wrong_sign: np.ndarray
    zero: np.ndarray
    """0, where the truth is a normal number."""
    subnormal: np.ndarray
    """Set apart, as the module says."""

    @property
    def judged(self) -> np.ndarray:
        """Where an error is counted."""
        return ~np.isnan(self.error)

    @property
    def finite(self) -> np.ndarray:
        """The error of finite results whose truth is a normal number; −1 elsewhere."""
        return np.where(np.isfinite(self.error) & self.normal, self.error, -1.0)


def compare(values: np.ndarray, truth: TrueValues, *args: np.ndarray, dtype: str) -> InputErrors:
    """The computed `values` of a function at `args` beside the true ones.

    >>> truth = TrueValues(np.array([1.0, 1.0, 1e-7]), np.zeros(3), np.zeros(3))
    >>> at = np.ones(3)
    >>> found = compare(np.array([1.0 + 2.0**-9, 0.0, 0.0]), truth, at, dtype="float16")
    >>> found.error.tolist(), found.zero.tolist(), found.subnormal.tolist()
    ([2.0, 1024.0, nan], [False, True, False], [False, False, True])
    """
    info = jnp.finfo(dtype)
    tiny, largest = float(info.tiny), float(info.max)
    last = float(ulp(largest, dtype))
    y, t = np.asarray(values).astype(np.float64), truth.high
    known = ~np.isnan(t)
    quantum = float(ulp(0.0, dtype))
    small = known & (np.abs(t) < tiny) & (np.abs(t) > quantum / 2) & (np.abs(y) < tiny)
    if flushes(dtype):
        sizes = [np.abs(np.asarray(array).astype(np.float64)) for array in args]
        small |= known & np.logical_or.reduce([(x < tiny) & (x > 0) for x in sizes])
    judged, overflows = known & ~small, np.abs(t) > largest
    normal = judged & (np.abs(t) >= tiny)
    nan, infinite = judged & np.isnan(y), judged & np.isinf(y)
    target = np.clip(t, -largest - last, largest + last)  # what is missing up to the overflow
    unit = ulp(np.clip(t, -largest, largest), dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs((y - target) - np.where(overflows, 0.0, truth.low))
        error = np.maximum(error - truth.radius, 0) / unit
        wrong_sign = normal & (np.sign(y) * np.sign(t) < 0)
    right_infinity = infinite & overflows & (np.sign(y) == np.sign(t))
    error = np.where(nan | infinite, np.where(right_infinity, 0.0, np.inf), error)
    return InputErrors(
        error=np.where(judged, error, np.nan), normal=normal, nan=nan, inf=infinite & ~overflows,
        wrong_sign=wrong_sign, zero=normal & (y == 0), subnormal=small,
    )  # fmt: skip


@dataclass(frozen=True)
class Errors:
    """What a form does over the inputs: a row of the atlas without its name.

    `above_1` and `above_10` are shares of the judged inputs, and count what is not finite.
    """

    max_ulp: float
    """The largest error of a finite result whose true value is a normal number."""
    at: tuple[float, ...]
    """The arguments at which it occurs; of several the first nearest to 0."""
    nan: int
    inf: int
    wrong_sign: int
    zero: int
    above_1: float
    above_10: float
    subnormal: int
    """Inputs set apart."""
    inputs: int
    """Inputs judged."""
    ns: float
    """Nanoseconds per element."""


def summarize(found: InputErrors, *args: np.ndarray, ns: float = np.nan) -> Errors:
    """The errors at all inputs in one row."""
    judged = int(found.judged.sum())
    finite = found.finite
    wide = [np.asarray(array).astype(np.float64) for array in args]
    worst = float(finite.max(initial=-1.0))
    at: tuple[float, ...] = ()
    if worst >= 0:
        places = np.flatnonzero(finite == worst)
        place = places[np.argmin(np.abs(wide[0][places]))]
        at = tuple(float(array[place]) for array in wide)
    above_1, above_10 = (float((found.error > ulps).sum()) / max(judged, 1) for ulps in (1, 10))
    return Errors(
        max_ulp=max(worst, 0.0) if judged else np.nan, at=at, nan=int(found.nan.sum()),
        inf=int(found.inf.sum()), wrong_sign=int(found.wrong_sign.sum()),
        zero=int(found.zero.sum()), above_1=above_1, above_10=above_10,
        subnormal=int(found.subnormal.sum()), inputs=judged, ns=ns,
    )  # fmt: skip


def measure(
    function: Callable[..., Any], truth: TrueValues, inputs: np.ndarray | Sequence[np.ndarray],
    dtype: str,
) -> Errors:  # fmt: skip
    """The errors of a function of numbers, for example `jax.grad(f)`, at the inputs of a dtype.

    Where x² overflows, the textbook form of arcsinh′ is 0:

    >>> inputs = inputs_of("float16")
    >>> truths = true_derivatives(jnp.arcsinh, inputs, dtype="float16")
    >>> measure(lambda x: 1 / jnp.sqrt(x * x + 1), truths.orders[1], inputs, "float16").zero
    12288
    """
    args = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    found = compute(function, *args, dtype=dtype)
    return summarize(compare(found.values, truth, *args, dtype=dtype), *args, ns=found.ns)
