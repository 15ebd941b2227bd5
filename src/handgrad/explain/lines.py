"""The derivation of a case, line by line, at the very numbers that the tape runs with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from handgrad.catalogue import Case
from handgrad.explain.matching import Meeting, meetings
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
    drawn = found.example(jax.random.key(seed))
    last = found.steps[-1].value
    fits = fitting(args, drawn)
    at = args if fits is None else fits
    together = fits is not None and _ends_in(last, at, hand)
    notes: tuple[str, ...] = ()
    if not together:
        at, notes = drawn, ("the derivation is shown at an example of its own",)
    lines = tuple(
        Line(
            step.formula, step.reason, tuple(summarise(leaf) for leaf in _value(step.value, at)),
            meetings(step.value, at, tape) if together else (),
        )
        for step in found.steps
    )  # fmt: skip
    return Shown(found.title, found.of, found.given, lines, notes)


def fitting(args: tuple, drawn: tuple) -> tuple | None:
    """The case's arguments in the derivation's structure: same leaves, same ranks; or None."""
    leaves, like = jax.tree.leaves(args), jax.tree.leaves(drawn)
    kinds = [(np.ndim(leaf), np.asarray(leaf).dtype.kind) for leaf in leaves]
    if kinds != [(np.ndim(leaf), np.asarray(leaf).dtype.kind) for leaf in like]:
        return None
    return jax.tree.unflatten(jax.tree.structure(drawn), leaves)


def _value(value: Callable, at: tuple) -> list:
    return jax.tree.leaves(value(*at))


def _ends_in(last: Callable, at: tuple, hand: Any) -> bool:
    """Whether the derivation's last line is the hand-derived gradient at these arguments."""
    try:
        derived = _value(last, at)
    except Exception:
        return False
    expected = jax.tree.leaves(hand)
    return len(derived) == len(expected) and all(
        np.shape(d) == np.shape(e) and np.allclose(d, e, rtol=1e-9, atol=1e-12)
        for d, e in zip(derived, expected, strict=True)
    )
