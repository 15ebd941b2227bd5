"""The tape: every equation of a traced loss with its value, its local derivatives, its cotangents.

A loss is a list of equations. Forwards, each one takes values and gives a value; backwards, each
one takes the cotangent v̄ = ∂E/∂v of what it gave and sends cotangents to what it took. A value
that was used twice is sent two, and they are added. That is the whole of reverse-mode autodiff.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from handgrad.explain.primitives import LocalJacobian, expression
from handgrad.explain.source import SourceLocation
from handgrad.explain.summary import format_number, summarise

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
class BodyEquation:
    """One equation of the program inside another, run forward: a loop's body, a branch."""

    name: str
    primitive: str
    detail: str
    inputs: tuple[str, ...]
    array: Any

    def __str__(self) -> str:
        return f"{self.name} = {expression(self.primitive, self.detail, list(self.inputs))}"


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
    body_title: str = ""
    """What `body` is: the taken branch, the first iteration, the function of a custom rule."""
    body: tuple[BodyEquation, ...] = ()


@dataclass(frozen=True)
class Tape:
    """Equations in the order of the forward pass; the backward pass is the same order reversed."""

    values: tuple[TapeValue, ...]
    equations: tuple[TapeEquation, ...]
    inputs: tuple[int, ...]
    """The leaves of the arguments, as indices of values."""
    wanted: tuple[int, ...]
    """The leaves that are differentiated: their cotangents are the gradient."""
    output: int

    @property
    def loss(self) -> TapeValue:
        """The last value: the loss."""
        return self.values[self.output]

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
        return value.name or found.kind

    def formula(self, equation: TapeEquation) -> str:
        """`logits = matmul + v₁`."""
        outputs = ", ".join(self.values[i].name for i in equation.outputs)
        operands = [self.name(i) for i in equation.inputs]
        return f"{outputs} = {expression(equation.primitive, equation.detail, operands)}"


def name_values(values: list[TapeValue], equations: list[TapeEquation], output: int) -> None:
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
