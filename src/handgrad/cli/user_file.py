"""Functions from a user's own Python file, named as `my.py:gradient`: the file is run."""

import atexit
import difflib
import functools
import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from handgrad.errors import InputError

NO_VERDICT = 3


def load_named(option: str, spec: str) -> Any:
    """The object that `FILE:NAME` names.

    Raises InputError for a file that is missing, has a syntax error or raises, and for a name that
    is not in it.
    """
    file, _, name = spec.rpartition(":")
    if not file or not name:
        raise InputError(option, "FILE.py:NAME", repr(spec), "write for example my.py:gradient")
    module = _load_file(option, Path(file))
    if not hasattr(module, name):
        known = [n for n in vars(module) if not n.startswith("_")]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known) or 'no names'}"
        raise InputError(option, f"a name in {file}", repr(name), hint)
    return getattr(module, name)


def load_function(option: str, spec: str) -> Any:
    """The function that `FILE:NAME` names; its `sys.exit` is an error like any other."""
    found = load_named(option, spec)
    if not callable(found):
        raise InputError(option, "a function", f"{spec}, a {type(found).__name__}", "name another")
    return without_exit(found)


def without_exit(function: Callable) -> Callable:
    """The function, whose `sys.exit` becomes a RuntimeError: the verdict is the exit code."""

    @functools.wraps(function, updated=())
    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except SystemExit as left:
            raise RuntimeError(f"it called sys.exit({left.code!r})") from left

    return wrapped


def supervise() -> None:
    """Go on in a child process, whose parent says so if it vanishes: `os._exit` leaves no verdict.

    The parent exits as the child does, and with 3 where the child never came to its end. Only
    before JAX is loaded, whose threads do not survive a fork.
    """
    if "jax" in sys.modules or not hasattr(os, "fork"):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        atexit.register(os.write, write, b"1")
        return
    os.close(write)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child answers it
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.set_blocking(read, False)
    try:
        ended = os.read(read, 1) == b"1"
    except BlockingIOError:  # something that it has started still holds the pipe
        ended = False
    if not ended:
        sys.stderr.write(f"error: the process ended with status {code} before it had a verdict\n")
        sys.stderr.flush()
        os._exit(NO_VERDICT)
    os._exit(code if code >= 0 else 128 - code)


def load_arguments(option: str, spec: str) -> tuple:
    """The arguments at which to judge: a tuple, or what a function without arguments returns."""
    found = load_named(option, spec)
    if callable(found):
        try:
            found = without_exit(found)()
        except Exception as fault:
            raise InputError(
                option, "a tuple, or a function without arguments that returns one",
                _describe(fault), f"call {spec} by itself",
            ) from fault  # fmt: skip
    if not isinstance(found, tuple):
        raise InputError(
            option, "a tuple of arguments", f"{spec}, a {type(found).__name__}",
            "write (x,) for one",
        )  # fmt: skip
    return found


def parse_argnums(text: str) -> int | tuple[int, ...]:
    """'0' as 0, '0,1' as (0, 1)."""
    try:
        numbers = tuple(int(part) for part in text.strip("()").split(",") if part.strip())
    except ValueError:
        numbers = ()
    if not numbers:
        raise InputError("--argnums", "0, or 0,1", repr(text), "count the arguments from 0")
    return numbers if "," in text else numbers[0]


_loaded: dict[Path, ModuleType] = {}


def _load_file(option: str, path: Path) -> ModuleType:
    if path.suffix != ".py" or "\0" in str(path) or not os.path.isfile(path):
        raise InputError(option, "a Python file", repr(str(path)), "name a file ending in .py")
    resolved = path.resolve()
    if resolved in _loaded:
        return _loaded[resolved]
    spec = importlib.util.spec_from_file_location(path.stem, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(resolved.parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as fault:
        raise InputError(
            option, f"Python in {path}", f"a syntax error in line {fault.lineno}: {fault.msg}",
            "mend that line",
        ) from fault  # fmt: skip
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # sys.exit too: the verdict is the exit code
        raise InputError(
            option, f"{path} to load", _describe(fault), "run the file with python to see it"
        ) from fault
    finally:
        sys.path.remove(str(resolved.parent))
    _loaded[resolved] = module
    return module


def _describe(fault: BaseException) -> str:
    """An exception in one line, with the line of the user's file where there is one."""
    frames = [f for f in traceback.extract_tb(fault.__traceback__) if "handgrad" not in f.filename]
    place = f" in line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""
    try:
        words = str(fault)
    except Exception:  # the user's own exception, whose text raises
        words = "(no message)"
    return f"{type(fault).__name__}: {words}{place}"
