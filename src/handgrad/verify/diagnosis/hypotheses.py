"""Mistakes in the middle of a chain: what stands in hand where the cotangent of u should be.

The paths through an intermediate u give Jᵤᵀ L′(u) to the gradient. With every other path right,
hand − truth + Jᵤᵀ L′(u) is Jᵤᵀ c for the wrong c that was used, and c is looked for among

    0                     the path through u was forgotten
    k L′(u)               counted twice, or with the wrong sign
    L′(u) s               an extra, or a missing, factor s
    L′(v) s               a wrong derivative on the way from u to a later v
    p ± q, p q            another residual altogether

where s, p and q are made of the loss's own values, and of what its derivative has in it besides: a
stable loss never forms ŷ, but its gradient does. A hypothesis must give every coordinate.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from handgrad.verify.diagnosis.intermediates import Intermediate
from handgrad.verify.diagnosis.relations import (
    Cause,
    Context,
    is_exactly,
    name_ratio,
)

MAX_WORK, MAX_HYPOTHESES = 500_000_000, 30_000
"""Multiplications spent on hypotheses of one kind, and their number: a second or two."""
BATCH, MOST_IN_BATCH = 2_000_000, 2_000
MOST_TERMS = 80
MOST_COLUMNS, MOST_CLASSES = 8, 4096
# What makes a logit, and what may be taken for one.
LOGITS = frozenset({"input", "dot_general", "add"})
ACTIVATIONS = frozenset({"sub", "mul", "div", "logistic", "tanh", "max"})

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
    ("exp v", np.exp, 9),
    ("1 − 1/v", lambda v: 1 - 1 / v, 9),
)


# --- the values they are made of ------------------------------------------------------------------


class Term(NamedTuple):
    """A value that may stand in a formula: its name, and the value in some shape."""

    name: str
    value: np.ndarray
    cost: float = 0.0
    fixed: bool = False
    """Whether it is data: it does not depend on what is differentiated."""


def derived(v: Term) -> Iterator[Term]:
    """σ, tanh and softmax of a value: stable losses have them in their derivative only."""
    x = v.value
    with np.errstate(over="ignore"):
        once = 1 / (1 + np.exp(-x))
        yield Term(f"σ({v.name})", once, 1.0)
        yield Term(f"tanh({v.name})", np.tanh(x), 1.0)
        yield Term(f"σ(σ({v.name}))", 1 / (1 + np.exp(-once)), 2.0)
    yield Term(f"1[{v.name} > 0]", np.where(x > 0, 1.0, 0.0), 1.5)
    for axis in reversed(range(x.ndim)):
        if x.shape[axis] > 1:
            which = "" if axis == x.ndim - 1 else f" over axis {axis}"
            p = _softmax(x, axis)
            yield Term(f"softmax({v.name}){which}", p, 1.0 + bool(which))
            if not which:
                yield Term(f"softmax(softmax({v.name}))", _softmax(p, axis), 2.0)


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a row of −∞ alone
        e = np.exp(x - np.max(x, axis=axis, keepdims=True))
        return e / np.sum(e, axis=axis, keepdims=True)


def terms(chain: Sequence[Intermediate], held: Sequence[tuple[str, np.ndarray]]) -> list[Term]:
    """Every value of the loss, then what is derived from them: once each, under its first name.

    `held` are the arrays that the loss has besides, labels among them.
    """
    arrays = [p for p in chain if p.value.ndim]
    data = [p for p in arrays if p.made_by == "input" and not p.moves]
    found = [
        Term(p.name, p.value, 0.0, not p.moves) if p.made_by == "input" else
        Term(p.name, p.value, 0.3)
        for p in arrays
    ]  # fmt: skip
    found += [Term(name, a, 0.2, True) for name, a in held if a.dtype.kind == "f"]
    integers = [(name, a) for name, a in held if a.dtype.kind in "iu"]
    found += _labels(integers, {p.value.shape[-1] for p in arrays if p.value.ndim == 2})
    found += [
        Term(b.name, b.value, b.cost + (p.made_by not in LOGITS))
        for p in arrays if p.moves and p.made_by in LOGITS | ACTIVATIONS
        for b in derived(Term(p.name, p.value))
    ]  # fmt: skip
    for p in data:
        if np.isin(p.value, (0, 1)).all():
            found.append(Term(f"2{p.name} − 1", 2 * p.value - 1, 1.0))
        if p.value.ndim == 2:
            columns = range(min(MOST_COLUMNS, p.value.shape[1]))
            found += [Term(f"{p.name}[:, {k}]", p.value[:, k], 1.5) for k in columns]
            found.append(Term(f"Σ {p.name}", p.value.sum(axis=1), 2.0))
    found += [Term(p.name, p.value) for p in chain if p.made_by == "input" and not p.value.ndim]
    found.append(Term("1", np.ones(()), 1.0))
    once: dict[tuple, Term] = {}
    for term in sorted(found, key=lambda b: b.cost):
        once.setdefault((term.value.shape, np.round(term.value, 12).tobytes()), term)
    return list(once.values())


def _labels(integers: Sequence[tuple[str, np.ndarray]], classes: set[int]) -> list[Term]:
    """One-hot rows of what may be labels, and of labels counted from elsewhere."""
    return [
        Term(f"one_hot({name}{words})", np.roll(np.eye(k)[value], shift, axis=1), 2.0 * abs(shift),
             fixed=True)
        for name, value in integers if value.ndim == 1 and value.size and value.min() >= 0
        for k in classes if value.max() < k <= MOST_CLASSES
        for shift, words in ((0, ""), (1, " + 1"), (-1, " − 1"))
    ]  # fmt: skip


def fitting(term: Term, shape: tuple[int, ...]) -> np.ndarray | None:
    """The value in the shape of a cotangent: as it is, or along its leading axes; else None."""
    value = term.value
    if value.ndim < len(shape) and value.shape == shape[: value.ndim]:
        value = value.reshape(*value.shape, *[1] * (len(shape) - value.ndim))
    try:
        return np.broadcast_to(value, shape) if value.ndim <= len(shape) else None
    except ValueError:
        return None


# --- wrong cotangents -----------------------------------------------------------------------------


class Hypothesis(NamedTuple):
    """A wrong cotangent, the words for it, its cost, and the numbers it leaves open."""

    cotangent: np.ndarray
    words: str
    cost: float
    free_scale: bool = False
    added: bool = False
    """Whether it comes on top of the right cotangent."""


def _factors(term: Term, value: np.ndarray) -> Iterator[tuple[str, np.ndarray, float]]:
    """(words, factor, cost) for each factor made of one term, then for each forgotten one."""
    for formula, f, cost in FACTORS if term.cost < 1 else FACTORS[:4]:
        factor = f(value)
        named = term.name if formula == "v" else f"{formula}, v = {term.name}"
        error = formula == "v(1 − v)" and ("logistic" in term.name or term.name.startswith("σ("))
        why = " (squared error's gradient through a sigmoid)" if error else ""
        yield f"an extra factor {named}{why}", factor, cost + term.cost
        yield f"a missing factor {named}", 1 / factor, cost + term.cost + 0.2


def descendants(chain: Sequence[Intermediate], start: int) -> set[int]:
    """The positions of what is computed from the one at `start`."""
    found: set[int] = set()
    for k in range(start + 1, len(chain)):
        if any(i == start or i in found for i in chain[k].operands):
            found.add(k)
    return found


def hypotheses(
    at: int, chain: Sequence[Intermediate], known: Sequence[Term]
) -> Iterator[Hypothesis]:
    """Wrong cotangents for the intermediate u at `at`."""
    u = chain[at]
    where = f"the cotangent of {u.name}"
    yield Hypothesis(u.cotangent, f"the paths through {u.name}", 20)
    for term in known:
        if (value := fitting(term, u.value.shape)) is not None:
            for words, factor, cost in _factors(term, value):
                yield Hypothesis(u.cotangent * factor, f"{words}, on {where}", 25 + cost)
    if not u.value.shape:
        return
    yield from _other_factors(u, chain, known, where)
    for k in sorted(descendants(chain, at)):
        v = chain[k]
        if v.value.shape == u.value.shape and v.cotangent.any() and v is not u:
            yield from _local_derivatives(u, v, known)
    yield from _other_matrices(u, chain)
    yield from _rearranged(u, where)


def _other_factors(
    u: Intermediate, chain: Sequence[Intermediate], known: Sequence[Term], where: str
) -> Iterator[Hypothesis]:
    """Another array of the data for a factor: the weight of one class for that of another."""
    used = {i for p in chain if p.made_by == "mul" and p.moves for i in p.operands if i >= 0}
    factors = [chain[i] for i in used if chain[i].value.ndim and not chain[i].moves]
    for factor, other in product(factors, (term for term in known if term.fixed)):
        right = fitting(Term(factor.name, factor.value), u.value.shape)
        wrong = fitting(other, u.value.shape)
        if other.name != factor.name and right is not None and wrong is not None:
            shift = " (shifted: off by one)" if _is_beside(other.value, factor.value) else ""
            words = f"{other.name} in place of the factor {factor.name}{shift}, on {where}"
            yield Hypothesis(u.cotangent * wrong / right, words, 27)


def _is_beside(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are slices of one, a place apart."""
    pairs = ((a[1:], b[:-1]), (a[:-1], b[1:])) if a.shape == b.shape else ()
    return any(len(one) > 1 and np.array_equal(one, other) for one, other in pairs)


