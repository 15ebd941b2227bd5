"""Both passes over a program: every equation run by itself, then every equation's own pullback.

Forwards, a call under `jax.jit` is opened and its equations join the tape. What holds a program of
another kind (scan, cond, while, a custom rule, a checkpoint) is one equation: so `jax.grad` takes
it too. Backwards, the sum at a value that was used more than once is taken in the order in which
`jax.grad` takes it, because that order decides the last bit: a pullback adds to what later
equations have sent before it. It is had by differentiating, beside an equation, the identity on the
operands that already hold something: `jax.vjp` then adds the equation's own cotangents to those
that the identity passes on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from handgrad import jaxprs
from handgrad.explain.primitives import LocalJacobian, local_jacobian
from handgrad.explain.summary import is_float
from handgrad.explain.tape import TapeValue


@dataclass(eq=False)
class Slot:
    """A variable of a program while it runs: what is kept by it is kept by the variable."""

    value: TapeValue

    @property
    def array(self) -> Any:
        """What it holds."""
        return self.value.array

    @property
    def active(self) -> bool:
        """Whether a gradient passes through."""
        return self.value.active


@dataclass
class EquationStep:
    """One equation as it ran: `function` of the active operands, with the others held."""

    equation: Any
    calls: tuple[str, ...]
    operands: list[Slot]
    outputs: list[Slot]
    active: list[Slot]
    function: Callable[..., list]
    jacobians: list[LocalJacobian | None]
    sent: list[Any]


@dataclass
class CallStep:
    """An opened call: its own steps, and which slot inside is which outside."""

    operands: list[Slot]
    outputs: list[Slot]
    inner_inputs: list[Slot]
    inner_outputs: list[Slot]
    steps: "Steps"


Steps = list[EquationStep | CallStep]


def equation_steps(steps: Steps) -> Iterator[EquationStep]:
    """The equations that ran, those of calls included, in order."""
    for step in steps:
        if isinstance(step, CallStep):
            yield from equation_steps(step.steps)
        else:
            yield step


# --- forwards ---------------------------------------------------------------------------------


def run_forward(
    program: Any, inputs: list[Slot], calls: tuple[str, ...] = ()
) -> tuple[list[Slot], Steps]:
    """Run the equations that the outputs depend on: the outputs, and the steps to undo."""
    wanted = [True] * len(program.out_avals)
    live = {id(equation) for equation in jaxprs.live_equations(program, wanted)}
    steps: Steps = []

    def apply(equation: Any, operands: list[Slot]) -> list[Any]:
        if id(equation) not in live:
            return [None] * len(equation.outvars)
        called = jaxprs.called_program(equation, jaxprs.CALLS)
        if called is None:
            steps.append(_run_equation(equation, operands, calls))
        else:
            name = str(equation.params.get("name", "")).strip("_")
            steps.append(_open_call(called, operands, (*calls, name)))
        return steps[-1].outputs

    return jaxprs.run(program, inputs, apply, _constant), steps


def _constant(value: Any, aval: Any) -> Slot:
    return Slot(TapeValue("constant", jaxprs.as_arrays(value, aval)))


def _open_call(program: Any, operands: list[Slot], calls: tuple[str, ...]) -> CallStep:
    """Run a called program; slots of its own keep the order of additions that jax.grad has."""
    inner_inputs = [Slot(slot.value) for slot in operands]
    inner_outputs, steps = run_forward(program, inner_inputs, calls)
    outputs = [Slot(slot.value) for slot in inner_outputs]
    return CallStep(operands, outputs, inner_inputs, inner_outputs, steps)


def _run_equation(equation: Any, operands: list[Slot], calls: tuple[str, ...]) -> EquationStep:
    active = [slot for slot in dict.fromkeys(operands) if slot.active]

    def function(*arrays: Any) -> list:
        varied = dict(zip(active, arrays, strict=True))
        return jaxprs.bind(equation, [varied.get(slot, slot.array) for slot in operands])

    if active:
        # the value as differentiation computes it: a custom rule may have a form of its own
        at = [slot.array for slot in active]
        arrays, linear = jax.linearize(function, *at)
        depends = jaxprs.dependent_outputs(jax.make_jaxpr(linear)(*at))
    else:
        arrays = function()
        depends = [False] * len(arrays)
    outputs = [
        Slot(TapeValue("computed", array, on and is_float(array)))
        for array, on in zip(arrays, depends, strict=True)
    ]
    nothing: list[Any] = [None] * len(operands)
    return EquationStep(equation, calls, operands, outputs, active, function, nothing, nothing)


# --- backwards --------------------------------------------------------------------------------

Cotangents = dict[Slot, Any]


def run_backward(steps: Steps, held: Cotangents) -> None:
    """Pull the cotangents in `held` back through the steps: left are those of what these took."""
    for step in reversed(steps):
        arrived = [held.pop(slot, None) for slot in step.outputs]
        if isinstance(step, CallStep):
            send(step.inner_outputs, arrived, held)
            run_backward(step.steps, held)
            inner = [held.pop(slot, None) for slot in step.inner_inputs]
            send(step.operands, inner, held)
        else:
            pull_back(step, arrived, held)


def send(slots: list[Slot], cotangents: list[Any], held: Cotangents) -> None:
    """Add cotangents to those that slots hold already."""
    for slot, cotangent in zip(slots, cotangents, strict=True):
        if cotangent is not None and slot.active:
            held[slot] = held[slot] + cotangent if slot in held else cotangent


def pull_back(step: EquationStep, arrived: list[Any], held: Cotangents) -> None:
    """Pull an equation's cotangents back: onto what its operands hold, and by itself for the tape.

    An operand that no output with a cotangent depends on is sent nothing, rather than zeros.
    """
    chosen = [i for i, slot in enumerate(step.outputs) if slot.active and arrived[i] is not None]
    if not chosen:
        return
    cotangents = [arrived[i] for i in chosen]
    for i in chosen:
        step.outputs[i].value.cotangent = arrived[i]
    alone = pullback(step, chosen, [])
    depends = jaxprs.dependent_outputs(jax.make_jaxpr(alone)(cotangents))
    reached = [s for s, on in zip(step.active, depends, strict=True) if on and is_float(s.array)]
    sent = dict(zip(step.active, alone(cotangents), strict=True))
    before = [slot for slot in step.active if slot in held]
    totals = sent
    if before:
        beside = pullback(step, chosen, [step.active.index(slot) for slot in before])
        both = beside(cotangents + [held[slot] for slot in before])
        totals = dict(zip(step.active, both, strict=True))
    held.update({slot: totals[slot] for slot in reached})
    ones = dict(zip(step.active, alone([jnp.ones_like(c) for c in cotangents]), strict=True))
    # an operand that stands twice is sent its cotangent once
    firsts = [
        slot if slot in reached and slot not in step.operands[:i] else None
        for i, slot in enumerate(step.operands)
    ]
    step.sent = [None if s is None else sent[s] for s in firsts]
    step.jacobians = [
        None if s is None else local_jacobian(step.equation, i, s.array, ones[s])
        for i, s in enumerate(firsts)
    ]


def pullback(step: EquationStep, chosen: list[int], beside: list[int]) -> Callable:
    """The pullback of the chosen outputs, and of the identity on some operands beside them."""

    def outputs(*arrays: Any) -> list:
        found = step.function(*arrays)
        return [found[i] for i in chosen] + [arrays[i] for i in beside]

    return jax.vjp(outputs, *(slot.array for slot in step.active))[1]
