"""Which examples each step sees: one endless stream of epochs, cut into batches.

Every epoch visits each example once, in a fresh order or in the order of the data. The batches are
cut from the stream of epochs without regard to their ends, so all batches have one size and no
example is dropped. The order of an epoch depends on the key and on the epoch's number alone: a run
can be taken up at any step.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import jax
import numpy as np

from handgrad._errors import InputError
from handgrad._types import Key
from handgrad.train.arguments import is_whole


@dataclass(frozen=True)
class Batches:
    """The schedule for `examples` examples in batches of `size`."""

    examples: int
    size: int
    shuffle: bool
    seed: tuple[int, ...]

    @property
    def full(self) -> bool:
        """Whether a step sees all examples, so that there is nothing to pick."""
        return self.size == self.examples

    def steps(self, epochs: int) -> int:
        """How many steps it takes to see every example `epochs` times."""
        return math.ceil(epochs * self.examples / self.size)

    def indices(self, first: int, count: int) -> np.ndarray:
        """The examples of steps first, first+1, ...: (count, size) int32; empty if `full`."""
        if self.full:
            return np.zeros((count, 0), np.int32)
        place = np.arange(first * self.size, (first + count) * self.size)
        epoch, within = np.divmod(place, self.examples)
        if not self.shuffle:
            return within.astype(np.int32).reshape(count, self.size)
        order = [_order(self.examples, self.seed, int(e)) for e in range(epoch[0], epoch[-1] + 1)]
        return np.stack(order)[epoch - epoch[0], within].reshape(count, self.size)


@lru_cache(maxsize=2)
def _order(examples: int, seed: tuple[int, ...], epoch: int) -> np.ndarray:
    return np.random.default_rng([*seed, epoch]).permutation(examples).astype(np.int32)


DEFAULT_SIZE = 32


def size_of(batch_size: int | str | None, examples: int) -> int:
    """The examples in a batch: `batch_size`, all for 'full', else 32 or all where there are fewer.

    Raises InputError unless 1 ≤ batch_size ≤ examples, or 'full', or None.
    """
    if batch_size is None:
        return min(DEFAULT_SIZE, examples)
    if isinstance(batch_size, str) and batch_size == "full":
        return examples
    if not is_whole(batch_size) or int(batch_size) < 1:
        raise InputError(
            "batch_size", "'full' or a whole number above 0", repr(batch_size), "pass 32, say"
        )
    if int(batch_size) > examples:
        raise InputError(
            "batch_size",
            f"at most the {examples:,} training examples",
            batch_size,
            "pass 'full', or a smaller batch",
        )
    return int(batch_size)


def schedule(examples: int, batch_size: int | str | None, shuffle: bool, key: Key) -> Batches:
    """The batches for a run. Raises InputError as `size_of` does."""
    seed = tuple(np.ravel(jax.random.key_data(key)).tolist())
    return Batches(examples, size_of(batch_size, examples), shuffle, seed)
