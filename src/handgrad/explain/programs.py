"""One equation of a jaxpr as a function, and the programs that an equation holds inside."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

CALLS = ("jit", "pjit", "closed_call", "core_call")
"""Equations that only call a program: their own equations stand on the tape instead."""


def closed(program: Any, consts: tuple = ()) -> ClosedJaxpr:
    """A jaxpr with its constants, whichever of the two it came as."""
    return program if hasattr(program, "consts") else ClosedJaxpr(program, consts)


def programs_in(equation: Any) -> list[ClosedJaxpr]:
    """The programs that an equation carries: branches, a loop's body, a called function."""
    found = []
    for param in equation.params.values():
        for entry in param if isinstance(param, list | tuple) else [param]:
            if hasattr(entry, "eqns") or hasattr(getattr(entry, "jaxpr", None), "eqns"):
                found.append(closed(entry))
    return found


def as_function(jaxpr: Any, equation: Any, operands: list) -> Callable:
    """The outputs of an equation of `jaxpr`, as a function of its distinct operands."""
    alone = jaxpr.replace(
        constvars=[], invars=operands, outvars=list(equation.outvars), eqns=[equation],
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )  # fmt: skip
    return jaxpr_as_fun(ClosedJaxpr(alone, []))


def variables(atoms: Any) -> list:
    """The distinct variables among some atoms: literals have none."""
    return list(dict.fromkeys(a for a in atoms if not isinstance(a, Literal)))


def literal(atom: Any) -> Any:
    """A number written into the program, in the dtype that the trace gave it."""
    return jax.numpy.asarray(np.asarray(atom.val, dtype=atom.aval.dtype))


def is_float(array: Any) -> bool:
    """Whether an array (or a variable's type) holds real numbers."""
    dtype = getattr(array, "dtype", None)
    return dtype is not None and bool(jax.numpy.issubdtype(dtype, np.floating))


def reached(program: ClosedJaxpr) -> list[bool]:
    """For each output of a program, whether any of its inputs has a say in it."""
    live = set(program.jaxpr.invars)
    for equation in program.jaxpr.eqns:
        if any(a in live for a in equation.invars if not isinstance(a, Literal)):
            live.update(equation.outvars)
    return [not isinstance(a, Literal) and a in live for a in program.jaxpr.outvars]


def needed(jaxpr: Any, outputs: list[bool]) -> list[Any]:
    """The equations that the wanted outputs depend on, in their order: the rest is dead code."""
    wanted = {
        a for a, w in zip(jaxpr.outvars, outputs, strict=True) if w and not isinstance(a, Literal)
    }
    kept = []
    for equation in reversed(jaxpr.eqns):
        if any(v in wanted for v in equation.outvars):
            kept.append(equation)
            wanted.update(variables(equation.invars))
    return kept[::-1]
