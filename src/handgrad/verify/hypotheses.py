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

import numpy as np

from handgrad.verify.candidates import Candidate, bases, candidates, pairs, repeats
from handgrad.verify.intermediates import Point
from handgrad.verify.naming import Surroundings, name_ratio
from handgrad.verify.relations import Finding

MAX_WORK = 3_000_000_000
"""Multiplications spent on candidates, in all: a few seconds."""
BATCH = 2_000_000


def chain_findings(
    hand: np.ndarray,
    truth: np.ndarray,
    leaf_of: np.ndarray,
    wrong: Sequence[int],
    points: Sequence[Point],
    integers: Sequence[tuple[str, np.ndarray]],
    around: Surroundings,
) -> Iterator[Finding]:
    """Findings about the coordinates for which the points' Jacobians were taken."""
    known = bases(points, integers)
    cut = [p for p in points if p.moves and p.cotangent.any()]
    spent = 0
    for source in (candidates, None, pairs):
        for u in cut:
            test = _Test(u, hand, truth, leaf_of, wrong, around)
            if source is None:
                made = repeats(u, integers)
            else:
                made = candidates(u, points, known) if source is candidates else pairs(u, known)
            with np.errstate(all="ignore"):
                for batch in _batches(made, u.value.size):
                    spent += len(batch) * u.jacobian.size
                    if spent > MAX_WORK:
                        return
                    yield from test.run(batch)


def _batches(made: Iterator[Candidate], size: int) -> Iterator[list[Candidate]]:
    batch: list[Candidate] = []
    for candidate in made:
        if np.isfinite(candidate.cotangent).all():
            batch.append(candidate)
        if len(batch) * size >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class _Test:
    """Candidates for one u against every wrong leaf that u can reach."""

    def __init__(self, u, hand, truth, leaf_of, wrong, around) -> None:  # type: ignore[no-untyped-def]
        self.u, self.around = u, around
        through = u.cotangent.ravel() @ u.jacobian
        self.wanted = hand - truth + through
        self.scale = np.abs(hand) + np.abs(truth) + np.abs(through)
        self.leaves = [
            (number, columns) for number in wrong
            if u.jacobian[:, (columns := np.flatnonzero(leaf_of == number))].any()
        ]  # fmt: skip

    def run(self, batch: list[Candidate]) -> Iterator[Finding]:
        given = np.stack([c.cotangent.ravel() for c in batch]) @ self.u.jacobian
        for number, columns in self.leaves:
            wanted, offered = self.wanted[columns], given[:, columns]
            slack = 1e-9 * np.abs(wanted) + 1e-12 * np.max(self.scale[columns])
            if np.all(np.abs(wanted) <= slack):
                words = f"the paths through {self.u.name} forgotten, as if it were a constant"
                yield Finding(20, words, number, len(columns))
                continue
            ratios = offered @ wanted / np.sum(offered * offered, axis=1)
            fits = np.all(np.abs(wanted - ratios[:, None] * offered) <= slack, axis=1)
            for i in np.flatnonzero(fits):
                yield from self.finding(batch[i], float(ratios[i]), number, len(columns))

    def finding(self, c: Candidate, ratio: float, number: int, count: int) -> Iterator[Finding]:
        named = name_ratio(ratio, self.around)
        if abs(ratio - 1) < 1e-9:
            if c.cotangent is not self.u.cotangent:
                yield Finding(c.cost, c.words, number, count)
        elif named:
            yield Finding(c.cost + named[0], f"{c.words}: {named[1]}", number, count)
        elif c.free_scale and count > 2:
            yield Finding(c.cost + 6, f"{c.words}, times {ratio:.6g}", number, count, 1)
