"""Which rows of a stream each step sees: epochs of windows, and the batches in them.

Rows that lie together are read together, so a stream is not shuffled row by row. It is cut into
blocks of rows; every epoch has the blocks in a fresh order. The endless sequence of epochs is cut
into windows of as many batches as fit the memory, each window with rows from many blocks, and the
rows of a window are shuffled, those of two epochs apart. So

- every epoch visits each example once, and all batches have one size, as in `batches`;
- what step k sees depends on the key, on the sizes and on k alone: a run can be taken up anywhere;
- in the order of the data (no shuffling) the batches are those of `batches`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import jax
import numpy as np

from handgrad._types import Key
from handgrad.errors import InputError
from handgrad.train.batches import size_of

WINDOW_BYTES = 2**25
"""Of a window, of which three are in memory; and the most that a batch may have."""
FEWEST_BLOCKS = 64
"""Of a small stream: the fewer there are, the less an order of blocks shuffles."""
BLOCK_BYTES = 2**20
"""Of a block: reading as much as this from anywhere costs little more than reading on."""


@dataclass(frozen=True)
class Windows:
    """The schedule for `examples` examples in batches of `size`, `batches` of them a window."""

    examples: int
    size: int
    batches: int
    block: int
    """Rows that stay together."""
    shuffle: bool
    seed: tuple[int, ...]

    @property
    def full(self) -> bool:
        """Whether a step sees all examples."""
        return self.size == self.examples

    @property
    def rows(self) -> int:
        """In a window."""
        return self.size * self.batches

    def steps(self, epochs: int) -> int:
        """How many steps it takes to see every example `epochs` times."""
        return math.ceil(epochs * self.examples / self.size)

    def ranges(self, number: int) -> list[tuple[int, int]]:
        """The rows of window `number`, as ranges of row numbers in the order they are read in."""
        return [piece for part in self._parts(number) for piece in self._pieces(*part)]

    def indices(self, number: int) -> np.ndarray:
        """Where in the window the batches of its steps are: (batches, size) int32."""
        if not self.shuffle:
            return np.arange(self.rows, dtype=np.int32).reshape(self.batches, self.size)
        generator, done, orders = np.random.default_rng([*self.seed, 1, number]), 0, []
        for _, begin, end in self._parts(number):
            orders.append(done + generator.permutation(end - begin))
            done += end - begin
        return np.concatenate(orders).astype(np.int32).reshape(self.batches, self.size)

    def _parts(self, number: int) -> Iterator[tuple[int, int, int]]:
        """(epoch, begin, end): the window's stretches of the sequences of its epochs."""
        begin, end = number * self.rows, (number + 1) * self.rows
        while begin < end:
            epoch, place = divmod(begin, self.examples)
            count = min(end - begin, self.examples - place)
            yield epoch, place, place + count
            begin += count

    def _pieces(self, epoch: int, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """What lies at begin … end − 1 of an epoch's sequence: whole blocks, but for both ends."""
        if not self.shuffle:
            yield begin, end
            return
        blocks, ends = _order(self.examples, self.block, self.seed, epoch)
        for place in range(int(np.searchsorted(ends, begin, side="right")), len(blocks)):
            first = int(blocks[place]) * self.block
            length = min(self.block, self.examples - first)
            start = int(ends[place]) - length
            if start >= end:
                return
            yield first + max(0, begin - start), first + min(length, end - start)


@lru_cache(maxsize=4)
def _order(
    examples: int, block: int, seed: tuple[int, ...], epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The blocks in the order of an epoch, and where each ends in its sequence."""
    blocks = np.random.default_rng([*seed, 0, epoch]).permutation(-(-examples // block))
    return blocks, np.cumsum(np.minimum(block, examples - blocks * block))


def windows(
    examples: int, row_bytes: int, batch_size: int | str | None, shuffle: bool, key: Key
) -> Windows:
    """The schedule of a run. Raises InputError as `size_of` does, and for too large a batch."""
    size = size_of(batch_size, examples)
    most = max(1, WINDOW_BYTES // row_bytes)
    if most < size < examples:
        raise InputError(
            "batch_size",
            f"at most {most:,} of these examples at once in memory, or 'full'",
            f"{size:,}",
            "pass 'full', which is read in blocks, or a smaller batch",
        )
    return Windows(
        examples=examples,
        size=size,
        batches=max(1, min(most, examples) // size),
        block=max(1, min(BLOCK_BYTES // row_bytes, examples // FEWEST_BLOCKS)),
        shuffle=shuffle,
        seed=tuple(np.ravel(jax.random.key_data(key)).tolist()),
    )
