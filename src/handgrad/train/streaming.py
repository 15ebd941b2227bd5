"""Training on a stream: what `fit` does, with examples that stay on the disk.

    E = Σ_b (n_b/N) E_b,   ∂E/∂w = Σ_b (n_b/N) ∂E_b/∂w          E_b of the n_b examples of block b

holds with the penalty too, which is the same in every E_b: so every model can be trained on full
batches by reading the stream once a step. Smaller batches are cut from windows of rows, and the
program that takes the steps of a window is the one that `fit` runs on all the data.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._precision import x64
from handgrad._types import Array, Key, Model
from handgrad.errors import InputError
from handgrad.fast import newton
from handgrad.scale.checkpoints import Checkpoints
from handgrad.scale.streams import ReadAhead, Stream, ring
from handgrad.train.api import (
    BatchSize,
    FitResult,
    Optimizer,
    Params,
    check_run,
    fingerprint,
    is_right,
    split_key,
    starting_params,
)
from handgrad.train.batches import Windows
from handgrad.train.log import Progress, RunLog
from handgrad.train.loop import (
    Engine,
    Metrics,
    Schedule,
    Solver,
    TrainState,
    chunk_length,
    differentiable,
    run,
    steps_between_evals,
)
from handgrad.train.optimizers import resolve

NEWTON_SAMPLE = 65_536
"""Examples in memory, from all over the stream: what Newton starts on and scales by."""
SAMPLE_PER_FEATURE, SAMPLE_BYTES = 100, 2**26
"""More of them where the features are many and rows are short, as they are with codes: the steps
for a category are as good as the examples of it."""


def fit_stream(
    model: Model[Params],
    stream: Stream,
    *,
    optimizer: Optimizer = "sgd",
    learning_rate: float | None = None,
    batch_size: BatchSize = None,
    epochs: int = 200,
    tol: float | None = None,
    key: Key | None = None,
    params: Params | None = None,
    shuffle: bool = True,
    progress: Callable[[Progress], None] | None = None,
    update_seconds: float | None = None,
    checkpoint: Checkpoints | Path | str | None = None,
    resume: bool = False,
    log: RunLog | Path | str | None = None,
) -> FitResult[Params]:
    """Train `model` on the rows of `stream`, in its dtype, in memory that does not grow with it.

    The arguments are those of `fit`. A full batch reads the stream once a step. Smaller batches are
    drawn from windows of rows, in another order than that of `fit`; with `shuffle=False` they are
    the very batches of `fit`.

    Raises InputError as `fit` does, and for batches that are too large to be kept in memory;
    DivergedError, which names the step, at the first loss that is not finite.
    """
    check_run(epochs, tol, progress)
    check_stream(stream)
    init_key, order_key = split_key(key)
    labels = np.array([0, stream.classes - 1], stream.label_dtype)  # up to the largest
    two_rows = stream.wrap(jnp.zeros((2, stream.width), stream.dtype)), jnp.asarray(labels)
    params = starting_params(model, params, init_key, *two_rows)
    row = stream.width * np.dtype(stream.dtype).itemsize
    windows = Windows.of_stream(stream.examples, row, batch_size, shuffle, order_key)
    solver = Solver(model.value_and_gradient, resolve(optimizer, learning_rate))
    state = solver.init(params)

    def engine(at: TrainState) -> Engine:
        if windows.full:
            return FullPasses(solver, windows, epochs, at, stream)
        return WindowedBatches(solver, windows, epochs, at, stream, can_stop=tol is not None)

    def facts() -> dict[str, Any]:
        some = shapes(stream, windows.rows)
        return fingerprint(solver, windows, state, some, stream.copy.digest)

    state, history = run(
        engine, state, facts, tol=tol, progress=progress, update_seconds=update_seconds,
        checkpoint=checkpoint, resume=resume, log=log,
    )  # fmt: skip
    return FitResult(state.params, history)


def newton_stream(
    stream: Stream, l2: float = 0.0, *, tol: float = 1e-9, max_passes: int = 200, seed: int = 0
) -> newton.Optimum:
    """The optimum of logistic or softmax regression over the rows of `stream`, as `newton.fit`.

    Each pass reads the file once; the memory it takes does not grow with the stream. The rows are
    those of the stream, so features are standardised, and in its dtype; sums are in float64. Raises
    InputError for what is not a stream, and for options that cannot be used.
    """
    with x64():  # as Newton has it
        check_stream(stream)
    classes = None if stream.soft or stream.classes == 2 else stream.classes
    blocks = newton.Blocks(stream.examples, stream.blocks)
    short = SAMPLE_BYTES // (stream.width * np.dtype(stream.dtype).itemsize)
    some = max(NEWTON_SAMPLE, min(short, SAMPLE_PER_FEATURE * stream.features))
    sample = stream.sample(some)
    return newton.fit_blocks(blocks, sample, classes, l2, tol=tol, max_passes=max_passes, seed=seed)


def stream_accuracy(model: Model[Params], params: Params, stream: Stream) -> float:
    """`accuracy` on the examples of a stream, by one pass."""
    predict = jax.jit(model.predict)
    hits = sum(int(np.sum(is_right(predict(params, x), y))) for x, y in stream.blocks())
    return hits / stream.examples


def check_stream(stream: Any) -> None:
    """Raise InputError unless `stream` is a Stream in a dtype that JAX has enabled."""
    if not isinstance(stream, Stream):
        raise InputError(
            "stream", "a Stream", type(stream).__name__,
            "pass open_stream(file, target), or arrays to fit",
        )  # fmt: skip
    if jax.dtypes.canonicalize_dtype(stream.dtype) != stream.dtype:
        raise InputError(
            "stream", "float32, for float64 is not enabled in JAX", stream.dtype,
            "open it with dtype='float32', or enable float64",
        )  # fmt: skip


def shapes(stream: Stream, rows: int) -> tuple[Any, jax.ShapeDtypeStruct]:
    """Shape and dtype of x and y of this number of rows."""
    return (
        stream.wrap(jax.ShapeDtypeStruct((rows, stream.width), stream.dtype)),
        jax.ShapeDtypeStruct((rows,), stream.label_dtype),
    )


# --- engines ----------------------------------------------------------------------------------


class StreamEngine:
    """E and ∂E/∂w over all of a stream, by reading it once: what every engine evaluates with."""

    def __init__(self, solver: Solver, params: Any, stream: Stream):
        self._examples, self._rows = stream.examples, stream.block_rows
        self._blocks = -(-self._examples // self._rows)
        self._ahead = ReadAhead(stream.copy, ring(self._examples, self._rows), self._rows)
        self._done = 0
        self._dtype, self._wrap = np.dtype(stream.dtype), stream.wrap
        self._zero = jnp.zeros((), self._dtype), jax.tree.map(jnp.zeros_like, params)

        def add(sums: Any, params: Any, x: Array, y: Array, share: Array) -> Any:
            found = solver.value_and_gradient(params, x, y)
            return jax.tree.map(lambda total, value: total + share * value, sums, found)

        self._add = {}
        for rows in {self._rows, self._examples - (self._blocks - 1) * self._rows}:
            x, y = shapes(stream, rows)
            program = jax.jit(add).lower(self._zero, params, x, y, self._share(rows))
            self._add[rows] = program.compile()

    def value_and_gradient(self, params: Any) -> tuple[Array, Any]:
        """E and ∂E/∂w at `params`; waited for."""
        sums, first = self._zero, self._done * self._blocks
        in_flight = InFlight()
        for number in range(first, first + self._blocks):
            in_flight.make_room()
            x, y = self._ahead.get(number)
            some = in_place(self._wrap(x), y)
            sums = self._add[len(y)](sums, params, *some, self._share(len(y)))
            in_flight.append(sums)
        self._done += 1
        return jax.block_until_ready(sums)

    def evaluate(self, state: TrainState) -> Metrics:
        """See `Engine`."""
        loss, gradient = self.value_and_gradient(state.params)
        leaves = [np.max(np.abs(leaf)) for leaf in jax.tree.leaves(jax.device_get(gradient))]
        return Metrics(loss, jnp.asarray(np.max(leaves)))

    def close(self) -> None:
        """Stop reading."""
        self._ahead.close()

    def _share(self, rows: int) -> np.ndarray:
        return np.asarray(rows / self._examples, self._dtype)


class FullPasses(StreamEngine):
    """The engine of full batches: a step reads the stream once."""

    def __init__(
        self, solver: Solver, windows: Windows, epochs: int, state: TrainState, stream: Stream
    ):
        self.schedule = Schedule(windows.steps(epochs), 1, steps_between_evals(windows, 1))
        began = time.perf_counter()
        super().__init__(solver, state.params, stream)
        self._update = self._compiled_update(solver, state)
        self.compile_seconds = time.perf_counter() - began

    def run_steps(self, state: TrainState, first: int, count: int) -> tuple[TrainState, Array]:
        """See `Engine`."""
        losses = []
        for _ in range(count):
            loss, gradient = self.value_and_gradient(state.params)
            state = self._update(state, loss, gradient)
            losses.append(np.asarray(loss))
        return state, jnp.asarray(np.array(losses))

    def _compiled_update(self, solver: Solver, state: TrainState) -> Callable[..., TrainState]:
        """The update as a program; but that of a rule with a line search is run by Python.

        Such a rule wants the loss at other parameters, and a program cannot read the stream.
        """

        def refuse(params: Any) -> Array:
            raise LineSearchError

        def elsewhere(params: Any) -> tuple[Array, Any]:
            with jax.disable_jit(False):  # the pass itself is compiled
                return self.value_and_gradient(params)

        def search(state: TrainState, loss: Array, gradient: Any) -> TrainState:
            with jax.disable_jit():
                return solver.update(state, loss, gradient, differentiable(elsewhere))

        try:
            update = jax.jit(partial(solver.update, value_fn=refuse))
            return update.lower(state, *self._zero).compile()
        except LineSearchError:
            return search


class LineSearchError(Exception):
    """An update asks for the loss at other parameters than those of the step."""


class WindowedBatches(StreamEngine):
    """The engine of mini-batches, and of single examples: a chunk is some windows of the stream."""

    def __init__(
        self,
        solver: Solver,
        windows: Windows,
        epochs: int,
        state: TrainState,
        stream: Stream,
        can_stop: bool = False,
    ):
        self._windows = windows
        steps = windows.steps(epochs)
        wanted = chunk_length(steps, windows.size, stream.width, can_stop)
        length = windows.batches * max(1, wanted // windows.batches)
        self.schedule = Schedule(steps, length, steps_between_evals(windows, length))
        began = time.perf_counter()
        super().__init__(solver, state.params, stream)
        self._read = ReadAhead(stream.copy, windows.window_ranges, windows.rows)
        self._drawn = 0, windows.window_indices(0)
        first = state, *shapes(stream, windows.rows), self._drawn[1], np.int32(0)
        self._chunk = jax.jit(solver.chunk(full=False)).lower(*first).compile()
        self.compile_seconds = time.perf_counter() - began

    def run_steps(self, state: TrainState, first: int, count: int) -> tuple[TrainState, Array]:
        """See `Engine`. The windows that these steps begin and end in may be entered midway."""
        in_flight, losses = InFlight(), []
        for window, skipped, number in self._windows.cuts(first, count):
            if self._drawn[0] != window:
                self._drawn = window, self._windows.window_indices(window)
            indices = np.roll(self._drawn[1], -skipped, axis=0) if skipped else self._drawn[1]
            in_flight.make_room()
            x, y = self._read.get(window)
            some = in_place(self._wrap(x), y)
            state, new = self._chunk(state, *some, indices, np.int32(number))
            in_flight.append(new)
            losses.append((new, number))
        return state, jnp.asarray(np.concatenate([np.asarray(new)[:n] for new, n in losses]))

    def close(self) -> None:
        """Stop reading, windows and blocks."""
        self._read.close()
        super().close()


class InFlight(deque):
    """What the device was asked for last: what two of these read must not change yet."""

    def make_room(self) -> None:
        """Wait for the last but one."""
        while len(self) > 1:
            jax.block_until_ready(self.popleft())


def in_place(x: Any, y: np.ndarray) -> tuple[Any, Array]:
    """Both as JAX arrays; on a CPU where they are, which their alignment allows."""
    return jax.device_put(x, may_alias=True), jax.device_put(y, may_alias=True)