def _local_derivatives(
    u: Intermediate, v: Intermediate, known: Sequence[Term]
) -> Iterator[Hypothesis]:
    """A wrong derivative on the way from u to a later v of its shape."""
    between = f"the derivative of {v.name} with respect to {u.name}"
    yield Hypothesis(v.cotangent, f"{between} forgotten", 24)
    if len(v.operands) == 1:
        yield Hypothesis(v.cotangent, f"{between} taken to be a constant", 30.5, True)
    yield Hypothesis(u.cotangent**2 / v.cotangent, f"{between} applied twice", 24.5)
    for term in known:
        if (value := fitting(term, u.value.shape)) is not None:
            words = f"{between} taken to be {term.name}"
            yield Hypothesis(v.cotangent * value, words, 36 + term.cost)
    for name, x in (("its value", v.value), ("its argument", u.value)):
        for term in (Term(name, x), *derived(Term(name, x))):
            for formula, f, cost in FACTORS[:8] if term.cost < 1 else FACTORS[:4]:
                words = f"{between} taken to be {formula}, v being {term.name}"
                yield Hypothesis(v.cotangent * f(term.value), words, 30 + cost + term.cost)


def _other_matrices(u: Intermediate, chain: Sequence[Intermediate]) -> Iterator[Hypothesis]:
    """Behind a product u W: r W in place of r Wᵀ with a square W, or a W already updated."""
    for v in chain:
        if v.made_by != "dot_general" or len(v.operands) != 2 or min(v.operands) < 0:
            continue
        left, right = (chain[i] for i in v.operands)
        square = right.value.ndim == 2 and right.value.shape[0] == right.value.shape[1]
        if left is u and square and v.cotangent.shape == u.value.shape:
            words = f"on the way back to {u.name}, {right.name} is not transposed"
            yield Hypothesis(v.cotangent @ right.value, words, 23)
        if left is u and right.cotangent.any() and u.value.ndim == 2 and right.value.ndim < 3:
            r, g = v.cotangent.reshape(len(u.value), -1), right.cotangent
            words = f"on the way back to {u.name}, {right.name} is already updated by a step"
            if r.shape[1] == g.size // len(g) and len(g) == u.value.shape[1]:
                yield Hypothesis(r @ g.reshape(len(g), -1).T, words, 33, True, True)


