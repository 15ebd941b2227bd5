"""A file larger than the memory allowed: streamed from the disk, beside the same rows in memory.

Two child processes take turns, round after round: one opens the file with `open_stream` and trains
with `fit_stream`; the other has the very same rows in an array and trains with `fit`. Each tells
how many rows a second its steps took and the most memory it ever had resident (VmHWM, set back
before each run). Of the rounds the fastest of each side counts: whatever else the machine does
can only slow it down. What they learnt without shuffling is held equal first.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from handgrad.bench import Bar, Report
from handgrad.scale.streams import Stream, aligned, check_room, open_stream, workplace

TITLE = "a file larger than memory"
FEATURES = 64
BYTES, QUICK_BYTES = 5 * 10**9, 2 * 10**7
ROUNDS = 2
RESIDENT, SHARE = 1e9, 0.7
"""The bars: bytes at most, and of the throughput in memory at least."""
MODES: dict[str, tuple[Any, int]] = {
    "full batch": ("full", 5),
    "batches of 1,024": (1024, 1),
    "batches of 32": (32, 1),
    "per example": (1, 1),
}
"""What is trained: the batch size, and the epochs."""


def run(quick: bool = False) -> Iterator[Report]:
    """A report for a .npy file and one for a Parquet file of 5 GB."""
    size = QUICK_BYTES if quick else BYTES
    rows = size // (4 * (FEATURES + 1))
    check_room(workplace(None), 3 * size)
    for suffix in (".npy", ".parquet"):
        with tempfile.TemporaryDirectory(dir=workplace(None)) as folder:
            file = Path(folder) / f"rows{suffix}"
            write(file, rows)
            yield one(file, rows, ROUNDS)


def one(file: Path, rows: int, rounds: int) -> Report:
    """Both sides in turn, all modes."""
    streamed, in_memory = Child("stream", file), Child("memory", file)
    try:
        opened, held = streamed.answer(), in_memory.answer()
        apart = np.subtract(streamed.ask("check")["weights"], in_memory.ask("check")["weights"])
        assert np.abs(apart).max() < 1e-5, f"{np.abs(apart).max()} apart"
        disk = streamed.ask("read")
        table, bars = [], []
        for mode in MODES:
            both = [(streamed.ask(mode), in_memory.ask(mode)) for _ in range(rounds)]
            speeds = np.array([[answer["rows_per_second"] for answer in pair] for pair in both])
            streamed_speed, memory_speed = speeds.max(axis=0)
            share = streamed_speed / memory_speed
            peak = max(one["peak"] for one, _ in both)
            table.append({
                "name": mode,
                "streamed_rows_per_s": f"{streamed_speed:,.0f}",
                "in_memory_rows_per_s": f"{memory_speed:,.0f}",
                "share": f"{share:.2f}",
                "best_of": rounds,
                "resident": f"{peak / 1e6:,.0f} MB",
                "resident_in_memory": f"{max(b['peak'] for _, b in both) / 1e6:,.0f} MB",
            })  # fmt: skip
            bars.append(Bar(f"of the throughput in memory, {mode}", SHARE, float(share)))
            bars.append(Bar(f"GB resident, {mode}", RESIDENT / 1e9, peak / 1e9, at_most=True))
    finally:
        streamed.close()
        in_memory.close()
    bars.append(Bar("GB resident, opening", RESIDENT / 1e9, opened["peak"] / 1e9, at_most=True))
    return Report(
        "streaming",
        f"{file.suffix} of {file.stat().st_size / 1e9:.2f} GB: {rows:,} rows × {FEATURES} float32",
        table,
        bars,
        [
            f"opened (learnt, encoded, written) in {opened['seconds']:.1f} s, "
            f"{opened['peak'] / 1e6:,.0f} MB resident; the same rows into memory, with that, in "
            f"{held['seconds']:.1f} s",
            f"blocks read ahead and not used: {disk['cached'] / 1e9:.1f} GB/s where the system has "
            f"them in its cache, {disk['disk'] / 1e9:.1f} GB/s from the disk",
        ],
    )


class Child:
    """A process that holds the rows, and answers what it is asked in lines of JSON."""

    def __init__(self, side: str, file: Path):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.streaming", side, str(file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[1],
        )  # fmt: skip

    def ask(self, what: str) -> dict[str, Any]:
        """What it says to that."""
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line. Raises RuntimeError if the process is gone."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the child left with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """Let it go."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(60)


