"""The data of "derive it yourself": lines of derivations with a gap, and what belongs there.

A gap is a piece of a line's own formula, so it cannot drift from the derivation. What belongs there
is written as one types it, as is the whole line around it; as the page is built, the line with that
in its place is held to the derivation's own value of that line, at every point the page judges at.
"""

import re
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from handgrad._precision import x64
from handgrad.derivations import derivation
from handgrad.derivations.latex import as_mathml, as_unicode

POINTS = 12
GAP = r"\square"
AGREE = 1e-9
"""Relative, between a line as typed and the derivation's value of it, in float64."""


@dataclass(frozen=True)
class Gap:
    """What is left out of a line, by its number from 1."""

    line: int
    piece: str
    """The part of the line's LaTeX that is left out: its first occurrence."""
    whole: str
    """The line as typed, with {} for the gap."""
    answer: str


@dataclass(frozen=True)
class Exercise:
    """A derivation, the names of its arguments, and its gaps."""

    name: str
    symbols: tuple[str, ...]
    gaps: tuple[Gap, ...]


EXERCISES = (
    Exercise("sigmoid", ("z",), (
        Gap(4, r"e^{-z}", "{}/(1+exp(-z))^2", "exp(-z)"),
        Gap(5, r"\frac{e^{-z}}{1+e^{-z}}", "1/(1+exp(-z)) * {}", "exp(-z)/(1+exp(-z))"),
        Gap(7, r"(1 - \sigma(z))", "sigma(z) * {}", "1 - sigma(z)"),
        Gap(8, r"\sigma(-z)", "sigma(z) * {}", "sigma(-z)"),
    )),
    Exercise("softplus", ("z",), (
        Gap(4, r"e^{z}", "{}/(1+exp(z))", "exp(z)"),
        Gap(5, r"e^{-z}+1", "1/({})", "exp(-z)+1"),
        Gap(6, r"\sigma(z)", "{}", "sigma(z)"),
    )),
    Exercise("log_sigmoid", ("z",), (
        Gap(3, r"(1 - \sigma(z))", "sigma(z)*({})/sigma(z)", "1 - sigma(z)"),
        Gap(4, r"\sigma(z)", "1 - {}", "sigma(z)"),
        Gap(5, r"\sigma(-z)", "{}", "sigma(-z)"),
    )),
    Exercise("tanh", ("z",), (
        Gap(4, r"(e^{z}-e^{-z})^2",
            "((exp(z)+exp(-z))^2 - {})/(exp(z)+exp(-z))^2", "(exp(z)-exp(-z))^2"),
        Gap(5, r"\tanh^2 z", "1 - {}", "tanh(z)^2"),
        Gap(6, r"4 e^{z} e^{-z}", "{}/(exp(z)+exp(-z))^2", "4 exp(z) exp(-z)"),
    )),
    Exercise("residual", ("z", "y"), (
        Gap(6, r"\hat y (1-\hat y)", "(-y/p + (1-y)/(1-p)) * {}", "p*(1-p)"),
        Gap(7, r"(1-y) \hat y", "-y*(1-p) + {}", "(1-y)*p"),
        Gap(9, r"\hat y - y", "{}", "p - y"),
        Gap(12, r"\sigma(-z)", "(1-y)*sigma(z) - y*{}", "sigma(-z)"),
    )),
)  # fmt: skip


class GapError(Exception):
    """A gap that does not belong to its derivation."""


def data() -> dict[str, Any]:
    """Every exercise with its lines as MathML, its points, and the value of each gap there."""
    return {"exercises": [_exercise(entry) for entry in EXERCISES]}


def _exercise(entry: Exercise) -> dict[str, Any]:
    found = derivation(entry.name)
    gaps = {gap.line: gap for gap in entry.gaps}
    with x64():
        drawn = [found.example(jax.random.key(seed)) for seed in range(POINTS // 3)]
        columns = zip(*drawn, strict=True)
        args = tuple(np.concatenate([np.ravel(part) for part in parts]) for parts in columns)
        at = dict(zip(entry.symbols, args, strict=True))
        at["p"] = 1 / (1 + np.exp(-at["z"]))
        lines = []
        for number, step in enumerate(found.steps, 1):
            line = {"reason": step.reason, "math": as_mathml(step.formula), "gap": None}
            if number in gaps:
                gap = gaps[number]
                _check(entry, gap, step, args, at)
                line["open"] = as_mathml(step.formula.replace(gap.piece, GAP, 1))
                line["spoken"] = as_unicode(step.formula.replace(gap.piece, r"\text{gap}", 1))
                line["gap"] = {"answer": gap.answer, "values": typed(gap.answer, at).tolist()}
            lines.append(line)
    return {
        "name": entry.name,
        "title": found.title,
        "of": as_mathml(found.of),
        "given": found.given,
        "symbols": [*entry.symbols, *(["p"] if "y" in entry.symbols else [])],
        "points": {symbol: values.tolist() for symbol, values in at.items()},
        "lines": lines,
    }


def _check(entry: Exercise, gap: Gap, step: Any, args: tuple, at: dict[str, Any]) -> None:
    """Hold a line with the answer in its place to the derivation's own value of the line."""
    where = f"{entry.name}, line {gap.line}"
    if gap.piece not in step.formula:
        raise GapError(f"{where}: {gap.piece!r} is not in {step.formula!r}")
    mine = typed(gap.whole.replace("{}", f"({gap.answer})"), at)
    theirs = np.asarray(step.value(*map(jax.numpy.asarray, args)), np.float64)
    if not np.allclose(mine, theirs, rtol=AGREE, atol=0):
        raise GapError(f"{where}: {gap.answer!r} in {gap.whole!r} is not the line")


FUNCTIONS = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "sqrt": np.sqrt, "abs": np.abs,
    "sigma": lambda z: 1 / (1 + np.exp(-z)),
}  # fmt: skip
"""What may be typed; the page has the same."""


def typed(text: str, at: dict[str, Any]) -> np.ndarray:
    """The value of what one types, at points: + − * / ^, functions, and products by juxtaposition.

    >>> typed("2 z^2", {"z": np.array([3.0])}).tolist()
    [18.0]
    """
    words = re.sub(r"(?<=[\w)])\s+(?=[A-Za-z(])", "*", text.replace("^", "**"))
    return np.asarray(eval(words, {"__builtins__": {}}, {**FUNCTIONS, **at}), np.float64)
