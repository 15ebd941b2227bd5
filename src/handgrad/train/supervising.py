"""A run that survives: taken up where it was saved, saved as it goes, stopped by signals, recorded.

`run` takes the steps; this is what is around it, whatever engine there is.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from handgrad.errors import DivergedError
from handgrad.train.agreement import agree_on_start, is_stopped
from handgrad.train.checkpoints import Checkpoints, Saving
from handgrad.train.engine import Engine
from handgrad.train.loop import State
from handgrad.train.record import Record
from handgrad.train.running import History, Watcher, run
from handgrad.train.signals import noted

UPDATE_SECONDS = 1.0
"""How long a chunk may take in a run that is saved or recorded: it can be stopped after each."""


def supervise(
    make_engine: Callable[[State], Engine],
    state: State,
    facts: Callable[[], dict[str, Any]],
    *,
    checkpoint: Checkpoints | None = None,
    resume: bool = False,
    log: Record | Path | str | None = None,
    tol: float | None = None,
    watchers: Sequence[Watcher] = (),
    update_seconds: float | None = None,
) -> tuple[State, History]:
    """Take the steps of an engine, from `state` or from the checkpoint that is resumed.

    `facts` are those that a checkpoint must share with the run (`identity`); they are asked for
    only where there is a checkpoint or a record. With a checkpoint, or with many processes, Ctrl-C
    and SIGTERM end the run after the chunk at hand; it is saved at the end. Raises what
    `Checkpoints.open`, `Record`, `run` and `agree_on_start` do.
    """
    known = facts() if checkpoint or log is not None else {}
    with ExitStack() as stack:
        saving: Saving | None = None
        if checkpoint:
            saving = stack.enter_context(checkpoint.open(state, known, resume))
            state = saving.state
        start = saving.start if saving else 0
        record = log if isinstance(log, Record) or log is None else Record(log, resume)
        record = record if jax.process_index() == 0 else None
        engine = make_engine(state)
        stack.callback(engine.close)
        if record:
            record.start(known, start, engine.steps)
            watchers = [*watchers, record]
        if saving:
            watchers = [*watchers, saving]
        if update_seconds is None and (saving or record):
            update_seconds = UPDATE_SECONDS
        if saving and saving.options.every_seconds and update_seconds:
            update_seconds = min(update_seconds, saving.options.every_seconds)
        several = jax.process_count() > 1
        if several:
            agree_on_start(start)
            update_seconds = None  # the processes must cut alike, and no two clocks agree
        signals = stack.enter_context(noted()) if saving or several else None
        try:
            state, history = run(
                engine, state, start=start, tol=tol, watchers=watchers,
                stopping=None if signals is None else partial(is_stopped, signals),
                update_seconds=update_seconds, steps_left=saving.steps_left if saving else None,
            )  # fmt: skip
        except DivergedError as error:
            if record:
                record.write("end", stopped="diverged", step=error.step, message=str(error))
            raise
        if saving:
            saving.save(state, history.end)
            history = replace(history, unsaved=saving.failure or "")
        if signals is not None and signals.signal:
            history = replace(history, signal=signals.signal)
        if record:
            record.end(history)
    return state, history
