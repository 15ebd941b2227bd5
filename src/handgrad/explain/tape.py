"""The tape: every equation of a traced loss with its value, its local derivatives, its cotangents.

A loss is a list of equations. Forwards, each one takes values and gives a value; backwards, each
one takes the cotangent v̄ = ∂E/∂v of what it gave and sends cotangents to what it took. A value
that was used twice is sent two, and they are added. That is the whole of reverse-mode autodiff.

What is constant can be folded away (`fold`), and so can guards, which let one operand through as it
is: `where(ok, z, 0)` where all is well, a sum with a penalty of 0. All of that is true at the
numbers of this tape, and said so.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from handgrad.explain.primitives import LocalJacobian, expression
from handgrad.explain.source import SourceLocation
from handgrad.explain.summary import as_numpy, format_number, summarise

NO_NAMES: Mapping[int, str] = MappingProxyType({})
SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(eq=False)
class TapeValue:
    """An array that the loss was given, holds as a constant, or computes on the way."""

    kind: str
    """`input`, `constant` or `computed`."""
    array: Any
    active: bool = False
    """Whether the gradient passes through: it depends on a differentiated argument."""
    name: str = ""
    cotangent: Any = None
    """∂E/∂v, an array of the value's shape; None where nothing was sent."""
    index: int = -1
    """Its place on the tape."""


@dataclass(frozen=True)
class TapeEquation:
    """One application of a primitive: values in, values out, cotangents the other way."""

    index: int
    primitive: str
    detail: str
    """What the primitive's name leaves out: an exponent, a dtype, the name of a custom rule."""
    inputs: tuple[int, ...]
    """Indices of values, in the order of the operands."""
    outputs: tuple[int, ...]
    active: bool
    source: SourceLocation | None
    calls: tuple[str, ...]
    """The functions under `jax.jit` that it was found in, outermost first."""
    jacobians: tuple[LocalJacobian | None, ...]
    """∂output/∂input for each input; None where no gradient passes."""
    sent: tuple[Any, ...]
    """The cotangent that this equation sends to each input; None where none."""
    operation: dict[str, Any] | None = None
    """What it does as data, where a page can compute it again (`operation_of`)."""
    body: "Body | None" = None
    """The program that it holds, as it ran."""


@dataclass(frozen=True)
class Tape:
    """Equations in the order of the forward pass; the backward pass is the same order reversed."""

    values: tuple[TapeValue, ...]
    equations: tuple[TapeEquation, ...]
    inputs: tuple[int, ...]
    """The leaves of the arguments, as indices of values."""
    wanted: tuple[int, ...]
    """The leaves that are differentiated: their cotangents are the gradient."""
    outputs: tuple[int, ...]
    """The loss; or what the body of a loop gives."""

    def length(self) -> str:
        """'1 equation', '21 equations'."""
        return f"{len(self.equations)} equation{'s' * (len(self.equations) != 1)}"

    @property
    def loss(self) -> TapeValue:
        """The last value: the loss."""
        return self.values[self.outputs[-1]]

    @property
    def backward(self) -> tuple[TapeEquation, ...]:
        """The equations that a cotangent passes through, last first."""
        return tuple(e for e in reversed(self.equations) if any(s is not None for s in e.sent))

    @cached_property
    def fixed(self) -> frozenset[int]:
        """The values that depend on no argument."""
        fixed = {v.index for v in self.values if v.kind == "constant"}
        for equation in self.equations:
            if fixed.issuperset(equation.inputs):
                fixed.update(equation.outputs)
        return frozenset(fixed)

    def name(self, index: int) -> str:
        """The name of a value; a constant, and what is computed from constants, is its number."""
        value = self.values[index]
        if value.kind == "input" or index not in self.fixed:
            return value.name
        found = summarise(value.array)
        if found.low == found.high:
            return format_number(found.low)
        return value.name or found.text

    def formula(self, equation: TapeEquation, names: Mapping[int, str] = NO_NAMES) -> str:
        """`logits = matmul + v₁`; `names` are other names for some values."""
        outputs = ", ".join(names.get(i, self.values[i].name) for i in equation.outputs)
        operands = [names[i] if i in names else self.name(i) for i in equation.inputs]
        return f"{outputs} = {expression(equation.primitive, equation.detail, operands)}"


@dataclass(frozen=True)
class Body:
    """What an equation holds: the body of a loop, a branch, the function of a custom rule."""

    title: str
    """`5 iterations`, `branch 1 of 2`, `the function it computes`."""
    runs: tuple[Tape, ...]
    """Its program as it ran, each equation by itself: once for each iteration of a loop."""
    order: tuple[int, ...] = ()
    """For a scan: the row of the stacked arrays that each run took and gave."""


def name_values(
    values: list[TapeValue], equations: list[TapeEquation], output: int | None = None
) -> None:
    """Name computed values: after what the user assigned them to, numbered where it repeats.

    One expression may take several equations (`jnp.mean` is a sum and a quotient); the last of
    them has the expression's value, and its name.
    """
    following = [e.source for e in equations[1:]] + [None]
    assigned: dict[int, str] = {}
    for equation, after in zip(equations, following, strict=False):
        source = equation.source
        if source is not None and source != after and len(source.names) == len(equation.outputs):
            assigned.update(zip(equation.outputs, source.names, strict=True))
    if output is not None:
        assigned[output] = "loss"
    total = Counter(name for index, name in assigned.items() if index != output)
    taken = {value.name for value in values if value.kind == "input"}
    counts: Counter = Counter()
    for value in values:
        if value.kind != "computed":
            continue
        name = assigned.get(value.index, "v")
        repeats = value.index != output and (total[name] > 1 or name in taken)
        if repeats or value.index not in assigned:
            counts[name] += 1
            name += str(counts[name]).translate(SUBSCRIPT)
        value.name = name


# --- folded away ----------------------------------------------------------------------------------

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
    folding = Folding(frozenset(), through, {})
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
    return Folding(frozenset(hidden), through, _names(tape, folding))


def _lets_through(tape: Tape, equation: TapeEquation) -> int | None:
    """The operand that a guard lets through, bit for bit."""
    if equation.primitive not in GUARDS or len(equation.outputs) != 1:
        return None
    data = equation.inputs[1:] if equation.primitive == "select_n" else equation.inputs
    varying = set(data) - tape.fixed
    if len(varying) != 1:
        return None
    (passed,) = varying
    if equation.primitive in ("max", "min"):  # the larger of z and 0 is no guard, of z and −∞ is
        others = [np.asarray(tape.values[i].array) for i in data if i != passed]
        if not others or not all(np.isinf(other).all() for other in others):
            return None
    a, b = (as_numpy(tape.values[i].array) for i in (passed, equation.outputs[0]))
    if a is None or b is None or a.dtype != b.dtype or not np.array_equal(a, b):
        return None
    return passed


def _names(tape: Tape, folding: Folding) -> dict[int, str]:
    """One name for a value and all that lets it through: the loss's, else one of the user's."""
    groups: dict[int, list[int]] = {}
    for value in folding.lets_through:
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
