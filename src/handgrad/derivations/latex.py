"""Formulas in LaTeX as MathML, which browsers draw themselves, and as a line of Unicode.

No script, no font of ours, no picture: what is shown is text, in a page as in a terminal. And the
other way: a whole derivation as LaTeX for a paper.
"""

import re
import unicodedata
from html import escape
from itertools import groupby
from xml.etree import ElementTree

from handgrad.derivations.steps import Derivation
from handgrad.errors import InputError

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ALLOWED = {
    "math", "menclose", "mfenced", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded",
    "mphantom", "mroot", "mrow", "ms", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup",
    "mtable", "mtd", "mtext", "mtr", "munder", "munderover",
}  # fmt: skip
ATTRIBUTES = {
    "accent", "accentunder", "columnalign", "columnspacing", "depth", "display", "displaystyle",
    "fence", "form", "height", "largeop", "linethickness", "lspace", "mathvariant", "maxsize",
    "minsize", "movablelimits", "rowspacing", "rspace", "scriptlevel", "separator", "stretchy",
    "symmetric", "width",
}  # fmt: skip

THIN = '<mspace width="0.17em"></mspace>'
"""Between a function's name and what it takes, where no bracket stands."""
OPENING = ("(", "[", "{", "|")
LIMITED = ("lim", "max", "min", "arg max", "arg min")
"""What carries its index below, where there is room."""


def as_mathml(latex: str, display: bool = True) -> str:
    """LaTeX as one `<math>` element, of elements that only draw. Raises InputError if not LaTeX.

    >>> as_mathml("x^2", display=False)
    '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'
    """
    return _serialise(as_tree(latex), {"display": "block" if display else "inline"})


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


def _serialise(element: ElementTree.Element, forced: dict[str, str] | None = None) -> str:
    """An element as text: known tags and attributes alone, everything else escaped or dropped."""
    tag = tag_of(element)
    if tag == "msub" and (element[0].text or "") in LIMITED:
        tag = "munder"
    inner = escape(element.text or "", quote=False)
    for child, after in zip(element, [*element[1:], None], strict=False):
        inner += _serialise(child) + escape(child.tail or "", quote=False)
        if _is_function(child) and after is not None and (after.text or "") not in OPENING:
            inner += THIN
    if tag not in ALLOWED:
        return inner
    kept = {k: v for k, v in element.attrib.items() if k in ATTRIBUTES} | (forced or {})
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in kept.items())
    return f"<{tag}{attributes}>{inner}</{tag}>"


# --- as a line -------------------------------------------------------------------------------

