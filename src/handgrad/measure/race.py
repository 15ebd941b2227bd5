"""A race: contenders timed in turn, round after round, in one process.

What a machine does besides (another process, a clock that slows down) falls on all of them alike.
So the figure to trust is a ratio, taken within each round; the median over rounds is reported with
its quartiles, and seconds beside it are for orientation.
"""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handgrad.measure.contenders import Contender

FEWEST, MOST = 5, 31
REST = 0.1
"""Seconds before each run: threads of the one before may spin a while for work that never comes."""


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, with their quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one number."""
        lower, median, upper = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(lower), float(upper))


@dataclass(frozen=True)
class Timing:
    """One contender's steady runs, in seconds, in the order of the rounds."""

    contender: Contender
    seconds: tuple[float, ...]

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    @property
    def spread(self) -> Spread:
        """Of the steady runs."""
        return Spread.of(self.seconds)


def race(contenders: Sequence[Contender], budget: float = 20.0) -> dict[str, Timing]:
    """Every contender once a round, the first in line last in the next; by name.

    As many rounds as fit `budget` seconds, by what the first runs took, from 5 to 31.
    """
    a_round = sum(contender.first_seconds for contender in contenders)
    rounds = int(np.clip(budget / max(a_round, 1e-9), FEWEST, MOST))
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    order = list(contenders)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for contender in order:
                time.sleep(REST)
                began = time.perf_counter()
                contender.run()
                seconds[contender.name].append(time.perf_counter() - began)
            order.append(order.pop(0))
    finally:
        gc.enable()
    return {c.name: Timing(c, tuple(seconds[c.name])) for c in contenders}


def ratio(slow: Timing, fast: Timing) -> Spread:
    """How many times as long the first takes, round by round."""
    return Spread.of([a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)])


def fastest(timings: Sequence[Timing]) -> Timing:
    """The one with the smallest median."""
    return min(timings, key=lambda timing: timing.spread.median)
