"""`{statements}`: the statements of the two source texts, computed now, and their errata.

A statement that does not come out as recorded is an error of the build.
"""

from itertools import groupby
from typing import Any

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from benchmarks.notes import statements
from benchmarks.notes.records import DIFFERS, Checked, by_text
from book.results import table_of

LOG = logging.getLogger(__name__)


def section(title: str, key: str) -> nodes.section:
    """A section with its heading."""
    name = nodes.make_id(key)
    found = nodes.section(ids=[name], names=[name])
    found += nodes.title(title, title)
    return found


def statement_nodes(checked: list[Checked]) -> list[nodes.Node]:
    """Text by text and section by section: the verdict, what is said, what was found."""
    found: list[nodes.Node] = []
    for text, of_text in groupby(checked, lambda entry: entry.statement.text):
        here = section(text, text)
        for title, entries in groupby(of_text, lambda entry: entry.statement.section):
            inner = section(title, f"{text} {title}")
            rows = [[e.verdict, e.statement.says, e.found] for e in entries]
            inner += table_of(["", "says", "found"], rows)
            here += inner
        found.append(here)
    return found


def errata_nodes(checked: list[Checked]) -> nodes.section:
    """What does not hold, the evidence, and what to read in its place."""
    found = section("Errata", "errata")
    wrong = [entry for entry in checked if entry.verdict == DIFFERS]
    rows = [
        [f"{e.statement.section} ({e.statement.kind})", e.statement.says, e.found,
         e.statement.reads]
        for e in wrong
    ]  # fmt: skip
    counted = (
        f"{len(checked)} statements ({by_text(checked)}): "
        f"{len(checked) - len(wrong)} agree, {len(wrong)} differ."
    )
    found += nodes.paragraph(counted, counted)
    found += table_of(["where", "says", "evidence", "read"], rows)
    return found


class Statements(SphinxDirective):
    """All statements, and the errata."""

    def run(self) -> list[nodes.Node]:
        """Compute, then write."""
        checked = list(statements.check_all())
        for entry in checked:
            if not entry.as_recorded:
                recorded = f"{entry.statement.name} {entry.verdict}: {entry.found}"
                LOG.error("not as recorded: %s", recorded, location=self.get_location())
        return [*statement_nodes(checked), errata_nodes(checked)]


def setup(app: Any) -> None:
    """Register the directive."""
    app.add_directive("statements", Statements)
