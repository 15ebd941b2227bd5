"""What relates a wrong gradient to the right one, looking at one leaf's numbers only.

Each relation gives causes: a phrase, how far-fetched it is, and how many numbers it was free to
choose, so that nobody calls a fit an explanation unless more coordinates agree than that. Ratios
are put in words by what is known of the loss: sizes of axes, constants, arguments.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

DESCRIBED = 30.0
"""The cost of saying where a gradient is 0 and should not be, or should be and is not."""
ONLY_ONE = 70.0
"""The cost of saying that one coordinate differs: a description, for when there is no cause."""
# Exact relations between values rounded to float64 hold to a few ulp; what passes through sums
# loses some of that.
RELATIVE = 1e-9
EXACTLY = 1e-10
"""The relative difference up to which a number is another one that means something."""
PROBES = 8
"""Entries by which a shift is ruled out before all are compared."""


class Context(NamedTuple):
    """What the numbers in a relation may turn out to be."""

    sizes: Mapping[int, str]
    """Axis lengths and the axes that have them."""
    constants: frozenset[float]
    """Numbers written in the loss, and scalar arguments."""
    arrays: tuple[tuple[str, np.ndarray], ...]
    """The arguments, named."""
    held: frozenset[float] = frozenset()
    """Numbers that the loss holds: in its closure, its defaults, a partial."""


def close(a: np.ndarray, b: np.ndarray, relative: float = RELATIVE) -> np.ndarray:
    """Whether two arrays agree, coordinate by coordinate; rounding is relative to the largest."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.maximum(np.abs(a), np.abs(b))
        finite = size[np.isfinite(size)]
        gap = np.abs(a - b)
        return np.isfinite(gap) & (
            gap <= relative * size + 1e-13 * (finite.max() if finite.size else 0.0)
        )


def is_exactly(a: float, b: float) -> bool:
    """Whether two numbers are one, up to rounding."""
    return math.isfinite(b) and abs(a - b) <= EXACTLY * abs(b)


def format_ratio(ratio: float, digits: int = 6) -> str:
    """A ratio with some digits, or its distance to 1 where the digits would hide it.

    >>> format_ratio(1.5), format_ratio(1 - 2**-40)
    ('1.5', '1 − 9.1e-13')
    """
    beside = ratio - 1
    if 0 < abs(beside) < 0.5 * 10.0 ** (1 - digits):
        return f"1 {'+' if beside > 0 else '−'} {abs(beside):.2g}"
    return f"{ratio:.{digits}g}"


def name_ratio(ratio: float, context: Context) -> tuple[float, str] | None:
    """What a ratio hand : truth says, with its cost; None for a number that means nothing here."""
    if not math.isfinite(ratio) or ratio == 0:
        return None
    if is_exactly(ratio, -1):
        return 1, "sign flipped (ratio −1)"
    sizes, numbers = tuple(context.sizes.items()), context.constants | context.held
    values, meanings = _named_ratios(sizes, numbers)
    same = np.flatnonzero(np.abs(values - abs(ratio)) <= EXACTLY * values)
    if not len(same):
        return None
    cost, words = meanings[same[0]]
    if ratio < 0:
        return cost + 2, f"sign flipped, and {words.replace('(ratio ', '(ratio −')}"
    return cost, words


