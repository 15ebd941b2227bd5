"""Inputs of a dtype, the truth at them in ball arithmetic, and the error of a form in ulp."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad.repair.terms import Term, on_balls
from handgrad.verify.ulp import ulp

PRECISIONS = (128, 640, 4096)
"""Bits; the higher ones for the few inputs at which the lower ones do not do."""
ACCURATE_BITS = 80
NEGLIGIBLE = 2.0**-1074
HALF = ("float16", "bfloat16")


@dataclass(frozen=True)
class Truth:
    """The real values at some inputs as high + low; NaN where the function has none."""

    high: np.ndarray
    low: np.ndarray

    def at(self, which: np.ndarray) -> "Truth":
        return Truth(self.high[which], self.low[which])


def truth(term: Term, args: Sequence[np.ndarray]) -> Truth:
    """The values of a term over balls, at float64 inputs, to about twice the digits of float64."""
    high, low = (np.full(args[0].shape, np.nan) for _ in range(2))
    left = np.arange(args[0].size)
    for bits in PRECISIONS:
        with ctx.workprec(bits):
            balls = on_balls(term, [_balls(arg[left]) for arg in args])
            balls = np.broadcast_to(balls, left.shape)
            done = np.array([_is_accurate(ball) for ball in balls], bool)
            for place, ball in zip(left[done], balls[done], strict=True):
                middle = ball.mid()
                high[place] = first = float(middle)
                low[place] = float(middle - arb(first)) if np.isfinite(first) else 0.0
        left = left[~done]
        if not left.size:
            break
    return Truth(high, low)


def _balls(numbers: np.ndarray) -> np.ndarray:
    return np.frompyfunc(lambda number: arb(float(number)), 1, 1)(numbers)


def _is_accurate(ball: Any) -> bool:
    if not ball.is_finite():
        return False
    if ball.rel_accuracy_bits() >= ACCURATE_BITS or ball.is_exact():
        return True
    return bool(abs(ball) < NEGLIGIBLE)


def error(computed: Any, true: Truth, dtype: str) -> np.ndarray:
    """|computed − truth| in ulp of the dtype at the truth; infinite for NaN and inf.

    NaN, which is not counted, where the truth is no normal number of the dtype.
    """
    info = jnp.finfo(dtype)
    computed = np.asarray(computed).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.abs((computed - true.high) - true.low) / ulp(true.high, dtype)
        far = np.where(np.isfinite(computed), far, np.inf)
        size = np.abs(true.high)
        return np.where((size >= float(info.tiny)) & (size <= float(info.max)), far, np.nan)


# --- inputs -----------------------------------------------------------------------------------


def every(dtype: str) -> np.ndarray:
    """All finite inputs of a half precision, as float64, ascending."""
    bits = np.arange(2**16, dtype=np.uint16)
    numbers = bits.view(jnp.dtype(dtype)).astype(np.float64)
    return np.unique(numbers[np.isfinite(numbers)])


def sample(dtype: str, per_power: int, around: int = 0) -> np.ndarray:
    """Inputs of every exponent and both signs, `per_power` in each, ascending, as float64.

    `around` more lie evenly between −32 and 32. Subnormal inputs are left out: XLA flushes them.
    """
    info = jnp.finfo(dtype)
    powers = 2.0 ** np.arange(info.minexp, info.maxexp, dtype=np.float64)
    generator = np.random.default_rng(0)
    within = 1 + (np.arange(per_power) + generator.random((len(powers), per_power))) / per_power
    within[:, 0] = 1.0
    positive = (powers[:, None] * within).ravel()
    numbers = np.concatenate([-positive, [0.0], positive, np.linspace(-32, 32, around)])
    rounded = numbers.astype(jnp.dtype(dtype)).astype(np.float64)
    return np.unique(rounded[np.isfinite(rounded)])
