"""From a function and its arguments to the tape: trace, run forward, run back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from handgrad._checks import dtype_of
from handgrad.errors import InputError
from handgrad.explain.backward import run_backward
from handgrad.explain.forward import Recording, index_of, run_forward
from handgrad.explain.naming import argument_names, leaf_names, named
from handgrad.explain.programs import is_float
from handgrad.explain.tape import Tape

Argnums = int | tuple[int, ...]
MOST_EQUATIONS = 1_000


def record(
    f: Callable, args: tuple, argnums: Argnums = 0, names: list[str] | None = None
) -> tuple[Tape, Any]:
    """The tape of f at args, and the gradient that it ends in, in the structure of jax.grad's.

    Raises InputError for a loss that cannot be traced or is no real number, and for `argnums` that
    names no float argument.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(args):
        dtype_of(f"args{jax.tree_util.keystr(path)}", leaf)
    leaves, tree = jax.tree.flatten(args)
    positions = jax.tree.unflatten(tree, range(len(leaves)))
    chosen, structure = _chosen(positions, leaves, args, argnums)
    program, avals = _traced(f, leaves, tree)
    operands = [
        leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf, aval.dtype)
        for leaf, aval in zip(leaves, avals, strict=True)
    ]
    recording = Recording()
    called = leaf_names(args, names or argument_names(f, len(args)))
    ids = [
        recording.value("input", name, array, index in chosen)
        for index, (name, array) in enumerate(zip(called, operands, strict=True))
    ]
    try:
        active = [index in chosen for index in range(len(ids))]
        scope = run_forward(program, operands, ids, active, recording)
        output = program.jaxpr.outvars[0]
        last = index_of(output, scope, recording)
        seed = jnp.ones_like(scope.read(output))
        arrived = run_backward(scope, [seed], recording)
    except Exception as fault:
        raise InputError(
            "f", "a loss that jax.grad can differentiate here", _told(fault),
            "call jax.grad(f)(*args) by itself",
        ) from fault  # fmt: skip
    gradient = []
    for index in chosen:
        found = jnp.zeros_like(operands[index]) if arrived[index] is None else arrived[index]
        recording.values[ids[index]] = replace(recording.values[ids[index]], cotangent=found)
        gradient.append(found)
    values = named(recording.values, recording.equations, last)
    values[last] = replace(values[last], cotangent=seed)
    tape = Tape(
        tuple(values), tuple(recording.equations), tuple(ids), tuple(ids[i] for i in chosen), last
    )
    return tape, structure.unflatten(gradient)


def _chosen(positions: tuple, leaves: list, args: tuple, argnums: Argnums) -> tuple[list[int], Any]:
    """The flat positions of the differentiated leaves, and the gradient's structure."""
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    if not numbers:
        raise InputError("argnums", "at least one position", "none", "pass argnums=0, say")
    for number in numbers:
        if not isinstance(number, int) or not -len(args) <= number < len(args):
            raise InputError(
                "argnums", f"positions among the {len(args)} arguments, from 0", argnums,
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


def _traced(f: Callable, leaves: list, tree: Any) -> tuple[Any, list]:
    def flat(*arrays: Any) -> Any:
        return f(*jax.tree.unflatten(tree, arrays))

    try:
        program = jax.make_jaxpr(flat)(*leaves)
    except Exception as fault:
        raise InputError(
            "f", "a loss that JAX can trace at these arguments", _told(fault),
            "call f(*args) by itself",
        ) from fault  # fmt: skip
    avals = program.out_avals
    if len(avals) != 1 or avals[0].shape != () or not is_float(avals[0]):
        came = ", ".join(str(a) for a in avals) or "nothing"
        raise InputError("f", "a loss with one real number as its value", came, "take a sum")
    count = _count(program.jaxpr)
    if count > MOST_EQUATIONS:
        raise InputError(
            "f", f"at most {MOST_EQUATIONS:,} equations to lay out", f"{count:,}",
            "write its loop with jax.lax.scan, which is one equation",
        )  # fmt: skip
    return program, list(program.in_avals)


def _told(fault: Exception) -> str:
    return f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0]}"


def _count(jaxpr: Any) -> int:
    inner = (e.params["jaxpr"].jaxpr for e in jaxpr.eqns if e.primitive.name in ("jit", "pjit"))
    return len(jaxpr.eqns) + sum(map(_count, inner))
