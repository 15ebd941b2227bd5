"""Steps that ran, as a tape; and what is inside their equations, as tapes of their own.

A loop is one equation of the tape, because `jax.grad` compiles it as one. Here its body runs again
for each iteration, equation by equation, and the cotangents that arrived at the loop are pulled
back through the iterations, last first: backpropagation through time. Both passes end in what the
loop gave and sent, but for rounding.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from handgrad import jaxprs
from handgrad.explain.autodiff import (
    EquationStep,
    Slot,
    Steps,
    equation_steps,
    run_backward,
    run_forward,
    send,
)
from handgrad.explain.operations import operation_of
from handgrad.explain.primitives import detail_of
from handgrad.explain.source import locate
from handgrad.explain.summary import is_float
from handgrad.explain.tape import Body, Tape, TapeEquation, TapeValue, name_values

MOST_OPENED = 1_000
"""Equations of all iterations together; of a longer loop the first iterations are shown."""


def build_tape(
    inputs: list[Slot], wanted: list[Slot], outputs: list[Slot], steps: Steps,
    loss: Slot | None = None,
) -> Tape:  # fmt: skip
    """The values in the order in which they are first met, and the equations between them."""
    ran = list(equation_steps(steps))
    met = (slot for step in ran for slot in (*step.operands, *step.outputs))
    values = list(dict.fromkeys(slot.value for slot in (*inputs, *met, *outputs)))
    for index, value in enumerate(values):
        value.index = index
    equations = [_recorded(step, index) for index, step in enumerate(ran)]
    name_values(values, equations, None if loss is None else loss.value.index)
    return Tape(
        values=tuple(values),
        equations=tuple(
            replace(e, body=_opened(step)) for e, step in zip(equations, ran, strict=True)
        ),
        inputs=_indices(inputs),
        wanted=_indices(wanted),
        outputs=_indices(outputs),
    )


def _indices(slots: list[Slot]) -> tuple[int, ...]:
    return tuple(slot.value.index for slot in slots)


def _recorded(step: EquationStep, index: int) -> TapeEquation:
    return TapeEquation(
        index=index, primitive=step.equation.primitive.name, detail=detail_of(step.equation),
        inputs=_indices(step.operands), outputs=_indices(step.outputs),
        active=any(slot.active for slot in step.outputs), source=locate(step.equation),
        calls=step.calls, jacobians=tuple(step.jacobians), sent=tuple(step.sent),
        operation=operation_of(step.equation),
    )  # fmt: skip


# --- inside an equation -----------------------------------------------------------------------


def _opened(step: EquationStep) -> Body | None:
    """The programs of an equation, run again; None where there is none to be shown."""
    programs = jaxprs.sub_jaxprs(step.equation)
    name, params = step.equation.primitive.name, step.equation.params
    if not programs:
        return None
    if name == "scan":
        return _scan(step)
    if name == "while":
        return _while(step)
    arrived = [slot.value.cotangent for slot in step.outputs]
    if name == "cond":
        branches = params["branches"]
        taken = int(np.clip(int(step.operands[0].array), 0, len(branches) - 1))
        run = _Run(branches[taken], _as_inputs(step.operands[1:]))
        run.pull_back(arrived)
        return Body(f"branch {taken} of {len(branches)}", (run.tape(),))
    if len(programs[0].in_avals) != len(step.operands):
        return None
    run = _Run(programs[0], _as_inputs(step.operands))
    if name in jaxprs.REMATERIALIZED:
        run.pull_back(arrived)
    return Body("the function it computes", (run.tape(),))


class _Run:
    """A program run forward, then perhaps back."""

    def __init__(self, program: Any, inputs: list[TapeValue]) -> None:
        self.inputs = [Slot(value) for value in inputs]
        self.outputs, self.steps = run_forward(program, self.inputs)

    @property
    def arrays(self) -> list[Any]:
        return [slot.array for slot in self.outputs]

    def pull_back(self, arrived: Sequence[Any]) -> list[Any]:
        """The cotangents of the inputs, given those of the outputs (None where none arrived)."""
        held: dict = {}
        send(self.outputs, list(arrived), held)
        for slot in self.outputs:
            if slot in held:
                slot.value.cotangent = held[slot]
        run_backward(self.steps, held)
        for slot in self.inputs:
            slot.value.cotangent = held.get(slot)
        return [slot.value.cotangent for slot in self.inputs]

    def tape(self) -> Tape:
        wanted = [slot for slot in self.inputs if slot.value.cotangent is not None]
        return build_tape(self.inputs, wanted, self.outputs, self.steps)


def _as_inputs(operands: list[Slot]) -> list[TapeValue]:
    return [TapeValue("input", s.array, s.active, _outer_name(s)) for s in operands]


def _outer_name(slot: Slot) -> str:
    return slot.value.name or "constant"


def _scan(step: EquationStep) -> Body:
    params, operands = step.equation.params, step.operands
    constants, carried = jaxprs.scan_counts(params)
    body, length = jaxprs.closed(params["jaxpr"]), params["length"]
    rows = constants + carried
    names = _parameters(body, operands[:constants], ["carried"] * carried + ["row"] * len(operands))
    order = range(length - 1, -1, -1) if params["reverse"] else range(length)
    count = length * _weight(body)
    shown = tuple(order if count <= MOST_OPENED else order[: MOST_OPENED // _weight(body)])
    # what is carried may begin as a constant, and is sent cotangents all the same
    active = [slot.active for slot in operands]
    for i, slot in enumerate(step.outputs[:carried], constants):
        active[i] = active[i] or slot.active
    carry = [slot.array for slot in operands[constants:rows]]
    runs: list[_Run] = []
    for row in shown:
        arrays = [*(s.array for s in operands[:constants]), *carry]
        arrays += [slot.array[row] for slot in operands[rows:]]
        given = [
            TapeValue("input", array, on and is_float(array), name)
            for array, on, name in zip(arrays, active, names, strict=True)
        ]
        runs.append(_Run(body, given))
        carry = runs[-1].arrays[:carried]
    if len(shown) < length:
        title = f"the first {len(shown)} of {length} iterations, forward only"
        return Body(title, tuple(run.tape() for run in runs), shown)
    arrived = [slot.value.cotangent for slot in step.outputs]
    back = arrived[:carried]
    for run, row in zip(reversed(runs), reversed(shown), strict=True):
        stacked = [None if rows is None else rows[row] for rows in arrived[carried:]]
        back = run.pull_back([*back, *stacked])[constants:rows]
    title = {0: "a loop of no iterations", 1: "1 iteration"}.get(length, f"{length} iterations")
    return Body(title, tuple(run.tape() for run in runs), shown)


def _while(step: EquationStep) -> Body | None:
    params, operands = step.equation.params, step.operands
    first = params["cond_nconsts"]
    second = first + params["body_nconsts"]
    body = jaxprs.closed(params["body_jaxpr"])
    arrays = [slot.array for slot in operands]
    condition, fixed, carry = arrays[:first], arrays[first:second], arrays[second:]
    names = _parameters(body, operands[first:second], ["carried"] * len(carry))
    runs: list[_Run] = []
    while True:
        (goes_on,) = jaxprs.run(params["cond_jaxpr"], [*condition, *carry], jaxprs.bind)
        if np.ndim(goes_on):  # under vmap: one condition for each example
            return None
        if not goes_on or (len(runs) + 1) * _weight(body) > MOST_OPENED:
            break
        given = zip([*fixed, *carry], names, strict=True)
        runs.append(_Run(body, [TapeValue("input", array, False, name) for array, name in given]))
        carry = runs[-1].arrays
    count = "1 iteration" if len(runs) == 1 else f"{len(runs)} iterations"
    return Body(f"the first {count}" if goes_on else count, tuple(run.tape() for run in runs))


def _parameters(body: Any, constants: list[Slot], otherwise: list[str]) -> list[str]:
    """The names of a body's arguments: those outside for what it closes over, then its own."""
    outside = [_outer_name(slot) for slot in constants]
    own = list(getattr(body.jaxpr.debug_info, "arg_names", None) or ())
    count = len(body.in_avals)
    own = own if len(own) == count else [""] * count
    pairs = zip(own[len(outside) :], otherwise, strict=False)
    return [*outside, *(name or other for name, other in pairs)]


def _weight(program: Any) -> int:
    """The equations that one run of a program takes, those of loops inside it included."""
    total = 0
    for equation in jaxprs.equations(program, lambda _: []):
        inner = jaxprs.sub_jaxprs(equation)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += 1 + times * sum(map(_weight, inner))
    return max(1, total)
