"""Fuzzing runs as a user does, without strict promotion, and ends with a table of its counts."""

import jax
import pytest


@pytest.fixture(autouse=True)
def as_a_user():
    """JAX promotes dtypes and ranks here as it does by default."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def pytest_terminal_summary(terminalreporter):
    found = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, counts in getattr(report, "user_properties", ()):
                if name == "fuzz" and report.when == "call":
                    found[counts["surface"]] = counts
    if not found:
        return
    columns = ("accepted", "refused", "faults")
    total = {name: sum(counts[name] for counts in found.values()) for name in columns}
    rows = [*sorted(found.values(), key=lambda c: c["surface"]), {"surface": "all", **total}]
    terminalreporter.section("inputs fuzzed")
    terminalreporter.line(f"{'surface':38}{'inputs':>9}" + "".join(f"{c:>10}" for c in columns))
    for row in rows:
        inputs = sum(row[name] for name in columns)
        cells = "".join(f"{row[name]:>10,}" for name in columns)
        terminalreporter.line(f"{row['surface']:38}{inputs:>9,}{cells}")
