"""The first question: is a gradient right as mathematics?

Hand, autodiff and truth are evaluated over balls that contain the real values; cancellation and
overflow vanish, wrong algebra stays wrong. The truth is the loss itself, differenced along random
directions with none of JAX's derivative rules. Where autodiff's balls agree with it along all of
them, they serve as the truth of every coordinate: directions have integer entries drawn from 2^20
values, so two gradients that differ agree along one by chance with probability at most 2^-20.
Where they do not, every coordinate is differenced by itself.

At a kink, where a loss has no derivative, a gradient must lie between the one-sided ones. For a
convex loss that is what a subgradient is: for every direction d, the left derivative along d ≤
⟨g, d⟩ ≤ the right one. It is checked along coordinates, along all ones, and along random
directions: (1, 1) at a tie of max(a, b) passes by coordinate and fails together. Where some kinks
bend up and others down (units of a network that are all at 0), no such bound holds for directions
that cross several of them: coordinates are checked alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad.exact import Traced, Undecided, UnsupportedPrimitive
from handgrad.verify.witnesses import Programs, Row

DIRECTIONS = 3
MOST_COORDINATES = 256
MOST_AT_KINKS = 64
ROUNDED_SHARE = 0.64
"""Of the digits of the traced dtype (10 in float64, 4 in float32): with fewer, an overlap proves
nothing when rounded constants are widened."""
RIGHT = ("identical", "valid subgradient")
"""The statuses of a gradient that is right."""

LIKE_AUTODIFF = (
    "hand is what autodiff gives, and neither is the derivative of the loss; where that is meant "
    "(stop_gradient, straight-through), pass reference='autodiff'"
)


@dataclass(frozen=True)
class MathResult:
    """What the mathematics says at one point; the statuses are those of a `Verdict`."""

    hand: str
    autodiff: str
    digits: int
    truth: str
    """Where the truth came from."""
    where: int | None = None
    """The coordinate that differs most."""
    cause: str | None = None
    compared: int = 0
    """How many coordinates were compared."""
    hand_row: Row | None = None
    truth_row: Row | None = None
    notes: tuple[str, ...] = ()
    found_at: str = ""
    """The input, where it is not the point given."""


def agreed_digits(a: arb, b: arb) -> float:
    """Decimal digits to which two balls surely agree, relative to the second; −inf for NaN."""
    if not (a.is_finite() and b.is_finite()):
        same = a.is_exact() and b.is_exact() and not a.is_nan() and bool(a == b)
        return math.inf if same else -math.inf
    gap = (a - b).abs_upper()
    if gap.is_zero():
        return math.inf
    scale = b.abs_lower()
    if scale.is_zero():  # the truth may be 0: then so must the other be, as far as float64 can see
        scale = arb((1, -1074))
    return float((scale / gap).log() / arb(10).log())


def dot(row: Row, direction: np.ndarray) -> arb:
    """⟨gradient, direction⟩ in balls."""
    return sum((g * arb(float(d)) for g, d in zip(row, direction, strict=True)), arb(0))


def compare_with_truth(
    programs: Programs, leaves: list, digits: int, rng: np.random.Generator, reference: str
) -> MathResult:
    """Compare hand and autodiff with the truth at one point; `reference` may be 'autodiff'."""
    with ctx.workprec(4 * digits + 128):
        return _compare(programs, leaves, digits, rng, reference)


class _Evaluated(NamedTuple):
    """A gradient's balls, or the status and the note that stand in for them."""

    row: Row | None
    status: str = ""
    note: str = ""


def _compare(
    programs: Programs, leaves: list, digits: int, rng: np.random.Generator, reference: str
) -> MathResult:
    size = programs.layout.size
    if size == 0:
        return MathResult("undecided", "undecided", 0, "none", notes=("nothing to compare",))
    hand = _evaluate_or_status(programs, programs.hand, leaves, digits)
    auto = _evaluate_or_status(programs, programs.autodiff, leaves, digits)
    notes = tuple(note for note in (hand.note, auto.note) if note)
    if reference == "autodiff":
        status = "reference" if auto.row is not None else auto.status
        return _against(programs, leaves, digits, hand, auto.row, status, reference, notes)
    try:
        certified, constants = _certified(programs, leaves, digits, rng, auto.row)
    except UnsupportedPrimitive as error:
        return MathResult("unsupported", "unsupported", 0, "none", notes=(*notes, str(error)))
    except Undecided:
        return _compare_at_kink(programs, leaves, digits, rng, hand, auto, notes)
    if certified:
        truths = auto.row
        if constants == "rounded":
            truths = programs.row(programs.autodiff, leaves, digits, constants)
            notes += ("rounded constants",)
        truth = f"differences along {DIRECTIONS} directions, then autodiff's balls"
        return _against(
            programs, leaves, digits, hand, truths, "identical", truth, notes, constants
        )
    truths, sampled = _by_coordinate(programs, leaves, digits, rng)
    notes += sampled
    auto_status = auto.status
    if auto.row is not None:
        auto_status, worst, _ = _status(auto.row, truths, digits)
        if auto_status != "identical" and worst >= _rounded_digits(programs):
            wide = programs.row(programs.autodiff, leaves, digits, "rounded")
            if _overlap(wide, truths):
                auto_status, notes = "identical", (*notes, "rounded constants")
        if auto_status == "different" and hand.row is not None and _overlap(hand.row, auto.row):
            notes += (LIKE_AUTODIFF,)
    truth = "differences, coordinate by coordinate"
    return _against(programs, leaves, digits, hand, truths, auto_status, truth, notes)


