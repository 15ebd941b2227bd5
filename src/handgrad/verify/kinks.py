"""Kinks: where a loss has no derivative, which values a gradient may take.

A coordinate along which the two one-sided slopes agree has a derivative, and is compared to full
digits elsewhere. What is settled here is the others. Points beside the kink, at + ε·u, lie each on
one smooth piece of the loss; the gradient there is, up to ε, what one *selection* of the pieces
gives at the kink. All selections together span the generalised gradient of Clarke, and a gradient
at a kink is right if it is a mixture of selections: 0, a share, or all for one of the tied
entries, but not all of it for each of them.

Selections also show which coordinates meet in a kink: those whose slope changes as another
coordinate crosses. Each such group is judged by itself. A group along which the loss bends up only
is convex there, and a subgradient obeys, in every direction d of the group, left slope ≤ ⟨g, d⟩ ≤
right slope: a violation convicts, in balls. The same with the signs turned round where it bends
down only. Where a group bends both ways no such bound holds: a mixture of selections is right, what
differs along a direction in which all selections agree is wrong, and the rest is undecided.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from flint import arb, ctx

from handgrad.exact import Traced, Undecided, UnsupportedPrimitive
from handgrad.verify.witnesses import Programs, Row

DIRECTIONS = 3
"""Random directions along which a group is tried, beside all ones."""
SIGN_PATTERNS = 32
"""Points beside the kink at which coordinates that meet no other are told apart."""
MOST_FILLED = 256
"""Up to this many coordinates a truth is differenced where balls do not give it."""
MOST_MEETING = 48
"""More coordinates than this are judged as one group."""
MOST_BY_DIFFERENCES = 8
"""Up to this many coordinates, selections may be differenced, where autodiff gives none."""
MOST_DRAWN, DRAWING_SECONDS, MOST_NEW = 96, 1.0, 8
"""Further points beside a kink, where pieces are sought that fill little room; the time for it; and
how many new ones it takes to see that there is no end of them."""
SEPARATIONS = 16
"""How often a direction is sought that tells a gradient from the selections known."""
BESIDE_BITS = 70
"""Points beside the kink are 2^-70 of the smallest coordinate away: far outside the steps that
derivatives are taken with, far within the digits of a float64."""
SAMPLE_DIGITS = 45
NEGLIGIBLE = 1e-12
"""Relative difference of two selections below which they are one: ε and float64 make up less."""
MIXTURE = 1e-9
"""How close to a mixture of selections a gradient has to come, relative to the largest of them."""
TOGETHER = "each coordinate could be right, but together they give "


def dot(row: Row, direction: np.ndarray) -> arb:
    """⟨gradient, direction⟩ in balls, over the coordinates that move."""
    pairs = zip(row, direction, strict=True)
    return sum((g * arb(float(d)) for g, d in pairs if d), arb(0))


def short(value: arb) -> str:
    """A ball's midpoint as a person reads it."""
    return f"{float(value.mid()) + 0.0:.12g}"


class Slope(NamedTuple):
    """The one-sided derivatives along a direction; None on a side where the loss has no value."""

    left: arb | None
    right: arb | None

    @property
    def value(self) -> arb | None:
        """The derivative, where there is one: that of both sides, or of the only side."""
        left, right = self.left, self.right
        if left is None or right is None:
            return right if left is None else left
        return left if left is right else None

    @property
    def bounds(self) -> tuple[arb, arb]:
        """The smaller and the larger of two slopes."""
        left, right = self
        assert left is not None
        assert right is not None
        return (right, left) if right < left else (left, right)


def slope_along(programs: Programs, leaves: list, direction: np.ndarray, digits: int) -> Slope:
    """The slopes of the loss along a direction. Raises Undecided at a jump, and outside it."""
    try:
        value = programs.along(leaves, direction, digits)
    except Undecided:
        left, right = programs.one_sided(leaves, direction, digits)
        if left is None and right is None:
            raise
        return Slope(left, right)
    return Slope(value, value)