@functools.lru_cache(maxsize=64)
def _named_ratios(
    sizes: tuple[tuple[int, str], ...], numbers: frozenset[float]
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Ratios above 0 that mean something, the simplest first, and their costs with the words."""
    found = [
        (2.0, 1, "twice too large (ratio 2)"),
        (0.5, 1, "half of what it should be (ratio 1/2)"),
    ]
    for n, axes in sizes:
        words = f"{n} times too large, {n} being {axes}: a mean forgotten (ratio {n})"
        found.append((n, 2, words))
        words = f"{n} times too small, {n} being {axes}: divided once too often (ratio 1/{n})"
        found.append((1 / n, 2, words))
    for c in sorted(numbers, reverse=True):
        words = f"the factor {c:.6g} of the loss forgotten (ratio {1 / c:.6g})"
        inverse = f"the factor 1/{c:.6g} of the loss forgotten (ratio {c:.6g})"
        found += [(1 / c, 3, words), (c, 3, inverse)]
    for n, axes in sizes:
        for power, factor in ((0.5, f"√{n}"), (-0.5, f"1/√{n}"), (2, f"{n}²"), (-2, f"1/{n}²")):
            words = f"a factor {factor} too much, {n} being {axes} (ratio {n**power:.6g})"
            found += [(n**power, 4, words)] if n > 2 else []
        for a, b in ((n - 1, n), (n, n - 1)) if n > 2 else ():
            words = f"a mean over the wrong count: divided by {a} in place of {b} (ratio {b}/{a})"
            found.append((b / a, 4, words))
        for other, others in sizes:
            words = f"divided by {other} ({others}) in place of {n} ({axes}) (ratio {n}/{other})"
            if n != other:
                found.append((n / other, 5, f"a mean over the wrong count: {words}"))
    found = [entry for entry in found if math.isfinite(entry[0])]
    return np.array([value for value, *_ in found]), [(cost, words) for _, cost, words in found]


# --- relations ------------------------------------------------------------------------------------


class ComparedLeaf(NamedTuple):
    """One leaf of the gradient: its name, the two gradients, and the value it was taken at."""

    name: str
    hand: np.ndarray
    truth: np.ndarray
    value: np.ndarray
    unknown: np.ndarray
    """Where there is no truth, as at a kink: both gradients are 0 there."""

    @classmethod
    def of(cls, name: str, hand: Any, truth: Any, value: Any) -> "ComparedLeaf":
        """A leaf, with 0 for both where the truth is NaN, or both are the same infinity."""
        own, true, at = (np.asarray(a, np.float64) for a in (hand, truth, value))
        unknown = np.isnan(true) | (np.isinf(true) & (own == true))
        return cls(name, np.where(unknown, 0.0, own), np.where(unknown, 0.0, true), at, unknown)

    @property
    def differs(self) -> np.ndarray:
        """Where hand is not truth, coordinate by coordinate; NaN always differs."""
        return ~close(self.hand, self.truth, 1e-11)

    @property
    def error(self) -> float:
        """The largest relative error; infinite for NaN and where the truth is 0."""
        wrong = self.differs
        if not wrong.any():
            return 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            errors = np.abs(self.hand - self.truth)[wrong] / np.abs(self.truth[wrong])
        return float(np.max(np.nan_to_num(errors, nan=math.inf)))


def wrong_leaves(leaves: Sequence[ComparedLeaf]) -> list[int]:
    """The positions of the leaves that differ."""
    return [i for i, leaf in enumerate(leaves) if leaf.differs.any()]


class Cause(NamedTuple):
    """A cause that fits one leaf: `cost` orders causes from simple to far-fetched."""

    cost: float
    phrase: str
    leaf: int
    coordinates: int
    parameters: int = 0
    descriptive: bool = False
    """Whether it only tells what is to be seen, and need not hold anywhere else."""


def place(index: tuple[int, ...] | np.ndarray) -> str:
    """A coordinate as written after an array's name: [2, 1]; nothing for a scalar."""
    return f"[{', '.join(str(int(i)) for i in index)}]" if len(index) else ""


def relations(number: int, leaf: ComparedLeaf, context: Context) -> Iterator[Cause]:
    """Every relation that holds on a leaf that differs."""
    size = leaf.hand.size
    bad = np.argwhere(~np.isfinite(leaf.hand))
    if len(bad):
        kind = "NaN" if np.isnan(leaf.hand[tuple(bad[0])]) else "an infinity"
        words = f"{kind} at {place(bad[0]) or 'its value'}"
        yield Cause(0, words, number, size, descriptive=True)
        return
    if np.max(np.abs(leaf.hand)) <= 1e-13 * np.max(np.abs(leaf.truth)):
        yield Cause(0, "forgotten: zero where the truth is not", number, size)
        return
    for cost, phrase, parameters in (
        *_scaled(leaf, context), *_moved(leaf), *_linear(leaf, context), *_summed(leaf),
        *_limited(leaf), *_floored(leaf, context),
    ):  # fmt: skip
        yield Cause(cost, phrase, number, size, parameters)
    for cost, phrase, parameters in _few(leaf):
        yield Cause(cost, phrase, number, size, parameters, descriptive=True)
    yield from only_one(number, leaf)
    yield from _on_a_block(number, leaf, context)


_Relation = Iterator[tuple[float, str, int]]


def _scaled(leaf: ComparedLeaf, context: Context) -> _Relation:
    wrong = leaf.differs
    hand, truth = leaf.hand[wrong], leaf.truth[wrong]
    if np.any(truth == 0):
        return
    ratio = float(hand[np.argmax(np.abs(truth))] / truth[np.argmax(np.abs(truth))])
    if not close(hand, ratio * truth).all():
        return
    right = wrong.size - np.count_nonzero(wrong) - np.count_nonzero(leaf.truth[~wrong] == 0)
    where, worse = "", 0.0
    if right:
        first = place(np.argwhere(wrong)[0])
        many = f"{len(hand)} of {wrong.size} coordinates, the first {first}"
        where, worse = f" at {first} only" if len(hand) == 1 else f" at {many}", 5.0
    named = name_ratio(ratio, context)
    if named:
        yield named[0] + worse, named[1] + where, 0
    elif is_exactly(abs(ratio) * float(np.linalg.norm(leaf.truth)), 1.0):
        yield 9, "divided by its own norm", 0
    elif not right:
        yield 12, f"a constant factor {ratio:.8g}", 1


def _moved(leaf: ComparedLeaf) -> _Relation:
    """Axes exchanged, reversed or rolled: told by numbers of which most are different."""
    hand, truth = leaf.hand, leaf.truth
    size = np.max(np.abs(truth), initial=0.0)
    if size == 0 or len(np.unique(np.round(truth / size, 9))) < min(4, truth.size):
        return
    for axes in list(permutations(range(hand.ndim)))[1:] if hand.ndim < 5 else ():
        turned = np.transpose(truth, axes)
        if turned.shape == hand.shape and close(hand, turned).all():
            yield 5, "transposed", 0
        elif turned.shape != hand.shape and close(hand.ravel(), turned.ravel()).all():
            yield 6, "transposed and then reshaped", 0
    for axis in range(hand.ndim):
        if close(hand, np.flip(truth, axis)).all():
            yield 6, f"reversed along axis {axis}", 0
        n = hand.shape[axis]
        for steps in _possible_shifts(hand, truth, axis):
            if close(hand, np.roll(truth, steps, axis)).all():
                by = steps if steps <= n // 2 else steps - n
                yield 6 + min(steps, n - steps) / n, f"shifted by {by} along axis {axis}", 0
    if hand.size > 2 and close(np.sort(hand, None), np.sort(truth, None)).all():
        yield 9, "the right numbers at the wrong coordinates", 0


def _possible_shifts(hand: np.ndarray, truth: np.ndarray, axis: int) -> list[int]:
    """The shifts of truth along an axis, short ones first, that a few entries of hand allow."""
    n = hand.shape[axis]
    own, true = (np.moveaxis(a, axis, 0).reshape(n, -1) for a in (hand, truth))
    size = max(np.max(np.abs(own)), np.max(np.abs(true)))
    steps = np.array(sorted(range(1, n), key=lambda k: min(k, n - k)), dtype=int)
    largest = np.argsort(-np.max(np.abs(own), axis=1))[:PROBES]
    for probe in (*largest, *range(0, n, -(-n // PROBES))):
        there = true[(probe - steps) % n]
        allowed = RELATIVE * np.maximum(np.abs(own[probe]), np.abs(there)) + 1e-13 * size
        steps = steps[np.all(np.abs(own[probe] - there) <= allowed, axis=1)]
    return steps.tolist()


def _linear(leaf: ComparedLeaf, context: Context) -> _Relation:
    """hand = truth + c, + λw, + λ sign w, or a named multiple of the rest of truth."""
    excess = leaf.hand - leaf.truth
    flat = excess.ravel()
    wrong = leaf.differs.ravel()
    if np.count_nonzero(wrong) > 1 and close(flat[wrong], flat[wrong][:1]).all():
        many = "" if wrong.all() else f" at {np.count_nonzero(wrong)} of {wrong.size} coordinates"
        named = any(is_exactly(abs(float(flat[wrong][0])), c) for c in context.constants)
        cost = 7.0 + 15 * bool(many) + 19 * (not named)
        yield cost, f"an additive constant {flat[wrong][0]:.8g}{many}", 1
    terms = [("w", leaf.value)]
    terms += [(name, a) for name, a in context.arrays if a.shape == leaf.value.shape]
    for name, term in terms:
        cost = 6.5 if name == "w" else 10
        if term.any() and (factor := _multiple(excess, term)) is not None:
            words, known = _name_decay(factor, name, context)
            yield cost + 18 * (not known), words, 0 if known and leaf.hand.size > 1 else 1
    signs = np.sign(leaf.value)
    if np.ptp(signs) and (factor := _multiple(excess, signs)) is not None:
        words, known = _name_decay(factor, "sign w", context)
        yield 8, words, 0 if known else 1
    yield from _scaled_but_decay(leaf, context)


def _multiple(a: np.ndarray, b: np.ndarray) -> float | None:
    top = np.unravel_index(np.argmax(np.abs(b)), b.shape)
    factor = float(a[top] / b[top])
    return factor if factor and close(a, factor * b, 1e-8).all() else None


def _name_decay(factor: float, name: str, context: Context) -> tuple[str, bool]:
    """The phrase for an extra λ·name, and whether λ is made of numbers the loss has."""
    size, made_of = abs(factor), ""
    known = any(is_exactly(size, k * c) for c in context.constants for k in (1, 2, 0.5))
    for n, axes in context.sizes.items():
        for c in context.constants:
            for k in (1, 2, 0.5):
                if not known and not made_of and is_exactly(size, k * c / n):
                    made_of = f" = {k * c:.6g}/{n}, {n} being {axes}"
    what = "weight decay" if name in ("w", "sign w") else "a multiple of an argument"
    words = (
        f"a linear term λ·{name} is missing, λ = {size:.8g}{made_of} ({what} forgotten)"
        if factor < 0
        else f"an extra linear term λ·{name}, λ = {size:.8g}{made_of} ({what} added, or twice)"
    )
    return words, known or bool(made_of)


def _scaled_but_decay(leaf: ComparedLeaf, context: Context) -> _Relation:
    """hand = c·(truth − λw) + λw, the data's share scaled and the penalty's right."""
    w, t, h = leaf.value.ravel(), leaf.truth.ravel(), leaf.hand.ravel()
    if w.size < 3 or not w.any() or not np.isfinite([w, t, h]).all():
        return
    (c, rest), *_ = np.linalg.lstsq(np.stack([t, w], 1), h, rcond=None)
    if not close(h, c * t + rest * w).all() or is_exactly(c, 1) or abs(rest) < 1e-8:
        return
    if named := name_ratio(float(f"{c:.11g}"), context):
        yield 9, f"but for a linear term {rest / (1 - c):.6g}·w, which is right: {named[1]}", 2


def _summed(leaf: ComparedLeaf) -> _Relation:
    """Every entry along an axis holds the sum, or the mean, over it."""
    for axis in (None, *range(leaf.truth.ndim)):
        if leaf.truth.ndim == 0 or (axis is None and leaf.truth.ndim == 1):
            continue
        total = np.sum(leaf.truth, axis=axis, keepdims=True)
        n = leaf.truth.size // total.size
        words = "everything" if axis is None else f"axis {axis}"
        slack = 1e-12 * np.max(np.abs(leaf.truth))
        if n > 1 and np.all(np.abs(leaf.hand - total) <= slack):
            yield 6, f"summed over {words} and broadcast again", 0
        if n > 1 and np.all(np.abs(leaf.hand - total / n) <= slack):
            yield 6, f"averaged over {words} and broadcast again", 0


def _limited(leaf: ComparedLeaf) -> _Relation:
    wrong = leaf.differs
    bound = float(np.max(np.abs(leaf.hand)))
    if close(leaf.hand, np.clip(leaf.truth, -bound, bound)).all() and np.count_nonzero(wrong) > 1:
        yield 9, f"clipped at ±{bound:.6g}", 1
    if close(leaf.hand, np.abs(leaf.truth)).all():
        yield 5.5, "the absolute value of the truth", 0
    if close(leaf.hand, np.sign(leaf.truth)).all():
        yield 8, "only the sign of the truth", int(leaf.hand.size == 1)


def _floored(leaf: ComparedLeaf, context: Context) -> _Relation:
    """One size, made of a power of ten, where the truth is smaller: a floor for a probability."""
    wrong = leaf.differs
    hand, truth = np.abs(leaf.hand[wrong]), np.abs(leaf.truth[wrong])
    if len(hand) < 2 or not close(hand, hand[:1]).all() or not np.all(truth < hand):
        return
    for n, axes in ((1, ""), *context.sizes.items()):
        power = round(math.log10(n * float(hand[0])))
        if power <= -3 and close(n * hand, np.full_like(hand, 10.0**power)).all():
            count = f"/{n}, {n} being {axes}," if axes else ""
            where = f" at {len(hand)} of {wrong.size} coordinates"
            yield 8, f"clipped at 1e{power:03d}{count} where the truth is nearer to 0{where}", 0


def _on_a_block(number: int, leaf: ComparedLeaf, context: Context) -> Iterator[Cause]:
    """The relations that hold on a part of a leaf into which several things are packed."""
    where = np.flatnonzero(leaf.differs)
    start, stop = int(where[0]), int(where[-1]) + 1
    if leaf.hand.ndim != 1 or not 1 < len(where) == stop - start < leaf.hand.size:
        return
    block = ComparedLeaf(leaf.name, *(a[start:stop] for a in leaf[1:]))
    linear = _linear(block, context) if block.truth.any() else ()
    for cost, phrase, parameters in (*_scaled(block, context), *_moved(block), *linear):
        words = f"{leaf.name}[{start}:{stop}]: {phrase}"
        yield Cause(cost + 3, words, number, len(where), parameters)


def only_one(number: int, leaf: ComparedLeaf) -> Iterator[Cause]:
    """That a single coordinate of several differs, if it is so."""
    where = np.argwhere(leaf.differs)
    if len(where) == 1 and leaf.hand.size > 1:
        words = f"only coordinate {place(where[0])} differs{_against(leaf, tuple(where[0]))}"
        yield Cause(ONLY_ONE, words, number, leaf.hand.size, descriptive=True)


def _few(leaf: ComparedLeaf) -> _Relation:
    """Last resorts: one row, or zeros."""
    wrong = leaf.differs
    where = np.argwhere(wrong)
    cost, count = DESCRIBED if len(where) > 1 else 80, f"{len(where)} of {wrong.size} coordinates"
    if not leaf.hand[wrong].any():
        yield cost, f"zero at {count}, first {place(where[0])}", 0
    if not leaf.truth[wrong].any():
        first = f" at {place(where[0])}" if wrong.ndim else ""
        yield cost, f"not zero{first}, where the truth is: {len(where)} in all", 0
    for axis in range(leaf.hand.ndim) if len(where) > 1 else ():
        rows = np.unique(where[:, axis])
        if len(rows) == 1 < leaf.hand.shape[axis] and leaf.hand.ndim > 1:
            yield 90, f"only entries {rows[0]} along axis {axis} differ", 0


def _against(leaf: ComparedLeaf, at: tuple[int, ...]) -> str:
    hand, truth = float(leaf.hand[at]), float(leaf.truth[at])
    if truth and not hand:
        return f": zero in place of {truth:.9g}"
    if not truth:
        return f": {hand:.9g} in place of 0"
    named = name_ratio(hand / truth, Context({}, frozenset(), ()))
    return f": {named[1] if named else 'ratio ' + format_ratio(hand / truth, 9)}"
