"""Wrong cotangents: what people write in the middle of a chain instead of L′(u).

Built from the values in `bases`.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from handgrad.verify.bases import Base, derived, fitting
from handgrad.verify.intermediates import Point


class Candidate(NamedTuple):
    """A wrong cotangent, the words for it, its cost, and the numbers it leaves open."""

    cotangent: np.ndarray
    words: str
    cost: float
    free_scale: bool = False
    added: bool = False
    """Whether it comes on top of the right cotangent."""


MOST_BASES = 80

# Factors made of one value v. Reciprocals stand for factors forgotten.
FACTORS = (
    ("v", lambda v: v, 0),
    ("1 − v", lambda v: 1 - v, 0),
    ("v(1 − v)", lambda v: v * (1 - v), 0),
    ("1 − v²", lambda v: 1 - v * v, 0),
    ("v²", lambda v: v * v, 1),
    ("1 + v²", lambda v: 1 + v * v, 1),
    ("1 + v", lambda v: 1 + v, 1),
    ("1[v > 0]", lambda v: np.where(v > 0, 1.0, 0.0), 1),
    ("√v", np.sqrt, 4),
    ("v³", lambda v: v**3, 5),
    ("exp v", np.exp, 7),
    ("1 − 1/v", lambda v: 1 - 1 / v, 7),
)


def _factors(base: Base, value: np.ndarray) -> Iterator[tuple[str, np.ndarray, float]]:
    """(words, factor, cost) for each factor made of one base, then for each forgotten one."""
    for formula, f, cost in FACTORS if base.cost < 1 else FACTORS[:4]:
        factor = f(value)
        named = base.name if formula == "v" else f"{formula}, v = {base.name}"
        error = formula == "v(1 − v)" and ("logistic" in base.name or base.name.startswith("σ("))
        why = " (squared error's gradient through a sigmoid)" if error else ""
        yield f"an extra factor {named}{why}", factor, cost + base.cost
        yield f"a missing factor {named}", 1 / factor, cost + base.cost + 0.2


def descendants(points: Sequence[Point], start: int) -> set[int]:
    """The points computed from the one at `start`."""
    found: set[int] = set()
    for k in range(start + 1, len(points)):
        if any(i == start or i in found for i in points[k].operands):
            found.add(k)
    return found


def candidates(at: int, points: Sequence[Point], known: Sequence[Base]) -> Iterator[Candidate]:
    """Wrong cotangents for the point u at `at`."""
    u = points[at]
    where = f"the cotangent of {u.name}"
    yield Candidate(u.cotangent, f"the paths through {u.name}", 20)
    if not u.value.shape:
        return
    for base in known:
        if (value := fitting(base, u.value.shape)) is not None:
            for words, factor, cost in _factors(base, value):
                yield Candidate(u.cotangent * factor, f"{words}, on {where}", 25 + cost)
    for k in sorted(descendants(points, at)):
        v = points[k]
        if v.value.shape == u.value.shape and v.cotangent.any() and v is not u:
            yield from _local_derivatives(u, v, known)
    yield from _other_matrices(u, points)
    yield from _rearranged(u, where)


def _local_derivatives(u: Point, v: Point, known: Sequence[Base]) -> Iterator[Candidate]:
    """A wrong derivative on the way from u to a later v of its shape."""
    between = f"the derivative of {v.name} with respect to {u.name}"
    yield Candidate(v.cotangent, f"{between} forgotten", 24)
    yield Candidate(u.cotangent**2 / v.cotangent, f"{between} applied twice", 24.5)
    for base in known:
        if (value := fitting(base, u.value.shape)) is not None:
            words = f"{between} taken to be {base.name}"
            yield Candidate(v.cotangent * value, words, 36 + base.cost)
    for name, x in (("its value", v.value), ("its argument", u.value)):
        for base in (Base(name, x), *derived(Base(name, x))):
            for formula, f, cost in FACTORS[:8] if base.cost < 1 else FACTORS[:4]:
                words = f"{between} taken to be {formula}, v being {base.name}"
                yield Candidate(v.cotangent * f(base.value), words, 30 + cost + base.cost)


def _other_matrices(u: Point, points: Sequence[Point]) -> Iterator[Candidate]:
    """Behind a product u W: r W in place of r Wᵀ with a square W, or a W already updated."""
    for v in points:
        if v.made_by != "dot_general" or len(v.operands) != 2 or min(v.operands) < 0:
            continue
        left, right = (points[i] for i in v.operands)
        square = right.value.ndim == 2 and right.value.shape[0] == right.value.shape[1]
        if left is u and square and v.cotangent.shape == u.value.shape:
            words = f"on the way back to {u.name}, {right.name} is not transposed"
            yield Candidate(v.cotangent @ right.value, words, 23)
        if left is u and right.cotangent.any() and u.value.ndim == 2 and right.value.ndim < 3:
            r, g = v.cotangent.reshape(len(u.value), -1), right.cotangent
            words = f"on the way back to {u.name}, {right.name} is already updated by a step"
            if r.shape[1] == g.size // len(g) and len(g) == u.value.shape[1]:
                yield Candidate(r @ g.reshape(len(g), -1).T, words, 33, True, True)


def _rearranged(u: Point, where: str) -> Iterator[Candidate]:
    own = u.cotangent
    for axis in range(own.ndim):
        for steps in (1, -1):
            moved = np.roll(own, steps, axis)
            yield Candidate(moved, f"{where} is shifted by {steps} along axis {axis}", 27)
        yield Candidate(np.flip(own, axis), f"{where} is reversed along axis {axis}", 28)
        mean = np.broadcast_to(own.mean(axis=axis, keepdims=True), own.shape)
        yield Candidate(own - mean, f"{where} has its mean over axis {axis} taken away", 28)
        yield Candidate(mean, f"{where} is averaged over axis {axis}", 28)
        for entry in {0, own.shape[axis] - 1}:
            only = np.zeros_like(own)
            np.moveaxis(only, axis, 0)[entry] = np.moveaxis(own, axis, 0)[entry]
            words = f"of {where} only entry {entry} along axis {axis} counts"
            yield Candidate(only, f"{words}: the others overwritten, not added", 27)
    if own.ndim == 2 and own.shape[0] == own.shape[1]:
        yield Candidate(own.T, f"{where} is transposed", 27)
    yield Candidate(np.sign(own), f"{where} is only its sign", 29)


def pairs(at: int, points: Sequence[Point], known: Sequence[Base]) -> Iterator[Candidate]:
    """Other residuals on u: v + w, v − w, v w, and v against w broadcast over all pairs."""
    u = points[at]
    if not u.value.shape:
        return
    where = f"the cotangent of {u.name} is"
    usable = [(b, v) for b in known if (v := fitting(b, u.value.shape)) is not None]
    usable = sorted(usable, key=lambda pair: pair[0].cost)[:MOST_BASES]
    for base, value in usable:
        yield Candidate(value, f"{where} proportional to {base.name}", 31 + base.cost, True)
    for (a, p), (b, q) in combinations(usable, 2):
        cost, names = 32 + a.cost + b.cost, f"v = {a.name}, w = {b.name}"
        opposite = _is_proportional(u.cotangent, p - q)
        instead = ", in place of their difference" if opposite else ""
        yield Candidate(p + q, f"{where} v + w{instead}, {names}", cost - opposite, True)
        yield Candidate(p - q, f"{where} v − w, {names}", cost + 0.5, True)
        yield Candidate(p * q, f"{where} v w, {names}", cost + 2, True)
        if u.value.ndim == 1 and np.ptp(p) and np.ptp(q):
            for one, other, (c, d) in ((p, q, (a, b)), (q, p, (b, a))):
                words = f"{where} each {c.name} minus the mean of all {d.name}: (N,) against (N, 1)"
                yield Candidate(one - other.mean(), f"{words} broadcasts to (N, N)", cost, True)


def _is_proportional(a: np.ndarray, b: np.ndarray) -> bool:
    size = float(np.vdot(b, b))
    if not size:
        return False
    rest = a - float(np.vdot(a, b)) / size * b
    return float(np.vdot(rest, rest)) <= 1e-20 * float(np.vdot(a, a))


def repeats(u: Point, integers: Sequence[tuple[str, np.ndarray]]) -> Iterator[Candidate]:
    """An index that comes twice, its contributions overwritten instead of added."""
    for name, index in integers:
        if u.value.shape[: index.ndim] != index.shape or not index.ndim:
            continue
        flat = index.ravel()
        last = np.array(
            [i == len(flat) - 1 - flat[::-1].tolist().index(k) for i, k in enumerate(flat)]
        )
        first = np.array([i == flat.tolist().index(k) for i, k in enumerate(flat)])
        for mask, which in ((last, "last"), (first, "first")):
            if not mask.all():
                shape = (*index.shape, *[1] * (u.value.ndim - index.ndim))
                words = f"where {name} repeats an index only the {which} counts: overwritten"
                yield Candidate(u.cotangent * mask.reshape(shape), f"{words}, not added", 22)
