import datetime
import decimal

import numpy as np
import pyarrow
import pytest

from handgrad.data.dataset import raw_table
from handgrad.data.encoders import MOST_CATEGORIES, LabelEncoder, Strings
from handgrad.data.table_file import FileOptions
from handgrad.errors import InputError


def encode(column, **others):
    """The features of a table that begins with this column, and their names."""
    labels = np.arange(len(column)) % 2
    table = pyarrow.table({"a": column, **others, "label": labels})
    raw = raw_table(table, "label", "t.parquet", FileOptions(), {})
    preparation, _ = raw.learn(standardised=False)
    return raw.dataset(preparation, ()).x, preparation.feature_names


def encode_labels(values):
    table = pyarrow.table({"label": values, "a": range(len(values))})
    raw = raw_table(table, "label", "t.csv", FileOptions(), {})
    return raw.y, raw.class_names


NUMBERS = {
    "int8": pyarrow.array([1, 2, 3], pyarrow.int8()),
    "uint64": pyarrow.array([1, 2, 3], pyarrow.uint64()),
    "float16": np.array([1, 2, 3], np.float16),
    "decimal": [decimal.Decimal(n) for n in (1, 2, 3)],
    "dictionary": pyarrow.array([1, 2, 3]).dictionary_encode(),
}


@pytest.mark.parametrize("column", NUMBERS.values(), ids=NUMBERS)
def test_numbers_stay_as_they_are(column):
    x, names = encode(column)
    np.testing.assert_array_equal(x, [[1], [2], [3]])
    assert (x.dtype, names) == (np.float64, ("a",))


STRINGS = {
    "string": pyarrow.array(["v", "u", "v"]),
    "large": pyarrow.array(["v", "u", "v"], pyarrow.large_string()),
    "view": pyarrow.array(["v", "u", "v"], pyarrow.string_view()),
    "dictionary": pyarrow.array(["v", "u", "v"]).dictionary_encode(),
}


@pytest.mark.parametrize("column", STRINGS.values(), ids=STRINGS)
def test_strings_are_one_hot(column):
    x, names = encode(column, b=[7, 8, 9])
    np.testing.assert_array_equal(x, [[0, 1, 7], [1, 0, 8], [0, 1, 9]])
    assert names == ("a=u", "a=v", "b")


REFUSED = {
    "duration": ([datetime.timedelta(1)] * 3, r"got duration\[us\]; leave it out \(--drop\)"),
    "list": ([[1], [2], [3]], r"got list<.*>; leave it out .*, or spread it over columns"),
    "struct": ([{"q": 1}] * 3, "got struct"),
    "binary": (
        [b"u", b"v", b"u"],
        "got binary; pass --encoding cp1252",
    ),
    "null": ([1.5, None, 2.5], "a value in every row, got 1 missing, the first in row 2 of the"),
    "null_string": (["u", None, ""], "got 2 missing, the first in row 2 of the data; drop those"),
    "null_boolean": ([True, None, None], "got 2 missing, the first in row 2"),
    "all_null": (pyarrow.nulls(3), "got 3 missing, the first in row 1"),
    "null_dictionary": (pyarrow.array(["u", "v", None]).dictionary_encode(), "the first in row 3"),
    "nan": ([1.0, float("nan"), 2.0], "finite numbers, got 1 that are not, the first nan in row 2"),
    "infinity": ([1.0, 2.0, float("-inf")], "the first -inf in row 3.*or leave the column out"),
    "huge": ([1, 2, 2**53 + 1], r"up to 2\^53, got a larger one; leave it out if it is an id"),
    "constant": ([1, 1, 1], "a feature that varies, got 1 constant column in 3 rows"),
}


@pytest.mark.parametrize(("column", "words"), REFUSED.values(), ids=REFUSED)
def test_a_column_that_cannot_be_used_is_refused(column, words):
    with pytest.raises(InputError, match=words) as caught:
        encode(column)
    assert "t.parquet" in str(caught.value)


def test_bytes_that_claim_to_be_text():
    text = pyarrow.array(["ab", "c"])
    broken = pyarrow.Array.from_buffers(
        text.type, 2, [None, text.buffers()[1], pyarrow.py_buffer(b"\xff\xfec")]
    )
    with pytest.raises(InputError, match=r"column 'a' of t\.parquet: expected text in UTF-8"):
        encode(broken)


