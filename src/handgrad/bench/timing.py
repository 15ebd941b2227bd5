"""Timing: contenders raced in turn, round after round, in one process.

A contender has been compiled and has run once before anything is timed, and its answer has been
compared with the right one: a fast wrong answer has no time.

Whatever else the machine does (another process, a clock that slows down) falls on all contenders
alike. So the figure to trust is a ratio, taken within each round; the median over rounds is
reported with its quartiles, and seconds beside it are for orientation.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._precision import wider

Check = Callable[[Any], None]
"""Raises AssertionError for an answer that is wrong."""

FEWEST, MOST, QUICK = 5, 31, 3
"""Rounds: at least, at most, and of a quick race."""
REST = 0.1
"""Seconds before a run on a CPU: threads of the one before may spin for work that never comes."""
LARGE = 2**28
"""Bytes from which arrays are compared where they are: to copy them from a device takes longer."""


# --- contenders -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Bytes of a compiled program: what it allocates beside arguments and outputs, and the rest."""

    temporaries: int
    outputs: int
    arguments: int

    @property
    def peak(self) -> int:
        """All that is alive at once, at most."""
        return self.temporaries + self.outputs + self.arguments


@dataclass(frozen=True)
class Contender:
    """One implementation; `run` returns when its result is there, not when it is dispatched."""

    name: str
    run: Callable[[], Any]
    compile_seconds: float = 0.0
    first_seconds: float = 0.0
    memory: Memory | None = None
    answer: Any = field(default=None, compare=False, repr=False)


class WrongAnswerError(AssertionError):
    """A contender's answer is not the right one, so its time means nothing."""


def compiled(
    name: str, function: Callable, *args: Any, check: Check | None = None, **options: Any
) -> Contender:
    """A JAX function at these arguments, compiled ahead; `options` go to `jax.jit`."""
    began = time.perf_counter()
    program = jax.jit(function, **options).lower(*args).compile()
    compile_seconds = time.perf_counter() - began
    sizes, memory = program.memory_analysis(), None
    if sizes is not None:
        memory = Memory(
            sizes.temp_size_in_bytes, sizes.output_size_in_bytes, sizes.argument_size_in_bytes
        )

    def run() -> Any:
        return jax.block_until_ready(program(*args))

    return _checked(Contender(name, run, compile_seconds, memory=memory), check)


def plain(name: str, run: Callable[[], Any], check: Check | None = None) -> Contender:
    """Anything else: a function without arguments that returns when it is done."""
    return _checked(Contender(name, run), check)


def _checked(contender: Contender, check: Check | None) -> Contender:
    began = time.perf_counter()
    answer = contender.run()
    first_seconds = time.perf_counter() - began
    if check is not None:
        try:
            check(answer)
        except AssertionError as fault:
            raise WrongAnswerError(f"{contender.name}: {fault}") from fault
    return replace(contender, first_seconds=first_seconds, answer=answer)


def equal_to(right: Any, tolerance: float) -> Check:
    """Compares (E, ∇E), or a part, with the right one, relative to the largest of each array."""
    truth = [_to_compare(leaf) for leaf in jax.tree.leaves(right)]

    def check(answer: Any) -> None:
        for got, expected in zip(jax.tree.leaves(answer), truth, strict=True):
            there = isinstance(expected, jax.Array)
            distance = _distance_there if there else _distance
            error, largest = map(float, distance(got if there else _to_compare(got), expected))
            assert error <= tolerance * largest, f"off by {error / largest:.1e} of the largest"

    return check


def _to_compare(leaf: Any) -> Any:
    """In float64 on the host; a large array stays as it is, where it is."""
    large = isinstance(leaf, jax.Array) and leaf.nbytes >= LARGE
    return leaf if large else np.asarray(leaf, np.float64)


def _distance(got: Any, right: Any) -> tuple[Any, Any]:
    """(max |got − right|, max |right|)."""
    return np.abs(np.asarray(got, np.float64) - right).max(), np.abs(right).max()


@jax.jit
def _distance_there(got: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same on the device, in float32 at least; nothing as large as the arrays is made."""
    wide = wider(wider(got.dtype, right.dtype), jnp.float32)
    got, right = got.astype(wide), right.astype(wide)
    return jnp.max(jnp.abs(got - right)), jnp.max(jnp.abs(right))


# --- the race -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quartiles:
    """The median of some numbers, with their quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quartiles":
        """Of at least one number."""
        lower, median, upper = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(lower), float(upper))


@dataclass(frozen=True)
class Timing:
    """One contender's runs, in seconds, in the order of the rounds."""

    contender: Contender
    seconds: tuple[float, ...]

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    @property
    def quartiles(self) -> Quartiles:
        """Of the runs."""
        return Quartiles.of(self.seconds)


def race(
    contenders: Sequence[Contender], budget: float = 20.0, quick: bool = False
) -> dict[str, Timing]:
    """Every contender once a round, the first in line last in the next; by name.

    As many rounds as fit `budget` seconds, by what the first runs took, from 5 to 31; a quick race
    has three. Only on a CPU, and if the race is not quick, there is a rest before each run.
    """
    a_round = sum(contender.first_seconds for contender in contenders)
    rounds = QUICK if quick else int(np.clip(budget / max(a_round, 1e-9), FEWEST, MOST))
    rest = 0.0 if quick or jax.default_backend() != "cpu" else REST
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    order = list(contenders)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for contender in order:
                time.sleep(rest)
                began = time.perf_counter()
                contender.run()
                seconds[contender.name].append(time.perf_counter() - began)
            order.append(order.pop(0))
    finally:
        gc.enable()
    return {c.name: Timing(c, tuple(seconds[c.name])) for c in contenders}


def ratio(slow: Timing, fast: Timing) -> Quartiles:
    """How many times as long the first takes, round by round."""
    return Quartiles.of([a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)])


def fastest(timings: Sequence[Timing]) -> Timing:
    """The one with the smallest median."""
    return min(timings, key=lambda timing: timing.quartiles.median)
