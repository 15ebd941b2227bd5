"""The page's own arithmetic, run in a browser to full digits, against JAX at the same numbers."""

import json
import re
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from handgrad._precision import x64
from handgrad.explain.data import tape_data
from handgrad.explain.recording import record
from handgrad.explain.tape import fold

RUN = """
const [data, edited] = arguments;
const edits = new Map(edited.map(([v, numbers]) => {
  const {shape, dtype} = data.values[v].array;
  return [v, array(shape, dtype, numbers)];
}));
const found = recompute(data, edits);
const brief = (a) => [a.block, a.text, a.short, a.range, a.kind, Boolean(a.stale)];
const told = (tape) => tape.values.map((v) => ({
  data: v.data && v.data.data.map(String), slope: v.slope && v.slope.map(String),
  array: brief(v.array), cotangent: v.cotangent && brief(v.cotangent),
}));
const inside = found.equations.map((e) => (e.body ? e.body.runs.map(told) : null));
const sent = found.equations.map((e) => e.sent.map((s) => s && s.block));
return {values: told(found), inside, sent,
  entries: found.equations.map((e) => e.jacobians.map((j) => j && j.entries && j.entries.block))};
"""


@pytest.fixture(scope="module")
def in_browser(chromium):
    """Runs `recompute` on a tape's data with {value: numbers}."""
    folder = resources.files("handgrad.explain.page")
    scripts = [(folder / f"{n}.js").read_text() for n in ("arrays", "operations", "recompute")]

    def run(tape, edits):
        data = json.loads(json.dumps(tape_data(tape, fold(tape))))
        listed = [[v, np.asarray(a, np.float64).ravel().tolist()] for v, a in edits.items()]
        return chromium.execute_script("\n".join([*scripts, RUN]), data, listed)

    chromium.get("data:,")
    return run


def elementwise(a, b, k):
    """Every elementwise primitive that the page knows, and every rule."""
    p = jnp.abs(a) + 0.5
    terms = [
        jnp.tanh(a), jnp.exp(a), jnp.log(p), jnp.log1p(p), jnp.expm1(a), lax.logistic(a),
        jnp.sin(a) * jnp.cos(b), jnp.sinh(a) / jnp.cosh(b), jnp.sqrt(p), lax.rsqrt(p), a**3,
        p**b, jnp.square(b), -a, jnp.maximum(a, b), jnp.minimum(a, b), jnp.exp2(b), jnp.sign(a) * b,
        jnp.where((a > b) & ~(a >= 2) | (k == 1), a, b), jnp.floor(a) * b, jnp.logaddexp(a, b),
        jax.nn.relu(a - b), lax.stop_gradient(a) * b,
        a * ((k != 2) & (a < 1) & (b <= 1)).astype(a.dtype),
        jnp.where(jnp.isfinite(a), a, 0.0) * a, k.astype(a.dtype) * b,
    ]  # fmt: skip
    return sum(map(jnp.sum, terms))


def along_axes(a, b, k):
    """Sums, extremes, products of matrices, moves."""
    c = a.reshape(3, 2).T @ b
    d = jnp.einsum("bij,bjk->bik", jnp.ones((2, 4, 2)) * c[0, 0], c[None] * jnp.ones((2, 1, 1)))
    e = jnp.sum(c, axis=0) - jnp.max(c, axis=1)[0] + jnp.min(c, axis=0) * jnp.prod(c, axis=0)
    picked = jnp.where(jnp.arange(3)[None] == jnp.argmax(c, axis=1)[:, None], c, 0.0)
    ok = jnp.any(k > 0) & jnp.all(k < 9)
    return jnp.sum(d) + jnp.sum(e * e) + jnp.sum(picked) + jnp.where(ok, jax.nn.logsumexp(c), 0.0)


def loops(a, b, k):
    """A scan backwards in a scan, its rows and its constants differentiated; a branch."""

    def inner(h, x):
        return jnp.tanh(h * b[0, 1] + x), h * x

    def outer(h, row):
        h, rows = lax.scan(inner, h, row, reverse=True)
        return h + jnp.sum(rows), jnp.max(rows)

    h, tops = lax.scan(outer, a[0], b)
    return lax.cond(k[0] > 0, lambda v: v**2, jnp.sin, h).sum() + jnp.sum(tops * a[:3])


rng = np.random.default_rng(1)
SHAPES = {elementwise: ((4,), (4,)), along_axes: ((6,), (3, 3)), loops: ((3,), (3, 3))}


