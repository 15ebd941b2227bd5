"""What a page of Markdown asks to be run, in the order of reading, and running it.

    ```{run}      Python, shown, with what it prints beneath it
    ```{check}    Python, not shown: the asserts behind what the prose says
    ```{needs}    a package, without which nothing of the page is run
    {value}`...`  an expression, whose value stands in the sentence
    ```sh         commands, one a line
    ```python     Python; a ```text right after it is what it prints
    ```console    a command behind a $, and what it prints

A page is one namespace from top to bottom, and an error names its line. The build and the tests
both read pages with this file, so that what is tested is what is built.
"""

import contextlib
import io
import linecache
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax

PYTHON = ("run", "check", "value", "python")
NEEDS = "needs"
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


# --- running --------------------------------------------------------------------------------------


class PageError(Exception):
    """Code of a page that raised, or a check that does not hold: where, and what."""


class Page:
    """The code of one page as it is run; `ran` and `checked` count its blocks.

    `missing` is a package that the page needs and that is not here: then nothing is run.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.ran = self.checked = 0
        self.missing: str | None = None
        self._lines: list[str] = []

    def needs(self, package: str) -> None:
        """From here on, run nothing unless a package is here."""
        self.missing = self.missing or (None if find_spec(package) else package)

    def run(self, text: str, line: int) -> str:
        """Execute a block that starts at `line` of the page; what it prints."""
        if self.missing:
            return ""
        printed = io.StringIO()
        with self._named(line), contextlib.redirect_stdout(printed), as_a_reader():
            exec(self._compiled(text, line, "exec"), self.names)
        self.ran += 1
        return printed.getvalue()

    def check(self, text: str, line: int) -> None:
        """Execute asserts that the reader does not see. Raises PageError if there are none."""
        if "assert " not in text:
            raise PageError(f"{self.name}:{line}: a check without an assert")
        if not self.missing:
            self.run(text, line)
            self.ran -= 1
            self.checked += 1

    def value(self, text: str, line: int) -> str:
        """The value of an expression, as str() writes it."""
        if self.missing:
            return "…"
        with self._named(line), as_a_reader():
            return str(eval(self._compiled(text.strip(), line, "eval"), self.names))

    def _compiled(self, text: str, line: int, mode: str) -> Any:
        missing = line - 1 - len(self._lines)
        self._lines += ["\n"] * missing + text.rstrip("\n").splitlines(keepends=True)
        self._lines[-1] += "\n"
        # so that whoever asks for the source of a line of the page, as a tape does, finds it
        linecache.cache[self.name] = (sum(map(len, self._lines)), None, self._lines, self.name)
        return compile("\n" * (line - 1) + text, self.name, mode)  # line numbers are the page's

    @contextlib.contextmanager
    def _named(self, line: int) -> Iterator[None]:
        try:
            yield
        except PageError:
            raise
        except Exception as fault:
            if isinstance(fault, SyntaxError) and fault.filename == self.name:
                line = fault.lineno or line
            for frame in traceback.extract_tb(fault.__traceback__):
                line = frame.lineno or line if frame.filename == self.name else line
            what = f"{type(fault).__name__}: {fault}".rstrip(": ")
            raise PageError(f"{self.name}:{line}: {what}") from fault


@contextlib.contextmanager
def as_a_reader() -> Iterator[None]:
    """JAX as one finds it, whatever stricter settings the process has."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def run_block(page: Page, block: Block) -> str:
    """One block of Python by its kind: what the reader will see of it."""
    if block.kind == "check":
        page.check(block.text, block.line)
        return ""
    if block.kind == "value":
        return page.value(block.text, block.line)
    return page.run(block.text, block.line)


def run_page(path: Path) -> Page:
    """All Python of a page, in order. Raises PageError at the first line that does not hold."""
    page = Page(path.name)
    for block in blocks_of(path.read_text()):
        if block.kind == NEEDS:
            page.needs(block.text.strip())
        if block.kind in PYTHON:
            run_block(page, block)
    return page
