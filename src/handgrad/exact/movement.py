"""Places: data movement, scatters, sorts and searches.

Movement does no arithmetic, so one rule serves every primitive that only moves entries.

Run the primitive on integer positions in place of the values, then pick the balls at the
positions that came out. The most frequent movements are also written in NumPy, which spares XLA
a compilation for every new shape; those serve integers as well. Scatters move and combine;
sorts and searches move to where comparisons say.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flint import arb

from handgrad.errors import Undecided, UnsupportedPrimitive
from handgrad.exact import balls
from handgrad.exact.balls import NAN, as_balls, boxed, kind, settling
from handgrad.exact.elementwise import Rule, add, subtract

# Primitives that move entries of their floating operands and do nothing else. Integer operands
# (where to start, which to choose) go in as they are.
MOVES = frozenset({
    "broadcast_in_dim", "concatenate", "copy", "dynamic_slice", "dynamic_update_slice",
    "expand_dims", "gather", "pad", "reshape", "rev", "scatter", "select_n", "slice", "split",
    "squeeze", "stack", "unstack", "tile", "transpose",
})  # fmt: skip


def by_position(primitive: Any, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    """The outputs of a primitive that moves entries, from its action on positions.

    A gather that fills what lies outside does so with position −1, which stands for the fill
    value; NaN where none is given.
    """
    pool, stand_ins, count = [], [], 0
    for operand in operands:
        if operand.dtype == object:
            size = operand.size
            stand_ins.append(np.arange(count, count + size, dtype=np.int32).reshape(operand.shape))
            pool.append(operand.ravel())
            count += size
        else:
            stand_ins.append(operand)
    fill: Any = NAN
    if primitive.name == "gather":
        if params.get("fill_value") is not None:
            fill = as_balls(params["fill_value"])[()]
        params = {**params, "fill_value": -1}
    entries = np.concatenate([*pool, np.array([fill], dtype=object)])  # entry −1 is the fill
    moved = primitive.bind(*stand_ins, **params)
    if primitive.multiple_results:
        return [boxed(entries[np.asarray(out)]) for out in moved]
    return boxed(entries[np.asarray(moved)])


def reshape(
    x: np.ndarray, *sizes: Any, new_sizes: Any, dimensions: Any = None, **params: Any
) -> np.ndarray:
    """The same entries in another shape, row by row of x with its axes in the order `dimensions`.

    JAX's own gradients of products and of grouped convolutions do give that balls.
    """
    return (x if dimensions is None else np.transpose(x, dimensions)).reshape(new_sizes)


def broadcast_in_dim(
    x: np.ndarray, *sizes: Any, shape: Any, broadcast_dimensions: Any, **params: Any
) -> np.ndarray:
    """Axis i of x becomes axis broadcast_dimensions[i]; the others repeat."""
    within = [1] * len(shape)
    for axis, target in enumerate(broadcast_dimensions):
        within[target] = x.shape[axis]
    return np.broadcast_to(x.reshape(within), shape)


def transpose(x: np.ndarray, *, permutation: Any, **params: Any) -> np.ndarray:
    """The axes in another order."""
    return np.transpose(x, permutation)


def squeeze(x: np.ndarray, *, dimensions: Any, **params: Any) -> np.ndarray:
    """Without the named axes of length 1."""
    return np.squeeze(x, axis=tuple(dimensions))


def rev(x: np.ndarray, *, dimensions: Any, **params: Any) -> np.ndarray:
    """Back to front along the named axes."""
    return np.flip(x, axis=tuple(dimensions))


def static_slice(
    x: np.ndarray, *, start_indices: Any, limit_indices: Any, strides: Any, **params: Any
) -> np.ndarray:
    """A box of the entries, perhaps with steps."""
    steps = strides or (1,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def spread(x: np.ndarray, dilation: Sequence[int], padding: Sequence[Any], fill: Any) -> np.ndarray:
    """x with `fill` between its entries and around them; negative padding cuts off."""
    sizes = [max(0, (n - 1) * d + 1) for n, d in zip(x.shape, dilation, strict=True)]
    result = np.full(sizes, fill, dtype=x.dtype)
    result[tuple(slice(None, None, d) for d in dilation)] = x
    result = np.pad(result, [(max(lo, 0), max(hi, 0)) for lo, hi in padding], constant_values=fill)
    return result[
        tuple(
            slice(max(-lo, 0), n - max(-hi, 0))
            for (lo, hi), n in zip(padding, result.shape, strict=True)
        )
    ]


def pad(x: np.ndarray, value: np.ndarray, *, padding_config: Any, **params: Any) -> np.ndarray:
    """`value` around and between the entries; a negative width cuts entries off."""
    dilation = [gap + 1 for _, _, gap in padding_config]
    return spread(x, dilation, [(lo, hi) for lo, hi, _ in padding_config], value[()])


def concatenate(*arrays: np.ndarray, dimension: int, **params: Any) -> np.ndarray:
    """One after the other along an axis."""
    return np.concatenate(arrays, axis=dimension)


def select_n(which: np.ndarray, *cases: np.ndarray, **params: Any) -> np.ndarray:
    """The entry of the case that `which` names; what the other cases hold does not matter."""
    chosen = cases[0]
    for index, case in enumerate(cases[1:], start=1):
        chosen = np.where(np.asarray(which) == index, case, chosen)
    return chosen


def unchanged(x: Any, **params: Any) -> Any:
    """The identity: precision, placement and names are no matter of real numbers."""
    return x


def all_unchanged(*operands: Any, **params: Any) -> list[Any]:
    """The identity on several operands."""
    return list(operands)


def last_unchanged(first: Any, second: Any, **params: Any) -> Any:
    """The second of two, tied to the first only in time."""
    return second


# Written in NumPy; they serve balls and integers alike.
DIRECT: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": broadcast_in_dim,
    "concatenate": concatenate,
    "pad": pad,
    "reshape": reshape,
    "rev": rev,
    "select_n": select_n,
    "slice": static_slice,
    "squeeze": squeeze,
    "tie": last_unchanged,
    "transpose": transpose,
    **dict.fromkeys((
        "copy", "copy_p", "layout_constraint", "mesh_cast", "name", "reduce_precision", "relayout",
        "reshard", "sharding_constraint", "stage", "stop_gradient", "with_memory_space_constraint",
    ), unchanged),
    **dict.fromkeys((
        "device_put", "optimization_barrier", "preduced", "pvary", "reduced_vary_cast",
        "reduced_vary_cast_p", "vary_unreduced_cast", "vary_unreduced_cast_p",
    ), all_unchanged),
}  # fmt: skip


# --- scatters, sorts and searches -------------------------------------------------------------


def update_targets(
    shape: tuple[int, ...], indices: Any, updates_shape: tuple[int, ...], params: dict[str, Any]
) -> np.ndarray:
    """Where each entry of the updates lands in an operand of `shape`, row by row; −1: nowhere.

    A gather with the scatter's indices reads exactly the positions that the scatter writes.
    """
    numbers, mode = params["dimension_numbers"], params["mode"]
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    window = [updates_shape[axis] for axis in numbers.update_window_dims]
    dropped = {*numbers.inserted_window_dims, *batching}
    sizes = [1 if axis in dropped else window.pop(0) for axis in range(len(shape))]
    positions = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    gathered = jax.lax.gather(
        positions,
        indices,
        jax.lax.GatherDimensionNumbers(
            offset_dims=tuple(numbers.update_window_dims),
            collapsed_slice_dims=tuple(numbers.inserted_window_dims),
            start_index_map=tuple(numbers.scatter_dims_to_operand_dims),
            operand_batching_dims=batching,
            start_indices_batching_dims=tuple(
                getattr(numbers, "scatter_indices_batching_dims", ())
            ),
        ),
        slice_sizes=tuple(sizes),
        mode=mode,
        fill_value=-1,
    )
    return np.asarray(gathered)


def scatter_with(combine: Callable[[arb, arb], arb]) -> Rule:
    """The scatter that combines an entry with each update that lands on it."""

    def rule(operand: Any, indices: Any, updates: Any, **params: Any) -> np.ndarray:
        combine_carefully = settling(combine)
        result = as_balls(operand).ravel().copy()
        updates = as_balls(updates)
        targets = update_targets(np.shape(operand), indices, updates.shape, params)
        for target, update in zip(targets.ravel(), updates.ravel(), strict=True):
            if target >= 0:
                result[target] = combine_carefully(result[target], update)
        return result.reshape(np.shape(operand))

    return rule


def compare(a: Any, b: Any) -> int:
    """−1, 0 or 1 as a is below, equal to or above b; balls and integers alike."""
    if not isinstance(a, arb):
        return int(a > b) - int(a < b)
    if balls.equal(a, b):
        return 0
    return -1 if a < b else 1


def sort(*operands: np.ndarray, dimension: int, num_keys: int, **params: Any) -> list[np.ndarray]:
    """All operands in the order of the first `num_keys`, along one axis; equal keys stay put.

    Values alone have an order even where a comparison of two is open: see `enclosed_order`.
    """

    def row_order(keys: list[np.ndarray]) -> list[int]:
        def by_keys(i: int, j: int) -> int:
            return next((c for key in keys if (c := compare(key[i], key[j]))), 0)

        return sorted(range(len(keys[0])), key=functools.cmp_to_key(by_keys))

    moved = [np.moveaxis(operand, dimension, -1) for operand in operands]
    results = [operand.copy() for operand in moved]
    for place in np.ndindex(moved[0].shape[:-1]):
        try:
            order_here = row_order([key[place] for key in moved[:num_keys]])
        except Undecided:
            if len(operands) > 1 or not all(map(arb.is_finite, moved[0][place])):
                raise
            results[0][place] = enclosed_order(moved[0][place])
            continue
        for result, operand in zip(results, moved, strict=True):
            result[place] = operand[place][order_here]
    return [np.moveaxis(result, -1, dimension) for result in results]


def enclosed_order(row: np.ndarray) -> list[arb]:
    """Balls around the first, the second, ... of some numbers by size, given balls around each."""
    lows, highs = sorted(ball.lower() for ball in row), sorted(ball.upper() for ball in row)
    return [low.union(high) for low, high in zip(lows, highs, strict=True)]


def descending(row: np.ndarray) -> Callable[[int, int], int]:
    """A comparison of positions that puts the larger entry of `row` first."""

    def by_entries(i: int, j: int) -> int:
        return compare(row[j], row[i])

    return by_entries


def top_k(operand: np.ndarray, *, k: int, axis: int = -1, **params: Any) -> list[np.ndarray]:
    """The k largest entries along an axis and where they stood; the first of equals first."""
    moved = np.moveaxis(operand, axis, -1)
    places = np.zeros((*moved.shape[:-1], k), dtype=np.int32)
    for place in np.ndindex(moved.shape[:-1]):
        row = moved[place]
        places[place] = sorted(range(len(row)), key=functools.cmp_to_key(descending(row)))[:k]
    values = np.take_along_axis(moved, places, axis=-1)
    return [np.moveaxis(values, -1, axis), np.moveaxis(places, -1, axis)]


def first_best(row: np.ndarray, better: Callable[[arb, arb], bool]) -> int:
    """Where the best entry of a row stands; the first of equals."""
    best = 0
    for index in range(1, len(row)):
        if better(row[index], row[best]):
            best = index
    return best


def arg_best(better: Callable[[arb, arb], bool]) -> Rule:
    """The index of the best entry along an axis; the first of equals."""

    def rule(x: np.ndarray, *, axes: Any, index_dtype: Any, **params: Any) -> np.ndarray:
        moved = np.moveaxis(as_balls(x), axes[0], -1)
        result = np.zeros(moved.shape[:-1], dtype=index_dtype)
        for place in np.ndindex(moved.shape[:-1]):
            result[place] = first_best(moved[place], better)
        return result

    return rule


# --- references ----------------------------------------------------------------------------------


@dataclass
class Reference:
    """An array that a program writes into (`jax.new_ref`)."""

    array: np.ndarray


def new_ref(start: Any, **params: Any) -> list[Any]:
    """A reference that holds an array."""
    return [Reference(start)]


def get(reference: Reference, *indices: Any, tree: Any) -> np.ndarray:
    """The entries at some indices."""
    return boxed_like(reference.array, _positions(reference, indices, tree))


def swap(reference: Reference, value: Any, *indices: Any, tree: Any) -> np.ndarray:
    """Put a value at some indices; what was there."""
    places = _positions(reference, indices, tree)
    before = boxed_like(reference.array, places)
    flat = np.ravel(reference.array).copy()
    flat[places.ravel()] = np.broadcast_to(value, places.shape).ravel()
    reference.array = flat.reshape(reference.array.shape)
    return before


def addupdate(reference: Reference, value: Any, *indices: Any, tree: Any) -> list[Any]:
    """Add a value to the entries at some indices."""
    places = _positions(reference, indices, tree)
    flat = np.ravel(reference.array).copy()
    for place, entry in zip(places.ravel(), np.broadcast_to(value, places.shape).ravel(),
                            strict=True):  # fmt: skip
        flat[place] = flat[place] + entry
    reference.array = flat.reshape(reference.array.shape)
    return []


def accum_grad_in_ref(reference: Reference, value: Any, **params: Any) -> list[Any]:
    """Add a value to all entries."""
    reference.array = reference.array + value
    return []


def freeze(reference: Reference, **params: Any) -> np.ndarray:
    """What a reference holds in the end."""
    return reference.array


def boxed_like(array: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The entries of an array at flat positions, as an array of its dtype."""
    result = np.empty(places.shape, dtype=array.dtype)
    result.ravel()[:] = np.ravel(array)[places.ravel()]
    return result


