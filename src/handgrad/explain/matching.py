"""Which line of a derivation stands where on the tape: the same numbers at the same point.

Every line of a derivation has the value of its end, so its own value says little. What a line
works out on its way there says more: z, ŷ − y, (ŷ − y)/N. A line is traced like a loss, all that
it computes is collected, and whatever equals a value or a cotangent of the tape, entry by entry,
is a meeting of the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from handgrad.explain.programs import CALLS, as_function, variables
from handgrad.explain.summary import plain
from handgrad.explain.tape import Tape

RELATIVE = 1e-9
"""Of the largest entry: far below any coincidence, far above the rounding of float64."""


@dataclass(frozen=True)
class Meeting:
    """A line works out what the tape holds: a value, or a cotangent, of the value with `index`."""

    index: int
    cotangent: bool


def meetings(line: Callable[..., Any], args: tuple, tape: Tape) -> tuple[Meeting, ...]:
    """Where the line meets the tape: its inputs, and what is the same everywhere, do not count."""
    given = [plain(leaf) for leaf in jax.tree.leaves(args)]
    worked = [a for a in worked_out(line, args) if not any(_same(a, g) for g in given)]
    found = []
    for value in tape.values:
        for array, cotangent in ((value.array, False), (value.cotangent, True)):
            if value.kind == "constant" or (value.kind == "input" and not cotangent):
                continue
            if array is None or (value.index == tape.output and cotangent):
                continue
            if any(_same(array, one) for one in worked):
                found.append(Meeting(value.index, cotangent))
    return tuple(found)


def worked_out(line: Callable[..., Any], args: tuple) -> list[np.ndarray]:
    """Every float array that a line computes at these arguments, its result among them.

    A line that cannot be traced (a limit, taken from numbers) has its result alone.
    """
    leaves, tree = jax.tree.flatten(args)
    try:
        program = jax.make_jaxpr(lambda *flat: line(*jax.tree.unflatten(tree, flat)))(*leaves)
    except Exception:
        return _telling(jax.tree.leaves(line(*args)))
    arrays: list[Any] = []
    arrays += _run(program, leaves, arrays)
    return _telling(arrays)


def _telling(arrays: list) -> list[np.ndarray]:
    """Without what is 0 or 1 or one number everywhere: that would meet anything."""
    kept: list[np.ndarray] = []
    for array in map(plain, arrays):
        if array is None or array.dtype.kind != "f" or not array.size:
            continue
        single = array.size == 1 and float(2 * array.ravel()[0]).is_integer()
        if single or (array.size > 1 and (array == array.ravel()[0]).all()):
            continue
        if not any(a.shape == array.shape and np.array_equal(a, array) for a in kept):
            kept.append(array)
    return kept


def _run(program: Any, operands: list, arrays: list) -> list:
    jaxpr = program.jaxpr
    env = dict(zip(jaxpr.invars, operands, strict=True))
    env.update(zip(jaxpr.constvars, program.consts, strict=True))

    def read(atom: Any) -> Any:
        return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else env[atom]

    for equation in jaxpr.eqns:
        if equation.primitive.name in CALLS and "jaxpr" in equation.params:
            outputs = _run(equation.params["jaxpr"], list(map(read, equation.invars)), arrays)
        else:
            taken = variables(equation.invars)
            outputs = as_function(jaxpr, equation, taken)(*map(read, taken))
        env.update(zip(equation.outvars, outputs, strict=True))
        arrays.extend(outputs)
    return [read(atom) for atom in jaxpr.outvars]


def _same(a: Any, b: Any) -> bool:
    x, y = plain(a), plain(b)
    if x is None or y is None or x.size != y.size or x.dtype.kind != "f":
        return False
    x, y = np.squeeze(x), np.squeeze(np.asarray(y, np.float64))
    if x.shape != y.shape or (x.size > 1 and (x == x.ravel()[0]).all()):
        return False
    return bool((np.abs(x - y) <= RELATIVE * np.abs(y).max()).all())
