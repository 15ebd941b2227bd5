"""The diagnosis: when a gradient is wrong as mathematics, which coordinate, and why.

The two gradients come rounded from balls, so a relation between them that is true holds to the
last digits, and one that holds by accident at a relative 1e-9 on every coordinate is not to be
expected. Relations between the numbers of a leaf come first, then mistakes inside the chain rule;
of all that fit, the simplest one that explains every wrong leaf is given.
"""

import contextlib
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from handgrad._precision import x64
from handgrad.verify.diagnosis.hypotheses import Sample, chain_causes, hypotheses, pairs
from handgrad.verify.diagnosis.intermediates import (
    Intermediate,
    TracedLoss,
    compile_chain,
    constants_of,
    is_key,
)
from handgrad.verify.diagnosis.relations import (
    DESCRIBED,
    Cause,
    ComparedLeaf,
    Context,
    close,
    format_ratio,
    only_one,
    relations,
    wrong_leaves,
)
from handgrad.verify.diagnosis.variants import Variants, variant_causes, variants_of
from handgrad.verify.witnesses import (
    Argnums,
    Layout,
    argument_names,
    is_float,
    named_leaves,
    quick_options,
)

SMALL = 1e-8
"""Relative errors below this are no evidence for any relation: none is looked for."""
MOST_RATIOS = 6
UNNAMED = "no simple cause was found"
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
    leaves = _leaves(named, positions, hand, truth)
    wrong = wrong_leaves(leaves)
    if not wrong or not all(np.isfinite(leaf.truth).all() for leaf in leaves):
        return None
    if max(leaf.error for leaf in leaves) < SMALL:
        few = [cause for i in wrong for cause in only_one(i, leaves[i])]
        return few[0].phrase if len(wrong) == len(few) == 1 else None
    loose = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with x64(), loose[0], loose[1]:  # whatever the user's session asks of the user's own code
        flat, tree = jax.tree.flatten(_as_float64(at))
        program = jax.make_jaxpr(lambda *leaves: of(*jax.tree.unflatten(tree, leaves)))(*flat)
        held = _held_arrays(of)
        names = [name for name, _ in named]
        loss = TracedLoss(program, flat, names, positions, _captured(held, program), held)
        context = _context(named, program, of)
        here = _Point(loss, leaves, context, _Compiled(loss, leaves))
        slope = jax.jit(jax.grad(of, argnums), compiler_options=quick_options())
        there = _second_point(here, of, slope, gradient, tree) if gradient else None
        explained = _explained(here, there)
        vague = not explained or explained.cost >= DESCRIBED
        if gradient and there and vague and here.is_kink():
            beside = _second_point(here, of, slope, gradient, tree, seed=1)
            if beside and wrong_leaves(beside.leaves) == wrong:
                found = _explained(beside, there)
                explained = found if found and found.cost < DESCRIBED else explained
    return explained.words if explained else None


class _Compiled:
    """What is made of a loss once, for all points: its variants, its chain, where that is seen."""

    def __init__(self, loss: TracedLoss, leaves: list[ComparedLeaf]) -> None:
        self.loss = loss
        self.chosen = _choose(leaves)
        """Coordinates of each leaf on which the chain is looked at."""

    @functools.cached_property
    def variants(self) -> Variants | None:
        return variants_of(self.loss)

    @functools.cached_property
    def chain(self) -> Callable[[Sequence[Any]], list[Intermediate]] | None:
        try:
            return compile_chain(self.loss, self.chosen)
        except (TypeError, NotImplementedError):  # a primitive that cannot be pushed forward
            return None


