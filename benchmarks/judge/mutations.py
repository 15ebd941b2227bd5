"""Mutations: a gradient's program, changed in one equation.

A gradient is traced, its inner calls are laid out flat, and it is run again with the outputs of one
equation changed by an *edit*. Each operator says which equations it applies to and what it makes of
their outputs. The no-ops are there to be let through.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import partial_eval

from handgrad import jaxprs
from handgrad._types import Array

OUTPUT = -1
"""The place of an edit that changes the outputs of the whole program."""

Edit = Callable[[list, list], list]
"""edit(outputs, operands) -> the outputs that take their place."""


@dataclass(frozen=True)
class Mutation:
    """One change: what kind, at which equation (in order of running), and what it does there."""

    operator: str
    place: int
    detail: str
    edit: Edit


def mutant(gradient: Callable, mutation: Mutation) -> Callable:
    """The gradient with one equation changed; same arguments, same structure of the answer."""

    def mutated(*args: Any) -> Any:
        program, shape = live_program(gradient, args)
        leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(args)]
        outputs = jaxprs.run(program, leaves, Flat(mutation))
        if mutation.place == OUTPUT:
            outputs = mutation.edit(outputs, leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return mutated


def live_program(gradient: Callable, args: tuple) -> tuple[Any, Any]:
    """The program without what no output needs (the value beside a gradient); the output's shape.

    A mutant of dead code would be equivalent, and tell nothing.
    """
    program, shape = jax.make_jaxpr(gradient, return_shape=True)(*args)
    live, _ = partial_eval.dce_jaxpr(
        program.jaxpr, [True] * len(program.jaxpr.outvars), [True] * len(program.jaxpr.invars)
    )
    return program.replace(jaxpr=live), shape


class Flat:
    """Equation by equation, inner calls laid out flat, with at most one edit: for `jaxprs.run`."""

    def __init__(self, mutation: Mutation | None = None):
        self.mutation, self.place = mutation, -1
        self.seen: list[tuple[int, Any, list]] = []
        """Every equation with its place and its operands, in order of running."""

    def __call__(self, equation: Any, operands: list) -> list:
        """The outputs of one equation, edited if it is the one."""
        called = jaxprs.called_program(equation)
        if called is not None:
            return jaxprs.run(called, operands, self)
        self.place += 1
        self.seen.append((self.place, equation, operands))
        outputs = jaxprs.bind(equation, operands)
        if self.mutation is not None and self.mutation.place == self.place:
            return self.mutation.edit(outputs, operands)
        return outputs


def is_real(array: Any) -> bool:
    """Whether an array holds floats."""
    return jnp.issubdtype(jnp.result_type(array), jnp.floating)


def mutations(gradient: Callable, args: tuple) -> Iterator[Mutation]:
    """Every mutation of a gradient, in the order of its equations, then of its outputs.

    Of the arguments the shapes and dtypes are enough.
    """
    flat, leaves = Flat(), jax.tree.leaves(args)
    program, _ = live_program(gradient, args)
    outputs = jax.eval_shape(lambda *leaves: jaxprs.run(program, leaves, flat), *leaves)
    for place, equation, operands in flat.seen:
        outs = [v.aval for v in equation.outvars]
        if not outs or not hasattr(outs[0], "dtype"):
            continue
        for operator, detail, edit in edits(equation, operands):
            yield Mutation(operator, place, f"{equation.primitive.name}: {detail}", edit)
    for number, output in enumerate(outputs):
        for operator, detail, change in output_changes(output, leaves):
            yield Mutation(operator, OUTPUT, f"output {number}: {detail}", _only(number, change))


def _only(number: int, change: Callable[[Array, list], Array]) -> Edit:
    def edit(outputs: list, leaves: list) -> list:
        return [change(o, leaves) if i == number else o for i, o in enumerate(outputs)]

    return edit


REPLACED: dict[str, Callable[..., Array]] = {
    "exp": lax.expm1,
    "logistic": lax.tanh,
    "tanh": lax.logistic,
    "log": lax.log1p,
    "log1p": lax.log,
    "abs": lambda x: x,
    "max": lax.min,
    "add": lax.sub,
    "sub": lax.add,
    "mul": lax.add,
    "neg": lambda x: x,
    "square": lambda x: x,
}


def edits(equation: Any, operands: list) -> Iterator[tuple[str, str, Edit]]:
    """What can be done to the outputs of one equation: operator, detail, edit."""
    name, first = equation.primitive.name, equation.outvars[0].aval
    if name == "iota" or (name == "argmax"):
        yield "off by one", "+1", lambda outs, ops: [outs[0] + jnp.ones((), outs[0].dtype)]
    if not is_real(first):
        return
    for factor in (2.0, 0.5, 1.001):
        yield "factor", f"×{factor}", _scaled(factor)
    yield "sign", "negated", lambda outs, ops: [-outs[0]]
    if name in ("add", "sub", "add_any"):
        yield "dropped term", "second", lambda outs, ops: [ops[0] + jnp.zeros_like(outs[0])]
        sign = -1.0 if name == "sub" else 1.0
        yield "dropped term", "first", lambda outs, ops: [sign * ops[1] + jnp.zeros_like(outs[0])]
    if name in ("sub", "div", "pow"):
        swap = {"sub": lax.sub, "div": lax.div, "pow": lax.pow}[name]
        yield "swapped operands", name, lambda outs, ops: [_broadcast(swap, ops[1], ops[0])]
    if name in ("div", "mul") and any(_is_constant(v) for v in equation.invars):
        kept = 1 if _is_constant(equation.invars[0]) else 0
        yield "constant dropped", name, lambda outs, ops: [ops[kept] + jnp.zeros_like(outs[0])]
    if name == "dot_general":
        for side in (0, 1):
            if jnp.ndim(operands[side]) == 2 and len(set(jnp.shape(operands[side]))) == 1:
                yield "transposed square", f"operand {side}", _transposed(equation, side)
    if name in ("cumsum", "cumprod") and first.ndim > 1:
        other = (equation.params["axis"] + 1) % first.ndim
        run = lax.cumsum if name == "cumsum" else lax.cumprod
        yield "wrong axis", name, lambda outs, ops: [run(ops[0], axis=other)]
    if name == "reduce_sum" and first.ndim and jnp.ndim(operands[0]) == 2:
        axis = 1 - equation.params["axes"][0]
        if jnp.shape(operands[0])[1 - axis] == first.shape[0]:
            yield "wrong axis", name, lambda outs, ops: [jnp.sum(ops[0], axis=axis)]
    if name == "select_n" and len(operands) == 3:
        yield "swapped operands", name, lambda outs, ops: [lax.select_n(ops[0], ops[2], ops[1])]
    if first.ndim and first.shape[-1] > 1 and name in ("gather", "slice", "concatenate", "mul"):
        yield "off by one", f"{name} rolled", lambda outs, ops: [jnp.roll(outs[0], 1, axis=-1)]
    if name in REPLACED:
        other_name = REPLACED[name]
        yield "replaced", name, lambda outs, ops: [_broadcast(other_name, *ops)]
    yield "no-op", "×1", lambda outs, ops: [outs[0] * jnp.ones((), outs[0].dtype)]
    yield "no-op", "negated twice", lambda outs, ops: [lax.neg(lax.neg(outs[0]))]
    if name in ("add", "mul"):
        swap = {"add": lax.add, "mul": lax.mul}[name]
        yield "no-op", "commuted", lambda outs, ops: [_broadcast(swap, ops[1], ops[0])]


def output_changes(
    output: Array, leaves: list
) -> Iterator[tuple[str, str, Callable[[Array, list], Array]]]:
    """What can be done to one output: one coordinate, NaN, the tail."""
    size = int(np.size(output))
    for index in sorted({0, size // 2, size - 1}):
        yield "one coordinate", f"[{index}] by 1e-6", _at(index, 1 + 1e-6)
        yield "NaN", f"[{index}]", _at(index, float("nan"))
    alike = (i for i, leaf in enumerate(leaves) if np.shape(leaf) == np.shape(output))
    partner = next((i for i in alike if is_real(leaves[i])), None)
    if partner is not None:
        for bound in (6.0, 12.0):
            yield "tail", f"beyond {bound}", _beyond(partner, bound)


def _scaled(factor: float) -> Edit:
    return lambda outs, ops: [outs[0] * jnp.asarray(factor, outs[0].dtype)]


def _at(index: int, factor: float) -> Callable[[Array, list], Array]:
    def change(output: Array, leaves: list) -> Array:
        place = lax.broadcasted_iota(jnp.int32, (jnp.size(output),), 0).reshape(jnp.shape(output))
        return jnp.where(place == index, output * jnp.asarray(factor, output.dtype), output)

    return change


def _beyond(partner: int, bound: float) -> Callable[[Array, list], Array]:
    def change(output: Array, leaves: list) -> Array:
        far = jnp.abs(leaves[partner]) > bound
        return jnp.where(far, output * jnp.asarray(1.01, output.dtype), output)

    return change


def _transposed(equation: Any, side: int) -> Edit:
    def edit(outputs: list, operands: list) -> list:
        left, right = (o.T if i == side else o for i, o in enumerate(operands))
        numbers, precision = equation.params["dimension_numbers"], equation.params["precision"]
        return [lax.dot_general(left, right, numbers, precision=precision)]

    return edit


def _is_constant(atom: Any) -> bool:
    return isinstance(atom, jaxprs.Literal) and is_real(atom.val)


def _broadcast(function: Callable[..., Array], *operands: Array) -> Array:
    shape = jnp.broadcast_shapes(*(jnp.shape(o) for o in operands))
    dtype = next(o.dtype for o in operands if hasattr(o, "dtype"))
    return function(*(jnp.broadcast_to(jnp.asarray(o, dtype), shape) for o in operands))