def is_between(value: arb, slope: Slope, digits: int) -> bool:
    """Whether a value lies between two slopes, or agrees with one of them to the digits asked."""
    low, high = slope.bounds
    if value.is_nan():
        return False
    finite = [abs(side) for side in (low, high) if side.is_finite()]
    size = max(finite, key=lambda side: side.mid(), default=arb(0))
    slack = (size + arb((1, -1074))) * arb(10) ** (1 - digits)
    return bool(value >= low - slack) and bool(value <= high + slack)


def truth_at(programs: Programs, truth: Traced | None, leaves: list, digits: int) -> Row | None:
    """The derivative at every coordinate: the balls of `truth` where they are finite.

    Elsewhere, at an edge of the domain, it is the slope of the loss, which may be ±∞; NaN where
    there is no derivative, at a kink. None where too much is missing to be differenced.
    """
    row = np.full(programs.layout.size, arb("nan"), dtype=object)
    if truth is not None:
        with contextlib.suppress(Undecided, UnsupportedPrimitive):
            row = programs.row(truth, leaves, digits)
    missing = [index for index, ball in enumerate(row) if not ball.is_finite()]
    if len(missing) > MOST_FILLED:
        return None
    known = len(missing) < len(row)
    for index in missing:
        row[index] = arb("nan")
        try:
            value = slope_along(programs, leaves, programs.layout.unit(index), digits).value
        except (Undecided, UnsupportedPrimitive):
            continue
        known = True  # that there is no derivative is known too
        if value is not None:
            row[index] = value
    return row if known else None


# --- selections -----------------------------------------------------------------------------------


@dataclass
class Selections:
    """Gradients at points beside the kink.

    They are autodiff's balls, where the loss differenced along a direction confirms them.
    """

    programs: Programs
    leaves: list
    moving: np.ndarray
    """The coordinates that meet in kinks."""
    sides: np.ndarray
    """−1 or 1 for a coordinate at the edge of the domain: the only side there is; otherwise 0."""
    rng: np.random.Generator
    size: float = field(init=False)

    def __post_init__(self) -> None:
        row = np.abs(self.programs.layout.row(self.leaves, np.float64))
        row = row[np.isfinite(row) & (row > 0)]
        self.size = float(row.min(initial=1.0))

    def at(self, direction: np.ndarray) -> np.ndarray | None:
        """The gradient at + ε·direction, as floats; None where it cannot be had."""
        still = np.zeros(len(direction))
        still[self.moving] = direction[self.moving]
        inside = np.where(self.sides == 0, direction, self.sides * np.abs(direction))
        for moves in (inside, still):
            try:
                found = self._gradient(moves)
            except (Undecided, UnsupportedPrimitive):
                continue
            if found is not None:
                return found
        return None

    def _gradient(self, moves: np.ndarray) -> np.ndarray | None:
        programs, layout = self.programs, self.programs.layout
        with ctx.workprec(4400):  # so that the point is exact
            step = arb(self.size) * arb((1, -BESIDE_BITS))
            row = layout.row(self.leaves, np.float64)
            balls = [arb(float(x)) + step * arb(float(d)) for x, d in zip(row, moves, strict=True)]
        point = np.empty(len(balls), dtype=object)
        point[:] = balls
        here = layout.replaced(self.leaves, point)
        gradient = None
        if programs.autodiff is not None:
            gradient = programs.row(programs.autodiff, here, SAMPLE_DIGITS)
            along = self.rng.integers(2**19, 2**20, len(moves)) * 2.0**-20
            along *= self.rng.choice([-1.0, 1.0], len(moves)) * np.isfinite(row)
            known = [ball.is_finite() for ball in gradient]
            along = np.where(known, along, 0.0)
            if not all(known[i] for i in self.moving) or not along.any():
                return None
            truth = programs.along(here, along, SAMPLE_DIGITS)
            if abs(dot(gradient, along) - truth) > abs(truth) * 1e-20 + 1e-300:
                gradient = None
        if gradient is None:
            if len(self.moving) > MOST_BY_DIFFERENCES:
                return None
            gradient = np.full(len(moves), arb("nan"), dtype=object)
            for index in self.moving:
                gradient[index] = programs.along(here, layout.unit(index), SAMPLE_DIGITS)
        return np.array([float(ball.mid()) for ball in gradient])

    def noise(self) -> np.ndarray:
        """A direction in which nothing is tied."""
        return self.rng.integers(-(2**20), 2**20, len(self.sides)) * 2.0**-20


