"""Peers that are installed, and what every job does with timings."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from handgrad.measure.contenders import Check, WrongAnswerError, plain
from handgrad.measure.race import Timing, ratio


def installed(name: str) -> Any | None:
    """The module of a peer, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def row(timing: Timing, against: Timing, **more: Any) -> dict[str, Any]:
    """What every table shows of a contender; its speed is 1 where it takes as long as `against`."""
    spread, times = timing.spread, ratio(against, timing)
    memory = timing.contender.memory
    return {
        "name": timing.name,
        "seconds": spread.median,
        "lower": spread.lower,
        "upper": spread.upper,
        "rounds": len(timing.seconds),
        "speed": times.median,
        "speed_lower": times.lower,
        "speed_upper": times.upper,
        "compile_seconds": timing.contender.compile_seconds,
        "first_seconds": timing.contender.first_seconds,
        "temporaries": None if memory is None else memory.temporaries,
        **more,
    }


def equal_to(right: Any, tolerance: float) -> Check:
    """Holds (E, ∇E), or a part of it, to the right one, relative to the largest of each array."""
    truth = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(right)]

    def check(answer: Any) -> None:
        for got, expected in zip(jax.tree.leaves(answer), truth, strict=True):
            largest = np.abs(expected).max()
            error = np.abs(np.asarray(got, np.float64) - expected).max()
            assert error <= tolerance * largest, f"off by {error / largest:.1e} of the largest"

    return check


def by_compile(run: Callable[[Any], Any], function: Callable, check: Any) -> tuple[list, list[str]]:
    """`run` with `torch.compile` of its function, as a contender; or a note of why it cannot be."""
    torch = installed("torch")
    try:
        program = torch.compile(function)  # it compiles when first called, for which it wants a C++
        return [plain("PyTorch, compiled", lambda: run(program), check)], []
    except WrongAnswerError:
        raise
    except Exception as fault:  # whatever its compilers raise
        reason = (str(fault).strip().splitlines() or [""])[0]
        return [], [f"PyTorch, compiled, is left out: {type(fault).__name__}: {reason}"]


def missing(names: Sequence[str]) -> list[str]:
    """A note for each peer that is not installed."""
    return [f"{name} is not installed: left out" for name in names if installed(name) is None]
