"""The machine's own limits, as contenders of the same race: reading memory, multiplying matrices.

No gradient of x can take less time than reading x once, and none of a matrix product less than its
multiplications at the best rate of the machine. Both are measured, not looked up: by three ways to
read, and by products of square matrices. Another product may be a little faster than those.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax, random

from handgrad._types import Array, DTypeLike
from handgrad.bench.timing import Contender, Timing, compiled, ratio

READS = ("read: sum", "read: max", "read: x @ w")
SIDES, QUICK_SIDES = (1024, 2048, 4096), (512,)


def readers(x: Array, w: Array) -> list[Contender]:
    """Three ways to read all of x (N, D) once; the fastest is what memory can do."""
    return [
        compiled(READS[0], jnp.sum, x),
        compiled(READS[1], jnp.max, x),
        compiled(READS[2], jnp.matmul, x, w),
    ]


def multipliers(dtype: DTypeLike, sides: tuple[int, ...] = SIDES) -> dict[str, tuple[Any, float]]:
    """Products of square matrices in a dtype, sums in float32 or wider: contender and flops."""
    wide = dtype if jnp.dtype(dtype).itemsize >= 4 else jnp.float32
    precision = lax.Precision.HIGHEST if jnp.dtype(dtype).itemsize >= 4 else None

    def product(a: Array, b: Array) -> Array:
        return jnp.matmul(a, b, precision=precision, preferred_element_type=wide)

    found = {}
    for side in sides:
        a = random.normal(random.key(side), (side, side), jnp.float32).astype(dtype)
        name = f"multiply: {side}²"
        found[name] = (compiled(name, product, a, a), 2.0 * side**3)
    return found


@dataclass(frozen=True)
class Peak:
    """The product that had the most flops a second in a race."""

    timing: Timing
    flops: float

    @classmethod
    def of(cls, products: Mapping[str, tuple[Any, float]], timings: Mapping[str, Timing]) -> "Peak":
        """Of what `multipliers` returned, once they have run."""
        found = [cls(timings[name], flops) for name, (_, flops) in products.items()]
        return max(found, key=lambda peak: peak.rate)

    @property
    def rate(self) -> float:
        """Flops a second."""
        return self.flops / self.timing.quartiles.median

    def share(self, timing: Timing, flops: float) -> float:
        """Of this rate, by a contender of the same race that does `flops`, round by round."""
        return flops / self.flops * ratio(self.timing, timing).median
