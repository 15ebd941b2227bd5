"""The search: the error of forms at every input of a sample, and where to switch.

1. The line is cut where the function is (at kinks, at comparisons), and joined again where both
   sides have the same normal form.
2. The normal form is written out in some tens of ways, each exact in real numbers.
3. Where none of them keeps its digits, a power series about the root or the gap is added.
4. The fewest and cheapest forms that keep the error small are chosen, with the switch points.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np
from flint import arb

from handgrad._precision import x64
from handgrad.accuracy.measure import TrueValues, compare, inputs_of
from handgrad.repair.forms import (
    Form,
    X,
    cost_of,
    exact_forms,
    leading_forms,
    root_between,
    series_forms,
    tail_forms,
)
from handgrad.repair.normal import FIRST_ARGUMENT, GENERATORS, Field, OutsideField
from handgrad.repair.terms import (
    COMPARISONS,
    Expression,
    constant,
    depends,
    derivative,
    function,
    make,
    on_arrays,
    on_balls,
    rebuild,
    substitute,
    subterms,
    where,
)

SWITCH_COST = 0.08
GOOD = 8.0
"""Ulps up to which a form counts as keeping its digits."""
GOALS = (4.5, 6.0, 8.0, 12.0, 24.0, 64.0, 256.0, 2.0**12, 2.0**16, 2.0**20, 2.0**23)
"""Errors in ulp that are tried for, from the best: the first that can be reached is kept."""
SLACKS = (1.0, 4.0, 16.0)
"""How much less is asked for where no form is good, before the others are asked for less."""
MOST_PIECES = 8
MOST_ROOTS = (MOST_PIECES - 1) // 2
"""The nearest to 0: each takes a piece of its own between two others."""
MOST_TRIED = 400
"""Up to as many forms, the cheapest that need not be held are kept as well."""
SHARED = 14
"""Forms that are kept for what they may share with others."""


@dataclass(frozen=True)
class Piece:
    """A form, from `low` on (included) up to `high`."""

    low: float
    high: float
    form: Form


# --- the line cut -----------------------------------------------------------------------------


def cuts(term: Expression) -> list[float]:
    """The inputs at which a comparison of what is linear in x, a sign or a maximum changes."""
    found: set[float] = set()
    for part in subterms(term):
        at = _zero_of_linear(_turning(part.op, part.args))
        if at is not None:
            found.add(at)
    return sorted(found)


def _turning(op: str, args: Sequence[Expression]) -> Expression | None:
    """What an operation with two sides takes the sign of; None for another one."""
    if op in ("abs", "sign"):
        return args[0]
    return args[0] - args[1] if op in ("max", "min", *COMPARISONS) else None


def _zero_of_linear(term: Expression | None) -> float | None:
    """The x at which a·x + b is 0; None for another term."""
    if term is None or any(part.op == "arg" and part is not X for part in subterms(term)):
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


def resolved(term: Expression, low: float, high: float) -> Expression:
    """The term between two neighbouring cuts, where comparisons have one answer."""
    middle = _between(low, high)
    made: dict[Expression, Expression] = {}
    for part in subterms(term):
        args = [made[arg] for arg in part.args]
        made[part] = rebuild(part, args)
        turning = _turning(part.op, args)
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


def smooth_pieces(term: Expression) -> list[tuple[float, float, Expression]]:
    """The term between its cuts, neighbours with one normal form joined."""
    ends = [-np.inf, *cuts(term), np.inf]
    pieces: list[tuple[float, float, Expression]] = []
    for low, high in itertools.pairwise(ends):
        own = resolved(term, low, high)
        if pieces and are_equal(pieces[-1][2], own):
            pieces[-1] = (pieces[-1][0], high, pieces[-1][2])
        else:
            pieces.append((low, high, own))
    return pieces


def parity_of(term: Expression) -> int:
    """1 for an even term, −1 for an odd one, 0 for another."""
    pieces = smooth_pieces(term)
    mirrored = [(-high, -low, substitute(own, {X: -X})) for low, high, own in reversed(pieces)]
    for sign in (1, -1):
        if all(
            (low, high) == (left, right) and are_equal(own, sign * image)
            for (low, high, own), (left, right, image) in zip(pieces, mirrored, strict=True)
        ):
            return sign
    return 0


def are_equal(a: Expression, b: Expression) -> bool:
    """Whether two terms have one normal form."""
    field = Field()
    try:
        difference = field.of(a - b)
    except OutsideField:
        return a is b
    return difference.num.is_zero()


# --- the choice -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What is looked for: a formula, where it is judged, and by what truth."""

    term: Expression
    dtype: str
    labels: tuple[tuple[float, ...], ...]
    """Rows of what the other arguments are."""
    truth: Callable[..., TrueValues]
    """The true values at arrays of arguments."""
    parity: int = 0
    """1 for an even term and −1 for an odd one, of which x ≥ 0 is searched; 0 for any other."""
    usual: Expression | None = None
    """The same as `jax.grad` computes it, which rounds as it does."""
    compiled: dict[Expression, dict[float, float]] = field(default_factory=dict)
    """Errors that terms turned out to have at inputs, compiled with others."""


