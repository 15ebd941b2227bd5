"""What of a tape is folded away: what is constant, and guards that change nothing here.

A guard lets one operand through as it is: `where(ok, z, 0)` where all is well, a sum with a penalty
of 0. Its value goes under the name of what it let through, and the equations that only a guard
needs are folded with it. All of this is true at the numbers of this tape, and said so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from handgrad.explain.summary import as_numpy
from handgrad.explain.tape import Tape, TapeEquation

GUARDS = {"add", "convert_element_type", "div", "max", "min", "mul", "select_n", "sub"}


@dataclass(frozen=True)
class Folding:
    """The equations that are folded away, and what that makes of the values."""

    hidden: frozenset[int]
    """Indices of equations."""
    lets_through: Mapping[int, int]
    """For the value of a guard, the value that it lets through."""
    names: Mapping[int, str]
    """The names of values that go under another's."""

    def resolve(self, value: int) -> int:
        """The value itself, or what guards let through to be it."""
        while value in self.lets_through:
            value = self.lets_through[value]
        return value


UNFOLDED = Folding(frozenset(), {}, {})


def fold(tape: Tape, guards: bool = True) -> Folding:
    """What is folded away of a tape; without `guards` only what is constant.

    In a loop the same equation may let through in one iteration and not in the next.
    """
    through = {
        equation.outputs[0]: passed
        for equation in tape.equations
        if guards and (passed := _lets_through(tape, equation)) is not None
    }
    folding = Folding(frozenset(), through, _names(tape, through))
    needed = {folding.resolve(index) for index in tape.outputs}
    hidden = set()
    for equation in reversed(tape.equations):
        is_guard = not through.keys().isdisjoint(equation.outputs)
        is_fixed = tape.fixed.issuperset(equation.outputs)
        is_needed = equation.active or needed & set(equation.outputs)
        if is_guard or is_fixed or (guards and not is_needed):
            hidden.add(equation.index)
        else:
            needed.update(map(folding.resolve, equation.inputs))
    if tape.fixed.issuperset(tape.outputs):  # a loss that depends on nothing
        hidden -= {e.index for e in tape.equations if set(e.outputs) & set(tape.outputs)}
    return Folding(frozenset(hidden), through, folding.names)


def _lets_through(tape: Tape, equation: TapeEquation) -> int | None:
    """The operand that a guard lets through, bit for bit."""
    if equation.primitive not in GUARDS or len(equation.outputs) != 1:
        return None
    data = equation.inputs[1:] if equation.primitive == "select_n" else equation.inputs
    varying = {index for index in data if index not in tape.fixed}
    if len(varying) != 1:
        return None
    (passed,) = varying
    if equation.primitive in ("max", "min") and not _is_endless(tape, data, passed):
        return None
    a, b = as_numpy(tape.values[passed].array), as_numpy(tape.values[equation.outputs[0]].array)
    if a is None or b is None or a.dtype != b.dtype or not np.array_equal(a, b):
        return None
    return passed


def _is_endless(tape: Tape, data: tuple[int, ...], passed: int) -> bool:
    """Whether the other operand is infinite: the larger of z and 0 is no guard."""
    others = [np.asarray(tape.values[i].array) for i in data if i != passed]
    return bool(others) and all(np.isinf(other).all() for other in others)


def _names(tape: Tape, through: Mapping[int, int]) -> dict[int, str]:
    """One name for a value and all that lets it through: the loss's, else one of the user's."""
    folding = Folding(frozenset(), through, {})
    groups: dict[int, list[int]] = {}
    for value in through:
        first = folding.resolve(value)
        groups.setdefault(first, [first]).append(value)
    names = {}
    for first, members in groups.items():
        by_user = [tape.name(i) for i in (first, *reversed(members)) if not _is_numbered(tape, i)]
        final = [tape.name(i) for i in members if i in tape.outputs]
        name = (final or by_user or [tape.name(first)])[0]
        if tape.values[first].kind == "input":
            name = tape.name(first)
        names.update(dict.fromkeys(members, name))
    return names


def _is_numbered(tape: Tape, index: int) -> bool:
    """Whether a value has no name of the user's: v₁, v₂, ..."""
    name = tape.values[index].name
    return name[:1] == "v" and name[1:].isdigit() and not name[1:].isascii()