def _differs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """At which coordinates two selections differ."""
    size = max(np.nanmax(np.abs(a), initial=0), np.nanmax(np.abs(b), initial=0))
    return np.abs(a - b) > NEGLIGIBLE * size


# --- which coordinates meet -----------------------------------------------------------------------


class Selection(NamedTuple):
    """A direction away from the kink, and the gradient of the piece that lies there."""

    direction: np.ndarray
    gradient: np.ndarray


class Groups(NamedTuple):
    """Coordinates by the kinks in which they meet, and the selections that were found."""

    members: list[np.ndarray]
    known: list[Selection]


def find_groups(selections: Selections, slopes: Mapping[int, Slope]) -> Groups | None:
    """The groups of coordinates that meet in a kink; None where no selection can be had."""
    moving = selections.moving
    patterns: list[Selection] = []
    for _ in range(SIGN_PATTERNS if len(moving) > 1 else 4):
        direction = selections.noise()
        found = selections.at(direction)
        if found is not None:
            patterns.append(Selection(direction, found))
        elif not patterns:
            return None
    differing = [_differs(patterns[0].gradient, other.gradient) for other in patterns]
    varying = np.flatnonzero(np.any(differing, axis=0))
    moving = np.union1d(moving, varying).astype(int)
    selections.moving = moving
    alone = [int(i) for i in moving if _is_alone(int(i), slopes, patterns)]
    meeting = [int(i) for i in moving if int(i) not in set(alone)]
    known = list(patterns)
    parts = [np.array([i]) for i in alone]
    parts += _meeting_groups(selections, meeting, known) if meeting else []
    if not _is_additive(selections, parts):
        parts = [moving]
    return Groups(parts, known)


def _meeting_groups(
    selections: Selections, meeting: list[int], known: list[Selection]
) -> list[np.ndarray]:
    """Coordinates in groups: joined are those whose slope changes as another one crosses."""
    if len(meeting) > MOST_MEETING:
        return [np.array(meeting)]
    joined = {i: {i} for i in meeting}
    for index in meeting:
        for _ in range(2):
            base = selections.noise() * 2.0**-8
            found = []
            for value in (base[index], 1.0, -1.0):
                direction = np.where(np.arange(len(base)) == index, value, base)
                gradient = selections.at(direction)
                if gradient is None:
                    return [np.array(meeting)]
                found.append(Selection(direction, gradient))
            known += found
            differing = [_differs(found[0].gradient, other.gradient) for other in found[1:]]
            changed = set(np.flatnonzero(np.any(differing, axis=0)).tolist()) & set(meeting)
            union: set[int] = set().union(*(joined[j] for j in {index, *changed}))
            joined.update(dict.fromkeys(union, union))
    distinct = {min(group): np.array(sorted(group)) for group in joined.values()}
    return list(distinct.values())


def _is_alone(index: int, slopes: Mapping[int, Slope], patterns: Sequence[Selection]) -> bool:
    """Whether the slope at a coordinate follows from its own sign at all points beside the kink."""
    if index not in slopes or slopes[index].value is not None:
        return False
    left, right = (float(side.mid()) for side in slopes[index])  # type: ignore[union-attr]
    size = max(abs(left), abs(right)) if np.isfinite(left) and np.isfinite(right) else np.nan
    return all(
        abs(row[index] - (right if direction[index] > 0 else left)) <= MIXTURE * size
        for direction, row in patterns
    )


