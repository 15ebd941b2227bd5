"""What a page of Markdown asks to be run: its blocks and inline values, in the order of reading.

    ```{run}      Python, shown, with what it prints beneath it
    ```{check}    Python, not shown: the asserts behind what the prose says
    ```{needs}    a package, without which nothing of the page is run
    {value}`...`  an expression, whose value stands in the sentence
    ```sh         commands, one a line
    ```python     Python; a ```text right after it is what it prints
    ```console    a command behind a $, and what it prints

The build and the tests both read pages with this file, so that what is tested is what is built.
"""

import re
from dataclasses import dataclass

FENCE = re.compile(r"^(?P<ticks>`{3,})\s*(?P<kind>\{?[\w-]*\}?)[ \t]*(?P<rest>.*)$")
VALUE = re.compile(r"\{value\}`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """One thing to run; `line` is that of its first line of text, from 1."""

    kind: str
    text: str
    line: int


def blocks_of(markdown: str) -> list[Block]:
    """All fenced blocks and inline values of a page, in order. Options of directives are left out.

    Raises ValueError for a fence that is never closed.

    >>> page = "Say {value}`1 + 1`.\\n```{run}\\nprint(2)\\n```\\n"
    >>> [(block.kind, block.text, block.line) for block in blocks_of(page)]
    [('value', '1 + 1', 1), ('run', 'print(2)', 3)]
    """
    found: list[Block] = []
    lines = markdown.split("\n")
    at = 0
    while at < len(lines):
        opening = FENCE.match(lines[at])
        if opening is None:
            found += [Block("value", text, at + 1) for text in VALUE.findall(lines[at])]
            at += 1
            continue
        end = _closing(lines, at, opening["ticks"])
        start = at + 1
        while opening["kind"].startswith("{") and start < end and lines[start].startswith(":"):
            start += 1
        body = "\n".join(lines[start:end])
        found.append(Block(opening["kind"].strip("{}"), body, start + 1))
        at = end + 1
    return found


def _closing(lines: list[str], opened: int, ticks: str) -> int:
    for at in range(opened + 1, len(lines)):
        if lines[at].startswith(ticks) and not lines[at].strip("`").strip():
            return at
    raise ValueError(f"line {opened + 1}: a fence that is never closed")


def pages_of(folder) -> list:
    """The chapters of a folder of Markdown, by name."""
    return sorted(folder.glob("[0-9]*.md"))
