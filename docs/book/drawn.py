"""`{derivation}`, `{drawn}`, `{explained}`, `{played}`: what is derived, drawn, explained, played.

Nothing of it is written into the book by hand: a derivation comes from `handgrad.derivations`, and
is checked line by line as its page is built; a figure from its function in `docs/figures`; a page
of the tape from `handgrad.explain`, a page to play with from `docs/play`.
"""

from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import figures
import play
from handgrad.derivations import DERIVATIONS, check, derivation
from handgrad.derivations.latex import as_mathml

LOG = logging.getLogger(__name__)
GENERATED = "generated"
"""Beneath the source folder, out of version control: pictures, and pages of the tape."""


@cache
def verdict_on(name: str) -> tuple[bool, str]:
    """Whether a derivation holds, and a sentence about it."""
    found = check(derivation(name))
    if not found.ok:
        return False, f"derivation {name}: {found.fault}"
    return True, (
        f"{len(found.lines)} lines; each equals the one before to {found.digits} digits, at "
        f"{found.points} drawn points, in {found.compared} comparisons made as this page was built."
    )


def derivation_html(name: str) -> str:
    """The lines of a derivation as an ordered list: number, formula, reason."""
    entry = derivation(name)
    said = verdict_on(name)[1]
    rows = "\n".join(
        f'<li id="{name}-{number}"><span class="number" aria-hidden="true">{number}</span>'
        f'<div class="line" tabindex="0">{as_mathml(step.formula)}</div>'
        f'<div class="why">{escape(step.reason)}</div></li>'
        for number, step in enumerate(entry.steps, 1)
    )
    return (
        f'<div class="derivation" id="derivation-{name}">\n'
        f'<p class="derivation-title">{escape(entry.title)}</p>\n'
        f'<p class="given">{escape(entry.given)}</p>\n'
        f'<div class="line of" tabindex="0">{as_mathml(entry.of)}</div>\n'
        f'<ol>\n{rows}\n</ol>\n<p class="checked">{escape(said)}</p>\n</div>'
    )


def checked(directive: SphinxDirective, name: str) -> nodes.raw:
    """A derivation as a node; a wrong line is an error of the build."""
    holds, said = verdict_on(name)
    if not holds:
        LOG.error("%s", said, location=directive.get_location())
    return nodes.raw("", derivation_html(name), format="html")


class DerivationDirective(SphinxDirective):
    """One derivation by its name, checked."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Check, then write."""
        return [checked(self, self.arguments[0])]


class AllDerivations(SphinxDirective):
    """Every derivation of the table, each under a heading of its own."""

    def run(self) -> list[nodes.Node]:
        """All of them, in the order of the table."""
        found: list[nodes.Node] = []
        for entry in DERIVATIONS:
            section = nodes.section(ids=[nodes.make_id(entry.name)], names=[entry.name])
            section += nodes.title(entry.title, entry.title)
            section += checked(self, entry.name)
            found.append(section)
        return found


class Drawn(SphinxDirective):
    """A figure of `docs/figures`, drawn now; the content is its caption."""

    required_arguments = 1
    has_content = True
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Draw into the generated folder, and show."""
        name = self.arguments[0]
        suffix, whole = figures.content(name)
        return shown(self, f"{name}{suffix}", whole)


class EveryLogit(SphinxDirective):
    """The figure of `handgrad atlas --every-logit` for a sample; the content is its caption."""

    required_arguments = 1
    has_content = True
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Measure now, and draw; a form of the package that does not hold is an error."""
        from handgrad.accuracy.every_logit import error_figure, failures_of_own, sweep
        from handgrad.explain.training_figure import png

        results = sweep(sample=int(self.arguments[0]))
        for failure in failures_of_own(results):
            LOG.error("%s", failure, location=self.get_location())
        subtitle = f"worst by unit of z, {results[0].inputs:,} inputs; grey: truth below 2⁻¹²⁶"
        whole = png(error_figure(results, subtitle))
        return shown(self, "every_logit.png", whole)


