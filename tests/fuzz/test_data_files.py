"""Files given to `load`: tables of every sort, and what only looks like one."""

import os

import pyarrow
from hypothesis import strategies as st
from pyarrow import parquet

from fuzz.harness import campaign
from handgrad.data import FileOptions, load

WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from([
        "", "a", "1", "0", "-1", "nan", "NaN", "inf", "-inf", "1e999", "1e-999", "99999999999999999999",
        "true", "False", "NULL", "n/a", "2020-01-01", "12:30", "0x1p3", "1_000", "1,5", " 1 ", "\t",
        '"', '""', "'", '"a', 'a"b', "\x00", "\r", "\x1b[31m", "é", "赤", "\u202e", "\ufeff",
        "=cmd()", "<script>", "$x", "x" * 300, "🙂",
    ]),
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(["a", "b", "a", "label", " ", "", "é", "a\nb", "$x_"]), WORDS)
NUMBERS = st.sampled_from(["0", "1", "2.5", "-3", "1e3", "1e300", "5e-324"])
EDGES = st.sampled_from(
    [b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\n\n", b"\x1a", b"\xc3", b","]
)


@st.composite
def csv_bytes(draw):
    """A small table as CSV text, spoiled more often than not."""
    columns, rows = draw(st.integers(1, 4)), draw(st.integers(0, 8))
    if draw(st.booleans()):  # nothing wrong so far
        columns, rows, kinds = 2, 6, [NUMBERS, st.sampled_from("uv")]
        names = [draw(st.sampled_from(["a", "é", "$x_", "<b>", "a b"])), "label"]
    else:
        names = [draw(NAMES) for _ in range(columns - 1)] + ["label"]
        kinds = [draw(st.sampled_from([NUMBERS, NUMBERS, WORDS])) for _ in names]
    lines = [names] + [[draw(kind) for kind in kinds] for _ in range(rows)]
    separator = draw(st.sampled_from([","] * 6 + [";", "\t"]))
    if draw(st.booleans()):
        lines = [
            [f'"{cell}"' if set(cell) & set('",\n\r') else cell for cell in line] for line in lines
        ]
    newline = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    text = newline.join(separator.join(line) for line in lines) + draw(
        st.sampled_from([newline, ""])
    )
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "latin-1", "utf-32"]))
    content = text.encode(encoding, "replace")
    harm = draw(st.sampled_from(["none", "none", "cut", "edge"]))
    place = draw(st.integers(0, len(content)))
    if harm == "edge":
        return content[:place] + draw(EDGES) + content[place:]
    return content[:place] if harm == "cut" else content


GOOD_CSV = b"a,s,label\n" + b"1,x,u\n2.5,y,v\n" * 6
GOOD_TABLE = pyarrow.table({"a": [0, 1, 2] * 4, "s": ["x", "y"] * 6, "label": ["u", "v"] * 6})
TYPES = (
    pyarrow.int8(), pyarrow.int64(), pyarrow.uint64(), pyarrow.float16(), pyarrow.float32(),
    pyarrow.float64(), pyarrow.bool_(), pyarrow.string(), pyarrow.large_string(), pyarrow.binary(),
    pyarrow.string_view(), pyarrow.date32(), pyarrow.timestamp("ns"), pyarrow.time64("us"),
    pyarrow.duration("s"), pyarrow.decimal128(38, 10), pyarrow.decimal256(76, 0), pyarrow.null(),
    pyarrow.list_(pyarrow.int32()), pyarrow.struct([("x", pyarrow.int32())]),
    pyarrow.map_(pyarrow.string(), pyarrow.int32()), pyarrow.binary(4),
    pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    pyarrow.dictionary(pyarrow.int32(), pyarrow.float64()), pyarrow.list_(pyarrow.float32(), 2),
)  # fmt: skip
LABELS = (*[["u", "v"] * 6] * 9, [0, 1] * 6, [True, False] * 6, [0.25, 0.75] * 6, [0] * 12, [None, 1] * 6,
          list(range(12)), [float("nan"), 1.0] * 6, [-1, 2**60] * 6, ["", "v"] * 6)  # fmt: skip
CELLS = (0, 1, 2, None, 2**62, -(2**63), 1.5, float("nan"), float("inf"), 1e300, "a", "é", "", b"\xff",
         True, [1, 2], {"x": 1}, [("k", 1)])  # fmt: skip


@st.composite
def parquet_tables(draw):
    """A table of 12 rows with columns of any type."""
    if draw(st.integers(0, 2)) == 0:  # nothing wrong so far
        kind = draw(st.sampled_from(["int8", "int64", "float", "double", "decimal128(30, 2)"]))
        kind = pyarrow.decimal128(30, 2) if kind.startswith("dec") else pyarrow.type_for_alias(kind)
        names = [draw(st.sampled_from(["a", "é", "$x_", "<b>", "a b"])), "s", "label"]
        numbers = pyarrow.array([0, 1, 2] * 4).cast(kind)
        return pyarrow.table([numbers, ["x", "y"] * 6, draw(st.sampled_from(LABELS))], names=names)
    names, columns = [], []
    for _ in range(draw(st.integers(0, 3))):
        cells = [draw(st.sampled_from(CELLS)) for _ in range(draw(st.integers(1, 3)))]
        kind = draw(st.sampled_from(TYPES))
        if draw(st.booleans()):
            cells, kind = (
                draw(
                    st.sampled_from([([0, 1, 2], pyarrow.int8()), (["a", "b"], pyarrow.string())])
                ),
                None,
            )
        try:
            column = pyarrow.array((cells * 12)[:12], from_pandas=False)
            if kind is not None:
                column = (
                    column.cast(kind) if draw(st.booleans()) else pyarrow.array([None] * 12, kind)
                )
        except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
            column = pyarrow.array([None, 1.0] * 6)
        columns.append(column)
        names.append(draw(NAMES))
    columns.append(pyarrow.array(draw(st.sampled_from(LABELS))))
    table = pyarrow.table(columns, names=[*names, "label"])
    return table.slice(0, draw(st.sampled_from([0, 1, 12, 12, 12])))


