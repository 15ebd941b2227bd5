"""A model in a file: what it predicts, the same bits on every way, and what is refused."""

import io
import json
import zipfile
from dataclasses import replace

import jax
import numpy as np
import pyarrow
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from handgrad import load_model
from handgrad.data import FileOptions, load, load_parts
from handgrad.errors import InputError
from handgrad.scale.streams import open_parts
from handgrad.train.saved import VERSION, ModelSettings, SavedModel, as_table, card_rows

ROWS = 240


def customers(rows=ROWS, seed=0, label=True):
    """A table as people have it: gaps, dates, a town of many values, a class in words."""
    rng = np.random.default_rng(seed)
    amount = rng.gamma(2, 40, rows).round(2)
    member = rng.random(rows) < 0.4
    days = np.datetime64("2023-01-01") + rng.integers(0, 700, rows)
    towns = [f"town {n}" for n in np.minimum(rng.zipf(1.6, rows), 300)]
    kind = np.where(amount + 60 * member > 110, "good", np.where(amount > 50, "fair", "poor"))
    table = {
        "amount": [None if rng.random() < 0.05 else float(a) for a in amount],
        "since": [None if rng.random() < 0.04 else day for day in days.tolist()],
        "town": towns,
        "member": [None if rng.random() < 0.03 else bool(m) for m in member],
    }
    return pyarrow.table(table | ({"kind": kind.tolist()} if label else {}))


