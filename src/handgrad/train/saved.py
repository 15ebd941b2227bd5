"""A trained model in a file, with all that predicting needs: `handgrad train --save`, `load_model`.

    raw columns  ->  Preparation  ->  model.predict(params, x)  ->  probabilities, classes

The file is an .npz, which `numpy.load(path, allow_pickle=False)` reads: plain arrays, one of them
the bytes of a JSON text (the *card*), one the digest of all others. Nothing in it is a pickle, and
nothing in it is executed. It is read only as this module writes it: every name, shape and dtype is
checked against what the card says, and the digest against the bytes.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from os import PathLike
from os.path import expanduser, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from handgrad import __version__
from handgrad._checks import require_choice
from handgrad._precision import x64
from handgrad._types import Coded, Model, like, values_of
from handgrad.data.dataset import Dataset
from handgrad.data.encoders import PARTS, Column, Strings, as_part, column_values
from handgrad.data.files import check_columns, import_pyarrow, suggestion
from handgrad.data.preparation import LEFT_OUT, Preparation, PreparedColumn
from handgrad.data.table_file import (
    PERCENT,
    FileOptions,
    TableFile,
    as_format,
    check_format,
    is_text,
)
from handgrad.errors import InputError
from handgrad.gradients import logistic, mlp, perceptron, softmax_regression
from handgrad.scale.checkpoints import leaves
from handgrad.scale.streams import read_header

if TYPE_CHECKING:
    import pyarrow

FORMAT, VERSION = "handgrad model", 1
CARD, DIGEST, PARAMS = "card", "sha256", "params"
ROWS = 1_024
"""Rows that are predicted at once, the last of them padded: one program, whatever is asked."""
FILE_ROWS = 2**16
MISSING_REMEDY = "pass --missing fill (missing='fill'), or mend the file"

Rows: TypeAlias = NDArray[np.float64] | Coded
"""Features of some rows."""
Missing: TypeAlias = Literal["as trained", "fill", "refuse"]
Unknown: TypeAlias = Literal["ignore", "refuse"]


@dataclass(frozen=True)
class ModelSettings:
    """Which model: the name that a command calls it by, and what is bound when it is made."""

    name: str
    l2: float = 0.0
    hidden: tuple[int, ...] = (16,)
    activation: str = "tanh"

    def model(self) -> Model[Any]:
        """The functions. Raises InputError for a name that no model has."""
        models: dict[str, Callable[[], Model[Any]]] = {
            "logistic": lambda: logistic.model(self.l2),
            "softmax": lambda: softmax_regression.model(self.l2),
            "perceptron": perceptron.model,
            "mlp": lambda: mlp.model(self.hidden, self.activation, self.l2),
        }
        require_choice("model", self.name, models)
        return models[self.name]()


@lru_cache(maxsize=16)
def _compiled(settings: ModelSettings) -> Callable[[Any, Any], Any]:
    return jax.jit(settings.model().predict)


def probabilities(
    settings: ModelSettings, params: Any, x: NDArray[np.floating] | Coded
) -> NDArray[np.float64]:
    """The probability of each class (N, K) for features (N, D), in the dtype of the parameters.

    In blocks of a fixed number of rows: what a row gets does not depend on the rows beside it.
    """
    dtype = np.dtype(jax.tree.leaves(params)[0].dtype)
    values = values_of(x)
    found, block = [], np.zeros((ROWS, values.shape[1]), dtype)
    with x64(dtype == np.float64):
        for begin in range(0, max(1, len(values)), ROWS):
            rows = values[begin : begin + ROWS]
            block[: len(rows)] = rows
            some = like(x, block.copy())
            p = np.asarray(_compiled(settings)(params, some), np.float64)
            found.append(p[: len(rows)])
    p = np.concatenate(found)
    return np.stack([1 - p, p], axis=1) if p.ndim == 1 else p


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A trained model with what was done to the columns of the table it was trained on.

    Attributes:
        settings: which model.
        params: its parameters, NumPy arrays.
        classes: the names of the classes, in the order of the probabilities.
        preparation: what is done to the columns.
        options: how the file was read.
        trained_on: what it was trained on and how, for its card: names, numbers and strings.
    """

    settings: ModelSettings
    params: Any
    classes: tuple[str, ...]
    preparation: Preparation
    options: FileOptions
    trained_on: Mapping[str, Any]

    def predict_proba(
        self, table: Any, *, missing: Missing = "as trained", unknown: Unknown = "ignore"
    ) -> NDArray[np.float64]:
        """The probability of each of `classes` (N, K) for the rows of a table.

        `table` is a pyarrow or pandas table, a dict of columns, a `Dataset`, the path of a file, or
        an array (N, D) for a model of numbers alone; columns are found by name, others are not
        looked at. `missing` says what becomes of missing values: "fill" them, "refuse" them, or as
        it was when the model was trained. A column that is not there is refused, unless it is to be
        filled. A string that was not seen in training has the feature that rare ones share, or
        none: to "refuse" it is to raise.

        Raises:
            InputError: columns or values that do not fit.
        """
        found = [values_of(x) for x, _ in self._features(table, missing, unknown)]
        values = np.concatenate(found or [np.zeros((0, len(self.preparation.sizes)))])
        return probabilities(self.settings, self.params, self.preparation.wrap(values))

    def predict(
        self, table: Any, *, missing: Missing = "as trained", unknown: Unknown = "ignore"
    ) -> NDArray[np.str_]:
        """The most probable class of each row, by name; the arguments are those of `predict_proba`.

        >>> import handgrad as hg
        >>> from handgrad.train.saved import ModelSettings, SavedModel
        >>> train, test, preparation = hg.data.load_parts("iris")
        >>> settings = ModelSettings("softmax")
        >>> fitted = hg.fit(settings.model(), train.x.astype("float32"), train.y, epochs=20)
        >>> model = SavedModel(settings, fitted.params, train.class_names, preparation,
        ...                    hg.data.FileOptions(), {})
        >>> model.predict(hg.load("iris"))[[0, 149]].tolist()
        ['setosa', 'virginica']
        """
        p = self.predict_proba(table, missing=missing, unknown=unknown)
        return np.array(self.classes)[p.argmax(axis=1)]

    def predict_file(
        self,
        path: str | PathLike[str],
        options: FileOptions | None = None,
        *,
        missing: Missing = "as trained",
        unknown: Unknown = "ignore",
    ) -> Iterator[tuple[NDArray[np.float64], dict[tuple[str, str], int]]]:
        """Probabilities of a file of any size, block by block; and what strings were not known.

        `options` are those of the new file, by default the ones of the file in training.
        """
        for x, odd in self._file_features(Path(expanduser(path)), options, missing, unknown):
            yield probabilities(self.settings, self.params, x), odd

    # --- features -----------------------------------------------------------------------------

    def _features(
        self, table: Any, missing: str, unknown: str
    ) -> Iterator[tuple[Rows, dict[tuple[str, str], int]]]:
        if isinstance(table, str | PathLike):
            yield from self._file_features(Path(expanduser(table)), None, missing, unknown)
        elif isinstance(table, Dataset) and isinstance(table.x, Coded):
            raise InputError(
                "table", "columns as they are in a file", "features that are encoded already",
                "pass the path of the file, or its table",
            )  # fmt: skip
        elif isinstance(table, Dataset):
            columns = dict(zip(table.feature_names, table.x.T, strict=True))
            yield self._from_numbers(columns, missing)
        elif isinstance(table, np.ndarray) and table.ndim == 2:
            names = [column.name for column in self.preparation.columns]
            if len(names) != table.shape[1]:
                raise InputError(
                    "table", f"{len(names)} columns: {', '.join(names)}", f"{table.shape[1]}",
                    "pass the features in the order of training, or a table with names",
                )  # fmt: skip
            yield self._from_numbers(dict(zip(names, table.T, strict=True)), missing)
        else:
            given = as_table(table)
            check_columns("table", given.column_names)
            yield self._from_table(given, "the table", 0, missing, unknown)

    def _file_features(
        self, path: Path, options: FileOptions | None, missing: str, unknown: str
    ) -> Iterator[tuple[Rows, dict[tuple[str, str], int]]]:
        if path.suffix.lower() == ".npy":
            yield from self._npy_features(path, missing)
            return
        pyarrow = import_pyarrow()
        types, formats = {}, {}
        for column in self.preparation.columns:
            if column.format:
                formats[column.name] = column.format
            if column.kind in ("category", LEFT_OUT) or column.format:
                types[column.name] = pyarrow.string()
            elif column.kind == "number":
                types[column.name] = pyarrow.float64()
            elif column.kind == "boolean":
                types[column.name] = pyarrow.bool_()
        names = tuple(self.trained_on.get("columns", ()))
        file = TableFile(
            path, options or self.options, types=types, formats=formats,
            numbered=(names, str(self.trained_on.get("target", ""))),
        )  # fmt: skip
        first = 0
        for table in file.pieces(FILE_ROWS):
            yield self._from_table(table, path.name, first, missing, unknown)
            first += table.num_rows

    def _npy_features(
        self, path: Path, missing: str
    ) -> Iterator[tuple[Rows, dict[tuple[str, str], int]]]:
        if not isfile(path):
            raise InputError(path.name, "a file that exists", f"nothing at {path}", "check it")
        _, (rows, width), _ = read_header(path)
        columns = [column.name for column in self.preparation.columns]
        numbers = [str(number) for number in range(len(columns) + 1)]
        names = columns if width == len(columns) else numbers
        if width != len(names) or not set(columns) <= set(names):
            raise InputError(
                path.name, f"the {len(columns)} features in the order of training",
                f"{width} columns", "leave the others out",
            )  # fmt: skip
        table = np.load(path, mmap_mode="r", allow_pickle=False)
        for begin in range(0, rows, FILE_ROWS):
            part = np.array(table[begin : begin + FILE_ROWS], np.float64)
            yield self._from_numbers(dict(zip(names, part.T, strict=True)), missing)

    def _from_numbers(
        self, columns: Mapping[str, np.ndarray], missing: str
    ) -> tuple[Rows, dict[tuple[str, str], int]]:
        """Of columns that are all numbers."""
        for column in self.preparation.columns:
            if column.kind not in ("number", "boolean"):
                raise InputError(
                    "table", f"a table with the {column.kind} {column.name!r}", "numbers alone",
                    "pass a table with names, as pandas or pyarrow have them",
                )  # fmt: skip
            if column.name not in columns:
                raise self._no_column(column.name, list(columns), "the table")
        x = np.stack(
            [np.asarray(columns[c.name], np.float64) for c in self.preparation.columns], axis=1
        )
        allowed = self._fills(missing)
        if np.isinf(x).any() or (np.isnan(x).any() and not allowed):
            place = np.argwhere(np.isinf(x) if allowed else ~np.isfinite(x))[0]
            name = self.preparation.columns[place[1]].name
            raise InputError(
                f"column {name!r}", "finite numbers", f"{x[tuple(place)]} in row {place[0] + 1:,}",
                MISSING_REMEDY,
            )  # fmt: skip
        return self._held(self.preparation.transform([x]), "the table"), {}

    def _from_table(
        self, table: "pyarrow.Table", file: str, first: int, missing: str, unknown: str
    ) -> tuple[Rows, dict[tuple[str, str], int]]:
        parts: list[Column] = []
        nothing = Strings([""], np.zeros(table.num_rows, np.int64))
        allowed = self._fills(missing)
        for column in self.preparation.columns:
            where = f"column {column.name!r} of {file}"
            if column.kind == LEFT_OUT:
                parts.append(nothing)
            elif column.name in table.column_names:
                values = as_kind(table[column.name], column, where, first)
                found = column_values(values, where, MISSING_REMEDY, first, allowed)
                parts.append(as_part(found))
            elif missing != "fill":
                raise self._no_column(column.name, table.column_names, file)
            elif column.kind == "category":
                parts.append(nothing)
            else:
                parts.append(np.full((table.num_rows, len(column.feature_names)), np.nan))
        odd = {}
        for name, value, count in self.preparation.unknown(parts):
            if unknown == "refuse":
                raise InputError(
                    f"column {name!r} of {file}", "values that were seen in training", repr(value),
                    "mend it, or pass --unknown ignore",
                )  # fmt: skip
            odd[name, value] = count
        return self._held(self.preparation.transform(parts), file), odd

    def _held(self, x: Rows, file: str) -> Rows:
        """Raise InputError for a feature that is too large for the dtype of the parameters."""
        dtype = np.dtype(jax.tree.leaves(self.params)[0].dtype)
        values = values_of(x)
        large = ~(np.abs(values) <= float(np.finfo(dtype).max))
        if large.any():
            name = self.preparation.value_names[int(np.argwhere(large)[0, 1])]
            raise InputError(
                f"feature {name!r} of {file}", f"values that {dtype} can hold", "an overflow",
                "mend those rows",
            )  # fmt: skip
        return x

    def _fills(self, missing: str) -> bool:
        require_choice("missing", missing, ("as trained", "fill", "refuse"))
        return missing == "fill" or (missing != "refuse" and self.preparation.impute is not None)

    def _no_column(self, name: str, names: list[str], file: str) -> InputError:
        return InputError(
            file, f"the column {name!r} that the model was trained on", "none of that name",
            f"{MISSING_REMEDY}{suggestion(name, names)}",
        )  # fmt: skip

    # --- the file -----------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The file, to be read by `load_model`."""
        preparation = self.preparation
        card = {
            "format": FORMAT,
            "version": VERSION,
            "settings": asdict(self.settings),
            "classes": self.classes,
            "columns": [asdict(column) for column in preparation.columns],
            "impute": preparation.impute,
            "codes": preparation.codes,
            "options": asdict(self.options),
            "dtype": str(jax.tree.leaves(self.params)[0].dtype),
            "trained_on": dict(self.trained_on),
        }
        text = json.dumps(card, ensure_ascii=True, allow_nan=False)
        arrays: dict[str, np.ndarray] = {
            CARD: np.frombuffer(text.encode(), np.uint8),
            "fill": preparation.fill,
            "mean": preparation.mean,
            "scale": preparation.scale,
        }
        arrays |= {f"{PARAMS}{path}": np.asarray(leaf) for path, leaf in leaves(self.params)}
        arrays[DIGEST] = _digest(arrays)
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        return content.getvalue()

    def save(self, path: str | PathLike[str]) -> None:
        """Write the file. Raises InputError unless its name ends in .npz, and OSError."""
        path = Path(expanduser(path))
        if path.suffix.lower() != ".npz":
            raise InputError("path", "a file name ending in .npz", repr(str(path)), "rename it")
        path.write_bytes(self.to_bytes())

    def __repr__(self) -> str:
        classes = len(self.classes)
        return (
            f"SavedModel({self.settings.name!r}: {len(self.preparation.columns):,} columns, "
            f"{len(self.preparation.mean):,} features, {classes:,} classes)"
        )


