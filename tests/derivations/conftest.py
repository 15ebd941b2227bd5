"""What the tests of the derivations share: lines evaluated once, and lines that are wrong."""

import functools

import pytest

from handgrad.derivations import DERIVATIONS, checking, derivation

evaluate = checking.line_values


@functools.cache
def values(step, name, digits, count):
    return evaluate(step, checking.examples(derivation(name))[:count], digits)


@pytest.fixture
def right_lines_once(monkeypatch):
    """`check` as it is, but a line of the table is evaluated once for all tests."""
    owner = {id(step): entry.name for entry in DERIVATIONS for step in entry.steps}

    def line_values(step, points, digits):
        if id(step) in owner:
            return values(step, owner[id(step)], digits, len(points))
        return evaluate(step, points, digits)

    monkeypatch.setattr(checking, "line_values", line_values)


@pytest.fixture
def one_point(monkeypatch):
    """`check` at one example, for what holds a line to something of many coordinates."""
    monkeypatch.setattr(checking, "POINTS", 1)
