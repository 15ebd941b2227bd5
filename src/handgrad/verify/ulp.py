"""Units in the last place: the yardstick of floating-point error.

An ulp of a real number v in a dtype is the distance between the two floats around v: 2^(e−m) for
2^e ≤ |v| < 2^(e+1) and m stored mantissa bits. Below the smallest normal number it stops shrinking.
"""

import jax.numpy as jnp
import numpy as np

from handgrad._types import ArrayLike

ALLOWANCE = 64
"""Rounding explains an error up to this many times 1 ulp and what conditioning costs."""


def ulp(value: ArrayLike, dtype: str) -> np.ndarray:
    """The size of one ulp of `dtype` at each real `value`, as float64.

    >>> float(ulp(np.array(1.0), "float32")) == 2.0**-23
    True
    """
    info = jnp.finfo(dtype)
    value = np.asarray(value, np.float64)
    _, exponent = np.frexp(value)
    exponent = np.where(value == 0, info.minexp, exponent)  # frexp calls the exponent of 0 zero
    return np.asarray(np.ldexp(1.0, np.maximum(exponent - 1, info.minexp) - info.nmant))


def ulp_error(computed: ArrayLike, true: ArrayLike, dtype: str) -> np.ndarray:
    """|computed − true| in ulps of `dtype` at `true`; infinite where only one is finite, or NaN is.

    NaN equals nothing, not even NaN. Equal infinities have no error.
    """
    computed, true = np.asarray(computed, np.float64), np.asarray(true, np.float64)
    both_finite = np.isfinite(computed) & np.isfinite(true)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(computed - true) / ulp(np.where(both_finite, true, 1.0), dtype)
    return np.where(both_finite, error, np.where(computed == true, 0.0, np.inf))
