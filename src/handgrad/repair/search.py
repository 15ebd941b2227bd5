"""The search: forms of one formula, their error at every input of a sample, and where to switch.

1. The line is cut where the function is (at kinks, at comparisons), and joined again where both
   sides have the same normal form.
2. The normal form is written out in some tens of ways, each exact in real numbers.
3. Where none of them keeps its digits, a power series about the root or the gap is added.
4. The fewest and cheapest forms that keep the error small are chosen, with the switch points.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import arb, ctx

from handgrad._precision import x64
from handgrad.repair import measure
from handgrad.repair.measure import Truth
from handgrad.repair.normal import FIRST_ARGUMENT, GENERATORS, Field, Mode, OutsideField, Ratio
from handgrad.repair.terms import (
    COMPARISONS,
    Term,
    argument,
    constant,
    depends,
    function,
    on_arrays,
    on_balls,
    rebuild,
    substitute,
    subterms,
    where,
)

X = argument(0)
COSTS = {
    "add": 1, "sub": 1, "mul": 1, "neg": 0.5, "abs": 0.5, "sign": 1, "where": 1.5, "div": 3,
    "sqrt": 3, "rsqrt": 3, "max": 1, "min": 1, "erf": 12, "erfc": 20, "sin": 15, "cos": 15,
    "i0e": 30, "i1e": 30, "power": 20, "round": 1,
}  # fmt: skip
OTHER_COST = 9.0
SWITCH_COST = 4.0
GOALS = (4.5, 6.0, 8.0, 12.0, 24.0, 64.0, 256.0, 2.0**12, 2.0**16, 2.0**20, 2.0**23)
"""Errors in ulp that are tried for, from the best: the first that can be reached is kept."""
MOST_PIECES = 5


@dataclass(frozen=True)
class Form:
    """A term that may serve between two inputs; a series only there."""

    term: Term
    kind: str = "exact"
    low: float = -np.inf
    high: float = np.inf

    @property
    def cost(self) -> float:
        """A guess in nanoseconds."""
        return sum(
            COSTS.get(part.op, OTHER_COST) for part in subterms(self.term) if part.args
        )


@dataclass(frozen=True)
class Piece:
    """A form, from `low` on (included) up to `high`."""

    low: float
    high: float
    form: Form


# --- 1: the line cut --------------------------------------------------------------------------


def cuts(term: Term) -> list[float]:
    """The inputs at which a comparison of what is linear in x, a sign or a maximum changes."""
    found: set[float] = set()
    for part in subterms(term):
        if part.op in ("abs", "sign"):
            turning = part.args[0]
        elif part.op in ("max", "min", *COMPARISONS):
            turning = part.args[0] - part.args[1]
        else:
            continue
        at = _zero_of_linear(turning)
        if at is not None:
            found.add(at)
    return sorted(found)


def _zero_of_linear(term: Term) -> float | None:
    """The x at which a·x + b is 0; None for another term."""
    if any(part.op == "arg" and part is not X for part in subterms(term)):
        return None
    field = Field()
    try:
        ratio = field.of(term)
    except OutsideField:
        return None
    x = GENERATORS[FIRST_ARGUMENT]
    slope = ratio.num.derivative(FIRST_ARGUMENT)
    rest = ratio.num - slope * x
    if slope.is_zero() or not ratio.den.is_constant():
        return None
    zero = -field.plain(field.ratio(rest, slope))
    return None if depends(zero) else float(on_balls(zero, [])) + 0.0


def resolved(term: Term, low: float, high: float) -> Term:
    """The term between two neighbouring cuts, where comparisons have one answer."""
    middle = _between(low, high)
    made: dict[Term, Term] = {}
    for part in subterms(term):
        args = [made[arg] for arg in part.args]
        made[part] = rebuild(part, args)
        turning = None
        if part.op in ("abs", "sign"):
            turning = args[0]
        elif part.op in ("max", "min", *COMPARISONS):
            turning = args[0] - args[1]
        if turning is None or _zero_of_linear(turning) is None:
            continue
        sign = 1 if on_arrays(turning, [np.float64(middle)]) > 0 else -1
        if part.op == "abs":
            made[part] = args[0] if sign > 0 else -args[0]
        elif part.op == "sign":
            made[part] = constant(sign)
        elif part.op in ("max", "min"):
            made[part] = args[0] if (sign > 0) == (part.op == "max") else args[1]
        else:
            made[part] = constant(int(COMPARISONS[part.op](sign, 0)))
    return made[term]


def _between(low: float, high: float) -> float:
    if np.isinf(low) and np.isinf(high):
        return 0.3
    if np.isinf(low):
        return high - 1 - abs(high)
    return low + 1 + abs(low) if np.isinf(high) else (low + high) / 2


def smooth_pieces(term: Term) -> list[tuple[float, float, Term]]:
    """The term between its cuts, neighbours with one normal form joined."""
    ends = [-np.inf, *cuts(term), np.inf]
    pieces: list[tuple[float, float, Term]] = []
    for low, high in itertools.pairwise(ends):
        own = resolved(term, low, high)
        if pieces and are_equal(pieces[-1][2], own):
            pieces[-1] = (pieces[-1][0], high, pieces[-1][2])
        else:
            pieces.append((low, high, own))
    return pieces


def are_equal(a: Term, b: Term) -> bool:
    """Whether two terms have one normal form."""
    field = Field()
    try:
        difference = field.of(a - b)
    except OutsideField:
        return a is b
    return difference.num.is_zero()


# --- 2: forms ---------------------------------------------------------------------------------


def forms(term: Term) -> list[Term]:
    """The term as it is, and its normal form in all modes; for an even or odd one by |x| too."""
    field = Field()
    found = [term]
    try:
        ratio = field.of(term)
    except OutsideField:
        return found
    found += _written(field, ratio)
    for place in _labels(ratio):
        found += _blended(field, term, place)
    mirrored = substitute(term, {X: -X})
    if are_equal(mirrored, term):
        found += [substitute(form, {X: function("abs", X)}) for form in found[1:]]
    elif are_equal(mirrored, -term):
        side = where(function("lt", X, constant(0)), constant(-1), constant(1))
        found += [side * substitute(form, {X: side * X}) for form in found[1:]]
    found += [with_split_squares(form) for form in found]
    return list(dict.fromkeys(found))


def _modes(field: Field) -> Iterator[Mode]:
    indices = list(field.exponentials)[:2]
    directions = [
        frozenset(chosen)
        for size in range(len(indices) + 1)
        for chosen in itertools.combinations(indices, size)
    ]
    bigs = (False, True)
    conjugates = (False, True) if field.roots else (False,)
    for down, big, conjugate, order in itertools.product(directions, bigs, conjugates, (0, 1, 2)):
        yield Mode(down, big, conjugate, order)


def _written(field: Field, ratio: Ratio) -> list[Term]:
    found = []
    for mode in _modes(field):
        try:
            found.append(field.write(ratio, mode))
        except OutsideField:
            continue
    return found


def _labels(ratio: Ratio) -> list[int]:
    """The arguments beside x in which a ratio is linear."""
    tops, bottoms = ratio.num.degrees(), ratio.den.degrees()
    places = range(1, len(GENERATORS) - FIRST_ARGUMENT)
    return [
        i for i in places
        if tops[FIRST_ARGUMENT + i] == 1 and bottoms[FIRST_ARGUMENT + i] == 0
    ]  # fmt: skip


def _blended(field: Field, term: Term, place: int) -> list[Term]:
    """(1 − y)·f(y = 0) + y·f(y = 1), in all modes: nothing cancels at a hard label."""
    y = argument(place)
    ends = [field.of(substitute(term, {y: constant(value)})) for value in (0, 1)]
    columns = [_written(field, end) for end in ends]
    return [(1 - y) * at_zero + y * at_one for at_zero, at_one in zip(*columns, strict=False)]


def with_split_squares(term: Term) -> Term:
    """exp(−c x²) as exp(−c h²) exp(−c (x − h)(x + h)) with h² exact: x² alone loses digits."""
    new: dict[Term, Term] = {}
    near = function("round", 16 * X) / 16
    for part in subterms(term):
        if part.op != "exp":
            continue
        field = Field()
        try:
            ratio = field.of(part.args[0])
        except OutsideField:
            continue
        square = GENERATORS[FIRST_ARGUMENT] ** 2
        quotient, rest = divmod(ratio.num, square)
        if not rest.is_zero() or quotient.degrees()[FIRST_ARGUMENT] or depends(
            amount := field.plain(field.ratio(quotient, ratio.den))
        ):
            continue
        if any(part.op == "arg" for part in subterms(amount)):
            continue
        first, second = amount * (near * near), amount * ((X - near) * (X + near))
        new[part] = function("exp", first) * function("exp", second)
    return substitute(term, new) if new else term


# --- 4: the choice ----------------------------------------------------------------------------


def errors_of(
    candidates: Sequence[Term], args: Sequence[np.ndarray], true: Truth, dtype: str
) -> np.ndarray:
    """The error in ulp of each candidate at each input; what has no truth counts as 0."""
    with x64(dtype == "float64"):
        import jax.numpy as jnp

        arrays = [jnp.asarray(arg, dtype) for arg in args]
        known: dict = {}
        rows = []
        for term in candidates:
            value = np.broadcast_to(np.asarray(on_arrays(term, arrays, known)), args[0].shape)
            rows.append(measure.error(value, true, dtype))
    return np.nan_to_num(np.array(rows), nan=0.0, posinf=np.inf)


def choose(candidates: Sequence[Form], errors: np.ndarray, xs: np.ndarray) -> list[Piece]:
    """The pieces of least cost whose errors stay below the first goal that can be met."""
    for goal in GOALS:
        path = _path(candidates, errors <= goal)
        if path is not None and 1 + np.count_nonzero(np.diff(path)) <= MOST_PIECES:
            return _pieces(candidates, path, errors <= goal, xs)
    worst = errors.max(axis=1)
    return [Piece(-np.inf, np.inf, candidates[int(np.argmin(worst))])]


def _path(candidates: Sequence[Form], fits: np.ndarray) -> np.ndarray | None:
    """For each input the form of the cheapest choice; None where none fits."""
    costs = np.array([form.cost for form in candidates])
    total = np.where(fits[:, 0], costs, np.inf)
    origins = []
    for column in fits.T[1:]:
        best = int(np.argmin(total))
        switched = total[best] + SWITCH_COST + costs
        origin = np.where(total <= switched, np.arange(len(costs)), best)
        total = np.where(column, np.minimum(total, switched), np.inf)
        origins.append(origin)
        if np.isinf(total).all():
            return None
    last = int(np.argmin(total))
    path = [last]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return np.array(path[::-1])


def _pieces(
    candidates: Sequence[Form], path: np.ndarray, fits: np.ndarray, xs: np.ndarray
) -> list[Piece]:
    """The path as pieces, each switch moved to the roundest number where both forms fit."""
    switches = np.flatnonzero(np.diff(path)) + 1
    pieces, low = [], -np.inf
    for place in switches:
        before, after = path[place - 1], path[place]
        first = last = place  # the switch may be at any of xs[first] to xs[last]
        while first > 1 and fits[after, first - 1] and xs[first - 1] > low:
            first -= 1
        while last < len(xs) - 1 and fits[before, last]:
            last += 1
        high = roundest(float(xs[first]), float(xs[last]))
        pieces.append(Piece(low, high, candidates[before]))
        low = high
    return [*pieces, Piece(low, np.inf, candidates[path[-1]])]


def roundest(low: float, high: float) -> float:
    """The shortest number from low to high: 0, a power of ten, or the fewest digits.

    >>> roundest(-0.3, 0.4), roundest(3.1, 70.0), roundest(4.1, 4.23), roundest(-8.3, -7.0)
    (0.0, 10.0, 4.2, -8.0)
    """
    if low <= 0 <= high:
        return 0.0
    if high < 0:
        return -roundest(-high, -low)
    if high < np.finfo(np.float32).tiny:
        return low
    for digits in range(1, 18):
        exponent = int(np.floor(np.log10(high))) - digits + 1
        scaled = Fraction(10) ** exponent
        number = float(Fraction(high) // scaled * scaled)
        if low <= number <= high:
            return number if digits > 1 else _power_of_ten(low, high) or number
    return low


def _power_of_ten(low: float, high: float) -> float | None:
    number = float(Fraction(10) ** int(np.floor(np.log10(high))))
    return number if low <= number <= high else None