class Explained(SphinxDirective):
    """The page of the tape of a case, within this page and to be opened by itself."""

    required_arguments = 1
    option_spec = {"link": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Write the page beside the book; frame it, or only link to it."""
        from handgrad.explain import as_html, explain_case

        name = self.arguments[0]
        found = explain_case(name)
        if not (found.identical_unfused and found.hand_equal):
            LOG.error("the tape of %s does not agree", name, location=self.get_location())
        write(beside(self) / "explain" / f"{name}.html", as_html(found).encode())
        title = f"{name}: the tape"
        return framed(self, f"explain/{name}.html", title, link="link" in self.options)


class Played(SphinxDirective):
    """A page of `docs/play`, within this page and to be opened by itself."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the page beside the book, and frame it."""
        name = self.arguments[0]
        write(beside(self) / "play" / f"{name}.html", play.page(name).encode())
        return framed(self, f"play/{name}.html", play.PAGES[name][0])


def beside(directive: SphinxDirective) -> Path:
    """The folder of the pages that stand by themselves beside the book."""
    return Path(directive.env.srcdir) / GENERATED / "beside"


def framed(
    directive: SphinxDirective, path: str, title: str, link: bool = False
) -> list[nodes.Node]:
    """A page beside the book in a frame, with a link to it under it; or the link alone."""
    there = "../" * directive.env.docname.count("/") + escape(path)
    opened = f'<p><a class="open" href="{there}">{escape(title)}, on a page of its own</a></p>'
    frame = f'<iframe class="tape" src="{there}" loading="lazy" title="{escape(title)}"></iframe>\n'
    return [nodes.raw("", opened if link else frame + opened, format="html")]


def shown(directive: SphinxDirective, name: str, whole: bytes) -> list[nodes.Node]:
    """A picture written beneath the source folder, with its caption."""
    write(Path(directive.env.srcdir) / GENERATED / name, whole)
    image = nodes.image(uri=f"/{GENERATED}/{name}", alt=directive.options["alt"])
    text, messages = directive.parse_inline(" ".join(directive.content))
    figure = nodes.figure("", image, nodes.caption("", "", *text), classes=["drawn"])
    return [figure, *messages]


def write(path: Path, whole: bytes) -> None:
    """Write a generated file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole)


RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PRIMES = ("", "′", "″")


class AtlasRows(SphinxDirective):
    """Rows of the newest atlas under `benchmarks/results`, and its page beside the book.

    Each line of the content names a function, an order and a dtype, with `|` between them; without
    content there is the page alone. The forms of a derivative share a line each.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Write the page of every atlas there is; a row that is not in the newest is an error."""
        from handgrad.accuracy.atlas import read_atlas
        from handgrad.accuracy.page import as_html

        paths = sorted(RESULTS.rglob("atlas-*.json"), key=lambda path: (path.name, str(path)))
        if not paths:
            text = "This copy holds no atlas: nothing was measured for it yet."
            return [nodes.note("", nodes.paragraph("", text))]
        links = []
        for path in paths:
            self.env.note_dependency(str(path))
            newest = read_atlas(path)
            name = f"{path.parent.name}-{path.stem}"
            write(beside(self) / "atlas" / f"{name}.html", as_html(newest).encode())
            there = "../" * self.env.docname.count("/") + f"atlas/{escape(name)}.html"
            said = f"{path.stem.removeprefix('atlas-').replace('-', ' ')}, {path.parent.name}"
            links.append(f'<a class="open" href="{there}">the atlas of {escape(said)}</a>')
        page = nodes.raw("", f"<p>{'<br>'.join(links)}</p>", format="html")
        table = self.rows(newest.rows) if self.content else []
        return [*table, page]

    def rows(self, measured: list[Any]) -> list[nodes.Node]:
        """The table of the rows named."""
        from book.results import table_of
        from handgrad.cli.atlas import decimals
        from handgrad.cli.output import ulps

        lines = []
        for wanted in self.content:
            function, order, dtype = (part.strip() for part in wanted.split("|"))
            found = [row for row in measured if row[:3] == (function, int(order), dtype)]
            if not found:
                LOG.error("no row of the atlas: %s", wanted, location=self.get_location())
            for row in found:
                counts = (row.nan, row.inf, row.wrong_sign, row.zero)
                lines.append([
                    f"{function}{PRIMES[int(order)]}", dtype, row.form, ulps(row.max_ulp),
                    decimals(row.at), *(f"{count:,}" for count in counts),
                ])  # fmt: skip
        heads = ["", "dtype", "form", "max ulp", "at", "NaN", "inf", "wrong sign", "lost"]
        return [table_of(heads, lines, classes=["results"])]


def setup(app: Any) -> None:
    """Register the directives."""
    app.add_directive("atlas", AtlasRows)
    app.add_directive("derivation", DerivationDirective)
    app.add_directive("all-derivations", AllDerivations)
    app.add_directive("drawn", Drawn)
    app.add_directive("every-logit", EveryLogit)
    app.add_directive("explained", Explained)
    app.add_directive("played", Played)
