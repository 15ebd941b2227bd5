import numpy as np
import pyarrow
import pytest

from handgrad.data.labels import encode_target
from handgrad.errors import InputError


def encode(values):
    return encode_target(pyarrow.chunked_array([pyarrow.array(values)]), "label", "t.csv")


CLASSES = {
    "strings": (["b", "a", "b"], [1, 0, 1], ("a", "b")),
    "booleans": ([True, False, True], [1, 0, 1], ("False", "True")),
    "integers": ([10, 9, -1, 10], [2, 1, 0, 2], ("-1", "9", "10")),
    "whole_floats": ([1.0, 0.0, 2.0], [1, 0, 2], ("0", "1", "2")),
    "hard_floats": ([1.0, 0.0, 1.0], [1, 0, 1], ("0", "1")),
}


@pytest.mark.parametrize(("values", "y", "names"), CLASSES.values(), ids=CLASSES)
def test_classes_are_sorted_and_numbered(values, y, names):
    found, class_names = encode(values)
    np.testing.assert_array_equal(found, y)
    assert (found.dtype, class_names) == (np.int32, names)


def test_soft_labels_stay_as_they_are():
    y, names = encode([0.25, 1.0, 0.0])
    np.testing.assert_array_equal(y, [0.25, 1.0, 0.0])
    assert (y.dtype, names) == (np.float64, ("0", "1"))


REFUSED = {
    "outside": ([0.5, 1.5, -2.0], r"labels in \[0, 1\].*got 1\.5 in row 2 of the data \(2 outside"),
    "missing": (["a", None, "b"], "a value in every row, got 1 missing, the first in row 2.*label"),
    "missing_number": ([0, 1, None], "got 1 missing, the first in row 3"),
    "empty": (["a", "b", ""], "got 1 missing, the first in row 3"),
    "infinite": ([0.5, float("inf")], "the first inf in row 2"),
    "one_class": (["a", "a"], "at least two classes, got one class only, 'a', in all 2 rows"),
    "one_number": ([3, 3], "one class only, '3'"),
    "quantity": (list(range(50)), "classes, got 50 different values in 50 rows; .*a quantity"),
    "id": ([f"id{n}" for n in range(50)], "50 in 50 rows, such as 'id0'.*choose another target"),
    "spoiled": ([*map(str, range(50)), "?"], r"mostly numbers, but '\?' in row 51"),
}


@pytest.mark.parametrize(("values", "words"), REFUSED.values(), ids=REFUSED)
def test_a_target_that_cannot_be_used_is_refused(values, words):
    with pytest.raises(InputError, match=rf"target 'label' of t\.csv: .*{words}"):
        encode(values)
