"""A category of many values, small: the tasks of the benchmark agree, and learn what there is."""

import pytest

from benchmarks import categories


def test_every_task_learns_what_there_is(tmp_path):
    file = tmp_path / "table.parquet"
    best = categories.write(file, 4_000, 120)
    found = {name: task(file) for name, task in categories.TASKS.items()}
    assert found["newton, in memory"]["features"] == 6 + 120 + 7
    assert found["newton, streamed"]["loss"] == pytest.approx(
        found["newton, in memory"]["loss"], abs=1e-9
    )
    for told in found.values():
        assert told["accuracy"] > 0.5 + 0.7 * (best - 0.5)
