"""A table of 1,000,000 rows with a category of 10,000 values: it trains, streams and predicts.

Its columns of 0 and 1 would be 80 GB. Kept as codes it is trained on in memory and from the disk,
to the optimum and by descent, and the file is predicted by the saved model. Each is done by a
process of its own, which tells the most memory it ever had resident, imports and compiling
included. Both optima are held equal first, and each sees the better part of what can be seen.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import handgrad as hg
from benchmarks.streaming import peak, say
from handgrad._precision import x64
from handgrad.bench import Bar, Report
from handgrad.data import FileOptions
from handgrad.fast import newton
from handgrad.gradients import logistic
from handgrad.scale.streams import workplace
from handgrad.train.saved import ModelSettings, SavedModel

TITLE = "a category of 10,000 values"
ROWS, QUICK_ROWS = 1_000_000, 20_000
CATEGORIES, QUICK_CATEGORIES = 10_000, 1_500
NUMBERS = 6
L2 = 1e-6
RESIDENT = 2.0
"""The bar, in GB: at most."""
OPTIONS = FileOptions(max_categories=CATEGORIES, categories="codes")


def run(quick: bool = False) -> Iterator[Report]:
    """A report of the table in a Parquet file."""
    rows, categories = (QUICK_ROWS, QUICK_CATEGORIES) if quick else (ROWS, CATEGORIES)
    with tempfile.TemporaryDirectory(dir=workplace(None)) as folder:
        file = Path(folder) / "table.parquet"
        best = write(file, rows, categories)
        found = {name: ask(name, file) for name in TASKS}
        features = found["newton, in memory"]["features"]
        table = [
            {
                "name": name,
                "seconds": told["seconds"],
                "reading_it": f"{told['reading']:.1f} s",
                "accuracy": f"{told['accuracy']:.2%}",
                "resident": f"{told['peak'] / 1e6:,.0f} MB",
            }
            for name, told in found.items()
        ]
        losses = [told["loss"] for name, told in found.items() if name.startswith("newton")]
        assert abs(losses[0] - losses[1]) < 1e-6, f"optima {losses}"
        for name, told in found.items():
            assert told["accuracy"] > 0.5 + 0.7 * (best - 0.5), f"{name}: {told['accuracy']}"
        bars = [
            Bar(f"GB resident, {name}", RESIDENT, told["peak"] / 1e9, at_most=True)
            for name, told in found.items()
        ]
        size = file.stat().st_size / 1e6
    columns = 8e-9 * rows * features
    title = f"{rows:,} rows, {categories:,} categories: {features:,} features"
    note = (
        f"a Parquet file of {size:,.0f} MB; as columns in float64 it would be {columns:,.1f} GB. "
        f"The rule that drew the labels is right on {best:.2%}"
    )
    yield Report("categories", title, table, bars, [note])


def write(file: Path, rows: int, categories: int) -> float:
    """Numbers, a weekday, and a shop: few of them frequent, most rare. Gives the best accuracy."""
    import pyarrow
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    share = 1 / (np.arange(categories) + 10.0)
    shop = rng.choice(categories, rows, p=share / share.sum())
    shop[: 2 * categories] = np.tile(np.arange(categories), 2)  # each in two rows at least
    day = rng.integers(0, 7, rows)
    x = rng.normal(size=(rows, NUMBERS))
    z = x @ rng.normal(size=NUMBERS) / 2 + rng.normal(size=categories)[shop] + (day > 4)
    y = rng.random(rows) < 1 / (1 + np.exp(-z))
    shops = pyarrow.array([f"shop {number:05}" for number in range(categories)])
    days = pyarrow.array(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
    table = pyarrow.table(
        {
            **{f"x{number}": column for number, column in enumerate(x.T)},
            "shop": shops.take(pyarrow.array(shop)),
            "day": days.take(pyarrow.array(day)),
            "y": y,
        }
    )
    parquet.write_table(table, file)
    return float(np.mean((z > 0) == y))


# --- in a process of its own ----------------------------------------------------------------------


def in_memory(file: Path) -> dict[str, Any]:
    """To the optimum on the rows in memory."""
    began = time.perf_counter()
    data = hg.standardise(hg.load(file, "y", OPTIONS))[0]
    reading = time.perf_counter() - began
    found = newton.fit(None, data.x, data.y, L2, tol=1e-7)
    with x64():
        accuracy = hg.accuracy(logistic.model(), found.params, data.x, data.y)
    features = data.features
    return {
        "loss": found.loss, "accuracy": accuracy, "reading": reading, "features": features,
    }  # fmt: skip


def descended(file: Path) -> dict[str, Any]:
    """By adam on the rows in memory, in batches of 1,024."""
    began = time.perf_counter()
    data = hg.standardise(hg.load(file, "y", OPTIONS))[0]
    reading = time.perf_counter() - began
    x = data.x.astype("float32")
    found = hg.fit(
        logistic.model(L2), x, data.y, optimizer="adam", learning_rate=0.02, batch_size=1_024,
        epochs=4,
    )  # fmt: skip
    accuracy = hg.accuracy(logistic.model(), found.params, x, data.y)
    return {"loss": found.loss, "accuracy": accuracy, "reading": reading}


def streamed(file: Path) -> dict[str, Any]:
    """To the optimum on the rows on disk."""
    with hg.open_stream(file, "y", dtype="float64", options=OPTIONS) as stream:
        found = hg.newton_stream(stream, L2, tol=1e-7)
        with x64():
            accuracy = stream_accuracy(found.params, stream)
        return {"loss": found.loss, "accuracy": accuracy, "reading": stream.prepared_in}


def streamed_descent(file: Path) -> dict[str, Any]:
    """By adam on the rows on disk; the model is saved beside the file."""
    with hg.open_stream(file, "y", options=OPTIONS) as stream:
        found = hg.fit_stream(
            logistic.model(L2), stream, optimizer="adam", learning_rate=0.02, batch_size=1_024,
            epochs=4,
        )  # fmt: skip
        model = SavedModel(
            ModelSettings("logistic", L2), found.params, stream.class_names, stream.preparation,
            OPTIONS, {"target": "y"},
        )  # fmt: skip
        model.save(file.with_suffix(".npz"))
        accuracy = stream_accuracy(found.params, stream)
        return {"loss": found.loss, "accuracy": accuracy, "reading": stream.prepared_in}


def predicted(file: Path) -> dict[str, Any]:
    """All rows of the file by the saved model, in blocks."""
    from pyarrow import parquet

    model = hg.load_model(file.with_suffix(".npz"))
    with parquet.ParquetFile(file) as table:
        y = table.read(columns=["y"])["y"].to_numpy()
    p = np.concatenate([p[:, 1] for p, _ in model.predict_file(file)])
    losses = -np.log(np.where(y, p, 1 - p))
    return {"loss": float(losses.mean()), "accuracy": float(np.mean((p > 0.5) == y)), "reading": 0}


def stream_accuracy(params: Any, stream: hg.Stream) -> float:
    """The share of right answers over all rows."""
    from handgrad.train.streaming import stream_accuracy as accuracy

    return accuracy(logistic.model(), params, stream)


TASKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "newton, in memory": in_memory,
    "adam, in memory": descended,
    "newton, streamed": streamed,
    "adam, streamed": streamed_descent,
    "predict the file": predicted,
}


def ask(name: str, file: Path) -> dict[str, Any]:
    """What a process says that does this task."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.categories", name, str(file)],
        stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    return json.loads(done.stdout)


if __name__ == "__main__":
    began = time.perf_counter()
    told = TASKS[sys.argv[1]](Path(sys.argv[2]))
    say(**told, seconds=time.perf_counter() - began, peak=peak())
