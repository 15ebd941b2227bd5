"""For a user's own tests: `assert_gradient`, marks for rules, and the pytest plugin.

The plugin collects the verdicts of a run, and audits a package's derivative rules by the tests
that reach them (--handgrad-audit): it records while the tests run, and judges when they are over.
Both become a section of pytest's summary, and a JSON report with --handgrad-json. Verdicts travel
on pytest's own test reports, so that the workers of pytest-xdist, if it is there, bring them home.
pytest loads this file in every run, whether there is a gradient in it or not: neither JAX nor
pytest is imported before it is needed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pytest

    from handgrad.testing.audit import Audit
    from handgrad.testing.recording import Recorder
    from handgrad.verify import Verdict

FORMAT = "handgrad report 1"
EVALUATIONS = 2_000

Rule = TypeVar("Rule")

listeners: list[Collector] = []
"""Told of each verdict: the last one only."""


def assert_gradient(
    gradient: Callable,
    *,
    of: Callable,
    at: tuple,
    argnums: int | tuple[int, ...] = 0,
    dtypes: tuple[str, ...] = ("float32", "float64"),
    digits: int = 60,
    points: Callable | None = None,
    evaluations: int | None = None,
    seed: int = 0,
    reference: str = "truth",
    strict: bool = False,
    name: str | None = None,
    rules: Mapping[str, Callable] | None = None,
) -> Verdict:
    """Judge `gradient` as `handgrad.verify` does, and raise AssertionError unless it is right.

    The message is the printed verdict; its first line says what is wrong and where. `evaluations`
    are those of --handgrad-evaluations if none are given, else 2,000. Raises InputError for
    arguments that cannot be judged.

    >>> import jax.numpy as jnp
    >>> def energy(x):
    ...     return jnp.sum(x * x)
    >>> assert_gradient(lambda x: 2 * x, of=energy, at=(jnp.ones(3),)).digits
    60
    >>> assert_gradient(lambda x: -2 * x, of=energy, at=(jnp.ones(3),), name="energy")
    Traceback (most recent call last):
    AssertionError: energy: NOT right: wrong at x[0]: ...
    """
    __tracebackhide__ = True
    from handgrad.errors import InputError
    from handgrad.verify import verify

    if evaluations is None:
        evaluations = listeners[-1].evaluations if listeners else EVALUATIONS
    try:
        verdict = verify(
            gradient, of=of, at=at, argnums=argnums, dtypes=dtypes, digits=digits, points=points,
            evaluations=evaluations, seed=seed, reference=reference, strict=strict, name=name,
            rules=rules,
        )  # fmt: skip
    except InputError as error:
        # The judge's own frames say nothing about the test.
        raise error.with_traceback(None) from None
    if listeners:
        listeners[-1].keep(verdict)
    if not verdict.ok:
        raise AssertionError(str(verdict))
    return verdict


def not_a_derivative(rule: Rule, reason: str) -> Rule:
    """Mark the rule of a `jax.custom_vjp` or `jax.custom_jvp` as no derivative, on purpose.

    A straight-through estimator, a reversed or clipped gradient: the audit shows it as marked, with
    the reason, and does not judge it. Returns the rule. A package that does not want to import
    handgrad names its rules in pytest's configuration instead: `handgrad_not_derivatives`.

    >>> import jax
    >>> @jax.custom_vjp
    ... def reverse(x):
    ...     return x
    >>> reverse.defvjp(lambda x: (x, None), lambda kept, c: (-c,))
    >>> not_a_derivative(reverse, "gradient reversal") is reverse
    True
    """
    from handgrad.testing.audit import mark

    return mark(rule, reason)


# --- the pytest plugin ----------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options --handgrad-..., and the configuration beside them."""
    group = parser.getgroup("handgrad")
    group.addoption(
        "--handgrad-json",
        metavar="FILE",
        type=Path,
        help="write the certificate of every gradient that assert_gradient judged to this file, "
        "and the audit",
    )
    group.addoption(
        "--handgrad-evaluations",
        metavar="N",
        type=int,
        help="points that the search tries in each dtype, where a test does not say "
        "(2,000; 0 in an audit)",
    )
    group.addoption(
        "--handgrad-audit",
        metavar="PACKAGE",
        help="judge each custom_jvp and custom_vjp rule of this package that the tests reach, at "
        "the arguments that they pass",
    )
    group.addoption(
        "--handgrad-seconds",
        metavar="S",
        type=float,
        default=300.0,
        help="time limit for the judging of an audit (300)",
    )
    parser.addini(
        "handgrad_not_derivatives",
        "rules that are no derivatives on purpose, one 'package.module.name: reason' per line",
        type="linelist",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start to listen."""
    import pytest

    class CollectorPlugin(Collector):
        pytest_runtest_makereport = pytest.hookimpl(wrapper=True)(Collector.put_on_report)
        assert_gradient = pytest.fixture(name="assert_gradient")(Collector.with_options)

    class AuditorPlugin(Auditor):
        pytest_runtest_protocol = pytest.hookimpl(tryfirst=True)(Auditor.run_test)
        pytest_testnodedown = pytest.hookimpl(optionalhook=True)(Auditor.take_report)
        pytest_sessionfinish = pytest.hookimpl(tryfirst=True)(Auditor.judge)

    path = config.getoption("--handgrad-json")
    if path is not None and not path.absolute().parent.is_dir():
        raise pytest.UsageError(f"--handgrad-json: there is no folder {path.absolute().parent}")
    config.addinivalue_line(
        "markers",
        "handgrad(**options): options for the fixture assert_gradient in this test, such as "
        "evaluations=200 or dtypes=('float32',)",
    )
    evaluations = config.getoption("--handgrad-evaluations")
    collector = CollectorPlugin(path, EVALUATIONS if evaluations is None else evaluations)
    config.pluginmanager.register(collector, "handgrad-collector")
    package = config.getoption("--handgrad-audit")
    if package is not None and not config.option.collectonly:
        auditor = AuditorPlugin(config, collector, package)
        config.pluginmanager.register(auditor, "handgrad-auditor")


class Collector:
    """Every verdict of a run, with the test that asked for it."""

    def __init__(self, path: Path | None, evaluations: int = EVALUATIONS):
        self.path = path
        self.evaluations = evaluations
        self.pending: list[dict[str, Any]] = []
        self.collected: list[dict[str, Any]] = []
        self.audit: dict[str, Any] | None = None
        listeners.append(self)

    def keep(self, verdict: Verdict) -> None:
        """Keep a verdict until pytest reports the test it belongs to."""
        self.pending.append(json.loads(verdict.to_json()))

    def with_options(self, request: pytest.FixtureRequest) -> Callable[..., Verdict]:
        """`handgrad.testing.assert_gradient` with the options of @pytest.mark.handgrad."""
        marker = request.node.get_closest_marker("handgrad")
        return functools.partial(assert_gradient, **(marker.kwargs if marker else {}))

    def pytest_unconfigure(self) -> None:
        """Stop listening."""
        listeners.remove(self)

    def put_on_report(self, item: pytest.Item) -> Generator[None, Any, Any]:
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
        data: dict[str, Any] = {"format": FORMAT, "certificates": self.collected}
        if self.audit is not None:
            data["audit"] = self.audit
        self.path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line for each verdict."""
        if not self.collected:
            return
        from handgrad._notebook import aligned

        terminalreporter.section("handgrad")
        heads = ("gradient", "verdict", "digits", "worst of hand", "test")
        for line in aligned([heads, *map(summary_row, self.collected)]):
            terminalreporter.write_line(line)


def summary_row(certificate: dict[str, Any]) -> tuple[str, ...]:
    """Name, verdict, digits, the worst error of hand in ulp by dtype, and the test.

    >>> row = {"dtype": "float32", "hand_max_ulp": 2.5, "hand_bad": 0}
    >>> facts = {"name": "g", "ok": True, "hand": "identical", "digits": 60, "numerics": [row]}
    >>> summary_row({**facts, "test": "test_g.py::test_g"})
    ('g', 'identical', '60', 'float32 2.5 ulp', 'test_g.py::test_g')
    """
    worst = [
        f"{row['dtype']} {float(row['hand_max_ulp']):.4g} ulp"
        + (f", {row['hand_bad']} bad" if row["hand_bad"] else "")
        for row in certificate["numerics"]
    ]
    verdict = certificate["hand"] + ("" if certificate["ok"] else " (NOT right)")
    digits = str(certificate["digits"]) if certificate["hand"] == "identical" else "-"
    said = "; ".join(worst) or "no numerics"
    return certificate["name"], verdict, digits, said, certificate["test"]


class Auditor:
    """Watches the rules of a package in one process, or puts together what the workers found."""

    def __init__(self, config: pytest.Config, collector: Collector, package: str):
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

    def run_test(self, item: pytest.Item, nextitem: pytest.Item | None) -> Any:
        """Run a test; if it fails with callbacks in its programs, run it again without them.

        No test is to fail for having been watched: an export, a count of effects or a kernel may
        not take a callback.
        """
        from _pytest.runner import runtestprotocol

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

    def take_report(self, node: Any) -> None:
        """Take a worker's report."""
        if text := getattr(node, "workeroutput", {}).get("handgrad_audit"):
            self.parts.append(json.loads(text))

    def judge(self, session: pytest.Session) -> None:
        """Judge what was recorded; a wrong rule fails the run."""
        import pytest

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