SUPER = dict(zip("0123456789+−-=()niTxzt′⊤", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱᵀˣᶻᵗ′ᵀ", strict=True))
SUB = dict(
    zip("0123456789+−-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True)
)
OVER = dict.fromkeys("^ˆ", "\u0302") | dict.fromkeys("‾¯―", "\u0304") | {"~": "\u0303"}
TIGHT = re.compile(r"(?<=[(\[·]) |(?<=[(\[]−) |(?<== −) |(?<=^−) | (?=[)\],;])")
SPACED = ("=", "+", "−", "-", "≤", "≥", "<", ">", "≠", "→", "↦", "∈", "≈", "⟹")


def as_unicode(latex: str) -> str:
    r"""A formula as one line, of letters that a terminal has.

    >>> as_unicode(r"\frac{\partial \ell}{\partial z} = \hat y - y")
    '∂ℓ/∂z = ŷ − y'
    """
    line = " ".join(_line(as_tree(latex)).split())
    for spaced, close in ((" (", "("), (" [", "[")):
        for name in ("log", "exp", "max", "min"):
            line = line.replace(name + spaced, name + close)
    return unicodedata.normalize("NFC", TIGHT.sub("", line))


def _line(element: ElementTree.Element) -> str:
    tag, parts = tag_of(element), [_line(child) for child in element]
    if tag == "mfrac":
        return f" {_grouped(parts[0])}/{_grouped(parts[1], below=True)} "
    if tag == "msup":
        return _scripted(parts[0], parts[1], SUPER, "^")
    if tag in ("msub", "munder"):
        return _scripted(parts[0], parts[1], SUB, "_")
    if tag in ("msubsup", "munderover"):
        return _scripted(_scripted(parts[0], parts[1], SUB, "_"), parts[2], SUPER, "^")
    if tag == "mover":
        return parts[0] + OVER.get(parts[1].strip(), f" with {parts[1]} above")
    if tag == "msqrt":
        return f"√{_grouped(''.join(parts), below=True)}"
    if tag == "mtr":
        return ", ".join(parts)
    if tag == "mtable":
        return "; ".join(parts)
    if tag in ("mspace", "mphantom"):
        return " "
    text = (element.text or "").strip()
    if tag == "mo" and text in SPACED:
        return f" {'−' if text == '-' else text} "
    if tag == "mo" and text in (",", ";"):
        return f"{text} "
    if tag == "mi" and len(text) > 1:
        return f" {text} "
    return text + _joined(parts)


def _joined(parts: list[str]) -> str:
    """A sum sign and its like stand apart from what follows; a leading minus stands close."""
    text = ""
    for part in parts:
        if part == " − " and (not text.strip() or text.rstrip()[-1] in "([{=/"):
            part = "−"
        text += f" {part} " if part[:1] in ("∑", "∏") else part
    return text


def _grouped(text: str, below: bool = False) -> str:
    """In brackets if it is more than one factor; a denominator also if it is a product."""
    text = text.strip()
    apart = any(sign in text for sign in (" + ", " − ", " = ", "∑")) or (below and "·" in text)
    return f"({text})" if apart and not (text[0] == "(" and text[-1] == ")") else text


def _scripted(base: str, script: str, letters: dict[str, str], sign: str) -> str:
    base, script = base.strip(), script.strip()
    if all(letter in letters for letter in script):
        return base + "".join(letters[letter] for letter in script)
    return f"{base}{sign}{script}" if len(script) == 1 else f"{base}{sign}({script})"


# --- a derivation ---------------------------------------------------------------------------------


def as_html(derivation: Derivation) -> str:
    """The lines of a derivation and their reasons, for a notebook."""
    lines = "".join(
        f'<li>{as_mathml(step.formula)}<span class="quiet">{escape(step.reason)}</span></li>'
        for step in derivation.steps
    )
    given = f'<p class="quiet">{escape(derivation.given)}</p>'
    return f"{given}{as_mathml(derivation.of)}<ol>{lines}</ol>"


def as_latex(derivation: Derivation) -> str:
    r"""The derivation for a paper: an `align` with numbered lines, and a list of their reasons.

    It needs amsmath, and nothing beyond ASCII.

    >>> from handgrad.derivations import derivation
    >>> print(as_latex(derivation("log_sigmoid")))
    % log_sigmoid, by handgrad; needs \usepackage{amsmath}
    \paragraph{The derivative of log \(\sigma\)}
    ...
    \begin{align*}
    ...
      &= \sigma(-z) \tag{5}
    \end{align*}
    \begin{enumerate}
    ...
    \end{enumerate}
    """
    lines = [
        rf"  &{step.formula} \tag{{{number}}}" for number, step in enumerate(derivation.steps, 1)
    ]
    return "\n".join(
        [
            rf"% {derivation.name}, by handgrad; needs \usepackage{{amsmath}}",
            rf"\paragraph{{{_words(derivation.title)}}}",
            _words(derivation.given),
            r"\begin{align*}",
            derivation.of,
            " \\\\\n".join(lines),
            r"\end{align*}",
            r"\begin{enumerate}",
            *(rf"  \item {_words(step.reason)}" for step in derivation.steps),
            r"\end{enumerate}",
        ]
    )


SYMBOLS = {
    "−": "-", "∂": r"\partial", "ŷ": r"\hat y", "′": "'", "∑": r"\sum", "∏": r"\prod",
    "·": r"\cdot", "⟨": r"\langle", "⟩": r"\rangle", "½": r"\tfrac12", "≠": r"\neq", "ℓ": r"\ell",
    "‖": r"\|", "∇": r"\nabla", "≤": r"\le", "≥": r"\ge", "≈": r"\approx", "√": r"\surd",
    "∘": r"\circ", "∈": r"\in", "↦": r"\mapsto", "→": r"\to", "⟹": r"\Rightarrow", "⊤": r"\top",
    "±": r"\pm", "λ": r"\lambda",
}  # fmt: skip
SCRIPTS = "".join([*SUPER.values(), *SUB.values()])
MATH = re.compile(
    rf"(?<![A-Za-z])[A-Za-z](?:\^\{{[^}}]*\}}|\^\([^)]*\)|_[\w≤]+|[{re.escape(SCRIPTS)}]+)"
    r"|(?:[^\W\d_]_[\w≤]+|[^\x00-\x7f])+"
)
"""In words: a letter with an index or a power, or symbols."""
SPECIAL = re.compile(r"[#$%&_{}]")


def _words(text: str) -> str:
    """A sentence as LaTeX has it in text, its symbols as formulas."""
    parts, end = [], 0
    for found in MATH.finditer(text):
        parts += [_escaped(text[end : found.start()]), rf"\({_symbols(found.group())}\)"]
        end = found.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return SPECIAL.sub(lambda found: "\\" + found.group(), text)


def _symbols(text: str) -> str:
    """Letters of a formula, one by one: σ as \\sigma, ² as ^{2}, with an index or a power."""
    base, place, rest = (*re.split("([_^])", text, maxsplit=1), "", "")[:3]
    said = []
    for sign, letters in groupby(base, lambda letter: _script(letter)[0]):
        symbols = " ".join(_symbol(_script(letter)[1]) for letter in letters)
        said.append(f"{sign}{{{symbols}}}" if sign else symbols)
    return " ".join(said) + (f"{place}{{{_symbols(rest.strip('{}'))}}}" if rest else "")


def _script(letter: str) -> tuple[str, str]:
    """Where a letter stands, '^', '_' or '' for neither, and the letter on the line."""
    kind, _, plain = unicodedata.decomposition(letter).partition(" ")
    sign = {"<super>": "^", "<sub>": "_"}.get(kind, "")
    return sign, chr(int(plain, 16)) if sign else letter


def _symbol(letter: str) -> str:
    name = unicodedata.name(letter)
    if letter in SYMBOLS:
        return SYMBOLS[letter]
    if name.startswith("GREEK"):
        greek = name.split()[-1].lower()
        return "\\" + (greek.capitalize() if "CAPITAL" in name else greek)
    return letter