def _evaluate_or_status(
    programs: Programs, program: Traced | None, leaves: list, digits: int
) -> _Evaluated:
    if program is None:
        return _Evaluated(None, "not traceable")
    try:
        return _Evaluated(programs.row(program, leaves, digits))
    except UnsupportedPrimitive as error:
        return _Evaluated(None, "unsupported", str(error))
    except Undecided as error:
        return _Evaluated(None, "undecided", str(error))


def _certified(
    programs: Programs, leaves: list, digits: int, rng: np.random.Generator, auto: Row | None
) -> tuple[bool, str]:
    """Whether autodiff's balls agree with the differenced loss along random directions."""
    directions = rng.integers(1, 2**20, (DIRECTIONS, programs.layout.size)) * 2.0**-20
    directions *= rng.choice([-1.0, 1.0], directions.shape)
    truths = [programs.along(leaves, d, digits) for d in directions]
    if auto is None:
        return False, "exact"
    pairs = list(zip(truths, directions, strict=True))
    agreed = min(agreed_digits(dot(auto, d), truth) for truth, d in pairs)
    if agreed >= digits - 1:
        return True, "exact"
    if agreed < _rounded_digits(programs):
        return False, "exact"
    wide = programs.row(programs.autodiff, leaves, digits, "rounded")
    return all(dot(wide, d).overlaps(truth) for truth, d in pairs), "rounded"


def _by_coordinate(
    programs: Programs, leaves: list, digits: int, rng: np.random.Generator
) -> tuple[Row, tuple[str, ...]]:
    """The differenced loss at each coordinate, None where it was not drawn; and a note on that."""
    size = programs.layout.size
    chosen, notes = np.arange(size), tuple[str, ...]()
    if size > MOST_COORDINATES:
        chosen = np.sort(rng.choice(size, MOST_COORDINATES, replace=False))
        missed = 1 - MOST_COORDINATES / size
        notes = (f"{MOST_COORDINATES} of {size} coordinates: one error is missed in {missed:.0%}",)
    truths = np.full(size, None, dtype=object)
    for index in chosen:
        truths[index] = programs.along(leaves, np.eye(1, size, int(index))[0], digits)
    return truths, notes


def _overlap(row: Row, truths: Row) -> bool:
    """Whether no coordinate is known to differ."""
    return all(t is None or value.overlaps(t) for value, t in zip(row, truths, strict=True))


def _rounded_digits(programs: Programs) -> float:
    mantissa = jnp.finfo(programs.autodiff.jaxpr.out_avals[0].dtype).nmant
    return ROUNDED_SHARE * mantissa * math.log10(2)


def _status(row: Row, truths: Row, digits: int) -> tuple[str, float, int | None]:
    """identical, different or undecided; the digits of the worst coordinate; and which it is."""
    worst, where, status = math.inf, None, "identical"
    for index, (value, truth) in enumerate(zip(row, truths, strict=True)):
        if truth is None:
            continue
        agreed = agreed_digits(value, truth)
        differs = agreed == -math.inf or not value.overlaps(truth)
        if agreed < digits - 1 and (differs or status == "identical"):
            status = "different" if differs else "undecided"
        if agreed < worst:
            worst, where = agreed, index
    return status, worst, where


