"""Derivatives from values alone: right where floats fail, and undecided at kinks."""

import jax
import jax.numpy as jnp
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


@pytest.mark.parametrize("f", [jnp.sign, jnp.sqrt, jnp.log], ids=["jump", "vertical", "pole"])
def test_no_derivative_is_undecided(f):
    with pytest.raises(Undecided):
        derivative(f, 0.0, 1.0)


def test_a_direction_that_moves_nothing_is_refused():
    with pytest.raises(InputError, match="direction"):
        derivative(jnp.exp, 1.0, 0.0)
    with pytest.raises(InputError, match="direction"):
        derivative(lambda x, y: x * y, (1.0, 2.0), (1.0,))


def test_integer_outputs_are_refused():
    with pytest.raises(InputError, match="floating outputs"):
        derivative(jnp.argmax, np.array([1.0, 2.0]), np.array([1.0, 0.0]))
