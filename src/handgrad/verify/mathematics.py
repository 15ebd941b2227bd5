"""The first question: is a gradient right as mathematics?

Hand, autodiff and truth are evaluated over balls that contain the real values; cancellation and
overflow vanish, wrong algebra stays wrong. The truth is the loss itself, differenced along random
directions with none of JAX's derivative rules. Where autodiff's balls agree with it along all of
them, they serve as the truth of every coordinate: directions have integer entries drawn from 2^20
values, so two gradients that differ agree along one by chance with probability at most 2^-20.
Where they do not, every coordinate is differenced by itself.

A coordinate has a derivative where the slopes on both sides agree, or where there is but one side
(the edge of the domain); it may be infinite, and then ±∞ is right and nothing else. What a gradient
may be at the others, at kinks and ties, is settled in `kinks`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad.exact import Traced, Undecided, UnsupportedPrimitive, approximations
from handgrad.exact.balls import finite_entries
from handgrad.verify.identities import explain_by_rounding
from handgrad.verify.kinks import Slope, dot, judge_kinks, short, slope_along
from handgrad.verify.witnesses import Programs, Row

DIRECTIONS = 3
MOST_COORDINATES, LEAST_COORDINATES = 256, 8
"""Of more than that a sample is differenced: fewer where one takes long."""
EVALUATIONS_PER_SLOPE = 10
"""Of the loss at 60 digits, in time: five, at about twice the precision."""
SLOPE_SECONDS = 30.0
"""For all slopes along coordinates at one point."""
ROUNDED_SHARE = 0.64
"""Of the digits of the traced dtype (10 in float64, 4 in float32): with fewer, an overlap proves
nothing when rounded constants are widened."""
RIGHT = ("identical", "valid subgradient")
"""The statuses of a gradient that is right."""
SEVERITY = ("different", "undecided", "unsupported", "not traceable", "valid subgradient",
            "identical", "reference")  # fmt: skip
"""All statuses, from the gravest."""
FLOAT64_DIGITS = 15.6
"""Those of a float64. A loop that JAX cannot differentiate ends when it is near enough to what it
computes; beyond the digits of a float64 it makes no difference how near. JAX's approximations of
special functions are less near, and their derivatives still less: see `ROUNDED_SHARE`."""
WITHOUT_AUTODIFF = "JAX cannot differentiate this loss: judged without jax.grad"
NAMES = {"hand": "the gradient", "autodiff": "jax.grad"}

ROUNDED = "the gradient is a float64 here, the nearest to the truth"
LIKE_AUTODIFF = (
    "the gradient is what jax.grad gives, and neither is the derivative; where that is meant "
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
    at_kinks: str = "identical"
    """What is to be said of hand where the loss has no derivative."""
    found_at: str = ""
    """The place, where it is not the point given; and the leaves there."""
    leaves: list | None = None


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


def is_nearest_float(a: arb, b: arb) -> bool:
    """Whether a is one float64, and no float64 is nearer to b: as 1 far out is to a sigmoid."""
    if not (a.is_exact() and a.is_finite() and arb(float(a)) == a):
        return False
    return bool(abs(a - b) <= abs(b) * arb((1, -53)))


def overlapping(a: Row, b: Row) -> np.ndarray:
    """Which balls of two rows overlap."""
    return np.asarray(_overlap_each(a, b), dtype=bool)


def known_entries(truths: Row) -> np.ndarray:
    """Which coordinates have a truth: the others are None."""
    return np.array([truth is not None for truth in truths.tolist()], dtype=bool)


def _agree_each(row: Row, truths: Row, digits: int) -> np.ndarray:
    """Where two rows surely agree to all digits asked; False where that needs a closer look."""
    gap = np.abs(row - truths) * arb(10) ** digits
    return np.asarray(gap <= np.abs(truths), dtype=bool) & finite_entries(truths)


_overlap_each = np.frompyfunc(arb.overlaps, 2, 1)


def compare_with_truth(
    programs: Programs,
    leaves: list,
    digits: int,
    rng: np.random.Generator,
    reference: str,
    dtype: str = "float64",
) -> MathResult:
    """Compare hand and autodiff with the truth at one point; `reference` may be 'autodiff'.

    `dtype` is that to which the leaves have been rounded.
    """
    with ctx.workprec(4 * digits + 128):
        result = _compare(programs, leaves, digits, rng, reference)
        return _up_to_rounding(programs, leaves, digits, dtype, result)


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
        return MathResult(
            "undecided",
            "undecided",
            0,
            "none",
            notes=("nothing was compared: the input holds no number",),
        )
    hand = _evaluate_or_status(programs, programs.hand, leaves, digits)
    auto = _evaluate_or_status(programs, programs.autodiff, leaves, digits)
    if programs.autodiff is None:
        auto = _Evaluated(None, "unsupported", WITHOUT_AUTODIFF)
    notes = tuple(note for note in (hand.note, auto.note) if note)
    if reference == "autodiff":
        status = "reference" if auto.row is not None else auto.status
        return _against(programs, leaves, digits, hand, auto.row, status, reference, notes)
    count = 1 if programs.is_expensive else DIRECTIONS
    directions = rng.integers(1, 2**20, (count, size)) * 2.0**-20
    directions *= rng.choice([-1.0, 1.0], directions.shape)
    try:
        truths = [programs.along(leaves, d, digits) for d in directions]
    except UnsupportedPrimitive as error:
        return MathResult("unsupported", "unsupported", 0, "none", notes=(*notes, str(error)))
    except Undecided:
        truths = None
    pairs = list(zip(truths or (), directions, strict=True)) if truths else []
    constants = _certified(programs, programs.autodiff, leaves, digits, pairs, auto.row)
    if constants:
        row = auto.row
        if constants == "rounded":
            row = programs.row(programs.autodiff, leaves, digits, constants)
            notes += ("rounded constants",)
        truth = _confirmed("jax.grad", count)
        found = _against(programs, leaves, digits, hand, row, "identical", truth, notes, constants)
        if found.hand == "undecided" and hand.row is not None and auto.row is not None:
            # the widened balls are too wide, but with the constants as they are both are one
            same = bool(_agree_each(hand.row, auto.row, digits).all())
            found = replace(found, hand="identical", where=None) if same else found
        return found
    if size > _most_slopes(programs):  # hand itself may be certified, and autodiff be wrong
        constants = _certified(programs, programs.hand, leaves, digits, pairs, hand.row)
        if constants:
            truth = _confirmed("the gradient", count)
            return _against_hand(programs, leaves, digits, hand, auto, truth, notes, constants)
    return _by_coordinate(programs, leaves, digits, rng, hand, auto, pairs, notes)


def _against_hand(
    programs: Programs,
    leaves: list,
    digits: int,
    hand: _Evaluated,
    auto: _Evaluated,
    truth: str,
    notes: tuple[str, ...],
    constants: str,
) -> MathResult:
    """Autodiff against hand, which directions have certified."""
    swapped = replace(programs, hand=programs.autodiff, autodiff=programs.hand)
    row = hand.row
    if constants == "rounded":
        row = programs.row(programs.hand, leaves, digits, constants)
        notes += ("rounded constants",)
    found = _against(swapped, leaves, digits, auto, row, "identical", truth, notes, constants)
    assert row is not None
    return replace(
        found, hand="identical", autodiff=found.hand, digits=digits, where=None, compared=len(row),
        hand_row=hand.row, truth_row=row,
    )  # fmt: skip


def _confirmed(what: str, count: int) -> str:
    """Where the truth comes from, in words."""
    directions = f"{count} random directions" if count > 1 else "a random direction"
    return f"{what} in exact arithmetic, confirmed by differences of the loss along {directions}"


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
    programs: Programs,
    program: Traced | None,
    leaves: list,
    digits: int,
    pairs: list[tuple[arb, np.ndarray]],
    row: Row | None,
) -> str:
    """How a gradient's balls agree with the differenced loss along random directions.

    With 'exact' constants, with 'rounded' ones, or not at all: ''.
    """
    if row is None or not pairs or not all(truth.is_finite() for truth, _ in pairs):
        return ""  # an infinite coordinate hides the others
    agreed = min(agreed_digits(dot(row, d), truth) for truth, d in pairs)
    if agreed >= digits - 1:
        return "exact"
    if agreed < _rounded_digits(programs):
        return ""
    wide = programs.row(program, leaves, digits, "rounded")
    return "rounded" if all(dot(wide, d).overlaps(truth) for truth, d in pairs) else ""


def _misses_directions(programs: Programs, row: Row, pairs: list[tuple[arb, np.ndarray]]) -> bool:
    """Whether a gradient's balls are far from the differenced loss along a random direction."""
    enough = _rounded_digits(programs)
    known = [(truth, d) for truth, d in pairs if truth.is_finite()]
    return any(agreed_digits(dot(row, d), truth) < enough for truth, d in known)


