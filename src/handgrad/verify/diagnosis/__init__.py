"""The diagnosis: when a gradient is wrong as mathematics, which coordinate, and why.

The two gradients come rounded from balls, so a relation between them that is true holds to the
last digits, and one that holds by accident at a relative 1e-9 on every coordinate is not to be
expected. Relations between the numbers of a leaf come first, then mistakes inside the chain rule;
of all that fit, the simplest one that explains every wrong leaf is given.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from handgrad._precision import x64
from handgrad.verify.diagnosis.hypotheses import Sample, chain_causes, replaced_causes
from handgrad.verify.diagnosis.intermediates import (
    TracedLoss,
    constants_of,
    intermediates,
)
from handgrad.verify.diagnosis.relations import (
    Cause,
    ComparedLeaf,
    Context,
    close,
    format_ratio,
    only_one,
    relations,
)
from handgrad.verify.witnesses import Argnums, Layout, argument_names, is_float, named_leaves

CHAIN, OTHER_RESIDUALS = 20, 28
"""Costs from which mistakes in the chain, and then other residuals, are looked for besides."""
SMALL = 1e-8
"""Relative errors below this are no evidence for any relation: none is looked for."""
MOST_RATIOS = 6
CHOSEN = 128
"""Coordinates of the gradient on which mistakes inside the chain are looked for."""


def diagnose(
    of: Callable,
    at: tuple,
    argnums: Argnums,
    hand: Any,
    truth: Any,
    gradient: Callable | None = None,
) -> str | None:
    """The cause of a difference in one phrase, with the leaf or coordinate; None if none is found.

    `hand` and `truth` have the structure of `jax.grad(of, argnums)(*at)`, with float64 arrays;
    where the truth is NaN (at a kink) nothing is compared.

    >>> import jax.numpy as jnp
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> diagnose(lambda x: jnp.sum(x * x) / 3, (x,), 0, 2 * x, 2 * x / 3)
    '3 times too large, 3 being axis 0 of x: a mean forgotten (ratio 3)'
    """
    named = _arguments(at, argument_names(at, of, *([gradient] if gradient else [])))
    positions = Layout.of(at, argnums).argnums
    leaves = [_known(leaf) for leaf in _leaves(named, positions, hand, truth)]
    wrong = [i for i, leaf in enumerate(leaves) if leaf.differs.any()]
    if not wrong or not all(np.isfinite(leaf.truth).all() for leaf in leaves):
        return None
    if max(leaf.error for leaf in leaves) < SMALL:
        few = [cause for i in wrong for cause in only_one(i, leaves[i])]
        return few[0].phrase if len(wrong) == len(few) == 1 else None
    with x64():
        flat, tree = jax.tree.flatten(_as_float64(at))
        program = jax.make_jaxpr(lambda *leaves: of(*jax.tree.unflatten(tree, leaves)))(*flat)
    context = _context(named, program)
    causes = [cause for i in wrong for cause in relations(i, leaves[i], context)]
    causes += _swaps(leaves, wrong)
    simple = _explain(causes, leaves, wrong)
    if simple and simple.cost < CHAIN:
        return simple.words
    loss = TracedLoss(program, flat, [name for name, _ in named], positions)
    chosen = _choose(leaves)
    try:
        with x64():
            chain = intermediates(loss, chosen)
    except (TypeError, NotImplementedError):  # a primitive that cannot be pushed forward
        chain = []
    sample = Sample(
        hand=_at(chosen, [leaf.hand for leaf in leaves]),
        truth=_at(chosen, [leaf.truth for leaf in leaves]),
        leaf_of=np.repeat(np.arange(len(leaves)), [len(c) for c in chosen]),
        wrong=wrong,
    )
    integers = [(name, np.asarray(a)) for name, a in named if _is_index(a)]
    explained = simple
    for number, more in enumerate(chain_causes(sample, chain, integers, context) if chain else ()):
        causes += more
        explained = _explain(causes, leaves, wrong)
        if number == 0 and (not explained or math.isinf(explained.cost)):
            with x64():
                causes += replaced_causes(loss, chain, leaves, wrong)
            explained = _explain(causes, leaves, wrong)
        if explained and explained.cost < OTHER_RESIDUALS:
            break
    return explained.words if explained else None


def _at(chosen: list[np.ndarray], arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([a.ravel()[rows] for a, rows in zip(arrays, chosen, strict=True)])


def ratios(layout: Layout, hand: np.ndarray, truth: np.ndarray) -> str:
    """hand / truth by coordinate, where they differ: for when no cause is found.

    >>> ratios(Layout.of((np.ones(3),), 0, ["x"]), np.array([2.0, 3.0, 4.0]), np.array([1, 2, 4]))
    'no simple cause was found; gradient / truth: x[0] 2, x[1] 1.5'
    """
    wrong = np.flatnonzero(~close(hand, truth, 1e-14) & ~np.isnan(truth))
    with np.errstate(divide="ignore", invalid="ignore"):
        quotients = hand[wrong] / truth[wrong]
    parts = [
        f"{layout.coordinate(int(i))} {format_ratio(float(ratio))}"
        for i, ratio in zip(wrong[:MOST_RATIOS], quotients[:MOST_RATIOS], strict=True)
    ]
    more = f", and {len(wrong) - MOST_RATIOS} more" if len(wrong) > MOST_RATIOS else ""
    return f"no simple cause was found; gradient / truth: {', '.join(parts)}{more}"


# --- what is given --------------------------------------------------------------------------------


def _as_float64(at: tuple) -> tuple:
    return jax.tree.map(lambda a: np.asarray(a, np.float64) if is_float(a) else a, at)


def _is_index(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(leaf, "dtype", np.float64), np.integer)


def _leaves(
    named: list[tuple[str, Any]], positions: Sequence[int], hand: Any, truth: Any
) -> list[ComparedLeaf]:
    """The leaves of the gradient, by the names of the arguments."""
    return [
        ComparedLeaf(
            named[position][0],
            *(np.asarray(a, np.float64) for a in (own, true, named[position][1])),
        )
        for own, true, position in zip(
            jax.tree.leaves(hand), jax.tree.leaves(truth), positions, strict=True
        )
    ]


def _known(leaf: ComparedLeaf) -> ComparedLeaf:
    """The leaf with 0 for both where there is no truth, or both are the same infinity."""
    unknown = np.isnan(leaf.truth) | (np.isinf(leaf.truth) & (leaf.hand == leaf.truth))
    return leaf._replace(
        hand=np.where(unknown, 0.0, leaf.hand), truth=np.where(unknown, 0.0, leaf.truth)
    )


def _arguments(at: tuple, names: Sequence[str]) -> list[tuple[str, Any]]:
    """Every leaf of the arguments with the name its function gives it, as in `params.weight`."""
    return [
        (name + path, leaf)
        for name, argument in zip(names, at, strict=True)
        for path, leaf in named_leaves(argument)
    ]


def _context(named: list[tuple[str, Any]], program: Any) -> Context:
    sizes: dict[int, str] = {}
    arrays = [(name, np.asarray(a)) for name, a in named if is_float(a) or _is_index(a)]
    arrays.sort(key=lambda entry: "." in entry[0])  # data before parameters
    for name, a in arrays:
        for axis, n in enumerate(a.shape):
            if n > 1:
                sizes.setdefault(n, f"axis {axis} of {name}" if a.ndim > 1 else f"axis 0 of {name}")
    for name, a in arrays:
        if a.size > 1:
            sizes.setdefault(a.size, f"the size of {name}")
        if a.ndim and np.isin(a, (0, 1)).all() and np.sum(a) > 1:
            sizes.setdefault(int(np.sum(a)), f"the ones in {name}")
    scalars = {abs(float(a)) for _, a in arrays if a.ndim == 0 and a.dtype.kind == "f"}
    constants = (constants_of(program) | scalars) - {0.0, 1.0, 2.0, 0.5} - {float(n) for n in sizes}
    floats = tuple((name, a.astype(np.float64)) for name, a in arrays if a.dtype.kind == "f")
    return Context(sizes, frozenset(constants), floats)


def _choose(leaves: list[ComparedLeaf]) -> list[np.ndarray]:
    """Coordinates of each leaf, spread out, wrong ones among them."""
    share = max(4, CHOSEN // max(1, len(leaves)))
    chosen = []
    for leaf in leaves:
        wrong, spread = np.flatnonzero(leaf.differs), np.arange(leaf.hand.size)
        half = wrong[:: max(1, -(-len(wrong) // (share // 2 + 1)))]
        rest = spread[:: max(1, -(-len(spread) // share))]
        chosen.append(np.unique(np.concatenate([half, rest])))
    return chosen


# --- the explanation ------------------------------------------------------------------------------


def _swaps(leaves: list[ComparedLeaf], wrong: list[int]) -> Iterable[Cause]:
    for i in wrong:
        for j, other in enumerate(leaves):
            same = other.truth.shape == leaves[i].hand.shape and other.truth.any()
            if j != i and same and close(leaves[i].hand, other.truth).all():
                a, b = sorted((i, j))
                back = close(leaves[j].hand, leaves[i].truth).all()
                words = (
                    f"{leaves[a].name} and {leaves[b].name} are swapped"
                    if back
                    else f"the gradient of {other.name} stands here"
                )
                yield Cause(4, words, i, leaves[i].hand.size)


class _Words(NamedTuple):
    """What is said of the wrong leaves, and the cost of its most far-fetched part."""

    words: str
    cost: float


def _explain(causes: list[Cause], leaves: list[ComparedLeaf], wrong: list[int]) -> _Words | None:
    """The fewest and simplest phrases for the wrong leaves; the cost is ∞ if some are left over."""
    groups: dict[str, list[Cause]] = {}
    for cause in causes:
        if all(cause.leaf != other.leaf for other in groups.setdefault(cause.phrase, [])):
            groups[cause.phrase].append(cause)
    sound = {
        phrase: (min(c.cost for c in group), {c.leaf for c in group})
        for phrase, group in groups.items()
        if sum(c.coordinates for c in group) > max(c.parameters for c in group)
    }
    left, words, largest = set(wrong), [], 0.0
    while left:
        useful = [
            (not left <= covers, round(cost), -len(covers & left), cost, phrase)
            for phrase, (cost, covers) in sound.items()
            if covers & left
        ]
        if not useful:
            break
        *_, cost, phrase = min(useful)
        largest = max(largest, cost)
        covered = sound[phrase][1] & left
        left -= covered
        words.append(_with_leaves(phrase, covered, leaves))
    if not words:
        return None
    missing = [leaves[i].name for i in sorted(left)]
    tail = [f"{', '.join(missing)}: wrong too, perhaps in consequence"] if missing else []
    return _Words("; ".join(words + tail), math.inf if missing else largest)


def _with_leaves(phrase: str, covered: set[int], leaves: list[ComparedLeaf]) -> str:
    """The phrase behind the names of the leaves it is about, unless it is about all of them."""
    names = [leaves[i].name for i in sorted(covered) if leaves[i].name]
    whole = all(i in covered or not leaf.truth.any() for i, leaf in enumerate(leaves))
    alone = len(leaves) == 1 or (whole and len(covered) > 1)
    if not names or alone or all(name in phrase for name in names):
        return phrase
    return f"{' and '.join(names)}: {phrase}"