OPTIONS = st.fixed_dictionaries({}, optional={
    "delimiter": st.sampled_from([",", ";", "\t", "x", "", ";;", "\x00", "é"]),
    "decimal": st.sampled_from([".", ",", ";", ""]),
    "encoding": st.sampled_from(["utf-8", "cp1252", "utf-16", "utf-32", "rot13", "", "base64", "\x00"]),
    "header": st.booleans(),
    "na": st.lists(st.sampled_from(["?", "", "-999", "1", "x", "nan", "1e999"]), max_size=3).map(tuple),
    "drop": st.sampled_from([(), ("a",), ("",), ("label",), ("b", "b")]),
    "text": st.sampled_from([(), ("a",), ("label",), ("none",)]),
    "date_format": st.sampled_from(["%d/%m/%Y", "%Y", "", "%", "%Q", "x", "%s" * 99, "\x00"]),
    "impute": st.sampled_from(["mean", "median", "most_frequent", "zero"]),
    "max_categories": st.sampled_from([2, 3, 0, 10**9]),
})  # fmt: skip
"""Options of files: often none."""


def read(path, target, content, **options):
    """Load it; the file is as before."""
    try:
        return load(path, target, FileOptions(**options))
    finally:
        assert path.read_bytes() == content


@campaign("load: CSV", 2_400, 40)
def test_csv(draw, outcomes, folder):
    content = draw.or_sound(GOOD_CSV, csv_bytes())
    path = folder / draw(st.sampled_from(["t.csv", "t.CSV", "a b.csv", "é.csv", "t.tsv"]))
    if not draw.sound and draw(st.integers(0, 4)) == 0:
        path = folder / draw(st.sampled_from(["t.parquet", "t.feather", "t.jsonl", "t.csv.gz"]))
    path.write_bytes(content)
    target = draw.or_sound("label", st.sampled_from(["label", "label", "a", "", None, "赤"]))
    options = draw.or_sound({}, st.one_of(st.just({}), OPTIONS))
    described = path.name, target, options, content
    outcomes.hold(lambda: read(path, target, content, **options), *described)


@campaign("load: Parquet", 1_200, 30)
def test_parquet(draw, outcomes, folder):
    table = draw.or_sound(GOOD_TABLE, parquet_tables())
    path = folder / "t.parquet"
    try:
        parquet.write_table(
            table, path, compression=draw(st.sampled_from(["none", "snappy", "zstd"]))
        )
    except (pyarrow.ArrowException, ValueError, KeyError):
        return  # a type that Parquet does not have
    content = bytearray(path.read_bytes())
    harm = draw.or_sound("none", st.sampled_from(["none", "cut", "flip", "flip", "insert", "zero"]))
    place = draw(st.integers(0, len(content) - 1))
    if draw(st.booleans()):
        place = len(content) - 1 - place % min(len(content), 300)  # the footer, which says all
    if harm == "cut":
        del content[place:]
    elif harm == "flip":
        content[place] ^= 1 << draw(st.integers(0, 7))
    elif harm == "insert":
        content[place:place] = draw(st.binary(max_size=8))
    elif harm == "zero":
        content[place : place + 16] = bytes(16)
    path.write_bytes(content)
    outcomes.hold(lambda: read(path, "label", bytes(content)), table.schema.types, harm, place)


THINGS = (
    "folder",
    "fifo",
    "null",
    "zero",
    "loop",
    "dangling",
    "missing",
    "closed",
    "socket",
    "link",
)


def made(folder, thing, suffix):
    """Something at a path that is no ordinary file; a fifo has nobody who writes to it."""
    path = folder / f"{thing}{suffix}"
    if os.path.lexists(path):
        return path
    if thing == "folder":
        path.mkdir()
    elif thing == "fifo":
        os.mkfifo(path)
    elif thing in ("null", "zero"):
        path.symlink_to(f"/dev/{thing}")
    elif thing == "loop":
        path.symlink_to(path.name)
    elif thing == "dangling":
        path.symlink_to("nothing")
    elif thing == "closed":
        path.write_text("a,label\n1,0\n2,1\n")
        path.chmod(0)
    elif thing == "socket":
        path.symlink_to("/proc/self/fd/0")
    elif thing == "link":
        (folder / "real.csv").write_text("a,label\n1,0\n2,1\n3,0\n4,1\n")
        path.symlink_to("real.csv")
    return path


PATHS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", ".", "..", "/", "~", "~nobody/x.csv", "a" * 300 + ".csv", "x" * 5000, "\0.csv",
                     "a\nb.csv", "\udcff.csv", "../../etc/passwd", "/dev/stdin", "iris ", "IRIS",
                     "-", "http://localhost/x.csv", "file:///etc/passwd", "s3://b/x.parquet", "con.csv"]),
)  # fmt: skip


@campaign("load: paths", 400, 40)
def test_paths(draw, outcomes, folder):
    if draw.sound:
        path = made(folder, "link", ".csv")
    elif draw(st.booleans()):
        path = made(
            folder, draw(st.sampled_from(THINGS)), draw(st.sampled_from([".csv", ".parquet"]))
        )
    else:
        path = draw(PATHS)
    target = draw.or_sound("label", st.none())
    outcomes.hold(lambda: load(path, target), str(path), target)
