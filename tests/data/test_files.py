import csv
import io
import os
import sys
from collections import Counter

import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from handgrad.data import load
from handgrad.data.files import quoted, suggestion
from handgrad.errors import InputError, MissingExtraError

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).map(
    lambda word: f"w{word}"  # so that no word reads as a number, a date or nothing
)
ROWS = st.lists(
    st.tuples(
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["red", 'a "quoted" word', "comma, here", "two\nlines", "żółć", "赤"]),
        WORDS,
    ),
    min_size=2,
    max_size=15,
)


@given(ROWS, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n"]))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_csv_writes_comes_back(tmp_path, rows, quoting, newline):
    labels = [row[2] for row in rows]
    if len(set(labels)) == 1:
        labels[0] += "!"
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=quoting, lineterminator=newline)
    writer.writerow(["höhe", "a, b", "label"])
    writer.writerows((repr(row[0]), row[1], label) for row, label in zip(rows, labels, strict=True))
    path = tmp_path / "table.csv"
    path.write_bytes(buffer.getvalue().encode())
    if len({row[0] for row in rows}) == 1 and len({row[1] for row in rows}) == 1:
        with pytest.raises(InputError, match="a feature that varies"):
            load(path, "label")
        return
    data = load(path, "label")
    assert data.class_names == tuple(sorted(set(labels)))
    assert [data.class_names[i] for i in data.y] == labels
    categories = sorted({row[1] for row in rows})
    assert data.feature_names == ("höhe", *(f"a, b={word}" for word in categories))
    np.testing.assert_array_equal(data.x[:, 0], [row[0] for row in rows])
    assert [categories[i] for i in data.x[:, 1:].argmax(axis=1)] == [row[1] for row in rows]


def test_a_table_written_by_hand(read):
    data = read("height,smoker,town,label\n1.5,true,Rome,yes\n2,false,Bonn,no\n3,true,Rome,no\n")
    assert data.feature_names == ("height", "smoker", "town=Bonn", "town=Rome")
    assert data.class_names == ("no", "yes")
    np.testing.assert_array_equal(data.x, [[1.5, 1, 0, 1], [2, 0, 1, 0], [3, 1, 0, 1]])
    np.testing.assert_array_equal(data.y, [1, 0, 0])
    assert (data.name, data.source) == ("table", "Read from table.csv, with 'label' as the target.")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark(read, newline):
    data = read("﻿age,label\n1,x\n2,y\n".replace("\n", newline))
    assert data.feature_names == ("age",)


def test_types_are_inferred_from_every_row(read):
    data = read("age,label\n" + "2,0\n" * 400_000 + "2.5,1\n")
    assert data.x[-1, 0] == 2.5


BAD = {
    "empty": ("", "expected a table, got an empty file"),
    "header": ("age,label\n", "expected at least one row, got column names alone"),
    "header_only": ("age,label", "expected a readable csv file"),
    "short_row": (
        "age,label\n1,x\n3\n",
        "expected 2 values in every row, as in the header, got 1 in row 3 of the file ('3')",
    ),
    "long_row": ("age,label\n1,x\n2,y,z\n", "got 3 in row 3 of the file ('2,y,z')"),
    "open_quote": ('age,label\n1,x\n2,"y\n3,x\n', "row 2 of the data that runs to the end"),
    "latin_names": ("größe,label\n1,x\n".encode("latin-1"), "column names in another encoding"),
    "latin_values": ("town,label\nKöln,x\nBonn,y\n".encode("latin-1"), "save the file as UTF-8"),
    "utf16": ("age,label\n1,x\n2,y\n".encode("utf-16"), "text in UTF-8, got text in UTF-16"),
}


def test_a_quote_left_open_in_a_large_file(refused):
    words = refused('age,label\n1,x\n2,"y\n' + "3,x\n" * 800_000)
    assert "a closing quote for every opening one, got a value in row 2" in words


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused(refused, content, words):
    message = refused(content)
    assert words in message
    assert "table.csv" in message


