"""Floats as integers in order: steps of one ulp, and the structured extremes a search starts from.

The bits of a float, read as a sign and a magnitude, number the floats in order; adding 1 to that
number is the next float. It works alike for float64, float32, bfloat16 and float16.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

WIDTHS: dict[int, Any] = {2: np.int16, 4: np.int32, 8: np.int64}


def ordinal(values: np.ndarray) -> np.ndarray:
    """The number of each float in order, as int64; both zeros are 0.

    >>> ordinal(np.float32([0.0, -0.0, 1e-45, -1e-45])).tolist()
    [0, 0, 1, -1]
    """
    width = WIDTHS[values.dtype.itemsize]
    bits = values.view(width).astype(np.int64)
    magnitude = bits & np.int64(np.iinfo(width).max)
    return np.where(bits < 0, -magnitude, magnitude)


def from_ordinal(number: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The float of each number, held within the finite ones."""
    width = WIDTHS[dtype.itemsize]
    largest = ordinal(np.array([jnp.finfo(dtype).max], dtype))[0]
    number = np.clip(number, -largest, largest)
    bits = np.abs(number).astype(width)
    sign = np.where(number < 0, np.iinfo(width).min, 0).astype(width)
    return (bits | sign).view(dtype)


def extremes(dtype: np.dtype) -> np.ndarray:
    """Values at which formulas break: zeros, ones, thresholds of exp and of rounding, the ends."""
    info = jnp.finfo(dtype)
    top, eps, tiny = float(info.max), float(info.eps), float(info.tiny)
    log_max, log_eps = np.log(top), -np.log(eps)
    magnitudes = np.array([
        0.0, 1.0, 0.5, 2.0, 1 / 3, eps, np.sqrt(eps), tiny, np.sqrt(tiny), top, np.sqrt(top),
        log_eps, log_eps + 1, log_eps / 2, 2 * log_eps, log_max, log_max - 1, log_max / 2, 5.0,
        10.0, 17.0, 20.0, 37.0, 50.0, 80.0, 100.0, 700.0, 1e3, 1e4,
    ])  # fmt: skip
    magnitudes = np.minimum(magnitudes, top)
    return np.concatenate([magnitudes, -magnitudes]).astype(dtype)


def mutate(rows: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One child a row: one to three coordinates stepped, scaled, negated, or set anew."""
    count, size = rows.shape
    dtype = rows.dtype
    children = rows.copy()
    special = extremes(dtype)
    mantissa = int(jnp.finfo(dtype).nmant)
    for row in range(count):
        for column in rng.integers(0, size, rng.integers(1, 4)):
            number = ordinal(children[row, column : column + 1])
            match rng.integers(0, 6):
                case 0:  # a few ulps
                    new = from_ordinal(number + rng.integers(-16, 17), dtype)
                case 1:  # within a binade or two
                    new = from_ordinal(
                        number + rng.integers(-(2 << mantissa), 2 << mantissa), dtype
                    )
                case 2:
                    new = -children[row, column : column + 1]
                case 3:
                    new = special[rng.integers(0, len(special), 1)]
                case 4:  # an ordinary size
                    new = np.array([rng.normal() * 10.0 ** rng.uniform(-3, 2.3)]).astype(dtype)
                case _:
                    new = base[column : column + 1]
            children[row, column] = new[0]
    return without_subnormals(children)


def first_generation(base: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows to start from: the point, extremes in one place or everywhere, random sizes."""
    special, size = extremes(base.dtype), len(base)
    rows = np.tile(base, (count, 1))
    for row in range(1, count):
        match row % 3:
            case 0:
                rows[row] = special[(row // 3) % len(special)]
            case 1:
                rows[row, rng.integers(0, size)] = special[(row // 3) % len(special)]
            case _:
                scale = 10.0 ** rng.uniform(-4, 2.3)
                rows[row] = (rng.normal(size=size) * scale).astype(base.dtype)
    return without_subnormals(rows)


def without_subnormals(rows: np.ndarray) -> np.ndarray:
    """Subnormal numbers as 0, which is what a device that flushes them reads anyway."""
    return np.where(np.abs(rows) < jnp.finfo(rows.dtype).tiny, np.zeros_like(rows), rows)
