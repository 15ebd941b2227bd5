"""Files that people have: each is read as its owner would expect, or refused with what helps.

Every case has the file, and either what is read of it (feature names, the first row, a word of the
remarks) or the words of the refusal.
"""

import datetime
import gzip
import io

import numpy as np
import pyarrow
import pytest
from pyarrow import feather, parquet

from handgrad.data import FileOptions, load
from handgrad.errors import InputError

LABELS = ["u", "v", "v", "u"] * 6
"""Of 24 rows."""


def rows(*columns, names=("a", "label"), separator=",", end="\n", quote=False):
    """A text file of 24 rows; the columns are repeated, the label is the last."""
    cells = [[str(c[n % len(c)]) for c in (*columns, LABELS)] for n in range(24)]
    lines = [list(names), *cells]
    if quote:
        lines = [[f'"{cell}"' for cell in line] for line in lines]
    return (end.join(separator.join(line) for line in lines) + end).encode()


def table(**columns):
    return pyarrow.table(
        {n: [c[k % len(c)] for k in range(24)] for n, c in columns.items()} | {"label": LABELS}
    )


def written(writer, content):
    buffer = io.BytesIO()
    writer(content, buffer)
    return buffer.getvalue()


def arrow_stream(content):
    buffer = io.BytesIO()
    with pyarrow.ipc.new_stream(buffer, content.schema) as stream:
        stream.write_table(content)
    return buffer.getvalue()


DAYS = ["2024-12-31", "2023-01-02", "2024-02-29"]
DOTTED = ["31.12.2024", "2.1.2023", "29.02.2024"]
NUMBERS = ["1.5", "2", "-3e1"]
DATE = ("a.year", "a.month", "a.day", "a.weekday")

