"""What the device can do: bytes and multiplications a second, and the cost of starting work."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax, random

from handgrad.bench.report import Report
from handgrad.bench.timing import Contender, compiled, multipliers, race, readers

READ = 4_000_000_000
"""Bytes: many times the largest cache."""
SIDES = (4096, 8192, 16_384)
STEPS = 1_000
"""Of a scan that does nothing much."""


def measure(small: bool, seconds: float) -> Iterator[Report]:
    """A report with a row for each limit, in bytes or flops a second or in seconds."""
    rows, features = (1_000, 64) if small else (READ // (4 * 64), 64)
    x = random.normal(random.key(0), (rows, features))
    contenders: list[tuple[Contender, str, float]] = [
        (contender, "bytes_per_second", x.nbytes) for contender in readers(x, x[0])
    ]
    contenders.append((compiled("copy", jnp.negative, x), "bytes_per_second", 2.0 * x.nbytes))
    for dtype in ("bfloat16", "float32"):
        sides = (64,) if small else SIDES[: 3 if dtype == "bfloat16" else 2]
        contenders += [
            (Contender(f"{name} {dtype}", product.run, first_seconds=product.first_seconds),
             "flops_per_second", flops)
            for name, (product, flops) in multipliers(dtype, sides).items()
        ]  # fmt: skip

    def steps(start: jax.Array) -> jax.Array:
        return lax.scan(lambda z, _: (jnp.sin(z), None), start, length=STEPS)[0]

    one = jnp.ones(8)
    contenders.append((compiled("start a program and wait", jnp.sin, one), "seconds_each", 1))
    contenders.append((compiled("a step of a scan", steps, one), "seconds_each", STEPS))
    timings = race([c for c, _, _ in contenders], seconds / 3, quick=small)
    kinds = ("bytes_per_second", "flops_per_second", "seconds_each")
    found = []
    for contender, kind, amount in contenders:
        took = timings[contender.name].quartiles.median
        value = took / amount if kind == "seconds_each" else amount / took
        row = {"name": contender.name, "seconds": took}
        found.append(row | {key: value if key == kind else None for key in kinds})
    title = f"{jax.devices()[0].device_kind}: what it can do"
    yield Report("limits", title, found, [], ["float32 products without TF32, sums in float32"])
