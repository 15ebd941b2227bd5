"""Public reports on objectives of boosting, replayed: a sample of each kind of fault."""

import jax
import pytest

from benchmarks.judge.objectives import REPORTS, as_data, read

ASKED = {
    "dmlc/xgboost": {2072, 2602, 2955, 2995, 3037, 4402, 5769, 10105},
    "lightgbm-org/LightGBM": {1154, 1230},
}
SAMPLE = (
    ("#2072", "exponential loss"), ("#2602", "Huber, grad mended"), ("#2955", "its hess"),
    ("#1230", "weighted log loss"), ("#10105", "custom_softmax"),
)  # fmt: skip


def test_every_report_is_there():
    for repository, numbers in ASKED.items():
        found = {r.report.split("#")[1] for r in REPORTS if r.report.startswith(repository)}
        assert set(map(str, numbers)) <= found


@pytest.mark.parametrize(("number", "objective"), SAMPLE)
def test_a_report_is_named(number, objective):
    (report,) = (r for r in REPORTS if r.report.endswith(number) and objective in r.objective)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        reading = read(report)
    assert reading.is_named, reading.said
    assert reading.mended_ok is not False
    assert as_data(reading)["named"] == "yes"
