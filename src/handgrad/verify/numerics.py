"""The second question: how good is a gradient in floating point?

In each dtype, at the point given and at the most suspicious points that a search finds, hand and
autodiff are run and held against the truth in balls. The error is in ulp of the dtype at the true
value. What the conditioning of the point alone would cost is told apart: the truth over the
inputs as half-ulp balls, whose radius no formula can be blamed for. Coordinates whose truth is
subnormal, 0 or out of range are left out of the ulps; the subnormal ones are counted.
"""

import math
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad.exact import Traced, Undecided, UnsupportedPrimitive, ulp_ball
from handgrad.verify.layout import rounded
from handgrad.verify.mathematics import agreed_digits
from handgrad.verify.programs import Programs, Row
from handgrad.verify.ulp import ulp
from handgrad.verify.witnesses import is_float

DIGITS = 30
"""To which the truth is taken here: far beyond float64, at half the price of 60."""


@dataclass(frozen=True)
class WorstInput:
    """The input whose error conditioning explains least, as hex floats: replayable bit for bit."""

    coordinate: str
    ulp: float
    computed: str
    truth: str
    own: str
    """The input at the same coordinate."""
    inputs: tuple[tuple[str, tuple[str, ...]], ...]
    """Each differentiated leaf by name, with its numbers in C order."""

    @property
    def brief(self) -> str:
        """The coordinate and its input, what came, and what is true."""
        own, came = float.fromhex(self.own), float.fromhex(self.computed)
        return f"{self.coordinate} at {own:.9g} is {came:.9g}, in truth {float(self.truth):.9g}"


@dataclass(frozen=True)
class NumericsRow:
    """One dtype. `*_bad` counts coordinates that are NaN, inf, of the wrong sign, or zero where
    the truth is a normal number, over the points whose truth was taken (`exact_points`)."""

    dtype: str
    hand_max_ulp: float
    autodiff_max_ulp: float
    conditioning_ulp: float
    """At hand's worst input and coordinate."""
    hand_worst_at: WorstInput | None
    autodiff_worst_at: WorstInput | None
    hand_bad: int
    autodiff_bad: int
    subnormal: int
    discarded: int
    evaluations: int
    exact_points: int
    hand_ulp: float = 0.0
    """The largest error at the points given, before any search."""
    autodiff_ulp: float = 0.0


@dataclass(frozen=True)
class Sight:
    """One point under the exact eye: truth, its spread, and both answers."""

    row: np.ndarray
    truth: Row
    spread: Row | None
    answers: dict[str, np.ndarray]
    parted: tuple[int, ...]
    """Coordinates at which the balls of hand and of the truth part: a kink, or wrong algebra."""
    flushed: bool = False
    """Whether the loss passes through a subnormal number here."""


def look(
    programs: Programs,
    truth: Traced,
    leaves: list,
    row: np.ndarray,
    answers: dict[str, np.ndarray],
    dtype: str,
) -> Sight | None:
    """The truth at one row, beside the answers there; None where there is no value."""
    here = programs.layout.replaced(leaves, row)
    widened = programs.layout.replaced(widen(leaves, dtype), half_ulp_balls(row, dtype))
    true, hand = _row(programs, truth, here), _row(programs, programs.hand, here)
    if true is None or not all(ball.is_finite() for ball in true):
        return None
    spread = _row(programs, truth, widened)
    parted: tuple[int, ...] = ()
    if hand is not None and programs.hand is not truth:
        parted = tuple(
            index
            for index, (h, t) in enumerate(zip(hand, true, strict=True))
            if not h.overlaps(t) and agreed_digits(h, t) < DIGITS // 2
        )
        if spread is None and not parted:  # autodiff branches at a tie of max; hand may not
            spread = _row(programs, programs.hand, widened)
    return Sight(row, true, spread, answers, parted)


def without_kinks(sight: Sight) -> Sight:
    """The sight with no truth where conventions part: NaN is bad there, nothing else is judged."""
    truth = sight.truth.copy()
    truth[list(sight.parted)] = arb("nan")
    return replace(sight, truth=truth)


def _row(programs: Programs, program: Traced | None, leaves: list) -> Row | None:
    try:
        return None if program is None else programs.row(program, leaves, DIGITS)
    except (Undecided, UnsupportedPrimitive):
        return None


def widen(leaves: list, dtype: str) -> list:
    """Floats as half-ulp balls; whole numbers stay what they are: labels are 0 and 1 exactly."""
    return [
        leaf if not is_float(leaf) else half_ulp_balls(np.asarray(leaf), dtype, whole=False)
        for leaf in leaves
    ]


def half_ulp_balls(numbers: np.ndarray, dtype: str, whole: bool = True) -> np.ndarray:
    """Every number as the ball of all reals that round to it; whole numbers too, if `whole`."""

    def widened(number: float) -> arb:
        return ulp_ball(number, jnp.dtype(dtype), 0.5 if whole or number % 1 else 0.0)

    balls = np.frompyfunc(widened, 1, 1)(numbers.astype(np.float64))
    return np.asarray(balls, dtype=object)


