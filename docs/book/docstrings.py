"""Docstrings as Sphinx wants them: written as plain text, they are not to be read as markup.

Words between single backticks are code, an indented paragraph is a formula to be kept as it
stands, `>>>` begins an example, and stars, bars and underscores are what they are.
"""

import re
from typing import Any

BOLD = re.compile(r"\*\*[^*]+\*\*")
SPECIAL = re.compile(r"([\\*|_<>`])")
CODE = re.compile(r"(`+)([^`]+)\1", re.DOTALL)
SECTION = re.compile(r"^(Raises|Returns|Args|Yields|Notes?):$")
ITEM = re.compile(r"^(- |\d+\. )")


def as_rst(lines: list[str]) -> list[str]:
    """The same text as reStructuredText.

    >>> as_rst(["x_n | `a_b`:", "", "    E = |x|", "", "Then **so**."])
    ['x\\\\_n \\\\| ``a_b``:', '', '::', '', '    E = |x|', '', 'Then **so**.']
    """
    out: list[str] = []
    literal = False
    for paragraph in _paragraphs(lines):
        if paragraph[0].startswith("  "):
            out += [*([] if literal else ["::", ""]), *paragraph, ""]
            literal = True
            continue
        literal = False
        if SECTION.match(paragraph[0]):
            out += [*_section(paragraph), ""]
            continue
        for part in _parts(paragraph):
            example = part[0].startswith(">>>")
            out += [*(part if example else _prose(part)), ""]
    return out[:-1]


def _section(paragraph: list[str]) -> list[str]:
    """'Raises:' and its entries, each with lines that go on further in, as a list."""
    entries: list[str] = []
    for line in paragraph[1:]:
        if line.startswith("     ") and entries:
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    return [_plain(paragraph[0]), "", *(f"- {_prose([entry])[0]}" for entry in entries)]


def _paragraphs(lines: list[str]) -> list[list[str]]:
    """Runs of lines without an empty one between them."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [paragraph for paragraph in found if paragraph]


def _parts(paragraph: list[str]) -> list[list[str]]:
    """A paragraph cut where a list item, or an example, begins."""
    found: list[list[str]] = []
    for line in paragraph:
        inside = bool(found) and found[-1][0].startswith(">>>")
        begins = ITEM.match(line) or (line.startswith(">>>") and not inside)
        if not found or begins:
            found.append([])
        found[-1].append(line)
    return found


def _prose(lines: list[str]) -> list[str]:
    """Code as code, bold as bold, all else literally; lines that go on are not indented."""
    first, *rest = lines
    item = ITEM.match(first)
    mark = item[0] if item else ""
    text = " ".join([first[len(mark) :], *(line.strip() for line in rest)])
    out, at = "", 0
    for code in CODE.finditer(text):
        before = _plain(text[at : code.start()])
        glued = "" if not before or before[-1] in " (" else r"\ "
        after = text[code.end() : code.end() + 1]
        out += before + (glued if out or before else "") + f"``{code[2].strip()}``"
        out += r"\ " if after.isalnum() or after in ("_", "ʼ") else ""
        at = code.end()
    return [mark + out + _plain(text[at:])]


def _plain(text: str) -> str:
    out, at = "", 0
    for bold in BOLD.finditer(text):
        out += SPECIAL.sub(r"\\\1", text[at : bold.start()]) + bold[0]
        at = bold.end()
    return out + SPECIAL.sub(r"\\\1", text[at:])


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """What autodoc calls for every docstring."""
    lines[:] = as_rst(lines) if any(line.strip() for line in lines) else []


def skip(app: Any, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Fields of a named tuple that say no more than their number are left out."""
    said = getattr(obj, "__doc__", None) or ""
    return True if said.startswith("Alias for field number") else None


def setup(app: Any) -> None:
    """Hook into autodoc."""
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", process)
