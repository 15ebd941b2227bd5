"""Model files, spoiled in every way, and new rows of every sort for a good one."""

import functools
import io
import json
import sys

import jax
import numpy as np
import pyarrow
from hypothesis import strategies as st

from fuzz.harness import campaign
from fuzz.strategies import SPECIAL
from fuzz.test_data_files import GOOD_CSV, csv_bytes, parquet_tables
from handgrad.data import FileOptions
from handgrad.data.dataset import raw_table
from handgrad.train.saved import ModelSettings, SavedModel, _digest, load_model

JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
        st.sampled_from(["softmax", "mlp", "number", "left out", 10**30, -1, ["a"], {}]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
ARRAYS = st.sampled_from(
    [np.zeros(0), np.zeros(3), np.full(5, np.nan), np.zeros((2, 2)), np.array("x"), np.zeros(5, "V3"),
     np.zeros(5, np.complex64), np.array(7), np.zeros(5, "datetime64[s]")]
)  # fmt: skip


@functools.cache
def good():
    """A model of a number, a date and a string, as the bytes of its file."""
    table = pyarrow.table({
        "a": [0.5, 1.0, 2.0] * 4,
        "s": ["x", "y"] * 6,
        "day": pyarrow.array([19_000, 19_400, 19_500] * 4, "int32").cast("date32"),
        "label": ["u", "v"] * 6,
    })  # fmt: skip
    options = FileOptions(impute="mean")
    raw = raw_table(table, "label", "t.csv", options, {})
    preparation, _ = raw.learn()
    settings = ModelSettings("mlp", hidden=(2,))
    size = len(preparation.mean)
    params = settings.model().init(jax.random.key(0), size, 2, "float32")
    return SavedModel(settings, params, ("u", "v"), preparation, options, {"rows": 12}).to_bytes()


def changed(draw, content):
    """The arrays and the card of a good file, some of them exchanged, under a digest that fits."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        arrays = dict(found)
    card = json.loads(arrays["card"].tobytes())
    if draw(st.booleans()):
        place = draw(st.sampled_from(sorted(card)))
        inside = card[place]
        if isinstance(inside, dict) and inside and draw(st.booleans()):
            inside[draw(st.sampled_from(sorted(inside)))] = draw(JSON)
        elif isinstance(inside, list) and inside and isinstance(inside[0], dict):
            column = draw(st.sampled_from(inside))
            column[draw(st.sampled_from(sorted(column)))] = draw(JSON)
        else:
            card[place] = draw(JSON)
        arrays["card"] = np.frombuffer(json.dumps(card).encode(), np.uint8)
    else:
        name = draw(st.sampled_from(sorted(arrays)))
        if draw(st.booleans()) and arrays[name].dtype.kind == "f":
            arrays[name] = arrays[name].copy()
            value = draw(st.sampled_from([v for v in SPECIAL if isinstance(v, float)]))
            arrays[name].flat[:1] = value
        else:
            arrays[name] = draw(ARRAYS)
    arrays["sha256"] = _digest(arrays)
    buffer = io.BytesIO()
    with np.errstate(all="ignore"):
        np.savez(buffer, **arrays)
    return buffer.getvalue()


def use(path):
    """Read it and predict with it; a file that is read is used like a good one."""
    model = load_model(path)
    columns = {"a": [1.0], "s": ["x"], "day": pyarrow.array([19_000], "int32").cast("date32")}
    p = model.predict_proba(columns, missing="fill")
    assert p.shape == (1, len(model.classes))
    assert repr(model)
    return model


@campaign("load_model: spoiled files", 2_000, 60)
def test_spoiled(draw, outcomes, folder):
    content, path = bytearray(good()), folder / "model.npz"
    harm = draw.or_sound(
        "none", st.sampled_from(["fields", "cut", "flip", "insert", "zero", "none"])
    )
    place = draw(st.integers(0, len(content) - 1))
    if harm == "fields":
        content = bytearray(changed(draw, bytes(content)))
    elif harm == "cut":
        del content[place:]
    elif harm == "flip":
        content[place] ^= 1 << draw(st.integers(0, 7))
    elif harm == "insert":
        content[place:place] = draw(st.binary(max_size=8))
    elif harm == "zero":
        content[place : place + 16] = bytes(16)
    path.write_bytes(content)
    sys.modules.pop("sentinel", None)
    outcomes.hold(lambda: use(path), harm, place)
    assert path.read_bytes() == bytes(content)


@campaign("predict_proba: new rows", 1_000, 40)
def test_new_rows(draw, outcomes, folder):
    (folder / "model.npz").write_bytes(good())
    model = load_model(folder / "model.npz")
    sound = GOOD_CSV.replace(b"a,s", b"day,a,s").replace(b"1,x", b"2022-01-07,1,x")
    sound = sound.replace(b"2.5,y", b"2022-02-08,2.5,y")
    if draw.sound or draw(st.booleans()):
        table = folder / draw(st.sampled_from(["t.csv", "t.tsv", "t.csv.gz"]))
        if draw.sound:
            table = folder / "t.csv"
        table.write_bytes(draw.or_sound(sound, csv_bytes()))
    else:
        table = draw(parquet_tables())
    how = {
        "missing": draw(st.sampled_from(["as trained", "fill", "refuse"])),
        "unknown": draw(st.sampled_from(["ignore", "refuse"])),
    }
    if draw.sound:
        how["unknown"] = "ignore"

    def predicted():
        p = model.predict_proba(table, **how)
        assert np.isfinite(p).all()
        return p

    outcomes.hold(predicted, str(table), how)
