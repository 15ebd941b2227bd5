import datetime

import numpy as np
import pytest

from handgrad.data import flights as room
from handgrad.data import load
from handgrad.errors import MissingExtraError


@pytest.fixture(scope="module")
def flights():
    return load("flights")


def test_shape_and_share(flights):
    assert (flights.examples, flights.features) == (327_346, 129)
    assert flights.class_names == ("on time", "late")
    assert flights.y.mean() == pytest.approx(0.237, abs=5e-4)


def test_nothing_that_leaks_is_a_feature(flights):
    stems = {name.split("=")[0] for name in flights.feature_names}
    assert stems == {
        "month", "day", "weekday", "sched_dep", "sched_arr", "distance",
        "carrier", "origin", "dest",
    }  # fmt: skip


def test_categories_are_one_hot(flights):
    for stem, number in (("carrier=", 16), ("origin=", 3), ("dest=", 104)):
        columns = [i for i, name in enumerate(flights.feature_names) if name.startswith(stem)]
        assert len(columns) == number
        assert (flights.x[:, columns].sum(axis=1) == 1).all()


def test_the_first_flight(flights):
    """United 1545, 1 January 2013, from Newark to Houston: 05:15 to 08:19, 11 minutes late."""
    row = dict(zip(flights.feature_names, flights.x[0], strict=True))
    assert (row["month"], row["day"], row["weekday"]) == (1, 1, 1)
    assert (row["sched_dep"], row["sched_arr"], row["distance"]) == (315, 499, 1400)
    assert row["carrier=UA"] == row["origin=EWR"] == row["dest=IAH"] == 1
    assert flights.y[0] == 0


def test_weekdays_are_those_of_the_calendar():
    days = [datetime.date(2012, 2, 27) + datetime.timedelta(n) for n in range(800)]
    parts = (np.array([getattr(day, part) for day in days]) for part in ("year", "month", "day"))
    np.testing.assert_array_equal(room._weekday(*parts), [day.weekday() for day in days])


def test_a_missing_extra_names_itself(monkeypatch):
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"flights needs .*handgrad\[data\]"):
        load("flights")
