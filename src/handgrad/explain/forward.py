"""The forward pass: every equation of a program run by itself, its value kept.

A call under `jax.jit` is opened, and its equations join the tape. What holds a program of another
kind (scan, cond, while, a custom rule, a checkpoint) is one equation: so `jax.grad` takes it too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.extend.core import Literal

from handgrad.explain.inside import opened
from handgrad.explain.origins import origin_of
from handgrad.explain.programs import (
    CALLS,
    as_function,
    is_float,
    literal,
    needed,
    reached,
    variables,
)
from handgrad.explain.symbols import detail
from handgrad.explain.tape import Equation, Value


@dataclass
class Step:
    """One equation as it ran: a function of the operands that the gradient passes through."""

    equation: Any
    active: list[Any]
    run: Callable[..., list]
    """The outputs as a function of `active`; the other operands are held."""
    reached: list[bool]
    """For each output, whether the active operands have a say in it."""
    index: int
    """Its place on the tape."""


@dataclass
class Call:
    """An opened call: its program's scope, and the equation it was."""

    equation: Any
    scope: "Scope"


@dataclass
class Scope:
    """A program on its way: what its variables hold, and which of them the gradient reaches."""

    jaxpr: Any
    env: dict[Any, Any]
    ids: dict[Any, int]
    active: set[Any]
    steps: list[Step | Call] = field(default_factory=list)

    def read(self, atom: Any) -> Any:
        """The array that an atom stands for."""
        return literal(atom) if isinstance(atom, Literal) else self.env[atom]

    def is_active(self, atom: Any) -> bool:
        """Whether the gradient passes through an atom."""
        return not isinstance(atom, Literal) and atom in self.active


@dataclass
class Recording:
    """The tape while it is written."""

    values: list[Value] = field(default_factory=list)
    equations: list[Equation] = field(default_factory=list)

    def value(self, kind: str, name: str, array: Any, active: bool) -> int:
        """Note an array; its index."""
        self.values.append(Value(len(self.values), name, kind, array, active))
        return len(self.values) - 1


def run_forward(
    program: Any, operands: list, ids: list[int], active: list[bool], record: Recording,
    calls: tuple[str, ...] = (), wanted: list[bool] | None = None,
) -> Scope:  # fmt: skip
    """Run a program's equations in order, onto the tape; its scope, for the way back."""
    jaxpr, consts = program.jaxpr, program.consts
    scope = Scope(jaxpr, dict(zip(jaxpr.invars, operands, strict=True)), {}, set())
    scope.ids.update(zip(jaxpr.invars, ids, strict=True))
    scope.active.update(v for v, on in zip(jaxpr.invars, active, strict=True) if on)
    for variable, const in zip(jaxpr.constvars, consts, strict=True):
        scope.env[variable] = const
        scope.ids[variable] = record.value("constant", "", const, False)
    for equation in needed(jaxpr, wanted or [True] * len(jaxpr.outvars)):
        if equation.primitive.name in CALLS and "jaxpr" in equation.params:
            _call(equation, scope, record, calls)
        else:
            _equation(equation, scope, record, calls)
    return scope


def index_of(atom: Any, scope: Scope, record: Recording) -> int:
    """The value that an atom is; a literal becomes one."""
    if isinstance(atom, Literal):
        return record.value("constant", "", literal(atom), False)
    return scope.ids[atom]


def _call(equation: Any, scope: Scope, record: Recording, calls: tuple[str, ...]) -> None:
    operands = [scope.read(a) for a in equation.invars]
    ids = [index_of(a, scope, record) for a in equation.invars]
    active = [scope.is_active(a) for a in equation.invars]
    name = str(equation.params.get("name", "")).strip("_")
    program = equation.params["jaxpr"]
    inner = run_forward(program, operands, ids, active, record, (*calls, name))
    for variable, atom in zip(equation.outvars, program.jaxpr.outvars, strict=True):
        scope.env[variable] = inner.read(atom)
        scope.ids[variable] = index_of(atom, inner, record)
        if inner.is_active(atom):
            scope.active.add(variable)
    scope.steps.append(Call(equation, inner))


def _equation(equation: Any, scope: Scope, record: Recording, calls: tuple[str, ...]) -> None:
    operands = variables(equation.invars)
    function = as_function(scope.jaxpr, equation, operands)
    held = {v: scope.env[v] for v in operands}
    active = [v for v in operands if v in scope.active]

    def run(*arrays: Any) -> list:
        return function(*(held | dict(zip(active, arrays, strict=True))).values())

    at = [held[v] for v in active]
    if active:
        # the value as differentiation computes it: a custom rule may have a form of its own
        outputs, linear = jax.linearize(run, *at)
        traced = jax.make_jaxpr(linear)(*at)
        reach = [
            r and is_float(v.aval) for r, v in zip(reached(traced), equation.outvars, strict=True)
        ]
    else:
        outputs, reach = run(), [False] * len(equation.outvars)
    inputs = tuple(index_of(a, scope, record) for a in equation.invars)
    scope.env.update(zip(equation.outvars, outputs, strict=True))
    for variable, array, on in zip(equation.outvars, outputs, reach, strict=True):
        scope.ids[variable] = record.value("computed", "", array, on)
        if on:
            scope.active.add(variable)
    how, body = opened(equation, [scope.read(a) for a in equation.invars])
    none = (None,) * len(inputs)
    written = Equation(
        index=len(record.equations), primitive=equation.primitive.name,
        detail=detail(equation), inputs=inputs,
        outputs=tuple(scope.ids[v] for v in equation.outvars), active=any(reach),
        origin=origin_of(equation), calls=calls, slopes=none, sent=none, opened=how, body=body,
    )  # fmt: skip
    record.equations.append(written)
    scope.steps.append(Step(equation, active, run, reach, written.index))
