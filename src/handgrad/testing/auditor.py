"""The audit within a run of pytest: record while the tests run, judge when they are over.

A test that fails while callbacks are in its programs is run again without them, so that no test
fails for having been watched: an export, a count of effects or a kernel may not take a callback.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

if TYPE_CHECKING:
    from handgrad.testing.audit import Audit
    from handgrad.testing.recording import Recorder


class Auditor:
    """Watches the rules of a package in one process, or puts together what the workers found."""

    def __init__(self, config: pytest.Config, collector: Any, package: str):
        self.config = config
        self.collector = collector
        self.package = package
        self.recorder: Recorder | None = None
        self.undisturbed: list[str] = []
        """Tests that failed with callbacks in their programs, and passed without."""
        self.parts: list[dict[str, Any]] = []
        """What the workers of pytest-xdist report."""
        self.audit: Audit | None = None

    def pytest_collection_finish(self) -> None:
        """Begin to record: by now the tests have imported, and configured, the JAX they want."""
        if self.config.pluginmanager.hasplugin("dsession"):  # the workers run the tests
            return
        from handgrad.testing.recording import Recorder

        self.recorder = Recorder(self.package)
        self.recorder.install()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Any:
        """Run a test; if it fails with callbacks about, run it again without them."""
        recorder = self.recorder
        if recorder is None:
            return None
        recorder.context = item.nodeid
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if recorder.callbacks and any(report.failed for report in reports):
            with recorder.without_callbacks():
                reports = runtestprotocol(item, nextitem=nextitem, log=False)
            if not any(report.failed for report in reports):
                self.undisturbed.append(item.nodeid)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take a worker's report."""
        if text := getattr(node, "workeroutput", {}).get("handgrad_audit"):
            self.parts.append(json.loads(text))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge what was recorded; a wrong rule fails the run."""
        from handgrad.testing.audit import Audit, judge_calls, merged, parse_marks, versions

        if self.recorder is None:
            self.audit = merged(self.package, self.parts)
        else:
            self.recorder.uninstall()
            marks = parse_marks(self.config.getini("handgrad_not_derivatives"))
            rows = judge_calls(
                list(self.recorder.calls.values()), self.package, marks,
                self.config.getoption("--handgrad-seconds"),
                self.config.getoption("--handgrad-evaluations") or 0,
            )  # fmt: skip
            notes = [f"not recorded, {n} times: {w}" for w, n in self.recorder.failures.items()]
            if self.undisturbed:
                notes.append(
                    f"{len(self.undisturbed)} tests fail while values are recorded in compiled "
                    f"programs, and ran without: {', '.join(self.undisturbed)}"
                )
            self.audit = Audit(self.package, tuple(rows), tuple(notes), versions(self.package))
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["handgrad_audit"] = json.dumps(self.audit.as_data())
            return
        self.collector.audit = self.audit.as_data()
        if not self.audit.ok and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table."""
        from handgrad.testing.audit import as_text

        if self.audit is not None:
            terminalreporter.section(f"handgrad audit of {self.package}")
            terminalreporter.write_line(as_text(self.audit))
