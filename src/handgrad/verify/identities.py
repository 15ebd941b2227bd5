"""Identities that hold up to rounding: a gradient that is right if the inputs were exact.

p − y is the gradient of softmax cross-entropy if y sums to 1, and 2Ax that of xᵀAx if A is
symmetric. Inputs satisfy such identities only up to rounding, and in balls the two sides then
differ in the last digits of the dtype. Here the inputs are moved onto each identity that they
satisfy to within `MOST_HALF_ULPS` half ulps (of the largest number of the leaf): if hand and truth
are there equal to all digits asked, in balls, then the difference was that of the inputs, and the
identity is named. A wrong factor stays wrong, since it does so at the moved inputs too.

Where none of these is named, but there are few inputs, the nearest inputs are sought at which hand
and truth are equal: by Newton's iteration, with the least move that makes up for the difference. If
it converges, and within those few half ulps, then it was the rounding of inputs, whatever the
identity is (an eigendecomposition beside its matrix, rows and columns that sum to 1).
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from handgrad.exact import Undecided, UnsupportedPrimitive
from handgrad.exact.balls import as_balls, finite_entries
from handgrad.verify.witnesses import Programs, is_float, named_leaves

MOST_HALF_ULPS = 8
"""How far inputs may be moved: a few roundings, as in a softmax that somebody computed."""
MOST_ENTRIES, MOST_IN_PRODUCTS = 2**18, 4_096
"""Larger leaves are not moved: each number is a ball. Matrix products of them take far longer."""
MOST_PAIRS = 36
"""Of identities that are tried two by two."""
ITERATIONS = 9
"""Of iterations that double the digits each: from 1e-7 to beyond 1e-1000."""

MOST_SOUGHT, SEEKING_SECONDS = 96, 3.0
"""Inputs that may be moved to where hand and truth are equal; and the time it may take."""
STEP = arb((1, -10))
"""Of a difference quotient, in half ulps."""
MOST_STEPS = 12
"""Of Newton's iteration with one Jacobian, in float64: nearly 10 digits each."""
LOST_SHARE = 0.5
"""A coordinate whose truth is that far from hand's is noise, and may be 0 at the inputs sought."""

Balls = np.ndarray
Agree = Callable[[list], bool]
"""Whether hand and truth are equal, to all digits asked, at given leaves."""
Rows = Callable[[list, int], tuple[Balls, Balls]]
"""Hand and truth in balls, at given leaves and to a number of digits."""


class Identity(NamedTuple):
    """An identity of one leaf, or of one beside another: its name, and how to move onto it."""

    name: str
    project: Callable[..., Balls | None]
    positions: tuple[int, ...]
    """Of the leaves that it takes; the first one is moved."""

    def moved(self, leaves: list, given: list, dtype: str) -> Balls | None:
        """The leaf moved onto the identity, if that is within rounding of the leaf given."""
        try:
            moved = self.project(*(_balls(leaves[i]) for i in self.positions))
        except (ValueError, ZeroDivisionError):
            return None
        if moved is None or not finite_entries(moved).all():
            return None
        moved = _middle(moved)
        numbers = np.asarray(given[self.positions[0]], np.float64)
        is_near = moved.shape == numbers.shape and _is_rounding(moved, numbers, dtype)
        return moved if is_near else None


def held_identities(programs: Programs, leaves: list, dtype: str) -> Iterator[Identity]:
    """The identities that single leaves, or pairs of them, satisfy up to rounding.

    Leaves that are not differentiated come first. What holds exactly is left out.
    """
    layout = programs.layout
    tree = jax.tree.unflatten(layout.treedef, range(len(leaves)))
    paths = [f"at{path}" for path, _ in named_leaves(tree)]
    usable = [
        position
        for position in sorted(range(len(leaves)), key=lambda i: i in layout.argnums)
        if is_float(leaves[position]) and 0 < np.size(leaves[position]) <= MOST_ENTRIES
        and np.isfinite(np.asarray(leaves[position], np.float64)).all()
    ]  # fmt: skip
    candidates = [
        Identity(name.format(paths[i]), project, (i,))
        for i in usable
        for name, project in CANDIDATES.items()
        if project not in PRODUCTS or np.size(leaves[i]) <= MOST_IN_PRODUCTS
    ]
    candidates += [
        Identity(name.format(paths[i], paths[j]), project, (i, j))
        for i in usable
        for j in usable
        if i != j and np.ndim(leaves[i]) == 2 and np.shape(leaves[i]) == np.shape(leaves[j])
        and np.size(leaves[i]) <= MOST_IN_PRODUCTS
        for name, project in PAIRS.items()
    ]  # fmt: skip
    for identity in candidates:
        if identity.moved(leaves, leaves, dtype) is not None:
            yield identity


