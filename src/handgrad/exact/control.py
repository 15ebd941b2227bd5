"""Control flow and calls: equations that hold whole programs.

Each rule is given `run(program, operands) -> outputs` beside its operands. Branches and loop
conditions are plain booleans by the time they arrive: a comparison that could not be decided has
raised before.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from handgrad.exact.balls import kind
from handgrad.exact.conversion import stacked

Run = Callable[[Any, list[Any]], list[Any]]


def call(run: Run, *operands: Any, **params: Any) -> list[Any]:
    """A call, whatever its transformation rules: only the program itself is evaluated."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in params:
            return run(params[name], list(operands))
    raise KeyError(f"a call without a program: {sorted(params)}")


def cond(run: Run, index: Any, *operands: Any, branches: Any, **params: Any) -> list[Any]:
    """The branch that the index names, which is held in range as `lax.switch` does."""
    return run(branches[int(np.clip(int(index), 0, len(branches) - 1))], list(operands))


def while_loop(
    run: Run, *operands: Any, cond_jaxpr: Any, body_jaxpr: Any, cond_nconsts: int,
    body_nconsts: int, **params: Any,
) -> list[Any]:  # fmt: skip
    """The body, for as long as the condition holds."""
    cond_consts = list(operands[:cond_nconsts])
    body_consts = list(operands[cond_nconsts : cond_nconsts + body_nconsts])
    carry = list(operands[cond_nconsts + body_nconsts :])
    while bool(run(cond_jaxpr, cond_consts + carry)[0]):
        carry = run(body_jaxpr, body_consts + carry)
    return carry


def scan(
    run: Run, *operands: Any, jaxpr: Any, length: int, reverse: bool, num_consts: int,
    num_carry: int, **params: Any,
) -> list[Any]:  # fmt: skip
    """The body over the leading axis of the inputs, its outputs stacked along a new one."""
    consts = list(operands[:num_consts])
    carry = list(operands[num_consts : num_consts + num_carry])
    inputs = operands[num_consts + num_carry :]
    rows: list[Any] = [None] * length
    for step in reversed(range(length)) if reverse else range(length):
        entries = [_entry(array, step) for array in inputs]
        outputs = run(jaxpr, consts + carry + entries)
        carry, rows[step] = outputs[:num_carry], outputs[num_carry:]
    if length == 0:
        avals = (jaxpr.jaxpr if hasattr(jaxpr, "jaxpr") else jaxpr).outvars[num_carry:]
        dtypes = [object if kind(v.aval.dtype) == "real" else v.aval.dtype for v in avals]
        empty = [np.zeros((0, *v.aval.shape), d) for v, d in zip(avals, dtypes, strict=True)]
        return carry + empty
    return carry + [stacked(list(column)) for column in zip(*rows, strict=True)]


def _entry(array: Any, index: int) -> Any:
    entry = array[index]
    return np.asarray(entry, dtype=array.dtype) if isinstance(array, np.ndarray) else entry


def linear_solve(
    run: Run, *operands: Any, const_lengths: Any, jaxprs: Any, **params: Any
) -> list[Any]:
    """A solve by the program that the caller supplied for it."""
    before = const_lengths.matvec + const_lengths.vecmat
    consts = operands[before : before + const_lengths.solve]
    right = operands[before + const_lengths.solve + const_lengths.transpose_solve :]
    return run(jaxprs.solve, [*consts, *right])


def platform_index(run: Run, *operands: Any, platforms: Any, **params: Any) -> list[Any]:
    """Which of the alternatives for different devices applies: the one for a CPU, or for all."""
    for index, names in enumerate(platforms):
        if names is None or "cpu" in names:
            return [np.asarray(index, dtype=np.int32)]
    raise KeyError(f"no alternative for a CPU among {platforms}")


def ignored(run: Run, *operands: Any, **params: Any) -> list[Any]:
    """A message to the user, such as `jax.debug.print`: no part of the value."""
    return []


RULES: dict[str, Callable[..., list[Any]]] = {
    "call": call,
    "checkpoint": call,
    "closed_call": call,
    "cond": cond,
    "core_call": call,
    "core_closed_call": call,
    "custom_jvp_call": call,
    "custom_linear_solve": linear_solve,
    "custom_vjp_call": call,
    "custom_vjp_call_jaxpr": call,
    "jit": call,
    "debug_callback": ignored,
    "debug_print": ignored,
    "linear_solve": linear_solve,
    "pjit": call,
    "platform_index": platform_index,
    "remat": call,
    "remat2": call,
    "scan": scan,
    "while": while_loop,
}