def _rearranged(u: Intermediate, where: str) -> Iterator[Hypothesis]:
    own = u.cotangent
    for axis in range(own.ndim):
        for steps in (1, -1):
            moved = np.roll(own, steps, axis)
            yield Hypothesis(moved, f"{where} is shifted by {steps} along axis {axis}", 27)
        yield Hypothesis(np.flip(own, axis), f"{where} is reversed along axis {axis}", 28)
        mean = np.broadcast_to(own.mean(axis=axis, keepdims=True), own.shape)
        yield Hypothesis(own - mean, f"{where} has its mean over axis {axis} taken away", 28)
        yield Hypothesis(mean, f"{where} is averaged over axis {axis}", 28)
        for entry in {0, own.shape[axis] - 1}:
            only = np.zeros_like(own)
            np.moveaxis(only, axis, 0)[entry] = np.moveaxis(own, axis, 0)[entry]
            words = f"of {where} only entry {entry} along axis {axis} counts"
            yield Hypothesis(only, f"{words}: the others overwritten, not added", 27)
    if own.ndim == 2 and own.shape[0] == own.shape[1]:
        yield Hypothesis(own.T, f"{where} is transposed", 27)
    yield Hypothesis(np.sign(own), f"{where} is only its sign", 29)


def pairs(at: int, chain: Sequence[Intermediate], known: Sequence[Term]) -> Iterator[Hypothesis]:
    """Other residuals on u: v + w, v − w, v w, and v against w broadcast over all pairs."""
    u = chain[at]
    if not u.value.shape:
        return
    where = f"the cotangent of {u.name} is"
    usable = [(b, v) for b in known if (v := fitting(b, u.value.shape)) is not None]
    usable = sorted(usable, key=lambda pair: pair[0].cost)[:MOST_TERMS]
    for term, value in usable:
        yield Hypothesis(value, f"{where} proportional to {term.name}", 31 + term.cost, True)
        for formula, f, _ in FACTORS[:2]:
            named = term.name if formula == "v" else f"{formula}, v = {term.name}"
            words = f"{where} off by a multiple of {named}"
            yield Hypothesis(f(value), words, 34 + term.cost, True, True)
        if np.isin(value, (0, 1)).all() and (value.sum(axis=-1) == 1).all():
            words = f"{where} off by a multiple of 1/{value.shape[-1]} − {term.name}: the"
            smooth = 1 / value.shape[-1] - value
            yield Hypothesis(smooth, f"{words} label smoothing is another", 30, True, True)
    for (a, p), (b, q) in combinations(usable, 2):
        cost, names = 32 + a.cost + b.cost, f"v = {a.name}, w = {b.name}"
        opposite = _is_proportional(u.cotangent, p - q)
        instead = ", in place of their difference" if opposite else ""
        yield Hypothesis(p + q, f"{where} v + w{instead}, {names}", cost - opposite, True)
        yield Hypothesis(p - q, f"{where} v − w, {names}", cost + 0.5, True)
        yield Hypothesis(p * q, f"{where} v w, {names}", cost + 2, True)
        if u.value.size == u.value.shape[0] and np.ptp(p) and np.ptp(q):
            for one, other, (c, d) in ((p, q, (a, b)), (q, p, (b, a))):
                words = f"{where} each {c.name} minus the mean of all {d.name}: (N,) against (N, 1)"
                yield Hypothesis(one - other.mean(), f"{words} broadcasts to (N, N)", cost, True)


