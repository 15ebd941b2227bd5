"""Sums, products and extremes over axes, and their running versions."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flint import arb

from handgrad.exact import order
from handgrad.exact.balls import NEG_INF, ONE, POS_INF, ZERO, as_balls, boxed, settling
from handgrad.exact.elementwise import Rule, add, exponential, logarithm, multiply


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
        count = int(np.prod([x.shape[axis] for axis in axes]))
        flat = np.transpose(x, (*kept, *axes)).reshape((*shape, count))
        if flat.shape[-1] == 0:
            return np.full(shape, start, dtype=object)
        return boxed(ufunc.reduce(flat, axis=-1))

    return rule


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
    exponentials = np.frompyfunc(exponential, 1, 1)(as_balls(x))
    sums = _running_sum(exponentials, axis=axis, reverse=reverse)
    return boxed(np.frompyfunc(logarithm, 1, 1)(sums))


RULES: dict[str, Rule] = {
    "cumlogsumexp": cumlogsumexp,
    "cummax": running(order.maximum),
    "cummin": running(order.minimum),
    "cumprod": running(multiply),
    "cumsum": _running_sum,
    "reduce_max": reduction(order.maximum, NEG_INF),
    "reduce_min": reduction(order.minimum, POS_INF),
    "reduce_prod": reduction(multiply, ONE),
    "reduce_sum": reduction(add, ZERO),
}
