"""Numbers as a person reads them: small arrays whole, large ones by shape, range and corners."""

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

WHOLE = 12
"""Up to this many entries an array is shown whole."""
CORNER = 3
NODE = 20
"""Letters of a value that a node of the graph has room for."""
LONG = 4
"""Entries on a line of a vector that is shown whole."""


@dataclass(frozen=True)
class Summary:
    """What is shown of an array: entries in rows of text, and the extremes if not all are shown."""

    shape: tuple[int, ...]
    dtype: str
    rows: tuple[tuple[str, ...], ...]
    """All entries if `whole`, else the corner of the first matrix, with … for what is left out."""
    whole: bool = False
    low: float = math.nan
    high: float = math.nan
    mean: float | None = None
    """None for what has no order: random keys, complex numbers, nothing at all."""

    @property
    def kind(self) -> str:
        """`float64[12, 3]`."""
        return f"{self.dtype}{list(self.shape) if self.shape else ''}"

    @property
    def text(self) -> str:
        """One line, short enough for a node of the graph."""
        if not self.shape:
            return self.rows[0][0]
        if self.mean is None:
            return self.kind
        if self.whole and len(self.rows) == 1 and len(self.rows[0]) <= CORNER:
            return f"[{', '.join(self.rows[0])}]"
        if self.dtype == "bool":
            size = math.prod(self.shape)
            return f"{round(self.mean * size)} of {size} true"
        if self.low == self.high:
            return f"all {format_number(self.low)}"
        return f"{format_number(self.low, 3)} … {format_number(self.high, 3)}"


def as_numpy(array: Any) -> np.ndarray | None:
    """An array as NumPy's, small floats widened; None for what holds no numbers (random keys)."""
    dtype = getattr(array, "dtype", np.dtype(float))
    if array is None or jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
        return None
    found = np.asarray(array)
    if found.dtype.kind not in "biufc":  # bfloat16 and its like
        found = found.astype(np.float64)
    return found


def is_float(array: Any) -> bool:
    """Whether an array (or the type of one), or a Python number, holds real numbers."""
    dtype = getattr(array, "dtype", None)
    real = dtype is not None and bool(jax.numpy.issubdtype(dtype, np.floating))
    return real or isinstance(array, float)


def summarise(array: Any, digits: int = 5) -> Summary:
    """The summary of an array of any size, dtype and rank."""
    found = as_numpy(array)
    if found is None:
        return Summary(tuple(np.shape(array)), "key", (("random key",),))
    dtype, shape = str(array.dtype if hasattr(array, "dtype") else found.dtype), found.shape
    if found.size == 0:
        return Summary(shape, dtype, ((),), True)
    if found.dtype.kind == "c":
        return Summary(shape, dtype, (("complex",),))
    real = found.astype(np.float64)
    with np.errstate(all="ignore"):
        extremes = (float(real.min()), float(real.max()), float(real.mean()))
    whole = found.size <= WHOLE
    matrix = found.reshape(-1, found.shape[-1]) if found.ndim else found.reshape(1, 1)
    if whole and found.ndim == 1:
        entries = [format_number(x, digits) for x in found.tolist()]
        if len(entries) > LONG:
            entries += [""] * (-len(entries) % LONG)
        rows = [tuple(entries[i : i + LONG]) for i in range(0, len(entries), LONG)]
    elif whole:
        rows = [tuple(format_number(x, digits) for x in row) for row in matrix.tolist()]
    elif len(matrix) <= 4:
        rows = [_ends(row, digits) for row in matrix]
    else:
        rows = [_ends(row, digits) for row in (*matrix[:CORNER], matrix[-1])]
        rows.insert(CORNER, ("⋮",) * len(rows[0]))
    return Summary(shape, dtype, tuple(rows), whole, *extremes)


def _ends(row: np.ndarray, digits: int) -> tuple[str, ...]:
    long = len(row) > CORNER + 2
    cells = [format_number(x, digits) for x in (row[[0, 1, 2, -1]] if long else row).tolist()]
    return (*cells[:CORNER], *(["…"] if long else []), *cells[CORNER:])


def fitted(array: Any) -> str:
    """A value as long as a node is wide: fewer digits for a short vector, or its range."""
    for digits in (5, 3, 2):
        text = summarise(array, digits).text
        if len(text) <= NODE:
            return text
    return replace(summarise(array), whole=False).text


def format_number(value: Any, digits: int = 5) -> str:
    """A number to a few significant digits, with a real minus sign; booleans and integers whole.

    >>> format_number(-0.25), format_number(1.5e-9), format_number(float("nan"))
    ('−0.25', '1.5e−9', 'nan')
    """
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value)).replace("-", "−")
    if not math.isfinite(value):
        return str(float(value)).replace("inf", "∞").replace("-", "−")
    text = f"{float(value):.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def format_array(of: Any) -> str:
    """An array, or its summary, on one line with its dtype and shape, unless it is one number."""
    summary = of if isinstance(of, Summary) else summarise(of)
    return f"{summary.kind} {summary.text}" if summary.shape else summary.text


def format_range(summary: Summary) -> str:
    """`from −1.2 to 3.4, mean 0.5` for an array that is not shown whole."""
    if summary.whole or summary.mean is None:
        return ""
    low, high, mean = (format_number(x) for x in (summary.low, summary.high, summary.mean))
    return f"from {low} to {high}, mean {mean}"


def format_block(summary: Summary) -> str:
    """The entries that are shown, in columns."""
    if not summary.shape:
        return summary.rows[0][0]
    widths = [max(map(len, column)) for column in zip(*summary.rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in summary.rows
    ]
    if len(summary.shape) == 1:
        return "[" + "\n ".join(lines) + "]"
    return "\n".join(f"[{line}]" for line in lines)
