"""The parts of an explanation, each by itself: numbers, names, formulas, the layout, the page."""

import json
import re
from functools import partial
from html.parser import HTMLParser
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import handgrad as hg
from handgrad import derivations
from handgrad._precision import x64
from handgrad.catalogue import CASES
from handgrad.derivations.latex import as_mathml, as_unicode
from handgrad.errors import InputError
from handgrad.explain import as_data, as_html, explain_case, find_case
from handgrad.explain.derivation_view import (
    Match,
    deduplicate,
    derivation_view,
    intermediates,
    match,
)
from handgrad.explain.leaves import compare, max_ulp
from handgrad.explain.lost_bits import lost_bits
from handgrad.explain.page.graph import HEIGHT, WIDTH, draw, lay_out
from handgrad.explain.primitives import expression
from handgrad.explain.recording import record
from handgrad.explain.source import argument_names, function_name
from handgrad.explain.summary import summarise
from handgrad.explain.tape import fold

# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (jnp.float32(0.5), "0.5"),
        (jnp.array([1.0, -2.0]), "[1, −2]"),
        (jnp.arange(100.0), "0 … 99"),
        (jnp.full((3, 4, 5), 7.0), "all 7"),
        (jnp.array([True, False, True, True]), "3 of 4 true"),
        (jnp.array([0.0, jnp.nan, 1.0, 2.0]), "nan … nan"),
        (jnp.array([0.0, -jnp.inf, 1.0, 2.0]), "−∞ … 2"),
        (jnp.zeros((0, 3)), "float32[0, 3]"),
        (jnp.bfloat16(1.5), "1.5"),
        (np.int64(-3), "−3"),
        (jax.random.key(0), "random key"),
        (jnp.array([1.0 + 2.0j]), "complex64[1]"),
    ],
)
def test_one_line_for_any_array(array, text):
    assert summarise(array).text == text


def test_a_large_matrix_is_its_corners():
    rows = summarise(jnp.arange(600.0).reshape(20, 30)).rows
    assert rows[0] == ("0", "1", "2", "…", "29")
    assert rows[3] == ("⋮",) * 5
    assert rows[4] == ("570", "571", "572", "…", "599")


def test_units_in_the_last_place():
    b = np.array([1.0, 4.0, 0.0, np.nan, np.inf])
    assert max_ulp(b, b) == 0
    assert max_ulp(np.array([1 + 2**-52]), np.array([1.0])) == 1
    assert max_ulp(np.array([1.0]), np.array([np.nan])) == np.inf
    assert max_ulp(np.zeros(0), np.zeros(0)) == 0


def test_the_sign_of_a_zero_is_a_bit():
    tape, _ = record(lambda w: w * 2, (1.0,))
    (leaf,) = compare(tape, jnp.array([0.0]), jnp.array([-0.0]), jnp.array([0.0]))
    assert not leaf.identical
    assert (leaf.autodiff_ulp, leaf.hand_equal) == (0, True)
    (leaf,) = compare(tape, jnp.array([1.0]), jnp.array([1.0]), jnp.array([1.0, 2.0]))
    assert leaf.identical
    assert leaf.hand_equal is False
    (leaf,) = compare(tape, jnp.array([1.0]), jnp.array([1.0]), (jnp.ones(1), jnp.ones(1)))
    assert leaf.hand_equal is False


# --- formulas -----------------------------------------------------------------------------------

FORMULAS = [
    (derivation.name, latex)
    for derivation in derivations.DERIVATIONS
    for latex in (derivation.of, *(step.formula for step in derivation.steps))
]


def test_every_formula_of_every_derivation_can_be_shown():
    assert len(FORMULAS) > 60
    for name, latex in FORMULAS:
        math = as_mathml(latex)
        assert math.startswith('<math display="block">'), name
        assert "\\" not in math, (name, latex)
        line = as_unicode(latex)
        assert line, name
        assert not re.search(r"[\\{}$&]", line.replace("{", "").replace("}", "")), (name, line)


