"""handgrad beside a scikit-learn pipeline on files as people have them, on the same split.

    python -m benchmarks.tabular

Four known data sets and one table with gaps, dates, a town of many values and classes in words,
each written as a file with semicolons and decimal commas. Ours: what `handgrad train` does with the
file, by its own descent and by `handgrad.sklearn.Classifier` (Newton). Theirs: pandas, a
ColumnTransformer, a StandardScaler and LogisticRegression, with the same penalty on the same rows.
Exits with 1 if the accuracies of Classifier and of scikit-learn are over half a point apart.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from handgrad.data import Dataset, FileOptions, load, load_parts
from handgrad.data.dataset import split_rows
from handgrad.sklearn import Classifier
from handgrad.train import accuracy, fit
from handgrad.train.saved import ModelSettings

L2 = 1e-3
HALF_A_POINT = 0.005
DATES = "since"


def customers(rows: int = 2_000, seed: int = 0) -> pd.DataFrame:
    """A made table; its classes depend on an amount, a membership and a month, with noise."""
    rng = np.random.default_rng(seed)
    amount, member = rng.gamma(2, 40, rows).round(2), rng.random(rows) < 0.4
    since = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 700, rows), "D")
    score = (amount - 80) / 30 + np.where(member, 1.5, -1.0) + (since.month - 6) * 0.3
    score = score + rng.normal(size=rows)
    kind = np.where(score > 1, "good", np.where(score > -1, "fair", "poor"))
    table = pd.DataFrame({
        "amount": np.where(rng.random(rows) < 0.05, np.nan, amount),
        DATES: since.strftime("%d.%m.%Y"),
        "town": [f"town {n}" for n in np.minimum(rng.zipf(1.5, rows), 400)],
        "member": np.where(member, "yes", "no"),
    })  # fmt: skip
    table.loc[rng.random(rows) < 0.03, DATES] = None
    return table.assign(label=kind)


def as_frame(name: str) -> pd.DataFrame:
    """A known data set as a table."""
    data = load(name)
    columns = [f"f{number}" for number in range(data.features)]
    labels = np.array(data.class_names)[data.y.astype(int)]
    return pd.DataFrame(data.x, columns=columns).assign(label=[f"c {label}" for label in labels])


def theirs(path: Path, train: np.ndarray, test: np.ndarray, max_categories: int) -> float:
    """The accuracy of the pipeline, which reads the file for itself."""
    table = pd.read_csv(path, sep=";", decimal=",", keep_default_na=False, na_values=[""])
    y = table.pop("label").to_numpy()
    if DATES in table:
        when = pd.to_datetime(table.pop(DATES), format="%d.%m.%Y")
        for part in ("year", "month", "day", "day_of_week"):
            table[f"{DATES}.{part}"] = getattr(when.dt, part).astype("float64")
    words = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=2, max_categories=max_categories,
        sparse_output=False,
    )  # fmt: skip
    columns = ColumnTransformer([
        ("numbers", SimpleImputer(strategy="median"), make_column_selector(dtype_include="number")),
        ("words", words, make_column_selector(dtype_exclude="number")),
    ])  # fmt: skip
    penalty = 1 / (L2 * len(train))
    model = LogisticRegression(C=penalty, tol=1e-8, max_iter=5_000)
    pipeline = make_pipeline(columns, StandardScaler(), model)
    return float(pipeline.fit(table.iloc[train], y[train]).score(table.iloc[test], y[test]))


def ours(train: Dataset, test: Dataset) -> tuple[float, float]:
    """The accuracies of the command's descent, and of Classifier."""
    model = ModelSettings("logistic" if train.classes == 2 else "softmax", L2).model()
    x, x_test = train.x.astype("float32"), test.x.astype("float32")
    descended: Any = fit(model, x, train.y)
    newton = Classifier(l2=L2).fit(train.x, train.y)
    return accuracy(model, descended.params, x_test, test.y), newton.score(test.x, test.y)


def main() -> int:
    """Print a line for each data set."""
    frames = {name: as_frame(name) for name in ("breast-cancer", "iris", "wine", "digits")}
    frames["customers"] = customers()
    print(f"{'data set':<15}{'test':>6}{'descent':>10}{'Classifier':>12}{'scikit-learn':>14}")
    apart = []
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in frames.items():
            path = Path(folder) / f"{name}.csv"
            frame.to_csv(path, sep=";", decimal=",", index=False)
            options = FileOptions(delimiter=";", decimal=",", impute="median", max_categories=50)
            whole = load(path, "label", options)
            rows, held_out = split_rows(whole.y, 0.25, 0)
            train, test, _ = load_parts(path, "label", options)
            known = theirs(path, rows, held_out, options.max_categories)
            descent, newton = ours(train, test)
            apart.append(abs(newton - known))
            print(f"{name:<15}{test.examples:>6,}{descent:>10.2%}{newton:>12.2%}{known:>14.2%}")
    print(f"largest difference of Classifier and scikit-learn: {max(apart):.2%}")
    return int(max(apart) > HALF_A_POINT)


if __name__ == "__main__":
    sys.exit(main())
