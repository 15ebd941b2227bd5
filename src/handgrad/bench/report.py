"""Results as data: rows of one job, the bars it was held to, and the machine they are from."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from handgrad.bench.timing import Timing, ratio
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


def row(timing: Timing, against: Timing, **more: Any) -> dict[str, Any]:
    """A contender's row; its speed is 1 where it takes as long as `against`."""
    quartiles, times = timing.quartiles, ratio(against, timing)
    memory = timing.contender.memory
    return {
        "name": timing.name,
        "seconds": quartiles.median,
        "lower": quartiles.lower,
        "upper": quartiles.upper,
        "rounds": len(timing.seconds),
        "speed": times.median,
        "speed_lower": times.lower,
        "speed_upper": times.upper,
        "compile_seconds": timing.contender.compile_seconds,
        "first_seconds": timing.contender.first_seconds,
        "temporaries": None if memory is None else memory.temporaries,
        **more,
    }


# --- files ----------------------------------------------------------------------------------------


def write_reports(path: Path, facts: dict[str, Any], reports: list[Report]) -> None:
    """All reports of a run, with what they were measured on."""
    data = {"machine": facts, "reports": [asdict(report) for report in reports]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def read_report(path: Path) -> tuple[dict[str, Any], list[Report]]:
    """The machine and the reports in a file. Raises InputError for any other file."""
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


# --- the machine ----------------------------------------------------------------------------------

PACKAGES = (
    "jax", "jaxlib", "numpy", "optax", "scikit-learn", "torch", "glum", "numba",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Kind and number of devices, cores, XLA's flags, Python and the packages that took part."""
    device = jax.devices()[0]
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "platform": device.platform,
        "device": _device_name(device),
        "devices": jax.device_count(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _device_name(device: Any) -> str:
    """What the device is called; a CPU by its model, where the system tells."""
    if device.platform != "cpu":
        return str(device.device_kind)
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def slug(facts: dict[str, Any]) -> str:
    """The facts as a name for a folder, such as 'cpu-amd-epyc-2-cores'."""
    size = f"{facts['cores']} cores" if facts["platform"] == "cpu" else str(facts["devices"])
    words = f"{facts['platform']} {facts['device']} {size}"
    return "-".join("".join(c if c.isalnum() else " " for c in words.lower()).split())


# --- as text --------------------------------------------------------------------------------------

HIDDEN = {
    "lower", "upper", "speed_lower", "speed_upper", "first_seconds", "rounds", "series",
    "N", "D", "K", "T", "V",
}  # fmt: skip
HEADINGS = {
    "name": "", "seconds": "median", "compile_seconds": "compiled in", "of_read": "of read speed",
    "of_peak": "of peak",
}  # fmt: skip


def as_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of what a reader needs of a report, with units."""
    keys = [key for key in report.rows[0] if key not in HIDDEN] if report.rows else []
    headings = [HEADINGS.get(key, key.replace("_", " ")) for key in keys]
    return headings, [[_cell(key, row) for key in keys] for row in report.rows]


def as_sentence(bar: Bar) -> str:
    """What was measured, and what was asked for."""
    return f"{bar.got:.3g} {bar.name} (at {'most' if bar.at_most else 'least'} {bar.wanted:.3g})"


def _cell(key: str, row: dict[str, Any]) -> str:
    value = row[key]
    if value is None:
        return "–"
    if key in ("seconds", "predicted"):
        return duration(value)
    if key == "error":
        return f"{value:+.0%}"
    if key == "speed":
        return f"{value:.2f}× ({row['speed_lower']:.2f}–{row['speed_upper']:.2f})"
    if key == "compile_seconds":
        return duration(value) if value else "–"
    if key in ("temporaries", "memory", "predicted memory"):
        return f"{value / 1e6:,.1f} MB"
    if key.startswith(("of_", "of it")):
        return f"{value:.0%}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> [duration(seconds) for seconds in (2.5, 0.0123, 4.2e-5, 3e-9)]
    ['2.5 s', '12.3 ms', '42 µs', '3 ns']
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