@pytest.mark.parametrize("loss", SHAPES, ids=lambda f: f.__name__)
def test_both_passes_at_changed_numbers_are_those_of_jax(in_browser, loss):
    with x64():
        a, b, a2, b2 = (jnp.asarray(rng.normal(size=s)) for s in SHAPES[loss] * 2)
        k = jnp.array([1, 0, 2, 3])
        tape, _ = record(loss, (a, b, k), (0, 1))
        there, gradient = record(loss, (a2, b2, k), (0, 1))
        found = in_browser(tape, {tape.inputs[0]: a2, tape.inputs[1]: b2})
        compared = 0
        for value, expected, told in zip(tape.values, there.values, found["values"], strict=True):
            assert not told["array"][5], tape.name(value.index)
            if told["data"] is not None:
                expected_array = np.asarray(expected.array, np.float64).ravel()
                shown = np.array(told["data"], float)
                np.testing.assert_allclose(shown, expected_array, rtol=1e-11, atol=1e-13)
            if expected.cotangent is not None and value.cotangent is not None:
                slope = np.ravel(expected.cotangent)
                assert told["slope"] is not None, tape.name(value.index)
                np.testing.assert_allclose(
                    np.array(told["slope"], float), slope, rtol=1e-10, atol=1e-12
                )
                compared += 1
        assert compared >= len(tape.backward)
        np.testing.assert_allclose(
            np.array(found["values"][tape.inputs[0]]["slope"], float),
            np.ravel(gradient[0]),
            rtol=1e-11,
            atol=1e-13,
        )
        for mine, equation in zip(found["inside"], there.equations, strict=True):
            if equation.body and equation.primitive == "scan":
                for told, run in zip(mine, equation.body.runs, strict=True):
                    slopes = [told[i]["slope"] for i in run.inputs if run.values[i].active]
                    expected = [np.ravel(run.values[i].cotangent) for i in run.wanted]
                    shown = np.concatenate([np.array(s, float) for s in slopes if s])
                    np.testing.assert_allclose(shown, np.concatenate(expected), rtol=1e-10)


def test_numbers_are_written_as_in_python(in_browser):
    """Unchanged, the page computes the tape anew and writes it letter by letter as recorded."""
    with x64():
        a, b = jnp.asarray(rng.normal(size=6)), jnp.asarray(1e-6 * rng.normal(size=(3, 3)))
        tape, _ = record(along_axes, (a, b, jnp.array([1, 12345])), (0, 1))
        found = in_browser(tape, {})
        data = tape_data(tape, fold(tape))
    keys = ("block", "text", "short", "range", "kind")
    rewritten = 0
    for value, told in zip(data["values"], found["values"], strict=True):
        assert told["array"][:5] == [value["array"][key] for key in keys]
        if value["cotangent"] and told["slope"] is not None:
            cotangent = [value["cotangent"][key] for key in keys]
            assert [*map(unsigned, told["cotangent"][:5])] == [*map(unsigned, cotangent)]
            rewritten += 1
    assert rewritten > 10
    for equation, sent, entries in zip(
        data["equations"], found["sent"], found["entries"], strict=True
    ):
        blocks = [j and j["entries"] and j["entries"]["block"] for j in equation["jacobians"]]
        assert [*map(unsigned, sent)] == [unsigned(s and s["block"]) for s in equation["sent"]]
        assert [*map(unsigned, entries)] == [*map(unsigned, blocks)]


def unsigned(text):
    """The words of a block; the sign of a zero is the order of additions."""
    return None if text is None else re.sub(r"−0(?![.\d])", "0", text).split()


def test_what_the_page_cannot_compute_is_marked_as_recorded(in_browser):
    def loss(w, i):
        return jnp.sum(jnp.cumsum(w)) * w[0] + jnp.sum(jnp.exp(w))

    with x64():
        tape, _ = record(loss, (jnp.asarray([1.0, 2.0]), jnp.array([0, 1])))
        found = in_browser(tape, {tape.inputs[0]: [3.0, 2.0]})
    pairs = zip(tape.values, found["values"], strict=True)
    stale = {tape.name(value.index): told["array"][5] for value, told in pairs}
    named = {tape.equations[k].primitive: tape.values[tape.equations[k].outputs[0]].name
             for k in range(len(tape.equations))}  # fmt: skip
    assert stale[named["cumsum"]]
    assert stale["loss"]
    assert not stale[named["exp"]]
    assert found["values"][tape.inputs[0]]["slope"] is None, "a part of the gradient is unknown"
    assert found["values"][tape.inputs[0]]["cotangent"][5]
    untouched = in_browser(tape, {tape.inputs[1]: [1, 0]})
    assert not any(told["array"][5] for told in untouched["values"])
