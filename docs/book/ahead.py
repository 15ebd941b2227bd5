"""The code of the pages, run before they are read, by a process on each core but one.

Each page is a program of its own, so it makes no difference which process runs it. The pages with
code are read last: until then Sphinx, on the last core, reads the others.
"""

import os
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from book.running import NEEDS, Block, Page, PageError, blocks_of, run_block

RUN = ("run", "check", "value")
RUNNING: dict[str, Future] = {}
"""Of the build that is under way: what comes of each page, by its name."""


class Outcome(NamedTuple):
    """What came of a block: what the reader sees of it, or the fault."""

    block: Block
    said: str
    fault: str | None


def outcomes_of(path: Path) -> list[Outcome]:
    """Every block of a page, run in order; after a fault the next one is tried, as in a build."""
    page, found = Page(path.name), []
    for block in blocks_of(path.read_text()):
        if block.kind == NEEDS:
            page.needs(block.text.strip())
        if block.kind in RUN:
            try:
                found.append(Outcome(block, run_block(page, block), None))
            except PageError as fault:
                found.append(Outcome(block, "", str(fault)))
    return found


class PageRunAhead(Page):
    """A page that answers with what came of its blocks elsewhere."""

    def __init__(self, name: str, running: Future) -> None:
        super().__init__(name)
        self.running = running
        self.outcomes: list[Outcome] | None = None

    def run(self, text: str, line: int) -> str:
        """What the block printed. Raises its PageError."""
        self.ran += not self.missing
        return self._outcome("run", text)

    def check(self, text: str, line: int) -> None:
        """Raises the PageError of the check."""
        self.checked += not self.missing
        self._outcome("check", text)

    def value(self, text: str, line: int) -> str:
        """The value, as str() wrote it. Raises its PageError."""
        return self._outcome("value", text)

    def _outcome(self, kind: str, text: str) -> str:
        if self.outcomes is None:
            self.outcomes = list(self.running.result())
        for outcome in self.outcomes:
            if outcome.block.kind == kind and outcome.block.text.strip() == text.strip():
                self.outcomes.remove(outcome)
                if outcome.fault:
                    raise PageError(outcome.fault)
                return outcome.said
        raise PageError(f"{self.name}: a block that was not run: {text.strip()[:60]}")


def start(app: Any, env: Any, docnames: list[str]) -> None:
    """Begin with the pages that hold code, if there are several, and put them last."""
    RUNNING.clear()
    paths = {name: Path(env.doc2path(name)) for name in docnames}
    coded = [name for name in docnames if has_code(paths[name])]
    if len(coded) < 2:
        return
    docnames.sort(key=lambda name: name in coded)
    pool = ProcessPoolExecutor(max(1, (os.cpu_count() or 1) - 1), get_context("spawn"))
    RUNNING.update({name: pool.submit(outcomes_of, paths[name]) for name in coded})
    pool.shutdown(wait=False)


def has_code(path: Path) -> bool:
    """Whether a page holds a block or a value to run."""
    return path.suffix == ".md" and any(block.kind in RUN for block in blocks_of(path.read_text()))


def setup(app: Any) -> None:
    """When Sphinx knows which pages it will read."""
    app.connect("env-before-read-docs", start)