def explain_by_rounding(
    programs: Programs, leaves: list, digits: int, dtype: str, agree: Agree, rows: Rows
) -> str | None:
    """What would have to hold exactly for hand to be the truth, in words; None if nothing does.

    The identities that hold up to rounding are tried one by one, two by two, and all together; then
    the nearest inputs are sought at which hand is the truth.
    """
    with ctx.workprec(4 * digits + 512):
        found = list(held_identities(programs, leaves, dtype))
        pairs = list(itertools.combinations(found, 2))[:MOST_PAIRS]
        for identities in [*((one,) for one in found), *pairs, *([tuple(found)] if found else [])]:
            moved = list(leaves)
            for identity in identities:
                leaf = identity.moved(moved, leaves, dtype)
                if leaf is not None:
                    moved[identity.positions[0]] = leaf
            try:
                if agree(moved):
                    return "equal if " + " and ".join(identity.name for identity in identities)
            except (Undecided, UnsupportedPrimitive):
                continue
        try:
            return _nearest_inputs(programs, leaves, digits, dtype, rows)
        except (Undecided, UnsupportedPrimitive):
            return None


def _nearest_inputs(
    programs: Programs, leaves: list, digits: int, dtype: str, rows: Rows
) -> str | None:
    """How far the inputs are from where hand is the truth, if rounding moved them that far."""
    own = programs.layout.argnums
    units = [_half_ulps(leaf, dtype, of_each=i in own) for i, leaf in enumerate(leaves)]
    moving = [(i, int(j)) for i, unit in enumerate(units) for j in np.flatnonzero(unit)]
    seconds = 4 * len(moving) * programs.gradient_effort.seconds
    if not moving or len(moving) > MOST_SOUGHT or seconds > SEEKING_SECONDS:
        return None

    def moved(by: Balls) -> list:
        result = [_balls(leaf).copy() if unit.any() else leaf
                  for leaf, unit in zip(leaves, units, strict=True)]  # fmt: skip
        for (i, j), step in zip(moving, by, strict=True):
            place = np.unravel_index(j, result[i].shape)
            result[i][place] = result[i][place] + step * arb(float(units[i][j]))
        return result

    def gap(by: Balls) -> tuple[Balls, Balls]:
        hand, truth = rows(moved(by), 2 * digits)
        return hand - truth, truth

    by = as_balls(np.zeros(len(moving)))
    start, truth = gap(by)
    given = np.array([float(abs(ball).mid()) for ball in truth])
    missed = np.array([float(abs(ball).mid()) for ball in start])
    if not (np.isfinite(given).all() and np.isfinite(missed).all() and missed.any()):
        return None
    is_noise = missed > LOST_SHARE * given
    enough = arb(10) ** -(digits + 2)
    columns = []
    for k in range(len(moving)):
        near, far = by.copy(), by.copy()
        near[k], far[k] = STEP, 2 * STEP  # what is wrong at one number alone is not moved away
        steps = zip(gap(near)[0], gap(far)[0], strict=True)
        columns.append([float((after - before).mid()) for before, after in steps])
    jacobian = np.array(columns).T / float(STEP)
    largest = np.abs(jacobian).max(axis=1)
    if not np.isfinite(jacobian).all():
        return None
    settled = missed + len(moving) * MOST_HALF_ULPS * largest <= float(enough) * given
    if not largest[~settled].all():
        return None
    scale = np.where(settled, np.inf, largest)
    inverse = np.linalg.pinv(jacobian / scale[:, None], rcond=1e-6)
    for _ in range(MOST_STEPS):
        now = np.array([float(g.mid() / arb(float(s))) for g, s in zip(start, scale, strict=True)])
        by = _middle(by - as_balls(inverse @ now))
        furthest = max(abs(float(step)) for step in by)
        if not furthest <= MOST_HALF_ULPS:
            return None
        start, truth = gap(by)
        size = max(abs(ball).mid() for ball in truth)
        if not size >= arb(given.max()) / 2:
            return None
        noise = size.max(arb(missed.max()))
        allowed = [enough * (noise if lost else abs(t))
                   for lost, t in zip(is_noise, truth, strict=True)]  # fmt: skip
        if all(bool(abs(g) <= most) for g, most in zip(start, allowed, strict=True)):
            return f"equal at inputs that are at most {max(furthest, 0.01):.2g} half ulps from here"
    return None


