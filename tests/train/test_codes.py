"""Categories as codes from a file to predictions: what columns of 0 and 1 give, in less room."""

from dataclasses import replace

import jax
import numpy as np
import pyarrow
import pytest
from pyarrow import csv, parquet

from handgrad import sklearn
from handgrad._precision import x64
from handgrad._types import Coded
from handgrad.data import (
    FileOptions,
    Preparation,
    coded,
    load,
    load_parts,
    preparation,
    standardise,
)
from handgrad.errors import InputError
from handgrad.fast import newton, one_pass
from handgrad.fast.per_example import per_example
from handgrad.gradients import linear, logistic, softmax_regression
from handgrad.scale.streams import open_stream
from handgrad.train import accuracy, fit, fit_many, fit_stream, newton_stream
from handgrad.train.many import folds
from handgrad.train.saved import ModelSettings, SavedModel, load_model

ROWS, TOWNS = 600, 40
CODES = FileOptions(categories="codes", impute="mean")
COLUMNS = replace(CODES, categories="columns")


def table(rows=ROWS, seed=0):
    """A number, a town, a colour that may be missing, and a label that they decide."""
    rng = np.random.default_rng(seed)
    town, colour = rng.integers(0, TOWNS, rows), rng.integers(0, 3, rows)
    size = rng.normal(5, 2, rows)
    z = size - 5 + 2 * rng.normal(size=TOWNS)[town] + colour - 1 + rng.logistic(size=rows)
    return pyarrow.table(
        {
            "size": size,
            "town": [f"town {number:02}" for number in town],
            "colour": [("red", "green", None)[number] for number in colour],
            "late": z > 0,
        }
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("codes") / "towns.parquet"
    parquet.write_table(table(), path)
    return path


@pytest.fixture(scope="module")
def both(file):
    """The table in codes and in columns; its number is standardised, its categories are 0 and 1."""
    found = [load(file, "late", options) for options in (CODES, COLUMNS)]
    in_codes = standardise(found[0])[0]
    x = found[1].x.copy()
    x[:, 0] = in_codes.x.values[:, 0]
    return in_codes, replace(found[1], x=x)


def close(found, expected, **tolerance):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, **({"rtol": 1e-9, "atol": 1e-10} | tolerance))


def test_codes_are_the_columns_of_the_table(both):
    in_codes, in_columns = both
    assert in_codes.feature_names == in_columns.feature_names
    assert in_codes.x.sizes == (0, TOWNS, 3)
    assert in_codes.x.size == 3 * ROWS
    with x64():
        np.testing.assert_array_equal(linear.columns(in_codes.x), in_columns.x)


def test_training_is_the_same(both):
    in_codes, in_columns = both
    weighted = {"batch_size": 32, "sample_weight": np.random.default_rng(0).random(ROWS)}

    def trained(data, **options):
        return fit(logistic.model(0.01), data.x, data.y, epochs=3, **options).params

    with x64():
        close(*(trained(data, **weighted) for data in both))
        params = trained(in_columns, batch_size="full")
        for mesh in (None, 1):
            close(trained(in_codes, batch_size="full", mesh=mesh), params)
        assert accuracy(logistic.model(), params, in_codes.x, in_codes.y) == accuracy(
            logistic.model(), params, in_columns.x, in_columns.y
        )


def test_one_pass_reads_codes(both):
    x, y = both[0].x, both[0].y
    classes = np.arange(ROWS) % 3
    with x64():
        for model, labels, count in ((logistic, y, 2), (softmax_regression, classes, 3)):
            params = model.init(jax.random.key(0), x.shape[1], count, "float64")
            expected = jax.jit(model.value_and_gradient)(params, x, labels)
            close(jax.jit(lambda p, y: one_pass.value_and_gradient(p, x, y, rows=250))(
                params, labels), expected)  # fmt: skip
    with pytest.raises(InputError, match="codes, which are packed already"):
        one_pass.pack(x, y)
    with pytest.raises(InputError, match="fit with batch_size=1"):
        per_example(params, x, y)
    with pytest.raises(TypeError, match="not iterable"):
        iter(x)


def test_many_models_and_folds_are_the_same(both):
    rows, _ = folds(ROWS, 2)
    with x64():
        run = [
            fit_many(
                logistic.model(), data.x, data.y, rows=rows, learning_rates=(0.1, 0.2), epochs=2
            )
            for data in both
        ]
        close(run[0].stacked, run[1].stacked)


def test_the_optimum_is_the_same(both, monkeypatch):
    """By a Hessian, by products with it, in blocks, and over three classes."""
    in_codes, in_columns = both
    run = {"l2": 1e-3, "tol": 1e-11}
    expected = newton.fit(None, in_columns.x, in_columns.y, **run)
    found = newton.fit(None, in_codes.x, in_codes.y, **run)
    assert (found.stopped, found.hessians > 0) == ("tolerance", True)
    close(found.params, expected.params, rtol=1e-7)
    monkeypatch.setattr(newton.objective, "BLOCK_BYTES", 256 * 8 * 3)
    monkeypatch.setattr(newton.descent, "MOST_FEATURES", 10)
    many = in_codes.x[np.arange(3 * ROWS) % ROWS], in_codes.y[np.arange(3 * ROWS) % ROWS]
    by_products = newton.fit(None, *many, **run)
    assert by_products.products > 0
    close(by_products.params, expected.params, rtol=1e-7)
    one_device = jax.make_mesh((1,), ("data",))
    close(newton.fit(None, *many, **run, mesh=one_device).params, expected.params, rtol=1e-7)
    classes = np.arange(ROWS) % 3
    three, expected = (newton.fit(None, data.x, classes, **run) for data in both)
    assert abs(three.loss - expected.loss) < 1e-15  # biases of all classes may move together
    close(three.params.weight, expected.params.weight, atol=1e-8)
    odd = in_codes.x.with_values(np.where(in_codes.x.values == 3, 3.5, in_codes.x.values))
    with pytest.raises(InputError, match=r"codes of column 1: expected whole numbers in 0\.\.39"):
        newton.fit(None, odd, in_codes.y)


