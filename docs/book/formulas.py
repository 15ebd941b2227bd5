"""Formulas as MathML, made while the book is built: no script, no font from elsewhere."""

from typing import Any

from docutils import nodes
from sphinx.util import logging

from handgrad.derivations.latex import as_mathml
from handgrad.errors import InputError

LOG = logging.getLogger(__name__)


def visit_math(translator: Any, node: nodes.math) -> None:
    """A formula within a sentence."""
    translator.body.append(_written(node, display=False))
    raise nodes.SkipNode


def visit_math_block(translator: Any, node: nodes.math_block) -> None:
    """A formula that stands by itself, and scrolls where it is wider than the page."""
    translator.body.append(f'<div class="formula">{_written(node, display=True)}</div>')
    raise nodes.SkipNode


def _written(node: nodes.Element, display: bool) -> str:
    try:
        written = as_mathml(node.astext(), display)
    except InputError as fault:
        LOG.warning("%s", fault, location=node)
        return ""
    if "\\" in written:  # the library leaves what it does not know as it stands
        LOG.warning("formula: a command that is unknown in %r", node.astext(), location=node)
    return written


def setup(app: Any) -> None:
    """Make MathML the way in which HTML has its math."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