def _is_additive(selections: Selections, parts: Sequence[np.ndarray]) -> bool:
    """Whether the slope along random directions is the sum of those along the groups."""
    if len(parts) < 2:
        return True
    programs, leaves = selections.programs, selections.leaves

    def right_slope(direction: np.ndarray) -> arb:
        right = slope_along(programs, leaves, direction, SAMPLE_DIGITS).right
        if right is None:
            raise Undecided("no value on this side")
        return right

    for _ in range(DIRECTIONS):
        draw = selections.noise()
        split = []
        for members in parts:
            split.append(np.zeros(len(draw)))
            split[-1][members] = draw[members]
        try:
            whole = right_slope(np.sum(split, axis=0))
            terms = [right_slope(direction) for direction in split]
        except Undecided:
            return False
        size = max((abs(term) for term in terms), key=lambda term: float(term.mid()))
        if whole.is_finite() and not abs(whole - sum(terms, arb(0))) <= size * arb(1e-20):
            return False
    return True


# --- the judgement --------------------------------------------------------------------------------


@dataclass
class KinkResult:
    """What the kinks say: a status, the coordinate and the cause for each gradient."""

    status: dict[str, str]
    where: dict[str, int | None]
    cause: dict[str, str | None]
    notes: list[str]
    compared: int = 0
    loose: set[int] = field(default_factory=set)
    """Coordinates of which selections differ: not to be compared with one derivative."""

    def convict(self, name: str, where: int | None, cause: str) -> None:
        """Say that a gradient is wrong; the first reason counts."""
        if self.status[name] != "different":
            self.status[name], self.where[name], self.cause[name] = "different", where, cause


def judge_kinks(
    programs: Programs,
    leaves: list,
    digits: int,
    rng: np.random.Generator,
    slopes: Mapping[int, Slope],
    rows: Mapping[str, Sequence[Row]],
    suspects: Sequence[int],
    tolerance: float = MIXTURE,
) -> KinkResult:
    """Judge each gradient at the coordinates that have no derivative.

    `slopes` holds what was found along coordinates; `rows` each gradient by name, in one or more
    evaluations (with exact, and with widened constants), of which one has to fit; `suspects` are
    coordinates that may meet in a kink. `tolerance` is how close a gradient has to come to a
    mixture of selections: more than MIXTURE for one that was computed in floating point.
    """
    result = KinkResult(
        status=dict.fromkeys(rows, "valid subgradient"),
        where=dict.fromkeys(rows, None),
        cause=dict.fromkeys(rows, None),
        notes=[],
    )
    size = programs.layout.size
    sides = np.zeros(size)
    for index, slope in slopes.items():
        value = slope.value
        if value is not None and not value.is_finite():
            left, right = programs.one_sided(leaves, programs.layout.unit(index), digits)
            sides[index] = (left is None) - (right is None) * 1.0
    selections = Selections(programs, leaves, np.array(sorted(suspects)), sides, rng)
    groups = find_groups(selections, slopes)
    if groups is None:
        groups = Groups([np.array(sorted(suspects))], [])
    for members in groups.members:
        result.loose |= set(map(int, members))
        group = _Group(selections, slopes, digits, members, groups.known, tolerance, result)
        for name, evaluations in rows.items():
            _judge_group(group, name, evaluations)
    return result


