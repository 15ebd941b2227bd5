"""For a user's own tests: `assert_gradient`, and the pytest plugin that collects its verdicts.

The verdicts of a run become a section of pytest's summary, and a JSON report with --handgrad-json.
They travel on pytest's own test reports, so that the workers of pytest-xdist, if it is there, bring
them home. pytest loads this file in every run, whether there is a gradient in it or not: neither
JAX nor pytest is imported before it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from handgrad.verify import Verdict

FORMAT = "handgrad report 1"

listeners: list[Callable[[Verdict], None]] = []
"""Called with each verdict: the last one only."""


def assert_gradient(
    gradient: Callable,
    *,
    of: Callable,
    at: tuple,
    argnums: int | tuple[int, ...] = 0,
    dtypes: tuple[str, ...] = ("float32", "float64"),
    digits: int = 60,
    points: Callable | None = None,
    evaluations: int = 2_000,
    seed: int = 0,
    reference: str = "truth",
    strict: bool = False,
    name: str | None = None,
    rules: Mapping[str, Callable] | None = None,
) -> Verdict:
    """Judge `gradient` as `handgrad.verify` does, and raise AssertionError unless it is right.

    The message is the printed verdict; its first line says what is wrong and where. Raises
    InputError for arguments that cannot be judged.

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
    from handgrad.verify import verify

    verdict = verify(
        gradient, of=of, at=at, argnums=argnums, dtypes=dtypes, digits=digits, points=points,
        evaluations=evaluations, seed=seed, reference=reference, strict=strict, name=name,
        rules=rules,
    )  # fmt: skip
    if listeners:
        listeners[-1](verdict)
    if not verdict.ok:
        raise AssertionError(str(verdict))
    return verdict


# --- the pytest plugin ----------------------------------------------------------------------------


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
    import pytest

    class Plugin(Collector):
        pytest_runtest_makereport = pytest.hookimpl(wrapper=True)(Collector.put_on_report)

    path = config.getoption("--handgrad-json")
    if path is not None and not path.absolute().parent.is_dir():
        raise pytest.UsageError(f"--handgrad-json: there is no folder {path.absolute().parent}")
    config.pluginmanager.register(Plugin(path), "handgrad-collector")


class Collector:
    """Every verdict of a run, with the test that asked for it."""

    def __init__(self, path: Path | None):
        self.path = path
        self.pending: list[dict[str, Any]] = []
        self.collected: list[dict[str, Any]] = []
        listeners.append(self.keep)

    def keep(self, verdict: Verdict) -> None:
        """Keep a verdict until pytest reports the test it belongs to."""
        self.pending.append(json.loads(verdict.to_json()))

    def pytest_unconfigure(self) -> None:
        """Stop listening."""
        listeners.remove(self.keep)

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
        data = {"format": FORMAT, "certificates": self.collected}
        self.path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line for each verdict."""
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


def summary_row(certificate: dict[str, Any]) -> tuple[str, ...]:
    """Name, verdict, digits, and the worst error of hand in ulp by dtype, from a certificate.

    >>> row = {"dtype": "float32", "hand_max_ulp": 2.5, "hand_bad": 0}
    >>> facts = {"name": "g", "ok": True, "hand": "identical", "digits": 60, "numerics": [row]}
    >>> summary_row(facts)
    ('g', 'identical', '60', 'float32 2.5 ulp')
    """
    worst = [
        f"{row['dtype']} {float(row['hand_max_ulp']):.4g} ulp"
        + (f", {row['hand_bad']} bad" if row["hand_bad"] else "")
        for row in certificate["numerics"]
    ]
    verdict = certificate["hand"] + ("" if certificate["ok"] else " (NOT right)")
    digits = str(certificate["digits"]) if certificate["hand"] == "identical" else "-"
    return certificate["name"], verdict, digits, "; ".join(worst) or "no numerics"
