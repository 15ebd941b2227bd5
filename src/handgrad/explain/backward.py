"""The backward pass: each equation's own pullback, last equation first, cotangents added.

The sum at a value that was used more than once is taken in the order in which `jax.grad` takes it:
a pullback adds to what later equations have sent before it. That order decides the last bit. It
is had by differentiating, beside an equation, the identity on the operands that already hold
something: `jax.vjp` then adds the equation's own cotangents to those that the identity passes on.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from handgrad.explain.forward import Call, Recording, Scope, Step
from handgrad.explain.programs import is_float, reached
from handgrad.explain.slopes import Slope, slope


def run_backward(scope: Scope, cotangents: list, record: Recording) -> list:
    """Send the outputs' cotangents back to the inputs of a program; None where nothing arrives."""
    held: dict[Any, Any] = {}
    for atom, cotangent in zip(scope.jaxpr.outvars, cotangents, strict=True):
        if cotangent is not None and scope.is_active(atom):
            _add(held, atom, cotangent)
    for step in reversed(scope.steps):
        outputs = [held.pop(v, None) for v in step.equation.outvars]
        if isinstance(step, Call):
            arrived = run_backward(step.scope, outputs, record)
            for atom, cotangent in zip(step.equation.invars, arrived, strict=True):
                if cotangent is not None and scope.is_active(atom):
                    _add(held, atom, cotangent)
        elif step.active:
            for variable, cotangent in zip(step.equation.outvars, outputs, strict=True):
                _note(record, scope.ids[variable], cotangent)
            _pull(step, scope, held, outputs, record)
    return [held.get(v) for v in scope.jaxpr.invars]


def _add(held: dict, variable: Any, cotangent: Any) -> None:
    held[variable] = held[variable] + cotangent if variable in held else cotangent


def _note(record: Recording, index: int, cotangent: Any) -> None:
    if cotangent is not None:
        record.values[index] = replace(record.values[index], cotangent=cotangent)


def _pull(step: Step, scope: Scope, held: dict, outputs: list, record: Recording) -> None:
    """Pull one equation's cotangents back: onto what its operands hold, and for the tape alone."""
    chosen = [i for i, on in enumerate(step.reached) if on and outputs[i] is not None]
    if not chosen:
        return
    at = [scope.env[v] for v in step.active]
    cotangents = [outputs[i] for i in chosen]
    alone, moved = _pullback(step, at, chosen, [])
    sent = alone(cotangents)
    before = [v for v in step.active if v in held]
    if before:
        beside, _ = _pullback(step, at, chosen, [step.active.index(v) for v in before])
        totals = beside(cotangents + [held[v] for v in before])
    else:
        totals = sent
    for variable, total, on in zip(step.active, totals, moved, strict=True):
        if on:
            held[variable] = total
    ones = alone([jnp.ones_like(c) for c in cotangents])
    written = record.equations[step.index]
    given = {v: c for v, c, on in zip(step.active, sent, moved, strict=True) if on}
    pulled = dict(zip(step.active, ones, strict=True))
    seen: set = set()
    slopes: list[Slope | None] = []
    arrived: list[Any] = []
    for atom in step.equation.invars:
        new = not isinstance(atom, Literal) and atom in given and atom not in seen
        seen.add(atom if new else None)
        arrived.append(given[atom] if new else None)
        slopes.append(slope(step.equation, scope.env[atom], pulled[atom]) if new else None)
    record.equations[step.index] = replace(written, slopes=tuple(slopes), sent=tuple(arrived))


def _pullback(step: Step, at: list, chosen: list[int], beside: list[int]) -> tuple[Any, list]:
    """The pullback of the chosen outputs, with the identity on some operands; and who is reached.

    An operand that no chosen output depends on is sent nothing, rather than zeros.
    """

    def outputs(*arrays: Any) -> list:
        found = step.run(*arrays)
        return [found[i] for i in chosen] + [arrays[i] for i in beside]

    _, pullback = jax.vjp(outputs, *at)
    if beside:
        return pullback, []
    program = jax.make_jaxpr(pullback)([jnp.ones_like(o) for o in outputs(*at)])
    floats = [is_float(array) for array in at]
    return pullback, [r and f for r, f in zip(reached(program), floats, strict=True)]