class _Point(NamedTuple):
    """The loss and the two gradients at one point."""

    loss: TracedLoss
    leaves: list[ComparedLeaf]
    context: Context
    compiled: _Compiled

    def is_kink(self) -> bool:
        """Whether the truth is not, or not alone, what the loss's own rules give here."""
        variants = self.compiled.variants
        own = variants.gradient(self.loss.moving, variants.closed) if variants else []
        pairs = zip(own, self.leaves, strict=False)
        return any(leaf.unknown.any() or not close(a, leaf.truth).all() for a, leaf in pairs)

    def chain_causes(self, made: Callable) -> Iterable[Cause]:
        """Causes within the chain; none where its intermediates cannot be had."""
        chosen, chain = self.compiled.chosen, self.compiled.chain
        try:
            intermediates = chain(self.loss.moving) if chain else []
        except ValueError:  # JAX differentiates no `while_loop` backwards
            intermediates = []
        if not intermediates:
            return ()
        sample = Sample(
            hand=_at(chosen, [leaf.hand for leaf in self.leaves]),
            truth=_at(chosen, [leaf.truth for leaf in self.leaves]),
            leaf_of=np.repeat(np.arange(len(self.leaves)), [len(c) for c in chosen]),
            wrong=wrong_leaves(self.leaves),
        )
        held = [
            (name, np.asarray(leaf))
            for name, leaf in zip(self.loss.names, self.loss.leaves, strict=True)
            if _is_index(leaf)
        ]
        held += self.loss.held.items()
        return chain_causes(made, sample, intermediates, held, self.context)


Stage = Callable[[_Point], Iterable[Cause]]


def _by_relations(point: _Point) -> Iterable[Cause]:
    for i in wrong_leaves(point.leaves):
        yield from relations(i, point.leaves[i], point.context)
    yield from _swaps(point.leaves)


def _by_variants(point: _Point) -> Iterable[Cause]:
    variants = point.compiled.variants
    if variants is None:
        return ()
    return variant_causes(variants, point.loss.moving, point.leaves, point.context)


def _by_chain(point: _Point) -> Iterable[Cause]:
    return point.chain_causes(hypotheses)


def _by_residuals(point: _Point) -> Iterable[Cause]:
    return point.chain_causes(pairs)


STAGES: tuple[tuple[Stage, float], ...] = (
    (_by_relations, 20.0), (_by_variants, 24.9), (_by_chain, 28.0), (_by_residuals, math.inf),
)  # fmt: skip
"""The kinds of causes, and the cost from which on the next kind is looked for besides."""


def _explained(here: _Point, there: _Point | None) -> "_Words | None":
    """The simplest explanation at a point that holds at the other one too."""
    found: list[Cause] = []
    explained = None
    for stage, enough in STAGES:
        found += _confirmed(stage, here, there)
        explained = _explain(found, here.leaves)
        if explained and explained.cost < enough:
            break
    return explained


def _confirmed(stage: Stage, here: _Point, there: _Point | None) -> list[Cause]:
    """The causes of one kind that hold at a second point as well, if there is one."""
    found = list(stage(here))
    if not found or there is None:
        return found
    again = {(_place_free(cause.phrase), cause.leaf) for cause in stage(there)}
    held = [c for c in found if c.descriptive or (_place_free(c.phrase), c.leaf) in again]
    return [c._replace(coordinates=2 * c.coordinates) for c in held]


def _place_free(phrase: str) -> str:
    """A phrase without the coordinates that it is said of: elsewhere they may be others."""
    return re.sub(r" at \d+ of \d+ coordinates.*$| at \[.*\] only$|^\S+\[\d+:\d+\]: ", "", phrase)


