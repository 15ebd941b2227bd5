"""A stream says what `load` and `standardise` say, in bounded memory, and refuses what they do."""

import math
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from handgrad.data import FileOptions, load, standardise, table_file
from handgrad.data.preparation import PreparationLearner, PreparedColumn
from handgrad.errors import InputError
from handgrad.scale import streams
from handgrad.scale.streams import HeldOut, open_parts, open_stream

ROWS = 3_000
WRITERS = {".parquet": parquet.write_table, ".csv": csv.write_csv}


def mixed(rows=ROWS, seed=0):
    """Columns of every kind that `load` takes, a year among them, whose squares cancel."""
    rng = np.random.default_rng(seed)
    return pa.table({
        "year": rng.integers(2010, 2020, rows) + 0.5,
        "count": rng.integers(-5, 9, rows),
        "city": rng.choice(["Oslo", "Rome", "Ålesund"], rows),
        "same": np.full(rows, 3.7),
        "member": rng.random(rows) < 0.3,
        "label": rng.choice(["no", "yes"], rows),
        "size": rng.normal(size=rows),
    })  # fmt: skip


@pytest.fixture
def small_blocks(monkeypatch):
    """So that even a small file has many blocks, the last of them short."""
    monkeypatch.setattr(streams, "BLOCK_NUMBERS", 700)
    monkeypatch.setattr(table_file, "CSV_BLOCK", 4_096)


def written(path, table):
    WRITERS[path.suffix](table, path)
    return path


def refused(path, target="label", **options):
    with pytest.raises(InputError) as caught:
        open_stream(path, target, **options)
    return str(caught.value)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_stream_is_what_load_gives(tmp_path, small_blocks, suffix):
    """Encoded alike, to the bit; standardised alike, to the rounding of the mean."""
    file = written(tmp_path / f"table{suffix}", mixed())
    known = load(file, "label")
    plain = open_stream(file, "label", dtype="float64", standardised=False)
    assert plain.feature_names == known.feature_names
    assert plain.class_names == known.class_names
    assert (plain.examples, plain.features, plain.classes) == (ROWS, 8, 2)
    x, y = plain.rows(0, ROWS)
    np.testing.assert_array_equal(x, known.x)
    np.testing.assert_array_equal(y, known.y)
    (scaled,) = standardise(known)
    x = open_stream(file, "label", dtype="float64").rows(0, ROWS)[0]
    # scikit-learn's mean is a plain sum; ours is held to the exact one in the next test
    bound = 4 * ROWS * np.finfo(float).eps * (1 + np.abs(known.x).max(axis=0) / known.x.std(axis=0))
    assert (np.abs(x - scaled.x) <= np.where(known.x.std(axis=0) > 1e-9, bound, 1e-12)).all()


def test_moments_in_blocks_are_those_of_exact_sums():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5_000, 3)) * [1, 1e-3, 1e6] + [0, 2013, 1e8]
    columns = [PreparedColumn(name, "number") for name in "abc"]
    learner = PreparationLearner("made", columns, FileOptions(), in_blocks=True)
    for begin in range(0, 5_000, 333):
        learner.partial_fit([x[begin : begin + 333]])
    moments = learner.finish()
    for column in range(3):
        mean = math.fsum(x[:, column]) / 5_000
        variance = math.fsum((value - mean) ** 2 for value in x[:, column]) / 5_000
        assert abs(moments.mean[column] - mean) <= 4 * np.spacing(max(abs(mean), variance**0.5))
        assert abs(moments.scale[column] - variance**0.5) <= 1e-9 * variance**0.5


