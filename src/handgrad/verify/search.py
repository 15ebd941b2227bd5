"""The search for bad inputs: many points, judged quickly, the most suspicious handed on.

Points are varied in bit space, in the differentiated leaves only; each generation mutates the most
suspicious of the last. What makes a point suspicious is cheap: in a narrow dtype, the error against
hand and autodiff in float64 (the nearer of the two, so that a better form is not held against);
in float64, how far the two are apart. Both are divided by one ulp plus what moving the point by
half an ulp does. The verdict on the suspects is spoken elsewhere, in exact arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from handgrad._precision import x64
from handgrad.verify.bits import first_generation, mutate
from handgrad.verify.layout import Layout, rounded
from handgrad.verify.passage import with_passage
from handgrad.verify.ulp import ulp, ulp_error

GENERATIONS = 8
PARENTS = 16
MOST_SHRUNK = 40
"""How many coordinates are made simpler at most."""
MODEST = 3
"""How many points where one is not finite are handed on: the modest ones."""
MOST_NUMBERS = 2**22
"""How many numbers one generation may hold: fewer points are tried where each is large."""


@dataclass(frozen=True)
class Suspects:
    """Rows worth an exact look, by whom they speak against, and how many were tried."""

    hand: np.ndarray
    autodiff: np.ndarray
    algebra: np.ndarray
    failing: np.ndarray
    evaluations: int

    @property
    def rows(self) -> tuple[np.ndarray, ...]:
        """All of them, by what they are suspected of."""
        return self.hand, self.autodiff, self.algebra, self.failing

    @classmethod
    def none(cls, base: np.ndarray) -> "Suspects":
        """No search: nobody is suspected."""
        empty = base[None, :][:0]
        return cls(empty, empty, empty, empty, 0)


class Field:
    """Hand, autodiff and the loss compiled once a dtype, for many points a call.

    Points go through `lax.map`, one after the other, so that the arithmetic is that of one jitted
    call, and not what `vmap` would make of it.
    """

    def __init__(self, hand: Callable, auto: Callable, of: Callable, layout: Layout, count: int):
        self.layout, self.count = layout, count

        def here(row: jax.Array, others: list) -> tuple[jax.Array, ...]:
            args = layout.args(layout.replaced(others, row))
            loss = with_passage(of)(*args) if row.dtype == np.float64 else (of(*args),)
            return _as_row(hand(*args)), _as_row(auto(*args)), *loss

        def everywhere(rows: jax.Array, others: list) -> tuple[jax.Array, ...]:
            return jax.lax.map(lambda row: here(row, others), rows)

        self.program = jax.jit(everywhere)

    def __call__(self, rows: np.ndarray, leaves: list, dtype: str) -> tuple[np.ndarray, ...]:
        """Hand, autodiff, the loss (in float64 its passage too) at every row, as float64."""
        padded = np.concatenate([rows, np.repeat(rows[:1], self.count - len(rows), axis=0)])
        with x64(dtype == "float64"):
            found = self.program(jnp.asarray(padded.astype(dtype)), rounded(leaves, dtype))
            return tuple(np.asarray(part, np.float64)[: len(rows)] for part in found)


def _as_row(gradient: object) -> jax.Array:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(gradient)])


@dataclass(frozen=True)
class Ground:
    """Where a search takes place: the compiled field, and the other arguments, in one dtype."""

    field: Field
    leaves: list
    dtype: str


class Suspicion(NamedTuple):
    """What speaks against each row; more is worse."""

    hand: np.ndarray
    autodiff: np.ndarray
    algebra: np.ndarray
    """How far the two are apart, over the size of the gradient: rounding hardly shows there."""
    apart: np.ndarray
    """Rows that lead the loss through a number beyond the dtype's normal range."""
    failing: np.ndarray
    """Rows at which a witness is not finite."""