def _positions(reference: Reference, indices: Sequence[Any], tree: Any) -> np.ndarray:
    """The flat positions that JAX's indexers select, one after the other."""
    shape = reference.array.shape
    positions = np.arange(math.prod(shape)).reshape(shape)
    for indexer in jax.tree.unflatten(tree, indices):
        if not hasattr(indexer, "indices"):
            raise UnsupportedPrimitive("get", f"a reference seen as {type(indexer).__name__}")
        positions = positions[tuple(map(_index, indexer.indices))]
    return np.asarray(positions)


def _index(index: Any) -> Any:
    if hasattr(index, "size") and hasattr(index, "start"):  # JAX's own slice: start, size, stride
        start, stride = int(index.start), int(index.stride)
        return slice(start, start + index.size * stride, stride)
    return np.asarray(index)


def empty_ref(*, ty: Any, **params: Any) -> list[Any]:
    """A reference to an array whose contents nobody may read yet: zeros."""
    zeros = np.zeros(ty.shape, dtype=ty.dtype)
    return [Reference(zeros if kind(ty.dtype) == "discrete" else as_balls(zeros))]


REFERENCES: dict[str, Rule] = {
    "accum_grad_in_ref": accum_grad_in_ref,
    "addupdate": addupdate,
    "empty_ref": empty_ref,
    "free_ref": lambda reference, **params: [],
    "freeze": freeze,
    "get": get,
    "new_ref": new_ref,
    "swap": swap,
}