@dataclass
class _Group:
    """Coordinates that meet in a kink, the slopes taken along them, and the selections known."""

    selections: Selections
    slopes: Mapping[int, Slope]
    """What was found along single coordinates."""
    digits: int
    members: np.ndarray
    known: list[Selection]
    tolerance: float
    result: KinkResult
    taken: dict[bytes, tuple[np.ndarray, Slope | None]] = field(default_factory=dict)

    @property
    def names(self) -> str:
        """The first three coordinates."""
        layout = self.selections.programs.layout
        names = [layout.coordinate(int(i)) for i in self.members[:3]]
        return ", ".join(names) + (", ..." if len(self.members) > 3 else "")

    def directions(self) -> Iterator[np.ndarray]:
        """Each coordinate, then all ones and random directions."""
        for index in self.members:
            unit = self.selections.programs.layout.unit(index)
            if int(index) in self.slopes:
                self.taken.setdefault(unit.tobytes(), (unit, self.slopes[int(index)]))
            yield unit
        if len(self.members) > 1:
            rng = np.random.default_rng(0)
            draws = rng.integers(-(2**20), 2**20, (DIRECTIONS, len(self.members))) * 2.0**-20
            for part in (np.ones(len(self.members)), *draws):
                yield self.spread(part)

    def spread(self, part: np.ndarray) -> np.ndarray:
        """A direction of the group as one over all coordinates."""
        direction = np.zeros(self.selections.programs.layout.size)
        direction[self.members] = part
        return direction

    def slope(self, direction: np.ndarray) -> Slope | None:
        """The slopes along a direction, taken once; None at a jump."""
        key = direction.tobytes()
        if key not in self.taken:
            slope = None
            with contextlib.suppress(Undecided):
                at = self.selections.programs, self.selections.leaves
                slope = slope_along(*at, direction, self.digits)
            is_known = slope is not None and None not in slope
            self.taken[key] = (direction, slope if is_known else None)
        return self.taken[key][1]

    def bends(self) -> set[bool]:
        """Which way the loss bends: up (True), down (False).

        Told from the slopes along the directions taken; and, for all pairs of selections, from
        whether the gradient grows along the way from one to the other, as that of a convex
        function does.
        """
        found = {
            bool(slope.right > slope.left)  # type: ignore[operator]
            for _, slope in self.taken.values()
            if slope is not None and slope.value is None
        }
        if len(self.known) < 2 or len(self.members) == 1:
            return found
        ways = np.array([selection.direction[self.members] for selection in self.known])
        gradients = np.array([selection.gradient[self.members] for selection in self.known])
        grown = np.einsum("ijk,ijk->ij", ways[:, None] - ways, gradients[:, None] - gradients)
        least = MIXTURE * np.abs(gradients).max()
        bent = {True: (grown > least).any(), False: (grown < -least).any()}
        return found | {up for up, is_so in bent.items() if is_so}

    def undecide(self, name: str, note: str) -> None:
        """Say that a gradient could not be judged, unless it is wrong."""
        if self.result.status[name] == "valid subgradient":
            self.result.status[name] = "undecided"
        self.result.notes.append(note)


def _judge_group(group: _Group, name: str, evaluations: Sequence[Row]) -> None:
    directions = list(group.directions())
    found = [group.slope(direction) for direction in directions]
    group.result.compared += len(directions) if name == "hand" else 0
    if any(slope is None for slope in found):
        group.undecide(name, f"no slope was found where {group.names} moves: a jump, or an edge")
        return
    gradient = evaluations[0][group.members]
    known = _selections_of(group)
    if len(group.bends()) < 2 or len(group.members) == 1:
        if any(_violates(group, name, evaluations, direction) for direction in directions):
            return
        if len(group.members) == 1:
            return
    for _ in range(SEPARATIONS):
        if _is_mixture(gradient, known, group.tolerance):
            return
        part = _separating(gradient, known)
        if part is None:
            break
        spread = group.spread(part)
        if group.slope(spread) is None:
            break
        is_one_way = len(group.bends()) < 2
        if is_one_way and _violates(group, name, evaluations, spread):
            return
        if not is_one_way and _differs_from_all(group, name, gradient, part, known):
            return
        for sign in (1, -1):
            way = sign * spread + group.selections.noise() * 2.0**-16
            beside = group.selections.at(way)
            if beside is not None:
                group.known.append(Selection(way, beside))
        known = _selections_of(group)
    if len(group.bends()) == 2 and not _is_mixture_of_more(group, gradient, known):
        group.undecide(
            name,
            f"kinks that bend up and down meet at {group.names}: "
            f"no mixture of the smooth pieces was found that gives what {name} gives",
        )