def _against(
    programs: Programs,
    leaves: list,
    digits: int,
    hand: _Evaluated,
    truths: Row | None,
    auto_status: str,
    truth: str,
    notes: Sequence[str],
    constants: str = "exact",
) -> MathResult:
    """Hand against the truth of every coordinate."""
    if hand.row is None or truths is None:
        status = hand.status if hand.row is None else "undecided"
        return MathResult(status, auto_status, 0, truth, truth_row=truths, notes=tuple(notes))
    compared = sum(t is not None for t in truths)
    status, worst, where = _status(hand.row, truths, digits)
    if status != "identical" and worst >= _rounded_digits(programs) and programs.hand is not None:
        wide = programs.row(programs.hand, leaves, digits, "rounded")
        if constants == "exact" and auto_status == "identical":
            truths = programs.row(programs.autodiff, leaves, digits, "rounded")
        if _overlap(wide, truths):
            status, notes = "identical", (*notes, *({"rounded constants"} - set(notes)))
    return MathResult(
        hand=status,
        autodiff=auto_status,
        digits=int(min(max(worst, 0.0), digits)),
        truth=truth,
        where=None if status == "identical" else where,
        compared=compared,
        hand_row=hand.row,
        truth_row=truths,
        notes=tuple(notes),
    )


# --- kinks ----------------------------------------------------------------------------------------


def _compare_at_kink(
    programs: Programs,
    leaves: list,
    digits: int,
    rng: np.random.Generator,
    hand: _Evaluated,
    auto: _Evaluated,
    notes: tuple[str, ...],
) -> MathResult:
    """Each gradient against the one-sided derivatives of the loss."""
    size = programs.layout.size
    rows = {n: e.row for n, e in (("hand", hand), ("autodiff", auto)) if e.row is not None}
    status = {"hand": hand.status, "autodiff": auto.status}
    status.update(dict.fromkeys(rows, "valid subgradient"))
    coordinates, found = _coordinates_at_kink(rows, size, rng)
    where, cause, compared = None, None, 0
    bends: set[bool] = set()
    for index, direction in _directions_at_kink(coordinates, size, rng):
        if index is None and len(bends) == 2:
            found.append("kinks of both signs meet here: judged coordinate by coordinate alone")
            break
        try:
            left, right = programs.one_sided(leaves, direction, digits)
        except Undecided as jump:
            status.update(dict.fromkeys(rows, "undecided"))
            cause = None
            found.append(str(jump))
            break
        compared += 1
        for name, row in rows.items():
            value = dot(row, direction)
            if _is_between(value, left, right, digits):
                continue
            if name == "hand" and status[name] != "different":
                where, cause = index, _outside_words(value, left, right, index is None)
            status[name] = "different"
        if left.overlaps(right):
            continue
        if index is not None and not bends:
            taken = ", ".join(f"{name} takes {_short(row[index])}" for name, row in rows.items())
            found.append(
                f"kink at {programs.layout.coordinate(index)}: "
                f"{_short(left)} from the left, {_short(right)} from the right; {taken}"
            )
        bends.add(bool(right > left))
    return MathResult(
        hand=status["hand"],
        autodiff=status["autodiff"],
        digits=digits,
        truth="one-sided derivatives",
        where=where,
        cause=cause,
        compared=compared,
        hand_row=hand.row,
        notes=(*notes, *found),
    )


def _coordinates_at_kink(
    rows: dict[str, Row], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """The coordinates to check: of many, those at which hand and autodiff differ come first."""
    if size <= MOST_AT_KINKS:
        return np.arange(size), []
    drawn = rng.permutation(size)
    disputed = []
    if len(rows) == 2:
        disputed = [i for i in drawn if not rows["hand"][i].overlaps(rows["autodiff"][i])]
    chosen = list(dict.fromkeys([*disputed, *drawn]))[:MOST_AT_KINKS]
    return np.sort(chosen), [f"kink: {MOST_AT_KINKS} of {size} coordinates checked"]


def _directions_at_kink(
    coordinates: np.ndarray, size: int, rng: np.random.Generator
) -> list[tuple[int | None, np.ndarray]]:
    """Each coordinate with its direction, then directions that cross several (None)."""
    alone = [(int(index), np.eye(1, size, int(index))[0]) for index in coordinates]
    together = [np.ones(size)] if size > 1 else []
    together += list(rng.integers(-(2**20), 2**20, (DIRECTIONS, size)) * 2.0**-20)
    return [*alone, *((None, direction) for direction in together)]


def _is_between(value: arb, left: arb, right: arb, digits: int) -> bool:
    """Whether a value lies between two others, or agrees with one of them to the digits asked."""
    slack = (abs(left).max(abs(right)) + arb((1, -1074))) * arb(10) ** (1 - digits)
    low, high = left.min(right) - slack, left.max(right) + slack
    return bool(value >= low) and bool(value <= high)


def _outside_words(value: arb, left: arb, right: arb, together: bool) -> str:
    low, high = _short(left.min(right)), _short(left.max(right))
    allowed = low if low == high else f"{low} to {high}"
    subject = "each coordinate could be right, but together they give " if together else ""
    return f"{subject}{_short(value)} where {allowed} is right"


def _short(value: arb) -> str:
    return f"{float(value.mid()):.12g}"
