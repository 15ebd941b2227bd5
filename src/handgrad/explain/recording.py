"""From a function and its arguments to the tape: trace, run forward, run back, name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from handgrad._checks import dtype_of
from handgrad.errors import InputError
from handgrad.explain.autodiff import Slot, run_backward, run_forward, send
from handgrad.explain.opened import build_tape
from handgrad.explain.source import argument_names, leaf_names
from handgrad.explain.summary import is_float
from handgrad.explain.tape import Tape, TapeValue
from handgrad.jaxprs import CALLS, Program, called_program, equations

Argnums = int | tuple[int, ...]
MOST_EQUATIONS = 1_000


def record(
    f: Callable, at: tuple, argnums: Argnums = 0, names: list[str] | None = None
) -> tuple[Tape, Any]:
    """The tape of f at its arguments, and the gradient that it ends in, structured as jax.grad's.

    Raises InputError for a loss that cannot be traced or is no real number, and for `argnums` that
    names no float argument.
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
    arrays = [
        leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf, aval.dtype)
        for leaf, aval in zip(leaves, program.in_avals, strict=True)
    ]
    leaf_of = leaf_names(at, names or argument_names(f, len(at)))
    inputs = [
        Slot(TapeValue("input", array, index in chosen, name))
        for index, (name, array) in enumerate(zip(leaf_of, arrays, strict=True))
    ]
    held: dict = {}
    try:
        (output,), steps = run_forward(program, inputs)
        one = jnp.ones_like(output.array)
        send([output], [one], held)
        run_backward(steps, held)
    except Exception as error:
        raise InputError(
            "f", "a loss that jax.grad can differentiate here", _first_line(error),
            "call jax.grad(f)(*at) by itself",
        ) from error  # fmt: skip
    wanted = [inputs[index] for index in chosen]
    for slot in wanted:
        slot.value.cotangent = held.get(slot, jnp.zeros_like(slot.array))
    output.value.cotangent = one
    return (
        build_tape(inputs, wanted, [output], steps, output),
        structure.unflatten([slot.value.cotangent for slot in wanted]),
    )


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
    wanted = (
        positions[argnums] if isinstance(argnums, int) else tuple(positions[i] for i in numbers)
    )
    chosen, structure = jax.tree.flatten(wanted)
    for index in chosen:
        leaf = leaves[index]
        if not is_float(leaf) and not isinstance(leaf, float):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise InputError(
                "argnums", "arguments of real numbers", f"a leaf of {kind}", "differentiate another"
            )
    return chosen, structure


def _trace(f: Callable, leaves: list, tree: Any) -> Program:
    def flat(*arrays: Any) -> Any:
        return f(*jax.tree.unflatten(tree, arrays))

    try:
        program = jax.make_jaxpr(flat)(*leaves)
    except Exception as error:
        raise InputError(
            "f", "a loss that JAX can trace at these arguments", _first_line(error),
            "call f(*at) by itself",
        ) from error  # fmt: skip
    avals = program.out_avals
    if len(avals) != 1 or avals[0].shape != () or not is_float(avals[0]):
        got = ", ".join(str(a) for a in avals) or "nothing"
        raise InputError("f", "a loss with one real number as its value", got, "take a sum")
    count = sum(1 for _ in equations(program, _opened))
    if count > MOST_EQUATIONS:
        raise InputError(
            "f", f"at most {MOST_EQUATIONS:,} equations to lay out", f"{count:,}",
            "write its loop with jax.lax.scan, which is one equation",
        )  # fmt: skip
    return program


def _opened(equation: Any) -> list[Program]:
    called = called_program(equation, CALLS)
    return [] if called is None else [called]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