def described_source(
    data: str, name: str, target: str | None, preparation: Preparation
) -> dict[str, Any]:
    """What a card says of the file, or of the data set by name, that a model was trained on."""
    path = Path(expanduser(data))
    found: dict[str, Any] = {"data": name}
    if not isfile(path):
        return found
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    found |= {"data": path.name, "sha256": digest, "target": target}
    columns = [column.name for column in preparation.columns]
    if target is not None and all(map(str.isdecimal, columns)):
        columns = sorted([*columns, target], key=lambda column: (len(column), column))
    return found | {"columns": columns}


def versions() -> dict[str, str]:
    """Those of what trains and predicts."""
    return {"handgrad": __version__, "jax": jax.__version__, "numpy": np.__version__}


# --- tables ---------------------------------------------------------------------------------------


def as_table(table: Any) -> "pyarrow.Table":
    """A pyarrow table, or one made of a pandas table or of a dict of columns."""
    pyarrow = import_pyarrow()
    if isinstance(table, pyarrow.Table):
        return table
    try:
        if isinstance(table, Mapping):
            return pyarrow.table(dict(table))
        if hasattr(table, "to_arrow"):
            return table.to_arrow()
        if hasattr(table, "iloc") and hasattr(table, "columns"):
            return pyarrow.Table.from_pandas(table, preserve_index=False)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError("table", "columns of numbers or strings", reason, "mend it") from error
    raise InputError(
        "table", "a pandas or pyarrow table, a dict of columns, an array (N, D), or a path",
        type(table).__name__, "pass one of those",
    )  # fmt: skip


