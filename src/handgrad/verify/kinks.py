"""Kinks: where a loss has no derivative, a gradient must lie between the one-sided ones.

For a convex loss that is what a subgradient is: for every direction d, the left derivative along
d ≤ ⟨g, d⟩ ≤ the right one. It is checked along every coordinate (up to a number), along all ones,
and along random directions: (1, 1) at a tie of max(a, b) passes by coordinate and fails together.
Where some kinks bend up and others down (units of a network that are all at 0), no such bound holds
for directions that cross several of them: coordinates are checked alone.
"""

from dataclasses import dataclass

import numpy as np
from flint import arb

from handgrad import exact
from handgrad.exact import Undecided
from handgrad.verify.programs import Programs, Row

MOST_COORDINATES = 64
RANDOM_DIRECTIONS = 3


@dataclass(frozen=True)
class Subgradients:
    """The status of each witness, the coordinate it fails at, and the conventions found."""

    status: dict[str, str]
    where: dict[str, int | None]
    cause: str | None
    """What hand takes and may take, where it fails."""
    compared: int
    notes: tuple[str, ...]


def subgradients(
    programs: Programs,
    leaves: list,
    digits: int,
    rng: np.random.Generator,
    rows: dict[str, Row | None],
) -> Subgradients:
    """Check each row of balls against the one-sided derivatives of the loss.

    Where there are many coordinates, those at which hand and autodiff part come first.
    """
    size = programs.layout.size
    coordinates = np.arange(size)
    notes: list[str] = []
    if size > MOST_COORDINATES:
        drawn = rng.permutation(size)
        suspect = [i for i in drawn if _part(rows["hand"], rows["autodiff"], i)]
        chosen = list(dict.fromkeys([*suspect, *drawn]))[:MOST_COORDINATES]
        coordinates = np.sort(chosen)
        notes.append(f"kink: {MOST_COORDINATES} of {size} coordinates looked at")
    directions = [np.eye(1, size, int(index))[0] for index in coordinates]
    directions += [np.ones(size)] if size > 1 else []
    directions += list(rng.integers(-(2**20), 2**20, (RANDOM_DIRECTIONS, size)) * 2.0**-20)
    status = dict.fromkeys(rows, "valid subgradient")
    where: dict[str, int | None] = dict.fromkeys(rows)
    cause, named = None, False
    bends: set[bool] = set()
    compared = 0
    for number, direction in enumerate(directions):
        if number >= len(coordinates) and len(bends) == 2:
            notes.append("kinks of both signs meet here: judged coordinate by coordinate alone")
            break
        compared += 1
        moves = programs.moves(leaves, direction)
        try:
            left, right = (
                side[0]
                for side in exact.one_sided_jaxpr(
                    programs.loss.jaxpr, leaves, moves, digits, programs.rules
                )
            )
        except Undecided as jump:
            return Subgradients(
                dict.fromkeys(rows, "undecided"), where, None, number, (*notes, str(jump))
            )
        index = int(coordinates[number]) if number < len(coordinates) else None
        for name, row in rows.items():
            if row is None:
                continue
            value = sum((g * arb(float(d)) for g, d in zip(row, direction, strict=True)), arb(0))
            if _between(value, left, right, digits):
                continue
            if status[name] != "different":  # the first to fail is named: coordinates come first
                where[name] = index
                if name == "hand":
                    cause = _words(value, left, right, index is None)
            status[name] = "different"
        if not left.overlaps(right):
            bends.add(bool(right > left))
        if index is not None and not left.overlaps(right) and not named:
            named = True
            taken = ", ".join(
                f"{n} takes {_short(r[index])}" for n, r in rows.items() if r is not None
            )
            notes.append(
                f"kink at {programs.layout.coordinate(index)}: "
                f"{_short(left)} from the left, {_short(right)} from the right; {taken}"
            )
    return Subgradients(status, where, cause, compared, tuple(notes))


def _between(value: arb, left: arb, right: arb, digits: int) -> bool:
    """Whether a value lies between two others, or agrees with one of them to the digits asked."""
    slack = (abs(left).max(abs(right)) + arb((1, -1074))) * arb(10) ** (1 - digits)
    low, high = left.min(right) - slack, left.max(right) + slack
    return bool(value >= low) and bool(value <= high)


def _part(hand: Row | None, auto: Row | None, index: int) -> bool:
    """Whether the two gradients part at a coordinate."""
    return hand is not None and auto is not None and not hand[index].overlaps(auto[index])


def _words(value: arb, left: arb, right: arb, together: bool) -> str:
    low, high = _short(left.min(right)), _short(left.max(right))
    allowed = low if low == high else f"{low} to {high}"
    subject = "each coordinate could be right, but together they give " if together else ""
    return f"{subject}{_short(value)} where {allowed} is right"


def _short(value: arb) -> str:
    return f"{float(value.mid()):.12g}"
