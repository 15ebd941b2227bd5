"""Values that may stand in a formula: those of a loss, and what its derivative has in it besides.

A stable loss never forms ŷ, but its gradient does; so σ, tanh and softmax of each value are here
too, with one-hot labels, labels as signs, and columns of the data.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from handgrad.verify.intermediates import Point

MOST_COLUMNS, MOST_CLASSES = 8, 4096
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
    """Every value of the loss, then what is derived from them: once each, under its first name."""
    arrays = [p for p in points if p.value.ndim]
    data = [p for p in arrays if p.made_by == "input" and not p.moves]
    found = [Base(p.name, p.value, 0.0 if p.made_by == "input" else 0.3) for p in arrays]
    found += _labels(integers, {p.value.shape[-1] for p in arrays if p.value.ndim == 2})
    found += [
        Base(b.name, b.value, b.cost + (p.made_by not in LOGITS))
        for p in arrays if p.moves and p.made_by in LOGITS | ACTIVATIONS
        for b in derived(Base(p.name, p.value))
    ]  # fmt: skip
    for p in data:
        if np.isin(p.value, (0, 1)).all():
            found.append(Base(f"2{p.name} − 1", 2 * p.value - 1, 1.0))
        if p.value.ndim == 2:
            columns = range(min(MOST_COLUMNS, p.value.shape[1]))
            found += [Base(f"{p.name}[:, {k}]", p.value[:, k], 1.5) for k in columns]
            found.append(Base(f"Σ {p.name}", p.value.sum(axis=1), 2.0))
    found.append(Base("1", np.ones(()), 1.0))
    once: dict[tuple, Base] = {}
    for base in sorted(found, key=lambda b: b.cost):
        once.setdefault((base.value.shape, np.round(base.value, 12).tobytes()), base)
    return list(once.values())


def _labels(integers: Sequence[tuple[str, np.ndarray]], classes: set[int]) -> list[Base]:
    """One-hot rows of what may be labels, and of labels counted from elsewhere."""
    return [
        Base(f"one_hot({name}{words})", np.roll(np.eye(k)[value], shift, axis=1), 2.0 * abs(shift))
        for name, value in integers if value.ndim == 1 and value.size and value.min() >= 0
        for k in classes if value.max() < k <= MOST_CLASSES
        for shift, words in ((0, ""), (1, " + 1"), (-1, " − 1"))
    ]  # fmt: skip


def fitting(base: Base, shape: tuple[int, ...]) -> np.ndarray | None:
    """The value in the shape of a cotangent: as it is, or along its leading axes; else None."""
    value = base.value
    if value.ndim < len(shape) and value.shape == shape[: value.ndim]:
        value = value.reshape(*value.shape, *[1] * (len(shape) - value.ndim))
    try:
        return np.broadcast_to(value, shape) if value.ndim <= len(shape) else None
    except ValueError:
        return None