def _half_ulps(leaf: Any, dtype: str, of_each: bool) -> np.ndarray:
    """Half an ulp of each number of a leaf, or of the largest of all; 0 where nothing is to move.

    What is differentiated has been varied, each number by itself; other leaves were rounded as
    one.
    """
    if not is_float(leaf) or not np.size(leaf) or not np.isfinite(np.asarray(leaf, float)).all():
        return np.zeros(np.size(leaf))
    numbers = np.asarray(leaf, np.float64)
    sizes = np.abs(numbers).ravel()
    return _epsilon(numbers, dtype) / 2 * (sizes if of_each else np.full_like(sizes, sizes.max()))


def _balls(leaf: Any) -> Balls:
    array = np.asarray(leaf)
    return array if array.dtype == object else as_balls(array.astype(np.float64))


def _is_rounding(moved: Balls, numbers: np.ndarray, dtype: str) -> bool:
    """Whether a move is one of a few half ulps of the largest number of the leaf, and not none."""
    largest = float(np.abs(numbers).max())
    allowed = MOST_HALF_ULPS * _epsilon(numbers, dtype) / 2 * largest
    nearest = np.array([float(ball) for ball in moved.ravel()])
    if np.abs(nearest - numbers.ravel()).max() > 2 * allowed:
        return False
    pairs = zip(numbers.ravel(), moved.ravel(), strict=True)
    furthest = max(abs(arb(float(a)) - b).upper() for a, b in pairs)
    return bool(furthest > 0) and bool(furthest <= allowed)


def _epsilon(numbers: np.ndarray, dtype: str) -> float:
    """The rounding unit of a leaf: that of the dtype, or of float32 if that holds all numbers."""
    own = float(jnp.finfo(dtype).eps)
    with np.errstate(over="ignore"):
        narrow = (numbers.astype(np.float32) == numbers).all()
    return max(own, float(np.finfo(np.float32).eps)) if narrow else own


# --- the identities -------------------------------------------------------------------------------


def _along(axis: int | None, project: Callable[[Balls, int | None], Balls]) -> Callable:
    """A projection of rows, of columns, or of a leaf as a whole."""
    fewest = 1 if axis is None else 2
    return lambda x: project(x, axis) if x.ndim >= fewest else None


def _sums_to_1(x: Balls, axis: int | None) -> Balls:
    return x / x.sum(axis=axis, keepdims=True)


def _sums_to_0(x: Balls, axis: int | None) -> Balls:
    count = x.size if axis is None else x.shape[axis]
    return x - x.sum(axis=axis, keepdims=True) / arb(count)


def _has_norm_1(x: Balls, axis: int | None) -> Balls:
    squares = (x * x).sum(axis=axis, keepdims=True)
    return x / np.frompyfunc(arb.sqrt, 1, 1)(squares)


def _symmetric(x: Balls) -> Balls | None:
    return (x + x.swapaxes(-1, -2)) / arb(2) if _are_square(x) else None


def _antisymmetric(x: Balls) -> Balls | None:
    return (x - x.swapaxes(-1, -2)) / arb(2) if _are_square(x) else None


def _are_square(x: Balls) -> bool:
    return x.ndim >= 2 and x.shape[-1] == x.shape[-2]


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
    if x.ndim != 2 or not _are_square(x):
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
    return np.asarray(np.frompyfunc(arb.mid, 1, 1)(x), dtype=object)


def _is_near_unit(x: Balls) -> bool:
    return all(abs(float(ball.mid())) < 0.1 for ball in (x - _unit(len(x))).ravel())


CANDIDATES: dict[str, Callable] = {
    "each row of {} sums to 1": _along(-1, _sums_to_1),
    "each column of {} sums to 1": _along(-2, _sums_to_1),
    "{} sums to 1": _along(None, _sums_to_1),
    "{} is symmetric": _symmetric,
    "{} is a projection (symmetric, and its own square)": _projection,
    "each row of {} has norm 1": _along(-1, _has_norm_1),
    "each column of {} has norm 1": _along(-2, _has_norm_1),
    "{} has norm 1": _along(None, _has_norm_1),
    "the columns of {} are orthonormal": _orthonormal_columns,
    "the rows of {} are orthonormal": _orthonormal_rows,
    "each row of {} sums to 0": _along(-1, _sums_to_0),
    "each column of {} sums to 0": _along(-2, _sums_to_0),
    "{} sums to 0": _along(None, _sums_to_0),
    "{} is antisymmetric": _antisymmetric,
}
PRODUCTS = frozenset({_projection, _orthonormal_columns, _orthonormal_rows})
"""Those that take products of matrices."""
PAIRS: dict[str, Callable] = {
    "{} is the inverse of {}": _inverse,
    "{0} is {1} times its transpose": _lower_factor_product,
}
