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

from handgrad.explain.programs import CALLS, as_function, literal, variables
from handgrad.explain.summary import plain
from handgrad.explain.tape import Tape

RELATIVE = 1e-9
"""Of the largest entry: far below any coincidence, far above the rounding of float64."""


@dataclass(frozen=True)
class Meeting:
    """A line works out what the tape holds: a value, or a cotangent, of the value with `index`."""

    index: int
    cotangent: bool


def meetings(arrays: list[np.ndarray], args: tuple, tape: Tape) -> tuple[Meeting, ...]:
    """Where what a line worked out meets the tape; the arguments themselves do not count."""
    given = [plain(leaf) for leaf in jax.tree.leaves(args)]
    worked = [a for a in _telling(arrays) if not any(_same(a, g) for g in given)]
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


def sifted(lines: list[tuple[Meeting, ...]], tape: Tape) -> list[tuple[Meeting, ...]]:
    """Each meeting where it says most, as every line after it has the same numbers in it.

    A value belongs to the first line that computes it: that is where the loss is written out. The
    gradient is what all lines are, and belongs to the last, its closed form. Any other cotangent
    stays with the lines that work it out, but for the first of several, which leaves it to a ∂.
    """
    kept: list[list[Meeting]] = [[] for _ in lines]
    for meeting in dict.fromkeys(m for line in lines for m in line):
        where = [i for i, line in enumerate(lines) if meeting in line]
        if not meeting.cotangent:
            where = where[:1]
        elif meeting.index in tape.wanted:
            where = [i for i in where[-1:] if i == len(lines) - 1]
        elif len(where) > 1:
            where = where[1:]
        for i in where:
            kept[i].append(meeting)
    return [tuple(sorted(line, key=lambda m: (m.cotangent, m.index))) for line in kept]


def worked_out(line: Callable[..., Any], args: tuple) -> tuple[list, list]:
    """What a line comes to, as flat leaves; and every array that it computes on the way, and those.

    A line that cannot be traced (a limit, taken from numbers) has nothing on the way.
    """
    leaves, tree = jax.tree.flatten(args)
    try:
        program = jax.make_jaxpr(lambda *flat: line(*jax.tree.unflatten(tree, flat)))(*leaves)
    except Exception:
        result = jax.tree.leaves(line(*args))
        return result, result

    def everything(*operands: Any) -> tuple[list, list]:
        arrays: list[Any] = []
        result = _run(program, list(operands), arrays)
        return result, [*arrays, *result]

    return jax.jit(everything)(*leaves)


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
        return literal(atom) if isinstance(atom, Literal) else env[atom]

    for equation in jaxpr.eqns:
        outputs: Any
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
