"""Checkpoints of a run: when one is due, how many are kept, and from which one a run resumes.

    with Checkpoints("runs/a").open(state, facts, resume=True) as saver:
        state, step = saver.state, saver.start
        ...  # some steps
        saver.save_if_due(state, step)

A run that cannot save goes on, and tries again when the next checkpoint is due; the ones before
stay. A run that is resumed takes the newest checkpoint that is whole and its own. `state` is any
tree of arrays; `facts` say what run it is (`train.api.fingerprint`).
"""

import hashlib
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from os.path import exists, isdir
from pathlib import Path
from typing import Any

import jax
import numpy as np

from handgrad._checks import is_real, is_whole
from handgrad.errors import InputError
from handgrad.scale.checkpoint_file import (
    DamagedError,
    import_orbax,
    read_arrays,
    read_facts,
    reason_of,
    remove,
    remove_leftovers,
    steps_in,
    write,
)

LOCK = "lock"
REFUSED = ".refused"
"""Added to the name of a checkpoint that was passed over for an older one."""
PROGRAM = "program of a step"
"""The one fact that differs between versions of JAX: not compared across them."""
READABLE = 60
"""Two values with fewer letters than this can be read in a message; digests cannot."""

State = Any


def warn(message: str) -> None:
    """Tell whoever called."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)


@dataclass(frozen=True)
class Checkpoints:
    """Where the checkpoints of a run are, and how often one is written.

    One is due every `every_steps` steps, and when the last is `every_seconds` old or there is none
    yet, and at the end of the run; the newest `keep` stay. `settings` are words that a checkpoint
    of this run is known by, beside its facts. `warn` is told what goes wrong and can be lived with.
    """

    folder: Path | str
    every_steps: int | None = None
    every_seconds: float | None = 60.0
    keep: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    warn: Callable[[str], None] = warn

    def __post_init__(self) -> None:
        steps, seconds, keep = self.every_steps, self.every_seconds, self.keep
        if steps is not None and not (is_whole(steps) and steps > 0):
            raise InputError("every_steps", "a whole number above 0", repr(steps), "pass 1000")
        if seconds is not None and not (is_real(seconds) and 0 < seconds < math.inf):
            raise InputError("every_seconds", "a number above 0", repr(seconds), "pass 60")
        if not (is_whole(keep) and keep > 0):
            raise InputError("keep", "a whole number above 0", repr(keep), "pass 2")

    @classmethod
    def of(cls, checkpoint: Any, resume: bool) -> "Checkpoints | None":
        """Those in a folder from its path. Raises InputError for anything else but None, and for a
        run that is to resume from none.
        """
        if resume and checkpoint is None:
            remedy = "pass checkpoint='runs/a'"
            raise InputError("resume", "a checkpoint to go with it", "none", remedy)
        if checkpoint is None or isinstance(checkpoint, cls):
            return checkpoint
        if isinstance(checkpoint, str | Path):
            return cls(checkpoint)
        raise InputError(
            "checkpoint", "the path of a folder, or Checkpoints", repr(checkpoint),
            "pass checkpoint='runs/a'",
        )  # fmt: skip

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)

    def check(self, resume: bool) -> None:
        """Raise InputError unless a run can be saved here, and resumed or begun. Writes nothing."""
        import_orbax()
        check_folder(self.path)
        steps = list(steps_in(self.path))
        if steps and not resume:
            raise InputError(
                "checkpoint", "a folder without checkpoints",
                f"{self.folder}, where a run was saved at step {steps[0]:,}",
                "go on with it by --resume (resume=True), or name another folder",
            )  # fmt: skip

    @contextmanager
    def open(self, state: State, facts: dict[str, Any], resume: bool) -> Iterator["Saver"]:
        """The folder, locked, with the state to go on from: the one saved last, or `state`.

        In a run of many processes the first one alone writes. Raises InputError as `check` does,
        and if all the checkpoints there are, are damaged or of another run.
        """
        self.check(resume)
        saver = Saver(self, state, {**self.settings, **facts}, writes=jax.process_index() == 0)
        with lock_folder(self.path) if saver.writes else nullcontext():
            saver.resume()
            if saver.writes:
                remove_leftovers(self.path)
            yield saver


class Saver:
    """A folder of checkpoints while its run lasts."""

    def __init__(self, options: Checkpoints, state: State, facts: dict[str, Any], writes: bool):
        self.options, self.facts, self.writes = options, facts, writes
        self.state, self.start = state, 0
        self.saved: int | None = None
        """The step of the newest checkpoint, None while there is none."""
        self.failure: str | None = None
        """Why the last attempt to save failed; None if it did not."""
        self._tried = -math.inf  # the first is due at once: a run killed early goes on from it

    def resume(self) -> None:
        """Take the state of the newest checkpoint that is whole and of this run.

        Those passed over are set aside, with a warning. Raises InputError if there is none but
        them.
        """
        refused: dict[Path, str] = {}
        for step, path in steps_in(self.options.path).items():
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
            remove(aside)
            path.rename(aside)
            self.options.warn(
                f"checkpoint {path} is {fault}; set aside as {aside.name}, "
                "and the one before is used"
            )

    def _take(self, step: int, path: Path) -> str | None:
        """Go on from a checkpoint, or return what is wrong with it."""
        try:
            written = read_facts(path)
            theirs, made = written.get("run"), written.get("environment")
            if not isinstance(theirs, dict) or not isinstance(made, dict):
                return "of another program"
            moved = differences(made, environment())
            other = differences(theirs, self.facts, leave_out=PROGRAM if moved else "")
            if other:
                return f"of another run: other {', '.join(other)}"
            arrays = read_arrays(path, [leaf for _, leaf in leaves(self.state)])
        except DamagedError as error:
            return f"damaged: {error}"
        if moved:
            self.options.warn(
                f"the run was saved under other circumstances: {', '.join(moved)}; "
                "it goes on, but not bit for bit"
            )
        self.state, self.start, self.saved = restore(arrays, self.state), step, step
        self._tried = time.monotonic()
        return None

    def steps_until_due(self, done: int) -> float:
        """How many steps until a checkpoint is due."""
        every = self.options.every_steps
        return every - done % every if every else math.inf

    def save_if_due(self, state: State, step: int) -> None:
        """Save if a checkpoint is due."""
        every, seconds = self.options.every_steps, self.options.every_seconds
        by_steps = every is not None and step % every == 0
        if by_steps or (seconds is not None and time.monotonic() - self._tried >= seconds):
            self.save(state, step)

    def save(self, state: State, step: int) -> None:
        """Write a checkpoint, and remove the oldest; warn if it cannot be written."""
        if not self.writes or self.saved == step:
            return
        folder, warn = self.options.path, self.options.warn
        facts = {"step": step, "run": self.facts, "environment": environment()}
        try:
            arrays = [jax.device_get(leaf) for _, leaf in leaves(state)]
            write(folder / f"step-{step}", arrays, facts)
            for old in list(steps_in(folder).values())[self.options.keep :]:
                remove(old)
        except Exception as error:  # the disk's or Orbax's; training does not depend on it
            before, self.failure = self.failure, reason_of(error)
            if before is None:
                saved = f"step {self.saved:,} is saved" if self.saved else "nothing is saved yet"
                warn(
                    f"step {step:,} could not be saved in {folder} ({self.failure}); training goes "
                    f"on, {saved}, and it is tried again when the next is due"
                )
        else:
            if self.failure is not None:
                warn(f"step {step:,} could be saved again in {folder}")
            self.saved, self.failure = step, None
        self._tried = time.monotonic()


# --- the folder: one run at a time ------------------------------------------------------------


def check_folder(folder: Path, known: Sequence[str] = ()) -> None:
    """Raise InputError for what is not a folder, or has more in it than checkpoints and `known`."""
    if exists(folder) and not isdir(folder):
        raise InputError("checkpoint", "a folder", f"the file {folder}", "name another")
    try:
        inside = sorted(folder.iterdir())
    except FileNotFoundError:
        return  # it will be made
    except OSError as error:
        raise _no_folder(folder, error) from error
    for path in inside:
        if path.name not in (LOCK, *known) and not path.name.startswith("step-"):
            raise InputError(
                "checkpoint", "a folder of checkpoints, or none",
                f"{folder}, in which there is {path.name!r}", "name another folder",
            )  # fmt: skip


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """A folder, made if there is none, in which no other run writes meanwhile.

    A file in it is locked, and says which process has it. The lock is the kernel's, and ends with
    the process however that ends: none can be stale. Raises InputError if another one has it.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("ab+", buffering=0)
    except OSError as error:
        raise _no_folder(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read(20).decode("ascii", "replace").strip()
            raise InputError(
                "checkpoint", "a folder that no other run has open",
                f"{folder}, which process {holder} writes to",
                "wait for it, or name another folder",
            ) from error  # fmt: skip
        except OSError as error:
            raise _no_folder(folder, error) from error
        try:
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        except OSError as error:  # a full disk
            raise _no_folder(folder, error) from error
        yield


def _no_folder(folder: Path, error: OSError) -> InputError:
    """What to raise for a folder that cannot be had, such as one whose name is too long."""
    return InputError(
        "checkpoint", f"a folder at {folder} that can be written to", reason_of(error),
        "name another",
    )  # fmt: skip


# --- facts and arrays of a state --------------------------------------------------------------


def environment() -> dict[str, str]:
    """What the bits of a result depend on beside the run: versions, and the kind of device."""
    import jaxlib

    device = jax.devices()[0]
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "device": f"{device.platform} {device.device_kind}",
    }