READ = {
    # name of the file, content, options, feature names, the first row, a word of the remarks
    "commas": ("t.csv", rows(NUMBERS), {}, ("a",), [1.5], ""),
    "semicolons": ("t.csv", rows(["1.5", "2.5"], separator=";"), {}, ("a",), [1.5], "semicolons"),
    "decimal_commas": ("t.csv", rows(["1,5", "2,25"], separator=";"), {}, ("a",), [1.5], "decimal"),
    "quoted_commas": ("t.csv", rows(["1,5", "2,25"], quote=True), {}, ("a",), [1.5], "decimal"),
    "commas_asked_for": ("t.csv", rows(["1,500", "2,250"], separator=";"), {"decimal": ","}, ("a",),
                         [1.5], "semicolons"),
    "tabs_in_csv": ("t.csv", rows(NUMBERS, separator="\t"), {}, ("a",), [1.5], ""),
    "tsv": ("t.tsv", rows(["x, y", "z"], separator="\t"), {}, ("a=x, y", "a=z"), [1, 0], ""),
    "bars": ("t.csv", rows(NUMBERS, separator="|"), {}, ("a",), [1.5], "bars"),
    "colons_asked_for": ("t.csv", rows(NUMBERS, separator=":"), {"delimiter": ":"}, ("a",), [1.5],
                         ""),
    "excel_says_sep": ("t.csv", b"sep=;\n" + rows(NUMBERS, separator=";"), {}, ("a",), [1.5], ""),
    "crlf_and_a_mark": ("t.csv", b"\xef\xbb\xbf" + rows(NUMBERS, end="\r\n"), {}, ("a",), [1.5],
                        ""),
    "quotes_around_all": ("t.csv", rows(NUMBERS, quote=True), {}, ("a",), [1.5], ""),
    "blank_lines": ("t.csv", rows(NUMBERS, end="\n\n"), {}, ("a",), [1.5], ""),
    "csv_gz": ("t.csv.gz", gzip.compress(rows(NUMBERS)), {}, ("a",), [1.5], ""),
    "tsv_gz": ("t.TSV.GZ", gzip.compress(rows(NUMBERS, separator="\t")), {}, ("a",), [1.5], ""),
    "cp1252": ("t.csv", rows(["Köln", "Bonn"]).decode().encode("cp1252"), {"encoding": "cp1252"},
               ("a=Bonn", "a=Köln"), [0, 1], ""),
    "utf16": ("t.csv", rows(["Köln", "Bonn"]).decode().encode("utf-16"), {"encoding": "utf-16"},
              ("a=Bonn", "a=Köln"), [0, 1], ""),
    "no_header": ("t.csv", rows(NUMBERS).split(b"\n", 1)[1], {"header": False, "target": "2"},
                  ("1",), [1.5], ""),
    "an_index_left_out": ("t.csv", rows(range(24), NUMBERS, names=("", "a", "label")),
                          {"drop": ("",)}, ("a",), [1.5], ""),
    "columns_left_out": ("t.csv", rows(range(24), NUMBERS, names=("id", "a", "label")),
                         {"drop": ("id",)}, ("a",), [1.5], ""),
    "zip_codes": ("t.csv", rows(["01067", "80331"]), {}, ("a=01067", "a=80331"), [1, 0], "zero"),
    "ids_as_text": ("t.csv", rows(["1067", "80331"]), {"text": ("a",)}, ("a=1067", "a=80331"),
                    [1, 0], ""),
    "percentages": ("t.csv", rows(["12%", "5.5 %", "-3%"]), {}, ("a",), [0.12], "percentages"),
    "percentages_with_commas": ("t.csv", rows(["12,5%", "5%"], separator=";"), {}, ("a",), [0.125],
                                "percentages"),
    "iso_dates": ("t.csv", rows(DAYS), {}, DATE, [2024, 12, 31, 1], ""),
    "dotted_dates": ("t.csv", rows(DOTTED), {}, DATE, [2024, 12, 31, 1], "dates as %d.%m.%Y"),
    "american_dates": ("t.csv", rows(["12/31/2024", "1/2/2023"]), {}, DATE, [2024, 12, 31, 1],
                       "dates as %m/%d/%Y"),
    "british_dates": ("t.csv", rows(["31/12/24", "1/2/23"]), {}, DATE, [2024, 12, 31, 1],
                      "dates as %d/%m/%y"),
    "dates_asked_for": ("t.csv", rows(["01/02/2024", "03/04/2024"]), {"date_format": "%d/%m/%Y"},
                        DATE, [2024, 2, 1, 3], ""),
    "month_names": ("t.csv", rows(["31 Dec 2024", "1 Feb 2023"]), {"date_format": "%d %b %Y"},
                    DATE, [2024, 12, 31, 1], ""),
    "year_first": ("t.csv", rows(["2024/12/31", "2024/1/2"]), {}, DATE, [2024, 12, 31, 1],
                   "dates as %Y/%m/%d"),
    "versions": ("t.csv", rows(["1.2.3", "1.2.4"]), {}, ("a=1.2.3", "a=1.2.4"), [1, 0], ""),
    "timestamps": ("t.csv", rows(["2024-12-31 23:05:00", "2023-01-01 00:00:00"]), {},
                   (*DATE, "a.hour", "a.minute"), [2024, 12, 31, 1, 23, 5], ""),
    "dotted_timestamps": ("t.csv", rows(["31.12.2024 23:05", "01.02.2024 7:00"]), {},
                          (*DATE, "a.hour", "a.minute"), [2024, 12, 31, 1, 23, 5], "%H:%M"),
    "times": ("t.csv", rows(["23:05", "07:10"]), {}, ("a.hour", "a.minute"), [23, 5], ""),
    "booleans": ("t.csv", rows(["true", "False"]), {}, ("a",), [1], ""),
    "yes_and_no": ("t.csv", rows(["yes", "no"]), {}, ("a=no", "a=yes"), [0, 1], ""),
    "gaps_filled": ("t.csv", rows(["", "2", "NA", "4"]), {"impute": "mean"}, ("a",), [3], ""),
    "gaps_by_the_median": ("t.csv", rows(["", "2", "3", "40"]), {"impute": "median"}, ("a",), [3],
                           ""),
    "gaps_in_words": ("t.csv", rows(["", "x", "y"]), {"impute": "mean"},
                      ("a=(missing)", "a=x", "a=y"), [1, 0, 0], ""),
    "gaps_by_the_usual_word": ("t.csv", rows(["", "x", "y", "x"]), {"impute": "most_frequent"},
                               ("a=x", "a=y"), [1, 0], ""),
    "question_marks": ("t.csv", rows(["?", "2", "4"]), {"na": ("?",), "impute": "mean"}, ("a",),
                       [3], ""),
    "minus_999": ("t.csv", rows(["-999", "2", "4"]), {"na": ("-999",), "impute": "mean"}, ("a",),
                  [3], ""),
    "minus_999_in_parquet": ("t.parquet", written(parquet.write_table, table(a=[-999, 2, 4])),
                             {"na": ("-999",), "impute": "mean"}, ("a",), [3], ""),
    "unlabelled_rows": ("t.csv", rows(NUMBERS) + b"7,\n8,\n", {"impute": "mean"}, ("a",), [1.5],
                        "2 rows without a label are left out"),
    "an_empty_column": ("t.csv", rows([""], NUMBERS, names=("e", "a", "label")),
                        {"impute": "mean"}, ("e", "a"), [0, 1.5], "'e' has no value"),
    "ids_in_words": ("t.csv", rows([f"c{n}" for n in range(24)], NUMBERS,
                                   names=("id", "a", "label")), {}, ("a",), [1.5], "an id or a"),
    "ids_in_numbers": ("t.csv", rows(range(100, 124), NUMBERS, names=("id", "a", "label")), {},
                       ("id", "a"), [100, 1.5], "--drop id"),
    "many_towns": ("t.csv", rows([f"t{n // 2}" for n in range(24)]), {"max_categories": 3},
                   ("a=t8", "a=t9", "a=(other)"), [0, 0, 1], "share one feature"),
    "classes_by_case": ("t.csv", rows(NUMBERS) + b"1,U\n2,U\n", {}, ("a",), [1.5], "by case or"),
    "a_class_of_one": ("t.csv", rows(NUMBERS) + b"1,w\n", {}, ("a",), [1.5], "'w' has one example"),
    "a_rare_class": ("t.csv", b"a,label\n" + b"1.5,u\n" * 97 + b"2,v\n" * 3, {}, ("a",), [1.5],
                     "97.0% of the rows"),
    "decimals": ("t.parquet", written(parquet.write_table, pyarrow.table(
        {"a": pyarrow.array([1, 2] * 12).cast(pyarrow.decimal128(21, 2)), "label": LABELS})), {},
        ("a",), [1], ""),
    "parquet_timestamps": ("t.parquet", written(parquet.write_table, table(
        a=[datetime.datetime(2024, 12, 31, 23, 5), datetime.datetime(2023, 1, 1)])), {},
        (*DATE, "a.hour", "a.minute"), [2024, 12, 31, 1, 23, 5], ""),
    "feather": ("t.feather", written(feather.write_feather, table(a=[1.5, 2])), {}, ("a",), [1.5],
                ""),
    "arrow_file": ("t.arrow", written(feather.write_feather, table(a=[1.5, 2])), {}, ("a",), [1.5],
                   ""),
    "arrow_stream": ("t.arrow", arrow_stream(table(a=[1.5, 2])), {}, ("a",), [1.5], ""),
    "jsonl": ("t.jsonl", b'{"a": 1.5, "label": "u"}\n{"label": "v", "a": 2}\n' * 12, {}, ("a",),
              [1.5], ""),
    "jsonl_gz": ("t.jsonl.gz", gzip.compress(b'{"a": 1, "label": "u"}\n{"a": 2, "label": "v"}\n'
                                              * 9), {}, ("a",), [1], ""),
}  # fmt: skip


