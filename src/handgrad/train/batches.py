"""Which examples each step sees: one endless stream of epochs, cut into batches.

Every epoch visits each example once, in a fresh order or in the order of the data. The batches are
cut from the stream of epochs without regard to their ends, so all batches have one size and no
example is dropped. The order of an epoch depends on the key, on the number of examples and on the
epoch's number alone: a run can be resumed at any step.

Spread over several devices, a step may not fetch rows from another device: that would be a message
as long as the batch. So every shard gives its B/S rows to each batch of B, from an endless stream
of epochs of its own. The number of shards S does not depend on the number of devices (8 where it
can be), so neither do the batches: one device and eight take the same steps, up to the rounding of
a sum that is taken in another order. A full batch has a shard for each device.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import numpy as np

from handgrad._checks import MOST, is_whole
from handgrad._types import Key
from handgrad.errors import InputError
from handgrad.scale.sharding import Shards, as_mesh

DEFAULT_SIZE = 32
MOST_SHARDS = 8
"""Of a batch: runs on this many devices, or fewer, get the same batches."""
DRAWN_AT_ONCE = 2**15
"""About how many indices are drawn at once: the epochs of small data share a generator."""
WINDOW_BYTES = 2**25
"""Of a window of a stream, of which three are in memory; and the most that a batch may have."""
FEWEST_BLOCKS = 64
"""Of a small stream: the fewer there are, the less an order of blocks shuffles."""
BLOCK_BYTES = 2**20
"""Of a block: reading as much as this from anywhere costs little more than reading on."""


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
            "batch_size", "'full' or a whole number above 0", repr(batch_size), "pass 32"
        )
    if int(batch_size) > examples:
        raise InputError(
            "batch_size", f"at most the {examples:,} training examples", batch_size,
            "pass 'full', or a smaller batch",
        )  # fmt: skip
    return int(batch_size)


def seed_of(key: Key) -> tuple[int, ...]:
    """A random key as the whole numbers it is made of."""
    return tuple(np.ravel(jax.random.key_data(key)).tolist())


@dataclass(frozen=True)
class Batches:
    """The order of `examples` examples in batches of `size`."""

    examples: int
    size: int
    shuffle: bool
    seed: tuple[int, ...]

    @classmethod
    def of(cls, examples: int, batch_size: int | str | None, shuffle: bool, key: Key) -> "Batches":
        """The batches of a run. Raises InputError as `size_of` does."""
        return cls(examples, size_of(batch_size, examples), shuffle, seed_of(key))

    @property
    def full(self) -> bool:
        """Whether a step sees all examples, so that there is nothing to pick."""
        return self.size == self.examples

    @property
    def order(self) -> str:
        """In words, as a checkpoint is known by."""
        return "all examples" if self.full else "shuffled" if self.shuffle else "in order"

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
        block = max(1, DRAWN_AT_ONCE // self.examples) * self.examples  # whole epochs
        numbers = range(begin // block, (end - 1) // block + 1)
        blocks = [self._orders(block, n) for n in numbers]
        stream = np.concatenate(blocks) if len(blocks) > 1 else blocks[0]
        begin, end = begin - numbers[0] * block, end - numbers[0] * block
        return stream[begin:end].reshape(count, self.size)

    @cached_property
    def _orders(self) -> Callable[[int, int], np.ndarray]:
        """The last two blocks are kept; of two equal runs each draws its own."""
        return lru_cache(maxsize=2)(partial(_orders, self.seed, self.examples))


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


@dataclass(frozen=True)
class Windows(Batches):
    """The batches of a stream: `batches` of them are cut from each window of its rows.

    Rows that lie together are read together, so a stream is not shuffled row by row. It is cut into
    blocks of rows; every epoch has the blocks in a fresh order. The endless sequence of epochs is
    cut into windows of as many batches as fit the memory, each window with rows from many blocks,
    and the rows of a window are shuffled, those of two epochs apart. So

    - every epoch visits each example once, and all batches have one size;
    - what step k sees depends on the key, on the sizes and on k alone;
    - in the order of the data (no shuffling) the batches are those of `Batches`.
    """

    batches: int
    block: int
    """Rows that stay together."""

    @classmethod
    def of_stream(
        cls, examples: int, row_bytes: int, batch_size: int | str | None, shuffle: bool, key: Key
    ) -> "Windows":
        """Those of a run. Raises InputError as `size_of` does, and for too large a batch."""
        size = size_of(batch_size, examples)
        most = max(1, WINDOW_BYTES // row_bytes)
        if most < size < examples:
            raise InputError(
                "batch_size", f"at most {most:,} of these examples at once in memory, or 'full'",
                f"{size:,}", "pass 'full', which is read in blocks, or a smaller batch",
            )  # fmt: skip
        return cls(
            examples=examples,
            size=size,
            batches=max(1, min(most, examples) // size),
            block=max(1, min(BLOCK_BYTES // row_bytes, examples // FEWEST_BLOCKS)),
            shuffle=shuffle,
            seed=seed_of(key),
        )

    @property
    def rows(self) -> int:
        """In a window."""
        return self.size * self.batches

    @property
    def order(self) -> str:
        """In words, as a checkpoint is known by."""
        windows = f" in windows of {self.rows:,} rows, blocks of {self.block:,}"
        return super().order + ("" if self.full else windows)

    def window_ranges(self, number: int) -> list[tuple[int, int]]:
        """The rows of window `number`, as ranges of row numbers in the order they are read in."""
        return [piece for part in self._parts(number) for piece in self._pieces(*part)]

    def window_indices(self, number: int) -> np.ndarray:
        """Where in the window the batches of its steps are: (batches, size) int32."""
        if not self.shuffle:
            return np.arange(self.rows, dtype=np.int32).reshape(self.batches, self.size)
        generator, done, orders = np.random.default_rng([*self.seed, 1, number]), 0, []
        for _, begin, end in self._parts(number):
            orders.append(done + generator.permutation(end - begin))
            done += end - begin
        return np.concatenate(orders).astype(np.int32).reshape(self.batches, self.size)

    def cuts(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """(window, steps of it to skip, steps of it to take) for steps first+1 … first+count."""
        end = first + count
        while first < end:
            window, skipped = divmod(first, self.batches)
            number = min(end - first, self.batches - skipped)
            yield window, skipped, number
            first += number

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
        blocks, ends = _block_order(self.examples, self.block, self.seed, epoch)
        for place in range(int(np.searchsorted(ends, begin, side="right")), len(blocks)):
            first = int(blocks[place]) * self.block
            length = min(self.block, self.examples - first)
            start = int(ends[place]) - length
            if start >= end:
                return
            yield first + max(0, begin - start), first + min(length, end - start)


@lru_cache(maxsize=4)
def _block_order(
    examples: int, block: int, seed: tuple[int, ...], epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The blocks in the order of an epoch, and where each ends in its sequence."""
    blocks = np.random.default_rng([*seed, 0, epoch]).permutation(-(-examples // block))
    return blocks, np.cumsum(np.minimum(block, examples - blocks * block))


@dataclass(frozen=True)
class ShardedBatches(Batches):
    """The batches of a run over several devices, drawn from shards of the examples."""

    shards: Shards

    @classmethod
    def over(cls, batches: Batches, devices: int) -> "ShardedBatches":
        """In as many shards as the devices for a full batch. Else gcd(B, 8) if the devices divide
        that; else as many as the devices.

        Raises InputError where a device would be without an example, or a batch cannot be divided
        evenly: batches of one are never parallel.

        >>> ShardedBatches.over(Batches(100, 32, True, (0,)), 4).shards.count
        8
        >>> ShardedBatches.over(Batches(100, 30, True, (0,)), 3).shards.count
        3
        >>> ShardedBatches.over(Batches(100, 1, True, (0,)), 2)
        Traceback (most recent call last):
            ...
        handgrad.errors.InputError: batch_size: expected a multiple of the 2 devices, got 1; pass
        2, or 'full', or train on one device
        """
        examples, size = batches.examples, batches.size
        shared = devices if batches.full else math.gcd(size, MOST_SHARDS)
        if batches.full and devices > examples:
            raise InputError(
                "mesh", f"at most as many devices as the {examples:,} examples", devices,
                "use fewer devices",
            )  # fmt: skip
        if not batches.full and size % devices:
            near = min(-(-size // devices) * devices, examples // devices * devices)
            raise InputError(
                "batch_size", f"a multiple of the {devices} devices", size,
                f"pass {near:,}, or 'full', or train on one device" if near else
                "pass 'full', or train on one device",
            )  # fmt: skip
        count = devices if shared % devices else shared
        return cls(examples, size, batches.shuffle, batches.seed, Shards(examples, count))

    @property
    def order(self) -> str:
        """In words, as a checkpoint is known by."""
        return super().order + ("" if self.full else f" in {self.shards.count} shards")

    def shard_indices(self, shard: int, first: int, count: int) -> np.ndarray:
        """The places in a shard that it gives to steps first, first+1, …: (count, B/S) int32."""
        own = self._own[shard]
        if own.full and not self.full:
            return np.tile(np.arange(own.size, dtype=np.int32), (count, 1))
        return own.indices(first, count)

    def device_indices(self, device: int, devices: int, first: int, count: int) -> np.ndarray:
        """The same of all shards of a device, as places among its rows: (count, B/devices)."""
        each = self.shards.count // devices
        parts = [
            self.shard_indices(device * each + own, first, count) + np.int32(own * self.shards.rows)
            for own in range(each)
        ]
        return np.concatenate(parts, axis=1)

    @cached_property
    def _own(self) -> tuple[Batches, ...]:
        """The batches of each shard."""

        def of(shard: int) -> Batches:
            held = self.shards.held(shard)
            size = held if self.full else self.size // self.shards.count
            return Batches(held, size, self.shuffle, (*self.seed, shard))

        return tuple(map(of, range(self.shards.count)))


def check_mesh_fits(mesh: Any, size: int, examples: int) -> None:
    """Raise InputError unless batches of `size` can be spread over such a mesh; None is none."""
    if mesh is not None:
        ShardedBatches.over(Batches(examples, size, True, ()), as_mesh(mesh).size)
