"""From columns to features: missing values filled, strings one-hot, all standardised.

    raw columns  ->  fill  ->  one-hot, or codes  ->  (x − mean)/scale

What fills a gap, which strings are categories, means and scales are learnt from training rows by
scikit-learn (SimpleImputer, OneHotEncoder, StandardScaler), and kept as numbers and words: a
`Preparation`. It is applied in one place, here, whether a model is trained, or used from the
command, from Python, or on a file that is read in blocks.

Where categories have many values in all they are kept as codes (`Coded`), a number for each column
in place of one for each value. Their features are the same 0 and 1, but are not standardised: the
mean would make a number of each 0, and the deviation of a rare value a large one of its 1.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from handgrad._types import Coded, values_of
from handgrad.data.encoders import PARTS, Column, Strings, ValueCounts
from handgrad.data.table_file import FileOptions
from handgrad.errors import InputError

MISSING, OTHER = "(missing)", "(other)"
LEFT_OUT = "left out"
MOST_COLUMNS = 1_000
"""Values of categories that become columns unasked; where there are more they are kept as codes."""

Features = TypeVar("Features", NDArray[np.float64], Coded, NDArray[np.float64] | Coded)


@dataclass(frozen=True)
class PreparedColumn:
    """A column of the table, and the features it becomes.

    Attributes:
        name: in the file.
        kind: "number", "boolean", "category", "date", "timestamp", "time" or "left out".
        format: of strings that hold percentages or dates (see `TableFile.formats`).
        categories: sorted strings, each a feature of 0 and 1; "" is a missing one.
        shared: whether all other strings share one more feature; else they have none.
        fill: the category that stands for a missing one; "" for a category of its own.
    """

    name: str
    kind: str
    format: str = ""
    categories: tuple[str, ...] = ()
    shared: bool = False
    fill: str = ""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Those of its features."""
        if self.kind == "category":
            values = [value or MISSING for value in self.categories]
            return tuple(f"{self.name}={value}" for value in values + [OTHER] * self.shared)
        if self.kind in PARTS:
            return tuple(f"{self.name}.{part}" for part in PARTS[self.kind])
        return () if self.kind == LEFT_OUT else (self.name,)

    def places(self, values: Sequence[str]) -> NDArray[np.int64]:
        """For each string the number of its feature, −1 for one that has none."""
        known = {value: number for number, value in enumerate(self.categories)}
        rest = len(known) if self.shared else -1
        return np.array([known.get(value or self.fill, rest) for value in values], np.int64)