def with_labels(xs: np.ndarray, labels: Sequence[Sequence[float]]) -> list[np.ndarray]:
    """Every x with every row of labels, argument by argument."""
    rows = labels or ((),)
    columns = [np.repeat(column, len(xs)) for column in zip(*rows, strict=True)]
    return [np.tile(xs, len(rows)), *columns]


class Table:
    """The errors of forms at inputs: the largest over the rows of labels."""

    def __init__(self, question: Question, xs: np.ndarray):
        self.question, self.xs = question, xs
        self.args = with_labels(xs, question.labels)
        self.true = question.truth(*self.args)
        self.known: dict[Expression, bool] = {}

    def errors(self, candidates: Sequence[Form]) -> np.ndarray:
        """A row for each form; 0 where nothing is judged, infinite outside of its interval."""
        dtype = self.question.dtype
        with x64(dtype == "float64"):
            arrays = [jnp.asarray(arg, dtype) for arg in self.args]
            known: dict = {}
            rows = []
            for form in candidates:
                value = np.asarray(on_arrays(form.term, arrays, known))
                value = np.broadcast_to(value, self.args[0].shape)
                found = compare(value, self.true, *self.args, dtype=dtype).error
                error = np.nan_to_num(found, nan=0.0, posinf=np.inf)
                error = error.reshape(-1, len(self.xs)).max(axis=0)
                for x, compiled in self.question.compiled.get(form.term, {}).items():
                    error[self.xs == x] = np.maximum(error[self.xs == x], compiled)
                rows.append(np.where((self.xs >= form.low) & (self.xs <= form.high), error, np.inf))
        return np.array(rows)

    def is_finite(self, form: Form, elsewhere: np.ndarray) -> bool:
        """Whether a form and its derivative are numbers at all inputs, but for some."""
        if form.term not in self.known:
            inside = np.resize(~elsewhere, self.args[0].shape)
            self.known[form.term] = _is_finite(form.term, self.args, self.question.dtype, inside)
        return self.known[form.term]


