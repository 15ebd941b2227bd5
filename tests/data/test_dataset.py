from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from handgrad.data import Dataset
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