@pytest.mark.parametrize("row_group_size", [5_000, 100_000])
def test_a_parquet_file_is_never_held_whole(tmp_path, monkeypatch, row_group_size):
    monkeypatch.setattr(streams, "BLOCK_NUMBERS", 50_000)
    monkeypatch.setattr(table_file, "BUFFERS", 2**18)
    x = np.random.default_rng(0).normal(size=(30, 100_000)).astype("float32")
    table = pa.table({"label": x[0] > 0} | {str(i): column for i, column in enumerate(x)})
    path = tmp_path / "table.parquet"
    options = {"row_group_size": row_group_size, "data_page_size": 2**14, "use_dictionary": False}
    parquet.write_table(table, path, **options)
    del table
    pool = pa.default_memory_pool()  # what pyarrow reads with, whatever it is told
    before = pool.bytes_allocated()
    held = [pool.bytes_allocated() - before for _ in streams.TableSource(path, "label").blocks()]
    assert len(held) >= 20
    assert max(held) < path.stat().st_size / 3


def test_blocks_are_the_rows(tmp_path, monkeypatch):
    file = written(tmp_path / "table.parquet", mixed())
    stream = open_stream(file, "label")
    monkeypatch.setattr("handgrad.scale.streams.BLOCK_BYTES", 10_000)
    blocks = [(x.copy(), y.copy()) for x, y in stream.blocks()]
    assert len(blocks) == 10
    x, y = stream.rows(0, ROWS)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in blocks]), x)
    np.testing.assert_array_equal(np.concatenate([y for _, y in blocks]), y)
    assert not any("read-ahead" in thread.name for thread in threading.enumerate())
    sample, _ = stream.sample(160)
    assert sample.shape == (160, 8)
    assert {tuple(row) for row in sample} <= {tuple(row) for row in x}


def test_npy(tmp_path, small_blocks):
    """Its target is a column by number, −1 the last; the others keep their order."""
    rng = np.random.default_rng(0)
    table = np.c_[rng.normal(size=(500, 2)), rng.integers(0, 3, 500), rng.normal(size=500)]
    np.save(tmp_path / "table.npy", table)
    stream = open_stream(tmp_path / "table.npy", "2", dtype="float64", standardised=False)
    x, y = stream.rows(0, 500)
    np.testing.assert_array_equal(x, table[:, [0, 1, 3]])
    np.testing.assert_array_equal(y, table[:, 2].astype(int))
    assert stream.feature_names == ("0", "1", "3")
    assert stream.class_names == ("0", "1", "2")
    np.save(tmp_path / "soft.npy", np.c_[table[:, :2], rng.random(500)].astype(">f4"))
    soft = open_stream(tmp_path / "soft.npy", -1, standardised=False)
    assert soft.soft
    np.testing.assert_array_equal(soft.rows(7, 9)[0], table[7:9, :2].astype("float32"))


