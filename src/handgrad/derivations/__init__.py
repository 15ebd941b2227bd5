"""The derivations, as numbered lines that run: the only place where one is written.

Each line has a formula, a reason and a value; `check` holds it, in exact arithmetic, to the line
before it. The first line of a gradient is the definition of the derivative, taken from the loss's
values; the last is what `gradients/` computes. One file is one topic, to be read as a page; the
tools beside them are in `steps` and `checking`.

>>> [step.reason for step in derivation("log_sigmoid").steps][1:3]
['chain rule; log′u = 1/u', 'σ′ = σ(1 − σ)']
"""

from handgrad.derivations.checking import Checked, CheckedLine, check
from handgrad.derivations.steps import Derivation, Limit, Step
from handgrad.derivations.table import DERIVATIONS, derivation

__all__ = [
    "DERIVATIONS",
    "Checked",
    "CheckedLine",
    "Derivation",
    "Limit",
    "Step",
    "check",
    "derivation",
]