REFUSED = {
    # name of the file, content, options, words of the refusal
    "thousands": ("t.csv", rows(["1,500", "2,250"], quote=True), {},
                  "the comma may be decimal or separate thousands"),
    "thousands_and_decimals": ("t.csv", rows(["1.500,25", "2.250,5"], separator=";"), {},
                               "without thousands separators, got '1.500,25'; write them"),
    "a_currency": ("t.csv", rows(["$12.50", "$9"]), {}, "without a currency, got '$12.50'"),
    "ambiguous_dates": ("t.csv", rows(["01/02/2024", "03/04/2024"]), {}, "pass --date-format"),
    "dates_with_one_typo": ("t.csv", rows(["31.12.2024"] * 23 + ["31.13.2024"]), {},
                            "got '31.13.2024' in row 24"),
    "a_stray_percentage": ("t.csv", rows(["1%"] * 205 + ["x"]) + rows(["1%"]).split(b"\n", 1)[1] * 8
                           + b"x,u\n", {}, "percentages, got 'x' in row 217"),
    "numbers_with_a_word": ("t.csv", rows([*range(23), "?"]), {}, "--na '?'"),
    "gaps": ("t.csv", rows(["", "2"]), {}, "--impute mean"),
    "an_unlabelled_row": ("t.csv", rows(NUMBERS) + b"7,\n", {}, "--impute leaves them out"),
    "latin": ("t.csv", rows(["Köln", "Bonn"]).decode().encode("cp1252"), {}, "--encoding cp1252"),
    "latin_names": ("t.csv", rows(NUMBERS, names=("größe", "label")).decode().encode("cp1252"), {},
                    "--encoding cp1252"),
    "utf16": ("t.csv", rows(NUMBERS).decode().encode("utf-16"), {}, "--encoding utf-16"),
    "wrong_encoding": ("t.csv", rows(["Köln"]), {"encoding": "klingon"}, "one that Python knows"),
    "no_header": ("t.csv", b"5.1,3.5,u\n4.9,3.0,v\n", {}, "first row looks like data: pass --no-h"),
    "no_header_twice": ("t.csv", b"5.1,5.1,0.2,u\n4.9,3.0,1.4,v\n", {}, "pass --no-header"),
    "colons": ("t.csv", rows(NUMBERS, separator=":"), {}, "pass --delimiter"),
    "an_index": ("t.csv", rows(range(24), NUMBERS, names=("", "a", "label")), {}, "--drop ''"),
    "twice": ("t.csv", rows(NUMBERS, NUMBERS, names=("a", "a", "label")), {}, "rename or drop"),
    "a_title_above": ("t.csv", b"Sales 2024\n" + rows(NUMBERS), {}, "1 values in every row"),
    "not_gzip": ("t.csv.gz", rows(NUMBERS), {}, "expected a readable csv.gz file"),
    "cut_gzip": ("t.csv.gz", gzip.compress(rows(NUMBERS))[:40], {}, "readable csv.gz file"),
    "no_such_column": ("t.csv", rows(NUMBERS), {"drop": ("b",)}, "--drop: expected a column of"),
    "a_long_delimiter": ("t.csv", rows(NUMBERS), {"delimiter": "::"}, "pass --delimiter ';'"),
    "a_decimal_sign": ("t.csv", rows(NUMBERS), {"decimal": ";"}, "pass --decimal ,"),
    "an_imputer": ("t.csv", rows(NUMBERS), {"impute": "zero"}, "pass --impute mean"),
    "one_category": ("t.csv", rows(NUMBERS), {"max_categories": 1}, "expected 2 or more, got 1"),
    "nested": ("t.jsonl", b'{"a": [1], "label": "u"}\n{"a": [], "label": "v"}\n', {},
               "leave it out (--drop)"),
    "no_json": ("t.jsonl", b"a,label\n1,u\n", {}, "expected a readable jsonl file"),
    "no_feather": ("t.feather", b"ARROW1" + bytes(40), {}, "expected a readable feather file"),
    "a_date_to_predict": ("t.csv", rows(NUMBERS, DAYS, names=("a", "day", "l")), {"target": "day"},
                          "expected classes, got dates"),
    "old_excel": ("t.xls", b"\xd0\xcf\x11\xe0", {}, "or .xlsx file, got the suffix '.xls'"),
    "an_address": ("https://example.org/t.csv", None, {}, "download it first"),
}  # fmt: skip


