"""The judge: who is right about a gradient, and how well it behaves in floating point."""

from handgrad.verify.agreement import Agreement, LeafAgreement, agree
from handgrad.verify.judge import verify
from handgrad.verify.numerics import NumericsRow, WorstInput
from handgrad.verify.verdict import Verdict

__all__ = [
    "Agreement",
    "LeafAgreement",
    "NumericsRow",
    "Verdict",
    "WorstInput",
    "agree",
    "verify",
]
