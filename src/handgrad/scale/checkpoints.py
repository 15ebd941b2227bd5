"""Checkpoints of a run: when one is due, how many are kept, and from which one a run resumes.

    with Checkpoints("runs/a").open(state, facts, resume=True) as saver:
        state, step = saver.state, saver.start
        ...  # some steps
        saver.save_if_due(state, step)

A run that cannot save goes on, and tries again when the next checkpoint is due; the ones before
stay. A run that is resumed takes the newest checkpoint that is whole and its own. `state` is any
tree of arrays; `facts` say what run it is (`train.api.fingerprint`).

On the disk a checkpoint is a folder `step-N` with the arrays of the state, `run.json` with the
facts of the run, and `SHA256SUMS` with the digest of every other file (`sha256sum -c SHA256SUMS`
reads it too). It is written under another name; files and folders are forced to the disk; then it
is renamed. So a crash leaves it whole under its name, or absent, and whatever the disk does to it
later is seen.

The arrays are written by Orbax, their bytes one after the other as one zarr array: numbers and
JSON, of which nothing is executed and none names another file. (Orbax's default format, OCDBT,
does: a file there may point to others.)
"""

import hashlib
import json
import logging
import math
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from os.path import exists, isdir
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from handgrad._checks import is_real, is_whole
from handgrad.errors import InputError, MissingExtraError

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


# --- a checkpoint on the disk: written whole or not at all, read only if every bit is as it was ---

SUMS, FACTS, ARRAYS, STATE = "SHA256SUMS", "run.json", "arrays", "state"
PART, GONE = ".part", ".gone"
"""What is being written, and what is being removed; left behind by a crash, and of no use."""
STEP = re.compile(r"step-(\d{1,18})")
ORBAX_FILES = re.compile(
    rf"_METADATA|_CHECKPOINT_METADATA|commit_success\.txt|{STATE}/(\.zarray|[\d.]+)"
)
"""What Orbax writes, below ARRAYS; a folder with any other file in it is refused."""


class DamagedError(Exception):
    """A checkpoint that is not as it was written; the message says what is wrong with it."""


