"""`{results} [JOB ...]`: what `handgrad bench` left under `benchmarks/results/`, as tables.

A file holds {"machine": facts, "reports": [...]}; a report has a title, rows that share their keys
(seconds and bytes unless a key says otherwise), bars that were asked for, and notes.
"""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOG = logging.getLogger(__name__)
FOLDER = Path(__file__).parents[2] / "benchmarks" / "results"
SHOWN = 7
"""Columns of a table: more do not fit a page."""


def cell(key: str, value: Any) -> str:
    """A value as a person reads it: seconds, bytes, counts and ratios by their key.

    >>> cell("seconds", 0.0123), cell("temporaries_bytes", 3 * 2**20), cell("D", 512)
    ('12.3 ms', '3.0 MiB', '512')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if key.endswith("seconds") or key == "s":
        for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
            if abs(value) >= size:
                return f"{value / size:.3g} {unit}"
        return f"{value / 1e-9:.3g} ns"
    if "bytes" in key or key in ("memory", "peak"):
        return f"{value / 2**20:,.1f} MiB"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def columns_of(rows: list[dict[str, Any]]) -> list[str]:
    """The keys of a table: those with a plain value that is in every row."""
    plain = [
        key
        for key, value in rows[0].items()
        if isinstance(value, str | int | float) and all(key in row for row in rows)
    ]
    return plain[:SHOWN]


def table_of(heads: list[str], rows: list[list[str]]) -> nodes.table:
    """A table as Sphinx has them."""
    group = nodes.tgroup(cols=len(heads))
    group += [nodes.colspec(colwidth=1) for _ in heads]
    for part, lines in ((nodes.thead(), [heads]), (nodes.tbody(), rows)):
        for line in lines:
            row = nodes.row()
            row += [nodes.entry("", nodes.paragraph("", text)) for text in line]
            part += row
        group += part
    return nodes.table("", group, classes=["results"])


def report_nodes(report: dict[str, Any], machine: str) -> list[nodes.Node]:
    """One job on one machine: title, table, bars, notes."""
    title = nodes.paragraph("", "", nodes.strong("", report["title"]), nodes.Text(f", {machine}"))
    found: list[nodes.Node] = [title]
    if report["rows"]:
        keys = columns_of(report["rows"])
        lines = [[cell(key, row[key]) for key in keys] for row in report["rows"]]
        found.append(table_of([key.replace("_", " ") for key in keys], lines))
    said = [
        f"{bar['name']}: {bar['got']:.3g}, asked for at "
        f"{'most' if bar['at_most'] else 'least'} {bar['wanted']:.3g}"
        for bar in report.get("bars", [])
    ]
    items = [nodes.list_item("", nodes.paragraph("", text)) for text in said + report["notes"]]
    return [*found, nodes.bullet_list("", *items)] if items else found


class Results(SphinxDirective):
    """The results of the jobs named, or all there are, machine by machine."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Read the files; a file that is no result is a warning."""
        found: list[nodes.Node] = []
        jobs = self.arguments[0].split() if self.arguments else []
        for path in sorted(FOLDER.rglob("*.json")):
            if jobs and path.stem not in jobs:
                continue
            self.env.note_dependency(str(path))
            try:
                data = json.loads(path.read_text())
                machine = f"{data['machine']['device']} ({data['machine']['platform']})"
                for report in data["reports"]:
                    found += report_nodes(report, machine)
            except (ValueError, KeyError, TypeError, IndexError) as fault:
                LOG.warning("%s: no result: %r", path.name, fault, location=self.get_location())
        if not found:
            text = "This copy holds no results: nothing was measured for it yet."
            return [nodes.note("", nodes.paragraph("", text))]
        return found


def setup(app: Any) -> None:
    """Register the directive."""
    app.add_directive("results", Results)
