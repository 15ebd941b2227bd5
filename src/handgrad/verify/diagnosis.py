"""The diagnosis: when a gradient is wrong as mathematics, which coordinate, and why.

The two gradients come rounded from balls, so a relation between them that is true holds to the
last digits, and one that holds by accident at a relative 1e-9 on every coordinate is not to be
expected. Relations between the numbers of a leaf come first, then mistakes inside the chain rule;
of all that fit, the simplest one that explains every wrong leaf is told.
"""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from handgrad._precision import x64
from handgrad.verify.hypotheses import Evidence, chain_findings
from handgrad.verify.intermediates import Loss, Point, constants_of, intermediates
from handgrad.verify.naming import Surroundings, close, ratio_shown
from handgrad.verify.relations import Finding, Leaf, relations
from handgrad.verify.replaced import replaced_findings
from handgrad.verify.witnesses import Argnums, is_float, named_leaves

CHAIN, OTHER_RESIDUALS = 20, 28
"""Costs from which mistakes in the chain, and then other residuals, are looked for besides."""
VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
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
    leaves = _leaves(named, at, argnums, hand, truth)
    wrong = [i for i, leaf in enumerate(leaves) if leaf.differs.any()]
    if not wrong or not all(np.isfinite(leaf.truth).all() for leaf in leaves):
        return None
    with x64():
        flat, tree = jax.tree.flatten(_as_float64(at))
        program = jax.make_jaxpr(lambda *leaves: of(*jax.tree.unflatten(tree, leaves)))(*flat)
        around = _surroundings(named, program)
        found = [f for i in wrong for f in relations(i, leaves[i], around)]
        found += _swaps(leaves, wrong)
        simple = _explain(found, leaves, wrong)
        if simple and simple[1] < CHAIN:
            return simple[0]
        chosen = _choose(leaves)
        loss = Loss(program, flat, [name for name, _ in named], _positions(at, argnums))
        points = _points(loss, chosen)
    if points:
        seen = Evidence(
            _rows([leaf.hand for leaf in leaves], chosen),
            _rows([leaf.truth for leaf in leaves], chosen),
            np.repeat(np.arange(len(leaves)), [len(c) for c in chosen]),
            wrong,
        )
        integers = [(name, np.asarray(a)) for name, a in named if _is_index(a)]
        for round_, more in enumerate(chain_findings(seen, points, integers, around)):
            found += more
            explained = _explain(found, leaves, wrong)
            if round_ == 0 and (not explained or math.isinf(explained[1])):
                with x64():
                    found += replaced_findings(loss, points, leaves, wrong)
                explained = _explain(found, leaves, wrong)
            if explained and explained[1] < OTHER_RESIDUALS:
                return explained[0]
    explained = _explain(found, leaves, wrong)
    return explained[0] if explained else None


def _rows(arrays: list[np.ndarray], chosen: list[np.ndarray]) -> np.ndarray:
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
        shown = ", ".join(map(ratio_shown, quotient[:8].tolist()))
        more = f", … {quotient.size - 8} more" if quotient.size > 8 else ""
        parts.append(f"{name} [{shown}{more}]".strip())
    return "hand/truth: " + "; ".join(parts)


# --- what is given --------------------------------------------------------------------------------


def _as_float64(at: tuple) -> tuple:
    return jax.tree.map(lambda a: np.asarray(a, np.float64) if is_float(a) else a, at)


def _is_index(leaf: Any) -> bool:
    return np.issubdtype(getattr(leaf, "dtype", np.float64), np.integer)


def _positions(at: tuple, argnums: Argnums) -> list[int]:
    """The flat positions in `at` of the leaves of the gradient, in its order."""
    counts = [len(jax.tree.leaves(argument)) for argument in at]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    return [
        int(starts[i % len(at)]) + k
        for i in ((argnums,) if isinstance(argnums, int) else argnums)
        for k in range(counts[i % len(at)])
    ]