def solve(question: Question, extra: np.ndarray, goals: Sequence[float] = GOALS) -> list[Piece]:
    """The pieces of a form that keeps its digits over a sample and the `extra` inputs."""
    found: list[Piece] = []
    pieces = smooth_pieces(question.term)
    if question.parity:
        pieces = [(max(low, 0.0), high, own) for low, high, own in pieces if high > 0]
    for low, high, own in pieces:
        xs = _sample(question.dtype, extra)
        inside = Table(question, xs[(xs >= low) & (xs < high)])
        roots = _roots(own, inside) if not question.labels else []
        if roots:
            around = np.concatenate([_around(root, question.dtype) for root in roots])
            xs = np.union1d(inside.xs, around[(around >= low) & (around < high)])
            inside = Table(question, xs)
        candidates = exact_forms(own, question.dtype)
        usual = question.usual
        if usual is not None and not any(low < at < high for at in cuts(usual)):
            usual = resolved(usual, low, high)
            if are_equal(usual, own):
                candidates = [Form(usual), *candidates]
        if question.parity:
            candidates = [
                replace(form, term=substitute(form.term, {function("abs", X): X}))
                for form in candidates if form.high > 0
            ]  # fmt: skip
        errors = inside.errors(candidates)
        hard = inside.xs[errors.min(axis=0) > goals[0]]
        if not question.labels:
            gaps = [arb(at) for at in {0.0, *cuts(question.term)} if low <= at <= high]
            centres = [(root, True) for root in roots if not root.contains(0)]
            near = [c for c in centres if np.any(np.abs(hard - float(c[0].mid())) < 1)]
            near += [(gap, False) for gap in gaps]
            approximate = [
                *(form for centre in near for form in series_forms(own, *centre, question.dtype)),
                *leading_forms(own, question.dtype), *tail_forms(own, question.dtype),
            ]  # fmt: skip
            if approximate:
                candidates += approximate
                errors = np.concatenate([errors, inside.errors(approximate)])
        polynomial = np.array([form.kind == "series" for form in candidates])
        elsewhere = np.isfinite(errors[polynomial]).any(axis=0)  # a polynomial may serve there
        is_finite = functools.partial(inside.is_finite, elsewhere=elsewhere)
        found += [
            Piece(max(piece.low, low), min(piece.high, high), piece.form)
            for piece in choose(candidates, errors, inside.xs, goals, is_finite)
        ]
    return found


def _sample(dtype: str, extra: np.ndarray) -> np.ndarray:
    """Inputs of every exponent, more of them between −32 and 32, and the extra ones; ascending."""
    info = jnp.finfo(dtype)
    edges = np.linspace(32, 104, 721)  # where e^−x and e^−2x leave the normal numbers of float32
    dense = (
        np.concatenate([np.linspace(-32, 32, 801), edges, -edges])
        .astype(jnp.dtype(dtype))
        .astype(np.float64)
    )
    xs = inputs_of(dtype, 6 if info.bits > 16 else None).astype(np.float64)
    return np.unique(np.concatenate([xs[:: 1 if info.bits > 16 else 16], dense, extra]) + 0.0)


def _roots(term: Expression, table: Table) -> list[arb]:
    """Where the truth changes its sign from one input to the next, or is 0 between two signs."""
    known = ~np.isnan(table.true.high)
    xs, values = table.xs[known], table.true.high[known]
    signs = np.sign(values)
    changes = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    found = []
    for place in changes[np.argsort(np.abs(xs[changes]))][:MOST_ROOTS]:
        root = root_between(term, float(xs[place]), float(xs[place + 1]))
        if root is not None:
            found.append(root)
    return found


def _around(root: arb, dtype: str) -> np.ndarray:
    middle = float(root.mid())
    steps = 2.0 ** -np.arange(0.0, jnp.finfo(dtype).nmant + 1, 0.5)
    near = np.concatenate([middle - steps, [middle], middle + steps])
    return near.astype(jnp.dtype(dtype)).astype(np.float64)


def choose(
    candidates: Sequence[Form],
    errors: np.ndarray,
    xs: np.ndarray,
    goals: Sequence[float],
    is_finite: Callable[[Form], bool] = lambda form: True,
) -> list[Piece]:
    """The pieces of least cost whose errors stay below the first goal that can be met.

    Inputs at which no form is good are asked for the first goal that can be met there, or for
    somewhat less, and so do not spoil the others; those at which the first candidate, which is the
    usual form or the term as it is, is good are not asked for less than that, unless nothing else
    can be met.
    """
    least = errors.min(axis=0)
    steps = np.array([*goals, np.inf])
    lost = np.where(least > GOOD, steps[np.searchsorted(goals, least)], 0)
    was_good = errors[0] <= GOOD
    for goal, slack, keeps in itertools.product(goals, SLACKS, (True, False)):
        if (slack > 1 and not lost.any()) or (not keeps and goal <= GOOD):
            continue
        fits = errors <= np.where(keeps & was_good, min(goal, GOOD), np.maximum(goal, slack * lost))
        chosen = _cheapest(candidates, fits, is_finite)
        if chosen is None:
            continue
        own = [candidates[i] for i in chosen]
        path = _path(own, fits[chosen])
        if 1 + np.count_nonzero(np.diff(path)) <= MOST_PIECES:
            return _pieces(own, path, fits[chosen], xs)
    finite = np.minimum(errors, 1e30)
    return [Piece(-np.inf, np.inf, candidates[int(np.argmin(finite.max(axis=1)))])]