@dataclass(frozen=True, eq=False)
class Preparation:
    """What is done to the columns of a table before a model sees them.

    Attributes:
        columns: from left to right.
        fill: (D,) what stands for a missing number; 0 for features of strings.
        mean, scale: (D,) of each feature over the training rows; 0 and 1 where nothing is scaled.
        impute: how `fill` was found if missing values are filled; None if they are refused.
        codes: whether features are `Coded`, the categories of mean 0 and scale 1.
    """

    columns: tuple[PreparedColumn, ...]
    fill: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    impute: str | None = None
    codes: bool = False

    @property
    def feature_names(self) -> tuple[str, ...]:
        """D names."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Of the columns that values are kept in, those of `Coded`; zeros for features alone."""
        if not self.codes:
            return (0,) * len(self.mean)
        sizes: list[int] = []
        for column in self.columns:
            number = len(column.feature_names)
            sizes += [number] * (number > 0) if column.kind == "category" else [0] * number
        return tuple(sizes)

    def wrap(self, values: Any) -> Any:
        """What a model takes: the values as they are, or as `Coded`."""
        return Coded(values, self.sizes) if self.codes else values

    @property
    def value_names(self) -> tuple[str, ...]:
        """What messages call the columns that values are kept in: each by its first feature."""
        names, starts = self.feature_names, Coded(np.zeros(()), self.sizes).starts
        return tuple(names[start] for start in starts)

    def check_no_overflow(self, x: NDArray[np.floating] | Coded) -> None:
        """Raise InputError for a number that is not finite."""
        check_no_overflow(self.value_names, values_of(x))

    def encode(self, parts: Sequence[Column]) -> NDArray[np.float64] | Coded:
        """Features (R, D) of some rows, filled and one-hot or coded, not yet standardised."""
        return self._as_codes(parts) if self.codes else self._as_columns(parts)

    def _as_codes(self, parts: Sequence[Column]) -> Coded:
        kept: list[NDArray] = []
        for part, columns in self._pairs(parts):
            if not isinstance(part, Strings):
                kept.append(np.asarray(part, np.float64))
            elif columns[0].feature_names:
                nothing = np.full((len(part), 1), -1)
                places = columns[0].places(part.values)
                kept.append(places[part.codes][:, None] if part.values else nothing)
        x = Coded(np.concatenate(kept, axis=1, dtype=np.float64), self.sizes)
        missing = np.isnan(x.values)
        if missing.any():
            x = x.with_values(np.where(missing, self.fill[list(x.starts)], x.values))
        return x

    def _as_columns(self, parts: Sequence[Column]) -> NDArray[np.float64]:
        rows = np.arange(len(parts[0]))
        x = np.zeros((len(rows), len(self.mean)))
        start = 0
        for part, columns in self._pairs(parts):
            width = sum(len(column.feature_names) for column in columns)
            if isinstance(part, Strings):
                place = columns[0].places(part.values)[part.codes] if part.values else rows
                has = place >= 0
                if width:
                    x[rows[has], start + place[has]] = 1
            else:
                x[:, start : start + width] = part
            start += width
        missing = np.isnan(x)
        return np.where(missing, self.fill, x) if missing.any() else x

    def transform(self, parts: Sequence[Column]) -> NDArray[np.float64] | Coded:
        """Features (R, D) of some rows, standardised: what a model is trained on."""
        return self.standardise(self.encode(parts))

    def standardise(self, x: Features) -> Features:
        """Encoded features, standardised in place, in the steps that StandardScaler takes."""
        mean, scale, values = self.mean, self.scale, x  # type: Any, Any, Any
        if isinstance(x, Coded):
            starts, values = list(x.starts), x.values
            mean, scale = mean[starts], scale[starts]
        with np.errstate(over="ignore", invalid="ignore"):
            values -= mean
            values /= scale
        return x

    def unknown(self, parts: Sequence[Column]) -> Iterator[tuple[str, str, int]]:
        """(column, value, rows) for each string that no training row had."""
        for part, columns in self._pairs(parts):
            if isinstance(part, Strings) and columns[0].kind == "category" and part.values:
                known = {*columns[0].categories, ""} if not columns[0].shared else None
                for code, count in zip(*np.unique(part.codes, return_counts=True), strict=True):
                    value = part.values[code]
                    if known is not None and value not in known:
                        yield columns[0].name, value, int(count)

    def _pairs(
        self, parts: Sequence[Column]
    ) -> Iterator[tuple[Column, tuple[PreparedColumn, ...]]]:
        """Each part with its columns: several, where numbers come in one array."""
        place = 0
        for part in parts:
            number = 1
            if not isinstance(part, Strings):
                width = len(self.columns[place].feature_names)
                while width < part.shape[1]:
                    width += len(self.columns[place + number].feature_names)
                    number += 1
            yield part, self.columns[place : place + number]
            place += number


