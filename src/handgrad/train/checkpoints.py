"""Checkpoints of a run: when one is due, how many are kept, and which one is taken up.

A run that cannot save goes on, and tries again when the next checkpoint is due; the ones before
stay. A run that is taken up takes the newest checkpoint that is whole and its own.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from handgrad.errors import InputError
from handgrad.train.arguments import is_real, is_whole
from handgrad.train.arrays_on_disk import import_orbax
from handgrad.train.identity import PROGRAM, differences, environment, leaves
from handgrad.train.lock import check_folder, lock_folder
from handgrad.train.loop import State
from handgrad.train.running import Progress
from handgrad.train.snapshot import (
    DamagedError,
    arrays_of,
    clear,
    discard,
    facts_of,
    reason_of,
    steps_in,
    write,
)

REFUSED = ".refused"
"""Added to the name of a checkpoint that was passed over for an older one."""


def warn(message: str) -> None:
    """Tell whoever called."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)


@dataclass(frozen=True)
class Checkpoints:
    """Where the checkpoints of a run are, and how often one is written.

    One is due every `every_steps` steps, and when the last is `every_seconds` old, and at the end
    of the run; the newest `keep` stay. `settings` are words that a checkpoint of this run is known
    by, beside what `identity` finds. `say` is told what goes wrong and can be lived with.
    """

    folder: Path
    every_steps: int | None = None
    every_seconds: float | None = 60.0
    keep: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] = warn

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        steps, seconds, keep = self.every_steps, self.every_seconds, self.keep
        if steps is not None and not (is_whole(steps) and steps > 0):
            raise InputError("every_steps", "a whole number above 0", repr(steps), "pass 1000, say")
        if seconds is not None and not (is_real(seconds) and 0 < seconds < math.inf):
            raise InputError("every_seconds", "a number above 0", repr(seconds), "pass 60, say")
        if not (is_whole(keep) and keep > 0):
            raise InputError("keep", "a whole number above 0", repr(keep), "pass 2, say")

    def check(self, resume: bool) -> None:
        """Raise InputError unless a run can be saved here, and resumed or begun. Writes nothing."""
        import_orbax()
        check_folder(self.folder)
        steps = list(steps_in(self.folder))
        if steps and not resume:
            raise InputError(
                "checkpoint", "a folder without checkpoints",
                f"{self.folder}, where a run was saved at step {steps[0]:,}",
                "go on with it by --resume (resume=True), or name another folder",
            )  # fmt: skip

    @contextmanager
    def open(self, state: State, run: dict[str, Any], resume: bool) -> Iterator["Saving"]:
        """The folder, locked, with the state to go on from: the one saved last, or `state`.

        `run` is what `identity` says. In a run of many processes the first one alone writes.
        Raises InputError as `check` does, and if all the checkpoints there are, are damaged or of
        another run.
        """
        self.check(resume)
        writes = jax.process_index() == 0
        saving = Saving(self, state, {**self.settings, **run}, writes)
        if not writes:
            saving.take_up(steps_in(self.folder))
            yield saving
            return
        with lock_folder(self.folder):
            saving.take_up(steps_in(self.folder))
            clear(self.folder)
            yield saving


class Saving:
    """A folder of checkpoints while its run lasts."""

    def __init__(self, options: Checkpoints, state: State, run: dict[str, Any], writes: bool):
        self.options, self.run, self.writes = options, run, writes
        self.state, self.start = state, 0
        self.saved: int | None = None
        """The step of the newest checkpoint, None while there is none."""
        self.failure: str | None = None
        """Why the last attempt to save failed; None if it did not."""
        self._tried = time.monotonic()

    def take_up(self, steps: dict[int, Path]) -> None:
        """The state of the newest checkpoint that is whole and of this run; older ones are next.

        Those passed over are set aside, and said. Raises InputError if there is none but them.
        """
        refused: dict[Path, str] = {}
        for step, path in steps.items():
            fault = self._take(step, path)
            if fault is None:
                break
            refused[path] = fault
        if refused and self.saved is None:
            path, fault = next(iter(refused.items()))
            raise InputError(
                "checkpoint", "a checkpoint of this run", f"{path}, which is {fault}",
                "give the options of the run that was saved, or name another folder",
            )  # fmt: skip
        for path, fault in refused.items() if self.writes else ():
            aside = path.with_name(path.name + REFUSED)
            discard(aside)
            path.rename(aside)
            self.options.say(
                f"checkpoint {path} is {fault}; set aside as {aside.name}, "
                "and the one before is used"
            )

    def _take(self, step: int, path: Path) -> str | None:
        """Go on from a checkpoint, or say what is wrong with it."""
        try:
            facts = facts_of(path)
            theirs, made = facts.get("run"), facts.get("environment")
            if not isinstance(theirs, dict) or not isinstance(made, dict):
                return "of another program"
            moved = differences(made, environment())
            other = differences(theirs, self.run, leave_out=PROGRAM if moved else "")
            if other:
                return f"of another run: other {', '.join(other)}"
            arrays = arrays_of(path, [leaf for _, leaf in leaves(self.state)])
        except DamagedError as error:
            return f"damaged: {error}"
        if moved:
            self.options.say(
                f"the run was saved under other circumstances: {', '.join(moved)}; "
                "it goes on, but not bit for bit"
            )
        self.state, self.start, self.saved = put_back(arrays, self.state), step, step
        return None

    def steps_left(self, done: int) -> float:
        """How many steps until a checkpoint is due."""
        every = self.options.every_steps
        return every - done % every if every else math.inf

    def __call__(self, state: State, seen: Progress) -> None:
        """Save if a checkpoint is due."""
        every, seconds = self.options.every_steps, self.options.every_seconds
        by_steps = every is not None and seen.step % every == 0
        if by_steps or (seconds is not None and time.monotonic() - self._tried >= seconds):
            self.save(state, seen.step)

    def save(self, state: State, step: int) -> None:
        """Write a checkpoint, and remove the oldest; say so if it cannot be written."""
        if not self.writes or self.saved == step:
            return
        folder = self.options.folder
        facts = {"step": step, "run": self.run, "environment": environment()}
        try:
            arrays = [jax.device_get(leaf) for _, leaf in leaves(state)]
            write(folder / f"step-{step}", arrays, facts)
            for old in list(steps_in(folder).values())[self.options.keep :]:
                discard(old)
        except Exception as error:  # the disk's or Orbax's; training does not depend on it
            before, self.failure = self.failure, reason_of(error)
            if before is None:
                self.options.say(
                    f"step {step:,} could not be saved in {folder} ({self.failure}); training goes "
                    f"on, {self.what_is_saved()}, and it is tried again when the next is due"
                )
        else:
            if self.failure is not None:
                self.options.say(f"step {step:,} could be saved again in {folder}")
            self.saved, self.failure = step, None
        self._tried = time.monotonic()

    def what_is_saved(self) -> str:
        """In words."""
        return "nothing is saved yet" if self.saved is None else f"step {self.saved:,} is saved"


def put_back(arrays: list[Any], state: State) -> State:
    """The state with these arrays as its leaves, where its leaves are."""

    def put(array: Any, leaf: Any) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
        return jax.device_put(array, leaf.sharding if isinstance(leaf, jax.Array) else None)

    old, structure = jax.tree.flatten(state)
    return jax.tree.unflatten(structure, [put(a, b) for a, b in zip(arrays, old, strict=True)])
