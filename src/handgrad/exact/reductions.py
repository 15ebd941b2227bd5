"""Sums, products and extremes: over axes, up to each entry, and under windows."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flint import arb

from handgrad import jaxprs
from handgrad.errors import UnsupportedPrimitive
from handgrad.exact import balls
from handgrad.exact.balls import (
    NEG_INF,
    ONE,
    POS_INF,
    ZERO,
    as_balls,
    boxed,
    finite_entries,
    settling,
    zero_entries,
)
from handgrad.exact.elementwise import FEW, Rule, add, logarithm
from handgrad.exact.linear_algebra import matrix_product
from handgrad.exact.movement import first_best, spread

Run = Callable[[Any, list[Any]], list[Any]]


def reduction(combine: Callable[[arb, arb], arb], start: arb) -> Rule:
    """A rule that combines all entries over the named axes; `start` stands for none."""
    ufunc = np.frompyfunc(settling(combine), 2, 1)

    def rule(x: Any, *, axes: Any, **params: Any) -> np.ndarray:
        x = as_balls(x)
        axes = tuple(axes)
        if not axes:
            return x
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        shape = [x.shape[axis] for axis in kept]
        count = math.prod(x.shape[axis] for axis in axes)
        flat = np.transpose(x, (*kept, *axes)).reshape((*shape, count))
        if flat.shape[-1] == 0:
            return np.full(shape, start, dtype=object)
        return boxed(ufunc.reduce(flat, axis=-1))

    return rule


_careful_sum = reduction(add, ZERO)


def sum_over(x: Any, *, axes: Any, **params: Any) -> np.ndarray:
    """Σ over the named axes; numbers other than 0 are added at once."""
    x = as_balls(x)
    if not axes or x.size <= FEW or zero_entries(x).any():
        return _careful_sum(x, axes=axes)
    result = boxed(np.add.reduce(x, axis=tuple(axes)))
    return result if finite_entries(result).all() else _careful_sum(x, axes=axes)


def running(combine: Callable[[arb, arb], arb]) -> Rule:
    """A rule that combines all entries up to each one, from the front or from the back."""
    ufunc = np.frompyfunc(settling(combine), 2, 1)

    def rule(x: Any, *, axis: int, reverse: bool = False, **params: Any) -> np.ndarray:
        x = np.flip(as_balls(x), axis) if reverse else as_balls(x)
        result = ufunc.accumulate(x, axis=axis, dtype=object) if x.size else x
        return np.flip(result, axis) if reverse else result

    return rule


_running_sum = running(add)


def cumlogsumexp(x: Any, *, axis: int, reverse: bool = False, **params: Any) -> np.ndarray:
    """log Σ exp(x) up to each entry; balls do not overflow, so no maximum is subtracted."""
    exponentials = np.frompyfunc(arb.exp, 1, 1)(as_balls(x))
    sums = _running_sum(exponentials, axis=axis, reverse=reverse)
    return boxed(np.frompyfunc(logarithm, 1, 1)(sums))


# --- windows ----------------------------------------------------------------------------------


def windows(
    x: np.ndarray, fill: Any, *, window_dimensions: Sequence[int], window_strides: Sequence[int],
    padding: Sequence[Any], base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None, **params: Any,
) -> np.ndarray:  # fmt: skip
    """The entries under every window, along a new last axis; `fill` stands for what is outside."""
    dilation = window_dilation or (1,) * x.ndim
    x = spread(x, base_dilation or (1,) * x.ndim, padding, fill)
    reach = [(k - 1) * d for k, d in zip(window_dimensions, dilation, strict=True)]
    stops = [max(0, n - r) for n, r in zip(x.shape, reach, strict=True)]

    def layer(offset: tuple[int, ...]) -> np.ndarray:
        starts = [o * d for o, d in zip(offset, dilation, strict=True)]
        ends = [start + stop for start, stop in zip(starts, stops, strict=True)]
        return x[tuple(map(slice, starts, ends, window_strides))]

    return np.stack([layer(offset) for offset in np.ndindex(*window_dimensions)], axis=-1)


def pooling(combine: Callable[[arb, arb], arb], start: arb) -> Rule:
    """The rule that combines what lies under each window."""
    ufunc = np.frompyfunc(settling(combine), 2, 1)

    def rule(x: Any, **params: Any) -> np.ndarray:
        return boxed(ufunc.reduce(windows(as_balls(x), start, **params), axis=-1))

    return rule


def select_and_gather_add(
    tangents: Any, operand: Any, *, select_prim: Any, **params: Any
) -> np.ndarray:
    """The entry of `tangents` where each window of `operand` has its (first) extreme."""
    better, fill = _extreme(select_prim)
    values = windows(as_balls(operand), fill, **params)
    candidates = windows(as_balls(tangents), ZERO, **params)
    result = np.empty(values.shape[:-1], dtype=object)
    for place in np.ndindex(result.shape):
        result[place] = candidates[place][first_best(values[place], better)]
    return result


def _extreme(select_prim: Any) -> tuple[Callable[[arb, arb], bool], arb]:
    """What is better than the best so far, and what is worse than all."""
    if select_prim.name in ("ge", "gt"):
        return balls.greater, NEG_INF
    return balls.less, POS_INF


def select_and_scatter_add(
    source: Any, operand: Any, *, select_prim: Any, **params: Any
) -> np.ndarray:
    """Each entry of `source` added where its window has the extreme; the first of equals."""
    operand = as_balls(operand)
    better, fill = _extreme(select_prim)
    values = windows(operand, fill, **params)
    positions = windows(np.arange(operand.size).reshape(operand.shape), -1, **params)
    result = np.full(operand.size, ZERO, dtype=object)
    for place in np.ndindex(values.shape[:-1]):
        inside = positions[place] >= 0
        if inside.any():
            best = positions[place][inside][first_best(values[place][inside], better)]
            result[best] = result[best] + as_balls(source)[place]
    return result.reshape(operand.shape)


def conv_general_dilated(
    lhs: Any, rhs: Any, *, window_strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any,
    dimension_numbers: Any, feature_group_count: int, batch_group_count: int, **params: Any,
) -> np.ndarray:  # fmt: skip
    """A convolution as one matrix product for each group: (places, inputs) · (inputs, outputs)."""
    images = np.transpose(as_balls(lhs), dimension_numbers.lhs_spec)  # batch, channel, space
    kernel = np.transpose(as_balls(rhs), dimension_numbers.rhs_spec)  # output, input, space
    two = (1, 1)
    parts = []
    for image, weights in zip(
        np.split(images, batch_group_count), np.split(kernel, batch_group_count), strict=True
    ):
        patches = windows(
            image, ZERO, window_dimensions=(*two, *kernel.shape[2:]),
            window_strides=(*two, *window_strides), padding=((0, 0), (0, 0), *padding),
            base_dilation=(*two, *lhs_dilation), window_dilation=(*two, *rhs_dilation),
        )  # fmt: skip
        batch, channels, *space, inside = patches.shape
        width = channels * inside // feature_group_count
        rows = np.moveaxis(patches, 1, -2).reshape(-1, feature_group_count, width)
        groups = [
            matrix_product(rows[:, index], group.reshape(len(group), -1).T)
            for index, group in enumerate(np.split(weights, feature_group_count))
        ]
        parts.append(np.concatenate(groups, axis=1).reshape(batch, *space, len(weights)))
    result = np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)
    return np.moveaxis(result, range(result.ndim), dimension_numbers.out_spec)


# --- with an operation of the user's -------------------------------------------------------------


def collective(reduce: Rule) -> Rule:
    """A reduction over axes that `vmap` has made positions of; over one device: the identity."""

    def rule(*operands: Any, axes: Any, axis_index_groups: Any = None, **params: Any) -> list[Any]:
        positions = [axis for axis in axes if isinstance(axis, int)]
        if axis_index_groups is not None or (positions and len(positions) < len(axes)):
            raise UnsupportedPrimitive("psum", "only over whole axes, all of them positions")
        return [reduce(x, axes=positions) if positions else x for x in operands]

    return rule


def reduce_with(
    run: Run, *operands: Any, jaxpr: Any, dimensions: Any, consts: Any = (), **params: Any
) -> list[np.ndarray]:
    """All entries over some axes, combined one after the other by a program."""
    arrays = operands[: len(operands) // 2]
    kept = [axis for axis in range(np.ndim(arrays[0])) if axis not in dimensions]
    shape = [arrays[0].shape[axis] for axis in kept]
    rows = [np.transpose(x, (*kept, *dimensions)).reshape((*shape, -1)) for x in arrays]
    return _folded(run, jaxprs.closed(jaxpr, consts), rows, operands[len(arrays) :])


def reduce_window_with(
    run: Run, *operands: Any, jaxpr: Any, consts: Any, **params: Any
) -> list[np.ndarray]:
    """All entries under each window, combined one after the other by a program."""
    count = len(operands) // 2
    arrays, starts = operands[:count], operands[count:]
    rows = [windows(x, start[()], **params) for x, start in zip(arrays, starts, strict=True)]
    return _folded(run, jaxprs.closed(jaxpr, consts), rows, starts)


def _folded(run: Run, program: Any, rows: list[np.ndarray], starts: Any) -> list[np.ndarray]:
    """Each row of several arrays, along their last axis, folded into one entry."""
    results = [np.empty(row.shape[:-1], dtype=row.dtype) for row in rows]
    for place in np.ndindex(results[0].shape):
        state = list(starts)
        for entries in zip(*(row[place] for row in rows), strict=True):
            scalars = [np.asarray(x, dtype=row.dtype) for x, row in zip(entries, rows, strict=True)]
            state = run(program, [*state, *scalars])
        for result, value in zip(results, state, strict=True):
            result[place] = value[()]
    return results


max_over, min_over = reduction(balls.maximum, NEG_INF), reduction(balls.minimum, POS_INF)
psum = collective(sum_over)

# These are given `run(program, operands)` first.
PROGRAM_RULES: dict[str, Callable[..., list[np.ndarray]]] = {
    "reduce": reduce_with,
    "reduce_window": reduce_window_with,
}
RULES: dict[str, Rule] = {
    "pmax": collective(max_over),
    "pmin": collective(min_over),
    "psum": psum,
    "psum_invariant": psum,
    "unreduced_psum": psum,
    "conv_general_dilated": conv_general_dilated,
    "cumlogsumexp": cumlogsumexp,
    "cummax": running(balls.maximum),
    "cummin": running(balls.minimum),
    "cumprod": running(operator.mul),
    "cumsum": _running_sum,
    "reduce_max": max_over,
    "reduce_min": min_over,
    "reduce_prod": reduction(operator.mul, ONE),
    "reduce_sum": sum_over,
    "reduce_window_max": pooling(balls.maximum, NEG_INF),
    "reduce_window_min": pooling(balls.minimum, POS_INF),
    "reduce_window_sum": pooling(add, ZERO),
    "select_and_gather_add": select_and_gather_add,
    "select_and_scatter_add": select_and_scatter_add,
}
