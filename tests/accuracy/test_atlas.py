"""The atlas: its rows, pairs, search and profiles, the file it is kept in, and what changed."""

import json
import os
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.accuracy import atlas as module
from handgrad.accuracy.atlas import (
    ALPHABET,
    Atlas,
    AtlasRow,
    Refusal,
    as_json,
    changes,
    measure_function,
    measure_functions,
    neighbours,
    pairs_of,
    profile_edges,
    profile_of,
    read_atlas,
    search,
)
from handgrad.accuracy.functions import REFUSED, Function
from handgrad.accuracy.measure import (
    TrueValues,
    compare,
    compute,
    inputs_of,
    summarize,
    true_derivatives,
)
from handgrad.accuracy.page import as_html
from handgrad.errors import InputError


@pytest.fixture(scope="module")
def measured():
    """A function in two dtypes, one in two arguments, and one that JAX has not in float16."""
    found = measure_functions(["tanh"], dtypes=["bfloat16", "float64"])
    found.add(measure_function("jnp.copysign, y", ["float16"], [0, 1]))
    found.add(measure_function("jax.scipy.special.ndtri", ["float16"], [0, 1]))
    found.facts = {"machine": {"device": "a <device>", "versions": {"jax": "0.0"}}, "seconds": 1.0}
    return found


def row(**changed):
    plain = AtlasRow(
        "jnp.tanh", 1, "float16", "default", 2.0, "0x1p+0", 0, 0, 0, 0, 0.5, 0.0, 9, 99, 1.0
    )
    return plain._replace(**changed)


def test_the_rows_of_a_function(measured):
    tanh = {row.key: row for row in measured.rows if row.function == "jnp.tanh"}
    assert {key[1:3] for key in tanh} == {
        (0, "bfloat16"), (1, "bfloat16"), (2, "bfloat16"), (0, "float64"), (1, "float64"),
    }  # fmt: skip
    default = tanh["jnp.tanh", 1, "bfloat16", "default"]
    assert (default.zero, default.inputs + default.subnormal) == (936, 65_280)
    assert float.fromhex(default.at) == 7.625
    own = tanh["jnp.tanh", 1, "bfloat16", "handgrad"]
    assert (own.failing, own.max_ulp < 2) == (0, True)
    assert tanh["jnp.tanh", 1, "float64", "default"].max_ulp > 1e15
    assert tuple(json.loads(as_json(measured))["rows"][0]) == AtlasRow._fields


def test_the_device_that_computed_is_named():
    found = measure_function("jnp.square", ["float16"], [0])
    device = jax.devices()[0]
    assert found.facts == {"arithmetic": [f"{device.platform} {device.device_kind}"]}
    found.add(Atlas(facts={"arithmetic": ["gpu another", *found.facts["arithmetic"]]}))
    assert found.facts["arithmetic"][1:] == ["gpu another"]


def test_what_cannot_be_taken_is_named(measured):
    reasons = {entry.function: entry.reason for entry in measured.refused}
    assert "float16" in reasons["jax.scipy.special.ndtri"]
    assert [entry.function for entry in measured.left_out] == ["jnp.copysign, y"]
    assert measured.left_out[0].kinks > 0


def test_the_file_is_read_as_it_was_written(measured, tmp_path):
    path = tmp_path / "atlas.json"
    path.write_text(as_json(measured))
    assert read_atlas(path) == measured
    assert changes(measured, read_atlas(path)) == []


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"function": 1}]}'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="file: expected an atlas"):
        read_atlas(tmp_path / "a.json")
    with pytest.raises(InputError, match="No such file"):
        read_atlas(tmp_path / "b.json")


@pytest.mark.bad_input
def test_a_dtype_and_an_order_that_the_atlas_lacks_are_refused():
    with pytest.raises(InputError, match="dtype"):
        measure_functions(["tanh"], dtypes=["int8"])
    with pytest.raises(InputError, match="orders: expected 1, 2 or both"):
        measure_functions(["tanh"], orders=[3])


def test_changes_say_what_became_better_or_worse():
    old = Atlas(rows=[row(), row(form="highest"), row(order=2), row(dtype="bfloat16", nan=5)])
    new = Atlas(rows=[
        row(max_ulp=9.0), row(form="highest", max_ulp=2.1), row(order=2, max_ulp=1.0, inf=3),
        row(dtype="bfloat16"), row(function="jnp.sin"),
    ])  # fmt: skip
    found = {(c.kind, (c.new or c.old).key[1:]): c.reason for c in changes(old, new)}
    assert found == {
        ("worse", (1, "float16", "default")): "2 → 9 ulp",
        ("mixed", (2, "float16", "default")): "2 → 1 ulp, 0 → 3 inf",
        ("better", (1, "bfloat16", "default")): "5 → 0 nan",
        ("new", (1, "float16", "default")): "",
    }
    assert [(c.kind, c.reason) for c in changes(new, old) if c.old and not c.new] == [("gone", "")]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_pairs_have_structure_and_every_scale(dtype):
    x, y = pairs_of(dtype)
    assert len(x) == len(y) > 8_000
    wide = [part.astype(np.float64) for part in (x, y)]
    assert all(np.isfinite(part).all() for part in wide)
    assert ((wide[0] == wide[1]) & (wide[0] != 0)).sum() > 50
    info = jnp.finfo(dtype)
    assert np.abs(wide[0]).max() > float(info.max) / 4
    assert 0 < np.abs(wide[1][wide[1] != 0]).min() < float(info.tiny) * 2


