"""From a function and its arguments to the tape: trace, run forward, run back, name, open.

A loop is one equation of the tape, because `jax.grad` compiles it as one. Inside it, its body runs
again for each iteration, equation by equation, and the cotangents that arrived at the loop are
pulled back through the iterations, last first: backpropagation through time. Both passes end in
what the loop gave and sent, but for rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad._checks import dtype_of
from handgrad.errors import InputError, describe_error
from handgrad.explain.autodiff import (
    EquationStep,
    Slot,
    equation_steps,
    run_backward,
    run_forward,
    send,
)
from handgrad.explain.primitives import detail_of, operation_of
from handgrad.explain.source import argument_names, leaf_names, locate
from handgrad.explain.summary import is_float
from handgrad.explain.tape import Body, Tape, TapeEquation, TapeValue, name_values

Argnums = int | tuple[int, ...]
MOST_EQUATIONS = 1_000
MOST_OPENED = 1_000
"""Equations of all iterations together; of a longer loop the first iterations are shown."""


def record(
    f: Callable, at: tuple, argnums: Argnums = 0, named_by: Callable | None = None
) -> tuple[Tape, Any]:
    """The tape of f at its arguments, and the gradient that it ends in, structured as jax.grad's.

    The arguments go by their names in f, or in `named_by`. Raises InputError for a loss that cannot
    be traced or is no real number, and for `argnums` that names no float argument.
    """
    if not isinstance(at, tuple):
        raise InputError(
            "at", "a tuple of the arguments of f", type(at).__name__, "write at=(x,) for one"
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(at):
        dtype_of(f"at{jax.tree_util.keystr(path)}", leaf)
    leaves, tree = jax.tree.flatten(at)
    positions = jax.tree.unflatten(tree, range(len(leaves)))
    chosen, structure = _choose(positions, leaves, argnums)
    program = _trace(f, leaves, tree)
    names = leaf_names(at, argument_names(named_by or f, len(at)))
    inputs = []
    for index, (leaf, aval) in enumerate(zip(leaves, program.in_avals, strict=True)):
        array = leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf, aval.dtype)
        inputs.append(TapeValue("input", array, index in chosen, names[index]))
    try:
        run = _Run(program, inputs)
        (loss,) = run.outputs
        one = jnp.ones_like(loss.array)
        run.pull_back([one])
    except Exception as error:
        raise InputError(
            "f", "a loss that jax.grad can differentiate here", describe_error(error),
            "call jax.grad(f)(*at) by itself",
        ) from error  # fmt: skip
    wanted = [run.inputs[index] for index in chosen]
    for slot in wanted:
        if slot.value.cotangent is None:
            slot.value.cotangent = jnp.zeros_like(slot.array)
    loss.value.cotangent = one
    gradient = structure.unflatten([slot.value.cotangent for slot in wanted])
    return run.tape(wanted, loss), gradient


def _choose(positions: tuple, leaves: list, argnums: Argnums) -> tuple[list[int], Any]:
    """The flat positions of the differentiated leaves, and the gradient's structure."""
    count = len(positions)
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    if not numbers:
        raise InputError("argnums", "at least one position", "none", "pass argnums=0")
    for number in numbers:
        if not isinstance(number, int) or not -count <= number < count:
            raise InputError(
                "argnums", f"positions among the {count} arguments, from 0", argnums,
                "pass argnums=0, or argnums=(0, 1)",
            )  # fmt: skip
    wanted = tuple(positions[number] for number in numbers)
    chosen, structure = jax.tree.flatten(wanted if isinstance(argnums, tuple) else wanted[0])
    for leaf in (leaves[index] for index in chosen):
        if not is_float(leaf):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise InputError(
                "argnums", "arguments of real numbers", f"a leaf of {kind}", "differentiate another"
            )
    return chosen, structure


def _trace(f: Callable, leaves: list, tree: Any) -> jaxprs.Program:
    try:
        program = jax.make_jaxpr(lambda *arrays: f(*jax.tree.unflatten(tree, arrays)))(*leaves)
    except Exception as error:
        raise InputError(
            "f", "a loss that JAX can trace at these arguments", describe_error(error),
            "call f(*at) by itself",
        ) from error  # fmt: skip
    avals = program.out_avals
    if len(avals) != 1 or avals[0].shape != () or not is_float(avals[0]):
        got = ", ".join(map(str, avals)) or "nothing"
        raise InputError("f", "a loss with one real number as its value", got, "take a sum")
    count = sum(1 for _ in jaxprs.equations(program, _called))
    if count > MOST_EQUATIONS:
        raise InputError(
            "f", f"at most {MOST_EQUATIONS:,} equations to lay out", f"{count:,}",
            "write its loop with jax.lax.scan, which is one equation",
        )  # fmt: skip
    return program


