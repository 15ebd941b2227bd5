"""Training: a Python loop over compiled chunks of steps.

    state = solver.init(params)              before the first step
    state, loss = solver.step(state, batch)  a chunk takes many of them
    after each chunk                         is a loss not finite? are all the data evaluated?
                                             progress, log and checkpoint; the tolerance, a signal
                                             or an interrupt ends the run
    History                                  what happened

A chunk has room for a fixed number of steps and is told how many of them to take, so one program
serves the last chunk too: a `fori_loop` to that number, as a scan would take the steps past it and
throw them away. Whatever is not a step happens between two chunks, in Python.

Nothing in a step is conditional. The operands of a `lax.cond` are copied on a CPU, and the data
among them cost more than the step; a loss that is not finite is found in the losses of the chunk
instead, and its state thrown away.
"""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh

from handgrad._placement import everywhere
from handgrad._types import Array, Inputs
from handgrad.errors import DivergedError
from handgrad.scale import sharding
from handgrad.scale.checkpoints import Checkpoints, Saver
from handgrad.scale.processes import DeferredSignals, check_same_start, defer_signals
from handgrad.scale.sharding import COLUMNS, ROWS, WHOLE, ValueAndGradient
from handgrad.train.batches import Batches, ShardedBatches
from handgrad.train.log import History, Progress, RunLog

Params = Any
Batch = tuple[Inputs, Array]

# --- a step, a chunk of steps, and an evaluation on all the data ------------------------------


class TrainState(NamedTuple):
    """What a step changes: all that is needed to go on, beside the number of the step."""

    params: Params
    optimizer: Any


class Metrics(NamedTuple):
    """Of all the data: the loss, and the largest |∂E/∂w|."""

    loss: Array
    gradient_max: Array


class Solver(NamedTuple):
    """What a step computes with: a loss and its gradient, and an update rule."""

    value_and_gradient: ValueAndGradient
    optimizer: optax.GradientTransformation

    def init(self, params: Params) -> TrainState:
        """The state before the first step."""
        return TrainState(params, self.optimizer.init(params))

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Array]:
        """(state, loss of the batch (x, y) before the update)."""

        def evaluate(params: Params) -> tuple[Array, Params]:
            return self.value_and_gradient(params, *batch)

        loss, gradient = evaluate(state.params)
        return self.update(state, loss, gradient, differentiable(evaluate)), loss

    def update(
        self, state: TrainState, loss: Array, gradient: Params, value_fn: Callable
    ) -> TrainState:
        """The state after one update.

        The rule is also told the loss, its gradient and how to find them elsewhere: some, such as
        `optax.lbfgs` and `optax.polyak_sgd`, want to know.
        """
        rule = optax.with_extra_args_support(self.optimizer)
        updates, memory = rule.update(
            gradient, state.optimizer, state.params, value=loss, grad=gradient, value_fn=value_fn
        )
        return TrainState(optax.apply_updates(state.params, updates), memory)

    def chunk(self, full: bool) -> Callable[..., tuple[TrainState, Array]]:
        """chunk(state, x, y, indices (L, B), count ≤ L) -> (state, losses (L,)), 0 past `count`."""

        def chunk(
            state: TrainState, x: Array, y: Array, indices: Array, count: Array
        ) -> tuple[TrainState, Array]:
            def next_step(number: Array, carry: tuple[TrainState, Array]) -> Any:
                state, losses = carry
                state, loss = self.step(state, (x, y) if full else pick(x, y, indices, number))
                return state, lax.dynamic_update_index_in_dim(
                    losses, loss, number, 0, allow_negative_indices=False
                )

            none = jnp.zeros(indices.shape[0], x.dtype)
            return lax.fori_loop(0, count, next_step, (state, none))

        return chunk

    def evaluate(self, params: Params, x: Array, y: Array) -> Metrics:
        """On all the data."""
        loss, gradient = self.value_and_gradient(params, x, y)
        largest = jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)])
        return Metrics(loss, jnp.max(largest))


def differentiable(evaluate: Callable[[Params], tuple[Array, Params]]) -> Callable[[Params], Array]:
    """The loss that `evaluate` gives beside its gradient; `jax.grad` of it is that gradient.

    A line search asks for both at other parameters, and differentiates for itself.
    """

    @jax.custom_jvp
    def loss(params: Params) -> Array:
        return evaluate(params)[0]

    @loss.defjvp
    def _(point: tuple[Params], direction: tuple[Params]) -> tuple[Array, Array]:
        value, gradient = evaluate(*point)
        along = jax.tree.map(jnp.vdot, gradient, *direction)
        return value, sum(jax.tree.leaves(along), jnp.zeros_like(value))

    return loss


