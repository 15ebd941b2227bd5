"""The Sphinx extension of the book: pages that run, derivations, figures, formulas, references."""

from typing import Any

from book import (
    ahead,
    apidoc,
    directives,
    docstrings,
    drawn,
    formulas,
    outside,
    results,
    statements,
)


def setup(app: Any) -> dict[str, Any]:
    """Connect every part; each has its own `setup`."""
    for part in (
        formulas, directives, drawn, docstrings, apidoc, results, statements, outside, ahead,
    ):  # fmt: skip
        part.setup(app)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
