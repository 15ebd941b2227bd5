"""`{results} [JOB ...]`: what `handgrad bench` left under `benchmarks/results/`, as tables.

The tables are those that `handgrad bench` prints: the same columns, headings and units.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from handgrad.bench.report import Report, as_table, read_report
from handgrad.errors import InputError

LOG = logging.getLogger(__name__)
FOLDER = Path(__file__).parents[2] / "benchmarks" / "results"


def table_of(heads: list[str], rows: list[list[str]], classes: Sequence[str] = ()) -> nodes.table:
    """A table as Sphinx has them; of the class `results`, numbers keep to their line."""
    group = nodes.tgroup(cols=len(heads))
    group += [nodes.colspec(colwidth=1) for _ in heads]
    for part, lines in ((nodes.thead(), [heads]), (nodes.tbody(), rows)):
        for line in lines:
            row = nodes.row()
            row += [nodes.entry("", nodes.paragraph("", text)) for text in line]
            part += row
        group += part
    return nodes.table("", group, classes=list(classes))


def report_nodes(report: Report, machine: str) -> list[nodes.Node]:
    """One job on one machine: title, table, bars, notes."""
    title = nodes.paragraph("", "", nodes.strong("", report.title), nodes.Text(f", {machine}"))
    found: list[nodes.Node] = [title]
    if report.rows:
        found.append(table_of(*as_table(report), classes=["results"]))
    said = [
        f"{bar.name}: {bar.got:.3g}, asked for at {'most' if bar.at_most else 'least'} "
        f"{bar.wanted:.3g}"
        for bar in report.bars
    ]
    items = [nodes.list_item("", nodes.paragraph("", text)) for text in said + report.notes]
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
            if (jobs and path.stem not in jobs) or path.stem.startswith("atlas-"):
                continue
            self.env.note_dependency(str(path))
            try:
                facts, reports = read_report(path)
                machine = f"{facts['device']} ({facts['platform']})"
                for report in reports:
                    found += report_nodes(report, machine)
            except (InputError, ValueError, KeyError, TypeError, IndexError) as fault:
                LOG.warning("%s: no result: %r", path.name, fault, location=self.get_location())
        if not found:
            text = "This copy holds no results: nothing was measured for it yet."
            return [nodes.note("", nodes.paragraph("", text))]
        return found


def setup(app: Any) -> None:
    """Register the directive."""
    app.add_directive("results", Results)
