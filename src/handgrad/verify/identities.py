"""Identities that hold up to rounding: a gradient that is right if the inputs were exact.

p − y is the gradient of softmax cross-entropy if y sums to 1, and 2Ax that of xᵀAx if A is
symmetric. Inputs satisfy such identities only up to rounding, and in balls the two sides then
differ in the last digits of the dtype. Here the inputs are moved onto each identity that they
satisfy to within `MOST_HALF_ULPS` half ulps (of the largest number of the leaf): if hand and truth
are there equal to all digits asked, in balls, then the difference was that of the inputs, and the
identity is named. A wrong factor stays wrong, since it does so at the moved inputs too.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad.exact import Undecided, UnsupportedPrimitive
from handgrad.exact.balls import as_balls
from handgrad.verify.witnesses import Programs, is_float

MOST_HALF_ULPS = 8
"""How far inputs may be moved: a few roundings, as in a softmax that somebody computed."""
MOST_ENTRIES = 4_096
"""Larger leaves are not moved: each number is a ball."""
ITERATIONS = 9
"""Of iterations that double the digits each: from 1e-7 to beyond 1e-1000."""

Balls = np.ndarray


class Identity(NamedTuple):
    """The leaves moved onto an identity, and its name with the path of the leaf."""

    name: str
    position: int
    moved: Balls


def held_identities(programs: Programs, leaves: list, dtype: str) -> Iterator[Identity]:
    """The identities that single leaves, or pairs of them, satisfy up to rounding.

    Leaves that are not differentiated come first. What holds exactly is left out.
    """
    layout = programs.layout
    paths = [
        "at" + jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_leaves_with_path(
            jax.tree.unflatten(layout.treedef, [0] * len(leaves))
        )
    ]
    order = sorted(range(len(leaves)), key=lambda position: position in layout.argnums)
    usable = [
        position
        for position in order
        if is_float(leaves[position]) and 0 < np.size(leaves[position]) <= MOST_ENTRIES
        and np.isfinite(np.asarray(leaves[position], np.float64)).all()
    ]  # fmt: skip
    for position in usable:
        numbers = np.asarray(leaves[position], np.float64)
        balls = as_balls(numbers)
        for name, project in CANDIDATES.items():
            moved = _projected(project, balls)
            if moved is not None and _is_rounding(balls, moved, numbers, dtype):
                yield Identity(name.format(paths[position]), position, moved)
    for position in usable:
        shape = np.shape(leaves[position])
        for other in usable:
            if other == position or shape != np.shape(leaves[other]) or len(shape) != 2:
                continue
            numbers = np.asarray(leaves[position], np.float64)
            balls, beside = (as_balls(np.asarray(leaves[i], np.float64)) for i in (position, other))
            for name, project in PAIRS.items():
                moved = _projected(lambda x, b=beside, p=project: p(x, b), balls)
                if moved is not None and _is_rounding(balls, moved, numbers, dtype):
                    yield Identity(name.format(paths[position], paths[other]), position, moved)


def explain_by_rounding(
    programs: Programs, leaves: list, digits: int, dtype: str, agree: Callable[[list], bool]
) -> str | None:
    """What would have to hold exactly for hand to be the truth, in words; None if nothing does.

    `agree` says whether hand and truth are equal at given leaves. Every identity is tried alone,
    then each leaf with its first one, all together.
    """
    with ctx.workprec(4 * digits + 512):
        found = list(held_identities(programs, leaves, dtype))
        sets = [[identity] for identity in found]
        first: dict[int, Identity] = {}
        for identity in found:
            first.setdefault(identity.position, identity)
        sets += [list(first.values())] if len(first) > 1 else []
        for identities in sets:
            moved = list(leaves)
            for identity in identities:
                moved[identity.position] = identity.moved
            try:
                if agree(moved):
                    return "equal if " + " and ".join(identity.name for identity in identities)
            except (Undecided, UnsupportedPrimitive):
                continue
    return None


def _projected(project: Callable, balls: Balls) -> Balls | None:
    """The midpoints of what a projection gives, as exact balls; None where it does not apply."""
    try:
        moved = project(balls)
    except (ValueError, ZeroDivisionError):
        return None
    if moved is None or moved.shape != balls.shape:
        return None
    if not all(ball.is_finite() for ball in moved.ravel()):
        return None
    return np.asarray(np.frompyfunc(lambda ball: ball.mid(), 1, 1)(moved), dtype=object)


def _is_rounding(before: Balls, after: Balls, numbers: np.ndarray, dtype: str) -> bool:
    """Whether a move is one of a few half ulps of the largest number of the leaf, and not none."""
    furthest = max(abs(a - b).upper() for a, b in zip(before.ravel(), after.ravel(), strict=True))
    largest = float(np.abs(numbers).max())
    allowed = MOST_HALF_ULPS * float(_epsilon(numbers, dtype)) / 2 * largest
    return bool(furthest > 0) and bool(furthest <= allowed)


def _epsilon(numbers: np.ndarray, dtype: str) -> float:
    """The rounding unit of a leaf: that of the dtype, or of float32 if that holds all numbers."""
    own = float(jnp.finfo(dtype).eps)
    with np.errstate(over="ignore"):
        narrow = (numbers.astype(np.float32) == numbers).all()
    return max(own, float(np.finfo(np.float32).eps)) if narrow else own


# --- the identities -------------------------------------------------------------------------------


def _sums_to_1(axis: int | None) -> Callable:
    def project(x: Balls) -> Balls | None:
        if x.ndim < (1 if axis is None else 2):
            return None
        return x / x.sum(axis=axis, keepdims=True)

    return project


def _sums_to_0(axis: int) -> Callable:
    def project(x: Balls) -> Balls | None:
        if x.ndim < 2 and axis == -2:
            return None
        return x - x.sum(axis=axis, keepdims=True) / arb(x.shape[axis])

    return project


def _has_norm_1(axis: int | None) -> Callable:
    def project(x: Balls) -> Balls | None:
        if x.ndim < (1 if axis is None else 2):
            return None
        squares = (x * x).sum(axis=axis, keepdims=True)
        return x / np.frompyfunc(lambda ball: ball.sqrt(), 1, 1)(squares)

    return project


def _symmetric(sign: int) -> Callable:
    def project(x: Balls) -> Balls | None:
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            return None
        return (x + sign * x.swapaxes(-1, -2)) / arb(2)

    return project


def _orthonormal_columns(x: Balls) -> Balls | None:
    if x.ndim != 2 or x.shape[1] > x.shape[0] or x.shape[1] < 2 or not _is_near_unit(x.T @ x):
        return None
    for _ in range(ITERATIONS):
        x = _middle(x @ (3 * _unit(x.shape[1]) - x.T @ x) / arb(2))
    return x


def _orthonormal_rows(x: Balls) -> Balls | None:
    moved = _orthonormal_columns(x.T) if x.ndim == 2 and x.shape[1] > x.shape[0] else None
    return None if moved is None else moved.T


def _projection(x: Balls) -> Balls | None:
    """Symmetric and equal to its square."""
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        return None
    x = (x + x.T) / arb(2)
    for _ in range(ITERATIONS):
        square = x @ x
        x = _middle(3 * square - 2 * square @ x)
    return x


def _inverse(x: Balls, other: Balls) -> Balls | None:
    if x.shape[0] != x.shape[1] or not _is_near_unit(other @ x):
        return None
    for _ in range(ITERATIONS):
        x = _middle(x @ (2 * _unit(len(x)) - other @ x))
    return x


def _lower_factor_product(x: Balls, other: Balls) -> Balls | None:
    return other @ other.T if x.shape[0] == x.shape[1] else None


def _unit(size: int) -> Balls:
    return as_balls(np.eye(size))


def _middle(x: Balls) -> Balls:
    return np.asarray(np.frompyfunc(lambda ball: ball.mid(), 1, 1)(x), dtype=object)


def _is_near_unit(x: Balls) -> bool:
    return all(abs(float(ball.mid())) < 0.1 for ball in (x - _unit(len(x))).ravel())


CANDIDATES: dict[str, Callable] = {
    "each row of {} sums to 1": _sums_to_1(-1),
    "each column of {} sums to 1": _sums_to_1(-2),
    "{} sums to 1": _sums_to_1(None),
    "{} is symmetric": _symmetric(1),
    "{} is a projection (symmetric, and its own square)": _projection,
    "each row of {} has norm 1": _has_norm_1(-1),
    "each column of {} has norm 1": _has_norm_1(-2),
    "{} has norm 1": _has_norm_1(None),
    "the columns of {} are orthonormal": _orthonormal_columns,
    "the rows of {} are orthonormal": _orthonormal_rows,
    "each row of {} sums to 0": _sums_to_0(-1),
    "each column of {} sums to 0": _sums_to_0(-2),
    "{} is antisymmetric": _symmetric(-1),
}
PAIRS: dict[str, Callable] = {
    "{} is the inverse of {}": _inverse,
    "{0} is {1} times its transpose": _lower_factor_product,
}