def _called(equation: Any) -> list[jaxprs.Program]:
    called = jaxprs.called_program(equation, jaxprs.CALLS)
    return [] if called is None else [called]


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

    def tape(self, wanted: list[Slot] | None = None, loss: Slot | None = None) -> Tape:
        """The values in the order in which they are first met, and the equations between them."""
        if wanted is None:
            wanted = [slot for slot in self.inputs if slot.value.cotangent is not None]
        ran = list(equation_steps(self.steps))
        met = [slot for step in ran for slot in (*step.operands, *step.outputs)]
        values = list(dict.fromkeys(s.value for s in (*self.inputs, *met, *self.outputs)))
        for index, value in enumerate(values):
            value.index = index
        equations = [_recorded(step, index) for index, step in enumerate(ran)]
        name_values(values, equations, None if loss is None else loss.value.index)
        # only now: a body takes the names of what it closes over
        opened = [replace(e, body=_opened(s)) for e, s in zip(equations, ran, strict=True)]
        return Tape(
            tuple(values), tuple(opened), _indices(self.inputs), _indices(wanted),
            _indices(self.outputs),
        )  # fmt: skip


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


# --- inside an equation ---------------------------------------------------------------------------


def _opened(step: EquationStep) -> Body | None:
    """The programs of an equation, run again; None where there is none to be shown."""
    programs = jaxprs.sub_jaxprs(step.equation)
    name, operands = step.equation.primitive.name, step.operands
    if not programs:
        return None
    if name == "scan":
        return _scan(step)
    if name == "while":
        return _while(step)
    program, title = programs[0], "the function it computes"
    if name == "cond":
        branches = step.equation.params["branches"]
        taken = int(np.clip(int(operands[0].array), 0, len(branches) - 1))
        program, title = branches[taken], f"branch {taken} of {len(branches)}"
        operands = operands[1:]
    if len(program.in_avals) != len(operands):
        return None
    run = _Run(program, [TapeValue("input", s.array, s.active, _outer_name(s)) for s in operands])
    if name == "cond" or name in jaxprs.REMATERIALIZED:
        run.pull_back([slot.value.cotangent for slot in step.outputs])
    return Body(title, (run.tape(),))


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
    fixed = [slot.array for slot in operands[:constants]]
    carry = [slot.array for slot in operands[constants:rows]]
    runs: list[_Run] = []
    for row in shown:
        arrays = [*fixed, *carry, *(slot.array[row] for slot in operands[rows:])]
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
        stacked = [None if sent is None else sent[row] for sent in arrived[carried:]]
        back = run.pull_back([*back, *stacked])[constants:rows]
    title = {0: "a loop of no iterations", 1: "1 iteration"}.get(length, f"{length} iterations")
    return Body(title, tuple(run.tape() for run in runs), shown)


def _while(step: EquationStep) -> Body | None:
    params = step.equation.params
    first = params["cond_nconsts"]
    second = first + params["body_nconsts"]
    body = jaxprs.closed(params["body_jaxpr"])
    arrays = [slot.array for slot in step.operands]
    condition, fixed, carry = arrays[:first], arrays[first:second], arrays[second:]
    names = _parameters(body, step.operands[first:second], ["carried"] * len(carry))
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
    own = list(getattr(body.jaxpr.debug_info, "arg_names", None) or ())
    count = len(body.in_avals)
    own = own if len(own) == count else [""] * count
    pairs = zip(own[len(constants) :], otherwise, strict=False)
    return [*map(_outer_name, constants), *(name or other for name, other in pairs)]


def _weight(program: Any) -> int:
    """The equations that one run of a program takes, those of loops inside it included."""
    total = 0
    for equation in jaxprs.equations(program, lambda _: []):
        inner = jaxprs.sub_jaxprs(equation)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += 1 + times * sum(map(_weight, inner))
    return max(1, total)