def _by_coordinate(
    programs: Programs,
    leaves: list,
    digits: int,
    rng: np.random.Generator,
    hand: _Evaluated,
    auto: _Evaluated,
    pairs: list[tuple[arb, np.ndarray]],
    notes: tuple[str, ...],
) -> MathResult:
    """Each gradient against the loss differenced along one coordinate after another.

    Where the slopes on both sides agree, or there is but one side, that is the derivative; the
    other coordinates are judged by `judge_kinks`.
    """
    size = programs.layout.size
    rows = {n: e.row for n, e in (("hand", hand), ("autodiff", auto)) if e.row is not None}
    chosen, sampled = _chosen_coordinates(programs, rows, size, rng)
    slopes: dict[int, Slope] = {}
    failed: dict[int, str] = {}
    for index in map(int, chosen):
        try:
            slopes[index] = slope_along(programs, leaves, np.eye(1, size, index)[0], digits)
        except Undecided as undecided:
            failed[index] = re.sub("(derivative of )?output entry 0:? ", "", str(undecided))
    truths = np.full(size, None, dtype=object)
    for index, slope in slopes.items():
        truths[index] = slope.value
    kinked = [index for index, slope in slopes.items() if slope.value is None]
    if not kinked and len(slopes) == size and not _is_linear(truths, pairs, digits):
        kinked = list(slopes)  # one derivative along each, and yet together there is none
    notes += (*sampled, *_edge_notes(programs, truths))
    notes += tuple(f"{programs.layout.coordinate(i)}: {why}" for i, why in list(failed.items())[:1])
    kinks = None
    if kinked:
        evaluations = {
            name: _evaluations(programs, name, rows[name], leaves, digits) for name in rows
        }
        kinks = judge_kinks(programs, leaves, digits, rng, slopes, evaluations, kinked)
        notes += (*_kink_notes(programs, slopes, rows), *kinks.notes)
        truths[sorted(kinks.loose)] = None
    statuses = {"hand": hand.status, "autodiff": auto.status}
    worst, where, cause, rounded = dict.fromkeys(rows, math.inf), None, None, False
    for name, row in rows.items():
        status, worst[name], place = _status(row, truths, digits)
        if status != "identical" and worst[name] >= _rounded_digits(programs):
            wide = programs.row(getattr(programs, name), leaves, digits, "rounded")
            if _overlap(wide, truths):
                status, rounded, place = "identical", True, None
        if kinks and status != "different":
            status = min(status, kinks.status[name], key=SEVERITY.index)
            if status == "different":
                place = kinks.where[name]
                cause = kinks.cause[name] if name == "hand" else cause
        elsewhere = sampled and not kinked and _misses_directions(programs, row, pairs)
        if elsewhere and status != "different":
            called = "the gradient" if name == "hand" else "jax.grad"
            notes += (f"{called} is wrong somewhere else: along a random direction it does not "
                      "give the slope of the loss",)  # fmt: skip
        if (failed or elsewhere) and status != "different":
            status = "undecided"
        statuses[name] = status
        where = place if name == "hand" and status == "different" else where
    for name in () if kinked or failed else [n for n in rows if statuses[n] == "different"]:
        if why := _why_only_near(programs, worst[name]):
            statuses[name] = "identical"
            if name == "hand":
                where, cause, notes = None, None, (*notes, why)
    both_differ = statuses["hand"] == statuses["autodiff"] == "different"
    finite = all(ball.is_finite() for row in rows.values() for ball in row)
    if both_differ and finite and _overlap(rows["hand"], rows["autodiff"]):
        notes += (LIKE_AUTODIFF,)
    if where is not None and truths[where] is not None and not truths[where].is_finite():
        cause = f"{short(rows['hand'][where])} where {short(truths[where])} is right"
    return MathResult(
        hand=statuses["hand"],
        autodiff=statuses["autodiff"],
        digits=int(min(max(worst.get("hand", 0.0), 0.0), digits)),
        truth="differences of the loss in exact arithmetic, along one coordinate after another"
        + (", on both sides" if kinked else ""),
        where=where,
        cause=cause,
        compared=len(slopes) + (kinks.compared if kinks else 0) if hand.row is not None else 0,
        hand_row=hand.row,
        truth_row=truths,
        at_kinks="undecided"
        if failed
        else kinks.status["hand"]
        if kinks and hand.row is not None
        else "identical",
        notes=(*notes, *(("rounded constants",) if rounded else ())),
    )


