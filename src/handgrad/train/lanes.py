"""Which rows lie together, and which of them a step sees, when the examples are spread out.

A step may not fetch rows from another device: that would be a message as long as the batch. So the
N examples are parted into L lanes of consecutive rows, once; a device holds whole lanes, and every
lane gives its B/L rows to each batch of B, from an endless stream of epochs of its own. L does not
depend on the number of devices (8 where it can be), so neither do the batches: one device and eight
take the same steps, up to the rounding of a sum that is taken in another order.

Lane l holds rows l q … l q + q − 1, with q = ⌊N/L⌋, and the first N − L q lanes one more row each.
A full batch has a lane for each device.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from handgrad.errors import InputError
from handgrad.train.batches import Batches

MOST = 8
"""Lanes of a batch: so many devices, or fewer, get the same batches."""


@dataclass(frozen=True)
class Lanes:
    """How the batches of a run fall into `count` lanes."""

    batches: Batches
    count: int

    @property
    def rows(self) -> int:
        """Places in a lane: ⌈N/L⌉. A lane that is a row short has its first row there again."""
        return math.ceil(self.batches.examples / self.count)

    @property
    def short(self) -> int:
        """How many lanes are a row short: the last ones."""
        return self.rows * self.count - self.batches.examples

    @property
    def batch_rows(self) -> int:
        """The rows that a lane gives to a batch."""
        return self.batches.size // self.count

    def places(self, lane: int) -> np.ndarray:
        """The row of each place of a lane, (rows,)."""
        whole = self.batches.examples // self.count
        own = np.arange(lane * whole, (lane + 1) * whole)
        if not self.short:
            return own
        more = self.count - self.short
        return np.append(own, whole * self.count + lane if lane < more else own[0])

    def indices(self, lane: int, first: int, count: int) -> np.ndarray:
        """The places that a lane gives to steps first, first+1, …: (count, batch_rows) int32."""
        own = self._own[lane]
        if own.full and not self.batches.full:
            return np.tile(np.arange(own.size, dtype=np.int32), (count, 1))
        return own.indices(first, count)

    @cached_property
    def _own(self) -> tuple[Batches, ...]:
        """The batches of each lane."""
        run = self.batches

        def of(lane: int) -> Batches:
            held = self.rows - (lane >= self.count - self.short)
            size = held if run.full else self.batch_rows
            return Batches(held, size, run.shuffle, (*run.seed, lane))

        return tuple(map(of, range(self.count)))


def lanes_for(batches: Batches, devices: int) -> Lanes:
    """The lanes of a run on so many devices.

    As many as the devices for a full batch. Else gcd(B, 8) if the devices divide that; else as many
    as the devices. Raises InputError where a device would be without an example, or a batch cannot
    be parted evenly: batches of one are never parallel.

    >>> lanes_for(Batches(100, 32, True, (0,)), 4).count
    8
    >>> lanes_for(Batches(100, 30, True, (0,)), 3).count
    3
    >>> lanes_for(Batches(100, 1, True, (0,)), 2)
    Traceback (most recent call last):
        ...
    handgrad.errors.InputError: batch_size: expected a multiple of the 2 devices, got 1; pass 2,
    say, or 'full', or train on one device
    """
    if batches.full:
        if devices > batches.examples:
            raise InputError(
                "mesh", f"at most as many devices as the {batches.examples:,} examples", devices,
                "use fewer devices",
            )  # fmt: skip
        return Lanes(batches, devices)
    if batches.size % devices:
        near = min(-(-batches.size // devices) * devices, batches.examples // devices * devices)
        raise InputError(
            "batch_size", f"a multiple of the {devices} devices", batches.size,
            f"pass {near:,}, say, or 'full', or train on one device" if near else
            "pass 'full', or train on one device",
        )  # fmt: skip
    shared = math.gcd(batches.size, MOST)
    return Lanes(batches, devices if shared % devices else shared)
