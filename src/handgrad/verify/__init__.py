"""The judge: who is right about a gradient, and how well it behaves in floating point.

`verify` asks (`api`); `judge` goes from the question to the `Verdict`: the witnesses are traced
(`witnesses`), compared as mathematics (`mathematics`) and run in each dtype (`numerics`, at points
found by `search`; `blackbox` for what cannot be traced). All of it is summed up, and a difference
explained (`diagnosis`). `derivatives` asks the same of the gradient of a scalar: products with a
Jacobian, Hessians, rules, and the objectives of boosting libraries. `verdict` writes a verdict down
as text, HTML and certificate, and reads that again. `agree` is the quick question of two witnesses.
"""

from handgrad.verify.agreement import Agreement, LeafAgreement, agree
from handgrad.verify.api import verify
from handgrad.verify.derivatives import (
    verify_hessian,
    verify_jvp,
    verify_objective,
    verify_rule,
    verify_vjp,
)
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
    "verify_hessian",
    "verify_jvp",
    "verify_objective",
    "verify_rule",
    "verify_vjp",
]
