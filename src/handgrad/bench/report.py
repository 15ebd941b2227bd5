"""Results: rows of one job and the bars it was held to, as data, as text and as figures."""

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
        "temporaries": timing.contender.temporaries,
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


# --- as figures -----------------------------------------------------------------------------------

OURS = (
    "one pass", "one pass, packed", "one pass, numba", "in the forward pass", "the loss alone",
)  # fmt: skip
COLOURS = ("#0b6e4f", "#e07a5f", "#3d5a80", "#b08900", "#6d597a", "#777777")


def draw_figures(reports: list[Report], folder: Path) -> list[Path]:
    """A PNG for each kind of figure that the reports have something for; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, figure in (("roofline", draw_speeds), ("scaling", draw_scaling)):
        some = [r for r in reports if r.figure and r.figure["kind"] == kind]
        if some:
            path = folder / f"{kind}.png"
            figure(some).savefig(path, dpi=150)
            written.append(path)
    return written


def draw_speeds(reports: list[Report]) -> Any:
    """Time of every contender as a share of the limit's: the limit is a line at 100%."""
    from matplotlib.figure import Figure

    shown = [[row for row in r.rows if not row["name"].startswith("read: ")] for r in reports]
    heights = [0.9 + 0.34 * len(rows) for rows in shown]
    figure = Figure(figsize=(8.4, sum(heights)), layout="constrained")
    axes = figure.subplots(len(reports), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, report, rows in zip(axes, reports, shown, strict=True):
        reads = "of_read" in rows[0]
        shares = [100.0 * row["of_read" if reads else "of_peak"] for row in rows]
        colours = [COLOURS[0] if row["name"] in OURS else "#b8b8b8" for row in rows]
        ax.barh([row["name"] for row in rows], shares, color=colours)
        ax.axvline(100, color="#222222", linewidth=1.2)
        for place, (share, row) in enumerate(zip(shares, rows, strict=True)):
            ax.text(share + 1, place, f"{share:.0f}%  {1e3 * row['seconds']:,.1f} ms",
                    va="center", fontsize=8.5)  # fmt: skip
        ax.invert_yaxis()
        ax.set_xlim(0, 1.3 * max(100, *shares))
        limit = "reading x once" if reads else "the matrix peak"
        ax.set_title(f"{report.title}: % of the speed of {limit}", fontsize=10, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def draw_scaling(reports: list[Report]) -> Any:
    """Seconds against size on logarithmic axes, a panel for each size that grows."""
    from matplotlib.figure import Figure

    columns = min(3, len(reports))
    lines = -(-len(reports) // columns)
    figure = Figure(figsize=(3.9 * columns, 3.3 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, report in zip(axes, reports, strict=False):
        assert report.figure is not None
        letter = report.figure["along"]
        for number, series in enumerate(dict.fromkeys(row["series"] for row in report.rows)):
            rows = [row for row in report.rows if row["series"] == series]
            ax.loglog([row[letter] for row in rows], [row["seconds"] for row in rows],
                      marker="o", color=COLOURS[number], label=series)  # fmt: skip
        ax.set_title(report.title, fontsize=9.5, loc="left")
        ax.set_xlabel(letter)
        ax.set_ylabel("seconds")
        ax.grid(True, alpha=0.25)
        ax.legend(fontsize=8, frameon=False)
    for ax in axes[len(reports) :]:
        ax.set_visible(False)
    return figure