@pytest.mark.parametrize("rows", [30, MOST_CATEGORIES + 1])
def test_an_id_is_left_out(rows):
    x, names = encode([f"id{n}" for n in range(rows)], b=range(rows))
    assert names == ("b",)
    assert x.shape == (rows, 1)


def test_many_categories_that_recur_are_kept_and_the_rarest_share_a_feature():
    assert encode([f"town {n % 100}" for n in range(300)])[0].shape == (300, 100)
    x, names = encode([f"id{n % 2000}" for n in range(6000)])
    assert x.shape == (6000, 1000)
    assert names[-1] == "a=(other)"
    assert x[:, -1].sum() == 3 * 1001


def test_numbers_spoiled_by_one_word_are_refused():
    with pytest.raises(InputError, match=r"mostly numbers, but '\?' in row 8 of .*--na"):
        encode([str(n) if n != 7 else "?" for n in range(100)])


def test_a_few_categories_may_look_like_numbers():
    assert encode(["0", "1", "2", "3+", "3+"])[1] == ("a=0", "a=1", "a=2", "a=3+")


def test_a_table_too_large_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("handgrad.data.dataset.MOST_CELLS", 5)
    with pytest.raises(InputError, match="at most 5 numbers after one-hot encoding, got 2 rows of"):
        encode(["u", "v"], b=[1, 2])


# --- the target -----------------------------------------------------------------------------------

CLASSES = {
    "strings": (["b", "a", "b"], [1, 0, 1], ("a", "b")),
    "booleans": ([True, False, True], [1, 0, 1], ("False", "True")),
    "integers": ([10, 9, -1, 10], [2, 1, 0, 2], ("-1", "9", "10")),
    "whole_floats": ([1.0, 0.0, 2.0], [1, 0, 2], ("0", "1", "2")),
    "hard_floats": ([1.0, 0.0, 1.0], [1, 0, 1], ("0", "1")),
}


@pytest.mark.parametrize(("values", "y", "names"), CLASSES.values(), ids=CLASSES)
def test_classes_are_sorted_and_numbered(values, y, names):
    found, class_names = encode_labels(values)
    np.testing.assert_array_equal(found, y)
    assert (found.dtype, class_names) == (np.int32, names)


def test_soft_labels_stay_as_they_are():
    y, names = encode_labels([0.25, 1.0, 0.0])
    np.testing.assert_array_equal(y, [0.25, 1.0, 0.0])
    assert (y.dtype, names) == (np.float64, ("0", "1"))


REFUSED_LABELS = {
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


@pytest.mark.parametrize(("values", "words"), REFUSED_LABELS.values(), ids=REFUSED_LABELS)
def test_a_target_that_cannot_be_used_is_refused(values, words):
    with pytest.raises(InputError, match=rf"target 'label' of t\.csv: .*{words}"):
        encode_labels(values)


# --- blocks ---------------------------------------------------------------------------------------


def test_labels_in_blocks_are_those_in_one_piece():
    """The first row outside [0, 1] and the number of them are counted over all blocks."""
    values = np.array([0.5, 0.0, 1.5, 0.25, -1.0, 2.0])
    encoder = LabelEncoder("t.csv", "target 'label' of t.csv")
    for begin in (0, 2, 4):
        encoder.partial_fit(values[begin : begin + 2])
    with pytest.raises(InputError, match=r"got 1\.5 in row 3 of the data \(3 outside\)"):
        encoder.finish()


def test_a_value_that_was_not_there_before_is_refused():
    """A file that another process writes meanwhile."""
    encoder = LabelEncoder("t.csv", "target 'label' of t.csv")
    encoder.partial_fit(Strings(["a", "b"], np.array([0, 1, 0])))
    encoder.finish()
    np.testing.assert_array_equal(encoder.transform(Strings(["b"], np.array([0, 0]))), [1, 1])
    with pytest.raises(InputError, match="a file that stays as it is while it is read"):
        encoder.transform(Strings(["c"], np.array([0])))
