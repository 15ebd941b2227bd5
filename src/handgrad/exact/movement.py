"""Data movement: no arithmetic, so one rule serves every primitive that only moves entries.

Run the primitive on integer positions in place of the values, then pick the balls at the
positions that came out. The most frequent movements are also written in NumPy, which spares XLA
a compilation for every new shape; those serve integers as well.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from handgrad.exact.balls import NAN, as_balls, boxed

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

    JAX's own gradients of products and of grouped convolutions do give that order.
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
    chosen = np.broadcast_to(cases[0], cases[0].shape)
    for index, case in enumerate(cases[1:], start=1):
        chosen = np.where(np.asarray(which) == index, case, chosen)
    return chosen


def unchanged(x: Any, **params: Any) -> Any:
    """The identity: precision, placement and names are no matter of real numbers."""
    return x


def all_unchanged(*operands: Any, **params: Any) -> list[Any]:
    """The identity on several operands."""
    return list(operands)


# Written in NumPy; they serve balls and integers alike.
DIRECT: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": broadcast_in_dim,
    "concatenate": concatenate,
    "copy": unchanged,
    "copy_p": unchanged,
    "layout_constraint": unchanged,
    "mesh_cast": unchanged,
    "name": unchanged,
    "optimization_barrier": all_unchanged,
    "pad": pad,
    "device_put": all_unchanged,
    "pvary": all_unchanged,
    "reduce_precision": unchanged,
    "reshape": reshape,
    "rev": rev,
    "select_n": select_n,
    "sharding_constraint": unchanged,
    "slice": static_slice,
    "squeeze": squeeze,
    "stop_gradient": unchanged,
    "transpose": transpose,
}
