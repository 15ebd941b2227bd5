"""The judge: who is right about a gradient, and how well it behaves in floating point.

The room and its main function share a name: `handgrad.verify(...)` judges, and the rest of the room
is at `handgrad.verify.agree` and so on. So the module can be called.
"""

import sys
from types import ModuleType
from typing import Any

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


class _Room(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Verdict:
        return verify(*args, **options)


sys.modules[__name__].__class__ = _Room
