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

A ball is an object of 120 bytes, and a number takes 0.4 microseconds for each operation. Where that
would take more time or memory than there is, nothing is evaluated over balls, and the verdict is
never 'identical'. Hand and autodiff are compared in float64 at every coordinate. Where they are
apart, the loss itself is differenced along the worst coordinate, in float64 too; hand is
'different' only if the slopes on both sides agree with each other and with autodiff, and hand is
far from them: at a kink nothing is said.
"""

import math
import os
import re
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad._precision import x64
from handgrad.exact import Undecided, UnsupportedPrimitive, approximations
from handgrad.exact.balls import finite_entries
from handgrad.verify.identities import explain_by_rounding
from handgrad.verify.kinks import Slope, dot, judge_kinks, short, slope_along
from handgrad.verify.witnesses import GRACE_SECONDS, Problem, Programs, Row, called, rounded

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

MOST_SECONDS = 900.0
"""For the mathematics at the point given, where no time is asked for."""
MEMORY_SHARE = 0.5
"""Of the machine's memory."""
APART = 1e-6
"""Relative difference of two gradients in float64 that is looked into."""
NEGLIGIBLE = 1e-12
"""Of the largest coordinate: what rounding in float64 may do to the others."""
HALVINGS = range(3, 28)
"""Steps from an eighth of a number down."""
CONVICTING = 1e-3
"""Relative error of a gradient that differences in float64 may convict."""

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


@dataclass
class _Evaluated:
    """Hand and autodiff in balls at one point, as far as they can be had there."""

    programs: Programs
    leaves: list
    digits: int
    rows: dict[str, Row] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    """Of those that have no row."""
    notes: tuple[str, ...] = ()

    def widened(self, name: str) -> Row:
        """A gradient's balls where the constants that a trace has rounded are widened."""
        return self.programs.row(getattr(self.programs, name), self.leaves, self.digits, "rounded")


def _evaluate_both(programs: Programs, leaves: list, digits: int) -> _Evaluated:
    both = _Evaluated(programs, leaves, digits)
    if programs.hand is None:
        both.statuses["hand"] = "not traceable"
    if programs.autodiff is None:
        both.statuses["autodiff"] = "unsupported"
    for name in ("hand", "autodiff"):
        if name in both.statuses:
            continue
        try:
            both.rows[name] = programs.row(getattr(programs, name), leaves, digits)
        except UnsupportedPrimitive as error:
            both.statuses[name], note = "unsupported", str(error)
        except Undecided as error:
            both.statuses[name], note = "undecided", str(error)
        else:
            continue
        both.notes += (note,)
    if programs.autodiff is None:
        both.notes += (WITHOUT_AUTODIFF,)
    return both


def _compare(
    programs: Programs, leaves: list, digits: int, rng: np.random.Generator, reference: str
) -> MathResult:
    size = programs.layout.size
    if size == 0:
        note = "nothing was compared: the input holds no number"
        return MathResult("undecided", "undecided", 0, "none", notes=(note,))
    both = _evaluate_both(programs, leaves, digits)
    if reference == "autodiff":
        found = _against(both, "hand", both.rows.get("autodiff"), reference)
        return replace(found, autodiff=both.statuses.get("autodiff", "reference"))
    count = 1 if programs.is_expensive else DIRECTIONS
    directions = rng.integers(1, 2**20, (count, size)) * 2.0**-20
    directions *= rng.choice([-1.0, 1.0], directions.shape)
    try:
        pairs = [(programs.along(leaves, d, digits), d) for d in directions]
    except UnsupportedPrimitive as error:
        notes = (*both.notes, str(error))
        return MathResult("unsupported", "unsupported", 0, "none", notes=notes)
    except Undecided:
        pairs = []
    # where coordinates are many, hand may be certified, and autodiff be wrong
    for name in ("autodiff", "hand") if size > _most_slopes(programs) else ("autodiff",):
        certified = _certify(both, name, pairs)
        if certified is not None:
            return certified
    return _by_coordinate(both, rng, pairs)


