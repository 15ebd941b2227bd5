"""The tape: every equation of a traced loss with its value, its local derivatives, its cotangents.

A loss is a list of equations. Forwards, each one takes values and gives a value; backwards, each
one takes the cotangent v̄ = ∂E/∂v of what it gave and sends cotangents to what it took. A value
that was used twice is sent two, and they are added. That is the whole of reverse-mode autodiff.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from handgrad.explain.primitives import LocalJacobian, expression
from handgrad.explain.source import SourceLocation
from handgrad.explain.summary import format_number, summarise

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
    """What it does as data, where a page can compute it again (`operations`)."""
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
        if found.low is not None and found.low == found.high:
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