def differences(theirs: dict[str, Any], ours: dict[str, Any], leave_out: str = "") -> list[str]:
    """The facts in which the two differ, with both values; by name alone if none can be read."""
    names = [name for name in dict.fromkeys([*ours, *theirs]) if name != leave_out]
    differing = {n: (theirs.get(n), ours.get(n)) for n in names if theirs.get(n) != ours.get(n)}
    readable = [
        f"{name} ({there} there, {here} here)"
        for name, (there, here) in differing.items()
        if len(f"{there}{here}") < READABLE
    ]
    return readable or list(differing)


def leaves(tree: Any) -> list[tuple[str, Any]]:
    """Every array with its path; a typed random key as the integers it is made of."""

    def plain(leaf: Any) -> Any:
        return jax.random.key_data(leaf) if _is_key(leaf) else leaf

    with_paths = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), plain(leaf)) for path, leaf in with_paths]


def restore(arrays: list[Any], state: State) -> State:
    """The state with these arrays as its leaves, on the devices where its leaves are."""

    def put(array: Any, leaf: Any) -> Any:
        if _is_key(leaf):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
        return jax.device_put(array, leaf.sharding if isinstance(leaf, jax.Array) else None)

    old, structure = jax.tree.flatten(state)
    return jax.tree.unflatten(structure, [put(a, b) for a, b in zip(arrays, old, strict=True)])


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def describe_leaf(leaf: Any) -> str:
    """As in float32[426,30]."""
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def digest(tree: Any) -> str:
    """Of the values of all arrays, and of their shapes."""
    total = hashlib.blake2b(digest_size=16)
    for _, leaf in leaves(tree):
        total.update(describe_leaf(leaf).encode())
        total.update(np.ascontiguousarray(jax.device_get(leaf)).reshape(-1).view(np.uint8).data)
    return total.hexdigest()
