"""Derivatives from values alone: right where floats fail, and undecided at kinks."""

import jax
import jax.numpy as jnp
import jax.scipy.special as sp
import mpmath as mp
import numpy as np
import pytest
from flint import arb, ctx

from handgrad.errors import InputError
from handgrad.exact import Undecided, derivative, derivative_jaxpr, evaluate, one_sided, trace

HARD = {
    "log at 1e-20": (jnp.log, lambda x: 1 / x, 1e-20),
    "exp(1000x) at 1": (lambda x: jnp.exp(1000 * x), lambda x: 1000 * mp.exp(1000 * x), 1.0),
    "sigmoid at 700": (
        jax.nn.sigmoid,
        lambda x: mp.exp(-x) / (1 + mp.exp(-x)) ** 2,
        700.0,
    ),
    "sigmoid at 17": (jax.nn.sigmoid, lambda x: mp.exp(-x) / (1 + mp.exp(-x)) ** 2, 17.0),
    "sin at 1e15": (jnp.sin, mp.cos, 1e15),
    "exp at a subnormal": (jnp.exp, mp.exp, 5e-324),
    "softplus at -600": (jax.nn.softplus, lambda x: 1 / (1 + mp.exp(-x)), -600.0),
    "sqrt at 1e-300": (jnp.sqrt, lambda x: 1 / (2 * mp.sqrt(x)), 1e-300),
    "exp at 0": (jnp.exp, mp.exp, 0.0),
}


@pytest.mark.parametrize("name", HARD)
def test_right_where_floats_fail(name):
    f, slope, x = HARD[name]
    found = derivative(f, x, 1.0)
    with mp.workdps(400):
        truth = mp.nstr(slope(mp.mpf(x)), 100)
    with ctx.workdps(110):
        assert abs(found.value[()] / arb(truth) - 1) < arb(10) ** -60
    assert found.value[()].rel_accuracy_bits() >= 199
    assert found.kind == "estimate agreed at two steps"
    assert found.digits == 60


@pytest.mark.parametrize("f", [jnp.cos, lambda x: x * x, lambda x: x**3], ids=["cos", "x2", "x3"])
def test_a_derivative_of_zero_is_pinned_around_zero(f):
    value = derivative(f, 0.0, 1.0).value[()]
    assert value.contains(0)
    assert abs(value) < arb((1, -1074))


def test_along_a_direction_through_a_tree():
    params = {"w": np.array([[0.5, -1.0], [2.0, 0.25]]), "b": np.array([0.1, 0.0])}
    along = {"w": np.array([[1.0, 0.0], [-0.5, 2.0]]), "b": np.array([0.0, 3.0])}

    def loss(params, x, label):
        return -jax.nn.log_softmax(x @ params["w"] + params["b"])[label]

    arguments = (params, np.array([1.5, -0.75]), np.int32(1))
    found = derivative(loss, arguments, (along, None, None)).value[()]
    gradient = evaluate(jax.grad(loss), *arguments)
    with ctx.workdps(90):
        expected = sum(
            g * arb(d)
            for name in params
            for g, d in zip(gradient[name].ravel(), along[name].ravel(), strict=True)
        )
        assert abs(found / expected - 1) < arb(10) ** -60


def test_an_output_of_many_entries_is_differentiated_entry_by_entry():
    found = derivative(jax.nn.softmax, np.array([0.0, 1.0]), np.array([1.0, 0.0])).value
    assert found.shape == (2,)
    assert float(found[0]) == pytest.approx(0.19661193324148185, rel=1e-14)
    assert float(found[1]) == pytest.approx(-0.19661193324148185, rel=1e-14)


def test_a_traced_program_serves_many_directions():
    x = np.array([0.5, 2.0, -1.0])
    traced = trace(lambda x: jnp.prod(x), x)
    for i, slope in enumerate([-2.0, -0.5, 1.0]):
        row, _ = derivative_jaxpr(traced.jaxpr, [x], [np.eye(3)[i]])
        assert float(row[0]) == slope


