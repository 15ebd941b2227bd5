"""Which examples each step sees: one endless stream of epochs, cut into batches.

Every epoch visits each example once, in a fresh order or in the order of the data. The batches are
cut from the stream of epochs without regard to their ends, so all batches have one size and no
example is dropped. The order of an epoch depends on the key, on the number of examples and on the
epoch's number alone: a run can be taken up at any step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import jax
import numpy as np

from handgrad._checks import MOST
from handgrad._types import Key
from handgrad.errors import InputError
from handgrad.train.arguments import is_whole

BLOCK = 2**15
"""About how many indices are drawn at once: the epochs of small data share a generator."""


@dataclass(frozen=True)
class Batches:
    """The schedule for `examples` examples in batches of `size`."""

    examples: int
    size: int
    shuffle: bool
    seed: tuple[int, ...]

    @cached_property
    def _orders(self) -> Callable[[int, int], np.ndarray]:
        """The last two blocks are kept; of two equal runs each draws its own."""
        return lru_cache(maxsize=2)(partial(_orders, self.seed, self.examples))

    @property
    def full(self) -> bool:
        """Whether a step sees all examples, so that there is nothing to pick."""
        return self.size == self.examples

    def steps(self, epochs: int) -> int:
        """How many steps it takes to see every example `epochs` times.

        Raises InputError for more than 2³¹ − 1: rules of update count them in 32 bits.
        """
        steps = -(-int(epochs) * self.examples // self.size)
        if steps > MOST:
            raise InputError(
                "epochs", f"at most {MOST:,} steps", f"{epochs:,}, which take {steps:,}",
                "pass fewer epochs",
            )  # fmt: skip
        return steps

    def indices(self, first: int, count: int) -> np.ndarray:
        """The examples of steps first, first+1, ...: (count, size) int32; empty if `full`."""
        if self.full:
            return np.zeros((count, 0), np.int32)
        begin, end = first * self.size, (first + count) * self.size
        if not self.shuffle:
            place = np.arange(begin, end) % self.examples
            return place.astype(np.int32).reshape(count, self.size)
        block = max(1, BLOCK // self.examples) * self.examples  # whole epochs
        numbers = range(begin // block, (end - 1) // block + 1)
        blocks = [self._orders(block, n) for n in numbers]
        stream = np.concatenate(blocks) if len(blocks) > 1 else blocks[0]
        begin, end = begin - numbers[0] * block, end - numbers[0] * block
        return stream[begin:end].reshape(count, self.size)


def _orders(seed: tuple[int, ...], examples: int, block: int, number: int) -> np.ndarray:
    """The epochs of block `number`, one after the other: each sorts the examples by random keys.

    A key has the example's own number in its low digits, so that no two are equal and the sorted
    keys are the order; a generator for each epoch would take longer than its steps.
    """
    generator, epochs = np.random.default_rng([*seed, number]), block // examples
    keys = generator.integers(np.iinfo(np.int64).max // examples, size=(epochs, examples))
    keys *= examples
    keys += np.arange(examples)
    keys.sort(axis=1)
    # keys % examples, in the 32 bits that it needs: a quarter of the time
    quotients = (keys // examples).astype(np.uint32)
    quotients *= np.uint32(examples)
    return (keys.astype(np.uint32) - quotients).view(np.int32).ravel()


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
