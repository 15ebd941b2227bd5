"""The book loads nothing from anywhere else: every page and style sheet is looked through.

A link that a reader may follow is no load; a script, a style, a font, a picture or a frame is.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from sphinx.util import logging

LOG = logging.getLogger(__name__)
LOADING = {
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"),
    "video": ("src", "poster"), "audio": ("src",), "embed": ("src",), "object": ("data",),
    "input": ("src",), "track": ("src",), "use": ("href", "xlink:href"), "image": ("href",),
}  # fmt: skip
LINKS_THAT_LOAD = {
    "stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect", "dns-prefetch",
    "manifest", "apple-touch-icon", "mask-icon",
}  # fmt: skip
ELSEWHERE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
IN_CSS = re.compile(r"""(?:@import\s+|url\(\s*)["']?\s*([^"')\s;]+)""", re.IGNORECASE)


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        names = LOADING.get(tag, ())
        if tag == "link" and LINKS_THAT_LOAD & set(given.get("rel", "").lower().split()):
            names = ("href",)
        for name in names:
            for one in given.get(name, "").split(","):
                if ELSEWHERE.match(one):
                    self.found.append(f"<{tag} {name}={one.strip()}>")
        self.found += list(loads_of_css(given.get("style", "")))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        if self._style:
            self.found += list(loads_of_css(data))
            self._style = False


def loads_of_html(text: str) -> list[str]:
    """What a page loads from elsewhere.

    >>> loads_of_html('<script src="https://cdn.net/a.js"></script><a href="https://b.net">b</a>')
    ['<script src=https://cdn.net/a.js>']
    """
    parser = _Loads()
    parser.feed(text)
    return parser.found


def loads_of_css(text: str) -> Iterator[str]:
    """What a style sheet loads from elsewhere."""
    for place in IN_CSS.findall(text):
        if ELSEWHERE.match(place):
            yield f"url({place})"


def loads_of_site(folder: Path) -> tuple[int, list[str]]:
    """(files looked through, what they load from elsewhere)."""
    found, files = [], 0
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".html", ".css"):
            continue
        files += 1
        text = path.read_text(errors="replace")
        loads = loads_of_html(text) if path.suffix == ".html" else loads_of_css(text)
        found += [f"{path.relative_to(folder)}: {load}" for load in loads]
    return files, found


def look_through(app: Any, fault: Exception | None) -> None:
    """A warning, which fails the build, for each load from elsewhere."""
    if fault is not None or app.builder.name != "html":
        return
    files, found = loads_of_site(Path(app.outdir))
    for load in found:
        LOG.warning("loaded from elsewhere: %s", load)
    LOG.info("%d files looked through: %d loads from elsewhere", files, len(found))


def setup(app: Any) -> None:
    """Look when all is written."""
    app.connect("build-finished", look_through)
