"""Contenders: what is to be timed, ready to run, with what its compiled program tells of it.

A contender has been compiled and has run once before anything is timed, and its answer has been
held against the right one: a fast wrong answer has no time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax

Check = Callable[[Any], None]
"""Raises AssertionError for an answer that is wrong."""


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
    flops: float | None = None
    """As the compiler counts them; None where there is no compiler that does."""
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
    sizes, cost = program.memory_analysis(), program.cost_analysis()
    memory = None
    if sizes is not None:
        memory = Memory(
            sizes.temp_size_in_bytes, sizes.output_size_in_bytes, sizes.argument_size_in_bytes
        )
    flops = cost.get("flops") if isinstance(cost, dict) else None
    return _tried(
        Contender(
            name=name,
            run=lambda: jax.block_until_ready(program(*args)),
            compile_seconds=compile_seconds,
            memory=memory,
            flops=flops,
        ),
        check,
    )


def plain(name: str, run: Callable[[], Any], check: Check | None = None) -> Contender:
    """Anything else: a function without arguments that returns when it is done."""
    return _tried(Contender(name, run), check)


def _tried(contender: Contender, check: Check | None) -> Contender:
    began = time.perf_counter()
    answer = contender.run()
    first_seconds = time.perf_counter() - began
    if check is not None:
        try:
            check(answer)
        except AssertionError as fault:
            raise WrongAnswerError(f"{contender.name}: {fault}") from fault
    return Contender(
        contender.name, contender.run, contender.compile_seconds, first_seconds,
        contender.memory, contender.flops, answer,
    )  # fmt: skip