def write(file: Path, rows: int) -> None:
    """Features ~ N(2, 3²), labels by a plane with noise; the label is column 64."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=FEATURES).astype(np.float32)

    def part(count: int) -> np.ndarray:
        table = np.empty((count, FEATURES + 1), np.float32)
        x = rng.standard_normal((count, FEATURES), np.float32)
        table[:, -1] = x @ weight + 4 * rng.standard_normal(count, np.float32) > 0
        table[:, :-1] = 3 * x + 2
        return table

    counts = [min(2**18, rows - begin) for begin in range(0, rows, 2**18)]
    if file.suffix == ".npy":
        with file.open("wb") as out:
            shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, FEATURES + 1)}
            np.lib.format.write_array_header_1_0(out, shape)
            for count in counts:
                part(count).tofile(out)
        return
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(str(number), pyarrow.float32()) for number in range(FEATURES + 1)])
    with parquet.ParquetWriter(file, schema, use_dictionary=False) as writer:
        for count in counts:
            columns = [pyarrow.array(column) for column in part(count).T.copy()]
            writer.write_table(pyarrow.table(columns, schema=schema))


def side(which: str, file: str) -> None:
    """What a child does: open the rows, then answer until there are no more questions."""
    began = time.perf_counter()
    stream = open_stream(file, str(FEATURES))
    rows: Any = stream
    if which == "memory":
        arrays = (
            aligned((stream.examples, FEATURES), np.dtype("float32")),
            aligned((stream.examples,), np.dtype("int32")),
        )
        stream.copy.read(0, *arrays)
        rows = [jax.device_put(array, may_alias=True) for array in arrays]  # not copied again
        stream.close()
    say(seconds=time.perf_counter() - began, peak=peak())
    for line in sys.stdin:
        question = line.strip()
        if question == "check":
            result = train(rows, 4_096, 1, shuffle=False)
            say(weights=result.params.weight.tolist())
        elif question == "read":
            say(cached=read(stream, drop=False), disk=read(stream, drop=True))
        else:
            size, epochs = MODES[question]
            start_anew()
            result = train(rows, size, epochs)
            seen = len(result.history.batch_losses) * (stream.examples if size == "full" else size)
            say(rows_per_second=seen / result.history.seconds, peak=peak())


def train(rows: Any, size: Any, epochs: int, **run: Any) -> Any:
    """Logistic regression on either side."""
    from handgrad.gradients import logistic
    from handgrad.train import fit, fit_stream

    run |= {"batch_size": size, "epochs": epochs, "learning_rate": 0.01}
    if isinstance(rows, Stream):
        return fit_stream(logistic.model(), rows, **run)
    return fit(logistic.model(), *rows, **run)


def read(stream: Stream, drop: bool) -> float:
    """Bytes a second of all blocks, read ahead and not used; from the disk if `drop`."""
    if drop:
        stream.copy.forget()
    began = time.perf_counter()
    for _ in stream.blocks():
        pass
    return stream.copy.bytes / (time.perf_counter() - began)


def peak() -> int:
    """The most bytes that were resident since `start_anew`, or ever where that cannot be known."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def start_anew() -> None:
    """Set the high-water mark back to what is resident now, where the system can."""
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def say(**what: Any) -> None:
    """Answer with a line of JSON."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    side(*sys.argv[1:])