def as_kind(
    values: "pyarrow.ChunkedArray", column: PreparedColumn, where: str, first: int
) -> "pyarrow.ChunkedArray":
    """A column with the type that it had in training. Raises InputError where it cannot have it."""
    pyarrow = import_pyarrow()
    types = pyarrow.types
    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind, given = column.kind, values.type
    if is_text(given) and column.format:
        return as_format(values, column.format, where, first)
    dated = types.is_date(given) or types.is_timestamp(given) or types.is_null(given)
    fits = {
        "number": not is_text(given) and not types.is_temporal(given),
        "boolean": types.is_boolean(given) or types.is_null(given) or types.is_integer(given),
        "category": is_text(given)
        or types.is_null(given)
        or types.is_integer(given)
        or types.is_boolean(given),
        "time": types.is_time(given) or types.is_null(given),
    }.get(kind, dated)
    if not fits:
        wanted = f"dates as {column.format}" if column.format else f"a column of kind {kind}"
        raise InputError(where, f"{wanted}, as in training", str(given), "mend the file")
    if kind == "category" and not is_text(given):
        return values.cast(pyarrow.string())
    if kind == "date" and not types.is_date(given):
        return values.cast(pyarrow.date32(), safe=False)
    if kind == "timestamp" and not types.is_timestamp(given):
        return values.cast(pyarrow.timestamp("s"))
    if kind == "time" and types.is_null(given):
        return values.cast(pyarrow.time32("s"))
    return values