@pytest.mark.parametrize(
    ("latex", "line"),
    [
        (r"\hat y - y", "ŷ − y"),
        (r"= -\frac{1}{N} \sum_n (y_n - \hat y_n)(x_n, 1)", "= −1/N ∑ₙ (yₙ − ŷₙ)(xₙ, 1)"),
        (r"\sigma(z) \left(1 - \sigma(z)\right)", "σ(z)(1 − σ(z))"),
        (r"\frac{a+b}{c}", "(a + b)/c"),
        (r"x^{T}", "xᵀ"),
        (r"x_{ij}", "xᵢⱼ"),
        (r"\sqrt{2}", "√2"),
    ],
)
def test_a_formula_on_a_line(latex, line):
    assert as_unicode(latex) == line


@pytest.mark.bad_input
@pytest.mark.parametrize("latex", [r"\left( x", "{", "a & b", r"\text{<img src=x onerror=1>}"])
def test_what_is_no_latex_is_refused(latex):
    with pytest.raises(InputError, match="formula: expected LaTeX that becomes MathML"):
        as_mathml(latex)


@pytest.mark.parametrize(
    "latex", [r"\text{<script>alert(1)</script>}", "<script>1</script>", r"\text{a<b/>c}"]
)
def test_a_formula_cannot_bring_markup(latex):
    """The library passes on what stands in a text: only tags and attributes that draw are kept."""
    math = as_mathml(latex)
    assert set(re.findall(r"</?([a-z]+)", math)) <= {"math", "mrow", "mi", "mo", "mn", "mtext"}
    assert "<script" not in math


# --- names --------------------------------------------------------------------------------------


def test_values_have_the_names_of_the_file():
    def layer(w, x):
        return x @ w

    def loss(params, x):
        hidden = layer(params["first"], x)
        hidden = jnp.tanh(hidden)
        last, unused = layer(params["second"], hidden), 3.0
        return jnp.mean(last) * unused

    params = {"first": jnp.ones((2, 3)), "second": jnp.ones((3, 1))}
    tape, _ = record(loss, (params, jnp.ones((4, 2))))
    names = [tape.values[i].name for e in tape.equations for i in e.outputs]
    assert names == ["hidden₁", "hidden₂", "layer", "v₁", "v₂", "loss"]
    leaves = [tape.values[i].name for i in tape.inputs]
    assert leaves == ["params['first']", "params['second']", "x"]
    assert tape.equations[0].source.code == "x @ w"


def test_a_function_without_a_file_is_explained_too():
    namespace = {"jnp": jnp}
    exec("def loss(w):\n    z = w * 2\n    return jnp.sum(z)", namespace)
    tape, gradient = record(namespace["loss"], (jnp.ones(2),))
    assert gradient.tolist() == [2.0, 2.0]
    assert tape.formula(tape.equations[0]) == "v₁ = w × 2"


def test_names_of_functions_without_a_signature_or_behind_a_partial():
    assert function_name(partial(partial(np.add, 1.0))) == "add"
    assert argument_names(max, 2) == ["argument 0", "argument 1"]
    assert argument_names(lambda w, *rest: w, 3) == ["w", "argument 1", "argument 2"]
    found = hg.explain(partial(lambda a, w: a * w**2, 3.0), at=(2.0,))
    assert (found.name, float(found.gradient)) == ("<lambda>", 12.0)
    found = hg.explain(lambda *args: args[0] ** 2, at=(2.0,), gradient=lambda w: 2 * w)
    assert found.leaves[0].name == "w"


def test_a_function_in_a_file_that_is_no_longer_python(tmp_path):
    path = tmp_path / "gone.py"
    code = compile("def loss(w):\n    z = w * 2\n    return z * w\n", str(path), "exec")
    path.write_text("this is : no Python\n")
    namespace = {}
    exec(code, namespace)
    tape, _ = record(namespace["loss"], (1.0,))
    assert [tape.formula(e) for e in tape.equations] == ["v₁ = w × 2", "loss = v₁ × w"]