def as_text(table, path):
    """Semicolons, decimal commas, days first."""
    with path.open("w", encoding="utf-8") as file:
        file.write(";".join(table.column_names) + "\n")
        for row in table.to_pylist():
            cells = []
            for value in row.values():
                if value is None:
                    cells.append("")
                elif hasattr(value, "year"):
                    cells.append(f"{value:%d.%m.%Y}")
                else:
                    number = isinstance(value, float)
                    cells.append(str(value).replace(".", ",") if number else str(value))
            file.write(";".join(cells) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(the model, its training rows, the file it was trained on)."""
    path = as_text(customers(), tmp_path_factory.mktemp("made") / "customers.csv")
    options = FileOptions(impute="median", max_categories=12)
    train, _, preparation = load_parts(path, "kind", options)
    settings = ModelSettings("softmax", l2=0.01)
    params = weights(settings, train)
    model = SavedModel(
        settings, params, train.class_names, preparation, options, {"rows": train.examples}
    )
    return model, train, path


def weights(settings, data):
    """Those of a model that has learnt nothing: what is saved and read is the same."""
    return settings.model().init(jax.random.key(0), data.features, data.classes, "float32")


def test_the_preparation_is_scikit_learns_to_the_bit(trained):
    """A ColumnTransformer of its imputer and encoder, then its scaler, on the same rows."""
    model, train, path = trained
    from handgrad.data.dataset import _read, split_rows

    raw = _read(path, "kind", FileOptions(impute="median", max_categories=12))
    rows, _ = split_rows(raw.y, 0.25, 0)
    amount, since, town, member = raw.parts
    table = np.empty((len(raw.y), 7), object)
    table[:, 0], table[:, 1:5], table[:, 6] = amount[:, 0], since, member[:, 0]
    table[:, 5] = [town.values[code] for code in town.codes]
    encoder = OneHotEncoder(
        min_frequency=2, max_categories=12, handle_unknown="infrequent_if_exist",
        sparse_output=False,
    )  # fmt: skip
    pipeline = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", SimpleImputer(strategy="median"), slice(0, 5)),
                ("town", encoder, [5]),
                ("member", SimpleImputer(strategy="median"), [6]),
            ]
        ),
        StandardScaler(),
    )
    expected = pipeline.fit_transform(table[rows])
    np.testing.assert_array_equal(train.x, np.asarray(expected, np.float64))
    assert model.preparation.feature_names[5].startswith("town=")
    assert model.preparation.feature_names[5 + 11] == "town=(other)"


def test_saved_and_read_again_it_predicts_the_same_bits(trained, tmp_path):
    model, _, _ = trained
    model.save(tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz")
    table = customers(60, seed=1, label=False)
    table = table.set_column(2, "town", pyarrow.array(["Atlantis", *["town 1"] * 59]))
    p = model.predict_proba(as_text_table(table, tmp_path))
    np.testing.assert_array_equal(again.predict_proba(as_text_table(table, tmp_path)), p)
    assert p.shape == (60, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    assert again.classes == ("fair", "good", "poor")
    assert list(again.predict(tmp_path / "new.csv")) == [again.classes[i] for i in p.argmax(1)]
    assert repr(again) == "SavedModel('softmax': 4 columns, 18 features, 3 classes)"
    assert dict(card_rows(again))["column since"] == "date, written as %d.%m.%Y"


def as_text_table(table, folder):
    return as_text(table, folder / "new.csv")


def test_a_row_gets_the_same_bits_alone_and_among_others(trained, tmp_path):
    """From a file, from memory, from pandas, one by one; whatever the size of a block."""
    model, _, _ = trained
    table = customers(2_500, seed=2, label=False)
    p = model.predict_proba(table)
    np.testing.assert_array_equal(model.predict_proba(as_text_table(table, tmp_path)), p)
    np.testing.assert_array_equal(model.predict_proba(table.to_pandas()), p)
    for row in (0, 1, 1023, 1024, 2_499):
        np.testing.assert_array_equal(model.predict_proba(table.slice(row, 1)), p[row : row + 1])
    np.testing.assert_array_equal(model.predict_proba(table.slice(3)), p[3:])
    assert model.predict_proba(table.slice(0, 0)).shape == (0, 3)


def test_a_data_set_of_numbers_is_predicted_from_arrays(tmp_path):
    train, _, preparation = load_parts("wine")
    settings = ModelSettings("mlp", hidden=(3,), activation="tanh")
    params = weights(settings, train)
    model = SavedModel(settings, params, train.class_names, preparation, FileOptions(), {})
    model.save(tmp_path / "wine.npz")
    model, wine = load_model(tmp_path / "wine.npz"), load("wine")
    p = model.predict_proba(wine)
    np.testing.assert_array_equal(model.predict_proba(wine.x), p)
    np.save(tmp_path / "wine.npy", wine.x)
    np.testing.assert_array_equal(model.predict_proba(tmp_path / "wine.npy"), p)
    named = dict(zip(wine.feature_names, wine.x.T, strict=True))
    np.testing.assert_array_equal(model.predict_proba(named), p)
    gap = wine.x.copy()
    gap[4, 2] = np.nan
    with pytest.raises(InputError, match=r"column 'ash': .*, got nan in row 5"):
        model.predict_proba(gap)
    assert np.isfinite(model.predict_proba(gap, missing="fill")).all()
    with pytest.raises(InputError, match=r"expected 13 columns: alcohol.*got 2"):
        model.predict_proba(gap[:, :2])
    with pytest.raises(InputError, match=r"table: expected a pandas or pyarrow table.*got int"):
        model.predict_proba(3)


def test_a_stream_is_prepared_as_a_table_is(trained):
    """To rounding: means are summed in blocks."""
    _, _, path = trained
    options = FileOptions(impute="mean", max_categories=12)
    training, _ = open_parts(path, "kind", options=options, dtype="float64")
    x, _ = training.rows(0, training.examples)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-12)
    assert training.preparation.feature_names[1] == "since.year"
    with pytest.raises(InputError, match="impute: expected mean for a file that is streamed"):
        open_parts(path, "kind", options=replace(options, impute="median"))


# --- what new rows may lack -----------------------------------------------------------------------


def test_a_missing_column_is_refused_unless_it_is_to_be_filled(trained):
    model, _, _ = trained
    table = customers(5, label=False).drop_columns(["amount", "town", "member"])
    with pytest.raises(InputError, match=r"the column 'amount' that the model.*--missing fill"):
        model.predict_proba(table)
    assert model.predict_proba(table, missing="fill").shape == (5, 3)


def test_missing_values_are_what_they_were_in_training_or_as_asked(trained):
    model, _, _ = trained
    table = pyarrow.table({"amount": [1.0, None], "since": pyarrow.nulls(2), "town": ["town 1"] * 2,
                           "member": [True, None]})  # fmt: skip
    assert model.predict_proba(table).shape == (2, 3)
    with pytest.raises(InputError, match=r"column 'amount' of the table: .* the first in row 2"):
        model.predict_proba(table, missing="refuse")


def test_an_unknown_string_can_be_refused():
    """With a feature that rare strings share, none is unknown."""
    table = {"a": ["x", "y"] * 6, "b": range(12)}
    model = trained_on(table | {"label": ["u", "v", "v"] * 4})
    p = model.predict_proba({"a": ["z"], "b": [1]})
    assert p.shape == (1, 2)
    with pytest.raises(InputError, match=r"column 'a' of the table: .* seen in training, got 'z'"):
        model.predict_proba({"a": ["z"], "b": [1]}, unknown="refuse")


def trained_on(table, **options):
    from handgrad.data.dataset import raw_table

    raw = raw_table(as_table(table), "label", "t", FileOptions(**options), {})
    preparation, _ = raw.learn()
    data = raw.dataset(preparation, ())
    settings = ModelSettings("logistic")
    return SavedModel(
        settings, weights(settings, data), data.class_names, preparation, raw.options,
        {"rows": len(data.y)},
    )  # fmt: skip


KINDS = {
    "words_for_numbers": ({"b": ["1", "x"]}, "a column of kind number, as in training, got string"),
    "dates_for_numbers": ({"b": pyarrow.array([1, 2], "int32").cast("date32")}, "kind number"),
    "numbers_for_dates": ({"d": [1, 2]}, "a column of kind date, as in training, got int64"),
    "lists": ({"a": [[1], [2]]}, "a column of kind category, as in training, got list"),
    "infinite": ({"b": [1.0, float("inf")]}, "the first inf in row 2"),
    "overflow": ({"b": [1.0, 1e308]}, "values that float32 can hold"),
    "no_column": ({"b": None, "B": [1, 2]}, "did you mean 'B'"),
}


@pytest.mark.parametrize(("change", "words"), KINDS.values(), ids=KINDS)
def test_columns_of_another_kind_are_refused(change, words):
    days = pyarrow.array([19_000, 19_001, 19_003] * 4, "int32").cast("date32")
    table = {"a": ["x", "y"] * 6, "b": [0, 1e-30, 3] * 4, "d": days}
    model = trained_on(table | {"label": ["u", "v", "v"] * 4})
    new = {name: column[:2] for name, column in table.items()} | change
    with pytest.raises(InputError, match=words):
        model.predict_proba({name: column for name, column in new.items() if column is not None})


def test_integers_stand_for_the_strings_they_are_written_as():
    model = trained_on({"zip": ["1", "2"] * 6, "b": range(12), "label": ["u", "v", "v"] * 4})
    given = {"b": [1, 2]}
    np.testing.assert_array_equal(
        model.predict_proba(given | {"zip": [1, 2]}),
        model.predict_proba(given | {"zip": ["1", "2"]}),
    )


# --- the file -------------------------------------------------------------------------------------


def repacked(content, **changes):
    """The file with some arrays changed or added, None to leave one out; with a new digest."""
    from handgrad.train.saved import _digest

    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        arrays = dict(found)
    arrays |= changes
    arrays = {name: array for name, array in arrays.items() if array is not None}
    if "sha256" not in changes:
        arrays["sha256"] = _digest(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def carded(content, **changes):
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        card = json.loads(found["card"].tobytes())
    card |= changes
    return repacked(content, card=np.frombuffer(json.dumps(card).encode(), np.uint8))


def zipped(*parts, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return buffer.getvalue()


def pickled():
    """An array of objects: to read it as numpy can would run what is in it."""

    class Sentinel:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Sentinel()], object), allow_pickle=True)
    return zipped(("card.npy", buffer.getvalue()))


DEEP = b"[" * 10**5
BROKEN = {
    "empty": lambda good: b"",
    "text": lambda good: b"age,label\n1,2\n",
    "cut": lambda good: good[: len(good) // 2],
    "pickle": lambda good: pickled(),
    "foreign": lambda good: repacked(good, card=None),
    "a_zip": lambda good: zipped(("readme.txt", b"hello")),
    "a_packed_zip": lambda good: zipped(("a.npy", b"0" * 10**6), method=zipfile.ZIP_DEFLATED),
    "other_format": lambda good: carded(good, format="other"),
    "version": lambda good: carded(good, version="1"),
    "deep": lambda good: repacked(good, card=np.frombuffer(DEEP, np.uint8)),
    "fields": lambda good: carded(good, settings={"name": "softmax", "run": "rm"}),
    "model": lambda good: carded(good, settings={"name": "tree"}),
    "hidden": lambda good: carded(good, settings={"name": "mlp", "hidden": [10**15]}),
    "classes": lambda good: carded(good, classes=["a"]),
    "more_classes": lambda good: carded(good, classes=[*"abcd"]),
    "class_names": lambda good: carded(good, classes=[1, 2, 3]),
    "columns": lambda good: carded(good, columns=[]),
    "kind": lambda good: carded(good, columns=[{"name": "a", "kind": "code"}]),
    "impute": lambda good: carded(good, impute="guess"),
    "options": lambda good: carded(good, options={"delimiter": "long"}),
    "digest": lambda good: repacked(good, sha256=np.zeros(32, np.uint8)),
    "no_digest": lambda good: repacked(good, sha256=None),
    "scale": lambda good: repacked(good, scale=np.zeros(18)),
    "nan": lambda good: repacked(good, mean=np.full(18, np.nan)),
    "shape": lambda good: repacked(good, mean=np.zeros(3)),
    "more": lambda good: repacked(good, extra=np.zeros(3)),
}


@pytest.mark.parametrize("harm", BROKEN)
def test_what_is_not_such_a_file_is_refused_in_one_line(trained, tmp_path, harm):
    path = tmp_path / "model.npz"
    path.write_bytes(BROKEN[harm](trained[0].to_bytes()))
    with pytest.raises(InputError, match=r"^model\.npz: expected a model that handgrad train") as e:
        load_model(path)
    assert "\n" not in str(e.value)
    assert str(e.value).endswith("save the model again")


def test_every_byte_counts(trained, tmp_path):
    """Wherever a byte is changed the file is refused, or holds the very same model."""
    good, path = trained[0].to_bytes(), tmp_path / "model.npz"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        content = bytearray(good)
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            found = load_model(path).to_bytes()
        except InputError:
            refused += 1
        else:
            with np.load(io.BytesIO(found)) as one, np.load(io.BytesIO(good)) as other:
                np.testing.assert_array_equal(one["sha256"], other["sha256"])
    assert refused > 100


def test_a_newer_format_says_what_to_do(trained, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(carded(trained[0].to_bytes(), version=VERSION + 1))
    with pytest.raises(InputError, match=r"one of format 2; it was written by a newer handgrad"):
        load_model(path)
    with pytest.raises(InputError, match="got nothing at"):
        load_model(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"a file name ending in \.npz"):
        trained[0].save(tmp_path / "model.pkl")
