"""Mistakes in the middle of a chain: what stands in hand where the cotangent of u should be.

The paths through an intermediate u give Jᵤᵀ L′(u) to the gradient. With every other path right,
hand − truth + Jᵤᵀ L′(u) is Jᵤᵀ c for the wrong c that was used, and c is looked for among

    0                     the path through u was forgotten
    k L′(u)               counted twice, or with the wrong sign
    L′(u) s               an extra, or a missing, factor s
    L′(v) s               a wrong derivative on the way from u to a later v
    p ± q, p q            another residual altogether

where s, p and q are made of the loss's own values. A candidate must give every coordinate.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from handgrad.verify.bases import bases
from handgrad.verify.candidates import Candidate, candidates, pairs, repeats
from handgrad.verify.intermediates import Point
from handgrad.verify.naming import Surroundings, is_exactly, name_ratio
from handgrad.verify.relations import Finding

MAX_WORK = 3_000_000_000
"""Multiplications spent on candidates, in all: a few seconds."""
BATCH = 2_000_000


class Evidence(NamedTuple):
    """The two gradients on chosen coordinates, and the leaf that each coordinate belongs to."""

    hand: np.ndarray
    truth: np.ndarray
    leaf_of: np.ndarray
    wrong: Sequence[int]


def chain_findings(
    seen: Evidence,
    points: Sequence[Point],
    integers: Sequence[tuple[str, np.ndarray]],
    around: Surroundings,
) -> Iterator[list[Finding]]:
    """Findings in two rounds: mistakes about one cotangent, then other residuals altogether."""
    known = bases(points, integers)
    places = distinct(points)
    spent = 0
    for made in (candidates, pairs):
        found: list[Finding] = []
        for late, at in enumerate(places):
            u = points[at]
            test = _Test(u, seen, around, 1e-3 * late)
            if not test.leaves:
                continue
            with np.errstate(all="ignore"):
                if made is candidates:
                    found += [f for b in _batches(repeats(u, integers), u) for f in test.run(b)]
                for batch in _batches(made(at, points, known), u):
                    spent += len(batch) * u.jacobian.size
                    if spent > MAX_WORK:
                        break
                    found += test.run(batch)
        yield found


def distinct(points: Sequence[Point]) -> list[int]:
    """The points that something flows through, once each: not a scalar's every rescaling."""
    kept, seen = [], set()
    for at, u in enumerate(points):
        if not (u.moves and u.cotangent.any()):
            continue
        through = u.cotangent.ravel() @ u.jacobian
        size = np.max(np.abs(through))
        key = (
            (u.value.shape if u.value.size > 1 else (), np.round(through / size, 9).tobytes())
            if size
            else None
        )
        unit = np.max(np.abs(u.cotangent)) if u.value.size == 1 else 1.0
        flow = np.round(u.cotangent / unit, 12).tobytes()
        if key is not None and (key, flow) not in seen:
            seen.add((key, flow))
            kept.append(at)
    return kept


def _batches(made: Iterator[Candidate], u: Point) -> Iterator[list[Candidate]]:
    batch: list[Candidate] = []
    for candidate in made:
        if np.isfinite(candidate.cotangent).all():
            batch.append(candidate)
        if len(batch) * u.value.size >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class _Test:
    """Candidates for one u against every wrong leaf that u can reach."""

    def __init__(self, u: Point, seen: Evidence, around: Surroundings, worse: float) -> None:
        hand, truth, leaf_of, wrong = seen
        self.u, self.around, self.worse = u, around, worse
        through = u.cotangent.ravel() @ u.jacobian
        self.excess, self.wanted = hand - truth, hand - truth + through
        self.scale = np.abs(hand) + np.abs(truth) + np.abs(through)
        self.leaves = [
            (number, columns) for number in wrong
            if u.jacobian[:, (columns := np.flatnonzero(leaf_of == number))].any()
        ]  # fmt: skip

    def run(self, batch: list[Candidate]) -> Iterator[Finding]:
        given = np.stack([c.cotangent.ravel() for c in batch]) @ self.u.jacobian
        added = np.array([[c.added] for c in batch])
        for number, columns in self.leaves:
            wanted, offered = self.wanted[columns], given[:, columns]
            slack = 1e-9 * np.abs(wanted) + 1e-12 * np.max(self.scale[columns])
            if np.all(np.abs(wanted) <= slack):
                words = f"the paths through {self.u.name} forgotten, as if it were a constant"
                yield Finding(20 + self.worse, words, number, len(columns))
                continue
            targets = np.where(added, self.excess[columns], wanted)
            ratios = np.sum(offered * targets, axis=1) / np.sum(offered * offered, axis=1)
            fits = np.all(np.abs(targets - ratios[:, None] * offered) <= slack, axis=1)
            for i in np.flatnonzero(fits):
                yield from self.finding(batch[i], float(ratios[i]), number, len(columns))

    def finding(self, c: Candidate, ratio: float, number: int, count: int) -> Iterator[Finding]:
        cost, words, free = c.cost + self.worse, c.words, 0
        natural = {1.0, 1 / self.u.value.size, 1 / self.u.value.shape[0]} if c.free_scale else {1.0}
        if any(is_exactly(ratio, k) for k in natural):
            if c.cotangent is self.u.cotangent:
                return
        elif c.free_scale and any(is_exactly(-ratio, k) for k in natural):
            words += ", with a minus"
        elif named := name_ratio(ratio, self.around):
            cost, words = cost + named[0], f"{words}: {named[1]}"
        elif c.free_scale and count > 2:
            cost, words, free = cost + 6, f"{words}, times {ratio:.6g}", 1
        else:
            return
        yield Finding(cost, words, number, count, free)