class PreparationLearner:
    """Learns a `Preparation`: `partial_fit` on each block of training rows, then `finish`.

    In blocks, means and deviations of numbers are those of StandardScaler's partial_fit, which adds
    up squares about the mean of each block: sums of squares would cancel, since a column of years
    has a mean a thousand times its deviation. Those of a column of 0 and 1 that holds k ones in n
    rows are k/n and √(k/n (1 − k/n)); filling gaps by the mean leaves it, and scales the variance
    by the share of the rows that have a value. A whole table is given to scikit-learn as it is.
    """

    def __init__(
        self,
        file: str,
        columns: Sequence[PreparedColumn],
        options: FileOptions,
        *,
        standardised: bool = True,
        in_blocks: bool = False,
    ):
        """`in_blocks`: whether there may be more than one, none of which is kept.

        Raises InputError for gaps that are to be filled by what only a whole table tells.
        """
        from sklearn.preprocessing import StandardScaler

        self._file, self._columns, self._impute = file, tuple(columns), options.impute
        if in_blocks and self._impute not in (None, "mean"):
            expected, found = "mean for a file that is streamed", repr(self._impute)
            raise InputError("impute", expected, found, "pass --impute mean")
        self._most, self._kept_as = options.max_categories, options.categories
        self._standardised, self._in_blocks = standardised, in_blocks
        self._scaler, self._varies = StandardScaler(), False
        self._first: list[Column] = []
        self._counts: dict[str, ValueCounts] = {}
        self._numbers: dict[str, ValueCounts] = {}
        self.rows = 0
        self.remarks: list[str] = []

    def partial_fit(self, parts: Sequence[Column]) -> None:
        """Learn from the next training rows, the parts of a `Block`."""
        if len(parts[0]) == 0:
            return
        if not self.rows:
            self._first = [part if not self._in_blocks else part[:1] for part in parts]
        self.rows += len(parts[0])
        numbers = [part.T for part in parts if isinstance(part, np.ndarray)]
        strings = [part for part in parts if isinstance(part, Strings)]
        named = [column for column in self._columns if column.kind == "category"]
        for column, part in zip(named, strings, strict=True):
            counts = self._counts.setdefault(
                column.name, ValueCounts(f"column {column.name!r} of {self._file}", "")
            )
            counts.partial_fit(part)
        first = [part.T for part in self._first if isinstance(part, np.ndarray)]
        for values, start in zip(numbers, first, strict=True):
            self._varies = self._varies or bool(np.any(values != start[:, :1]))
        # Transposed, columns of a table are copied as they lie in memory, and so are rows of .npy.
        if numbers and self._in_blocks:
            with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # a block without a value
                self._scaler.partial_fit(np.concatenate(numbers, dtype=np.float64).T)

    def finish(self) -> Preparation:
        """Raises InputError where no feature varies, and for an overflow."""
        columns = tuple(
            self._settled(column) if column.kind == "category" else column
            for column in self._columns
        )
        names = [name for column in columns for name in column.feature_names]
        self._varies |= any(len(counts.first) > 1 for counts in self._counts.values())
        if not self._varies or not names:
            constant = f"{len(names)} constant column{'s' if len(names) != 1 else ''}"
            found = f"{constant} in {self.rows:,} row{'s' if self.rows > 1 else ''}"
            found += "".join(f" ({remark})" for remark in self.remarks if not names)
            remedy = "add features that differ between examples"
            raise InputError(self._file, "a feature that varies", found, remedy)
        size = len(names)
        numeric = np.array([c.kind != "category" for c in columns for _ in c.feature_names], bool)
        codes = self._keeps_codes(int((~numeric).sum()))
        bare = Preparation(
            columns, np.zeros(size), np.zeros(size), np.ones(size), self._impute, codes
        )
        return (self._from_blocks if self._in_blocks else self._from_table)(bare, numeric)

    def _keeps_codes(self, values: int) -> bool:
        """Whether categories that have this number of values in all are kept as codes."""
        if self._kept_as == "auto" and values > MOST_COLUMNS:
            self.remarks.append(
                f"{values:,} categories: kept as codes, and not standardised (--categories)"
            )
            return True
        return self._kept_as == "codes" and values > 0

    def _settled(self, column: PreparedColumn) -> PreparedColumn:
        """A column of strings with its categories, by the rules of OneHotEncoder."""
        counts = self._counts[column.name]
        counts.check_numbers()
        values = sorted(counts.first)
        column = replace(column, categories=tuple(values))
        if self._impute == "most_frequent" and "" in counts.first and len(values) > 1:
            present = [value for value in values if value]
            fill = max(present, key=lambda value: counts.counts[value])  # the first of equals
            column = replace(column, categories=tuple(present), fill=fill)
        if not counts.like_an_id and len(values) <= self._most:
            return column
        most = f"column {column.name!r}: {len(values):,} different values in {self.rows:,} rows"
        if counts.too_many or max(counts.counts.values()) == 1:
            more = "more than " if counts.too_many else ""
            self.remarks.append(
                f"{most.replace(': ', f': {more}', 1)}, an id or a text? It is left out"
            )
            return replace(column, kind=LEFT_OUT, categories=())
        frequent = self._frequent(counts)
        kept = tuple(value for value in column.categories if value in frequent)
        shared = len(column.categories) - len(kept)
        if shared:
            self.remarks.append(
                f"{most}; the {shared:,} rarest share one feature (--max-categories, --drop)"
            )
        return replace(column, categories=kept, shared=shared > 0)

    def _frequent(self, counts: ValueCounts) -> set[str]:
        """The values that keep a feature of their own: what OneHotEncoder finds on the rows.

        Each of them in two rows or more, and at most `max_categories` with the one that is shared.
        """
        from sklearn.preprocessing import OneHotEncoder

        values = sorted(counts.counts)
        # numbers in the order of the values: sorting a million strings would take seconds
        rows = np.repeat(np.arange(len(values)), [counts.counts[value] for value in values])
        encoder = OneHotEncoder(
            min_frequency=2, max_categories=self._most, handle_unknown="infrequent_if_exist"
        ).fit(rows[:, None])
        rare = encoder.infrequent_categories_[0]
        return set(values) - {values[number] for number in (() if rare is None else rare)}

    def _from_table(self, bare: Preparation, numeric: NDArray[np.bool_]) -> Preparation:
        from sklearn.impute import SimpleImputer

        numbers = [part for part in self._first if isinstance(part, np.ndarray)]
        fill = bare.fill.copy()
        if numbers:
            table = np.concatenate(numbers, axis=1, dtype=np.float64)
            imputer = SimpleImputer(strategy=self._impute or "mean", keep_empty_features=True)
            with np.errstate(over="ignore", invalid="ignore"):
                fill[numeric] = imputer.fit(table).statistics_
            self._remark_on_numbers(bare, table)
        filled = replace(bare, fill=fill)
        scaled = numeric | (not bare.codes)
        if not self._standardised or not scaled.any():
            return filled
        x = filled.encode(self._first)
        names = tuple(np.array(bare.feature_names, object)[scaled])
        with np.errstate(over="ignore", invalid="ignore"):
            self._scaler.fit(x.values[:, x.numbers] if isinstance(x, Coded) else x)
        # The scale itself may look well: scikit-learn takes an infinite variance for a constant.
        check_no_overflow(names, self._scaler.mean_, self._scaler.var_)
        mean, scale = bare.mean.copy(), bare.scale.copy()
        mean[scaled], scale[scaled] = self._scaler.mean_, self._scaler.scale_
        return replace(filled, mean=mean, scale=scale)

    def _from_blocks(self, bare: Preparation, numeric: NDArray[np.bool_]) -> Preparation:
        mean, variance, scale = np.zeros((3, len(numeric)))
        if numeric.any():
            seen = np.broadcast_to(self._scaler.n_samples_seen_, numeric.sum())
            found = np.where(seen > 0, self._scaler.mean_, 0)
            mean[numeric] = found
            variance[numeric] = np.where(seen > 0, self._scaler.var_, 0) * (seen / self.rows)
            gaps = seen < self.rows
            deviation = np.sqrt(variance[numeric])
            scale[numeric] = np.where(
                gaps, np.where(deviation > 0, deviation, 1), self._scaler.scale_
            )
        scale[~numeric] = 1
        if not bare.codes:
            share = np.array(
                [
                    self._share(column, name)
                    for column in bare.columns
                    if column.kind == "category"
                    for name in [*column.categories, *([None] if column.shared else [])]
                ]
            )
            mean[~numeric], variance[~numeric] = share, share * (1 - share)
            scale[~numeric] = np.where(variance[~numeric] > 0, np.sqrt(variance[~numeric]), 1)
        check_no_overflow(bare.feature_names, mean, variance)
        filled = replace(bare, fill=np.where(numeric, mean, 0))
        return replace(filled, mean=mean, scale=scale) if self._standardised else filled

    def _share(self, column: PreparedColumn, category: str | None) -> float:
        """Of the rows, those with this category; None: with one that shares the last feature."""
        counts = self._counts[column.name].counts
        if category is None:
            own = {*column.categories, *([""] if column.fill else [])}
            return sum(count for value, count in counts.items() if value not in own) / self.rows
        gaps = counts.get("", 0) if category and column.fill == category else 0
        return (counts.get(category, 0) + gaps) / self.rows

    def _remark_on_numbers(self, bare: Preparation, table: np.ndarray) -> None:
        """Columns without a value, and one that counts the rows."""
        names = [
            (column, name)
            for column in bare.columns
            if column.kind not in ("category", LEFT_OUT)
            for name in column.feature_names
        ]
        for (column, name), values in zip(names, table.T, strict=True):
            if np.isnan(values).all():
                self.remarks.append(f"column {name!r} has no value: it says nothing (--drop)")
            elif column.kind == "number" and self.rows > 20 and _counts_rows(values):
                self.remarks.append(
                    f"column {name!r} has a different whole number in each row, one after the "
                    f"other: an id? --drop {name} leaves it out"
                )


def check_no_overflow(feature_names: Sequence[str], *arrays: np.ndarray) -> None:
    """Raise InputError unless every feature, along the last axis, is finite in all arrays."""
    finite = np.ones(len(feature_names), bool)
    for array in arrays:
        finite &= np.isfinite(array).reshape(-1, len(feature_names)).all(axis=0)
    if not finite.all():
        raise InputError(
            f"feature {feature_names[int(np.argmin(finite))]!r}",
            "values whose variance float64 can hold", "an overflow", "rescale that feature first",
        )  # fmt: skip


def _counts_rows(values: NDArray[np.float64]) -> bool:
    """Whether the values are distinct whole numbers with hardly a gap, as row numbers are."""
    if np.isnan(values).any() or np.any(values != np.floor(values)):
        return False
    span = values.max() - values.min() + 1
    return bool(span <= 2 * len(values) and len(np.unique(values)) == len(values))
