"""Figures of results: how fast against what the machine allows, and how cost grows."""

from pathlib import Path
from typing import Any

from handgrad.bench.report import Report

OURS = (
    "one pass", "one pass, packed", "one pass, numba", "in the forward pass", "the loss alone",
)  # fmt: skip
COLOURS = ("#0b6e4f", "#e07a5f", "#3d5a80", "#b08900", "#6d597a", "#777777")


def draw(reports: list[Report], folder: Path) -> list[Path]:
    """A PNG for each kind of figure that the reports have something for; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, figure in (("roofline", speeds), ("scaling", scaling)):
        some = [r for r in reports if r.figure and r.figure["kind"] == kind]
        if some:
            path = folder / f"{kind}.png"
            figure(some).savefig(path, dpi=150)
            written.append(path)
    return written


def speeds(reports: list[Report]) -> Any:
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


def scaling(reports: list[Report]) -> Any:
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
