"""The Python loop over compiled chunks, and the history it leaves.

Whatever is not a step happens here, between two chunks: the check that the losses are finite, the
looks at all the data, the tolerance, an interrupt, and what `watchers` do with the state.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from handgrad.errors import DivergedError
from handgrad.train.engine import Engine
from handgrad.train.loop import State
from handgrad.train.pace import Pace

Watcher = Callable[[State, "Progress"], None]
"""Told after each chunk of the state and of where the run stands."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a chunk."""

    step: int
    steps: int
    loss: float
    """On all the data if they were looked at after this chunk, else the mean of its batches."""
    gradient_max: float | None
    """The largest |∂E/∂w| over all the data; None where they were not looked at."""
    steps_per_second: float
    """In this chunk."""


@dataclass(frozen=True)
class History:
    """What happened: losses in nats, times in seconds.

    `batch_losses` has the loss of each step on its batch, before the update; `steps`, `losses` and
    `gradient_max` say at which steps all the data were looked at, and what was seen. The last look
    is at the end; the others are so far apart that they cost little beside the steps.
    """

    batch_losses: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    gradient_max: np.ndarray
    compile_seconds: float
    seconds: float
    stopped: str
    """'epochs', 'tolerance' or 'interrupted'."""
    start: int = 0
    """Steps taken before, by the run that this one resumed: `batch_losses` has those after."""
    signal: int = 0
    """The number of the signal that interrupted the run, if one did."""
    unsaved: str = ""
    """Why the end of the run could not be saved, if it could not."""

    @property
    def end(self) -> int:
        """Steps taken in all."""
        return self.start + len(self.batch_losses)

    @property
    def steps_per_second(self) -> float:
        """Steps a second, compilation left out."""
        return len(self.batch_losses) / self.seconds if self.seconds else math.inf


def run(
    engine: Engine,
    state: State,
    *,
    start: int = 0,
    tol: float | None = None,
    watchers: Sequence[Watcher] = (),
    stopping: Callable[[], bool] | None = None,
    update_seconds: float | None = None,
    steps_left: Callable[[int], float] | None = None,
) -> tuple[State, History]:
    """Steps start+1 … engine.steps from `state`, or fewer if the tolerance or Ctrl-C ends the run.

    Each watcher is called after each chunk with the state and where the run stands. Chunks end at
    multiples of the engine's length; before, where `steps_left` says that something is due, or so
    that none takes much longer than `update_seconds`. That changes nothing but when the watchers
    are called, and when `stopping` is asked whether to end the run: the data are looked at after
    the same steps. Raises DivergedError, which names the step, at the first loss that is not
    finite.
    """
    batch_losses: list[np.ndarray] = []
    looks: list[tuple[int, float, float]] = []
    apart = math.ceil(engine.apart / engine.length) * engine.length
    stopped, done, began = "epochs", start, time.perf_counter()
    pace = Pace(update_seconds)
    try:
        if tol is not None and start and is_looked_at(start, engine.steps, apart):
            looks.append(_look(engine, state, start))  # as the run that was saved here would have
            stopped = "tolerance" if looks[-1][2] <= tol else stopped
        while done < engine.steps and stopped == "epochs":
            if stopping and stopping():
                stopped = "interrupted"
                break
            due = steps_left(done) if steps_left else math.inf
            whole = min(engine.length - done % engine.length, engine.steps - done)
            count = int(min(whole, due, pace.steps))
            with pace.timed(count):
                after, losses = engine.take(state, done, count)
                new = np.asarray(losses)[:count]  # waits here: so does an interrupt
            check_finite(new, done)
            state, done = after, done + count
            batch_losses.append(new)
            if looked := is_looked_at(done, engine.steps, apart):
                looks.append(_look(engine, state, done))
            _, loss, largest = looks[-1] if looked else (done, float(np.mean(new)), None)
            seen = Progress(done, engine.steps, loss, largest, pace.steps_per_second)
            for watcher in watchers:
                watcher(state, seen)
            if looked and tol is not None and looks[-1][2] <= tol:
                stopped = "tolerance"
    except KeyboardInterrupt:
        if done == 0:
            raise
        stopped = "interrupted"
    if not looks or looks[-1][0] < done:
        looks.append(_look(engine, state, done))
    seen_at, on_all, largest_at = zip(*looks, strict=True)
    return state, History(
        batch_losses=np.concatenate(batch_losses) if batch_losses else np.zeros(0),
        steps=np.array(seen_at),
        losses=np.array(on_all),
        gradient_max=np.array(largest_at),
        compile_seconds=engine.compile_seconds,
        seconds=time.perf_counter() - began,
        stopped=stopped,
        start=start,
    )


def is_looked_at(step: int, steps: int, apart: int) -> bool:
    """Whether all the data are looked at after a step: this must not depend on how a run is cut."""
    return step % apart == 0 or step == steps


def _look(engine: Engine, state: State, done: int) -> tuple[int, float, float]:
    """(done, loss, largest |∂E/∂w|). Step k looks at its loss before it moves, so the loss after
    `done` steps is that of step done + 1.
    """
    seen = jax.device_get(engine.look(state))
    if not math.isfinite(seen.loss):
        raise DivergedError(done + 1, float(seen.loss))
    return done, float(seen.loss), float(seen.gradient_max)


def check_finite(batch_losses: np.ndarray, done: int) -> None:
    """Raise DivergedError at the first step, counted from 1, whose loss is not finite."""
    bad = ~np.isfinite(batch_losses)
    if bad.any():
        first = int(np.argmax(bad))
        raise DivergedError(done + first + 1, float(batch_losses[first]))