# --- the layout ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_boxes_do_not_touch_and_edges_run_down(seed):
    rng = np.random.default_rng(seed)
    count = 24
    takes = [rng.integers(0, b, rng.integers(1, 4)) for b in range(1, count)]
    edges = [(int(a), b) for b, above in enumerate(takes, 1) for a in above]
    laid = lay_out(list(range(count)), edges, (100, 40))
    boxes = list(laid.centres.values())
    for i, (x, y) in enumerate(boxes):
        assert x >= 50 - 1e-6
        assert x <= laid.width - 50 + 1e-6
        assert 20 <= y <= laid.height - 20
        for u, v in boxes[:i]:
            assert abs(x - u) >= 100 or abs(y - v) >= 40
    assert set(laid.edges) == set(edges)
    for (a, b), points in laid.edges.items():
        assert points[0] == laid.centres[a]
        assert points[-1] == laid.centres[b]
        heights = [y for _, y in points]
        assert heights == sorted(heights)
        for x, y in points[1:-1]:  # a passing edge keeps clear of the boxes of its layer
            assert all(abs(x - u) > 50 for u, v in boxes if v == y)


def test_two_chains_do_not_cross():
    laid = lay_out([0, 1, 2, 3], [(0, 3), (1, 2)], (100, 40))
    left = laid.centres[0][0] < laid.centres[1][0]
    assert left == (laid.centres[3][0] < laid.centres[2][0])


def test_what_is_drawn_and_what_only_told():
    def loss(w, labels):
        mask = (labels == 2).astype(w.dtype) * 1.5
        return jnp.sum(jnp.exp(w) * mask)

    tape, _ = record(loss, (jnp.ones(3), jnp.arange(3)))
    graph = draw(tape)
    names = [node.title.split(" =")[0] for node in graph.nodes]
    assert names == ["w", "labels", "mask", "v₃", "v₄", "loss"]
    assert [node.kind for node in graph.nodes][:3] == ["wanted", "input", "beside"]
    hidden = [e.index for e in tape.equations if e.primitive == "eq"]
    mask = next(v.index for v in tape.values if v.name == "mask")
    assert all(graph.stands_for[i] == mask for i in hidden)
    labels = tape.inputs[1]
    assert (labels, mask) in graph.edges
    assert {len(c) for c in graph.layout.centres.values()} == {2}
    assert graph.layout.height >= HEIGHT
    assert graph.layout.width >= WIDTH


# --- where a derivation matches the tape ----------------------------------------------------------


def test_a_line_matches_the_tape_where_their_numbers_are_one():
    with x64():
        z, y = jnp.array([0.3, -1.2, 2.0]), jnp.array([1.0, 0.0, 0.25])

        def loss(z, y):
            p = 1 / (1 + jnp.exp(-z))
            return jnp.sum(-y * jnp.log(p) - (1 - y) * jnp.log(1 - p))

        tape, _ = record(loss, (z, y))

        def textbook(z, y):
            return 1 / (1 + jnp.exp(-z)) - y

        def slightly_wrong(z, y):
            return (1 / (1 + jnp.exp(-z)) - y) * (1 + 1e-7)

        result, arrays = intermediates(textbook, (z, y))
        np.testing.assert_allclose(result[0], textbook(z, y))
        matched = {(tape.name(m.index), m.cotangent) for m in match(arrays, (z, y), tape)}
        assert {("p", False), ("z", True)} <= matched
        _, arrays = intermediates(slightly_wrong, (z, y))
        assert ("z", True) in {
            (tape.name(m.index), m.cotangent) for m in match(arrays, (z, y), tape)
        }, "the unscaled residual is computed on the way"
        matched = match([slightly_wrong(z, y)], (z, y), tape)
        assert matched == ()


