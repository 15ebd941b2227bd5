"""Whether every line of a derivation equals the one before it: in balls, at several points.

A line is traced and evaluated over balls that contain its real value. Two lines agree at a point
if they do in every coordinate, to the digits asked for and relative to the number; wrong algebra
does not, whatever floats would make of it. A derivation whose first line is a `Limit` is anchored
in the function's values; one that begins with a definition is anchored in that. The balls enclose
every line but a limit, which is an estimate that stands still at two steps (`exact.derivative`).
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flint import arb, ctx

from handgrad import exact
from handgrad._precision import x64
from handgrad._types import Key
from handgrad.derivations.steps import Derivation, Limit, Step
from handgrad.errors import InputError
from handgrad.verify.mathematics import agreed_digits
from handgrad.verify.witnesses import named_leaves

POINTS = 3
GUARD_DIGITS = 2


@dataclass(frozen=True)
class CheckedLine:
    """One line beside the one before it; `number` counts from 1, and line 1 has none before."""

    number: int
    reason: str
    agrees: bool
    digits: int
    """To which the lines agree at the worst coordinate of all points; at most what was asked."""
    compared: int
    """Coordinates, over all points."""
    fault: str | None = None


@dataclass(frozen=True)
class Checked:
    """What came of checking a derivation."""

    name: str
    ok: bool
    digits: int
    points: int
    compared: int
    lines: tuple[CheckedLine, ...]

    @property
    def first_wrong(self) -> int | None:
        """The number of the first line that does not equal the one before it."""
        return next((line.number for line in self.lines if not line.agrees), None)

    @property
    def fault(self) -> str | None:
        """The first wrong line in words, or None."""
        return next((line.fault for line in self.lines if not line.agrees), None)


@dataclass(frozen=True)
class LineValue:
    """A line at one point: the names of its leaves, and their balls; or why it has none."""

    names: tuple[str, ...] = ()
    leaves: tuple[np.ndarray, ...] = ()
    trouble: str | None = None

    @property
    def frame(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes: two lines that differ in them are not equal."""
        return [(name, leaf.shape) for name, leaf in zip(self.names, self.leaves, strict=True)]


def check(derivation: Derivation, *, digits: int = 60, key: Key | None = None) -> Checked:
    """Compare every line with the one before, at `POINTS` examples drawn from `key`.

    Raises InputError for digits that cannot be asked for, or a derivation without two lines.

    >>> from handgrad.derivations import derivation
    >>> checked = check(derivation("softplus"), digits=30)
    >>> checked.ok, checked.digits, checked.first_wrong
    (True, 30, None)
    """
    if not isinstance(digits, int) or not 1 <= digits <= 1_000:
        raise InputError("digits", "1 to 1,000", digits, "60 is the custom here")
    if len(derivation.steps) < 2:
        raise InputError(
            "derivation", "two lines or more", f"{len(derivation.steps)} in {derivation.name}",
            "one line has nothing to equal",
        )  # fmt: skip
    points = examples(derivation, key)
    values = [line_values(step, points, digits) for step in derivation.steps]
    lines = [CheckedLine(1, derivation.steps[0].reason, True, digits, 0)]
    for number in range(2, len(values) + 1):
        before, here = values[number - 2], values[number - 1]
        lines.append(_checked_line(number, derivation.steps[number - 1], before, here, digits))
    return Checked(
        name=derivation.name,
        ok=all(line.agrees for line in lines),
        digits=min(line.digits for line in lines),
        points=len(points),
        compared=sum(line.compared for line in lines),
        lines=tuple(lines),
    )


def examples(derivation: Derivation, key: Key | None = None) -> list[tuple]:
    """The arguments at which a derivation is tried, in float64."""
    with x64():
        key = jax.random.key(0) if key is None else key
        return [derivation.example(jax.random.fold_in(key, i)) for i in range(POINTS)]


def line_values(step: Step, points: list[tuple], digits: int) -> list[LineValue]:
    """The value of a line at each point, in balls good for `digits` digits."""
    asked = digits + GUARD_DIGITS
    try:
        if isinstance(step.value, Limit):
            with x64():
                names = tuple(path for path, _ in named_leaves(step.value.shape(points[0])))
            return [LineValue(names, tuple(step.value.balls(args, asked))) for args in points]
        traced = exact.trace(step.value, *points[0])
        empty: Any = jax.tree.unflatten(traced.out_tree, [0] * traced.out_tree.num_leaves)
        names = tuple(path for path, _ in named_leaves(empty))
        rows = [exact.evaluate_jaxpr(traced.jaxpr, jax.tree.leaves(args), asked) for args in points]
        return [LineValue(names, tuple(map(_as_object, row))) for row in rows]
    except (exact.Undecided, exact.UnsupportedPrimitive) as trouble:
        return [LineValue(trouble=str(trouble))] * len(points)


def _as_object(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    return array if array.dtype == object else np.vectorize(arb, otypes=[object])(array)


def _checked_line(
    number: int, step: Step, before: list[LineValue], here: list[LineValue], digits: int
) -> CheckedLine:
    where, worst, compared = f"line {number} ({step.reason})", float(digits), 0
    faults: list[str] = []
    for point, (old, new) in enumerate(zip(before, here, strict=True), 1):
        trouble = new.trouble or old.trouble
        if trouble is None and new.frame != old.frame:
            trouble = f"it is {_shapes(new)} where line {number - 1} is {_shapes(old)}"
        if trouble is not None:
            return CheckedLine(number, step.reason, False, 0, compared, f"{where}: {trouble}")
        for name, mine, other in zip(new.names, new.leaves, old.leaves, strict=True):
            for index, a in np.ndenumerate(mine):
                b: Any = other[index]
                with ctx.workprec(4 * digits + 128):
                    agreed = agreed_digits(a, b)
                compared, worst = compared + 1, min(worst, agreed)
                if agreed < digits:
                    place = f"{name}{list(index)}" if index else name
                    at = f", at {place}" if place else ""
                    numbers = f"{_short(a)} where line {number - 1} has {_short(b)}"
                    faults.append(f"{where}: {numbers}{at} of point {point}")
    if compared == 0:
        faults.append(f"{where}: nothing to compare")
    reached = int(max(worst, 0.0)) if compared else 0
    fault = faults[0] if faults else None
    return CheckedLine(number, step.reason, fault is None, reached, compared, fault)


def _shapes(value: LineValue) -> str:
    return ", ".join(f"{name or 'an array'}{list(shape)}" for name, shape in value.frame)


def _short(ball: arb) -> str:
    return str(ball.str(12, radius=False)) if ball.is_finite() else "no number"
