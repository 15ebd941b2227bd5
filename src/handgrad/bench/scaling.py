"""Cost against size: N, D, K, T and V grow, one at a time, and an exponent is fitted."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from handgrad.bench.linear_cross_entropy import dense, output_layer
from handgrad.bench.one_pass import optax_loss, problem
from handgrad.bench.report import Report
from handgrad.bench.timing import Contender, compiled, equal_to, race
from handgrad.fast import linear_cross_entropy, one_pass

TITLE = "how cost grows with examples, features, classes and vocabulary"
MOST_BYTES = 4 * 2**30
"""Arrays larger than this are left out, whatever the machine could hold."""

TOLERANCE = 1e-3
"""Sums of up to ten million float32 products, in whatever order: relative to the largest."""

Draw = Callable[[int], list[Contender]]


def run(quick: bool = False) -> Iterator[Report]:
    """A table for each size that grows."""
    sizes = {
        "N": ("examples, 64 features, binary", [10**3, 10**4, 10**5, 10**6, 10**7], 10**4,
              lambda n: regression(n, 64)),
        "D": ("features, 20,000 examples, binary", [10, 10**2, 10**3, 10**4], 10**2,
              lambda d: regression(20_000, d)),
        "K": ("classes, 20,000 examples × 64", [2, 10, 100, 1_000], 10,
              lambda k: regression(20_000, 64, k)),
        "T": ("tokens, 256 features, 8,192 words", [64, 256, 1_024, 4_096], 256,
              lambda t: tokens(t, 256, 8_192)),
        "V": ("words, 512 tokens × 256", [10**3, 10**4, 10**5], 10**4,
              lambda v: tokens(512, 256, v)),
    }  # fmt: skip
    for letter in "NV" if quick else sizes:
        what, values, from_size, problem = sizes[letter]
        if quick:
            values, from_size = values[:2], values[0]
        yield measure(letter, what, values, from_size, problem, quick)


def measure(
    letter: str, what: str, values: list[int], from_size: int, problem: Draw, quick: bool
) -> Report:
    """Times at each size; log time against log size gives the exponent of the large ones."""
    rows: list[dict[str, Any]] = []
    for value in values:
        timings = race(problem(value), 3.0, quick)
        for timing in timings.values():
            rows.append({
                "name": f"{timing.name}, {letter} = {value:,}",
                "series": timing.name, letter: value, "seconds": timing.quartiles.median,
                "lower": timing.quartiles.lower, "upper": timing.quartiles.upper,
                "temporaries": timing.contender.temporaries,
            })  # fmt: skip
    notes = []
    for series in dict.fromkeys(row["series"] for row in rows):
        some = [r for r in rows if r["series"] == series and r[letter] >= from_size]
        if len(some) > 1:
            sizes, seconds = np.log([[r[letter], r["seconds"]] for r in some]).T
            exponent = np.polyfit(sizes, seconds, 1)[0]
            notes.append(f"{series}: seconds grow as {letter}^{exponent:.2f} from {from_size:,} on")
    return Report("scaling", f"{letter}: {what}", rows, notes=notes,
                  figure={"kind": "scaling", "along": letter})  # fmt: skip


def regression(examples: int, features: int, classes: int = 1) -> list[Contender]:
    """Logistic or softmax regression: one pass over packed data, and optax + jax.grad."""
    if 4 * examples * features > MOST_BYTES:
        return []
    params, *data = map(jax.device_put, problem(examples, features, classes))
    packed, gradient = one_pass.pack(*data), one_pass.value_and_gradient
    baseline = compiled("optax + jax.grad", jax.value_and_grad(optax_loss(classes)), params, *data)
    check = equal_to(baseline.answer, TOLERANCE)
    return [compiled("one pass", gradient, params, packed, check=check), baseline]


def tokens(many: int, features: int, words: int) -> list[Contender]:
    """The output layer in the forward pass, and optax + jax.grad."""
    at, forward = output_layer(many, features, words), linear_cross_entropy.value_and_gradient
    baseline = compiled("optax + jax.grad", jax.value_and_grad(dense, (0, 1)), *at)
    check = equal_to(baseline.answer, TOLERANCE)
    return [compiled("in the forward pass", forward, *at, check=check), baseline]
