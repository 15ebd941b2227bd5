"""Every derivation: all lines agree, from the definition to what the catalogue computes."""

from dataclasses import replace

import jax.numpy as jnp
import pytest

from handgrad.catalogue import CASES, case
from handgrad.derivations import DERIVATIONS, Limit, Step, check, derivation
from handgrad.derivations.binary import SCALE
from handgrad.derivations.linear_models import LAMBDA
from handgrad.errors import InputError
from handgrad.gradients import cross_entropy, logistic, sigmoid, softmax

NAMES = [entry.name for entry in DERIVATIONS]
KINKED = {"step", "relu", "perceptron", "mlp_relu_deep"}
VALUES = {
    "binary_cross_entropy": lambda z, y: jnp.mean(cross_entropy.binary(z, y)),
    "categorical_cross_entropy": lambda z, y: jnp.mean(cross_entropy.categorical(z, y)),
    "sigmoid_symmetry": lambda z: 1 - sigmoid.sigmoid(z),
    "two_classes": lambda z: softmax.softmax(z)[:, 0],
}
"""Derivations of values: there is no derivative in them, and this is what they are of."""


def compared(left, right, example, name="ends"):
    """Two functions of the same arguments, before the same judge as two lines."""
    lines = (Step("=", "the one", left), Step("=", "the other", right))
    return check(replace(DERIVATIONS[0], name=name, example=example, steps=lines))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("right_lines_once", "one_point")
def test_every_line_equals_the_one_before_to_60_digits(name):
    assert_lines_agree(name, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_and_at_every_point(name):
    assert_lines_agree(name, 3)


def assert_lines_agree(name, points):
    checked = check(derivation(name))
    assert checked.fault is None
    assert checked.ok
    assert (checked.digits, checked.points) == (60, points)
    assert [line.number for line in checked.lines] == list(range(1, len(checked.lines) + 1))
    assert all(line.compared >= points for line in checked.lines[1:])
    assert checked.compared == sum(line.compared for line in checked.lines)


def test_there_are_enough_lines():
    assert len(NAMES) == len(set(NAMES)) >= 40
    assert sum(len(entry.steps) for entry in DERIVATIONS) >= 250
    assert all(len(entry.steps) >= 3 for entry in DERIVATIONS)


@pytest.mark.parametrize("name", [entry.name for entry in CASES])
@pytest.mark.usefixtures("one_point")
def test_the_last_line_is_the_gradient_of_the_catalogue(name):
    entry = case(name)
    last = derivation(entry.derivation).steps[-1].value
    checked = compared(last, entry.gradient, entry.example, name)
    assert (checked.fault, checked.digits) == (None, 60)


@pytest.mark.parametrize("name", [entry.name for entry in CASES])
@pytest.mark.usefixtures("one_point")
def test_the_first_line_is_the_derivative_of_the_loss_of_the_catalogue(name):
    entry = case(name)
    first = derivation(entry.derivation).steps[0].value
    assert isinstance(first, Limit)
    assert first.argnums == entry.argnums
    checked = compared(first.of, entry.loss, entry.example, name)
    assert (checked.fault, checked.digits) == (None, 60)


@pytest.mark.parametrize("name", NAMES)
def test_a_derivation_begins_with_a_limit_or_with_the_definition_of_a_value(name):
    steps = derivation(name).steps
    assert isinstance(steps[0].value, Limit) != (name in VALUES)
    assert not any(isinstance(step.value, Limit) for step in steps[1:])


@pytest.mark.parametrize("name", VALUES)
def test_the_last_line_of_a_value_is_the_value(name):
    entry = derivation(name)
    checked = compared(entry.steps[-1].value, VALUES[name], entry.example, name)
    assert (checked.fault, checked.digits) == (None, 60)


def test_the_hessian_is_the_one_of_the_house():
    entry = derivation("logistic_hessian")
    assert compared(entry.steps[-1].value, logistic.hessian, entry.example).fault is None


def test_constants_are_those_of_the_catalogue():
    assert case("logistic_l2").gradient.keywords == {"l2": LAMBDA}
    assert case("scaled_square").gradient.keywords == {"scale": SCALE}


@pytest.mark.parametrize("name", NAMES)
def test_kinks_are_declared_and_nothing_else_is(name):
    assert ("kink" in derivation(name).given) == (name in KINKED)


def test_a_derivation_is_found_by_its_name():
    assert derivation("logistic") is DERIVATIONS[NAMES.index("logistic")]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("sigmod", "sigmoid"), ("mlp_relu", "mlp_relu_deep"), ("?", "logistic")],
)
def test_an_unknown_name_is_refused_with_the_closest_ones(name, suggestion):
    with pytest.raises(InputError, match="derivation: expected the name of one of") as refusal:
        derivation(name)
    assert suggestion in refusal.value.remedy