def _cheapest(
    candidates: Sequence[Form], fits: np.ndarray, is_finite: Callable[[Form], bool]
) -> list[int] | None:
    """The forms, up to three, that are the cheapest to compute together and fit everywhere.

    A part that two forms share is computed once, if neither has to be held. Where three do not
    do, one after the other is taken that fits at most of the inputs left.
    """
    if not fits.any(axis=0).all():
        return None
    costs = [form.cost for form in candidates]
    best: dict[tuple, int] = {}
    for i in np.argsort(costs, kind="stable"):
        if fits[i].any():
            form = candidates[i]
            known = fits[i].tobytes(), form.kind, len(costs) < MOST_TRIED and is_finite(form)
            best.setdefault(known, int(i))
    every = sorted(range(len(candidates)), key=lambda i: (-fits[i].sum(), costs[i]))
    kept = list(dict.fromkeys([*every[:SHARED], *best.values()]))[: 3 * SHARED]
    if not fits[kept].any(axis=0).all():
        kept = list(range(len(candidates)))
    packed = {i: np.packbits(fits[i]) for i in kept}
    apart = {
        i: candidates[i].term if is_finite(candidates[i])
        else substitute(candidates[i].term, {X: make("held", (X,), i)})
        for i in kept
    }  # fmt: skip
    full = np.packbits(np.ones(fits.shape[1], bool))
    found: list[tuple[float, list[int]]] = []
    for size in (1, 2, 3):
        for chosen in itertools.combinations(kept, size):
            union = functools.reduce(operator.or_, [packed[i] for i in chosen])
            if np.array_equal(union, full):
                terms = [candidates[i].term if size == 1 else apart[i] for i in chosen]
                price = cost_of(*terms) + SWITCH_COST * (size - 1)
                found.append((price, list(chosen)))
        if found:
            return min(found)[1]
    covered, greedy = np.zeros(fits.shape[1], bool), list[int]()
    while not covered.all():
        gains = [(int((fits[i] & ~covered).sum()), -costs[i], i) for i in kept]
        gain, _, i = max(gains)
        if not gain:
            return None
        greedy.append(i)
        covered |= fits[i]
    return greedy


def _path(candidates: Sequence[Form], fits: np.ndarray) -> np.ndarray:
    """For each input one of the forms that fit there, with the fewest switches."""
    count = len(candidates)
    total = np.where(fits[:, 0], 0.0, np.inf)
    origins = []
    for column in fits.T[1:]:
        best = int(np.argmin(total))
        origin = np.where(total <= total[best] + 1, np.arange(count), best)
        total = np.where(column, np.minimum(total, total[best] + 1), np.inf)
        origins.append(origin)
    path = [int(np.argmin(total))]
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
        first = last = place  # the switch may be from beyond xs[first − 1] to xs[last]
        while first > 1 and fits[after, first - 1] and xs[first - 1] > low:
            first -= 1
        while last < len(xs) - 1 and fits[before, last]:
            last += 1
        high = roundest(float(xs[first - 1] + xs[first]) / 2, float(xs[last]))
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
            power_of_ten = float(scaled)
            return power_of_ten if digits == 1 and low <= power_of_ten <= high else number
    return low


# --- the pieces joined ------------------------------------------------------------------------


