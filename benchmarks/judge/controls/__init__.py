"""The controls: right gradients of public layers and losses, none of which may be accused.

Beside each stands the same gradient with one realistic mistake, which has to be caught and named.
`python -m benchmarks.judge.controls` runs them.
"""

from collections.abc import Callable

from benchmarks.judge.controls import (
    activations,
    classification,
    edges,
    layers,
    models,
    norms,
    regression,
    sequences,
)
from benchmarks.judge.controls.control import Control, Outcome, try_control

FAMILIES: dict[str, tuple[Callable[[], Control], ...]] = {
    "norms": norms.CONTROLS,
    "activations": activations.CONTROLS,
    "classification": classification.CONTROLS,
    "regression": regression.CONTROLS,
    "layers": layers.CONTROLS,
    "sequences": sequences.CONTROLS,
    "models": models.CONTROLS,
    "edges": edges.CONTROLS,
}
__all__ = ["FAMILIES", "Control", "Outcome", "try_control", "try_named"]


def try_named(family: str, name: str, beside: bool, evaluations: int) -> Outcome:
    """One control by its name: names go from one process to another."""
    (make,) = (make for make in FAMILIES[family] if make.__name__ == name)
    return try_control(family, make, beside, evaluations)
