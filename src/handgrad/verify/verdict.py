"""The verdict: what the judge found, as data, as a table that a person can read, and as JSON."""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from handgrad.verify.mathematics import RIGHT
from handgrad.verify.numerics import NumericsRow

FORMAT = "handgrad certificate 1"


@dataclass(frozen=True)
class Verdict:
    """Who is right about a gradient.

    `hand` and `autodiff` are 'identical', 'valid subgradient', 'different', 'undecided',
    'unsupported' or 'not traceable' (autodiff may also be the 'reference', if it was asked to be).
    """

    name: str
    ok: bool
    structure: str
    hand: str
    autodiff: str
    truth: str
    """Where the truth came from."""
    digits: int
    """Decimal digits, relative and by coordinate, to which hand and truth agree."""
    cause: str | None
    """The diagnosis, where the mathematics differ."""
    where: str | None
    """The coordinate that differs most."""
    compared: int
    """Coordinates compared in the mathematics, over all points."""
    points: int
    reference: str
    numerics: tuple[NumericsRow, ...]
    notes: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What the certificate holds beside this: inputs, enclosures, versions, seeds."""

    def __str__(self) -> str:
        return as_text(self)

    @property
    def fault(self) -> str | None:
        """What is wrong and where, in one line; None where all is well."""
        if self.ok:
            return None
        if self.structure != "ok":
            return self.structure
        if self.hand == "different":
            place = f"different at {self.where}" if self.where else "different"
            return f"{place}: {self.cause}" if self.cause else place
        if self.hand == "not traceable" and self.cause:
            return self.cause
        if not self.compared and self.hand in (*RIGHT, "undecided"):
            return "nothing was compared"
        if self.hand in RIGHT and self.cause:
            return self.cause
        if self.hand in RIGHT:
            faults = [fault for row in self.numerics if (fault := fault_of(row))]
            return faults[0] if faults else "the numerics are not clean"
        return self.hand

    def to_json(self) -> str:
        """The certificate, which `handgrad recheck FILE` verifies again.

        Numbers that JSON lacks (inf, NaN) are written as strings.
        """
        data = {"format": FORMAT, **asdict(self)}
        record = data.pop("record")
        plain = _without_infinities({**data, **record})
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)


def _without_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _without_infinities(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def fault_of(row: NumericsRow) -> str | None:
    """Who is at fault in a dtype, and the worst input: None where both stay clear of NaN and 0."""
    bad = [name for name in ("hand", "autodiff") if getattr(row, f"{name}_bad")]
    if not bad:
        return None
    who = f"{bad[0]} is" if len(bad) == 1 else "hand and autodiff are both"
    worst = getattr(row, f"{bad[0]}_worst_at")
    return f"{who} at fault in {row.dtype}: {worst.brief}" if worst else f"{who} at fault"


# --- as text --------------------------------------------------------------------------------------


def as_text(verdict: Verdict) -> str:
    """A verdict as a person reads it: what is wrong first, then the evidence."""
    mathematics = verdict.hand
    if verdict.hand == "identical":
        mathematics += f" to {verdict.digits} digits in {verdict.compared} coordinates"
    lines = [f"{verdict.name}: {'right' if verdict.ok else f'NOT right: {verdict.fault}'}"]
    lines += [f"  structure    {verdict.structure}"] if verdict.structure != "ok" else []
    lines.append(f"  mathematics  hand {mathematics}; autodiff {verdict.autodiff}")
    lines += [f"  where        {verdict.where}"] if verdict.where else []
    lines += [f"  cause        {verdict.cause}"] if verdict.cause else []
    lines.append(f"  truth        {verdict.truth}")
    if verdict.numerics:
        lines += ["", *_numerics_table(verdict.numerics)]
    lines += [f"  note: {note}" for note in verdict.notes]
    return "\n".join(lines)


def _numerics_table(rows: tuple[NumericsRow, ...]) -> list[str]:
    heads = ("dtype", "hand ulp", "autodiff ulp", "conditioning", "hand bad", "autodiff bad",
             "subnormal", "discarded")  # fmt: skip
    cells = [
        (
            row.dtype, _ulp(row.hand_max_ulp), _ulp(row.autodiff_max_ulp),
            _ulp(row.conditioning_ulp), str(row.hand_bad), str(row.autodiff_bad),
            str(row.subnormal), str(row.discarded),
        )
        for row in rows
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    lines = [
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in (heads, *cells)
    ]
    for row in rows:
        lines += [
            f"  worst for {name} in {row.dtype}: {worst.brief}"
            for name, worst in (("hand", row.hand_worst_at), ("autodiff", row.autodiff_worst_at))
            if worst is not None
        ]
    return lines


def _ulp(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "inf"
    return f"{value:.2f}" if value < 1e4 else f"{value:.1e}"
