"""Names for what is on the tape: those of the user's own file where there are any."""

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from handgrad.explain.tape import Equation, Value

SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def name_of(f: Any) -> str:
    """What a function calls itself, through `functools.partial`."""
    while isinstance(f, partial):
        f = f.func
    return str(getattr(f, "__name__", type(f).__name__))


def argument_names(f: Callable, count: int) -> list[str]:
    """The names of the first `count` parameters; numbered where the signature has `*args`."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names[:count] + [f"argument {i}" for i in range(len(names), count)]


def leaf_names(args: tuple, arguments: list[str]) -> list[str]:
    """`params.weight` for every leaf of the arguments, in order."""
    paths, _ = jax.tree_util.tree_flatten_with_path(args)
    return [arguments[path[0].idx] + jax.tree_util.keystr(path[1:]) for path, _ in paths]


def named(values: list[Value], equations: list[Equation], output: int) -> list[Value]:
    """Names for computed values: what the user assigned them to, numbered where it repeats.

    One expression may take several equations (`jnp.mean` is a sum and a quotient); the last of
    them has the expression's value, and its name.
    """
    values = list(values)
    following = [e.origin for e in equations[1:]] + [None]
    given: dict[int, str] = {}
    for equation, after in zip(equations, following, strict=False):
        origin = equation.origin
        if origin is not None and origin != after and len(origin.names) == len(equation.outputs):
            given.update(zip(equation.outputs, origin.names, strict=True))
    given.pop(output, None)
    total = Counter(given.values())
    used = {value.name for value in values if value.kind == "input"}
    counts: Counter = Counter()
    number = 0
    for value in values:
        if value.kind != "computed":
            continue
        name = given.get(value.index)
        if name is None:
            number += 1
            name = f"v{number}".translate(SUBSCRIPT)
        elif total[name] > 1 or name in used:
            counts[name] += 1
            name += str(counts[name]).translate(SUBSCRIPT)
        values[value.index] = replace(value, name="loss" if value.index == output else name)
    return values
