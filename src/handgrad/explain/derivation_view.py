"""The derivation of a case beside its tape: each line at the same numbers, and where they match.

Every line of a derivation has the value of its end, so its own value says little. What a line
computes on its way there says more: z, ŷ − y, (ŷ − y)/N. A line is traced like a loss, all that
it computes is collected, and whatever equals a value or a cotangent of the tape, entry by entry,
is a match of the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from handgrad.catalogue import Case
from handgrad.explain.summary import Summary, as_numpy, summarise
from handgrad.explain.tape import Tape
from handgrad.jaxprs import CALLS, bind, called_program, run

RELATIVE = 1e-9
"""Of the largest entry: far below any coincidence, far above the rounding of float64."""


@dataclass(frozen=True)
class Match:
    """A line computes what the tape holds: a value, or a cotangent, of the value with `index`."""

    index: int
    cotangent: bool


@dataclass(frozen=True)
class DerivationLine:
    """A line as it is shown: LaTeX, its reason, its value, and where it matches the tape."""

    formula: str
    reason: str
    value: tuple[Summary, ...]
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class DerivationView:
    """A derivation, ready to be shown; empty where there is none."""

    title: str = ""
    of: str = ""
    """LaTeX of what is derived."""
    given: str = ""
    lines: tuple[DerivationLine, ...] = ()
    notes: tuple[str, ...] = ()


def derivation_view(entry: Case, at: tuple, hand: Any, tape: Tape, seed: int) -> DerivationView:
    """The case's derivation at `at` if it takes that; else at an example of its own, unmatched."""
    from handgrad.derivations import derivation

    found = derivation(entry.derivation)
    key = jax.random.key(seed)
    args = _restructured(at, jax.eval_shape(found.example, key))
    together = args is not None and _ends_in(found.steps[-1].value, args, hand)
    if args is None or not together:
        args = found.example(key)
    computed = [intermediates(step.value, args) for step in found.steps]
    matches: list[tuple[Match, ...]] = [() for _ in computed]
    if together:
        matches = deduplicate([match(arrays, args, tape) for _, arrays in computed], tape)
    lines = tuple(
        DerivationLine(step.formula, step.reason, tuple(map(summarise, result)), matched)
        for step, (result, _), matched in zip(found.steps, computed, matches, strict=True)
    )
    notes = () if together else ("the derivation is shown at an example of its own",)
    return DerivationView(found.title, found.of, found.given, lines, notes)


def _restructured(at: tuple, like: tuple) -> tuple | None:
    """The case's arguments in the derivation's structure: as many leaves, of the same ranks."""
    leaves, wanted = jax.tree.leaves(at), jax.tree.leaves(like)
    if [(a.ndim, a.dtype.kind) for a in leaves] != [(a.ndim, a.dtype.kind) for a in wanted]:
        return None
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _ends_in(last: Callable, args: tuple, hand: Any) -> bool:
    """Whether the derivation's last line is the hand-derived gradient at these arguments."""
    try:
        derived = jax.tree.leaves(last(*args))
    except Exception:
        return False
    expected = jax.tree.leaves(hand)
    return len(derived) == len(expected) and all(
        np.shape(d) == np.shape(e) and np.allclose(d, e, rtol=1e-9, atol=1e-12)
        for d, e in zip(derived, expected, strict=True)
    )


def intermediates(line: Callable[..., Any], args: tuple) -> tuple[list, list]:
    """(what a line comes to, as flat leaves; every array that it computes, those included).

    A line that cannot be traced (a limit, taken from numbers) has nothing on the way.
    """
    leaves, tree = jax.tree.flatten(args)
    try:
        program = jax.make_jaxpr(lambda *flat: line(*jax.tree.unflatten(tree, flat)))(*leaves)
    except Exception:
        result = jax.tree.leaves(line(*args))
        return result, result

    arrays: list[Any] = []

    def apply(equation: Any, taken: list[Any]) -> list[Any]:
        called = called_program(equation, CALLS)
        found = bind(equation, taken) if called is None else run(called, taken, apply)
        arrays.extend(found)
        return found

    result = run(program, leaves, apply)
    return result, [*arrays, *result]


def match(arrays: list[np.ndarray], args: tuple, tape: Tape) -> tuple[Match, ...]:
    """Where what a line computed equals what is on the tape; the arguments do not count."""
    given = [as_numpy(leaf) for leaf in jax.tree.leaves(args)]
    computed = [a for a in _distinctive(arrays) if not any(_same(a, g) for g in given)]
    found = []
    for value in tape.values:
        for array, cotangent in ((value.array, False), (value.cotangent, True)):
            if value.kind == "constant" or (value.kind == "input" and not cotangent):
                continue
            if array is None or (value.index in tape.outputs and cotangent):
                continue
            if any(_same(array, one) for one in computed):
                found.append(Match(value.index, cotangent))
    return tuple(found)


def _distinctive(arrays: list) -> list[np.ndarray]:
    """Without what is 0 or 1 or one number everywhere: that would match anything."""
    kept: list[np.ndarray] = []
    for array in map(as_numpy, arrays):
        if array is None or array.dtype.kind != "f" or not array.size:
            continue
        single = array.size == 1 and float(2 * array.ravel()[0]).is_integer()
        if single or (array.size > 1 and (array == array.ravel()[0]).all()):
            continue
        if not any(a.shape == array.shape and np.array_equal(a, array) for a in kept):
            kept.append(array)
    return kept


def _same(a: Any, b: Any) -> bool:
    x, y = as_numpy(a), as_numpy(b)
    if x is None or y is None or x.size != y.size or x.dtype.kind != "f":
        return False
    x, y = np.squeeze(x), np.squeeze(np.asarray(y, np.float64))
    if x.shape != y.shape or (x.size > 1 and (x == x.ravel()[0]).all()):
        return False
    return bool((np.abs(x - y) <= RELATIVE * np.abs(y).max()).all())


def deduplicate(lines: list[tuple[Match, ...]], tape: Tape) -> list[tuple[Match, ...]]:
    """Each match where it says most, as every line after it has the same numbers in it.

    A value belongs to the first line that computes it: that is where the loss is written out. The
    gradient is what all lines are, and belongs to the last, its closed form. Any other cotangent
    stays with the lines that compute it, but for the first of several, which leaves it to a ∂.
    """
    kept: list[list[Match]] = [[] for _ in lines]
    for one in dict.fromkeys(m for line in lines for m in line):
        where = [i for i, line in enumerate(lines) if one in line]
        if not one.cotangent:
            where = where[:1]
        elif one.index in tape.wanted:
            where = [i for i in where[-1:] if i == len(lines) - 1]
        elif len(where) > 1:
            where = where[1:]
        for i in where:
            kept[i].append(one)
    return [tuple(sorted(line, key=lambda m: (m.cotangent, m.index))) for line in kept]
