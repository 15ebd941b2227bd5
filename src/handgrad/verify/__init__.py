"""The judge: who is right about a gradient, and how well it behaves in floating point.

`verify` asks (`api`); `judge` goes from the question to the `Verdict`: the witnesses are traced
(`witnesses`), compared as mathematics (`mathematics`), run in each dtype (`numerics`, at points
found by `search`; `blackbox` for what cannot be traced), and a difference is explained
(`diagnosis`). `certificate` writes a verdict down and reads it again. `agree` is the quick question
of two witnesses.
"""

from handgrad.verify.agreement import Agreement, LeafAgreement, agree
from handgrad.verify.api import verify
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
