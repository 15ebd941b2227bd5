"""Numbers in words: what a ratio between a wrong gradient and the right one can mean."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# Exact relations between values rounded to float64 hold to a few ulp; what passes through sums
# loses some of that.
RELATIVE = 1e-9


class Surroundings(NamedTuple):
    """What the numbers in a relation may turn out to be."""

    sizes: Mapping[int, str]
    """Axis lengths and the axes that have them."""
    constants: frozenset[float]
    """Numbers written in the loss, and scalar arguments."""
    arrays: tuple[tuple[str, np.ndarray], ...]
    """The arguments, named."""


def close(a: np.ndarray, b: np.ndarray, relative: float = RELATIVE) -> np.ndarray:
    """Whether two arrays agree, coordinate by coordinate; rounding is relative to the largest."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.maximum(np.abs(a), np.abs(b))
        finite = size[np.isfinite(size)]
        apart = np.abs(a - b)
        return np.isfinite(apart) & (
            apart <= relative * size + 1e-13 * (finite.max() if finite.size else 0.0)
        )


def is_exactly(a: float, b: float) -> bool:
    """Whether two numbers are one, up to rounding."""
    return math.isfinite(b) and abs(a - b) <= 1e-10 * abs(b)


def ratio_shown(ratio: float) -> str:
    """A ratio with six digits, and one that would look like 1 by what it has beside it.

    >>> ratio_shown(1.5), ratio_shown(1 - 2**-40)
    ('1.5', '1 − 9.1e-13')
    """
    beside = ratio - 1
    if 0 < abs(beside) < 5e-6:
        return f"1 {'+' if beside > 0 else '−'} {abs(beside):.2g}"
    return f"{ratio:.6g}"


def name_ratio(ratio: float, around: Surroundings) -> tuple[float, str] | None:
    """What a ratio hand : truth says, with its cost; None for a number that means nothing here."""
    if not math.isfinite(ratio) or ratio == 0:
        return None
    for value, words in ((-1, "sign flipped (ratio −1)"), (2, "twice too large (ratio 2)"),
                         (0.5, "half of what it should be (ratio 1/2)")):  # fmt: skip
        if is_exactly(ratio, value):
            return 1, words
    for n, axes in around.sizes.items():
        if is_exactly(ratio, n):
            return 2, f"{n} times too large, {n} being {axes}: a mean forgotten (ratio {n})"
        if is_exactly(ratio, 1 / n):
            return 2, f"{n} times too small, {n} being {axes}: divided once too often (ratio 1/{n})"
    for c in sorted(around.constants, reverse=True):
        if is_exactly(ratio, 1 / c):
            return 3, f"the factor {c:.6g} of the loss forgotten (ratio {ratio:.6g})"
        if is_exactly(ratio, c):
            return 3, f"the factor 1/{c:.6g} of the loss forgotten (ratio {ratio:.6g})"
    for n, axes in around.sizes.items():
        for power, words in ((0.5, f"√{n}"), (-0.5, f"1/√{n}"), (2, f"{n}²"), (-2, f"1/{n}²")):
            if n > 2 and is_exactly(ratio, n**power):
                return 4, f"a factor {words} too much, {n} being {axes} (ratio {ratio:.6g})"
        if n > 2 and (is_exactly(ratio, n / (n - 1)) or is_exactly(ratio, (n - 1) / n)):
            a, b = (n - 1, n) if ratio > 1 else (n, n - 1)
            return 4, f"a mean over the wrong count: divided by {a} in place of {b} (ratio {b}/{a})"
        for other, others in around.sizes.items():
            if is_exactly(ratio, n / other):
                return 5, (
                    f"a mean over the wrong count: divided by {other} ({others}) in place of "
                    f"{n} ({axes}) (ratio {n}/{other})"
                )
    if ratio < 0 and (named := name_ratio(-ratio, around)):
        return named[0] + 2, f"sign flipped, and {named[1].replace('(ratio ', '(ratio −')}"
    return None