def _certify(both: _Evaluated, name: str, pairs: list[tuple[arb, np.ndarray]]) -> MathResult | None:
    """What random directions certify of one gradient, and of the other one beside it; else None.

    Where the constants have to be widened for that, they are.
    """
    row = both.rows.get(name)
    if row is None or not pairs or not all(truth.is_finite() for truth, _ in pairs):
        return None  # an infinite coordinate hides the others
    agreed = min(agreed_digits(dot(row, d), truth) for truth, d in pairs)
    is_exact = agreed >= both.digits - 1
    if not is_exact:
        if agreed < _rounded_digits(both.programs):
            return None
        row = both.widened(name)
        if not all(dot(row, d).overlaps(truth) for truth, d in pairs):
            return None
        both.notes += ("rounded constants",)
    directions = f"{len(pairs)} random directions" if len(pairs) > 1 else "a random direction"
    truth = (
        f"{NAMES[name]} in exact arithmetic, confirmed by differences of the loss along "
        f"{directions}"
    )
    other = "autodiff" if name == "hand" else "hand"
    found = _against(both, other, row, truth, widen=name if is_exact else "")
    if name == "autodiff":
        hand = both.rows.get("hand")
        if found.hand == "undecided" and hand is not None:
            # the widened balls are too wide, but with the constants as they are both are one
            same = bool(_agree_each(hand, both.rows[name], both.digits).all())
            found = replace(found, hand="identical", where=None) if same else found
        return found
    return replace(
        found, hand="identical", autodiff=found.hand, digits=both.digits, where=None,
        compared=len(row), hand_row=both.rows["hand"], truth_row=row,
    )  # fmt: skip


def _misses_directions(programs: Programs, row: Row, pairs: list[tuple[arb, np.ndarray]]) -> bool:
    """Whether a gradient's balls are far from the differenced loss along a random direction."""
    enough = _rounded_digits(programs)
    known = [(truth, d) for truth, d in pairs if truth.is_finite()]
    return any(agreed_digits(dot(row, d), truth) < enough for truth, d in known)


def _by_coordinate(
    both: _Evaluated, rng: np.random.Generator, pairs: list[tuple[arb, np.ndarray]]
) -> MathResult:
    """Each gradient against the loss differenced along one coordinate after another.

    Where the slopes on both sides agree, or there is but one side, that is the derivative; the
    other coordinates are judged by `judge_kinks`.
    """
    programs, leaves, digits, rows = both.programs, both.leaves, both.digits, both.rows
    layout, size = programs.layout, programs.layout.size
    chosen, sampled = _chosen_coordinates(programs, rows, size, rng)
    slopes: dict[int, Slope] = {}
    failed: list[str] = []
    truths = np.full(size, None, dtype=object)
    for index in map(int, chosen):
        try:
            slopes[index] = slope_along(programs, leaves, layout.unit(index), digits)
            truths[index] = slopes[index].value
        except Undecided as undecided:
            why = re.sub("(derivative of )?output entry 0:? ", "", str(undecided))
            failed.append(f"{layout.coordinate(index)}: {why}")
    kinked = [index for index, slope in slopes.items() if slope.value is None]
    if not kinked and len(slopes) == size and not _is_linear(truths, pairs, digits):
        kinked = list(slopes)  # one derivative along each, and yet together there is none
    notes = [*both.notes, *sampled, *_edge_notes(programs, truths), *failed[:1]]
    kinks = None
    if kinked:
        evaluations = {name: [row, both.widened(name)] for name, row in rows.items()}
        kinks = judge_kinks(programs, leaves, digits, rng, slopes, evaluations, kinked)
        notes += [*_kink_notes(programs, slopes, rows), *kinks.notes]
        truths[sorted(kinks.loose)] = None
    statuses = dict(both.statuses)
    worst, where, cause, rounded = dict.fromkeys(rows, math.inf), None, None, False
    for name, row in rows.items():
        status, worst[name], place = _status(row, truths, digits)
        is_near = status != "identical" and worst[name] >= _rounded_digits(programs)
        if is_near and _overlap(both.widened(name), truths):
            status, rounded, place = "identical", True, None
        if kinks and status != "different":
            status = min(status, kinks.status[name], key=SEVERITY.index)
            if status == "different":
                place = kinks.where[name]
                cause = kinks.cause[name] if name == "hand" else cause
        elsewhere = sampled and not kinked and _misses_directions(programs, row, pairs)
        if elsewhere and status != "different":
            notes.append(
                f"{NAMES[name]} is wrong somewhere else: along a random direction it does not "
                "give the slope of the loss"
            )
        if (failed or elsewhere) and status != "different":
            status = "undecided"
        statuses[name] = status
        where = place if name == "hand" and status == "different" else where
    for name in () if kinked or failed else [n for n in rows if statuses[n] == "different"]:
        if why := _why_only_near(programs, worst[name]):
            statuses[name] = "identical"
            if name == "hand":
                where, cause = None, None
                notes.append(why)
    both_differ = statuses["hand"] == statuses["autodiff"] == "different"
    finite = all(ball.is_finite() for row in rows.values() for ball in row)
    if both_differ and finite and _overlap(rows["hand"], rows["autodiff"]):
        notes.append(LIKE_AUTODIFF)
    if where is not None and truths[where] is not None and not truths[where].is_finite():
        cause = f"{short(rows['hand'][where])} where {short(truths[where])} is right"
    at_kinks = kinks.status["hand"] if kinks and "hand" in rows else "identical"
    return MathResult(
        hand=statuses["hand"],
        autodiff=statuses["autodiff"],
        digits=int(min(max(worst.get("hand", 0.0), 0.0), digits)),
        truth="differences of the loss in exact arithmetic, along one coordinate after another"
        + (", on both sides" if kinked else ""),
        where=where,
        cause=cause,
        compared=len(slopes) + (kinks.compared if kinks else 0) if "hand" in rows else 0,
        hand_row=rows.get("hand"),
        truth_row=truths,
        at_kinks="undecided" if failed else at_kinks,
        notes=(*notes, *(("rounded constants",) if rounded else ())),
    )


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
    both: _Evaluated, judged: str, truths: Row | None, truth: str, widen: str = ""
) -> MathResult:
    """The gradient `judged`, called hand in the result, against the truth of every coordinate.

    `widen` names the gradient that is the truth, where its constants may be widened.
    """
    programs, digits, row, notes = both.programs, both.digits, both.rows.get(judged), both.notes
    if row is None or truths is None:
        status = both.statuses[judged] if row is None else "undecided"
        return MathResult(status, "identical", 0, truth, truth_row=truths, notes=notes)
    apart = np.flatnonzero(~_agree_each(row, truths, digits))
    unseen = [i for i in apart if programs.is_out_of_reach(row[i], truths[i])]
    rounded = [i for i in apart if is_nearest_float(row[i], truths[i])]
    truths = truths.copy()
    truths[unseen + rounded] = row[unseen + rounded]
    notes += (ROUNDED,) if rounded else ()
    status, worst, where = _status(row, truths, digits)
    enough, size = _rounded_digits(programs), _largest(truths)
    by_norm = _digits_by_norm(row, truths, size)
    if status != "identical" and max(worst, by_norm) >= enough:
        wide = both.widened(judged)
        truths = both.widened(widen) if widen else truths
        radius = size * arb(10) ** -arb(enough)
        is_narrow = all(bool(ball.rad() <= radius) for ball in (*wide, *truths))
        if (worst >= enough or is_narrow) and _overlap(wide, truths):
            worst = max(worst, by_norm)
            status, notes = "identical", (*notes, *({"rounded constants"} - set(notes)))
    if status == "different" and (why := _why_only_near(programs, worst)):
        status, notes = "identical", (*notes, why)
    return MathResult(
        hand=status,
        autodiff="identical",
        digits=int(min(max(worst, 0.0), FLOAT64_DIGITS if rounded else digits)),
        truth=truth,
        where=None if status == "identical" else where,
        compared=len(row),
        hand_row=row,
        truth_row=truths,
        notes=notes,
    )


