"""The pytest plugin: the verdicts of a run as a section of its summary, and as a JSON report.

pytest loads it in every run, whether there is a gradient in it or not: no JAX is imported here.
Verdicts travel on pytest's own test reports, so that the workers of pytest-xdist, if it is there,
bring them home.
"""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from handgrad.testing import listeners, summary_row

FORMAT = "handgrad report 1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --handgrad-json FILE."""
    parser.getgroup("handgrad").addoption(
        "--handgrad-json",
        metavar="FILE",
        type=Path,
        help="write the certificate of every gradient that assert_gradient judged to this file",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start to listen."""
    path = config.getoption("--handgrad-json")
    if path is not None and not path.absolute().parent.is_dir():
        raise pytest.UsageError(f"--handgrad-json: there is no folder {path.absolute().parent}")
    config.pluginmanager.register(Collector(path), "handgrad-collector")


class Collector:
    """Every verdict of a run, with the test that asked for it."""

    def __init__(self, path: Path | None):
        self.path = path
        self.pending: list[dict[str, Any]] = []
        self.collected: list[dict[str, Any]] = []
        listeners.append(self.hear)

    def hear(self, verdict: Any) -> None:
        """Keep a verdict until pytest reports the test it belongs to."""
        self.pending.append(json.loads(verdict.to_json()))

    def pytest_unconfigure(self) -> None:
        """Stop listening."""
        listeners.remove(self.hear)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Put the verdicts on the report, which is what reaches the process that prints."""
        report = yield
        report.handgrad = [{"test": item.nodeid, **verdict} for verdict in self.pending]
        self.pending.clear()
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take them off again, in the process that prints."""
        self.collected += getattr(report, "handgrad", [])

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the JSON report, unless this is only a worker."""
        if self.path is None or hasattr(session.config, "workerinput"):
            return
        data = {"format": FORMAT, "certificates": self.collected}
        self.path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line a verdict."""
        if not self.collected:
            return
        rows = [
            ("gradient", "verdict", "digits", "worst of hand"),
            *map(summary_row, self.collected),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        terminalreporter.section("handgrad")
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            terminalreporter.write_line("  ".join(cells).rstrip())
