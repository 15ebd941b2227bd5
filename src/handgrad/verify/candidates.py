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
    plain: bool = True


class Candidate(NamedTuple):
    """A wrong cotangent, the words for it, its cost, and the numbers it leaves open."""

    cotangent: np.ndarray
    words: str
    cost: float
    free_scale: bool = False


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
        yield Base(f"σ({v.name})", once, False)
        yield Base(f"tanh({v.name})", np.tanh(x), False)
        yield Base(f"σ(σ({v.name}))", 1 / (1 + np.exp(-once)), False)
    for axis in reversed(range(x.ndim)):
        if x.shape[axis] > 1:
            which = "" if axis == x.ndim - 1 else f" over axis {axis}"
            p = _softmax(x, axis)
            yield Base(f"softmax({v.name}){which}", p, False)
            if not which:
                yield Base(f"softmax(softmax({v.name}))", _softmax(p, axis), False)


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
            found.append(Base(point.name, point.value))
    for name, value in integers:
        if value.ndim == 1 and value.size and value.min() >= 0 and value.max() < 4096:
            for k in {p.value.shape[-1] for p in points if p.value.ndim == 2}:
                if value.max() < k:
                    found.append(Base(f"one_hot({name})", np.eye(k)[value]))
    grown = [b for p in points if p.moves and p.value.ndim for b in derived(Base(p.name, p.value))]
    columns = [
        Base(f"{b.name}[:, {j}]", b.value[:, j], False)
        for b in found if b.value.ndim == 2 and b.value.shape[1] <= 8
        for j in range(b.value.shape[1])
    ]  # fmt: skip
    sums = [Base(f"Σ {b.name}", b.value.sum(axis=1), False) for b in found if b.value.ndim == 2]
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
    for formula, f, cost in FACTORS if base.plain else FACTORS[:4]:
        factor = f(value)
        named = base.name if formula == "v" else f"{formula}, v = {base.name}"
        extra = 0.0 if base.plain else 0.5
        yield f"an extra factor {named}", factor, cost + extra
        yield f"a missing factor {named}", 1 / factor, cost + extra + 0.2


def candidates(u: Point, points: Sequence[Point], known: Sequence[Base]) -> Iterator[Candidate]:
    """Wrong cotangents for u, simple ones first."""
    shape, own = u.value.shape, u.cotangent
    where = f"the cotangent of {u.name}"
    yield Candidate(own, f"the paths through {u.name}", 20)
    if not shape:
        return
    same = [p for p in points if p.value.shape == shape and p is not u]
    usable = [(b, v) for b in known if (v := fitting(b, shape)) is not None]
    for base, value in usable:
        for words, factor, cost in _factors(base, value):
            yield Candidate(own * factor, f"{words}, on {where}", 25 + cost)
    for v in same:
        if not v.cotangent.any() or not v.moves:
            continue
        words = f"{where} is that of {v.name}: the derivative between them forgotten"
        yield Candidate(v.cotangent, words, 24)
        near = [Base("its own value", v.value), Base(u.name, u.value)]
        for base in (*near, *derived(Base(v.name, v.value)), *derived(Base(u.name, u.value))):
            for formula, f, cost in FACTORS[:8] if base.plain else FACTORS[:4]:
                words = f"{where} is that of {v.name} times {formula}, v being {base.name}"
                yield Candidate(v.cotangent * f(base.value), words, 30 + cost + (not base.plain))
    for axis in range(len(shape)):
        for steps in (1, -1):
            moved = np.roll(own, steps, axis)
            yield Candidate(moved, f"{where} is shifted by {steps} along axis {axis}", 27)
        yield Candidate(np.flip(own, axis), f"{where} is reversed along axis {axis}", 28)
        mean = np.broadcast_to(own.mean(axis=axis, keepdims=True), shape)
        yield Candidate(own - mean, f"{where} has its mean over axis {axis} taken away", 28)
        yield Candidate(mean, f"{where} is averaged over axis {axis}", 28)
    if len(shape) == 2 and shape[0] == shape[1]:
        yield Candidate(own.T, f"{where} is transposed", 27)
    yield Candidate(np.sign(own), f"{where} is only its sign", 29)
    for v in points:
        if v.made_by == "dot_general" and len(v.operands) == 2 and min(v.operands) >= 0:
            left, right = (points[i] for i in v.operands)
            if left is u or (left.value.shape == shape and left.name == u.name):
                w = right.value
                if w.ndim == 2 and w.shape[0] == w.shape[1] and v.cotangent.shape == shape:
                    words = f"{where}: {right.name} stands where its transpose should"
                    yield Candidate(v.cotangent @ w, words, 23)


def pairs(u: Point, known: Sequence[Base]) -> Iterator[Candidate]:
    """Other residuals on u: p + q, p − q, p q, and p against q broadcast over all pairs."""
    shape, where = u.value.shape, f"the cotangent of {u.name}"
    usable = [(b, v) for b in known if (v := fitting(b, shape)) is not None]
    usable = usable if len(usable) <= 60 else usable[:60]
    for base, value in usable:
        yield Candidate(value, f"{where} is proportional to {base.name}", 40, True)
    for (a, p), (b, q) in combinations(usable, 2):
        cost = 34 + (not a.plain) + (not b.plain)
        yield Candidate(p + q, f"{where} is p + q, p = {a.name}, q = {b.name}", cost, True)
        yield Candidate(p - q, f"{where} is p − q, p = {a.name}, q = {b.name}", cost + 0.5, True)
        yield Candidate(p * q, f"{where} is p q, p = {a.name}, q = {b.name}", cost + 2, True)
        if len(shape) == 1:
            words = "(N,) against (N, 1) broadcast to (N, N)"
            for one, other, names in ((p, q, (a, b)), (q, p, (b, a))):
                named = f"{names[0].name} meets the mean of {names[1].name}: {words}"
                yield Candidate(one - other.mean(), f"{where}: {named}", cost + 0.2, True)


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
