"""Public reports on objectives of boosting, replayed: a sample of each kind of fault."""

from dataclasses import replace

import jax
import pytest

from benchmarks.judge.objectives import REPORTS, as_data, read

ASKED = {
    "dmlc/xgboost": {2072, 2602, 2955, 2995, 3037, 4402, 5769, 10105},
    "lightgbm-org/LightGBM": {1154, 1230},
}
SAMPLE = (
    ("#2602", "Huber, grad mended", False),
    ("#1230", "weighted log loss", True),
    ("#10105", "custom_softmax", False),
)


def test_every_report_is_there():
    for repository, numbers in ASKED.items():
        found = {r.report.split("#")[1] for r in REPORTS if r.report.startswith(repository)}
        assert set(map(str, numbers)) <= found


@pytest.mark.parametrize(("number", "objective", "with_mended"), SAMPLE)
def test_a_report_is_named(number, objective, with_mended):
    (report,) = (r for r in REPORTS if r.report.endswith(number) and objective in r.objective)
    if not with_mended:
        report = replace(report, mended=None)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        reading = read(report)
    assert reading.is_named, reading.said
    assert reading.mended_ok is (True if with_mended else None)
    assert as_data(reading)["named"] == "yes"