def test_a_derivation_that_does_not_fit_is_shown_at_an_example_of_its_own():
    entry = find_case("softplus")
    with x64():
        at = entry.example(jax.random.key(0))
        tape, gradient = record(entry.loss, at)
        steps = derivations.derivation(entry.derivation).steps
        assert not derivation_view(entry, at, gradient, tape, 0).notes
        for other, hand in (((jnp.ones((2, 2, 2)),), gradient), (at, gradient + 1)):
            found = derivation_view(entry, other, hand, tape, 0)
            assert found.notes == ("the derivation is shown at an example of its own",)
            assert not any(line.matches for line in found.lines)
            assert len(found.lines) == len(steps)
        entry = find_case("residual")
        z, y = entry.example(jax.random.key(0))  # and where its last line cannot be taken
        assert derivation_view(entry, (z, y[1:]), z, tape, 0).notes


def test_a_match_stays_where_it_says_most():
    value, end, other = Match(0, False), Match(1, True), Match(2, True)
    tape = SimpleNamespace(wanted=(1,))
    kept = deduplicate([(value, end, other), (value, end, other), (value, end, other)], tape)
    assert kept == [(value,), (other,), (end, other)]


# --- the page, as text --------------------------------------------------------------------------

MARKUP = '<img src=x onerror="alert(1)">'


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.data = []
        self.body = None

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.body = dict(attrs).get("id")

    def handle_data(self, data):
        if self.body == "data":
            self.data.append(data)


def test_a_page_is_escaped_and_self_contained():
    closing = "</script><script>alert(1)</script>"

    def loss(w):
        return jnp.sum(w[MARKUP] * w[closing])

    loss.__name__ = MARKUP
    found = hg.explain(loss, at=({MARKUP: jnp.ones(2), closing: jnp.ones(2)},))
    page = as_html(found)
    tags = Tags()
    tags.feed(page)
    names = [tag for tag, _ in tags.found]
    assert "img" not in names
    assert names.count("script") == 2
    assert not any(key.startswith("on") for _, attrs in tags.found for key in attrs)
    links = [a.get("src") or a.get("href") for _, a in tags.found if a.get("src") or a.get("href")]
    assert set(links) == {"data:,", "#step"}
    assert json.loads("".join(tags.data))["name"] == MARKUP
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert "url(" not in page
    assert len(page.encode()) < 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", [entry.name for entry in CASES])
def test_every_case_can_be_explained(name):
    found = explain_case(name)
    assert found.identical or (found.identical_unfused and jax.__version_info__[:2] != (0, 10))
    assert found.hand_equal
    assert found.derivation.lines
    if "softmax_regression_soft" in name:  # the derivation is for the index of a class
        assert found.derivation.notes == ("the derivation is shown at an example of its own",)
    else:
        assert found.derivation.lines[-1].matches or name == "step", (
            "its last line is the gradient on the tape"
        )
    assert len(as_html(found).encode()) < 2_000_000
    assert found.name in str(found)


def test_a_case_as_text():
    text = str(explain_case("softplus"))
    for words in (
        "softplus: ",
        "forward",
        "backward",
        "bit for bit",
        "by hand",
        "∂/∂z softplus(z)",
    ):
        assert words in text
    assert "the tape's gradient is" in str(hg.explain(lambda w: jnp.zeros(()), at=(1.0,)))


