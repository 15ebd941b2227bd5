"""Docstrings as Sphinx wants them: written as plain text, they are not to be read as markup.

Words between single backticks are code, an indented paragraph is a formula to be kept as it
stands, `>>>` begins an example, and stars, bars and underscores are what they are.
"""

import re
from typing import Any

BOLD = re.compile(r"\*\*[^*]+\*\*")
SPECIAL = re.compile(r"([\\*|_<>])")
PART = re.compile(r"(`+)(.+?)\1")


def as_rst(lines: list[str]) -> list[str]:
    """The same text as reStructuredText.

    >>> as_rst(["x_n | `a_b`:", "", "    E = |x|", "", "Then **so**."])
    ['x\\\\_n \\\\| ``a_b``:', '', '::', '', '    E = |x|', '', 'Then **so**.']
    """
    out: list[str] = []
    paragraphs = _paragraphs(_joined(lines))
    for paragraph in paragraphs:
        first = paragraph[0]
        if first.lstrip().startswith(">>>"):
            out += [*paragraph, ""]
        elif first.startswith("  "):
            literal = len(out) >= 2 and out[-2].startswith("    ") and not out[-2].strip() == "::"
            out += [*paragraph, ""] if literal and _in_literal(out) else ["::", "", *paragraph, ""]
        else:
            out += [*_prose("\n".join(paragraph)).split("\n"), ""]
    return out[:-1]


def _in_literal(out: list[str]) -> bool:
    """Whether the paragraph just written is a literal one, which this one goes on with."""
    for line in reversed(out):
        if line == "::":
            return True
        if line and not line.startswith(" "):
            return False
    return False


def _joined(lines: list[str]) -> list[str]:
    return "\n".join(lines).rstrip().split("\n")


def _paragraphs(lines: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [paragraph for paragraph in found if paragraph]


def _prose(text: str) -> str:
    """Code as code, bold as bold, all else literally."""
    out, at = "", 0
    for part in PART.finditer(text):
        out += _plain(text[at : part.start()]) + _code(part[2])
        at = part.end()
    return _spaced(out + _plain(text[at:]))


def _code(text: str) -> str:
    return f"``{text}``"


def _plain(text: str) -> str:
    out, at = "", 0
    for bold in BOLD.finditer(text):
        out += SPECIAL.sub(r"\\\1", text[at : bold.start()]) + bold[0]
        at = bold.end()
    return out + SPECIAL.sub(r"\\\1", text[at:])


def _spaced(text: str) -> str:
    """Markup that touches a letter needs a break that is not seen."""
    text = re.sub(r"(``[^`]+``)(?=\w)", r"\1\\ ", text)
    return re.sub(r"(?<=[\w(])(?<!`)(``[^`]+``)", lambda m: f"\\ {m[1]}", text)


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """What autodoc calls for every docstring."""
    if lines and obj is not None and getattr(obj, "__doc__", None) in (dict.__doc__, tuple.__doc__):
        lines.clear()
    lines[:] = as_rst(lines) if any(line.strip() for line in lines) else []


def setup(app: Any) -> None:
    """Hook into autodoc."""
    app.connect("autodoc-process-docstring", process)