def _second_point(
    here: _Point, of: Callable, slope: Callable, gradient: Callable, tree: Any, seed: int = 0
) -> _Point | None:
    """Both gradients in float64 at inputs moved by a few percent; None where there is no value."""
    rng = np.random.default_rng(seed)
    flat = [np.array(leaf) if is_float(leaf) else leaf for leaf in here.loss.leaves]
    for position in here.loss.argnums:
        leaf = np.asarray(flat[position], np.float64)
        by = rng.uniform(0.02, 0.1, leaf.shape) * rng.choice([-1.0, 1.0], leaf.shape)
        scale = np.max(np.abs(leaf[np.isfinite(leaf)]), initial=0.0) or 1.0
        with np.errstate(over="ignore"):  # at the edge of float64
            flat[position] = np.where(leaf == 0, np.abs(by) * scale, leaf * (1 + by))
    at = jax.tree.unflatten(tree, flat)
    try:
        truth = slope(*at)
        hand = gradient(*jax.tree.map(lambda a: np.array(a) if is_float(a) else a, at))
        named = list(zip(here.loss.names, flat, strict=True))
        leaves = _leaves(named, here.loss.argnums, hand, truth)
    except Exception:  # the user's gradient may refuse any other point
        return None
    if not all(np.isfinite([leaf.hand, leaf.truth]).all() for leaf in leaves):
        return None
    context = _context(named, here.loss.program, of)
    return _Point(here.loss._replace(leaves=flat), leaves, context, here.compiled)


