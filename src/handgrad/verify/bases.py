"""Values that may stand in a formula: those of a loss, and what its derivative has in it besides.

A stable loss never forms ŷ, but its gradient does; so σ, tanh and softmax of each value are here
too, with one-hot labels, labels as signs, and columns of the data.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from handgrad.verify.intermediates import Point


# What makes a logit, and what may be taken for one.
LOGITS = frozenset({"input", "dot_general", "add"})
ACTIVATIONS = frozenset({"sub", "mul", "div", "logistic", "tanh", "max"})


class Base(NamedTuple):
    """A value that may stand in a formula: its name, and the value in some shape."""

    name: str
    value: np.ndarray
    cost: float = 0.0


def derived(v: Base) -> Iterator[Base]:
    """σ, tanh and softmax of a value: stable losses have them in their derivative only."""
    x = v.value
    with np.errstate(over="ignore"):
        once = 1 / (1 + np.exp(-x))
        yield Base(f"σ({v.name})", once, 1.0)
        yield Base(f"tanh({v.name})", np.tanh(x), 1.0)
        yield Base(f"σ(σ({v.name}))", 1 / (1 + np.exp(-once)), 2.0)
    yield Base(f"1[{v.name} > 0]", np.where(x > 0, 1.0, 0.0), 1.5)
    for axis in reversed(range(x.ndim)):
        if x.shape[axis] > 1:
            which = "" if axis == x.ndim - 1 else f" over axis {axis}"
            p = _softmax(x, axis)
            yield Base(f"softmax({v.name}){which}", p, 1.0 + bool(which))
            if not which:
                yield Base(f"softmax(softmax({v.name}))", _softmax(p, axis), 2.0)


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def bases(points: Sequence[Point], integers: Sequence[tuple[str, np.ndarray]]) -> list[Base]:
    """Every value of the loss once, under its first name; then what is derived from them."""
    found, seen = [], set()
    for point in points:
        key = (point.value.shape, np.round(point.value, 12).tobytes())
        if point.value.ndim and key not in seen:
            seen.add(key)
            found.append(Base(point.name, point.value, 0.0 if point.made_by == "input" else 0.3))
    for name, value in integers:
        if value.ndim == 1 and value.size and value.min() >= 0 and value.max() < 4096:
            for k in {p.value.shape[-1] for p in points if p.value.ndim == 2}:
                if value.max() < k:
                    for shift, words in ((0, name), (1, f"{name} + 1"), (-1, f"{name} − 1")):
                        rows = np.roll(np.eye(k)[value], shift, axis=1)
                        found.append(Base(f"one_hot({words})", rows, 2.0 * bool(shift)))
    grown = [
        Base(b.name, b.value, b.cost + (p.made_by not in LOGITS))
        for p in points if p.moves and p.value.ndim and p.made_by in LOGITS | ACTIVATIONS
        for b in derived(Base(p.name, p.value))
    ]  # fmt: skip
    columns = [
        Base(f"{b.name}[:, {j}]", b.value[:, j], 1.5)
        for b in found if b.value.ndim == 2 and b.value.shape[1] <= 8
        for j in range(b.value.shape[1])
    ]  # fmt: skip
    sums = [Base(f"Σ {b.name}", b.value.sum(axis=1), 2.0) for b in found if b.value.ndim == 2]
    signs = [
        Base(f"2{p.name} − 1", 2 * p.value - 1, 1.0) for p in points
        if p.made_by == "input" and np.isin(p.value, (0, 1)).all()
    ]  # fmt: skip
    return [*found, *grown, *columns, *sums, *signs, Base("1", np.ones(()), 1.0)]


def fitting(base: Base, shape: tuple[int, ...]) -> np.ndarray | None:
    """The value in the shape of a cotangent: as it is, or along its leading axes; else None."""
    value = base.value
    if value.ndim < len(shape) and value.shape == shape[: value.ndim]:
        value = value.reshape(*value.shape, *[1] * (len(shape) - value.ndim))
    try:
        return np.broadcast_to(value, shape) if value.ndim <= len(shape) else None
    except ValueError:
        return None
