from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.data import Dataset, load, split, standardise
from handgrad.errors import InputError

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