def suspicion(ground: Ground, rows: np.ndarray, rng: np.random.Generator) -> Suspicion:
    """How suspicious both are at each row; which rows the dtype cannot carry; where one fails.

    Rows that lead the loss through a number beyond the dtype's normal range are set apart.
    """
    dtype, narrow = ground.dtype, rounded(ground.leaves, ground.dtype)

    def at(rows: np.ndarray, dtype: str) -> tuple[np.ndarray, ...]:
        return ground.field(rows, narrow, dtype)

    with np.errstate(all="ignore"):
        hand, auto, loss, *passage = at(rows, dtype)
        wide_hand, wide_auto = hand, auto
        if dtype != "float64":
            wide_hand, wide_auto, _, *passage = at(rows, "float64")
        half = float(jnp.finfo(dtype).eps) / 2
        moved = rows.astype(np.float64) * (1 + rng.uniform(-half, half, rows.shape))
        _, moved_auto, *_ = at(moved, "float64")
        noise = np.abs(moved_auto - wide_auto)

        def excess(computed: np.ndarray, reference: np.ndarray) -> np.ndarray:
            tiny = float(jnp.finfo(dtype).tiny)
            error = ulp_error(computed, reference, dtype)
            error = np.where((np.abs(reference) < tiny) & (np.abs(computed) <= tiny), 0.0, error)
            spread = noise / ulp(np.where(np.isfinite(reference), reference, 1.0), dtype)
            return error / (1 + np.where(np.isfinite(spread), spread, 0.0))

        if dtype == "float64":
            against = excess(hand, auto)
            pair = (against, against)
        else:
            pair = tuple(
                np.fmin(excess(computed, wide_hand), excess(computed, wide_auto))
                for computed in (hand, auto)
            )
        info = jnp.finfo(dtype)
        overflow = ~(passage[1] <= float(info.max))
        apart = overflow | ~np.isfinite(loss) | (passage[0] < float(info.tiny))
        failing = ~overflow & ~(np.isfinite(hand).all(axis=1) & np.isfinite(auto).all(axis=1))
        scores = [np.where(apart, -1.0, np.nan_to_num(p, nan=np.inf).max(axis=1)) for p in pair]
        gap, size = np.abs(wide_hand - wide_auto).max(axis=1), np.abs(wide_auto).max(axis=1)
        algebra = np.where(apart | (size == 0), -1.0, np.nan_to_num(gap / size, nan=-1.0))
    return Suspicion(scores[0], scores[1], algebra, apart, failing)


def search(
    ground: Ground, base: np.ndarray, evaluations: int, keep: int, rng: np.random.Generator
) -> Suspects:
    """The `keep` most suspicious rows for each witness, after about `evaluations` points."""
    count = ground.field.count
    rows = first_generation(base, count, rng)
    pool, lost, tried = rows[:0], rows[:0], 0
    scores = [np.zeros(0)] * 3
    while tried < evaluations:
        found = suspicion(ground, rows, rng)
        tried += len(rows)
        lost = np.concatenate([lost, rows[found.failing]])
        lost = lost[np.argsort(np.abs(lost).max(axis=1), kind="stable")][:MODEST]
        pool = np.concatenate([pool, rows[~found.apart]])
        new = [score[~found.apart] for score in found[:3]]
        scores = [np.concatenate(pair) for pair in zip(scores, new, strict=True)]
        parents = np.concatenate([base[None, :], *(_top(pool, s, PARENTS) for s in scores)])
        rows = mutate(parents[rng.integers(0, len(parents), count)], base, rng)
    return Suspects(
        hand=_top(pool, scores[0], keep),
        autodiff=_top(pool, scores[1], keep),
        algebra=_top(pool, scores[2], max(1, keep // 2)),
        failing=lost,
        evaluations=tried,
    )


def _top(rows: np.ndarray, scores: np.ndarray, keep: int) -> np.ndarray:
    """The rows of highest score, each once."""
    order = np.argsort(-scores, kind="stable")
    seen: set[bytes] = set()
    chosen: list[np.ndarray] = []
    for index in order:
        if len(chosen) == keep:
            break
        if (mark := rows[index].tobytes()) not in seen:
            seen.add(mark)
            chosen.append(rows[index])
    return np.array(chosen, rows.dtype).reshape(-1, rows.shape[1])


def shrink(ground: Ground, row: np.ndarray, base: np.ndarray, against: int) -> np.ndarray:
    """A simpler row that is as suspicious of witness 0 (hand) or 1 (autodiff), to 1%.

    Each coordinate may become 0, 1, what it was in the point given, or a number of few bits. What
    is harmless alone is then tried together, for as many coordinates as stay harmless.
    """
    rng = np.random.default_rng(0)

    def suspicious(rows: np.ndarray) -> np.ndarray:
        chunks = [rows[i : i + ground.field.count] for i in range(0, len(rows), ground.field.count)]
        return np.concatenate([suspicion(ground, chunk, rng)[against] for chunk in chunks])

    target = 0.99 * suspicious(row[None, :])[0]
    if not target > 1:
        return row
    columns = np.arange(min(len(row), MOST_SHRUNK))
    trials, replaced = [], []
    for column in columns:
        few = (_few_bits(float(row[column]), bits) for bits in (3, 8))
        for simple in (0.0, 1.0, float(base[column]), *few):
            trial = row.copy()
            with np.errstate(over="ignore"):
                trial[column] = np.array(simple).astype(row.dtype)
            trials.append(trial)
            replaced.append(column)
    harmless = suspicious(np.stack(trials)) >= target
    simpler: dict[int, np.ndarray] = {}
    for column, trial, fine in zip(replaced, trials, harmless, strict=True):
        if fine:
            simpler.setdefault(int(column), trial[column])
    chosen = list(simpler)
    while chosen:
        trial = row.copy()
        trial[chosen] = np.array([simpler[c] for c in chosen], row.dtype)
        if suspicious(trial[None, :])[0] >= target:
            return trial
        chosen = chosen[: len(chosen) // 2]
    return row


def _few_bits(value: float, bits: int) -> float:
    if not np.isfinite(value):
        return value
    mantissa, exponent = np.frexp(value)
    with np.errstate(over="ignore"):
        return float(np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits))