def test_neighbours_are_finite_and_near():
    rng = np.random.default_rng(0)
    around = neighbours(np.float64([1.0, -3.0]), 200, "float64", rng)
    assert np.isfinite(around).all()
    assert (np.sign(around[:200]) == 1).all()
    assert (np.abs(around[:200]) <= 4).all()
    assert (around[:200] == 1.0).sum() > 40


def test_the_search_finds_a_worse_input_beside_the_worst():
    """Planted in float64: an error of 100 ulp on a short interval that no sampled input hits."""
    entry = Function("planted", jnp.exp)

    def planted(x):
        off = jnp.where((x > 1.11) & (x < 1.13), 100 * 2.0**-52, 3 * 2.0**-52)
        return jnp.exp(x) * (1 + jnp.where((x > 1) & (x < 1.25), off, 0))

    args = [inputs_of("float64")]
    truth = true_derivatives(jnp.exp, *args, dtype="float64").orders[1]
    values = compute(planted, *args, dtype="float64").values
    found = compare(values, truth, *args, dtype="float64")
    errors = summarize(found, *args, ns=1.0)
    assert errors.max_ulp < 10
    better = search(entry, planted, errors, found, args, "float64")
    assert better.max_ulp > 60
    assert 1.11 < better.at[0] < 1.13
    assert replace(better, max_ulp=errors.max_ulp, at=errors.at) == errors


def test_a_profile_keeps_the_worst_of_each_bin_and_where_it_fails(measured):
    edges = profile_edges("bfloat16")
    assert (np.diff(edges) > 0).all()
    (profile,) = [p for p in measured.profiles if p[:4] == ("jnp.tanh", 1, "bfloat16", "default")]
    places = np.flatnonzero([letter == "z" for letter in profile.failing.ljust(len(edges))])
    assert {3 <= abs(edges[place]) < 64 for place in places} == {True}
    letters = [ALPHABET.index(letter) for letter in profile.errors if letter != " "]
    assert 2 ** ((max(letters) - 4) / 2) == pytest.approx(256, rel=0.2)
    x = inputs_of("bfloat16")[:1000]
    none = np.zeros(1000)
    found = compare(none + 1, TrueValues(none + 1, none, none), x, dtype="bfloat16")
    errors, failing = profile_of(found, x, "bfloat16")
    assert (set(errors), failing) == ({" ", ALPHABET[0]}, "")


def plant(name, dtypes, orders):
    """In the place of `measure_function`: one function never ends, and one kills its process."""
    if name == "jnp.sin":
        jax.block_until_ready(jax.lax.while_loop(lambda x: x == x, lambda x: -x, 1.0))
    if name == "jnp.cos":
        os.kill(os.getpid(), signal.SIGKILL)
    return Atlas(rows=[row(function=name, dtype=dtypes[0])])


def test_a_function_that_never_ends_is_refused_and_the_rest_goes_on(monkeypatch):
    monkeypatch.setattr(module, "measure_function", plant)
    names, done = ["sin", "tan", "cos", "exp"], []
    found = measure_functions(
        names, dtypes=["float16"], processes=2, limit=1, progress=lambda *of: done.append(of)
    )
    assert [row.function for row in found.rows] == ["jnp.exp", "jnp.tan"]
    assert found.refused == [
        Refusal("jnp.cos", "float16", "", "its process died"),
        Refusal("jnp.sin", "float16", "", "it did not end in 1 s"),
    ]
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("processes", [0, 1])
def test_what_is_not_done_in_time_is_refused(monkeypatch, processes):
    monkeypatch.setattr(module, "measure_function", plant)
    found = measure_functions(
        ["sin"], dtypes=["float16"], processes=processes, seconds=0.01 * processes
    )
    assert found.refused == [
        Refusal("jnp.sin", "float16", "", f"it was not done in {0.01 * processes:g} s")
    ]


def test_the_page_holds_the_atlas_and_loads_nothing(measured):
    html = as_html(measured).replace("http://www.w3.org/2000/svg", "")  # a name, not a place
    for foreign in ("http:", "https:", "url(", "@import", "src="):
        assert foreign not in html
    assert "a &lt;device&gt; with jax 0.0" in html
    text = html.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    data = json.loads(text)
    assert [entry["name"] for entry in data["functions"]] == ["jnp.tanh", "jnp.copysign, y"]
    assert data["alphabet"] == ALPHABET
    assert len(data["edges"]["bfloat16"]) == len(profile_edges("bfloat16"))
    assert {row["at"] for row in data["functions"][0]["rows"]} >= {"7.625"}


def test_the_file_names_what_is_left_aside(monkeypatch):
    monkeypatch.setattr(module, "measure_function", lambda *a: Atlas())
    monkeypatch.setattr(module, "choose", lambda names: [Function("jnp.tanh", jnp.tanh)])
    monkeypatch.setattr(module, "missing", lambda: ["jnp.old"])
    refused = {entry.function: entry.reason for entry in measure_functions().refused}
    assert refused["jax.scipy.special.multigammaln"] == REFUSED["jax.scipy.special.multigammaln"]
    assert refused["jnp.old"] == "not in the installed version"