def test_parts(tmp_path, small_blocks):
    """Each row is in one part, whatever the blocks; both are scaled by the training part."""
    file = written(tmp_path / "table.csv", mixed())
    train, test = open_parts(file, "label", 0.2, seed=3, dtype="float64")
    held = HeldOut(0.2, 3).mask(0, ROWS)
    assert abs(held.mean() - 0.2) < 0.03
    np.testing.assert_array_equal(HeldOut(0.2, 3).mask(17, 100), held[17:117])
    assert (test.examples, train.examples) == (held.sum(), ROWS - held.sum())
    known = load(file, "label")
    x = known.x
    mean, scale = x[~held].mean(axis=0), x[~held].std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1)
    for part, rows in ((train, ~held), (test, held)):
        found, labels = part.rows(0, part.examples)
        np.testing.assert_allclose(found, (x[rows] - mean) / scale, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(labels, known.y[rows])
    message = "test_fraction: expected a number between 0 and 1, got 1.5"
    with pytest.raises(InputError, match=message):
        open_parts(file, "label", 1.5)


def test_csv_types_that_show_late(tmp_path, small_blocks):
    """Whole numbers for many blocks, then a fraction; nothing, then text: as `load` has them."""
    lines = [f"{n % 7},{'' if n < 900 else 'x'},{n % 2}" for n in range(1_000)]
    lines[950] = "0.5,x,1"
    file = tmp_path / "late.csv"
    file.write_text("a,b,label\n" + "\n".join(f"{n % 7},t,{n % 2}" for n in range(900)) + "\n"
                    + "\n".join(lines[900:]) + "\n")  # fmt: skip
    known = load(file, "label")
    stream = open_stream(file, "label", dtype="float64", standardised=False)
    assert stream.feature_names == known.feature_names == ("a", "b=t", "b=x")
    np.testing.assert_array_equal(stream.rows(0, 1_000)[0], known.x)


def test_ragged_row_in_a_late_block(tmp_path, small_blocks):
    file = tmp_path / "ragged.csv"
    file.write_text("a,b,label\n" + "1,2,0\n" * 5_000 + "1,2\n" + "1,2,1\n" * 10)
    message = refused(file)
    assert "ragged.csv: expected 3 values in every row, as in the header" in message
    assert "got 2 in row 5,002 of the file ('1,2')" in message


def test_a_quote_that_is_never_closed(tmp_path, small_blocks):
    file = tmp_path / "quote.csv"
    file.write_text("a,b,label\n" + "1,x,0\n" * 500 + '1,"x,0\n' + "1,x,0\n" * 2_000)
    assert "a quote that is never closed" in refused(file)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("bad", ["nan", "missing", "infinite"])
def test_a_bad_value_in_a_late_row_is_named(tmp_path, small_blocks, suffix, bad):
    values = [float(n % 5) for n in range(2_500)]
    values[2_345] = {"nan": math.nan, "missing": None, "infinite": math.inf}[bad]
    table = pa.table({"a": values, "label": [n % 2 for n in range(2_500)]})
    message = refused(written(tmp_path / f"late{suffix}", table))
    assert "column 'a' of late" in message
    assert "in row 2,346 of the data" in message


@pytest.mark.parametrize("where", [0, 1])
def test_a_bad_number_in_npy(tmp_path, small_blocks, where):
    table = np.tile([[1.0, 0.0], [2.0, 1.0]], (1_000, 1))
    table[1_789, where] = np.nan
    np.save(tmp_path / "late.npy", table)
    name = ("column 0 of late.npy", "target 1 of late.npy")[where]
    message = refused(tmp_path / "late.npy", "1")
    assert message.startswith(f"{name}: expected finite numbers")
    assert "the first nan in row 1,790 of the data" in message


class Boom:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_refused_without_being_read(tmp_path):
    trace = tmp_path / "it ran"
    np.save(tmp_path / "objects.npy", np.array([[Boom(trace), 1]], object), allow_pickle=True)
    assert "expected a table of plain numbers" in refused(tmp_path / "objects.npy", "1")
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Boom(trace)))
    assert "expected a readable npy file" in refused(tmp_path / "bare.npy", "1")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Boom(trace)))  # the trap works
    assert trace.exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 2), complex), "the dtype complex128"),
        (np.zeros(3, [("a", "f4"), ("b", "f4")]), "the dtype [('a', '<f4'), ('b', '<f4')]"),
        (np.zeros(5), "shape (5,)"),
        (np.zeros((0, 5)), "shape (0, 5)"),
        (np.zeros((5, 1)), "shape (5, 1)"),
        (np.asfortranarray(np.zeros((5, 3))), "column-major order"),
        (np.array([["a", "b"]]), "the dtype <U1"),
    ],
)
def test_npy_that_is_no_table(tmp_path, array, message):
    np.save(tmp_path / "odd.npy", array)
    assert message in refused(tmp_path / "odd.npy", "0")