def is_bad(computed: float, true: arb, spread: arb | None, dtype: str) -> bool:
    """NaN; infinite for a truth in range; zero or of the wrong sign for a normal, certain truth."""
    info = jnp.finfo(dtype)
    if math.isnan(computed):
        return True
    if math.isinf(computed):
        return bool(abs(true) < arb(float(info.max)))
    if not abs(true) >= arb(float(info.tiny)) or spread is None or spread.contains(0):
        return False
    return computed == 0 or (computed > 0) != bool(true > 0)


def fails(sight: Sight, name: str, dtype: str) -> bool:
    """Whether any coordinate of an answer is bad."""
    spreads = sight.spread if sight.spread is not None else [None] * len(sight.truth)
    triples = zip(sight.answers[name], sight.truth, spreads, strict=True)
    return any(is_bad(float(computed), true, spread, dtype) for computed, true, spread in triples)


def error_ulp(computed: float, true: arb, dtype: str) -> float:
    """|computed − true| in ulp of the truth; infinite for NaN and for an infinity that is wrong."""
    value = float(true.mid())
    if not math.isfinite(computed):
        return 0.0 if computed == value else math.inf
    if not math.isfinite(value) or abs(value) > float(jnp.finfo(dtype).max):
        return math.inf
    return float(abs(arb(computed) - true).mid() / arb(float(ulp(np.array(value), dtype))))


def tally(programs: Programs, sights: list[Sight], dtype: str, counts: dict) -> NumericsRow:
    """The row of a dtype, from the points that were looked at."""
    tiny, largest = float(jnp.finfo(dtype).tiny), float(jnp.finfo(dtype).max)
    worst: dict[str, tuple[float, float, float, float, WorstInput | None]] = {}
    bad = {"hand": 0, "autodiff": 0}
    subnormal = 0
    with ctx.workprec(256):
        for sight in sights:
            for index, true in enumerate(sight.truth):
                spread = None if sight.spread is None else sight.spread[index]
                size = float(abs(true).mid())
                subnormal += sight.flushed or 0 < size < tiny
                for name, answer in sight.answers.items():
                    computed = float(answer[index])
                    lost = not math.isfinite(computed)
                    bad[name] += lost if sight.flushed else is_bad(computed, true, spread, dtype)
                    if not tiny <= size <= largest or (sight.flushed and not lost):
                        continue
                    error = error_ulp(computed, true, dtype)
                    cost = conditioning(true, spread, dtype)
                    excess = error / (1 + cost) if math.isfinite(error) else math.inf
                    modest = -float(np.abs(sight.row.astype(np.float64)).max())
                    before, best = worst[name][:2] if name in worst else (-1.0, -math.inf)
                    if excess > 1.01 * before or (excess == before == math.inf and modest > best):
                        found = _worst(programs, sight, index, error, computed)
                        worst[name] = (excess, modest, error, cost, found)
    nothing = (0.0, 0.0, 0.0, 0.0, None)
    hand, auto = (worst.get(name, nothing)[2:] for name in ("hand", "autodiff"))
    return NumericsRow(
        dtype=dtype,
        hand_max_ulp=hand[0],
        autodiff_max_ulp=auto[0],
        conditioning_ulp=hand[1],
        hand_worst_at=hand[2],
        autodiff_worst_at=auto[2],
        hand_bad=bad["hand"],
        autodiff_bad=bad["autodiff"],
        subnormal=subnormal,
        exact_points=len(sights),
        **counts,
    )


def conditioning(true: arb, spread: arb | None, dtype: str) -> float:
    """How far the truth moves, in ulp, as the inputs move by half an ulp.

    Infinite where a branch (a kink, a tie) is within that reach: then nothing can be blamed.
    """
    if spread is None or not spread.is_finite():
        return math.inf
    reach = max(float((spread - true).abs_upper()), 0.0)
    return reach / float(ulp(np.array(float(true.mid())), dtype))


def _worst(
    programs: Programs, sight: Sight, index: int, error: float, computed: float
) -> WorstInput:
    layout = programs.layout
    parts = [np.ravel(part).astype(np.float64) for part in layout.split(sight.row)]
    return WorstInput(
        coordinate=layout.coordinate(index),
        ulp=error,
        computed=float(computed).hex(),
        truth=sight.truth[index].str(20, radius=False),
        own=float(sight.row[index]).hex(),
        inputs=tuple(
            (name, tuple(float(v).hex() for v in part))
            for name, part in zip(layout.names, parts, strict=True)
        ),
    )


def judged_leaves(leaves: list, dtype: str) -> list:
    """The leaves as the dtype sees them, in float64 or as they are: exact values for the balls."""
    return rounded(rounded(leaves, dtype), np.float64)
