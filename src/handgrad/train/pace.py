"""How long the chunks of a run are, and how often it looks at all the data.

Both cost time that trains nothing: starting a chunk from Python takes about 0.1 ms, in which a CPU
takes a thousand steps on single examples; a look reads all the data. So chunks are as many as make
progress visible, but not so short that their start shows, and looks are kept to about a tenth of
the time of the steps between them.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from handgrad.train.batches import Batches

MOST_CHUNKS = 50
FEWEST_CHUNKS = 5
"""Into how many chunks a run is divided: the fewer the less there is to read in a chunk."""
NUMBERS_IN_A_CHUNK = 2**21
"""A chunk that reads less than this of x is made longer, up to FEWEST_CHUNKS in all."""
MOST_INDICES = 2**22
"""What a chunk may have in indices, however few the chunks: they are drawn at once."""
EPOCHS_BETWEEN_LOOKS = 3
"""A look costs up to 0.3 of an epoch in batches (5,000 x 784, 10 classes, batches of 32), and less
where the batches are smaller or the examples shorter; the whole data once are a full batch."""
FULL_BATCHES_BETWEEN_LOOKS = 10


def chunk_length(steps: int, size: int, features: int, fine: bool = False) -> int:
    """How many steps a chunk has room for, in a run of `steps` with batches of `size`.

    `fine`: as short as MOST_CHUNKS allows, for a run that may have to stop at the end of one.

    >>> chunk_length(10_000, 32, 30), chunk_length(10_000, 1, 30), chunk_length(10_000, 1, 30, True)
    (2000, 2000, 200)
    """
    length = math.ceil(steps / MOST_CHUNKS)
    if not fine:
        worth_a_start = math.ceil(NUMBERS_IN_A_CHUNK / (size * features))
        length = max(length, min(worth_a_start, math.ceil(steps / FEWEST_CHUNKS)))
    return max(1, min(length, MOST_INDICES // size))


def steps_between_looks(batches: Batches) -> int:
    """How many steps it takes at least until all the data may be looked at again.

    >>> steps_between_looks(Batches(320, 32, True, (0,)))
    30
    """
    return FULL_BATCHES_BETWEEN_LOOKS if batches.full else batches.steps(EPOCHS_BETWEEN_LOOKS)


class Pace:
    """How many steps fit into so many seconds, by the chunk before; without seconds, any number."""

    def __init__(self, seconds: float | None):
        self.seconds = seconds
        self.steps: float = math.inf if seconds is None else 1
        """The most that the next chunk may have."""
        self.steps_per_second = 0.0

    @contextmanager
    def timed(self, count: int) -> Iterator[None]:
        """Around a chunk of `count` steps."""
        began = time.perf_counter()
        yield
        self.steps_per_second = count / max(time.perf_counter() - began, 1e-9)
        if self.seconds is not None:
            self.steps = max(1.0, self.steps_per_second * self.seconds)
