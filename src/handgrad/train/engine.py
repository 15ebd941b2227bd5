"""What takes the steps: the data, where they lie, and the programs compiled for them.

The loop in `running` knows neither. It asks for some steps, and now and then for a look at all the
data; an engine answers, from arrays in memory (`InMemory`) or from wherever else the examples are.
"""

import time
from collections.abc import Callable
from typing import Protocol

import jax
import numpy as np
import optax

from handgrad._types import Array
from handgrad.train.batches import Batches
from handgrad.train.loop import Look, State, make_chunk, make_look
from handgrad.train.pace import NUMBERS_IN_A_CHUNK, chunk_length, steps_between_looks


class Engine(Protocol):
    """Takes steps and looks. What a step does depends on the state and on its number alone."""

    steps: int
    """Of the whole run."""
    length: int
    """The most steps that may be asked for at once."""
    apart: int
    """The fewest steps from one look to the next, but for the last."""
    compile_seconds: float

    def take(self, state: State, first: int, count: int) -> tuple[State, Array]:
        """The state after steps first+1 … first+count, and the loss of each before its update.

        Neither is waited for; the losses may be followed by zeros.
        """
        ...

    def look(self, state: State) -> Look:
        """What all the data say."""
        ...

    def close(self) -> None:
        """Let go of what the engine reads from."""
        ...


class InMemory:
    """An engine over x (N, D) and y on one device."""

    def __init__(
        self,
        value_and_gradient: Callable,
        rule: optax.GradientTransformation,
        batches: Batches,
        epochs: int,
        state: State,
        x: Array,
        y: Array,
        fine: bool = False,
    ):
        """`fine`: chunks as short as a run needs that may stop at the end of one."""
        self._x, self._y, self._batches = x, y, batches
        self.steps = batches.steps(epochs)
        self.length = chunk_length(self.steps, batches.size, x.shape[1], fine)
        self.apart = steps_between_looks(batches)
        began = time.perf_counter()
        self._drawn = 0, batches.indices(0, self.length)
        chunk = jax.jit(make_chunk(value_and_gradient, rule, batches.full))
        self._chunk = chunk.lower(state, x, y, self._drawn[1], np.int32(0)).compile()
        look = jax.jit(make_look(value_and_gradient))
        self._look = look.lower(state.params, x, y).compile()
        # a program's first call takes longer by as much as thousands of small steps
        jax.block_until_ready(self._chunk(state, x, y, self._drawn[1], np.int32(0)))
        if x.size < NUMBERS_IN_A_CHUNK:
            jax.block_until_ready(self.look(state))
        self.compile_seconds = time.perf_counter() - began

    def take(self, state: State, first: int, count: int) -> tuple[State, Array]:
        """See `Engine`. While the device works, the next indices are drawn."""
        drawn_for, indices = self._drawn
        if drawn_for != first:
            indices = self._batches.indices(first, self.length)
        taken = self._chunk(state, self._x, self._y, indices, np.int32(count))
        if first + count < self.steps:
            self._drawn = first + count, self._batches.indices(first + count, self.length)
        return taken

    def look(self, state: State) -> Look:
        """See `Engine`."""
        return self._look(state.params, self._x, self._y)

    def close(self) -> None:
        """See `Engine`: there is nothing."""
