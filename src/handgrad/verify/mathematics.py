"""The first question: is a gradient right as mathematics?

Hand, autodiff and truth are evaluated over balls that contain the real values; cancellation and
overflow vanish, wrong algebra stays wrong. The truth is the loss itself, differenced along random
directions with none of JAX's derivative rules. Where autodiff's balls agree with it along all of
them, they serve as the truth of every coordinate: directions have integer entries drawn from 2^20
values, so two gradients that differ agree along one by chance with probability at most 2^-20.
Where they do not, every coordinate is differenced by itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad.exact import Traced, Undecided, UnsupportedPrimitive
from handgrad.verify.kinks import subgradients
from handgrad.verify.programs import Programs, Row

DIRECTIONS = 3
MOST_COORDINATES = 256
ROUNDED_SHARE = 0.64
"""Of the digits of the traced dtype (10 in float64, 4 in float32): with fewer, an overlap proves
nothing when rounded constants are widened."""

LIKE_AUTODIFF = (
    "hand is what autodiff gives, and neither is the derivative of the loss; where that is meant "
    "(stop_gradient, straight-through), pass reference='autodiff'"
)


@dataclass(frozen=True)
class Finding:
    """What the mathematics says at one point."""

    hand: str
    autodiff: str
    digits: int
    truth: str
    where: int | None = None
    cause: str | None = None
    compared: int = 0
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


def examine(
    programs: Programs, leaves: list, digits: int, rng: np.random.Generator, reference: str
) -> Finding:
    """Compare hand and autodiff with the truth at one point; `reference` may be 'autodiff'."""
    with ctx.workprec(4 * digits + 128):
        return _examine(programs, leaves, digits, rng, reference)


def _examine(
    programs: Programs, leaves: list, digits: int, rng: np.random.Generator, reference: str
) -> Finding:
    size = programs.layout.size
    if size == 0:
        return Finding("undecided", "undecided", 0, "none", notes=("nothing to compare",))
    hand, hand_fault = _testimony(programs, programs.hand, leaves, digits)
    auto, auto_fault = _testimony(programs, programs.autodiff, leaves, digits)
    notes = tuple(note for note in (hand_fault[1], auto_fault[1]) if note)
    if reference == "autodiff":
        status = "reference" if auto is not None else auto_fault[0]
        return _compared(programs, leaves, digits, hand, hand_fault, auto, status, reference, notes)
    try:
        certified, constants = _certified(programs, leaves, digits, rng, auto)
    except UnsupportedPrimitive as fault:
        return Finding("unsupported", "unsupported", 0, "none", notes=(*notes, str(fault)))
    except Undecided:
        found = subgradients(programs, leaves, digits, rng, {"hand": hand, "autodiff": auto})
        return Finding(
            hand=found.status["hand"] if hand is not None else hand_fault[0],
            autodiff=found.status["autodiff"] if auto is not None else auto_fault[0],
            digits=digits,
            truth="one-sided derivatives",
            where=found.where["hand"],
            cause=found.cause,
            compared=found.compared,
            hand_row=hand,
            notes=(*notes, *found.notes),
        )
    if certified:
        truth = f"differences along {DIRECTIONS} directions, then autodiff's balls"
        if constants == "rounded":
            auto = programs.row(programs.autodiff, leaves, digits, constants)
            notes += ("rounded constants",)
        return _compared(
            programs, leaves, digits, hand, hand_fault, auto, "identical", truth, notes, constants
        )
    chosen = np.arange(size)
    if size > MOST_COORDINATES:
        chosen = np.sort(rng.choice(size, MOST_COORDINATES, replace=False))
        missed = 1 - MOST_COORDINATES / size
        notes += (f"{MOST_COORDINATES} of {size} coordinates: one error is missed in {missed:.0%}",)
    truths = np.full(size, None, dtype=object)
    for index in chosen:
        truths[index] = programs.along(leaves, np.eye(1, size, int(index))[0], digits)
    auto_status = auto_fault[0]
    if auto is not None:
        auto_status, worst, _ = _status(auto, truths, digits)
        if auto_status != "identical" and worst >= _rounded_digits(programs):
            wide = programs.row(programs.autodiff, leaves, digits, "rounded")
            if _overlap(wide, truths):
                auto_status, notes = "identical", (*notes, "rounded constants")
        if auto_status == "different" and hand is not None and _overlap(hand, auto):
            notes += (LIKE_AUTODIFF,)
    truth = "differences, coordinate by coordinate"
    return _compared(programs, leaves, digits, hand, hand_fault, truths, auto_status, truth, notes)


def _testimony(
    programs: Programs, program: Traced | None, leaves: list, digits: int
) -> tuple[Row | None, tuple[str, str]]:
    """A gradient's balls, or the status and the note that stand in for them."""
    if program is None:
        return None, ("not traceable", "")
    try:
        return programs.row(program, leaves, digits), ("", "")
    except UnsupportedPrimitive as fault:
        return None, ("unsupported", str(fault))
    except Undecided as fault:
        return None, ("undecided", str(fault))


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
    if all(agreed_digits(dot(auto, d), truth) >= digits - 1 for truth, d in pairs):
        return True, "exact"
    if min(agreed_digits(dot(auto, d), truth) for truth, d in pairs) < _rounded_digits(programs):
        return False, "exact"
    wide = programs.row(programs.autodiff, leaves, digits, "rounded")
    return all(dot(wide, d).overlaps(truth) for truth, d in pairs), "rounded"


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
        apart = agreed == -math.inf or not value.overlaps(truth)
        if agreed < digits - 1 and (apart or status == "identical"):
            status = "different" if apart else "undecided"
        if agreed < worst:
            worst, where = agreed, index
    return status, worst, where


def _compared(
    programs: Programs,
    leaves: list,
    digits: int,
    hand: Row | None,
    hand_fault: tuple[str, str],
    truths: Row | None,
    auto_status: str,
    truth: str,
    notes: Sequence[str],
    constants: str = "exact",
) -> Finding:
    """The finding once every coordinate has its truth."""
    if hand is None or truths is None:
        status = hand_fault[0] if hand is None else "undecided"
        return Finding(status, auto_status, 0, truth, truth_row=truths, notes=tuple(notes))
    compared = sum(t is not None for t in truths)
    status, worst, where = _status(hand, truths, digits)
    if status != "identical" and worst >= _rounded_digits(programs) and programs.hand is not None:
        wide = programs.row(programs.hand, leaves, digits, "rounded")
        if constants == "exact" and auto_status == "identical":
            truths = programs.row(programs.autodiff, leaves, digits, "rounded")
        if _overlap(wide, truths):
            status, notes = "identical", (*notes, *({"rounded constants"} - set(notes)))
    return Finding(
        hand=status,
        autodiff=auto_status,
        digits=int(min(max(worst, 0.0), digits)),
        truth=truth,
        where=None if status == "identical" else where,
        compared=compared,
        hand_row=hand,
        truth_row=truths,
        notes=tuple(notes),
    )