def _is_proportional(a: np.ndarray, b: np.ndarray) -> bool:
    size = float(np.vdot(b, b))
    if not size:
        return False
    rest = a - float(np.vdot(a, b)) / size * b
    return float(np.vdot(rest, rest)) <= 1e-20 * float(np.vdot(a, a))


# --- testing hypotheses ---------------------------------------------------------------------------


class Sample(NamedTuple):
    """The two gradients on chosen coordinates, and the leaf that each coordinate belongs to."""

    hand: np.ndarray
    truth: np.ndarray
    leaf_of: np.ndarray
    wrong: Sequence[int]


def chain_causes(
    made: Callable[..., Iterator[Hypothesis]],
    sample: Sample,
    chain: Sequence[Intermediate],
    held: Sequence[tuple[str, np.ndarray]],
    context: Context,
) -> Iterator[Cause]:
    """Causes of one kind: `hypotheses` about one cotangent, or `pairs`, other residuals."""
    known = terms(chain, held)
    spent = tried = 0
    for late, at in enumerate(distinct(chain)):
        u = chain[at]
        test = _Test(u, sample, context, 1e-3 * late)
        if not test.leaves:
            continue
        with np.errstate(all="ignore"):
            if made is hypotheses:
                yield from test.overwritten()
            for batch in _batches(made(at, chain, known), u):
                spent, tried = spent + len(batch) * u.jacobian.size, tried + len(batch)
                if spent > MAX_WORK or tried > MAX_HYPOTHESES:
                    return
                yield from test.run(batch)


def distinct(chain: Sequence[Intermediate]) -> list[int]:
    """The positions that something flows through, once each: not a scalar's every rescaling."""
    kept, seen = [], set()
    for at, u in enumerate(chain):
        if not (u.moves and u.cotangent.any()):
            continue
        if not (np.isfinite(u.cotangent).all() and np.isfinite(u.jacobian).all()):
            continue
        through = u.cotangent.ravel() @ u.jacobian
        size = np.max(np.abs(through))
        if not size:
            continue
        unit = np.max(np.abs(u.cotangent)) if u.value.size == 1 else 1.0
        flow = np.round(u.cotangent / unit, 12).tobytes()
        shape = u.value.shape if u.value.size > 1 else ()
        key = (shape, np.round(through / size, 9).tobytes(), flow)
        if key not in seen:
            seen.add(key)
            kept.append(at)
    return kept


