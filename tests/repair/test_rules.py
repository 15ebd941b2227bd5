"""The parts of the repair: each form that is written out is the same number at 60 digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb, ctx

from handgrad.repair import forms, search
from handgrad.repair.reading import read
from handgrad.repair.terms import (
    argument,
    constant,
    derivative,
    function,
    on_arrays,
    on_balls,
    statements,
)

X = argument(0)
SIGMA, TANH = function("logistic", X), function("tanh", X)
E = function("exp", -X)
FAR = forms.Form(-8 * E * E * (1 - E * E) / ((1 + E * E) * (1 + E * E) * (1 + E * E)))
FORMULAS = {
    "sigmoid": SIGMA * (1 - SIGMA),
    "tanh″": derivative(derivative(TANH)),
    "silu′": derivative(X * SIGMA),
    "squareplus′": derivative((X + function("sqrt", X * X + 4)) / 2),
    "arcsinh″": derivative(derivative(function("asinh", X))),
    "√(x + 1) − √x": derivative(function("sqrt", X + 1) - function("sqrt", X)),
    "log σ": function("log", SIGMA),
    "e^(−x²/2)": function("exp", -(X * X) / 2),
    "sinc′": derivative(function("sin", X) / X),
    "x σ(1.7 x)′": derivative(X * function("logistic", X * constant(1.7))),
    "gelu′": derivative(read(jax.nn.gelu, (1.0,)).term),
}


def values(term, points):
    with ctx.workprec(400):
        return on_balls(term, [np.array([arb(p) for p in points], object)])


@pytest.mark.parametrize("name", FORMULAS)
def test_every_form_is_the_same_number(name):
    """Each rule at random points, to 60 digits; a form of one side on its side alone."""
    term = FORMULAS[name]
    points = np.random.default_rng(3).uniform(0.05, 3, 6)
    points = np.concatenate([points, -points]) if name != "√(x + 1) − √x" else points
    expected = values(term, points)
    found = forms.exact_forms(term)
    assert len(found) > 3
    for form in found:
        inside = (points >= form.low) & (points <= form.high)
        for a, b in zip(values(form.term, points[inside]), expected[inside], strict=True):
            assert a.overlaps(b), form.term
            assert abs(a - b) < abs(b) * arb("1e-60"), form.term


@pytest.mark.parametrize(
    "term",
    [
        derivative(function("sin", X) / X),
        derivative(function("log", function("sinh", X) / X)),
        derivative(X / function("expm1", X)),
        1 - function("cos", X),
    ],
)
def test_a_series_leaves_out_no_more_than_it_says(term):
    found = forms.series_forms(term, arb(0), False, "float32")
    assert found[0].high >= 1
    for one in found:
        assert one.truncation < 2.0**-25
        points = np.array([0.03, 0.5, 0.97]) * one.high
        for p, t in zip(values(one.term, points), values(term, points), strict=True):
            assert abs(p / t - 1) < one.truncation + 1e-13  # the numbers are floats


def test_a_root_is_found_and_the_series_there_begins_with_its_tiny_value():
    term = FORMULAS["silu′"]
    root = forms.root_between(term, -1.3, -1.2)
    assert float(root.mid()) == pytest.approx(-1.2784645427610738, abs=1e-15)
    found = forms.series_forms(term, root, True, "float32")
    x = np.float32(-1.2784645)
    near, true = (float(values(t, [float(x)])[0].mid()) for t in (found[0].term, term))
    assert near == pytest.approx(true, rel=1e-6)


def test_a_series_of_what_has_a_pole_is_none():
    assert forms.series_forms(1 / X, arb(0), False, "float32") == []


def test_far_out_erfc_is_its_asymptotic_series():
    term = derivative(read(lambda x: jax.nn.gelu(x, approximate=False), (1.0,)).term)
    found = forms.tail_forms(term, "float32")
    assert found
    for form in found:
        assert (form.low, form.kind) == (-np.inf, "series")
        points = form.high * np.array([1.0, 1.3, 2.0])
        for p, t in zip(values(form.term, points), values(term, points), strict=True):
            assert abs(p / t - 1) < form.truncation < 2.0**-25


def test_the_pieces_of_an_odd_term_are_mirrored():
    term = derivative(derivative(TANH))
    assert [search.parity_of(t) for t in (term, X * term, X + 1)] == [-1, 1, 0]
    pieces = [search.Piece(-np.inf, 2.0, forms.Form(term)), search.Piece(2.0, np.inf, FAR)]
    whole = search.mirrored(pieces, -1)
    assert [piece.low for piece in whole] == [-np.inf, -2.0, 0.0, 2.0]
    x = np.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    one = search.joined(pieces, [x], "float32", -1)
    for p, joint, exact in zip(x, values(one, x), values(term, x), strict=True):
        assert abs(joint - exact) <= abs(exact) * arb("1e-60")
        piece = next(piece for piece in whole if p < piece.high)
        assert abs(values(piece.form.term, [p])[0] - exact) <= abs(exact) * arb("1e-60")


@pytest.mark.parametrize("f", [jax.nn.softplus, jax.nn.log_sigmoid, jax.nn.silu, jnp.tanh])
def test_the_cut_line_is_joined_where_both_sides_are_one_formula(f):
    term = derivative(read(f, (1.0,)).term)
    assert len(search.smooth_pieces(term)) == 1


def test_a_kink_stays_a_cut():
    pieces = search.smooth_pieces(derivative(read(jax.nn.elu, (1.0,)).term))
    assert [(low, high) for low, high, _ in pieces] == [(-np.inf, 0.0), (0.0, np.inf)]


def test_the_series_of_a_logarithm_at_its_root():
    term = 1 + function("log", X)
    assert forms.series_forms(term, arb("0.36787944117144232"), True, "float32")


def test_an_input_that_no_form_serves_does_not_loosen_the_goal_for_the_others():
    left, right = forms.Form(X), forms.Form(X * X)
    errors = np.array([[1.0, 1.0, 1e5, 100.0, 100.0], [100.0, 100.0, np.inf, 1.0, 1.0]])
    pieces = search.choose([left, right], errors, np.arange(5.0), search.GOALS)
    assert [piece.form for piece in pieces] == [left, right]
    assert 2 < pieces[0].high <= 3


def test_sums_and_means_are_read():
    z = np.ones(3)
    core = read(lambda z: -2 * jnp.sum(jnp.exp(z)) / 4, (z,))
    assert (core.is_sum, core.scale, str(core.term)) == (True, -0.5, "exp(x)")


def test_equal_ratios_have_one_normal_form():
    e = function("exp", X)
    assert search.are_equal(1 - TANH * TANH, 4 / ((e + 1 / e) * (e + 1 / e)))
    assert search.are_equal(function("expm1", X), e - 1)
    assert search.are_equal(function("log1p", e), X - function("log", SIGMA))
    assert not search.are_equal(function("log1p", e), -function("log", SIGMA))


def test_the_code_has_no_more_parentheses_than_python_needs():
    a = function("abs", X)
    term = -(a - (1 - X)) * (a / (X * 2)) ** 3
    assert statements(term, ["x"])[-1] == "return -(a - (1 - x)) * (a / (x * 2)) ** 3"
    namespace = {"jnp": jnp, "jax": jax}
    body = "\n    ".join(statements(term, ["x"]))
    exec(f"def f(x):\n    {body}", namespace)
    assert float(namespace["f"](3.0)) == float(on_arrays(term, [3.0]))


def test_the_roundest_number_is_chosen_for_a_switch():
    assert search.roundest(-1e19, -9e18) == -1e19
    assert search.roundest(0.27, 0.33) == 0.3
    assert search.roundest(1.0, 1.0) == 1.0


def test_a_constant_folds_exactly():
    assert (constant(1) / constant(3)).value * 3 == 1