def test_a_quote_that_is_no_quotation_is_kept(read):
    assert read('size,label\n5" pipe,x\n6" pipe,y\n7" pipe,x\n').features == 3


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: expected a file that exists, got nothing at"):
        load(tmp_path / "none.csv", "label")


def test_a_folder(tmp_path):
    with pytest.raises(InputError, match="expected a file, got the folder"):
        load(tmp_path, "label")


def test_another_format(refused):
    assert "or .xlsx file, got the suffix '.txt'" in refused("", name="a.txt")


def write(path, **columns):
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_parquet(tmp_path):
    folder = tmp_path / "year=2024"  # the name of a folder is not data
    folder.mkdir()
    town = pyarrow.array(["Rome", "Bonn", "Rome"]).dictionary_encode()
    path = write(folder / "t.PARQUET", age=[1.5, 2.0, 3.0], town=town, label=[True, False, True])
    data = load(str(path), "label")
    assert data.feature_names == ("age", "town=Bonn", "town=Rome")
    assert data.class_names == ("False", "True")
    np.testing.assert_array_equal(data.x, [[1.5, 0, 1], [2, 1, 0], [3, 0, 1]])


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
def test_a_truncated_parquet_file(tmp_path, kept):
    path = write(tmp_path / "t.parquet", age=list(range(100)), label=[0, 1] * 50)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"t\.parquet: .*write (it|the table) again"):
        load(path, "label")


def test_a_damaged_parquet_file_loads_or_is_refused(tmp_path):
    """And nothing else; both happen, or nothing was damaged, or nothing was read."""
    path = write(tmp_path / "t.parquet", age=list(range(60)), s=["u", "v"] * 30, label=[0, 1] * 30)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    outcomes = Counter()
    for _ in range(60):
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= rng.integers(1, 256)
        path.write_bytes(content)
        try:
            load(path, "label")
            outcomes["loaded"] += 1
        except InputError:
            outcomes["refused"] += 1
    assert outcomes["loaded"] > 3, outcomes
    assert outcomes["refused"] > 3, outcomes


def test_duplicate_columns_of_a_parquet_file(tmp_path):
    table = pyarrow.table([[1, 2], [3, 4], [0, 1]], names=["age", "age", "label"])
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="more than one column named 'age'"):
        load(tmp_path / "t.parquet", "label")


def test_a_missing_extra_names_itself(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"CSV and Parquet files needs .*handgrad\[data\]"):
        read("age,label\n1,x\n2,y\n")


@pytest.mark.parametrize("name", ["pipe.csv", "device.csv", "x" * 300 + ".csv"])
def test_what_is_no_file(tmp_path, name):
    os.mkfifo(tmp_path / "pipe.csv")  # nobody writes to it: to open it would be to wait for ever
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"expected a file, got a device, a pipe|that exists, got"):
        load(tmp_path / name, "label")


# --- the columns ----------------------------------------------------------------------------------


def test_many_names_are_shortened():
    assert quoted([f"c{i}" for i in range(25)]).endswith("'c19' and 5 more")


def test_the_closest_name_keeps_its_own_spelling():
    assert suggestion("label", ["Label ", "age"]) == "; did you mean 'Label '?"
    assert suggestion("xyz", ["age"]) == ""


def test_no_target_lists_the_columns(refused):
    words = refused("age,label\n1,x\n2,y\n", target=None)
    assert "target: expected the column of table.csv to predict, got none" in words
    assert words.endswith("name one of its columns: 'age', 'label'")


def test_a_missing_target_lists_the_columns_and_the_suggestion(refused):
    words = refused("age,label\n1,x\n2,y\n", target="lable")
    assert "got 'lable'; name one of its columns: 'age', 'label'; did you mean 'label'?" in words


def test_duplicate_columns(refused):
    assert "more than one column named 'age'; rename" in refused("age,age,label\n1,2,x\n")


def test_a_row_number_without_a_name(refused):
    words = refused(",age,label\n0,1,x\n1,2,y\n")
    assert "a name for every column, got '' for column 1 of 3" in words
    assert "index=False" in words


def test_a_target_alone(refused):
    assert "at least one feature column, got the target 'label' alone" in refused("label\nx\ny\n")