def _batches(made: Iterator[Hypothesis], u: Intermediate) -> Iterator[list[Hypothesis]]:
    batch: list[Hypothesis] = []
    for hypothesis in made:
        if np.isfinite(hypothesis.cotangent).all():
            batch.append(hypothesis)
        if len(batch) * u.value.size >= BATCH or len(batch) >= MOST_IN_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class _Test:
    """Hypotheses for one u against every wrong leaf that u can reach."""

    def __init__(self, u: Intermediate, sample: Sample, context: Context, worse: float) -> None:
        hand, truth, leaf_of, wrong = sample
        self.u, self.context, self.worse = u, context, worse
        through = u.cotangent.ravel() @ u.jacobian
        self.hand = hand
        self.excess, self.wanted = hand - truth, hand - truth + through
        self.scale = np.abs(hand) + np.abs(truth) + np.abs(through)
        self.leaves = [
            (number, columns) for number in wrong
            if u.jacobian[:, (columns := np.flatnonzero(leaf_of == number))].any()
        ]  # fmt: skip

    def run(self, batch: list[Hypothesis]) -> Iterator[Cause]:
        given = np.stack([c.cotangent.ravel() for c in batch]) @ self.u.jacobian
        added = np.array([[c.added] for c in batch])
        for number, columns in self.leaves:
            wanted, offered = self.wanted[columns], given[:, columns]
            slack = 1e-9 * np.abs(wanted) + 1e-12 * np.max(self.scale[columns])
            if np.all(np.abs(wanted) <= slack):
                words = f"the paths through {self.u.name} forgotten, as if it were a constant"
                yield Cause(20 + self.worse, words, number, len(columns), len(columns) == 1)
                continue
            targets = np.where(added, self.excess[columns], wanted)
            ratios = np.sum(offered * targets, axis=1) / np.sum(offered * offered, axis=1)
            fits = np.all(np.abs(targets - ratios[:, None] * offered) <= slack, axis=1)
            # of what only adds to the truth, the zeros are no evidence
            counts = np.where(added[:, 0], np.sum(np.abs(targets) > slack, axis=1), len(columns))
            for i in np.flatnonzero(fits):
                yield from self.finding(batch[i], float(ratios[i]), number, int(counts[i]))
            yield from self._alone(batch, offered, number, columns, slack)

    def overwritten(self) -> Iterator[Cause]:
        """Of all entries of u that reach one coordinate only the last, or the first, counts."""
        shares = self.u.cotangent.ravel()[:, None] * self.u.jacobian
        reach, every = shares != 0, np.arange(shares.shape[1])
        if len(shares) < 2 or not np.any(reach.sum(axis=0) > 1):
            return
        last = len(shares) - 1 - np.argmax(reach[::-1], axis=0)
        for entries, which in ((last, "last"), (np.argmax(reach, axis=0), "first")):
            offered = shares[entries, every]
            for number, columns in self.leaves:
                wanted = self.wanted[columns]
                slack = 1e-9 * np.abs(wanted) + 1e-12 * np.max(self.scale[columns])
                if np.all(np.abs(wanted - offered[columns]) <= slack):
                    words = f"where entries of {self.u.name} meet in one coordinate only the"
                    words += f" {which} counts: overwritten, not added"
                    yield Cause(24 + self.worse, words, number, len(columns), len(columns) == 1)

    def _alone(
        self,
        batch: list[Hypothesis],
        offered: np.ndarray,
        number: int,
        columns: np.ndarray,
        slack: np.ndarray,
    ) -> Iterator[Cause]:
        """Hypotheses that make up hand by themselves: no other path has been followed."""
        hand = self.hand[columns]
        if not hand.any() or len(columns) < 2:
            return
        for i in np.flatnonzero(np.all(np.abs(hand - offered) <= slack, axis=1)):
            words = f"{batch[i].words}; the other paths are forgotten"
            if not batch[i].added and not batch[i].free_scale:
                yield Cause(batch[i].cost + 3 + self.worse, words, number, len(columns))

    def finding(self, c: Hypothesis, ratio: float, number: int, count: int) -> Iterator[Cause]:
        cost, words, free = c.cost + self.worse, c.words, int(count == 1)
        natural = {1.0, 1 / self.u.value.size, 1 / self.u.value.shape[0]} if c.free_scale else {1.0}
        if any(is_exactly(ratio, k) for k in natural):
            if c.cotangent is self.u.cotangent:
                return
        elif c.free_scale and any(is_exactly(-ratio, k) for k in natural):
            words += ", with a minus"
        elif named := name_ratio(ratio, self.context):
            cost, words = cost + named[0], f"{words}: {named[1]}"
        elif c.free_scale and count > 2:
            cost, words, free = cost + 6, f"{words}, times {ratio:.6g}", 1
        else:
            return
        yield Cause(cost, words, number, count, free)
