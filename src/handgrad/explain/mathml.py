"""Formulas as MathML, which browsers draw themselves: no script, no font of ours, no picture."""

from html import escape
from xml.etree import ElementTree

from handgrad.errors import InputError

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ALLOWED = frozenset(
    [
        "math",
        "menclose",
        "mfenced",
        "mfrac",
        "mi",
        "mmultiscripts",
        "mn",
        "mo",
        "mover",
        "mpadded",
        "mphantom",
        "mroot",
        "mrow",
        "ms",
        "mspace",
        "msqrt",
        "mstyle",
        "msub",
        "msubsup",
        "msup",
        "mtable",
        "mtd",
        "mtext",
        "mtr",
        "munder",
        "munderover",
    ]
)
ATTRIBUTES = frozenset(
    [
        "accent",
        "accentunder",
        "columnalign",
        "columnspacing",
        "depth",
        "display",
        "displaystyle",
        "fence",
        "form",
        "height",
        "largeop",
        "linethickness",
        "lspace",
        "mathvariant",
        "maxsize",
        "minsize",
        "movablelimits",
        "rowspacing",
        "rspace",
        "scriptlevel",
        "separator",
        "stretchy",
        "symmetric",
        "width",
    ]
)

THIN = '<mspace width="0.17em"></mspace>'
"""Between a function's name and what it takes, where no bracket stands."""
OPENING = ("(", "[", "{", "|")
LIMITED = ("lim", "max", "min", "arg max", "arg min")
"""What carries its index below, where there is room."""


def as_mathml(latex: str, display: bool = True) -> str:
    """LaTeX as one `<math>` element, of elements that only draw. Raises InputError if it is not.

    >>> as_mathml("x^2", display=False)
    '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'
    """
    return _written(as_tree(latex), {"display": "block" if display else "inline"})


def as_tree(latex: str) -> ElementTree.Element:
    """The same as a tree, as the library makes it."""
    from latex2mathml.converter import convert

    try:
        return ElementTree.fromstring(convert(latex, display="block"))
    except Exception as fault:
        raise InputError(
            "formula", "LaTeX that becomes MathML", f"{latex!r} ({type(fault).__name__})",
            "mend the formula",
        ) from fault  # fmt: skip


def tag_of(element: ElementTree.Element) -> str:
    """`mfrac`, without its namespace."""
    return element.tag.removeprefix(f"{{{NAMESPACE}}}")


def _is_function(element: ElementTree.Element) -> bool:
    """Whether it is log, exp, max, ..., bare or with a limit under it."""
    while len(element) and not element.tag.endswith("mrow"):
        element = element[0]
    return element.tag.endswith("mi") and len(element.text or "") > 1


def _written(element: ElementTree.Element, forced: dict[str, str] | None = None) -> str:
    """An element as text: known tags and attributes alone, everything else escaped or dropped."""
    tag = tag_of(element)
    if tag == "msub" and (element[0].text or "") in LIMITED:
        tag = "munder"
    inner = escape(element.text or "", quote=False)
    for child, after in zip(element, [*element[1:], None], strict=False):
        inner += _written(child) + escape(child.tail or "", quote=False)
        if _is_function(child) and after is not None and (after.text or "") not in OPENING:
            inner += THIN
    if tag not in ALLOWED:
        return inner
    kept = {k: v for k, v in element.attrib.items() if k in ATTRIBUTES} | (forced or {})
    told = "".join(f' {key}="{escape(value)}"' for key, value in kept.items())
    return f"<{tag}{told}>{inner}</{tag}>"
