"""`load`: a data set by its name, or a user's own file."""

from os import PathLike
from os.path import exists, expanduser  # unlike those of Path, these never raise
from pathlib import Path

from handgrad.data.bundled import BUNDLED
from handgrad.data.dataset import Dataset
from handgrad.data.encoders import encode_table
from handgrad.data.files import SUFFIXES, quoted, read_table, suggestion
from handgrad.errors import InputError


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
