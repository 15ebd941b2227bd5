"""Formulas as MathML, which browsers draw themselves: no script, no font of ours, no picture."""

from html import escape
from xml.etree import ElementTree

from handgrad._errors import InputError

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ALLOWED = frozenset("""
    math mrow mi mn mo mtext mspace ms mfrac msqrt mroot mstyle mpadded mphantom menclose mfenced
    msub msup msubsup munder mover munderover mmultiscripts mtable mtr mtd
""".split())  # fmt: skip
ATTRIBUTES = frozenset("""
    display displaystyle mathvariant stretchy fence separator lspace rspace minsize maxsize symmetric
    largeop movablelimits accent accentunder linethickness width height depth columnalign columnspacing
    rowspacing scriptlevel form
""".split())  # fmt: skip


def as_mathml(latex: str, display: bool = True) -> str:
    """LaTeX as one `<math>` element, of elements that only draw. Raises InputError if it is not.

    >>> as_mathml("x^2", display=False)
    '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'
    """
    from latex2mathml.converter import convert

    try:
        tree = ElementTree.fromstring(convert(latex))
    except Exception as fault:
        raise InputError(
            "formula", "LaTeX that becomes MathML", f"{latex!r} ({type(fault).__name__})",
            "mend the formula",
        ) from fault  # fmt: skip
    return _written(tree, {"display": "block" if display else "inline"})


def _written(element: ElementTree.Element, forced: dict[str, str] | None = None) -> str:
    """An element as text: known tags and attributes alone, everything else escaped or dropped."""
    tag = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    inner = escape(element.text or "", quote=False)
    for child in element:
        inner += _written(child) + escape(child.tail or "", quote=False)
    if tag not in ALLOWED:
        return inner
    kept = {k: v for k, v in element.attrib.items() if k in ATTRIBUTES} | (forced or {})
    told = "".join(f' {key}="{escape(value)}"' for key, value in kept.items())
    return f"<{tag}{told}>{inner}</{tag}>"
