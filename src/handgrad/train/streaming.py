"""Engines whose examples are read from a stream, block by block, while the device works.

    E = Σ_b (n_b/N) E_b,   ∂E/∂w = Σ_b (n_b/N) ∂E_b/∂w          E_b of the n_b examples of block b

holds with the penalty too, which is the same in every E_b: so every model can be trained. Batches
are cut from windows of rows, see `windows`; the program that takes the steps of a window is the one
that `InMemory` runs on all the data.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from handgrad._types import Array
from handgrad.scale.streams import Stream
from handgrad.scale.streams.working_copy import ReadAhead, ring
from handgrad.train.loop import Look, State, make_chunk
from handgrad.train.pace import (
    EPOCHS_BETWEEN_LOOKS,
    FULL_BATCHES_BETWEEN_LOOKS,
    chunk_length,
)
from handgrad.train.windows import Windows


class Passes:
    """E and ∂E/∂w over all of a stream, by reading it once."""

    def __init__(self, value_and_gradient: Callable, params: Any, stream: Stream):
        self._examples, self._rows = stream.examples, stream.block_rows
        self._blocks = -(-self._examples // self._rows)
        self._ahead = ReadAhead(stream.copy, ring(self._examples, self._rows), self._rows)
        self._done = 0
        self._dtype = np.dtype(stream.dtype)
        self._nothing = jnp.zeros((), self._dtype), jax.tree.map(jnp.zeros_like, params)

        def add(sums: Any, params: Any, x: Array, y: Array, share: Array) -> Any:
            found = value_and_gradient(params, x, y)
            return jax.tree.map(lambda total, value: total + share * value, sums, found)

        self._add = {}
        for rows in {self._rows, self._examples - (self._blocks - 1) * self._rows}:
            x, y = shapes(stream, rows)
            program = jax.jit(add).lower(self._nothing, params, x, y, self._share(rows))
            self._add[rows] = program.compile()

    def run(self, params: Any) -> tuple[Array, Any]:
        """E and ∂E/∂w at `params`; waited for."""
        sums, first = self._nothing, self._done * self._blocks
        busy = Busy()
        for number in range(first, first + self._blocks):
            busy.make_room()
            x, y = self._ahead.get(number)
            sums = self._add[len(y)](sums, params, *placed(x, y), self._share(len(y)))
            busy.add(sums)
        self._done += 1
        return jax.block_until_ready(sums)

    def look(self, params: Any) -> Look:
        """What all the data say."""
        loss, gradient = self.run(params)
        leaves = [np.max(np.abs(leaf)) for leaf in jax.tree.leaves(jax.device_get(gradient))]
        return Look(loss, jnp.asarray(np.max(leaves)))

    def close(self) -> None:
        """Stop reading."""
        self._ahead.close()

    def _share(self, rows: int) -> np.ndarray:
        return np.asarray(rows / self._examples, self._dtype)


class StreamedPasses:
    """The engine of full batches: a step reads the stream once."""

    length = 1
    apart = FULL_BATCHES_BETWEEN_LOOKS

    def __init__(
        self,
        value_and_gradient: Callable,
        rule: optax.GradientTransformation,
        epochs: int,
        state: State,
        stream: Stream,
    ):
        self.steps = epochs
        began = time.perf_counter()
        self._passes = Passes(value_and_gradient, state.params, stream)

        def move(state: State, gradient: Any) -> State:
            updates, memory = rule.update(gradient, state.optimizer, state.params)
            return State(optax.apply_updates(state.params, updates), memory)

        self._move = jax.jit(move).lower(state, state.params).compile()
        self.compile_seconds = time.perf_counter() - began

    def take(self, state: State, first: int, count: int) -> tuple[State, Array]:
        """See `Engine`."""
        losses = []
        for _ in range(count):
            loss, gradient = self._passes.run(state.params)
            state = self._move(state, gradient)
            losses.append(np.asarray(loss))
        return state, jnp.asarray(np.array(losses))

    def look(self, state: State) -> Look:
        """See `Engine`."""
        return self._passes.look(state.params)

    def close(self) -> None:
        """Stop reading."""
        self._passes.close()


class StreamedBatches:
    """The engine of mini-batches, and of single examples: a chunk is a window of the stream."""

    def __init__(
        self,
        value_and_gradient: Callable,
        rule: optax.GradientTransformation,
        windows: Windows,
        epochs: int,
        state: State,
        stream: Stream,
        fine: bool = False,
    ):
        self._windows = windows
        self.steps = windows.steps(epochs)
        wanted = chunk_length(self.steps, windows.size, stream.features, fine)
        self.length = windows.batches * max(1, wanted // windows.batches)
        self.apart = windows.steps(EPOCHS_BETWEEN_LOOKS)
        began = time.perf_counter()
        self._ahead = ReadAhead(stream.copy, windows.ranges, windows.rows)
        self._passes = Passes(value_and_gradient, state.params, stream)
        self._drawn = 0, windows.indices(0)
        chunk = jax.jit(make_chunk(value_and_gradient, rule, full_batch=False))
        self._chunk = chunk.lower(
            state, *shapes(stream, windows.rows), self._drawn[1], np.int32(0)
        ).compile()
        self.compile_seconds = time.perf_counter() - began

    def take(self, state: State, first: int, count: int) -> tuple[State, Array]:
        """See `Engine`. The windows that these steps begin and end in may be entered midway."""
        busy, losses = Busy(), []
        for window, skipped, number in self._cuts(first, count):
            if self._drawn[0] != window:
                self._drawn = window, self._windows.indices(window)
            indices = np.roll(self._drawn[1], -skipped, axis=0) if skipped else self._drawn[1]
            busy.make_room()
            x, y = self._ahead.get(window)
            state, seen = self._chunk(state, *placed(x, y), indices, np.int32(number))
            busy.add(seen)
            losses.append((seen, number))
        return state, jnp.asarray(np.concatenate([np.asarray(seen)[:n] for seen, n in losses]))

    def look(self, state: State) -> Look:
        """See `Engine`."""
        return self._passes.look(state.params)

    def close(self) -> None:
        """Stop reading."""
        self._ahead.close()
        self._passes.close()

    def _cuts(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """(window, steps of it to skip, steps of it to take) for steps first+1 … first+count."""
        end = first + count
        while first < end:
            window, skipped = divmod(first, self._windows.batches)
            number = min(end - first, self._windows.batches - skipped)
            yield window, skipped, number
            first += number


class Busy:
    """The last two things that the device was asked for: what they read must not change yet."""

    def __init__(self) -> None:
        self._asked: list[Any] = []

    def make_room(self) -> None:
        """Wait for the last but one."""
        while len(self._asked) > 1:
            jax.block_until_ready(self._asked.pop(0))

    def add(self, result: Any) -> None:
        """What the device is asked for now."""
        self._asked.append(result)


def placed(x: np.ndarray, y: np.ndarray) -> tuple[Array, Array]:
    """Both as JAX arrays; on a CPU where they are, which their alignment allows."""
    return jax.device_put(x, may_alias=True), jax.device_put(y, may_alias=True)


def shapes(stream: Stream, rows: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """What so many rows of x and y look like."""
    return (
        jax.ShapeDtypeStruct((rows, stream.features), stream.dtype),
        jax.ShapeDtypeStruct((rows,), stream.label_dtype),
    )
