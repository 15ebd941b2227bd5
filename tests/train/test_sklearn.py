"""`handgrad.sklearn.Classifier`: scikit-learn's own checks, its tools, and its results."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from handgrad.sklearn import Classifier

QUICK = (
    "check_no_attributes_set_in_init", "check_parameters_default_constructible",
    "check_estimator_tags_renamed",
    "check_valid_tag_types", "check_mixin_order", "check_get_params_invariance",
    "check_set_params", "check_estimators_unfitted", "check_fit1d", "check_supervised_y_2d",
    "check_classifiers_one_label", "check_classifiers_regression_target",
    "check_estimators_nan_inf", "check_complex_data", "check_estimator_sparse_matrix",
)  # fmt: skip
OTHERS = {
    "default": Classifier(),
    "softmax_newton": Classifier("softmax", max_iter=200),
    "softmax_sgd": Classifier("softmax", "sgd", max_iter=60),
    "auto_adam": Classifier(solver="adam", max_iter=60),
    "mlp_adam": Classifier("mlp", hidden=(4,), max_iter=100),
    "mlp_sgd": Classifier("mlp", "sgd", hidden=(4,), activation="relu", max_iter=200),
}
"""Not float32: the checks ask that weights be equal to repeated rows to seven digits."""


@pytest.fixture(autouse=True, scope="module")
def promotes_as_for_a_user():
    import jax

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.filterwarnings("ignore")
def test_a_sample_of_scikit_learns_checks():
    """Those that fit little; the others, which compile for a hundred shapes, with make proofs."""
    ran = set()
    for estimator, check in estimator_checks_generator(Classifier()):
        if check.func.__name__ in QUICK:
            check(estimator)
            ran.add(check.func.__name__)
    assert ran == set(QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("ignore")
def test_every_model_and_solver_passes_them(name):
    results = check_estimator(OTHERS[name], on_skip=None, on_fail="raise")
    assert {result["status"] for result in results} <= {"passed", "skipped"}


def scaled(load):
    x, y = load(return_X_y=True)
    return StandardScaler().fit_transform(x), y


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine], ids=["two", "three"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_newton_finds_what_scikit_learn_finds(load, weighted):
    """The same objective: its C is 1/(λ Σw)."""
    x, y = scaled(load)
    weights = np.random.default_rng(0).integers(0, 4, len(y)) if weighted else np.ones(len(y))
    ours = Classifier(l2=1e-2, tol=1e-9).fit(x, y, weights if weighted else None)
    c = 1 / (1e-2 * weights.sum())
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x, y, weights)
    if len(ours.classes_) == 2:
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-5)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=2e-5)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=2e-5)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_descent_with_weights_is_descent_on_repeated_examples(solver):
    x, y = scaled(load_iris)
    weights = np.random.default_rng(1).integers(0, 3, len(y))
    settings = {"solver": solver, "max_iter": 20, "tol": 0.0, "random_state": 0}
    one, other = Classifier(**settings), Classifier(**settings)
    with pytest.warns(UserWarning, match="stopped after 20 passes"):
        one.fit(x, y, weights)
    with pytest.warns(UserWarning, match="stopped after 20 passes"):
        other.fit(np.repeat(x, weights, axis=0), np.repeat(y, weights))
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-9)


def test_class_weights_multiply():
    x, y = scaled(load_breast_cancer)
    weights = np.where(y == 1, 3.0, 1.0)
    one = Classifier(class_weight={0: 1, 1: 3}, tol=1e-9).fit(x, y)
    other = Classifier(tol=1e-9).fit(x, y, weights)
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-6)
    balanced = Classifier(class_weight="balanced").fit(x, y)
    assert balanced.predict_proba(x)[:, 1].mean() < one.predict_proba(x)[:, 1].mean()


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_grid_search_over_a_pipeline(processes):
    """What other processes are sent, and send back, is a pickle."""
    x, y = load_iris(return_X_y=True)
    x, names = x[50:], np.array(["setosa", "versicolor", "virginica"])[y[50:]]
    pipeline = pickle.loads(pickle.dumps(make_pipeline(StandardScaler(), Classifier())))
    search = GridSearchCV(pipeline, {"classifier__l2": [1e-4, 1.0]}, cv=3, n_jobs=processes)
    search = pickle.loads(pickle.dumps(search.fit(x, names)))
    assert search.best_params_ == {"classifier__l2": 1e-4}
    assert search.best_score_ > 0.9
    assert search.predict(x[:1]).tolist() == ["versicolor"]


def test_in_a_column_transformer():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    table = pandas.DataFrame({"a": rng.normal(size=80), "town": rng.choice(["x", "y"], 80)})
    y = np.where((table["a"] > 0) ^ (table["town"] == "x"), "in", "out")
    columns = ColumnTransformer([("a", StandardScaler(), ["a"]), ("t", OneHotEncoder(), ["town"])])
    found = make_pipeline(columns, Classifier("mlp", hidden=(6,), max_iter=300, random_state=0))
    with pytest.warns(UserWarning, match="adam stopped after 300 passes"):
        found.fit(table, y)
    assert found.score(table, y) > 0.95


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "tree"}, "model: expected one of auto, logistic"),
        ({"solver": "lbfgs"}, "solver: expected one of auto, newton"),
        ({"model": "mlp", "solver": "newton"}, "solver: expected sgd or adam for an mlp"),
        ({"model": "logistic"}, "model: expected softmax or mlp for 3 classes"),
        ({"dtype": "float16"}, "dtype: expected one of float32, float64"),
        ({"l2": -1.0}, "l2: expected a finite number of 0 or more"),
        ({"solver": "sgd", "batch_size": 0}, "batch_size: expected"),
    ],
)
def test_parameters_that_cannot_be(settings, words):
    x, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=words):
        clone(Classifier(**settings)).fit(x, y)


def test_weights_that_cannot_be():
    x, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="expected numbers of 0 or more, got -1"):
        Classifier().fit(x, y, -np.ones(len(y)))
    with pytest.raises(ValueError, match=r"got one class: .*0"):
        Classifier().fit(x, y, (y == 0).astype(float))
