"""The diagnosis: when a gradient is wrong as mathematics, which coordinate, and why.

The two gradients come rounded from balls, so a relation between them that is true holds to the
last digits, and one that holds by accident at a relative 1e-9 on every coordinate is not to be
expected. Relations between the numbers of a leaf come first, then mistakes inside the chain rule;
of all that fit, the simplest one that explains every wrong leaf is given.
"""

import inspect
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
    relations,
)
from handgrad.verify.witnesses import Argnums, Layout, is_float, named_leaves

CHAIN, OTHER_RESIDUALS = 20, 28
"""Costs from which mistakes in the chain, and then other residuals, are looked for besides."""
CHOSEN = 128
"""Coordinates of the gradient on which mistakes inside the chain are looked for."""


def diagnose(of: Callable, at: tuple, argnums: Argnums, hand: Any, truth: Any) -> str | None:
    """The cause of a difference in one phrase, with the leaf or coordinate; None if none is found.

    `hand` and `truth` have the structure of `jax.grad(of, argnums)(*at)`, with float64 arrays.

    >>> import jax.numpy as jnp
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> diagnose(lambda x: jnp.sum(x * x) / 3, (x,), 0, 2 * x, 2 * x / 3)
    '3 times too large, 3 being axis 0 of x: a mean forgotten (ratio 3)'
    """
    named = _arguments(of, at)
    positions = Layout.of(at, argnums).argnums
    leaves = _leaves(named, positions, isinstance(argnums, int), hand, truth)
    wrong = [i for i, leaf in enumerate(leaves) if leaf.differs.any()]
    if not wrong or not all(np.isfinite(leaf.truth).all() for leaf in leaves):
        return None
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


def ratios(hand: Any, truth: Any) -> str:
    """hand / truth by coordinate, for when no cause is found.

    >>> ratios(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    'hand/truth: [2, 1.5]'
    """
    parts = []
    for (name, h), (_, t) in zip(named_leaves(hand), named_leaves(truth), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = np.ravel(np.asarray(h, np.float64) / np.asarray(t, np.float64))
        shown = ", ".join(map(format_ratio, quotient[:8].tolist()))
        more = f", … {quotient.size - 8} more" if quotient.size > 8 else ""
        parts.append(f"{name} [{shown}{more}]".strip())
    return "hand/truth: " + "; ".join(parts)


# --- what is given --------------------------------------------------------------------------------


def _as_float64(at: tuple) -> tuple:
    return jax.tree.map(lambda a: np.asarray(a, np.float64) if is_float(a) else a, at)


def _is_index(leaf: Any) -> bool:
    return np.issubdtype(getattr(leaf, "dtype", np.float64), np.integer)


def _leaves(
    named: list[tuple[str, Any]], positions: Sequence[int], single: bool, hand: Any, truth: Any
) -> list[ComparedLeaf]:
    """The leaves of the gradient, named as in the gradient, or by argument where there are more."""
    return [
        ComparedLeaf(
            path if single else named[position][0],
            *(np.asarray(a, np.float64) for a in (own, true, named[position][1])),
        )
        for (path, own), true, position in zip(
            named_leaves(hand), jax.tree.leaves(truth), positions, strict=True
        )
    ]


def _arguments(of: Callable, at: tuple) -> list[tuple[str, Any]]:
    """Every leaf of the arguments with the name its function gives it, as in `params.weight`."""
    try:
        bound = inspect.signature(of).bind(*at)
        names = list(bound.arguments)
        kinds = [bound.signature.parameters[name].kind for name in names]
    except (TypeError, ValueError):
        names, kinds = [], []
    if len(names) != len(at) or inspect.Parameter.VAR_POSITIONAL in kinds:
        names = [f"argument {i}" for i in range(len(at))]
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
    if not names or (whole and len(covered) > 1) or all(name in phrase for name in names):
        return phrase
    return f"{' and '.join(names)}: {phrase}"
