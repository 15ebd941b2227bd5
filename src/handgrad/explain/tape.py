"""The tape: every equation of a traced loss with its value, its slopes and its cotangents.

A loss is a list of equations. Forwards, each one takes values and gives a value; backwards, each
one takes the cotangent v̄ = ∂E/∂v of what it gave and sends cotangents to what it took. A value
that was used twice is sent two, and they are added. That is the whole of reverse-mode autodiff.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from handgrad.explain.origins import Origin
from handgrad.explain.slopes import Slope
from handgrad.explain.summary import number, summarise
from handgrad.explain.symbols import expression


@dataclass(frozen=True)
class Value:
    """An array that the loss was given, holds as a constant, or computes on the way."""

    index: int
    name: str
    kind: str
    """`input`, `constant` or `computed`."""
    array: Any
    active: bool
    """Whether the gradient passes through: it depends on a differentiated argument."""
    cotangent: Any = None
    """∂E/∂v, an array of the value's shape; None where nothing was sent."""


@dataclass(frozen=True)
class Inner:
    """One equation of the program inside another, run forward: a loop's body, a branch."""

    name: str
    primitive: str
    detail: str
    inputs: tuple[str, ...]
    array: Any

    def __str__(self) -> str:
        formula = expression(self.primitive, self.detail, list(self.inputs))
        return f"{self.name} = {formula}"


@dataclass(frozen=True)
class Equation:
    """One application of a primitive: values in, values out, cotangents the other way."""

    index: int
    primitive: str
    detail: str
    """What the primitive's name leaves out: an exponent, a dtype, the name of a custom rule."""
    inputs: tuple[int, ...]
    """Indices of values, in the order of the operands."""
    outputs: tuple[int, ...]
    active: bool
    origin: Origin | None
    calls: tuple[str, ...]
    """The functions under `jax.jit` that it was found in, outermost first."""
    slopes: tuple[Slope | None, ...]
    """∂output/∂input for each input; None where no gradient passes."""
    sent: tuple[Any, ...]
    """The cotangent that this equation sends to each input; None where none."""
    opened: str = ""
    """What `body` is: the taken branch, the first iteration, the function of a custom rule."""
    body: tuple[Inner, ...] = ()


@dataclass(frozen=True)
class Tape:
    """Equations in the order of the forward pass; the backward pass is the same order reversed."""

    values: tuple[Value, ...]
    equations: tuple[Equation, ...]
    inputs: tuple[int, ...]
    """The leaves of the arguments, as indices of values."""
    wanted: tuple[int, ...]
    """The leaves that are differentiated: their cotangents are the gradient."""
    output: int

    @property
    def loss(self) -> Value:
        """The last value: the loss."""
        return self.values[self.output]

    @property
    def backward(self) -> tuple[Equation, ...]:
        """The equations that a cotangent passes through, last first."""
        return tuple(e for e in reversed(self.equations) if any(s is not None for s in e.sent))

    def names(self, indices: tuple[int, ...]) -> list[str]:
        """What values are called in a formula: a name, or the number of a constant."""
        return [self.name(index) for index in indices]

    def name(self, index: int) -> str:
        """The name of a value; a constant, and what is computed from constants, is its number."""
        value = self.values[index]
        if value.kind == "input" or index not in self.fixed:
            return value.name
        found = summarise(value.array)
        if found.low is not None and found.low == found.high:
            return number(found.low)
        return value.name or found.kind

    @cached_property
    def fixed(self) -> frozenset[int]:
        """The values that no argument has a say in."""
        fixed = {v.index for v in self.values if v.kind == "constant"}
        for equation in self.equations:
            if fixed.issuperset(equation.inputs):
                fixed.update(equation.outputs)
        return frozenset(fixed)

    def formula(self, equation: Equation) -> str:
        """`logits = matmul + v₁`."""
        given = ", ".join(self.values[i].name for i in equation.outputs)
        operands = self.names(equation.inputs)
        return f"{given} = {expression(equation.primitive, equation.detail, operands)}"

    def users(self, index: int) -> tuple[Equation, ...]:
        """The equations that take this value."""
        return tuple(e for e in self.equations if index in e.inputs)
