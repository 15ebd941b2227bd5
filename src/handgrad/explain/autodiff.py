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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad.explain.primitives import LocalJacobian, detail_of, local_jacobian
from handgrad.explain.source import locate
from handgrad.explain.summary import format_array, is_float
from handgrad.explain.tape import BodyEquation, TapeEquation, TapeValue


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

    def recorded(self, index: int) -> TapeEquation:
        """The equation as it stands on the tape."""
        title, body = body_of(self.equation, [slot.array for slot in self.operands])
        return TapeEquation(
            index=index, primitive=self.equation.primitive.name, detail=detail_of(self.equation),
            inputs=tuple(slot.value.index for slot in self.operands),
            outputs=tuple(slot.value.index for slot in self.outputs),
            active=any(slot.active for slot in self.outputs), source=locate(self.equation),
            calls=self.calls, jacobians=tuple(self.jacobians), sent=tuple(self.sent),
            body_title=title, body=body,
        )  # fmt: skip


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
        None if s is None else local_jacobian(step.equation, s.array, ones[s]) for s in firsts
    ]


def pullback(step: EquationStep, chosen: list[int], beside: list[int]) -> Callable:
    """The pullback of the chosen outputs, and of the identity on some operands beside them."""

    def outputs(*arrays: Any) -> list:
        found = step.function(*arrays)
        return [found[i] for i in chosen] + [arrays[i] for i in beside]

    return jax.vjp(outputs, *(slot.array for slot in step.active))[1]


# --- inside an equation -----------------------------------------------------------------------


class NamedArray(NamedTuple):
    """What flows through the body of a loop or a branch: an array and its name there."""

    array: Any
    name: str


def body_of(equation: Any, operands: list) -> tuple[str, tuple[BodyEquation, ...]]:
    """What is shown of an equation's inside: a title, and its equations with their values there."""
    programs = jaxprs.sub_jaxprs(equation)
    name, params = equation.primitive.name, equation.params
    if not programs:
        return "", ()
    if name == "scan":
        fixed = sum(jaxprs.scan_counts(params))
        if params["length"] == 0:
            return "a loop of no iterations", ()
        first = -1 if params["reverse"] else 0
        entries = [array[first] for array in operands[fixed:]]
        title = f"the first of {params['length']} iterations"
        return title, _run_body(params["jaxpr"], [*operands[:fixed], *entries])
    if name == "while":
        start = params["cond_nconsts"]
        return "the first iteration", _run_body(params["body_jaxpr"], operands[start:])
    if name == "cond":
        branches = params["branches"]
        taken = int(np.clip(int(operands[0]), 0, len(branches) - 1))
        return f"branch {taken} of {len(branches)}", _run_body(branches[taken], operands[1:])
    if len(programs[0].in_avals) != len(operands):
        return "", ()
    return "the function it computes", _run_body(programs[0], operands)


def _run_body(program: Any, operands: list) -> tuple[BodyEquation, ...]:
    """A program's equations with their values, calls opened, named a, b, c, ... in order."""
    names = _letters()
    found: list[BodyEquation] = []

    def constant(value: Any, aval: Any) -> NamedArray:
        array = jaxprs.as_arrays(value, aval)
        return NamedArray(array, format_array(array) if aval.shape == () else next(names))

    def apply(equation: Any, taken: list[NamedArray]) -> list[NamedArray]:
        called = jaxprs.called_program(equation, jaxprs.CALLS)
        if called is not None:
            return jaxprs.run(called, taken, apply, constant)
        outputs = jaxprs.bind(equation, [one.array for one in taken])
        named = [NamedArray(array, next(names)) for array in outputs]
        primitive, detail = equation.primitive.name, detail_of(equation)
        inputs = tuple(one.name for one in taken)
        found.extend(BodyEquation(n, primitive, detail, inputs, array) for array, n in named)
        return named

    jaxprs.run(program, [NamedArray(array, next(names)) for array in operands], apply, constant)
    return tuple(found)


def _letters() -> Iterator[str]:
    """a, b, ..., z, aa, ab, ..."""
    number = 0
    while True:
        number += 1
        rest, text = number, ""
        while rest:
            rest, letter = divmod(rest - 1, 26)
            text = chr(97 + letter) + text
        yield text
