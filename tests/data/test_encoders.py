import datetime
import decimal

import numpy as np
import pyarrow
import pytest

from handgrad.data.encoders import MOST_CATEGORIES, encode_features
from handgrad.errors import InputError


def encode(column, **others):
    return encode_features(pyarrow.table({"a": column, **others}), "t.parquet")


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
    "date": ([datetime.date(2024, 1, 1)] * 3, r"got date32\[day\]; .*such as the month"),
    "duration": ([datetime.timedelta(1)] * 3, r"got duration\[us\]; leave it out"),
    "list": ([[1], [2], [3]], r"got list<.*>; leave it out, or spread it over columns"),
    "struct": ([{"q": 1}] * 3, "got struct"),
    "binary": ([b"u", b"v", b"u"], "got binary; save the file as UTF-8"),
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
def test_an_id_is_refused(rows):
    with pytest.raises(InputError, match=f"{rows:,} in {rows:,} rows.*an id or a text.*leave it"):
        encode([f"id{n}" for n in range(rows)])


def test_many_categories_that_recur_are_kept():
    assert encode([f"town {n % 100}" for n in range(300)])[0].shape == (300, 100)
    with pytest.raises(InputError, match="at most 1,000 different values"):
        encode([f"id{n % 2000}" for n in range(6000)])


def test_numbers_spoiled_by_one_word_are_refused():
    with pytest.raises(InputError, match=r"mostly numbers, but '\?' in row 8 of the data; mend"):
        encode([str(n) if n != 7 else "?" for n in range(100)])


def test_a_few_categories_may_look_like_numbers():
    assert encode(["0", "1", "2", "3+", "3+"])[1] == ("a=0", "a=1", "a=2", "a=3+")


def test_a_table_too_large_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("handgrad.data.encoders.MOST_CELLS", 5)
    with pytest.raises(InputError, match="at most 5 numbers after one-hot encoding, got 2 rows of"):
        encode(["u", "v"], b=[1, 2])
