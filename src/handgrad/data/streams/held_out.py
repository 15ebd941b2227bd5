"""Which rows are held out: drawn by row number and seed alone, so each pass holds out the same."""

import numpy as np

from handgrad.errors import InputError

TOGETHER = 2**16
"""Rows that share a generator, whatever the blocks they are read in."""


class Draw:
    """Holds out about a `fraction` of all rows."""

    def __init__(self, fraction: float, seed: int):
        self.fraction, self._seed = fraction, seed

    def held(self, first: int, count: int) -> np.ndarray:
        """(count,) of bool: whether rows first, first+1 … are held out."""
        groups = range(first // TOGETHER, (first + count - 1) // TOGETHER + 1)
        drawn = np.concatenate(
            [np.random.default_rng([self._seed, group]).random(TOGETHER) for group in groups]
        )
        begin = first - groups[0] * TOGETHER
        return drawn[begin : begin + count] < self.fraction


def check_fraction(fraction: float, seed: int) -> None:
    """Raise InputError for a fraction outside (0, 1), or a seed that is none."""
    if isinstance(fraction, bool) or not 0 < fraction < 1:
        raise InputError("test_fraction", "a number between 0 and 1", str(fraction), "pass 0.25")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise InputError("seed", "an integer in 0..2^32-1", repr(seed), "pass 0, say")
