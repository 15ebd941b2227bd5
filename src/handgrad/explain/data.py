"""An explanation as plain data, for JSON: words, numbers, and arrays as summaries."""

import math
from typing import Any

import numpy as np

from handgrad.explain.derivation_view import DerivationView
from handgrad.explain.leaves import GradientLeaf, Leaves
from handgrad.explain.summary import (
    as_numpy,
    fitted,
    format_array,
    format_block,
    format_range,
    summarise,
)
from handgrad.explain.tape import Folding, Tape, TapeEquation, TapeValue, fold

LISTED = 256
"""Up to this many entries a leaf of the gradient is written in full digits."""
COMPUTED = 2_000
"""Up to this many entries an array is there in full digits for a page to compute with."""


def data(
    name: str, tape: Tape, leaves: Leaves, derivation: DerivationView, notes: tuple[str, ...]
) -> dict[str, Any]:
    """Everything that is shown, in words and numbers that JSON has."""
    return {
        "format": "handgrad explanation 3",
        "name": name,
        "identical": all(leaf.identical for leaf in leaves),
        **tape_data(tape, fold(tape)),
        "gradient": [_leaf(leaf) for leaf in leaves],
        "derivation": {
            "title": derivation.title,
            "of": derivation.of,
            "given": derivation.given,
            "lines": [
                {
                    "formula": line.formula,
                    "reason": line.reason,
                    "value": list(map(format_array, line.value)),
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


def tape_data(tape: Tape, folding: Folding) -> dict[str, Any]:
    """Both passes: values, equations, and which equations fold away."""
    given = {*tape.inputs, *(v.index for v in tape.values if v.kind == "constant")}
    for equation in tape.equations:
        if equation.operation is None or not equation.inputs:
            given.update(equation.outputs)
        if equation.primitive == "cond":
            given.add(equation.inputs[0])  # another branch than the recorded one is not known
    return {
        "values": [_value(tape, v, folding, v.index in given) for v in tape.values],
        "equations": [_equation(tape, equation, folding) for equation in tape.equations],
        "inputs": list(tape.inputs),
        "wanted": list(tape.wanted),
        "outputs": list(tape.outputs),
        "backward": [equation.index for equation in tape.backward],
    }


def _value(tape: Tape, value: TapeValue, folding: Folding, given: bool) -> dict[str, Any]:
    return {
        "name": value.name or tape.name(value.index),
        "folded_name": folding.names.get(value.index),
        "lets_through": folding.lets_through.get(value.index),
        "kind": value.kind,
        "fixed": value.index in tape.fixed,
        "wanted": value.index in tape.wanted,
        "active": value.active,
        "array": array_data(value.array),
        "cotangent": array_data(value.cotangent),
        "numbers": _flat(value.array) if given else None,
    }


def _equation(tape: Tape, equation: TapeEquation, folding: Folding) -> dict[str, Any]:
    source, body = equation.source, equation.body
    return {
        "primitive": equation.primitive,
        "formula": tape.formula(equation),
        "folded": equation.index in folding.hidden,
        "folded_formula": tape.formula(equation, folding.names),
        "inputs": list(equation.inputs),
        "outputs": list(equation.outputs),
        "active": equation.active,
        "calls": [call for call in equation.calls if call],
        "place": str(source) if source else "",
        "function": source.function if source else "",
        "code": source.code if source else "",
        "jacobians": [
            j and {"text": j.description, "entries": array_data(j.entries)}
            for j in equation.jacobians
        ],
        "sent": list(map(array_data, equation.sent)),
        "operation": equation.operation,
        "body": body
        and {
            "title": body.title,
            "order": list(body.order),
            "runs": [tape_data(run, fold(run, guards=False)) for run in body.runs],
        },
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
        "hand": _numbers(leaf.hand),
        "hand_ulp": _finite(leaf.hand_ulp),
        "hand_equal": leaf.hand_equal,
    }


def array_data(array: Any) -> dict[str, Any] | None:
    """A summary: its kind, a block of numbers, and the range where not all of them are shown."""
    if array is None:
        return None
    summary = summarise(array)
    return {
        "shape": list(summary.shape),
        "dtype": summary.dtype,
        "kind": summary.kind,
        "text": summary.text,
        "short": fitted(array),
        "block": format_block(summary),
        "range": format_range(summary),
    }


def _flat(array: Any) -> list[float | str] | None:
    """All entries in full digits, of an array that a page can compute with."""
    found = as_numpy(array)
    if found is None or found.dtype.kind not in "biuf" or found.size > COMPUTED:
        return None
    return _finite(found.astype(np.float64).ravel().tolist())


def _numbers(array: Any) -> Any:
    found = as_numpy(array)
    if found is None or found.size > LISTED:
        return array_data(array)
    return _finite(found.astype(np.float64).tolist())


def _finite(entry: Any) -> Any:
    """Numbers in lists of lists, with words for those that JSON does not have."""
    if isinstance(entry, list):
        return [_finite(e) for e in entry]
    return entry if entry is None or math.isfinite(entry) else str(entry)
