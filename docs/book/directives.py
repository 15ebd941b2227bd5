"""`{run}`, `{check}` and `{value}`: a chapter's Python, executed as the chapter is read."""

from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from book.ahead import RUNNING, PageRunAhead
from book.running import Page, PageError

LOG = logging.getLogger(__name__)


def page_of(env: Any) -> Page:
    """The running state of the page that is being read."""
    if "book_page" not in env.temp_data:
        name = f"{env.docname.rpartition('/')[2]}.md"
        running = RUNNING.get(env.docname)
        env.temp_data["book_page"] = PageRunAhead(name, running) if running else Page(name)
    return env.temp_data["book_page"]


class Run(SphinxDirective):
    """Python that is shown, and beneath it what it prints; `:wrap:` breaks long lines."""

    has_content = True
    option_spec = {"wrap": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Execute, then show."""
        text = "\n".join(self.content)
        shown = nodes.literal_block(text, text, language="python", classes=["code"])
        self.set_source_info(shown)
        try:
            printed = page_of(self.env).run(text, first_line(self)).rstrip()
        except PageError as fault:
            LOG.error("%s", fault, location=shown)
            return [shown]
        if not printed:
            return [shown]
        classes = ["printed", *(["wrapped"] if "wrap" in self.options else [])]
        output = nodes.literal_block(printed, printed, language="text", classes=classes)
        return [nodes.container("", shown, output, classes=["run"])]


class Check(SphinxDirective):
    """Asserts that hold up what the prose says; the reader does not see them."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Execute; a claim that does not hold is an error of the build."""
        try:
            page_of(self.env).check("\n".join(self.content), first_line(self))
        except PageError as fault:
            LOG.error("%s", fault, location=self.get_location())
        return []


class Needs(SphinxDirective):
    """A package without which the page's code is shown and not run."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Look for it; say so if it is not here."""
        page = page_of(self.env)
        page.needs("".join(self.content).strip())
        if page.missing is None:
            return []
        text = f"This page was built without {page.missing}: its code is shown, and was not run."
        return [nodes.paragraph(text, text, classes=["ran"])]


class Value(SphinxRole):
    """An expression's value, in the sentence."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Evaluate and write."""
        try:
            value = page_of(self.env).value(self.text, self.lineno or 1)
        except PageError as fault:
            LOG.error("%s", fault, location=self.get_location())
            value = "?"
        return [nodes.inline(value, value, classes=["value"])], []


def first_line(directive: SphinxDirective) -> int:
    """The line of the page on which the directive's text begins."""
    return directive.lineno + directive.content_offset + 1


def tell_what_ran(app: Any, doctree: nodes.document) -> None:
    """A last line on every page that ran something: how much."""
    page = app.env.temp_data.get("book_page")
    if page is None:
        return
    words = [_counted(page.ran, "block of code", "blocks of code")] if page.ran else []
    words += [_counted(page.checked, "claim", "claims")] if page.checked else []
    done = " and ".join(words)
    text = f"Run as this page was built: {done}." if done else ""
    if text:
        place = next(iter(doctree.findall(nodes.section)), doctree)
        place += nodes.paragraph(text, text, classes=["ran"])


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def setup(app: Any) -> None:
    """Register the directives and the role."""
    app.add_directive("run", Run)
    app.add_directive("check", Check)
    app.add_directive("needs", Needs)
    app.add_role("value", Value())
    app.connect("doctree-read", tell_what_ran)
