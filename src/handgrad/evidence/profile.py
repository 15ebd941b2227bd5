"""The error against the logit: the worst errors of blocks of inputs, gathered into bins."""

from dataclasses import asdict
from typing import Any

import numpy as np

from handgrad.evidence.every_logit import Outcome
from handgrad.evidence.measuring import BLOCK

UNIT_EDGES = np.arange(-128.0, 129.0)
"""Bins of width 1 over −128 ≤ z ≤ 128, where everything happens."""
_POWERS = 2.0 ** np.arange(-30, 129)
EXPONENT_EDGES = np.concatenate([-_POWERS[::-1], [0.0], _POWERS])
"""Bins by sign and power of two; all below 2⁻³⁰ together."""


def centres(blocks: np.ndarray) -> np.ndarray:
    """The input in the middle of each block, as float64."""
    bits = (blocks.astype(np.uint64) * BLOCK + BLOCK // 2).astype(np.uint32)
    return bits.view(np.float32).astype(np.float64)


def binned(outcome: Outcome, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(largest error, any NaN, infinity or wrong sign) of each bin; no error where none counts."""
    bins = len(edges) - 1
    place = np.searchsorted(edges, centres(outcome.blocks), side="right") - 1
    inside = (place >= 0) & (place < bins)
    worst, failing = np.full(bins, np.nan), np.zeros(bins, bool)
    np.fmax.at(worst, place[inside], outcome.profile[inside])
    np.logical_or.at(failing, place[inside], outcome.failing[inside])
    return worst, failing


def as_data(outcome: Outcome) -> dict[str, Any]:
    """The record as data: inputs as hex floats, the profile by bins instead of blocks."""
    data = asdict(outcome)
    for name in ("blocks", "profile", "failing"):
        del data[name]
    data["worst_at"] = outcome.worst_at.hex()
    data["nearest"] = {kind: z.hex() for kind, z in outcome.nearest.items()}
    data["by_unit"] = rounded(binned(outcome, UNIT_EDGES)[0])
    data["by_exponent"] = rounded(binned(outcome, EXPONENT_EDGES)[0])
    return data


def rounded(errors: np.ndarray) -> list[float]:
    """To three decimals: the reference is no better than that needs."""
    return [round(float(e), 3) for e in errors]
