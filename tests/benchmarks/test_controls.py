"""Right gradients of public layers and losses before the judge, and the mistakes beside them."""

import json

import jax.numpy as jnp
import pytest

from benchmarks.judge import controls
from benchmarks.judge.controls import __main__ as command
from benchmarks.judge.controls.control import Control


def squares():
    """A sum of squares; the factor 2 forgotten."""
    return Control(
        lambda x: jnp.sum(x**2),
        lambda x, wrong=False: (1 if wrong else 2) * x,
        (jnp.array([1.0, 3.0]),),
        ("ratio 1/2",),
    )


def cubes():
    """A sum of cubes, wrong itself; and right where it should be wrong."""
    return Control(
        lambda x: jnp.sum(x**3),
        lambda x, wrong=False: 3 * x**2 if wrong else 3 * x,
        (jnp.array([1.5, 3.0]),),
        ("ratio",),
    )


def test_every_control_says_its_layer_and_its_mistake():
    makers = [make for family in controls.FAMILIES.values() for make in family]
    assert len(makers) >= 120
    assert len({make.__name__ for make in makers}) == len(makers)
    for make in makers:
        layer, _, mistake = make.__doc__.partition("; ")
        assert layer
        assert mistake.endswith("."), make.__name__
        assert all(make().cause), make.__name__


def test_a_sample_is_right_and_its_mistakes_are_caught(script, monkeypatch, tmp_path):
    few = tuple(make for make in controls.FAMILIES["layers"] if make.__name__ == "dropout")
    monkeypatch.setitem(command.FAMILIES, "layers", (*few, squares))
    path = tmp_path / "outcomes.json"
    ran = script(command.controls, "--family", "layers", "--processes", 1, "--json", path)
    assert ran.code == 0
    assert "of 2, 0 of them in NumPy" in ran.out
    outcomes = json.loads(path.read_text())["outcomes"]
    assert [o["right"] for o in outcomes] == ["right", "right"]
    assert [o["wrong"] for o in outcomes] == ["caught", "caught"]
    assert outcomes[1]["layer"] == "A sum of squares"
    assert outcomes[1]["mistake"] == "the factor 2 forgotten"
    assert outcomes[1]["named"]
    assert not outcomes[1]["accused_by"]


def test_an_accused_right_one_and_a_missed_wrong_one_are_told(script, monkeypatch):
    monkeypatch.setitem(command.FAMILIES, "layers", (cubes,))
    ran = script(command.controls, "--family", "layers", "--processes", 1, "--no-beside")
    assert ran.code == 1
    assert "accused" in ran.out
    assert "missed" in ran.out
    assert "causes named: 0% (bar 85%)" in ran.out


@pytest.mark.parametrize(("option", "value"), [("--family", "no such"), ("--only", "no such")])
def test_nothing_to_try_is_said(script, option, value):
    ran = script(command.controls, option, value)
    assert ran.code == 2
    assert "no such" in ran.err
