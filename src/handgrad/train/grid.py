"""What the models of a grid have of their own: fold, penalty, rate, start; and folds themselves."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad._checks import MOST, as_numpy
from handgrad._types import ArrayLike
from handgrad.errors import InputError
from handgrad.train.arguments import check_key, is_real, is_whole
from handgrad.train.optimizers import check_learning_rate


@dataclass(frozen=True)
class Setting:
    """What one model of a grid has of its own."""

    fold: int | None
    """Its row of `rows`; None if all models learn from all examples."""
    l2: float | None
    """Its penalty λ; None if the model came with one."""
    learning_rate: float
    key: int | None
    """Its start: the position in `keys`; None if there were none."""


def grid(
    learning_rates: Sequence[float],
    l2s: Sequence[float] | None,
    keys: Any,
    folds: int | None,
) -> tuple[Setting, ...]:
    """All combinations, folds outermost and starts innermost. Raises InputError for values."""
    for rate in _some("learning_rates", learning_rates):
        check_learning_rate(rate)
    if l2s is not None:
        for l2 in _some("l2s", l2s):
            if not (is_real(l2) and 0 <= l2 < 3e38):  # float32 has to hold it
                raise InputError("l2s", "finite numbers of 0 or more", repr(l2), "pass 0.01, say")
    if keys is not None:
        for key in _some("keys", keys):
            check_key(key)
    return tuple(
        Setting(fold, l2, rate, key)
        for fold, l2, rate, key in itertools.product(
            (None,) if folds is None else range(folds),
            (None,) if l2s is None else map(float, l2s),
            map(float, learning_rates),
            (None,) if keys is None else range(len(keys)),
        )
    )


def _some(name: str, values: Any) -> list:
    try:
        found = list(values)
    except TypeError:
        raise InputError(name, "a sequence", repr(values), f"pass {name}=(…,)") from None
    if not found:
        raise InputError(name, "at least one", "none", "leave the argument out, or pass one")
    return found


def folds(examples: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`count` folds: (training rows (count, N′), held-out rows (count, N − N′)), shuffled.

    Each fold holds out ⌊N / count⌋ examples, no example is held out twice, and what is left over is
    in every training part: so all parts have one size. Raises InputError unless 2 ≤ count ≤ N.

    >>> training, held_out = folds(10, 3)
    >>> training.shape, held_out.shape, len(set(held_out.ravel().tolist()))
    ((3, 7), (3, 3), 9)
    """
    if not is_whole(examples) or not 2 <= examples <= MOST:
        raise InputError("examples", f"a whole number in 2..{MOST:,}", repr(examples), "pass N")
    if not is_whole(seed) or seed < 0:
        raise InputError("seed", "a whole number of 0 or more", repr(seed), "pass 0, say")
    if not is_whole(count) or not 2 <= count <= examples:
        raise InputError("count", f"a whole number in 2..{examples}", repr(count), "pass 5, say")
    order = np.random.default_rng(seed).permutation(examples)
    held_out = order[: examples // count * count].reshape(count, -1)
    training = np.stack([np.setdiff1d(order, part) for part in held_out])
    return training, np.sort(held_out, axis=1)


def checked_rows(rows: ArrayLike, examples: int) -> np.ndarray:
    """`rows` as an array. Raises InputError unless it is (F, N′) positions in 0..N−1."""
    found = as_numpy("rows", rows)
    if found.ndim != 2 or 0 in found.shape or not np.issubdtype(found.dtype, np.integer):
        raise InputError(
            "rows", "integers of shape (folds, examples)", f"{found.dtype} of shape {found.shape}",
            "pass the first of folds(N, 5), say",
        )  # fmt: skip
    if found.min() < 0 or found.max() >= examples:
        raise InputError(
            "rows", f"positions in 0..{examples - 1}", f"{found.min()}..{found.max()}",
            "count examples from 0",
        )  # fmt: skip
    return found