def test_bits_that_only_compiling_changes_are_told_apart(monkeypatch):
    """A gradient that rounds otherwise when it is compiled as a whole, and one that is wrong."""

    def grad(f, argnums):
        return lambda w: jnp.float64(2.0) * w * (1 if jax.config.jax_disable_jit else 1 + 2.0**-52)

    with x64():
        monkeypatch.setattr(jax, "grad", grad)
        found = hg.explain(lambda w: w**2, at=(3.0,))
        assert (found.identical, found.identical_unfused) == (False, True)
        assert "ulp apart; the same bits under jax.disable_jit" in str(found)
        assert "under <code>jax.disable_jit</code> its very bits" in as_html(found)
        monkeypatch.setattr(jax, "grad", lambda f, argnums: lambda w: jnp.float64(2.5) * w)
        found = hg.explain(lambda w: w**2, at=(3.0,))
        assert (found.identical, found.identical_unfused) == (False, False)
        assert "jax.disable_jit" not in str(found) + as_html(found)


def test_the_data_has_only_what_json_has():
    found = hg.explain(lambda w: jnp.sum(jnp.log(w)), at=(jnp.array([0.0, 1.0, jnp.nan]),))
    text = json.dumps(as_data(found), allow_nan=False)
    (leaf,) = json.loads(text)["gradient"]
    assert leaf["tape"] == ["inf", 1.0, "nan"]
    assert found.identical


# --- folding, and the bits that float32 loses ----------------------------------------------------


def test_what_is_constant_and_what_changes_nothing_is_folded():
    def loss(w, ok):
        safe = jnp.where(ok & (w > -9.0), w, jnp.nan)
        z = jnp.exp(safe) * (jnp.arange(3.0) + 1)
        return jnp.sum(z) + 0.0 * jnp.ones(())

    with x64():
        tape, _ = record(loss, (jnp.arange(3.0), jnp.asarray([True] * 3)))
        folding = fold(tape)
        shown = [e for e in tape.equations if e.index not in folding.hidden]
        assert [e.primitive for e in shown] == ["exp", "mul", "reduce_sum"]
        formulas = [tape.formula(e, folding.names) for e in shown]
        assert formulas[0].endswith("= exp(w)")
        assert formulas[-1] == "loss = Σ z"
        nodes = [node.name for node in draw(tape, folding).nodes]
        assert nodes == ["w", formulas[0].split(" =")[0], "z", "loss"]
        # where it changes a number it stays
        tape, _ = record(loss, (jnp.arange(3.0), jnp.asarray([True, False, True])))
        kept = [e.primitive for e in tape.equations if e.index not in fold(tape).hidden]
        assert "select_n" in kept
        # and a maximum is no guard, even where it lets everything through
        tape, _ = record(lambda w: jnp.sum(jnp.maximum(w, 0.0)), (jnp.arange(3.0),))
        assert not fold(tape).hidden & {e.index for e in tape.equations if e.primitive == "max"}


def test_the_bits_that_float32_loses():
    found = lost_bits(lambda z: 1 - jax.nn.sigmoid(z), (17.0,))
    z, sigma, rest = found.values
    assert (z, rest) == (0, 24)
    assert sigma < 1
    assert found.cotangents[0] == 24, "the gradient of z dies with it"
    with x64():
        found = lost_bits(lambda z: jnp.sum(jnp.exp(z)), (jnp.array([0.5, 1.0]),))
        assert max(found.values) < 2
    kink = lost_bits(lambda z: jnp.where(z * (1 / z) >= 1, z, 0.0), (3.0,))
    assert kink.note.startswith("not measured: ")
    assert kink.values == ()
    assert lost_bits(lambda z: z @ z, (1.0,)).note.startswith("not measured: f: expected")


def test_subtraction_says_what_it_sends():
    with x64():
        tape, _ = record(
            lambda a, b: jnp.sum((a - b) ** 2), (jnp.ones((2, 3)), jnp.ones((2, 1))), (0, 1)
        )
        (minus,) = [e for e in tape.equations if e.primitive == "sub"]
    texts = [jacobian.description for jacobian in minus.jacobians]
    assert texts[0] == "1: the cotangent goes on as it is"
    assert texts[1].startswith("−1: the cotangent goes on with its sign turned; added up")
    assert expression("eq", "", ["y", "2"]) == "y is 2"
