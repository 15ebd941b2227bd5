"""Pages of the book to play with: each one file, with its data inside and nothing outside.

What a page shows is computed in the reader's browser. What it is given (points, lines of
derivations, values to judge by) comes from the package; the tests hold the page to JAX.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from handgrad.explain.page import as_json, base_style, fill
from play import derive, descent

PAGES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "descent": ("Descent on two parameters", descent.data),
    "derive": ("Derive it yourself", derive.data),
}
"""By name: the title, and the data that the page is given."""


def page(name: str) -> str:
    """The whole page of one name."""
    title, data = PAGES[name]
    parts = {
        "TITLE": title,
        "STYLE": base_style() + _text("shell.css") + _text(f"{name}.css"),
        "BODY": _text(f"{name}.html"),
        "DATA": as_json(data()),
        "SCRIPT": f'"use strict";\n(() => {{\n{_text(f"{name}.js")}}})();\n',
    }
    return fill(_text("shell.html"), parts)


def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
