"""What machine code does to a block of rows: its logits, its share of the gradient, its sums.

A block of some kilobytes stays in the first cache of a core between the two. The dtype is that of
what is given: a sum of float32 products is in float32, unless the weights are in float64. Importing
this module needs numba.
"""

import os
from typing import Any

import numpy as np
from numba import njit

# What a numba function may do with floats: fuse a product and a sum; and where sums may be taken
# in any order, that too. A division by zero is inf, as in NumPy.
EXACTLY: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}
IN_ANY_ORDER: dict[str, Any] = {**EXACTLY, "fastmath": {"contract", "reassoc"}}

BLOCK_BYTES = 2**15
"""Of a block of rows: it stays in the first cache of a core."""
ZERO = np.float32(0)


@njit(**IN_ANY_ORDER)
def logits(x: Any, weight: Any, bias: Any, z: Any) -> None:
    """z, its first R, of rows x (R, D) for one class: four rows at a time share the weight."""
    rows, features = x.shape
    fours = rows // 4 * 4
    for i in range(0, fours, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        z0 = z1 = z2 = z3 = ZERO
        for j in range(features):
            z0 += x0[j] * weight[j]
            z1 += x1[j] * weight[j]
            z2 += x2[j] * weight[j]
            z3 += x3[j] * weight[j]
        z[i], z[i + 1], z[i + 2], z[i + 3] = z0 + bias, z1 + bias, z2 + bias, z3 + bias
    for i in range(fours, rows):
        z0 = ZERO
        for j in range(features):
            z0 += x[i, j] * weight[j]
        z[i] = z0 + bias


@njit(**EXACTLY)
def add_products(x: Any, r: Any, sums: Any) -> None:
    """sums (D,) += Σ_i r_i x_i over rows x (R, D), for one class: four rows at a time."""
    rows, features = x.shape
    fours = rows // 4 * 4
    for i in range(0, fours, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        r0, r1, r2, r3 = r[i], r[i + 1], r[i + 2], r[i + 3]
        for j in range(features):
            sums[j] += (r0 * x0[j] + r1 * x1[j]) + (r2 * x2[j] + r3 * x3[j])
    for i in range(fours, rows):
        for j in range(features):
            sums[j] += r[i] * x[i, j]


@njit(**IN_ANY_ORDER)
def total(values: Any, count: int) -> Any:
    """The sum of the first `count`."""
    so_far = ZERO
    for i in range(count):
        so_far += values[i]
    return so_far


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