KINKS = {
    "relu": (jax.nn.relu, 0.0, 1.0, 0.0, 1.0),
    "abs": (jnp.abs, 0.0, 1.0, -1.0, 1.0),
    "hinge": (lambda z: jnp.maximum(0, 1 - z), 1.0, 1.0, -1.0, 0.0),
    "tie of a maximum": (jnp.max, np.array([1.0, 1.0]), np.array([1.0, 0.0]), 0.0, 1.0),
    "abs, scaled": (lambda x: jnp.abs(x - 0.25) * 1e-8, 0.25, 2.0, -2e-8, 2e-8),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks_are_undecided_and_one_sided_derivatives_bracket_them(name):
    f, at, along, left, right = KINKS[name]
    with pytest.raises(Undecided, match="kink"):
        derivative(f, at, along)
    below, above = one_sided(f, at, along)
    assert float(below[()]) == pytest.approx(left, abs=1e-30)
    assert float(above[()]) == pytest.approx(right, abs=1e-30)


def test_one_sided_derivatives_meet_where_there_is_no_kink():
    below, above = one_sided(jnp.exp, 0.3, 1.0)
    assert below[()].overlaps(above[()])
    below, above = one_sided(lambda x: x * x, 0.0, 1.0)
    assert below[()].contains(0)
    assert above[()].contains(0)


def test_beside_a_kink_the_derivative_is_found():
    assert derivative(jax.nn.relu, 1e-300, 1.0).value[()] == 1
    assert derivative(jax.nn.relu, -1e-300, 1.0).value[()] == 0


INF = float("inf")
P = np.array([0.0, 0.25, 0.75, 0.0])
SOFTMAX = np.exp(P) / np.exp(P).sum()
SPEED = SOFTMAX[0] * np.linalg.norm(np.eye(4)[0] - SOFTMAX)
"""How fast softmax moves as the first logit does."""


def unproved_zero(x, y=1.0):
    """x, plus a 0 that no precision proves."""
    return jnp.sin(y) ** 2 + jnp.cos(y) ** 2 - 1 + x


def apart(z, w):
    """The distance of two distributions, whose square is a 0 that no precision proves at z = w."""
    return w[0] + jnp.linalg.norm(jax.nn.softmax(z) - jax.nn.softmax(w + 1))


def kl(p):
    return jnp.sum(sp.xlogy(p, p) - p * jnp.log(0.25))


# (f, at, direction, left, right): None where there is no value.
SIDES = {
    # no ball encloses the value at the point
    "a cone": (lambda x: jnp.sqrt(unproved_zero(x * x)) + x, 0.0, 1.0, 0, 2),
    "a norm": (apart, (P, P), (None, np.array([-1.0, 0, 0, 0])), -1 - SPEED, -1 + SPEED),
    "a branch": (lambda x: jnp.where(unproved_zero(x) > 0, 2 * x, x), 0.0, 1.0, 1, 2),
    "a kink under much curvature": (lambda x: 1e300 * x * x + jnp.abs(x), 0.0, 1.0, -1, 1),
    # edges of the domain
    "sqrt": (jnp.sqrt, 0.0, 1.0, None, INF),
    "sqrt backwards": (jnp.sqrt, 0.0, -2.0, -INF, None),
    "x log x": (lambda x: sp.xlogy(x, x), 0.0, 1.0, None, -INF),
    "entropy": (sp.entr, 0.0, 1.0, None, INF),
    "kl at 0": (kl, P, np.eye(4)[3], None, -INF),
    "kl at two zeros": (kl, P, np.array([1.0, 0.5, 0, 2.0]), None, -INF),
    "kl out of the domain both ways": (kl, P, np.array([1.0, 0, 0, -1.0]), None, None),
    "x to the 3/2": (lambda x: x**1.5 + x, 0.0, 1.0, None, 1),
    "arccos": (jnp.arccos, 1.0, 1.0, -INF, None),
    "1 / log x": (lambda x: -1 / jnp.log(x), 0.0, 1.0, None, INF),
    "x log x held at 0": (
        lambda x: jnp.where(x > 0, sp.xlogy(x, x), 0.0), 0.0, 1.0, 0, -INF),
    # vertical tangents and cusps
    "cube root": (jnp.cbrt, 0.0, 1.0, INF, INF),
    "cusp": (lambda x: jnp.sqrt(jnp.abs(x)), 0.0, 1.0, -INF, INF),
}  # fmt: skip


@pytest.mark.parametrize("name", SIDES)
def test_each_side_has_a_slope_an_infinity_or_nothing(name):
    f, at, along, *expected = SIDES[name]
    sides = [side[()] for side in one_sided(f, at, along)]
    for side, value in zip(sides, expected, strict=True):
        if value is None:
            assert side is None
        elif abs(value) == INF:
            assert side == value
        else:
            assert float(side) == pytest.approx(value, abs=1e-4)
            assert side.rel_accuracy_bits() > 198 or abs(side) < arb((1, -1074))
    left, right = expected
    if left == right is not None or (left is None) != (right is None):
        found = derivative(f, at, along)
        assert ("other side" in found.kind) == (left is None or right is None)
        there = left if right is None else right
        assert found.value[()] == there or float(found.value[()]) == pytest.approx(there)
    else:
        with pytest.raises(Undecided, match="kink" if left is not None else "either side"):
            derivative(f, at, along)


NOWHERE = {
    "a jump": (jnp.sign, 0.0, "jump"),
    "an open jump": (lambda x: jnp.where(unproved_zero(x) > 0, 2.0, x), 0.0, "jump"),
    "a pole": (jnp.log, 0.0, "value -inf at the point"),
    "0/0": (lambda x: jnp.sin(x) / x, 0.0, "no value at the point"),
    "a lone point": (lambda x: jnp.where(x == 0, 5.0, x), 0.0, "jump"),
    "an oscillation": (lambda x: jnp.where(x == 0, 0.0, x * jnp.sin(1 / x)), 0.0, "oscillation"),
    "no ball on either side": (lambda x: jnp.sqrt(unproved_zero(0 * x)), 0.0, "no ball"),
    "one open side": (
        lambda x: jnp.sqrt(unproved_zero(jax.nn.relu(x) ** 2)), 0.0, "no ball"),
    "infinite": (jnp.exp, INF, "value .inf at the point, where argument 0 is infinite"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOWHERE)
def test_no_derivative_is_undecided_in_words(name):
    f, at, words = NOWHERE[name]
    for take in (derivative, one_sided):
        with pytest.raises(Undecided, match=words):
            take(f, at, 1.0)


def test_where_no_ball_encloses_the_point_a_smooth_function_still_has_a_derivative():
    def f(x):
        return jnp.where(unproved_zero(x) > 0, jnp.sin(x), x)

    assert abs(derivative(f, 0.0, 1.0).value[()] - 1) < arb(10) ** -60


def test_an_infinite_coordinate_does_not_move():
    def loss(z):
        return -jax.nn.log_softmax(z)[1]

    masked = np.array([-INF, 0.0, 0.0])
    for index, slope in enumerate([0.0, -0.5, 0.5]):
        assert float(derivative(loss, masked, np.eye(3)[index]).value[()]) == slope
    assert float(derivative(loss, masked, np.array([7.0, 1.0, 0.0])).value[()]) == -0.5
    assert derivative(jnp.exp, -INF, 1.0).value[()] == 0


def test_nan_and_infinite_directions_are_refused_by_name():
    with pytest.raises(InputError, match=r"at\['w'\]: expected numbers, got NaN"):
        derivative(lambda p: p["w"] ** 2, {"w": float("nan")}, {"w": 1.0})
    with pytest.raises(InputError, match="direction: expected finite numbers"):
        derivative(jnp.exp, 1.0, INF)


def test_a_direction_that_moves_nothing_is_refused():
    with pytest.raises(InputError, match="direction"):
        derivative(jnp.exp, 1.0, 0.0)
    with pytest.raises(InputError, match="direction"):
        derivative(lambda x, y: x * y, (1.0, 2.0), (1.0,))


def test_integer_outputs_are_refused():
    with pytest.raises(InputError, match="floating outputs"):
        derivative(jnp.argmax, np.array([1.0, 2.0]), np.array([1.0, 0.0]))
