"""An explanation as plain data, for JSON: words, numbers, and arrays as summaries."""

import math
from typing import Any

import numpy as np

from handgrad.explain.derivation_view import DerivationView
from handgrad.explain.leaves import GradientLeaf, Leaves
from handgrad.explain.summary import (
    as_numpy,
    format_block,
    format_range,
    format_summary,
    summarise,
)
from handgrad.explain.tape import Tape, TapeEquation, TapeValue

LISTED = 256
"""Up to this many entries a leaf of the gradient is written in full digits."""


def data(
    name: str, tape: Tape, leaves: Leaves, derivation: DerivationView, notes: tuple[str, ...]
) -> dict[str, Any]:
    """Everything that is shown, in words and numbers that JSON has."""
    return {
        "format": "handgrad explanation 2",
        "name": name,
        "identical": all(leaf.identical for leaf in leaves),
        "values": [_value(tape, value) for value in tape.values],
        "equations": [_equation(tape, equation) for equation in tape.equations],
        "inputs": list(tape.inputs),
        "wanted": list(tape.wanted),
        "loss": tape.output,
        "backward": [equation.index for equation in tape.backward],
        "gradient": [_leaf(leaf) for leaf in leaves],
        "derivation": {
            "title": derivation.title,
            "of": derivation.of,
            "given": derivation.given,
            "lines": [
                {
                    "formula": line.formula,
                    "reason": line.reason,
                    "value": [format_summary(summary) for summary in line.value],
                    "matches": [
                        {"value": m.index, "of": "cotangent" if m.cotangent else "value"}
                        for m in line.matches
                    ],
                }
                for line in derivation.lines
            ],
        },
        "notes": list(notes),
    }


def _value(tape: Tape, value: TapeValue) -> dict[str, Any]:
    return {
        "name": value.name or tape.name(value.index),
        "kind": value.kind,
        "fixed": value.index in tape.fixed,
        "wanted": value.index in tape.wanted,
        "active": value.active,
        "array": array_data(value.array),
        "cotangent": None if value.cotangent is None else array_data(value.cotangent),
    }


def _equation(tape: Tape, equation: TapeEquation) -> dict[str, Any]:
    source = equation.source
    return {
        "primitive": equation.primitive,
        "formula": tape.formula(equation),
        "inputs": list(equation.inputs),
        "outputs": list(equation.outputs),
        "active": equation.active,
        "calls": [call for call in equation.calls if call],
        "place": str(source) if source else "",
        "function": source.function if source else "",
        "code": source.code if source else "",
        "jacobians": [
            jacobian
            and {
                "text": jacobian.description,
                "entries": None if jacobian.entries is None else array_data(jacobian.entries),
            }
            for jacobian in equation.jacobians
        ],
        "sent": [None if s is None else array_data(s) for s in equation.sent],
        "body_title": equation.body_title,
        "body": [f"{inner}   {summarise(inner.array).text}" for inner in equation.body],
    }


def _leaf(leaf: GradientLeaf) -> dict[str, Any]:
    return {
        "name": leaf.name,
        "value": leaf.value,
        "tape": _numbers(leaf.tape),
        "jax.grad": _numbers(leaf.autodiff),
        "identical": leaf.identical,
        "identical_unfused": leaf.identical_unfused,
        "autodiff_ulp": _finite(leaf.autodiff_ulp),
        "hand": None if leaf.hand is None else _numbers(leaf.hand),
        "hand_ulp": None if leaf.hand_ulp is None else _finite(leaf.hand_ulp),
        "hand_equal": leaf.hand_equal,
    }


def array_data(array: Any) -> dict[str, str]:
    """A summary: its kind, a block of numbers, and the range where not all of them are shown."""
    summary = summarise(array)
    return {
        "kind": summary.kind,
        "text": summary.text,
        "block": format_block(summary),
        "range": format_range(summary),
    }


def _numbers(array: Any) -> Any:
    found = as_numpy(array)
    if found is None or found.size > LISTED:
        return array_data(array)
    return _nested(found.astype(np.float64).tolist())


def _nested(entry: Any) -> Any:
    return [_nested(e) for e in entry] if isinstance(entry, list) else _finite(entry)


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
