"""How a claim is looked into: a gradient goes before the judge, code is run."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flint import arb

from benchmarks.notes.checks import Check, count, rounds_to, shown
from benchmarks.notes.records import Finding
from handgrad._types import Array
from handgrad.verify import verify
from handgrad.verify.verdict import Verdict, fault_of


def gradient(loss: Callable[..., Array], at: tuple, argnums: int | tuple[int, ...] = 0) -> Check:
    """The claimed gradient before the judge, as mathematics: exact arithmetic, 60 digits."""

    def compare(claimed: Callable) -> Finding:
        verdict = verify(
            claimed, of=loss, at=at, argnums=argnums, dtypes=("float32",), evaluations=0
        )
        right = verdict.hand in ("identical", "valid subgradient")
        return Finding(right, in_a_line(verdict), verdict)

    return compare


def floats(loss: Callable[..., Array], at: tuple, dtype: str = "float32") -> Check:
    """The claimed gradient before the judge, as it is computed in `dtype` at this point."""

    def compare(claimed: Callable) -> Finding:
        verdict = verify(claimed, of=loss, at=at, dtypes=(dtype,), evaluations=0)
        return Finding(verdict.ok, in_a_line(verdict), verdict)

    return compare


def in_a_line(verdict: Verdict) -> str:
    """A verdict as evidence: the mathematics, then the cause, or the floats."""
    if verdict.hand == "different":
        return f"judge: different: {verdict.cause}"
    faults = [fault for row in verdict.numerics if row.hand_bad and (fault := fault_of(row))]
    if faults:
        return f"judge: {verdict.hand} as algebra; {faults[0]}"
    (row,) = verdict.numerics
    how = f"identical to {verdict.digits} digits" if verdict.hand == "identical" else verdict.hand
    return f"judge: {how}, {count(verdict.compared, 'coordinate')}; {row.hand_ulp:.1f} ulp in {row.dtype}"


def code(true: Sequence[str], *args: Any) -> Check:
    """The claimed source of a function `f`, run on `args`: its values rounded as those of `true`.

    What it raises, when it is compiled or when it runs, is what was found.
    """

    def compare(claimed: str) -> Finding:
        space: dict[str, Any] = {"np": np}
        try:
            exec(compile(claimed, "<note>", "exec"), space)
            with np.errstate(all="ignore"):
                values = np.ravel(space["f"](*args))
        except SyntaxError as error:
            return Finding(False, f"{type(error).__name__}: {error.msg}".split(" on line")[0])
        except Exception as error:
            return Finding(False, f"{type(error).__name__}: {error}".split(". ")[0])
        right = len(values) == len(true) and all(
            math.isfinite(v) and rounds_to(arb(float(v)), t)
            for v, t in zip(values, true, strict=True)
        )
        return Finding(right, f"it returns {', '.join(map(shown, values)) or 'nothing'}")

    return compare