# --- between devices, of which there is one ------------------------------------------------------


def all_gather(
    x: np.ndarray, *, all_gather_dimension: int, axis_size: int, tiled: bool, **params: Any
) -> np.ndarray:
    """What all devices along a mesh axis hold, side by side."""
    _require_one("all_gather", axis_size)
    return x if tiled else np.expand_dims(x, all_gather_dimension)


def reduce_scatter(
    x: np.ndarray, *, scatter_dimension: int, axis_size: int, tiled: bool, **params: Any
) -> np.ndarray:
    """Each device's share of the sum over all."""
    _require_one("reduce_scatter", axis_size)
    return x if tiled else np.squeeze(x, axis=scatter_dimension)


def all_to_all(
    x: np.ndarray, *, split_axis: int, concat_axis: int, tiled: bool = False, **params: Any
) -> np.ndarray:
    """Blocks along one axis exchanged for blocks along another."""
    return x if tiled else np.moveaxis(x, split_axis, concat_axis)


def ppermute(x: np.ndarray, *, perm: Any, **params: Any) -> np.ndarray:
    """What another device held, or zeros."""
    if perm:
        return x
    return as_balls(np.zeros(x.shape)) if x.dtype == object else np.zeros_like(x)


def _require_one(primitive: str, axis_size: int) -> None:
    if axis_size != 1:
        raise UnsupportedPrimitive(primitive, "a program for several devices")


