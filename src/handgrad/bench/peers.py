"""Peers: other libraries that take part in a race where they are installed."""

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from handgrad.bench.timing import Check, Contender, WrongAnswerError, plain


def installed(name: str) -> ModuleType | None:
    """The module of a peer, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def missing(names: Sequence[str]) -> list[str]:
    """A note for each peer that is not installed."""
    return [f"{name} is not installed: left out" for name in names if installed(name) is None]


def by_compile(
    run: Callable[[Any], Any], function: Callable, check: Check
) -> tuple[list[Contender], list[str]]:
    """`run` with `torch.compile` of its function, as a contender; or a note of why it cannot be."""
    torch: Any = installed("torch")
    try:
        program = torch.compile(function)  # compiles at the first call, and needs a C++ compiler
        return [plain("PyTorch, compiled", lambda: run(program), check)], []
    except WrongAnswerError:
        raise
    except Exception as fault:  # whatever its compilers raise
        reason = (str(fault).strip().splitlines() or [""])[0]
        return [], [f"PyTorch, compiled, is left out: {type(fault).__name__}: {reason}"]