def test_files_that_are_cut_short(tmp_path):
    np.save(tmp_path / "cut.npy", np.ones((100, 3)))
    whole = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-1])
    assert "the file is cut short" in refused(tmp_path / "cut.npy", "0")
    (tmp_path / "cut.npy").write_bytes(whole[:20])
    assert "expected a readable npy file" in refused(tmp_path / "cut.npy", "0")
    whole = written(tmp_path / "cut.parquet", mixed()).read_bytes()
    for end in (len(whole) - 9, len(whole) // 2, 3):
        (tmp_path / "cut.parquet").write_bytes(whole[:end])
        assert "expected a readable parquet file" in refused(tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes(whole[:4] + bytes(40) + whole[44:])
    assert "expected a readable parquet file" in refused(tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"")
    assert "an empty file" in refused(tmp_path / "cut.parquet")


@pytest.mark.parametrize("how", ["shorter", "other", "gone"])
@pytest.mark.parametrize("when", ["first pass", "second pass"])
def test_a_file_that_changes_meanwhile(tmp_path, small_blocks, monkeypatch, how, when):
    """A clear error, whenever it is: the rows of two states of a file are never mixed."""
    file = tmp_path / "table.npy"
    rng = np.random.default_rng(0)
    np.save(file, np.c_[rng.normal(size=(2_000, 3)), rng.integers(0, 2, 2_000)])

    def disturb():
        if how == "gone":
            file.unlink()
        elif how == "shorter":
            with file.open("r+b") as opened:
                opened.truncate(20_000)
        else:
            np.save(file, np.zeros((2_100, 4)))

    whose = PreparationLearner if when == "first pass" else streams.WorkingCopy
    name = "partial_fit" if when == "first pass" else "append"
    plain, calls = getattr(whose, name), []

    def step(self, *args):
        calls.append(1)
        if len(calls) == 2:
            disturb()
        return plain(self, *args)

    monkeypatch.setattr(whose, name, step)
    assert "a file that stays as it is while it is read" in refused(file, "3")
    assert len(calls) > 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("lable", "target: expected a column of table.parquet, got 'lable'"),
        (None, "target: expected the column of table.parquet to predict, got none"),
        (3, "target: expected the name of a column, got 3"),
        ("year", "target 'year' of table.parquet: expected labels in [0, 1], or whole numbers"),
        ("same", "target 'same' of table.parquet: expected labels in [0, 1]"),
    ],
)
def test_targets_that_cannot_be(tmp_path, target, message):
    assert message in refused(written(tmp_path / "table.parquet", mixed()), target)


def test_what_cannot_be_learned_from(tmp_path, small_blocks):
    ids = [f"id {n}" for n in range(2_000)]
    table = pa.table({"id": ids, "label": [n % 2 for n in range(2_000)]})
    assert "an id or a text?" in refused(written(tmp_path / "id.parquet", table))
    table = pa.table({"a": [1.0] * 2_000, "label": [n % 2 for n in range(2_000)]})
    assert "a feature that varies" in refused(written(tmp_path / "same.parquet", table))
    table = pa.table({"a": [float(n) for n in range(2_000)], "label": [1] * 2_000})
    assert "one class only, '1', in all 2,000 rows" in refused(written(tmp_path / "c.csv", table))
    table = pa.table({"a": [1e300, -1e300] * 50, "label": [0, 1] * 50})
    assert "feature 'a': expected values whose variance float64 can hold" in refused(
        written(tmp_path / "large.parquet", table)
    )
    assert "expected float32 or float64" in refused(tmp_path / "c.csv", dtype="float16")
    assert "expected the path of a file" in refused(7)
    assert "nothing at" in refused(tmp_path / "none.csv")
    assert ".npy file, got the suffix '.txt'" in refused(tmp_path / "none.txt")


