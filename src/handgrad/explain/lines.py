"""The derivation of a case, line by line, at the very numbers that the tape runs with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from handgrad.catalogue import Case
from handgrad.explain.matching import Meeting, meetings, sifted, worked_out
from handgrad.explain.summary import Summary, summarise
from handgrad.explain.tape import Tape


@dataclass(frozen=True)
class Line:
    """A line as it is shown: LaTeX, its reason, its value, and where it meets the tape."""

    formula: str
    reason: str
    value: tuple[Summary, ...]
    meets: tuple[Meeting, ...]


@dataclass(frozen=True)
class Shown:
    """A derivation, ready to be shown; empty where there is none."""

    title: str = ""
    of: str = ""
    given: str = ""
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()


def lines_of(entry: Case, args: tuple, hand: Any, tape: Tape, seed: int) -> Shown:
    """The case's derivation at `args` if it takes them; else at an example of its own, unlinked."""
    from handgrad.derivations import derivation

    found = derivation(entry.derivation)
    key = jax.random.key(seed)
    at = fitting(args, jax.eval_shape(found.example, key))
    together = at is not None and _ends_in(found.steps[-1].value, at, hand)
    if at is None or not together:
        at = found.example(key)
    worked = [worked_out(step.value, at) for step in found.steps]
    met: list[tuple[Meeting, ...]] = [() for _ in worked]
    if together:
        met = sifted([meetings(arrays, at, tape) for _, arrays in worked], tape)
    lines = tuple(
        Line(step.formula, step.reason, tuple(map(summarise, result)), meets)
        for step, (result, _), meets in zip(found.steps, worked, met, strict=True)
    )
    notes = () if together else ("the derivation is shown at an example of its own",)
    return Shown(found.title, found.of, found.given, lines, notes)


def fitting(args: tuple, like: tuple) -> tuple | None:
    """The case's arguments in the derivation's structure: as many leaves, of the same ranks."""
    leaves, wanted = jax.tree.leaves(args), jax.tree.leaves(like)
    if list(map(_kind, leaves)) != list(map(_kind, wanted)):
        return None
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _kind(leaf: Any) -> tuple[int, str]:
    return leaf.ndim, leaf.dtype.kind


def _ends_in(last: Callable, at: tuple, hand: Any) -> bool:
    """Whether the derivation's last line is the hand-derived gradient at these arguments."""
    try:
        derived = jax.tree.leaves(last(*at))
    except Exception:
        return False
    expected = jax.tree.leaves(hand)
    return len(derived) == len(expected) and all(
        np.shape(d) == np.shape(e) and np.allclose(d, e, rtol=1e-9, atol=1e-12)
        for d, e in zip(derived, expected, strict=True)
    )
