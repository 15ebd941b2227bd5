"""Scatters, sorts and searches: positions decide, and comparisons decide the positions."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flint import arb

from handgrad.exact import order
from handgrad.exact.balls import as_balls, settling
from handgrad.exact.elementwise import Rule, add, multiply, subtract


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
    positions = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
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
    if order.equal(a, b):
        return 0
    return -1 if a < b else 1


def sort(*operands: np.ndarray, dimension: int, num_keys: int, **params: Any) -> list[np.ndarray]:
    """All operands in the order of the first `num_keys`, along one axis; equal keys stay put."""

    def row_order(keys: list[np.ndarray]) -> list[int]:
        def by_keys(i: int, j: int) -> int:
            return next((c for key in keys if (c := compare(key[i], key[j]))), 0)

        return sorted(range(len(keys[0])), key=functools.cmp_to_key(by_keys))

    moved = [np.moveaxis(operand, dimension, -1) for operand in operands]
    results = [operand.copy() for operand in moved]
    for place in np.ndindex(moved[0].shape[:-1]):
        order_here = row_order([key[place] for key in moved[:num_keys]])
        for result, operand in zip(results, moved, strict=True):
            result[place] = operand[place][order_here]
    return [np.moveaxis(result, -1, dimension) for result in results]


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


def arg_best(better: Callable[[arb, arb], bool]) -> Rule:
    """The index of the best entry along an axis; the first of equals."""

    def rule(x: np.ndarray, *, axes: Any, index_dtype: Any, **params: Any) -> np.ndarray:
        moved = np.moveaxis(as_balls(x), axes[0], -1)
        result = np.zeros(moved.shape[:-1], dtype=index_dtype)
        for place in np.ndindex(moved.shape[:-1]):
            best = 0
            for index, ball in enumerate(moved[place]):
                if index and better(ball, moved[place][best]):
                    best = index
            result[place] = best
        return result

    return rule


RULES: dict[str, Rule] = {
    "argmax": arg_best(order.greater),
    "argmin": arg_best(order.less),
    "scatter-add": scatter_with(add),
    "scatter_add": scatter_with(add),
    "scatter-sub": scatter_with(subtract),
    "scatter_sub": scatter_with(subtract),
    "scatter-mul": scatter_with(multiply),
    "scatter_mul": scatter_with(multiply),
    "scatter-max": scatter_with(order.maximum),
    "scatter_max": scatter_with(order.maximum),
    "scatter-min": scatter_with(order.minimum),
    "scatter_min": scatter_with(order.minimum),
    "sort": sort,
    "top_k": top_k,
}
