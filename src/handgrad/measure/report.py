"""Results as data: rows of one job, the bars it was held to, and the JSON they are kept in."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from handgrad.errors import InputError


@dataclass(frozen=True)
class Bar:
    """A figure that was asked for, and the one that was measured."""

    name: str
    wanted: float
    got: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side."""
        return self.got <= self.wanted if self.at_most else self.got >= self.wanted


@dataclass(frozen=True)
class Report:
    """What one job found. Rows share their keys; seconds and bytes, unless a key says otherwise."""

    job: str
    title: str
    rows: list[dict[str, Any]]
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figure: dict[str, Any] | None = None
    """What a figure of it shows: 'kind' (roofline or scaling) and its settings."""


def write_reports(path: Path, facts: dict[str, Any], reports: list[Report]) -> None:
    """All reports of a run, with what they were measured on."""
    data = {"machine": facts, "reports": [asdict(report) for report in reports]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def read_report(path: Path) -> tuple[dict[str, Any], list[Report]]:
    """The machine and the reports in a file. Raises InputError for what is none."""
    try:
        data = json.loads(path.read_text())
        reports = [
            Report(**{**report, "bars": [Bar(**bar) for bar in report["bars"]]})
            for report in data["reports"]
        ]
        return data["machine"], reports
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(
            "file", "results of a benchmark", f"{path}: {fault}", "run it again"
        ) from None
