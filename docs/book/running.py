"""Running the code of a page: one namespace from top to bottom, and errors that name the line."""

import contextlib
import io
import linecache
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax

from book.blocks import Block, blocks_of

PYTHON = ("run", "check", "value", "python")
NEEDS = "needs"


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