def pick(x: Inputs, y: Array, indices: Array, number: Array) -> Batch:
    """The batch of step `number`: rows of x and y. The indices are in range, none is negative."""
    rows = lax.dynamic_index_in_dim(indices, number, 0, False, allow_negative_indices=False)

    def rows_of(leaf: Array) -> Array:
        return leaf.at[rows].get(mode="promise_in_bounds")

    return jax.tree.map(rows_of, (x, y))


# --- when: how long a chunk is, and after how many steps all the data are evaluated -----------
# Both cost time that trains nothing: starting a chunk from Python takes about 0.1 ms, in which a
# CPU takes a thousand steps on single examples; an evaluation reads all the data. So chunks are as
# many as make progress visible, but not so short that their start shows, and evaluations are kept
# to about a tenth of the time of the steps between them.

MOST_CHUNKS = 50
FEWEST_CHUNKS = 5
"""Into how many chunks a run is divided: the fewer the less there is to read in a chunk."""
NUMBERS_IN_A_CHUNK = 2**21
"""A chunk that reads less than this of x is made longer, up to FEWEST_CHUNKS in all."""
MOST_INDICES = 2**22
"""What a chunk may have in indices, however few the chunks: they are drawn at once."""
EPOCHS_BETWEEN_EVALS = 3
"""An evaluation costs up to 0.3 of an epoch in batches (5,000 x 784, 10 classes, batches of 32),
and less where the batches are smaller or the examples shorter; on full batches it costs a step."""
FULL_BATCHES_BETWEEN_EVALS = 10


class Schedule(NamedTuple):
    """How many steps a run has, how many a chunk takes at most, and when all data are evaluated."""

    steps: int
    chunk: int
    eval_every: int
    """A multiple of `chunk`."""

    @classmethod
    def of(cls, batches: Batches, epochs: int, features: int, can_stop: bool) -> "Schedule":
        """Of a run on data in memory; `can_stop` as in `chunk_length`."""
        steps = batches.steps(epochs)
        chunk = chunk_length(steps, batches.size, features, can_stop)
        return cls(steps, chunk, steps_between_evals(batches, chunk))

    def is_evaluated(self, step: int) -> bool:
        """Whether all data are evaluated after a step: this does not depend on how a run is cut.

        >>> [step for step in range(26) if Schedule(25, 5, 10).is_evaluated(step) if step]
        [10, 20, 25]
        """
        return step % self.eval_every == 0 or step == self.steps


