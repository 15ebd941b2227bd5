"""What the tests of the derivations share: lines evaluated once, and lines that are wrong."""

import functools

import pytest

from handgrad.derivations import checking


@functools.cache
def values(step, name, digits):
    from handgrad.derivations import derivation

    return evaluate(step, checking.examples(derivation(name)), digits)


evaluate = checking.line_values


@pytest.fixture
def right_lines_once(monkeypatch):
    """`check` as it is, but a line of the table is evaluated once for all tests."""
    from handgrad.derivations import DERIVATIONS

    owner = {id(step): entry.name for entry in DERIVATIONS for step in entry.steps}

    def line_values(step, points, digits):
        if id(step) in owner:
            return values(step, owner[id(step)], digits)
        return evaluate(step, points, digits)

    monkeypatch.setattr(checking, "line_values", line_values)