def _at(chosen: list[np.ndarray], arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([a.ravel()[rows] for a, rows in zip(arrays, chosen, strict=True)])


def ratios(layout: Layout, hand: np.ndarray, truth: np.ndarray) -> str:
    """hand / truth by coordinate, where they differ: for when no cause is found.

    >>> ratios(Layout.of((np.ones(3),), 0, ["x"]), np.array([2.0, 3.0, 4.0]), np.array([1, 2, 4]))
    'no simple cause was found; gradient / truth: x[0] 2, x[1] 1.5'
    """
    known = ~np.isnan(truth)
    wrong = np.flatnonzero(~close(hand, truth, 1e-14) & known)
    if not len(wrong):  # all differ by less than such a share of the largest
        wrong = np.flatnonzero((hand != truth) & known)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotients = hand[wrong] / truth[wrong]
    parts = [
        f"{layout.coordinate(int(i))} {format_ratio(float(ratio))}"
        for i, ratio in zip(wrong[:MOST_RATIOS], quotients[:MOST_RATIOS], strict=True)
    ]
    more = f", and {len(wrong) - MOST_RATIOS} more" if len(wrong) > MOST_RATIOS else ""
    return f"{UNNAMED}; gradient / truth: {', '.join(parts)}{more}"


# --- what is given --------------------------------------------------------------------------------


def _as_float64(at: tuple) -> tuple:
    return jax.tree.map(lambda a: np.asarray(a, np.float64) if is_float(a) else a, at)


def _is_index(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(leaf, "dtype", np.float64), np.integer)


def _leaves(
    named: list[tuple[str, Any]], positions: Sequence[int], hand: Any, truth: Any
) -> list[ComparedLeaf]:
    """The leaves of the gradient, by the names of the arguments."""
    pairs = zip(jax.tree.leaves(hand), jax.tree.leaves(truth), positions, strict=True)
    return [
        ComparedLeaf.of(named[position][0], own, true, named[position][1])
        for own, true, position in pairs
    ]


def _arguments(at: tuple, names: Sequence[str]) -> list[tuple[str, Any]]:
    """Every leaf of the arguments with the name its function gives it, as in `params.weight`."""
    return [
        (name + path, leaf)
        for name, argument in zip(names, at, strict=True)
        for path, leaf in named_leaves(argument)
    ]


def _closure(function: Any) -> dict[str, Any]:
    """What a function holds besides its arguments, by name: closure, defaults, a partial."""
    held: dict[str, Any] = {}
    if isinstance(function, functools.partial):
        held |= {str(i): argument for i, argument in enumerate(function.args)}
        held |= function.keywords
        function = function.func
    with contextlib.suppress(TypeError, ValueError):
        defaults = getattr(function, "__defaults__", None) or ()
        held |= {str(i): default for i, default in enumerate(defaults)}
        held |= dict(inspect.getclosurevars(function).nonlocals)
    return held


def _held_arrays(of: Callable) -> dict[str, np.ndarray]:
    """The arrays of numbers that a loss holds, by name."""
    return {
        name: np.asarray(value)
        for name, value in _closure(of).items()
        if isinstance(value, np.ndarray | jax.Array)
        and jax.dtypes.issubdtype(value.dtype, np.number)
        and (is_float(value) or _is_index(value))
        and value.ndim
    }


def _captured(held: dict[str, np.ndarray], program: Any) -> dict[int, str]:
    """The names by which a traced loss holds its constants, by the id of each."""
    found = {}
    for constant in program.consts:
        if is_key(constant) or np.size(constant) < 2:
            continue
        array = np.asarray(constant)
        names = (name + part for name, a in held.items() if (part := _part(a, array)) is not None)
        found[id(constant)] = next(names, f"an array {list(array.shape)} of the loss")
    return found


def _part(whole: np.ndarray, array: np.ndarray) -> str | None:
    """'' if the arrays are equal, '[1:]' for a slice along the first axis; None for another one."""
    if array.ndim != whole.ndim or array.shape[1:] != whole.shape[1:]:
        return None
    n, length = len(array), len(whole)
    for start in range(length - n + 1):
        if np.array_equal(whole[start : start + n], array):
            stop = "" if start + n == length else start + n
            return "" if n == length else f"[{start or ''}:{stop}]"
    return None


def _context(named: list[tuple[str, Any]], program: Any, of: Callable) -> Context:
    sizes: dict[int, str] = {}
    arrays = [(name, np.asarray(a)) for name, a in named if is_float(a) or _is_index(a)]
    arrays.sort(key=lambda entry: "." in entry[0])  # data before parameters
    for name, a in arrays:
        for axis, n in enumerate(a.shape):
            if n > 1:
                sizes.setdefault(n, f"axis {axis} of {name}")
    for name, a in arrays:
        if a.size > 1:
            sizes.setdefault(a.size, f"the size of {name}")
        if a.ndim and np.isin(a, (0, 1)).all() and np.sum(a) > 1:
            sizes.setdefault(int(np.sum(a)), f"the ones in {name}")
    scalars = {abs(float(a)) for _, a in arrays if a.ndim == 0 and a.dtype.kind == "f"}
    held = {abs(v) for v in _closure(of).values() if isinstance(v, float) and math.isfinite(v)}
    constants = (constants_of(program) | scalars) - {0.0, 1.0, 2.0, 0.5} - {float(n) for n in sizes}
    floats = tuple((name, a.astype(np.float64)) for name, a in arrays if a.dtype.kind == "f")
    return Context(sizes, frozenset(constants), floats, frozenset(held - {0.0, 1.0}))


def _choose(leaves: list[ComparedLeaf]) -> list[np.ndarray]:
    """Coordinates of each leaf, spread out, wrong ones among them."""
    share = max(4, CHOSEN // max(1, len(leaves)))
    chosen = []
    for leaf in leaves:
        wrong, spread = np.flatnonzero(leaf.differs), np.flatnonzero(~leaf.unknown)
        half = wrong[:: max(1, -(-len(wrong) // (share // 2 + 1)))]
        rest = spread[:: max(1, -(-len(spread) // share))]
        chosen.append(np.unique(np.concatenate([half, rest])))
    return chosen


# --- the explanation ------------------------------------------------------------------------------


def _swaps(leaves: list[ComparedLeaf]) -> Iterable[Cause]:
    for i in wrong_leaves(leaves):
        for j, other in enumerate(leaves):
            same = other.truth.shape == leaves[i].hand.shape and other.truth.any()
            if j != i and same and close(leaves[i].hand, other.truth).all():
                a, b = sorted((i, j))
                words = f"the gradient of {other.name} stands here"
                if close(other.hand, leaves[i].truth).all():
                    words = f"{leaves[a].name} and {leaves[b].name} are swapped"
                yield Cause(4, words, i, leaves[i].hand.size)


class _Words(NamedTuple):
    """What is said of the wrong leaves, and the cost of its most far-fetched part."""

    words: str
    cost: float


def _explain(causes: list[Cause], leaves: list[ComparedLeaf]) -> _Words | None:
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
    left, words, largest = set(wrong_leaves(leaves)), [], 0.0
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