def chunk_length(steps: int, size: int, features: int, can_stop: bool = False) -> int:
    """How many steps a chunk has room for, in a run of `steps` with batches of `size`.

    `can_stop`: as short as MOST_CHUNKS allows, for a run that may have to stop at the end of one.

    >>> chunk_length(10_000, 32, 30), chunk_length(10_000, 1, 30), chunk_length(10_000, 1, 30, True)
    (2000, 2000, 200)
    """
    length = math.ceil(steps / MOST_CHUNKS)
    if not can_stop:
        worth_a_start = math.ceil(NUMBERS_IN_A_CHUNK / (size * features))
        length = max(length, min(worth_a_start, math.ceil(steps / FEWEST_CHUNKS)))
    return max(1, min(length, MOST_INDICES // size))


def steps_between_evals(batches: Batches, chunk: int) -> int:
    """Whole chunks: ten full batches, or three epochs of smaller ones, and up to a chunk more."""
    epochs = math.ceil(EPOCHS_BETWEEN_EVALS * batches.examples / batches.size)
    least = FULL_BATCHES_BETWEEN_EVALS if batches.full else epochs
    return math.ceil(least / chunk) * chunk


# --- engines: the data, where they lie, and the programs compiled for them --------------------


class Engine(Protocol):
    """Takes steps and evaluates. A step depends on the state and on its number alone."""

    schedule: Schedule
    compile_seconds: float

    def run_steps(self, state: TrainState, first: int, count: int) -> tuple[TrainState, Array]:
        """The state after steps first+1 … first+count, and the loss of each before its update.

        At most a chunk. Neither is waited for; the losses may be followed by zeros.
        """
        ...

    def evaluate(self, state: TrainState) -> Metrics:
        """On all the data."""
        ...

    def close(self) -> None:
        """Let go of what the engine reads from."""
        ...


class ArrayEngine:
    """An engine over x (N, D) and y in memory: on one device, or spread over a mesh."""

    def __init__(
        self,
        solver: Solver,
        batches: Batches,
        schedule: Schedule,
        state: TrainState,
        data: tuple[Any, Any],
        mesh: Mesh | None = None,
    ):
        """With a mesh, the batches are `ShardedBatches`, and each device gets its own rows."""
        began = time.perf_counter()
        self.schedule, self._batches, self._mesh = schedule, batches, mesh
        chunk, evaluate = programs(solver, batches, mesh)
        if mesh is not None and isinstance(batches, ShardedBatches):
            place = partial(sharding.place_examples, shards=batches.shards, mesh=mesh)
            data = jax.tree.map(place, data)
        self._data = data
        self._drawn = 0, self._draw(0)
        first = self._put(state), *data, self._drawn[1], self._put(np.int32(0))
        self._chunk = chunk.lower(*first).compile()
        self._evaluate = evaluate.lower(first[0].params, *data).compile()
        # a program's first call takes longer by as much as thousands of small steps
        jax.block_until_ready(self._chunk(*first))
        if data[0].size < NUMBERS_IN_A_CHUNK:
            jax.block_until_ready(self.evaluate(state))
        self.compile_seconds = time.perf_counter() - began

    def run_steps(self, state: TrainState, first: int, count: int) -> tuple[TrainState, Array]:
        """See `Engine`. While the devices work, the next indices are drawn."""
        drawn_for, indices = self._drawn
        if drawn_for != first:
            indices = self._draw(first)
        started = self._chunk(self._put(state), *self._data, indices, self._put(np.int32(count)))
        if first + count < self.schedule.steps:
            self._drawn = first + count, self._draw(first + count)
        return started

    def evaluate(self, state: TrainState) -> Metrics:
        """See `Engine`."""
        return self._evaluate(self._put(state.params), *self._data)

    def close(self) -> None:
        """See `Engine`: there is nothing."""

    def _draw(self, first: int) -> Any:
        """The indices of a chunk, (L, B); on a mesh each device's own columns on it."""
        mesh, batches, length = self._mesh, self._batches, self.schedule.chunk
        if mesh is None or not isinstance(batches, ShardedBatches):
            return batches.indices(first, length)
        return sharding.place(
            lambda device: batches.device_indices(device, mesh.size, first, length),
            (length, 0 if batches.full else batches.size), mesh, axis=1,
        )  # fmt: skip

    def _put(self, tree: Any) -> Any:
        return tree if self._mesh is None else everywhere(tree, self._mesh)


def programs(solver: Solver, batches: Batches, mesh: Mesh | None) -> tuple[Any, Any]:
    """A chunk and an evaluation, to be compiled: for one device, or over a mesh."""
    if mesh is None or not isinstance(batches, ShardedBatches):
        return jax.jit(solver.chunk(batches.full)), jax.jit(solver.evaluate)
    gradient, rule = solver
    on_all = Solver(sharding.over_all_examples(gradient, batches.shards, mesh.size), rule)
    on_batch = on_all if batches.full else Solver(sharding.over_batch(gradient, mesh.size), rule)
    specs = WHOLE, ROWS, ROWS, COLUMNS, WHOLE
    chunk = sharding.over_devices(on_batch.chunk(batches.full), mesh, *specs)
    return chunk, sharding.over_devices(on_all.evaluate, mesh, WHOLE, ROWS, ROWS)


# --- the run ----------------------------------------------------------------------------------

UPDATE_SECONDS = 1.0
"""How long a chunk may take in a run that is saved or logged: it can be stopped after each."""


def run(
    make_engine: Callable[[TrainState], Engine],
    state: TrainState,
    facts: Callable[[], dict[str, Any]],
    *,
    tol: float | None,
    progress: Callable[[Progress], None] | None,
    update_seconds: float | None,
    checkpoint: Checkpoints | Path | str | None,
    resume: bool,
    log: RunLog | Path | str | None,
) -> tuple[TrainState, History]:
    """The steps of an engine, from `state` or from the checkpoint that is resumed, to the last one
    of its schedule, or to where the tolerance or an interrupt ends them.

    `facts` are those that a checkpoint must share with the run (`api.fingerprint`); they are asked
    for only where there is a checkpoint or a log. With a checkpoint, or with many processes, Ctrl-C
    and SIGTERM end the run after the chunk at hand; it is saved at the end. Raises DivergedError,
    which names the step, at the first loss that is not finite, and what `Checkpoints.open`,
    `RunLog` and `check_same_start` do.
    """
    checkpoints = Checkpoints.of(checkpoint, resume)
    known = facts() if checkpoints or log is not None else {}
    many = jax.process_count() > 1
    with ExitStack() as stack:
        saver: Saver | None = None
        if checkpoints:
            saver = stack.enter_context(checkpoints.open(state, known, resume))
            state = saver.state
        start = saver.start if saver else 0
        if jax.process_index() != 0:
            log = None
        elif log is not None and not isinstance(log, RunLog):
            log = RunLog(log, resume)
        engine = make_engine(state)
        stack.callback(engine.close)
        if log:
            log.start(known, start, engine.schedule.steps)
        if update_seconds is None and (saver or log):
            update_seconds = UPDATE_SECONDS
        if checkpoints and checkpoints.every_seconds and update_seconds:
            update_seconds = min(update_seconds, checkpoints.every_seconds)
        if many:
            check_same_start(start)
            update_seconds = None  # the processes must cut alike, and no two clocks agree
        signals = stack.enter_context(defer_signals()) if saver or many else None
        try:
            state, history = take_steps(
                engine, state, start, tol, update_seconds, progress, log, saver, signals
            )
        except DivergedError as error:
            if log:
                log.write("end", stopped="diverged", step=error.step, message=str(error))
            raise
        if saver:
            saver.save(state, history.end)
            history = replace(history, unsaved=saver.failure or "")
        if signals and signals.signal:
            history = replace(history, signal=signals.signal)
        if log:
            log.end(history)
    return state, history


def take_steps(
    engine: Engine,
    state: TrainState,
    start: int,
    tol: float | None,
    update_seconds: float | None,
    progress: Callable[[Progress], None] | None,
    log: RunLog | None,
    saver: Saver | None,
    signals: DeferredSignals | None,
) -> tuple[TrainState, History]:
    """Steps start+1 … schedule.steps from `state`, or fewer if the tolerance or Ctrl-C ends it.

    Chunks end at multiples of the schedule's length; before, where a checkpoint is due, or so that
    none takes much longer than `update_seconds`. That changes nothing but when the run is seen from
    outside: the data are evaluated after the same steps.
    """
    schedule = engine.schedule
    most: float = math.inf if update_seconds is None else 1  # steps in the next chunk
    batch_losses: list[np.ndarray] = []
    evaluations: list[tuple[int, float, float]] = []
    stopped, done, began = "epochs", start, time.perf_counter()
    try:
        if tol is not None and start and schedule.is_evaluated(start):
            evaluations.append(evaluate(engine, state, start))  # as the run saved here would have
            stopped = "tolerance" if evaluations[-1][2] <= tol else stopped
        while done < schedule.steps and stopped == "epochs":
            if signals and signals.stop_requested():
                stopped = "interrupted"
                break
            whole = min(schedule.chunk - done % schedule.chunk, schedule.steps - done)
            due = saver.steps_until_due(done) if saver else math.inf
            count, chunk_began = int(min(whole, due, most)), time.perf_counter()
            after, losses = engine.run_steps(state, done, count)
            new = np.asarray(losses)[:count]  # waits here: so does an interrupt
            rate = count / max(time.perf_counter() - chunk_began, 1e-9)
            most = math.inf if update_seconds is None else max(1.0, rate * update_seconds)
            check_finite(new, done)
            state, done = after, done + count
            batch_losses.append(new)
            loss, largest = float(np.mean(new)), None
            if schedule.is_evaluated(done):
                evaluations.append(evaluate(engine, state, done))
                _, loss, largest = evaluations[-1]
            seen = Progress(done, schedule.steps, loss, largest, rate)
            if progress:
                progress(seen)
            if log:
                log.progress(seen)
            if saver:
                saver.save_if_due(state, done)
            if tol is not None and largest is not None and largest <= tol:
                stopped = "tolerance"
    except KeyboardInterrupt:
        if done == 0:
            raise
        stopped = "interrupted"
    if not evaluations or evaluations[-1][0] < done:
        evaluations.append(evaluate(engine, state, done))
    check_not_diverged(batch_losses, *evaluations[-1][:2])
    steps, on_all, largest_at = map(np.array, zip(*evaluations, strict=True))
    return state, History(
        batch_losses=np.concatenate(batch_losses) if batch_losses else np.zeros(0),
        steps=steps,
        losses=on_all,
        gradient_max=largest_at,
        compile_seconds=engine.compile_seconds,
        seconds=time.perf_counter() - began,
        stopped=stopped,
        start=start,
    )


def evaluate(engine: Engine, state: TrainState, done: int) -> tuple[int, float, float]:
    """(done, loss, largest |∂E/∂w|) on all the data. Raises DivergedError.

    A step takes its loss before it moves, so the loss after `done` steps is that of step done + 1.
    """
    found = jax.device_get(engine.evaluate(state))
    if not math.isfinite(found.loss):
        raise DivergedError(done + 1, float(found.loss))
    return done, float(found.loss), float(found.gradient_max)


DIVERGED = 1e4
"""A run whose loss ends above this, in nats, and above this many first losses, has no result."""


def check_not_diverged(batch_losses: list[np.ndarray], done: int, loss: float) -> None:
    """Raise DivergedError if the loss on all the data is finite, but far above where it began."""
    first = float(batch_losses[0][0]) if batch_losses else loss
    if loss > DIVERGED * max(1.0, first):
        raise DivergedError(done + 1, loss)


def check_finite(batch_losses: np.ndarray, done: int) -> None:
    """Raise DivergedError at the first step, counted from 1, whose loss is not finite."""
    bad = ~np.isfinite(batch_losses)
    if bad.any():
        first = int(np.argmax(bad))
        raise DivergedError(done + first + 1, float(batch_losses[first]))
