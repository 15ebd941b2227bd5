"""Files kept on the disk: the same tables as for `load`, and .npy files with spoiled headers."""

import io

import numpy as np
import pyarrow
from hypothesis import strategies as st
from pyarrow import parquet

from fuzz.harness import campaign
from fuzz.strategies import ODD, converted
from fuzz.test_data_files import (
    GOOD_CSV,
    GOOD_TABLE,
    PATHS,
    THINGS,
    csv_bytes,
    made,
    parquet_tables,
)
from handgrad.scale.streams import open_stream

HEADERS = st.sampled_from([
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 3), }" % 10**30,
    b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 3), }", b"{'descr': '<f8'}", b"((((", b"'''", b"{",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }", b"[" * 9000, b"__import__('os')", b"\xff",
    b"{'descr': '<f8', 'fortran_order': True, 'shape': (12, 3), }", b"{'descr': [('a', '<f8')], 'shape': 3}",
    b"{'descr': '<f8', 'fortran_order': 3, 'shape': (12L, 3L), }", b"{1: 2}", b"1", b"\n\x00", b"-" * 5000,
    b"{'descr': ('<f8', (3,)), 'fortran_order': False, 'shape': (12,), }", b"  x\n y", b"{'a': 10**9**9}",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (12, 3.0), }", b"{[]: 1}", b"{'shape': (True, 3)}",
])  # fmt: skip


def saved(table):
    content = io.BytesIO()
    np.save(content, table, allow_pickle=True)
    return content.getvalue()


VALUES = np.arange(36.0).reshape(12, 3)
VALUES[:, 2] = np.arange(12) // 3 % 2
GOOD_NPY = saved(VALUES)


@st.composite
def npy_bytes(draw):
    """A table as .npy, most often spoiled: in its type, its header, its values or its length."""
    if draw(st.integers(0, 3)) == 0:
        header = draw(HEADERS)
        version = draw(st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"]))
        size = len(header).to_bytes(2 if version[0] == 1 else 4, "little")
        return b"\x93NUMPY" + version + size + header + bytes(draw(st.sampled_from([0, 8, 288])))
    dtype = draw(st.sampled_from(["f4", "f8", ">f8", "f2", "i4", "u1", "bool", *ODD]))
    with np.errstate(all="ignore"):
        table = converted(VALUES, dtype)
    if draw(st.integers(0, 3)) == 0:
        table = draw(
            st.sampled_from(
                [table[:0], table[:, :1], table.ravel(), table.T, table[None], table[:1]]
            )
        )
    elif draw(st.booleans()) and np.dtype(table.dtype).kind == "f":
        table[draw(st.integers(0, 11)), 0] = draw(
            st.sampled_from([np.nan, np.inf, 6e4, 1e-7, -0.0])
        )
    content = bytearray(saved(table))
    harm = draw(st.sampled_from(["none", "none", "none", "cut", "flip"]))
    place = draw(st.integers(0, len(content) - 1))
    if harm == "flip":
        content[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(content[:place]) if harm == "cut" else bytes(content)


def opened(path, target, content, folder):
    """Open it and go; the file is as before."""
    try:
        open_stream(path, target, folder=folder)
    finally:
        assert path.read_bytes() == content


@campaign("open_stream: .npy", 600, 25)
def test_npy(draw, outcomes, folder):
    content, path = draw.or_sound(GOOD_NPY, npy_bytes()), folder / "t.npy"
    path.write_bytes(content)
    odd = ["2", -1, "2", 3, "-9", None, "x", "", "1e0", "²", 10**30, 1.5]
    target = draw.or_sound(2, st.sampled_from(odd))
    outcomes.hold(lambda: opened(path, target, content, folder), target, content)


@campaign("open_stream: CSV", 500, 20)
def test_csv(draw, outcomes, folder):
    content, path = draw.or_sound(GOOD_CSV, csv_bytes()), folder / "t.csv"
    path.write_bytes(content)
    outcomes.hold(lambda: opened(path, "label", content, folder), content)


@campaign("open_stream: Parquet, paths", 400, 15)
def test_parquet(draw, outcomes, folder):
    path = folder / "t.parquet"
    if not draw.sound and draw(st.integers(0, 2)) == 0:
        path = (
            made(folder, draw(st.sampled_from(THINGS)), ".npy")
            if draw(st.booleans())
            else draw(PATHS)
        )
        outcomes.hold(lambda: open_stream(path, "label", folder=folder), str(path))
        return
    try:
        parquet.write_table(draw.or_sound(GOOD_TABLE, parquet_tables()), path)
    except (pyarrow.ArrowException, ValueError, KeyError):
        return
    content = bytearray(path.read_bytes())
    if not draw.sound and draw(st.booleans()):
        content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
        path.write_bytes(content)
    outcomes.hold(lambda: opened(path, "label", bytes(content), folder), bytes(content)[-60:])