def _largest(truths: Row) -> arb:
    """The largest finite magnitude of a row."""
    return max((abs(t).upper() for t in truths if t.is_finite()), default=arb(0))


def _digits_by_norm(row: Row, truths: Row, size: arb) -> float:
    """Digits to which two rows agree beside the largest number.

    A coordinate may be a sum that cancels, of terms that rounded constants move.
    """
    furthest = max((abs(gap).upper() for gap in row - truths), default=arb(0))
    if furthest.is_zero():
        return math.inf
    if not (furthest.is_finite() and size > 0):
        return -math.inf
    return float((size / furthest).log() / arb(10).log())


def _up_to_rounding(
    programs: Programs, leaves: list, digits: int, dtype: str, result: MathResult
) -> MathResult:
    """The result, unless hand is right at inputs that differ from those given by rounding alone."""
    hand, truths = result.hand_row, result.truth_row
    trusted = result.autodiff in (*RIGHT, "reference") and result.at_kinks in RIGHT
    if result.hand != "different" or not trusted or None in (programs.hand, programs.autodiff):
        return result
    largest = np.abs(programs.layout.row(leaves, np.float64)).max()
    if hand is None or truths is None or not _is_close(hand, truths, dtype, largest):
        return result
    compared = _HandAndTruth(programs, digits, known_entries(truths))
    identity = explain_by_rounding(programs, leaves, digits, dtype, compared.agree, compared.rows)
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
        there = self.programs.row(self.programs.hand, moved, digits, constants)
        true = self.programs.row(self.programs.autodiff, moved, digits, constants)
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


# --- what is too large for balls ------------------------------------------------------------------


def too_large(problem: Problem, programs: Programs) -> str | None:
    """What a verdict would take, in words, if that is more than there is; else None."""
    gradient, loss = programs.gradient_effort, programs.loss_effort
    seconds = EVALUATIONS_PER_SLOPE * loss.seconds + 2 * gradient.seconds
    allowed = MOST_SECONDS if problem.seconds is None else problem.seconds + GRACE_SECONDS
    if seconds <= allowed and gradient.bytes <= MEMORY_SHARE * _memory():
        return None
    return (
        f"{problem.layout.size:,} coordinates are too many for exact arithmetic here: it would "
        f"take about {_duration(seconds)} and {max(1, round(gradient.bytes / 1e9)):,} GB for the "
        "mathematics alone; judge smaller arrays, on which the algebra is the same"
    )


