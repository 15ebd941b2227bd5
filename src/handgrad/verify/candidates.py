"""Wrong cotangents: what people write in the middle of a chain instead of L′(u).

Built from the loss's own values, and from what its derivative would have in it: σ, tanh and softmax
of a value, one-hot labels, columns of the data.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from handgrad.verify.intermediates import Point


class Base(NamedTuple):
    """A value that may stand in a formula: its name, and the value in some shape."""

    name: str
    value: np.ndarray
    cost: float = 0.0


class Candidate(NamedTuple):
    """A wrong cotangent, the words for it, its cost, and the numbers it leaves open."""

    cotangent: np.ndarray
    words: str
    cost: float
    free_scale: bool = False


MOST_BASES = 60

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
    ("√v", np.sqrt, 2),
    ("v³", lambda v: v**3, 2),
    ("exp v", np.exp, 2),
    ("1 − 1/v", lambda v: 1 - 1 / v, 3),
)


def derived(v: Base) -> Iterator[Base]:
    """σ, tanh and softmax of a value: stable losses have them in their derivative only."""
    x = v.value
    with np.errstate(over="ignore"):
        once = 1 / (1 + np.exp(-x))
        yield Base(f"σ({v.name})", once, 1.0)
        yield Base(f"tanh({v.name})", np.tanh(x), 1.0)
        yield Base(f"σ(σ({v.name}))", 1 / (1 + np.exp(-once)), 2.0)
    for axis in reversed(range(x.ndim)):
        if x.shape[axis] > 1:
            which = "" if axis == x.ndim - 1 else f" over axis {axis}"
            p = _softmax(x, axis)
            yield Base(f"softmax({v.name}){which}", p, 1.0 + bool(which))
            if not which:
                yield Base(f"softmax(softmax({v.name}))", _softmax(p, axis), 2.0)


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def bases(points: Sequence[Point], integers: Sequence[tuple[str, np.ndarray]]) -> list[Base]:
    """Every value of the loss once, under its first name; then what is derived from them."""
    found, seen = [], set()
    for point in points:
        key = (point.value.shape, np.round(point.value, 12).tobytes())
        if point.value.ndim and key not in seen:
            seen.add(key)
            found.append(Base(point.name, point.value, 0.0 if point.made_by == "input" else 0.3))
    for name, value in integers:
        if value.ndim == 1 and value.size and value.min() >= 0 and value.max() < 4096:
            for k in {p.value.shape[-1] for p in points if p.value.ndim == 2}:
                if value.max() < k:
                    found.append(Base(f"one_hot({name})", np.eye(k)[value]))
    grown = [b for p in points if p.moves and p.value.ndim for b in derived(Base(p.name, p.value))]
    columns = [
        Base(f"{b.name}[:, {j}]", b.value[:, j], 1.5)
        for b in found if b.value.ndim == 2 and b.value.shape[1] <= 8
        for j in range(b.value.shape[1])
    ]  # fmt: skip
    sums = [Base(f"Σ {b.name}", b.value.sum(axis=1), 2.0) for b in found if b.value.ndim == 2]
    return found + grown + columns + sums


def fitting(base: Base, shape: tuple[int, ...]) -> np.ndarray | None:
    """The value in the shape of a cotangent: as it is, or along its leading axes; else None."""
    value = base.value
    if value.ndim < len(shape) and value.shape == shape[: value.ndim]:
        value = value.reshape(*value.shape, *[1] * (len(shape) - value.ndim))
    try:
        return np.broadcast_to(value, shape) if value.ndim <= len(shape) else None
    except ValueError:
        return None


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
            yield from _local_derivatives(u, v)
    yield from _transposed_matrices(u, points)
    yield from _rearranged(u, where)


def _local_derivatives(u: Point, v: Point) -> Iterator[Candidate]:
    """A wrong derivative on the way from u to a later v of its shape."""
    between = f"the derivative of {v.name} with respect to {u.name}"
    yield Candidate(v.cotangent, f"{between} forgotten", 24)
    yield Candidate(u.cotangent**2 / v.cotangent, f"{between} applied twice", 24.5)
    for name, x, extra in (("its value", v.value, 0.0), ("its argument", u.value, 0.0)):
        for base in (Base(name, x, extra), *derived(Base(name, x))):
            for formula, f, cost in FACTORS[:8] if base.cost < 1 else FACTORS[:4]:
                words = f"{between} taken to be {formula}, v being {base.name}"
                yield Candidate(v.cotangent * f(base.value), words, 30 + cost + base.cost)


def _transposed_matrices(u: Point, points: Sequence[Point]) -> Iterator[Candidate]:
    """r W in place of r Wᵀ behind a product u W with a square W."""
    for v in points:
        if v.made_by != "dot_general" or len(v.operands) != 2 or min(v.operands) < 0:
            continue
        left, right = (points[i] for i in v.operands)
        square = right.value.ndim == 2 and right.value.shape[0] == right.value.shape[1]
        if left is u and square and v.cotangent.shape == u.value.shape:
            words = f"on the way back to {u.name}, {right.name} is not transposed"
            yield Candidate(v.cotangent @ right.value, words, 23)


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
    if own.ndim == 2 and own.shape[0] == own.shape[1]:
        yield Candidate(own.T, f"{where} is transposed", 27)
    yield Candidate(np.sign(own), f"{where} is only its sign", 29)


def pairs(at: int, points: Sequence[Point], known: Sequence[Base]) -> Iterator[Candidate]:
    """Other residuals on u: p + q, p − q, p q, and p against q broadcast over all pairs."""
    u = points[at]
    where = f"the cotangent of {u.name} is"
    usable = [(b, v) for b in known if (v := fitting(b, u.value.shape)) is not None]
    usable = sorted(usable, key=lambda pair: pair[0].cost)[:MOST_BASES]
    for base, value in usable:
        yield Candidate(value, f"{where} proportional to {base.name}", 40 + base.cost, True)
    for (a, p), (b, q) in combinations(usable, 2):
        cost, names = 34 + a.cost + b.cost, f"p = {a.name}, q = {b.name}"
        opposite = _is_proportional(u.cotangent, p - q)
        instead = ", in place of their difference" if opposite else ""
        yield Candidate(p + q, f"{where} p + q{instead}, {names}", cost - opposite, True)
        yield Candidate(p - q, f"{where} p − q, {names}", cost + 0.5, True)
        yield Candidate(p * q, f"{where} p q, {names}", cost + 2, True)
        if u.value.ndim == 1:
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