def _evaluations(programs: Programs, name: str, row: Row, leaves: list, digits: int) -> list[Row]:
    """A gradient with exact constants, and with such as a trace has rounded widened."""
    return [row, programs.row(getattr(programs, name), leaves, digits, "rounded")]


def _is_linear(truths: Row, pairs: list[tuple[arb, np.ndarray]], digits: int) -> bool:
    """Whether the derivatives along coordinates make up those along random directions."""
    if not all(truth.is_finite() for truth in truths):
        return True
    return all(agreed_digits(dot(truths, d), along) >= digits // 2 for along, d in pairs)


def _most_slopes(programs: Programs) -> int:
    """How many coordinates may be differenced by themselves."""
    if not programs.is_expensive:
        return MOST_COORDINATES
    seconds = EVALUATIONS_PER_SLOPE * programs.loss_effort.seconds
    return int(np.clip(SLOPE_SECONDS / seconds, LEAST_COORDINATES, MOST_COORDINATES))


def _chosen_coordinates(
    programs: Programs, rows: dict[str, Row], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The coordinates to difference: of many, those at which hand and autodiff differ first."""
    most = _most_slopes(programs)
    if size <= most:
        return np.arange(size), ()
    drawn = rng.permutation(size)
    disputed = np.zeros(0, int)
    if len(rows) == 2:
        disputed = drawn[~overlapping(rows["hand"], rows["autodiff"])[drawn]]
    chosen = np.sort(list(dict.fromkeys([*disputed, *drawn]))[:most])
    compared = f"{len(chosen)} of {size:,} coordinates were compared"
    if len(disputed):
        compared += f", first those {len(disputed):,} at which the gradient and jax.grad differ"
    return chosen, (
        f"{compared}; an error that jax.grad shares is missed with probability "
        f"{1 - most / size:.4g} in one coordinate, {(1 - 0.01) ** most:.2g} in 1% of them",
    )


def _edge_notes(programs: Programs, truths: Row) -> tuple[str, ...]:
    infinite = [i for i, t in enumerate(truths) if t is not None and not t.is_finite()]
    return tuple(
        f"the derivative is {short(truths[i])} at {programs.layout.coordinate(i)}"
        for i in infinite[:1]
    )


def _kink_notes(
    programs: Programs, slopes: dict[int, Slope], rows: dict[str, Row]
) -> tuple[str, ...]:
    """The first kink, and what is taken there."""
    for index, slope in slopes.items():
        if slope.value is None and slope.left is not None and slope.right is not None:
            taken = ", ".join(
                f"{NAMES[name]} takes {short(row[index])}" for name, row in rows.items()
            )
            return (
                f"kink at {programs.layout.coordinate(index)}: {short(slope.left)} from the left, "
                f"{short(slope.right)} from the right; {taken}",
            )
    return ()


def _overlap(row: Row, truths: Row) -> bool:
    """Whether no coordinate is known to differ."""
    known = known_entries(truths)
    return bool(overlapping(row[known], truths[known]).all())


def _why_only_near(programs: Programs, agreed: float) -> str:
    """Why a gradient that agrees to that many digits need be no nearer; '' if that is not so."""
    if not _rounded_digits(programs) <= agreed < math.inf:
        return ""
    digits = f"agrees to {int(agreed)} digits, "
    if programs.autodiff is None and agreed >= FLOAT64_DIGITS:
        return f"{digits}beyond which the loss stops short"
    found = sorted({name for traced in programs.all for name in approximations(traced.jaxpr)})
    listed = ", ".join(found)
    return f"{digits}and JAX approximates {listed}: see exact.approximations" if found else ""


def _rounded_digits(programs: Programs) -> float:
    mantissa = jnp.finfo(programs.loss.jaxpr.out_avals[0].dtype).nmant
    return ROUNDED_SHARE * mantissa * math.log10(2)


def _status(row: Row, truths: Row, digits: int) -> tuple[str, float, int | None]:
    """identical, different or undecided; the digits of the worst coordinate; and which it is."""
    worst, where, status = math.inf, None, "identical"
    indices = np.flatnonzero(known_entries(truths))
    for index in indices[~_agree_each(row[indices], truths[indices], digits)]:
        value, truth = row[index], truths[index]
        agreed = agreed_digits(value, truth)
        differs = agreed == -math.inf or not value.overlaps(truth)
        if agreed < digits - 1 and (differs or status == "identical"):
            status = "different" if differs else "undecided"
        if agreed < worst:
            worst, where = agreed, int(index)
    if len(indices):
        worst = min(worst, float(digits))
        where = int(indices[0]) if where is None else where
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
    known = np.flatnonzero(known_entries(truths))
    apart = known[~_agree_each(hand.row[known], truths[known], digits)]
    unseen = [i for i in apart if programs.is_out_of_reach(hand.row[i], truths[i])]
    rounded = [i for i in apart if is_nearest_float(hand.row[i], truths[i])]
    truths = truths.copy()
    truths[unseen + rounded] = hand.row[unseen + rounded]
    notes = (*notes, ROUNDED) if rounded else tuple(notes)
    status, worst, where = _status(hand.row, truths, digits)
    enough, size = _rounded_digits(programs), _largest(truths)
    by_norm = _digits_by_norm(hand.row, truths, size)
    if status != "identical" and max(worst, by_norm) >= enough and programs.hand is not None:
        wide = programs.row(programs.hand, leaves, digits, "rounded")
        if constants == "exact" and auto_status == "identical":
            truths = programs.row(programs.autodiff, leaves, digits, "rounded")
        narrow = _are_narrow(wide, truths, size * arb(10) ** -arb(enough))
        if (worst >= enough or narrow) and _overlap(wide, truths):
            worst = max(worst, by_norm)
            status, notes = "identical", (*notes, *({"rounded constants"} - set(notes)))
    if status == "different" and (why := _why_only_near(programs, worst)):
        status, notes = "identical", (*notes, why)
    return MathResult(
        hand=status,
        autodiff=auto_status,
        digits=int(min(max(worst, 0.0), FLOAT64_DIGITS if rounded else digits)),
        truth=truth,
        where=None if status == "identical" else where,
        compared=len(known),
        hand_row=hand.row,
        truth_row=truths,
        notes=tuple(notes),
    )


def _largest(truths: Row) -> arb:
    """The largest magnitude of a row."""
    return max((abs(t).upper() for t in truths if t is not None and t.is_finite()), default=arb(0))


def _digits_by_norm(row: Row, truths: Row, size: arb) -> float:
    """Digits to which two rows agree beside the largest number.

    A coordinate may be a sum that cancels, of terms that rounded constants move.
    """
    gaps = [abs(r - t).upper() for r, t in zip(row, truths, strict=True) if t is not None]
    furthest = max(gaps, default=arb(0))
    if furthest.is_zero():
        return math.inf
    if not (furthest.is_finite() and size > 0):
        return -math.inf
    return float((size / furthest).log() / arb(10).log())


def _are_narrow(row: Row, truths: Row, radius: arb) -> bool:
    """Whether all balls of two rows are that narrow: of wide ones an overlap proves nothing."""
    pairs = [(r, t) for r, t in zip(row, truths, strict=True) if t is not None]
    return all(bool(ball.rad() <= radius) for pair in pairs for ball in pair)


def _up_to_rounding(
    programs: Programs, leaves: list, digits: int, dtype: str, result: MathResult
) -> MathResult:
    """The result, unless hand is right at inputs that differ from those given by rounding alone."""
    hand, truths, auto = result.hand_row, result.truth_row, programs.autodiff
    trusted = result.autodiff in (*RIGHT, "reference")
    trusted = trusted and result.at_kinks in RIGHT
    if result.hand != "different" or not trusted or auto is None or programs.hand is None:
        return result
    largest = np.abs(programs.layout.row(leaves, np.float64))
    if hand is None or truths is None or not _is_close(hand, truths, dtype, largest.max()):
        return result
    compared = _HandAndTruth(programs, programs.hand, auto, digits, known_entries(truths))
    identity = explain_by_rounding(programs, leaves, digits, dtype, compared)
    if identity is None:
        return result
    return replace(
        result,
        hand=result.at_kinks,
        where=None,
        cause=None,
        notes=(*(note for note in result.notes if note != LIKE_AUTODIFF), identity),
    )


class _HandAndTruth(NamedTuple):
    """Hand beside autodiff as the truth, at the coordinates that have one."""

    programs: Programs
    hand: Traced
    truth: Traced
    digits: int
    known: np.ndarray

    def agree(self, moved: list) -> bool:
        """Whether both are equal at these leaves, as far as rounded constants allow."""
        for constants in ("exact", "rounded"):
            there, true = self.rows(moved, self.digits, constants)
            status, worst, _ = _status(there, true, self.digits)
            if status == "identical":
                return True
            if worst < _rounded_digits(self.programs):
                return False
        return _overlap(there, true)

    def rows(self, moved: list, digits: int, constants: str = "exact") -> tuple[Row, Row]:
        """Both in balls."""
        there, true = (
            self.programs.row(program, moved, digits, constants)
            for program in (self.hand, self.truth)
        )
        return there[self.known], true[self.known]


def _is_close(hand: Row, truths: Row, dtype: str, largest: float) -> bool:
    """Whether hand is so near the truth, by the norm of both, that rounding may explain it.

    Where the truth is 0 all over, or nearly, that is beside the `largest` input.
    """
    eps = max(float(jnp.finfo(dtype).eps), float(jnp.finfo("float32").eps))
    pairs = [(h, t) for h, t in zip(hand, truths, strict=True) if t is not None and t.is_finite()]
    size = max((float(abs(truth).upper()) for _, truth in pairs), default=0.0)
    size = max(size, largest if np.isfinite(largest) else 0.0)
    return all(float(abs(h - t).upper()) <= math.sqrt(eps) * size for h, t in pairs)
