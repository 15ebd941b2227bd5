"""Formulas for the terminal: LaTeX as a line of letters that a terminal has."""

import re
import unicodedata
from xml.etree import ElementTree

from handgrad.explain.mathml import as_tree, tag_of

SUPER = dict(zip("0123456789+−-=()niTxzt′⊤", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱᵀˣᶻᵗ′ᵀ", strict=True))
SUB = dict(
    zip("0123456789+−-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True)
)
OVER = dict.fromkeys("^ˆ", "\u0302") | dict.fromkeys("‾¯―", "\u0304") | {"~": "\u0303"}
TIGHT = re.compile(r"(?<=[(\[·]) |(?<=[(\[]−) |(?<== −) |(?<=^−) | (?=[)\],;])")
SPACED = ("=", "+", "−", "-", "≤", "≥", "<", ">", "≠", "→", "↦", "∈", "≈", "⟹")


def as_line(latex: str) -> str:
    r"""A formula as one line.

    >>> as_line(r"\frac{\partial \ell}{\partial z} = \hat y - y")
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