def _leaves(named: list, at: tuple, argnums: Argnums, hand: Any, truth: Any) -> list[Leaf]:
    flat = jax.tree.leaves(at)
    rows = zip(named_leaves(hand), jax.tree.leaves(truth), _positions(at, argnums), strict=True)
    return [
        Leaf(name if isinstance(argnums, int) else named[i][0], *(np.asarray(a, np.float64)
             for a in (h, t, flat[i])))
        for (name, h), t, i in rows
    ]  # fmt: skip


def _arguments(of: Callable, at: tuple) -> list[tuple[str, Any]]:
    """Every leaf of the arguments with the name its function gives it, as in `params.weight`."""
    try:
        bound = inspect.signature(of).bind(*at)
        names = list(bound.arguments)
        names = (
            []
            if any(bound.signature.parameters[n].kind is VAR_POSITIONAL for n in names)
            else names
        )
    except (TypeError, ValueError):
        names = []
    if len(names) != len(at):
        names = [f"argument {i}" for i in range(len(at))]
    return [
        (name + path, leaf)
        for name, argument in zip(names, at, strict=True)
        for path, leaf in named_leaves(argument)
    ]


def _surroundings(named: list[tuple[str, Any]], program: Any) -> Surroundings:
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
    return Surroundings(sizes, frozenset(constants), floats)


def _choose(leaves: list[Leaf]) -> list[np.ndarray]:
    """Coordinates of each leaf, spread out, wrong ones among them."""
    share = max(4, CHOSEN // max(1, len(leaves)))
    chosen = []
    for leaf in leaves:
        wrong, spread = np.flatnonzero(leaf.differs), np.arange(leaf.hand.size)
        half = wrong[:: max(1, -(-len(wrong) // (share // 2 + 1)))]
        rest = spread[:: max(1, -(-len(spread) // share))]
        chosen.append(np.unique(np.concatenate([half, rest])))
    return chosen


def _points(loss: Loss, chosen: list[np.ndarray]) -> list[Point]:
    try:
        return intermediates(loss, chosen)
    except (TypeError, NotImplementedError):  # a primitive that cannot be pushed forward
        return []


# --- what is told ---------------------------------------------------------------------------------


def _swaps(leaves: list[Leaf], wrong: list[int]) -> Iterable[Finding]:
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
                yield Finding(4, words, i, leaves[i].hand.size)


def _explain(
    found: list[Finding], leaves: list[Leaf], wrong: list[int]
) -> tuple[str, float] | None:
    """The fewest and simplest phrases for the wrong leaves, and the cost of the dearest."""
    groups: dict[str, list[Finding]] = {}
    for f in found:
        if all(f.leaf != g.leaf for g in groups.setdefault(f.phrase, [])):
            groups[f.phrase].append(f)
    sound = {
        phrase: (min(f.cost for f in group), {f.leaf for f in group})
        for phrase, group in groups.items()
        if sum(f.coordinates for f in group) > max(f.parameters for f in group)
    }
    left, told, dearest = set(wrong), [], 0.0
    while left:
        useful = [
            (not left <= who, round(cost), -len(who & left), cost, phrase)
            for phrase, (cost, who) in sound.items()
            if who & left
        ]
        if not useful:
            break
        *_, cost, phrase = min(useful)
        dearest = max(dearest, cost)
        covered = sound[phrase][1] & left
        left -= covered
        told.append(_told(phrase, covered, leaves))
    if not told:
        return None
    missing = [leaves[i].name for i in sorted(left)]
    tail = [f"{', '.join(missing)}: wrong too, perhaps in consequence"] if missing else []
    return "; ".join(told + tail), math.inf if missing else dearest


def _told(phrase: str, covered: set[int], leaves: list[Leaf]) -> str:
    """The phrase behind the names of the leaves it is about, unless it is about all of them."""
    names = [leaves[i].name for i in sorted(covered) if leaves[i].name]
    whole = all(i in covered or not leaf.truth.any() for i, leaf in enumerate(leaves))
    if not names or (whole and len(covered) > 1) or all(name in phrase for name in names):
        return phrase
    return f"{' and '.join(names)}: {phrase}"