def _is_mixture_of_more(group: _Group, gradient: Row, known: np.ndarray) -> bool:
    """Whether a gradient is a mixture of selections, of which more are drawn until it is."""
    seconds = max(group.selections.programs.gradient_effort.seconds, 1e-4)
    most = len(known) + MOST_NEW
    for _ in range(min(MOST_DRAWN, int(DRAWING_SECONDS / seconds))):
        if len(known) >= most:
            return False
        way = group.selections.noise()
        beside = group.selections.at(way)
        if beside is None or any(not _differs(beside[group.members], row).any() for row in known):
            continue
        group.known.append(Selection(way, beside))
        known = _selections_of(group)
        if _is_mixture(gradient, known, group.tolerance):
            return True
    return False


def _selections_of(group: _Group) -> np.ndarray:
    """The distinct selections of a group, a row each."""
    rows = [selection.gradient[group.members] for selection in group.known]
    rows = [row for row in rows if np.isfinite(row).all()]
    distinct: list[np.ndarray] = []
    for row in rows:
        if not any(not _differs(row, other).any() for other in distinct):
            distinct.append(row)
    return np.array(distinct).reshape(-1, len(group.members))


def _nearest(gradient: Row, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """A gradient as floats, the mixture of selections nearest to it, and their common size."""
    value = np.array([float(ball.mid()) for ball in gradient])
    if not len(known) or not np.isfinite(value).all():
        return None
    size = float(max(np.abs(known).max(), np.abs(value).max())) or 1.0
    weight = 1e3  # of the condition that the shares add up to 1
    from scipy.optimize import nnls  # a third of a second, which few verdicts need

    system = np.vstack([known.T / size, np.full(len(known), weight)])
    shares, _ = nnls(system, np.append(value / size, weight), maxiter=50 * len(known) + 100)
    if not shares.sum() > 0:
        return None
    return value, known.T @ (shares / shares.sum()), size


def _is_mixture(gradient: Row, known: np.ndarray, tolerance: float) -> bool:
    found = _nearest(gradient, known)
    return found is not None and bool(np.abs(found[0] - found[1]).max() <= tolerance * found[2])


def _separating(gradient: Row, known: np.ndarray) -> np.ndarray | None:
    """The direction from the nearest mixture to a gradient, in numbers of 20 bits."""
    found = _nearest(gradient, known)
    if found is None:
        return None
    gap = found[0] - found[1]
    direction = np.round(gap / np.abs(gap).max() * 2**20) * 2.0**-20 if gap.any() else gap
    return direction if direction.any() else None


def _violates(group: _Group, name: str, evaluations: Sequence[Row], direction: np.ndarray) -> bool:
    """Whether ⟨g, d⟩ lies outside the slopes; that is then the verdict."""
    slope = group.slope(direction)
    assert slope is not None
    values = [dot(row, direction) for row in evaluations]
    low, high = slope.bounds
    widened = (value.is_finite() and not (value < low or value > high) for value in values[1:])
    if is_between(values[0], slope, group.digits) or any(widened):
        return False
    allowed = short(low) if short(low) == short(high) else f"{short(low)} to {short(high)}"
    cause = f"{short(values[0])} where {allowed} is right"
    moved = np.flatnonzero(direction)
    if len(moved) == 1:
        group.result.convict(name, int(moved[0]), cause)
    else:
        group.result.convict(name, int(group.members[0]), TOGETHER + cause)
    return True


def _differs_from_all(
    group: _Group, name: str, gradient: Row, direction: np.ndarray, known: np.ndarray
) -> bool:
    """Whether all selections agree along a direction of a group, and a gradient does not."""
    along = known @ direction
    size = np.abs(known).max() * np.abs(direction).sum()
    value = float(dot(gradient, direction).mid())
    if np.ptp(along) > MIXTURE * size or abs(value - along[0]) <= 1e3 * group.tolerance * size:
        return False
    cause = f"{TOGETHER}{value:.12g} where {along[0]:.12g} is right"
    group.result.convict(name, int(group.members[0]), cause)
    return True