def steps_in(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by their step, the newest first; none is looked into."""
    found = {}
    for path in folder.iterdir() if isdir(folder) else ():
        if match := STEP.fullmatch(path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items(), reverse=True))


def write(path: Path, arrays: Sequence[np.ndarray], facts: dict[str, Any]) -> None:
    """A checkpoint at `path`, in place of any there. Raises OSError, or what Orbax does."""
    part = path.with_name(path.name + PART)
    remove_leftovers(path.parent)
    try:
        part.mkdir()
        save_arrays(part / ARRAYS, arrays)
        (part / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        (part / SUMS).write_bytes(digests(part))
        for file in [*part.rglob("*"), part]:
            _force_to_disk(file)
        remove(path)
        part.rename(path)
        _force_to_disk(path.parent)
    except Exception:
        _remove_tree(part)
        raise


def read_facts(path: Path) -> dict[str, Any]:
    """The facts in a checkpoint of which every bit is as it was. Raises DamagedError."""
    try:
        found = digests(path)  # first, as it refuses to open what is not a plain file
        written = (path / SUMS).read_bytes()
        if written != found:
            raise DamagedError(_changed_file(written, found))
        facts = json.loads((path / FACTS).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(reason_of(error)) from error
    if not isinstance(facts, dict) or path.name != f"step-{facts.get('step')}":
        raise DamagedError(f"{FACTS} is not of this step")
    return facts


def read_arrays(path: Path, like: Sequence[Any]) -> list[np.ndarray]:
    """The arrays in a checkpoint, of the shapes and dtypes of `like`. Raises DamagedError."""
    try:
        return load_arrays(path / ARRAYS, like)
    except Exception as error:  # whatever Orbax or zarr finds wrong
        raise DamagedError(reason_of(error)) from error


def remove(path: Path) -> None:
    """Remove a checkpoint: at once by its name, then its files."""
    gone = path.with_name(path.name + GONE)
    _remove_tree(gone)
    if path.exists():
        path.rename(gone)
        _remove_tree(gone)


def remove_leftovers(folder: Path) -> None:
    """Remove what a crash has left."""
    for path in folder.iterdir():
        if path.name.endswith((PART, GONE)) and STEP.fullmatch(path.stem):
            _remove_tree(path)


def reason_of(error: Exception) -> str:
    """What went wrong, in one short line that can be printed."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    for known in ("No space left on device", "File too large", "Permission denied"):
        if known in text:
            return known
    line = " ".join(text.split())[:160] or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def digests(folder: Path) -> bytes:
    """A line with digest and name per file. Raises DamagedError for what is not a plain file."""
    lines = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise DamagedError(f"{name} is not a plain file")
        if path.is_file() and name != SUMS:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            lines.append(f"{digest}  {name}\n".encode("utf-8", "surrogateescape"))
    return b"".join(lines)


def _changed_file(written: bytes, found: bytes) -> str:
    """Which file is not as it was written."""

    def by_name(sums: bytes) -> dict[str, str]:
        lines = sums.decode("utf-8", "replace").splitlines()
        return {line[66:]: line[:64] for line in lines}

    then, now = by_name(written), by_name(found)
    changed = sorted(name for name in then | now if then.get(name) != now.get(name))
    for names, fault in (
        (then.keys() & now.keys(), "is not as it was written"),
        (then.keys() - now.keys(), "is missing"),
        (now.keys() - then.keys(), "was not written with it"),
    ):
        if changed and names.issuperset(changed):
            return f"{changed[0]} {fault}"
    return f"{SUMS} does not fit the files"


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_tree(path: Path) -> None:
    """Remove a folder, or as much of it as can be; never what a link in it points to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


# --- the arrays, by Orbax ---------------------------------------------------------------------


def import_orbax() -> ModuleType:
    """The module orbax.checkpoint, or MissingExtraError."""
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise MissingExtraError("saving checkpoints", "checkpoint") from error
    return orbax.checkpoint


def save_arrays(folder: Path, arrays: Sequence[np.ndarray]) -> None:
    """Write the arrays to a folder that does not exist yet. Raises what Orbax does if it fails.

    As one array, because Orbax writes many at once: where the disk is full, and the first of them
    fails, the others still write, into a folder that is given up, and complain on standard error.
    """
    parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    with _checkpointer() as (orbax, checkpointer):
        item = {STATE: np.concatenate(parts)}
        checkpointer.save(folder.absolute(), args=orbax.args.PyTreeSave(item))


def load_arrays(folder: Path, like: Sequence[Any]) -> list[np.ndarray]:
    """The arrays in a folder that `save_arrays` wrote, of the shapes and dtypes of `like`.

    Raises ValueError if the folder holds anything else.
    """
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in like]
    _check_files(folder, sum(sizes))
    with _checkpointer() as (orbax, checkpointer):
        wanted = {STATE: np.empty(sum(sizes), np.uint8)}
        how = {STATE: orbax.RestoreArgs(restore_type=np.ndarray)}
        found = checkpointer.restore(
            folder.absolute(), args=orbax.args.PyTreeRestore(item=wanted, restore_args=how)
        )[STATE]
    if (found.shape, found.dtype) != ((sum(sizes),), np.uint8):
        raise ValueError(f"{STATE} is {found.dtype}{found.shape}, and not bytes")
    parts = np.split(found, np.cumsum(sizes)[:-1])
    return [
        part.view(leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, like, strict=True)
    ]


def _check_files(folder: Path, size: int) -> None:
    """Raise ValueError for a file of another name, or an array that is said to be of another size.

    So nothing of another format is read, and no more memory is taken than the state takes.
    """
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (not path.is_dir() and not ORBAX_FILES.fullmatch(name)):
            raise ValueError(f"{name} is not a file of a checkpoint")
    said = json.loads((folder / STATE / ".zarray").read_text())
    if [said["shape"], said["chunks"], said["dtype"]] != [[size], [size], "|u1"]:
        raise ValueError(f"{STATE} is not an array of {size} bytes")


@contextmanager
def _checkpointer() -> Iterator[tuple[ModuleType, Any]]:
    """Orbax's, of this process alone: no other one waits for it, and its remarks are not shown."""
    orbax = import_orbax()
    me = jax.process_index()
    alone: dict[str, Any] = {}
    if jax.process_count() > 1:
        alone = {"primary_host": me, "active_processes": {me}, "barrier_sync_key_prefix": str(me)}
    options = orbax.options.MultiprocessingOptions(**alone)
    handler = orbax.PyTreeCheckpointHandler(use_ocdbt=False, multiprocessing_options=options)
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with orbax.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
            yield orbax, checkpointer
    finally:
        logger.setLevel(level)