def test_no_room_for_the_working_copy(tmp_path, monkeypatch):
    file = written(tmp_path / "table.parquet", mixed())
    assert "room for it in" in refused(file, folder=tmp_path / "nowhere")
    monkeypatch.setattr(streams.shutil, "disk_usage", lambda _: type("D", (), {"free": 9})())
    assert "the working copy: expected room for it in" in refused(file, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    """Though there seemed to be room at first."""
    file = written(tmp_path / "table.parquet", mixed())

    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(streams.tempfile, "TemporaryFile", lambda **_: Full())
    assert "got No space left on device; make room" in refused(file)


def test_nothing_is_left_behind(tmp_path):
    """Not even by a process that is killed: the working copy has no name."""
    file = written(tmp_path / "table.parquet", mixed())
    (tmp_path / "work").mkdir()
    with open_stream(file, "label", folder=tmp_path / "work") as stream:
        assert stream.rows(0, 1)[0].shape == (1, 8)
        assert list((tmp_path / "work").iterdir()) == []
    with pytest.raises(ValueError, match="closed file"):
        stream.rows(0, 1)


MEMORY = """
import sys
from pathlib import Path
from handgrad.gradients import logistic
from handgrad.scale.streams import open_stream
from handgrad.train import fit_stream

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

warm = fit_stream(logistic.model(), open_stream(sys.argv[1], "64"), batch_size=256, epochs=1)
before = peak()
stream = open_stream(sys.argv[2], "64")
for size in ("full", 256):
    fit_stream(logistic.model(), stream, batch_size=size, epochs=1)
print(stream.copy.bytes // 1024, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    """From 100 to 400 MB, the most that is resident grows by less than a quarter of that."""
    from benchmarks.streaming import write

    files = [tmp_path / f"{name}{suffix}" for name in ("small", "large")]
    for file, rows in zip(files, (400_000, 1_600_000), strict=True):
        write(file, rows)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *files], capture_output=True, text=True, check=True
    )
    size, grown = map(int, done.stdout.split())
    assert size > 400_000
    assert grown < 75_000


@pytest.mark.parametrize("target", [3, -4, "x", None, "²"])
def test_a_column_of_npy_that_is_not_there(tmp_path, target):
    np.save(tmp_path / "table.npy", np.ones((4, 3)))
    message = refused(tmp_path / "table.npy", target)
    assert "target: expected the number of a column of table.npy, 0..2" in message
    assert message.endswith("pass 2 for the last")


def test_a_label_of_npy_that_is_not_finite(tmp_path):
    """Where the target is the first column, nothing is left of it."""
    table = np.array([[0.0, 2.0], [np.inf, 1.0]])
    np.save(tmp_path / "table.npy", table)
    assert "target 0 of table.npy: expected finite numbers" in refused(tmp_path / "table.npy", 0)
    table[1, 0] = 1
    np.save(tmp_path / "table.npy", table)
    x, y = open_stream(tmp_path / "table.npy", 0).rows(0, 2)
    np.testing.assert_array_equal(x, [[1], [-1]])
    np.testing.assert_array_equal(y, [0, 1])


def test_what_a_text_file_cannot_be(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("a,label\n")
    assert "at least one row" in refused(file)
    file.write_bytes("town,label\nKöln,x\nBonn,y\n".encode("latin-1") * 9)
    assert "expected numbers, booleans, dates or strings, got binary" in refused(file)
    file.write_text("a,label\n" + "1,x\n" * 8 + '2,"y\n')
    assert "a value in row 9 of the data that runs to the end" in refused(file)


def test_parts_that_would_be_empty(tmp_path):
    file = written(tmp_path / "table.parquet", mixed(rows=8))
    with pytest.raises(InputError, match=r"leaves some of 8 examples in both parts, got 0\.001"):
        open_parts(file, "label", 0.001)


def test_a_sample_to_plot(tmp_path):
    with open_stream(written(tmp_path / "table.parquet", mixed(rows=40)), "label") as stream:
        assert repr(stream) == "Stream('table': 40 examples, 8 features, 2 classes)"
        shown = stream.shown(1_000)
    assert (shown.examples, shown.x.dtype) == (40, np.float64)
    assert shown.source.startswith("A sample. Read from table.parquet")
