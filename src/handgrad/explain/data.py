"""An explanation as plain data: what the page and the JSON file hold, arrays as summaries."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from handgrad.explain.drawing import draw
from handgrad.explain.summary import Summary, number, plain, summarise
from handgrad.explain.tape import Equation, Tape

if TYPE_CHECKING:
    from handgrad.explain.explanation import Explanation

LISTED = 256
"""Up to this many entries a leaf of the gradient is written in full digits."""


def as_data(explanation: "Explanation") -> dict[str, Any]:
    """Everything that is shown, in words and numbers that JSON has."""
    tape = explanation.tape
    lights = draw(tape).stands_for
    values = [
        {
            "name": v.name or tape.name(v.index), "kind": v.kind,
            "fixed": v.index in tape.fixed, "wanted": v.index in tape.wanted,
            "active": v.active, "array": array_data(v.array),
            "cotangent": None if v.cotangent is None else array_data(v.cotangent),
        }
        for v in tape.values
    ]  # fmt: skip
    return {
        "format": "handgrad explanation 1",
        "name": explanation.name,
        "identical": explanation.identical,
        "values": values,
        "equations": [_equation(tape, e) | {"node": lights[e.index]} for e in tape.equations],
        "inputs": list(tape.inputs),
        "wanted": list(tape.wanted),
        "loss": tape.output,
        "backward": [e.index for e in tape.backward],
        "gradient": [
            {
                "name": leaf.name, "value": leaf.value, "tape": _numbers(leaf.tape),
                "jax.grad": _numbers(leaf.autodiff), "identical": leaf.identical,
                "autodiff_ulp": _finite(leaf.autodiff_ulp),
                "hand": None if leaf.hand is None else _numbers(leaf.hand),
                "hand_ulp": None if leaf.hand_ulp is None else _finite(leaf.hand_ulp),
                "hand_equal": leaf.hand_equal,
            }
            for leaf in explanation.leaves
        ],
        "derivation": {
            "title": explanation.title, "of": explanation.of, "given": explanation.given,
            "lines": [
                {
                    "formula": line.formula, "reason": line.reason,
                    "value": [told(summary) for summary in line.value],
                    "meets": [
                        {"value": m.index, "of": "cotangent" if m.cotangent else "value"}
                        for m in line.meets
                    ],
                }
                for line in explanation.lines
            ],
        },
        "notes": list(explanation.notes),
    }  # fmt: skip


def _equation(tape: Tape, equation: Equation) -> dict[str, Any]:
    origin = equation.origin
    return {
        "primitive": equation.primitive,
        "formula": tape.formula(equation),
        "inputs": list(equation.inputs),
        "outputs": list(equation.outputs),
        "active": equation.active,
        "calls": [call for call in equation.calls if call],
        "place": str(origin) if origin else "",
        "function": origin.function if origin else "",
        "code": origin.code if origin else "",
        "slopes": [
            s and {"said": s.said, "entries": None if s.entries is None else array_data(s.entries)}
            for s in equation.slopes
        ],
        "sent": [None if s is None else array_data(s) for s in equation.sent],
        "opened": equation.opened,
        "body": [f"{inner}   {summarise(inner.array).text}" for inner in equation.body],
    }


def array_data(array: Any) -> dict[str, str]:
    """A summary: its kind, a block of numbers, and the range where not all of them are shown."""
    summary = summarise(array)
    return {
        "kind": summary.kind,
        "text": summary.text,
        "block": block(summary),
        "range": span(summary),
    }


def span(summary: Summary) -> str:
    """`from −1.2 to 3.4, mean 0.5` for an array that is not shown whole."""
    if summary.whole or summary.low is None or summary.high is None or summary.mean is None:
        return ""
    low, high, mean = (number(x) for x in (summary.low, summary.high, summary.mean))
    return f"from {low} to {high}, mean {mean}"


def block(summary: Summary) -> str:
    """The entries that are shown, in columns."""
    if not summary.shape:
        return summary.rows[0][0]
    widths = [max(map(len, column)) for column in zip(*summary.rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in summary.rows
    ]
    if len(summary.shape) == 1:
        return "[" + "\n ".join(lines) + "]"
    return "\n".join(f"[{line}]" for line in lines)


def told(summary: Summary) -> str:
    """A summary on one line, as precise as it is short."""
    return f"{summary.kind} {summary.text}" if summary.shape else summary.text


def _numbers(array: Any) -> Any:
    found = plain(array)
    if found is None or found.size > LISTED:
        return array_data(array)
    return _nested(found.astype(np.float64).tolist())


def _nested(entry: Any) -> Any:
    return [_nested(e) for e in entry] if isinstance(entry, list) else _finite(entry)


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
