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

from handgrad._errors import DivergedError
from handgrad.train.engine import Engine
from handgrad.train.loop import State


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a chunk."""

    step: int
    steps: int
    loss: float
    """On all the data if they were looked at after this chunk, else the mean of its batches."""
    gradient_max: float | None
    """The largest |∂E/∂w| over all the data; None where they were not looked at."""


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
    watchers: Sequence[Callable[[State, Progress], None]] = (),
) -> tuple[State, History]:
    """Steps start+1 … engine.steps from `state`, or fewer if the tolerance or Ctrl-C ends the run.

    Each watcher is called after each chunk with the state and where the run stands. Raises
    DivergedError, which names the step, at the first loss that is not finite.
    """
    batch_losses: list[np.ndarray] = []
    looks: list[tuple[int, float, float]] = []
    stopped, done, due, began = "epochs", start, start + engine.apart, time.perf_counter()
    try:
        while done < engine.steps:
            count = min(engine.length, engine.steps - done)
            after, losses = engine.take(state, done, count)
            new = np.asarray(losses)[:count]  # waits here: so does an interrupt
            check_finite(new, done)
            state, done = after, done + count
            batch_losses.append(new)
            if looked := done >= due or done == engine.steps:
                looks.append(_look(engine, state, done))
                due = done + engine.apart
            shown = looks[-1] if looked else (done, float(np.mean(new)), None)
            for watcher in watchers:
                watcher(state, Progress(done, engine.steps, *shown[1:]))
            if looked and tol is not None and looks[-1][2] <= tol:
                stopped = "tolerance"
                break
    except KeyboardInterrupt:
        if done == 0:
            raise
        stopped = "interrupted"
    if not looks or looks[-1][0] < done:
        looks.append(_look(engine, state, done))
    seen_at, on_all, largest = zip(*looks, strict=True)
    return state, History(
        batch_losses=np.concatenate(batch_losses) if batch_losses else np.zeros(0),
        steps=np.array(seen_at),
        losses=np.array(on_all),
        gradient_max=np.array(largest),
        compile_seconds=engine.compile_seconds,
        seconds=time.perf_counter() - began,
        stopped=stopped,
        start=start,
    )


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
