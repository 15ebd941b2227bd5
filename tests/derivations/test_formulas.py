"""The formulas as LaTeX: balanced, plain, and in words a reader can do without the code."""

import itertools
import re

import jax
import pytest

from handgrad._precision import x64
from handgrad.derivations import DERIVATIONS, Limit, derivation
from handgrad.derivations.checking import examples

NAMES = [entry.name for entry in DERIVATIONS]
TOKEN = re.compile(r"\\(?:begin|end)\{\w+\}|\\(?:left|right)|\\[a-zA-Z]+|\\.|[{}()\[\]]")
CLOSES = {"}": "{", r"\right": r"\left"}
COMMANDS = r"""
    \frac \partial \left \right \log \sum \prod \lim \to \hat \sigma \ldots \cdot \circ \top
    \delta \quad \neq \ell \mathrm \langle \rangle \max \tanh \nabla \lambda \theta \varphi
    \varepsilon \alpha \leq \begin \end
"""


def fault(latex):
    """What is not balanced in a formula, or None."""
    open_, round_ = [], 0
    for token in TOKEN.findall(latex):
        if token.startswith((r"\begin", "{")) or token == r"\left":
            open_.append(token.replace("begin", "end"))
        elif token.startswith(r"\end") or token in CLOSES:
            wanted = CLOSES.get(token, token)
            if not open_ or open_.pop() != wanted:
                return f"{token} closes nothing"
        elif token in ("(", ")"):
            round_ += 1 if token == "(" else -1
        if round_ < 0:
            return ") closes nothing"
    if open_ or round_:
        return f"{open_ or '('} is not closed"
    return None


@pytest.mark.parametrize(
    "latex",
    [r"\frac{a}{b", r"a}", r"\left( a", r"a \right)", r"\begin{cases} a", r"\left( {a \right) }",
     r"\begin{a} \end{b}", r"f(x", r"f)x("],
)  # fmt: skip
def test_an_unbalanced_formula_is_seen(latex):
    assert fault(latex)


def test_a_balanced_formula_is_not():
    assert fault(r"\left( \frac{a}{b} \right) \begin{cases} f(x) & [a] \end{cases}") is None


@pytest.mark.parametrize("name", NAMES)
def test_every_formula_is_balanced_ascii_and_begins_with_its_sign(name):
    entry = derivation(name)
    for formula in (entry.of, *(step.formula for step in entry.steps)):
        assert fault(formula) is None, formula
        assert formula.isascii()
        assert "$" not in formula
        assert set(re.findall(r"\\[a-zA-Z]+", formula)) <= set(COMMANDS.split()), formula
    assert all(step.formula.startswith("= ") for step in entry.steps)
    assert not entry.of.startswith("=")


def leaves_open(value, args, monkeypatch):
    """Whether autodiff is called on the way to a value."""
    called = []

    def watched(transform):
        def transformed(*args, **options):
            called.append(transform)
            return transform(*args, **options)

        return transformed

    with monkeypatch.context() as patch, x64():
        for name in ("vjp", "jvp", "jacfwd", "jacrev", "grad", "jacobian"):
            patch.setattr(jax, name, watched(getattr(jax, name)))
        jax.eval_shape(
            lambda *fresh: value(*fresh), *args
        )  # JAX would remember the function itself
    return bool(called)


@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_as_worked_out_as_its_formula(name, monkeypatch):
    """Autodiff stands in for a ∂ exactly where the line still has one, and never at the end."""
    entry = derivation(name)
    args = examples(entry)[0]
    for step in entry.steps:
        if not isinstance(step.value, Limit):
            has_derivative = any(sign in step.formula for sign in (r"\partial", "'", r"\nabla"))
            assert leaves_open(step.value, args, monkeypatch) == has_derivative, step.formula
    assert not leaves_open(entry.steps[-1].value, args, monkeypatch)


@pytest.mark.parametrize("name", NAMES)
def test_every_line_has_a_reason_and_every_derivation_its_words(name):
    entry = derivation(name)
    assert all(step.reason.strip() == step.reason != "" for step in entry.steps)
    assert "definition" in entry.steps[0].reason
    assert entry.given.endswith(".")
    assert entry.title
    assert entry.source in (
        "Neural networks",
        "How did binary cross-entropy loss come into existence?",
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_two_lines_in_a_row_say_the_same(name):
    formulas = [step.formula for step in derivation(name).steps]
    assert all(a != b for a, b in itertools.pairwise(formulas))