def _memory() -> float:
    """Bytes of memory that the machine has; unknown counts as unlimited."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60):,} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def compare_in_float64(
    programs: Programs, leaves: list, hand: np.ndarray, auto: np.ndarray
) -> MathResult:
    """What float64 says of both gradients, given as rows: 'different', or 'undecided'."""
    size = float(np.abs(auto[np.isfinite(auto)]).max(initial=0))
    with np.errstate(invalid="ignore"):
        scale = np.maximum(np.abs(auto), NEGLIGIBLE / APART * size)
        gap = np.where(hand == auto, 0.0, np.abs(hand - auto))
        apart = gap / np.where(scale > 0, scale, 1.0)
    gap, apart = (np.where(np.isnan(a), np.inf, a) for a in (gap, apart))
    differing = apart > APART
    # the widest gap is the one that differences of the loss show best
    count, worst = int(differing.sum()), int(np.argmax(np.where(differing, gap, 0.0)))
    place = programs.layout.coordinate(worst)
    values = f"{hand[worst]:.9g} and {auto[worst]:.9g} at {place}"
    where, cause, status = None, None, "undecided"
    if count == 0:
        most = max(float(apart.max(initial=0)), 1e-16)
        note = (
            f"in float64 the gradient and jax.grad agree at all {len(hand):,} coordinates, to "
            f"{most:.0e} at the worst: no proof, since both may be wrong"
        )
    else:
        note = f"in float64 the gradient and jax.grad differ at {count:,} of {len(hand):,} "
        note += f"coordinates: {values}"
        slope = _slope(programs, leaves, worst)
        if slope.convicts(hand[worst], auto[worst]):
            status, where = "different", worst
            cause = f"{hand[worst]:.9g} where differences of the loss give {slope.value:.6g}"
    return MathResult(
        hand=status, autodiff="undecided", digits=0, truth="none: float64 alone", where=where,
        cause=cause, compared=len(hand), notes=(note,),
    )  # fmt: skip


class _FloatSlope(NamedTuple):
    """The slope of the loss along one coordinate, by differences in float64."""

    value: float
    low: float
    high: float
    """The smaller and the larger of the slopes on both sides."""
    error: float
    """How far off they may be."""
    is_smooth: bool
    """Whether the slopes on both sides agree."""

    def convicts(self, claimed: float, confirmed: float) -> bool:
        """Whether a number is surely no slope here, as NaN is none, and another one may be it."""
        slack = 10 * self.error + CONVICTING * max(abs(self.value), abs(claimed))
        is_within = self.low - slack <= claimed <= self.high + slack
        gap = abs(confirmed - self.value)
        is_near = gap <= self.error + CONVICTING / 10 * abs(self.value)
        return self.is_smooth and not is_within and is_near


def _slope(programs: Programs, leaves: list, index: int) -> _FloatSlope:
    """The difference quotients at the step at which two successive ones are closest."""
    layout = programs.layout
    row = layout.row(leaves, np.float64)
    scale = abs(row[index]) or 1.0

    def at_row(row: Any, leaves: list) -> Any:
        return called(programs.loss, layout.replaced(leaves, row))[0]

    with x64():
        rest = rounded(leaves, np.float64)
        loss = jax.jit(at_row).lower(row, rest).compile()
        middle, sides, least = float(loss(row, rest)), [], np.inf
        for halvings in HALVINGS:
            step = scale * 2.0**-halvings
            noise = abs(middle) * 2.0**-50 / step
            if noise >= least:
                break  # smaller steps can only be worse
            values = []
            for sign in (1, -1):
                moved = row.copy()
                moved[index] += sign * step
                values.append(float(loss(moved, rest)))
            right, left = (values[0] - middle) / step, (middle - values[1]) / step
            sides.append((right, left, noise))
            last = [(right + left) / 2 for right, left, _ in sides[-2:]]
            if len(last) == 2 and np.isfinite(last).all():
                least = min(least, abs(last[1] - last[0]) + noise)
    found = np.array(sides)
    central = (found[:, 0] + found[:, 1]) / 2
    errors = np.abs(np.diff(central)) + found[1:, 2]
    best = int(np.nanargmin(np.where(np.isfinite(errors), errors, np.inf)))
    right, left, noise = found[best + 1]
    smooth = abs(right - left) <= 4 * noise + 0.1 * abs(central[best + 1])
    return _FloatSlope(
        float(central[best + 1]), float(min(left, right)), float(max(left, right)),
        float(4 * errors[best]), bool(smooth),
    )  # fmt: skip