def joined(
    pieces: Sequence[Piece], points: Sequence[np.ndarray], dtype: str, parity: int = 0
) -> Expression:
    """One term: each form once, chosen by `where`, and held to where it is used if it must be.

    A form must be if elsewhere it, or its derivative, is not finite: NaN · 0 is NaN on the way
    back. With a parity the pieces are those of x ≥ 0.
    """
    if parity:
        right = joined(pieces, [np.abs(points[0]), *points[1:]], dtype)
        negative = function("lt", X, constant(0))
        if parity > 0:
            return substitute(right, {X: function("abs", X)})
        right = substitute(right, {X: where(negative, -X, X)})  # |x| has the derivative 0 at 0
        return where(negative, -right, right)
    segments: dict[Expression, list[Piece]] = {}
    for piece in pieces:
        own = segments.setdefault(piece.form.term, [])
        if own and own[-1].high == piece.low:
            piece = Piece(own.pop().low, piece.high, piece.form)
        own.append(piece)
    ordered = sorted(segments.values(), key=lambda own: (len(own), own[-1].high))
    masks = [_mask(own) for own in ordered]
    safe = [_inside(own) for own in reversed(ordered)]
    rest = [point[:1] for point in points[1:]]
    result: Expression | None = None
    for place in reversed(range(len(ordered))):
        own, term = ordered[place], ordered[place][0].form.term
        bad = [
            other for other in range(len(ordered))
            if other != place and not _is_finite_in(ordered[other], term, points, dtype)
        ]  # fmt: skip
        if bad:
            own_safe = [x for x in safe if own[0].form.kind == "exact"]
            at = next(
                (x for x in own_safe if _is_finite(term, [np.array([x]), *rest], dtype)),
                _inside(own),
            )
            if len(bad) < len(ordered) - 1 or place == len(ordered) - 1:
                held = where(_any([masks[i] for i in bad]), constant(at), X)
            else:
                held = where(masks[place], X, constant(at))
            term = substitute(term, {X: held})
        result = term if result is None else where(masks[place], term, result)
    assert result is not None
    return result


def mirrored(pieces: Sequence[Piece], parity: int) -> list[Piece]:
    """The pieces of the whole line, from those of x ≥ 0 of an even or odd term."""
    left = [
        Piece(-p.high, -p.low, replace(p.form, term=parity * substitute(p.form.term, {X: -X})))
        for p in reversed(pieces)
    ]
    centre = pieces[0]
    if centre.form.kind == "series":  # as odd or even as the term
        return [*left[:-1], replace(centre, low=-centre.high), *pieces[1:]]
    return [*left[:-1], replace(left[-1], high=0.0), replace(centre, low=0.0), *pieces[1:]]


def _any(masks: Sequence[Expression]) -> Expression:
    return functools.reduce(lambda a, b: make("or", (a, b)), masks)


def _mask(own: Sequence[Piece]) -> Expression:
    """Where the pieces of one form are."""
    parts = []
    for piece in own:
        low, high = constant(piece.low), constant(piece.high)
        if piece.low == -piece.high and np.isfinite(piece.low):
            parts.append(function("lt", function("abs", X), high))
        elif np.isinf(piece.low):
            parts.append(function("lt", X, high))
        elif np.isinf(piece.high):
            parts.append(function("ge", X, low))
        else:
            parts.append(make("and", (function("ge", X, low), function("lt", X, high))))
    return _any(parts)


def _inside(own: Sequence[Piece]) -> float:
    """An input at which the pieces' form is fine: an end, or what lies between two."""
    piece = own[0]
    if np.isinf(piece.low) and np.isinf(piece.high):
        return 1.0
    if np.isinf(piece.low):
        return piece.high - max(1.0, abs(piece.high)) / 4
    if np.isinf(piece.high):
        return piece.low + max(1.0, abs(piece.low)) / 4
    return roundest(
        piece.low + (piece.high - piece.low) / 4, piece.high - (piece.high - piece.low) / 4
    )


def _is_finite_in(
    pieces: Sequence[Piece], term: Expression, points: Sequence[np.ndarray], dtype: str
) -> bool:
    """Whether a term and its derivative are numbers at the points of some pieces."""
    inside = np.zeros(points[0].shape, bool)
    for piece in pieces:
        inside |= (points[0] >= piece.low) & (points[0] <= piece.high)
    return _is_finite(term, points, dtype, inside)


def _is_finite(
    term: Expression, points: Sequence[np.ndarray], dtype: str, inside: Any = True
) -> bool:
    """Whether a term and its derivative are numbers at all points, or at those inside."""
    with x64(dtype == "float64"):
        arrays = [jnp.asarray(point, dtype) for point in points]
        return all(
            np.isfinite(np.broadcast_to(on_arrays(one, arrays), points[0].shape))[inside].all()
            for one in (term, derivative(term))
        )