def read(folder, name, content, options):
    path = name
    if content is not None:
        path = folder / name
        path.write_bytes(content)
    options = dict(options)
    return load(path, options.pop("target", "label"), FileOptions(**options))


def test_there_are_many():
    assert len(READ) + len(REFUSED) >= 60


@pytest.mark.parametrize("case", READ)
def test_read_as_its_owner_would_expect(tmp_path, case):
    name, content, options, names, first, remark = READ[case]
    data = read(tmp_path, name, content, options)
    assert data.feature_names == names
    np.testing.assert_allclose(data.x[0], first, rtol=1e-15)
    assert data.class_names[data.y[0]] == "u"
    assert {"u", "v"} <= set(data.class_names)
    assert data.name == "t"
    assert remark in "; ".join(data.remarks)
    if not remark:
        assert data.remarks == ()


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_what_helps(tmp_path, case):
    name, content, options, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        read(tmp_path, name, content, options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("drop", "age", "drop: expected strings in a tuple, got 'age'; pass ('name',)"),
        ("encoding", {}, "encoding: expected a string, got {}"),
        ("header", 1, "header: expected True or False, got 1"),
        ("max_categories", 2.5, "max_categories: expected a whole number, got 2.5"),
    ],
)
def test_an_option_of_another_kind_is_refused(option, value, words):
    with pytest.raises(InputError) as caught:
        FileOptions(**{option: value}).check()
    assert words in str(caught.value)


def test_a_workbook(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [["a", "day", "s", "label"], *(
        [n / 2, datetime.datetime(2024, 1, 1 + n), "xy"[n % 2] if n else 7, LABELS[n]]
        for n in range(24)
    )]:  # fmt: skip
        book.active.append(row)
    book.active.append([None] * 4)
    book.save(tmp_path / "t.xlsx")
    data = load(tmp_path / "t.xlsx", "label")
    assert data.feature_names[0] == "a"
    assert data.feature_names[1:5] == ("day.year", "day.month", "day.day", "day.weekday")
    assert data.feature_names[-3:] == ("s=7", "s=x", "s=y")
    assert data.examples == 24
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="expected a readable xlsx file"):
        load(tmp_path / "t.xlsx", "label")


def test_a_workbook_needs_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(ImportError, match=r"\.xlsx files needs .*handgrad\[excel\]"):
        load(tmp_path / "t.xlsx", "label")