# --- reading a file -------------------------------------------------------------------------------


class _DamagedError(Exception):
    """What is wrong with a file, in a few words."""


def load_model(path: str | PathLike[str]) -> SavedModel:
    """The model in a file that `handgrad train --save` wrote. Nothing in the file is executed.

    Raises:
        InputError: no such file; one that something else wrote, that a newer handgrad wrote, or
            of which a bit is not as it was written.
    """
    path = Path(expanduser(path))
    wanted = "a model that handgrad train --save wrote"
    if not isfile(path):
        raise InputError(path.name or "path", wanted, f"nothing at {path}", "check the name")
    try:
        arrays = _read_arrays(path)
        card = _read_card(arrays)
        if card["version"] > VERSION:
            raise InputError(
                path.name, f"a model of format {VERSION}", f"one of format {card['version']}",
                "it was written by a newer handgrad: upgrade, pip install -U handgrad",
            )  # fmt: skip
        if not np.array_equal(arrays.get(DIGEST, np.zeros(0)), _digest(arrays)):
            raise _DamagedError("contents that are not as they were written")
        return _as_model(card, arrays)
    except _DamagedError as error:
        found, cause = str(error), error
    except InputError as error:
        if error.argument == path.name:
            raise
        found, cause = f"one with a bad {error.argument}", error  # type: ignore[assignment]
    except OSError as error:
        found, cause = error.strerror or "a failure to read it", error  # type: ignore[assignment]
    remedy = "the file is damaged, or something else: save the model again"
    raise InputError(path.name, wanted, found, remedy) from cause


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz that is stored as numpy.savez does: no more memory than its size."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            size = path.stat().st_size
            for member in archive.infolist():
                name = member.filename
                plain = member.compress_type == zipfile.ZIP_STORED
                if not name.endswith(".npy") or not plain or member.file_size > size:
                    raise _DamagedError(f"a part {name[:40]!r} that no model has")
                with archive.open(member) as file:
                    content = io.BytesIO(file.read())
                found[name.removesuffix(".npy")] = np.lib.format.read_array(
                    content, allow_pickle=False
                )
    except (_DamagedError, OSError):
        raise
    except MemoryError as error:
        raise _DamagedError("an array that is larger than the file") from error
    except Exception as error:  # whatever zipfile and numpy find wrong with bytes
        raise _DamagedError("something that is no .npz of arrays") from error
    return found