def test_a_stream_is_the_same(file, both):
    with x64(), open_stream(file, "late", dtype="float64", options=CODES) as stream:
        assert (stream.features, stream.width) == (TOWNS + 4, 3)
        x, y = stream.rows(0, stream.examples)
        close(x, both[0].x)
        run = {"epochs": 2, "shuffle": False}
        for size in ("full", 50):
            streamed = fit_stream(logistic.model(), stream, batch_size=size, **run)
            close(streamed.params, fit(logistic.model(), x, y, batch_size=size, **run).params)
        optimum = newton_stream(stream, 1e-3, tol=1e-11)
        close(optimum.params, newton.fit(None, x, y, 1e-3, tol=1e-11).params, rtol=1e-7)


def test_a_saved_model_predicts_what_the_one_in_columns_does(file, tmp_path):
    """Unseen towns have no feature, missing colours the one of their own."""
    train, _, prepared = load_parts(file, "late", CODES)
    params = newton.fit(None, train.x, train.y, 1e-3).params
    model = SavedModel(
        ModelSettings("logistic"), params, train.class_names, prepared, CODES, {"target": "late"}
    )  # fmt: skip
    model.save(tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert loaded.preparation.codes
    new = table(30, seed=1).set_column(1, "town", [["town 07"] * 29 + ["nowhere"]])
    csv.write_csv(new, tmp_path / "new.csv")
    p = loaded.predict_proba(new)
    in_columns = replace(loaded, preparation=replace(prepared, codes=False))
    close(p, in_columns.predict_proba(new))
    ((blocks, odd),) = loaded.predict_file(tmp_path / "new.csv")
    np.testing.assert_array_equal(blocks, p)
    assert odd == {("town", "nowhere"): 1}
    with pytest.raises(InputError, match="nowhere"):
        loaded.predict(new, unknown="refuse")
    with pytest.raises(InputError, match="encoded already"):
        loaded.predict(load(file, "late", CODES))


def test_codes_come_unasked_where_columns_would_be_many(file, monkeypatch):
    monkeypatch.setattr(preparation, "MOST_COLUMNS", TOWNS)
    data = load(file, "late", FileOptions(impute="mean"))
    assert isinstance(data.x, Coded)
    assert any("43 categories: kept as codes" in remark for remark in data.remarks)
    assert not isinstance(load(file, "late", COLUMNS).x, Coded)
    with pytest.raises(InputError, match="categories: expected one of auto, columns, codes"):
        load(file, "late", FileOptions(categories="some"))


def test_codes_of_ones_own():
    x = coded(np.array([[1.5], [2.5]]), np.array([[0, 3], [2, -1]]), sizes=(3, 4))
    assert (x.shape, len(x), x.numbers, x.categories) == ((2, 8), 2, (0,), (1, 2))
    assert coded(None, np.zeros((2, 1), int), (3,)).shape == (2, 3)
    for codes, sizes, words in (
        ([[0], [3]], (3,), r"codes of column 0: expected whole numbers in 0..2, .* got 3.0"),
        ([[0], [-2]], (3,), "got -2.0 at position 1"),
        ([[0.5], [1]], (3,), "got 0.5 at position 0"),
        ([[0], [1]], (3, 2), "expected 1 sizes, one for each column"),
        ([[0], [1]], (-3,), "sizes"),
        ([0, 1], (3,), "codes: expected whole numbers"),
        ([["a"], ["b"]], (3,), "encode the categories first"),
    ):
        with pytest.raises(InputError, match=words):
            coded(None, np.array(codes), sizes)
    with pytest.raises(InputError, match="x: expected floats"):
        coded(np.zeros((3, 1)), np.zeros((2, 1), int), (3,))
    narrow = Coded(np.zeros((4, 1), np.float16), (5_000,))
    with pytest.raises(InputError, match="codes up to 2,048, which float16 can hold"):
        fit(logistic.model(), narrow, np.array([0, 1, 0, 1]))


def test_the_estimator_takes_codes(both):
    in_codes, in_columns = both
    x, y = in_codes.x.values, in_codes.y
    known = x[:, 1] < TOWNS - 1
    model = sklearn.Classifier(categorical_features=[1, 2], l2=1e-3).fit(x[known], y[known])
    assert model.coef_.shape == (1, TOWNS + 3)
    columns = np.delete(in_columns.x, TOWNS, axis=1)  # of the town that it does not know
    dense = sklearn.Classifier(l2=1e-3).fit(columns[known], y[known])
    close(model.predict_proba(x), dense.predict_proba(columns), rtol=1e-6)
    with pytest.raises(InputError, match="categorical_features: expected numbers of columns"):
        sklearn.Classifier(categorical_features=[3]).fit(x, y)


def test_what_was_prepared_in_columns_is_in_columns():
    assert not Preparation((), np.zeros(0), np.zeros(0), np.ones(0)).codes