COLLECTIVES: dict[str, Rule] = {
    "all_gather": all_gather,
    "all_gather_invariant": all_gather,
    "all_gather_reduced": all_gather,
    "all_to_all": all_to_all,
    "pbroadcast": unchanged,
    "ppermute": ppermute,
    "reduce_scatter": reduce_scatter,
    "unreduced_reduce_scatter": reduce_scatter,
}


# --- the rules -----------------------------------------------------------------------------------


def approx_top_k(
    operand: np.ndarray, *, k: int, reduction_dimension: int, is_max_k: bool, **params: Any
) -> list[np.ndarray]:
    """The k largest or smallest entries: on a CPU the approximation is exact."""
    if is_max_k:
        return top_k(operand, k=k, axis=reduction_dimension)
    negated, places = top_k(-operand, k=k, axis=reduction_dimension)
    return [-negated, places]


SCATTERED = {
    "add": add, "max": balls.maximum, "min": balls.minimum, "mul": operator.mul, "sub": subtract,
}  # fmt: skip
RULES: dict[str, Rule] = {
    "approx_top_k": approx_top_k,
    "argmax": arg_best(balls.greater),
    "argmin": arg_best(balls.less),
    **{
        f"scatter{joint}{name}": scatter_with(combine)
        for joint in "-_"
        for name, combine in SCATTERED.items()
    },
    "sort": sort,
    "top_k": top_k,
}