def _read_card(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The card; nothing in it is trusted yet but its format and version."""
    card = arrays.get(CARD)
    if card is None or card.dtype != np.uint8 or card.ndim != 1:
        raise _DamagedError("an .npz without a card")
    try:
        found = json.loads(card.tobytes())
    except (ValueError, RecursionError) as error:
        raise _DamagedError("a card that is no JSON") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _DamagedError("a card of something else")
    if type(found.get("version")) is not int or found["version"] < 1:
        raise _DamagedError("a card without a version")
    return found


def _as_model(card: dict[str, Any], arrays: dict[str, np.ndarray]) -> SavedModel:
    """What card and arrays say, if they agree."""
    try:
        settings = ModelSettings(**_tuples(card["settings"]))
        columns = tuple(PreparedColumn(**_tuples(column)) for column in card["columns"])
        options = FileOptions(**_tuples(card["options"]))
        classes, dtype, impute = tuple(card["classes"]), card["dtype"], card["impute"]
        trained_on, codes = card["trained_on"], card.get("codes", False)
        names = [name for column in columns for name in column.feature_names]
    except (KeyError, TypeError, AttributeError) as error:
        raise _DamagedError("a card with other fields") from error
    kinds = ("number", "boolean", "category", LEFT_OUT, *PARTS)
    strings = [*classes, *(c.name for c in columns), *(v for c in columns for v in c.categories)]
    sound = (
        all(isinstance(text, str) for text in strings)
        and all(
            column.kind in kinds and isinstance(column.fill, str) and isinstance(column.format, str)
            for column in columns
        )
        and isinstance(trained_on, dict)
        and dtype in ("float32", "float64")
        and impute in (None, "mean", "median", "most_frequent")
        and isinstance(codes, bool)
        and len(classes) >= 2
        and len(names) >= 1
        and isinstance(settings.l2, int | float)
        and math.isfinite(settings.l2)
    )
    if not sound:
        raise _DamagedError("a card with other values")
    options.check()
    for column in columns:
        if column.format not in ("", PERCENT):
            check_format(column.format)
    model = settings.model()
    with x64(dtype == "float64"):
        template = jax.eval_shape(
            lambda key: model.init(key, len(names), len(classes), dtype), jax.random.key(0)
        )
    shapes = {f"{PARAMS}{path}": (leaf.shape, dtype) for path, leaf in leaves(template)}
    shapes |= dict.fromkeys(("fill", "mean", "scale"), ((len(names),), "float64"))
    if {*shapes, CARD, DIGEST} != set(arrays):
        raise _DamagedError("other arrays than such a model has")
    for name, (shape, wanted) in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != wanted or not np.isfinite(array).all():
            raise _DamagedError(f"an array {name!r} that does not fit")
    if not (arrays["scale"] > 0).all():
        raise _DamagedError("a scale of 0")
    values = [arrays[f"{PARAMS}{path}"] for path, _ in leaves(template)]
    params = jax.tree.unflatten(jax.tree.structure(template), values)
    measures = arrays["fill"], arrays["mean"], arrays["scale"]
    preparation = Preparation(columns, *measures, impute, codes)
    return SavedModel(settings, params, classes, preparation, options, trained_on)


def _tuples(fields: Any) -> dict[str, Any]:
    """Fields of a dataclass from JSON, which has lists for tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }


def _digest(arrays: Mapping[str, np.ndarray]) -> NDArray[np.uint8]:
    total = hashlib.sha256()
    for name in sorted(arrays.keys() - {DIGEST}):
        array = arrays[name]
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(total.digest(), np.uint8)


# --- the card -------------------------------------------------------------------------------------


def card_rows(model: SavedModel) -> list[tuple[str, str]]:
    """What a person wants to know of a model: labels and values."""
    about, settings = dict(model.trained_on), model.settings
    about.pop("columns", None)
    described = settings.name
    if settings.name == "mlp":
        sizes = ", ".join(map(str, settings.hidden))
        described += f" with {sizes} hidden units, {settings.activation}"
    if settings.l2:
        described += f", l2 {settings.l2:g}"
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(model.params))
    rows = [("model", f"{described}: {count:,} parameters")]
    rows.append(("classes", ", ".join(model.classes)))
    for column in model.preparation.columns:
        kind = column.kind
        if kind == "category":
            shared = ", the others together" if column.shared else ""
            kind = f"{len(column.categories):,} categories{shared}"
        elif column.format:
            kind = f"{kind}, written as {column.format}"
        rows.append((f"column {column.name}", kind))
    impute = model.preparation.impute
    rows.append(("missing values", f"filled: {impute}" if impute else "refused"))
    rows += [(name.replace("_", " "), _told(value)) for name, value in about.items()]
    return rows


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
