"""Every statement of the notes: what is on record comes out, and what is altered does not."""

import json
from collections import Counter
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb

from benchmarks.judge import wrong_binary as wb
from benchmarks.notes import checks, records, statements
from benchmarks.notes.__main__ import notes
from benchmarks.notes.checks import decimals
from benchmarks.notes.records import AGREES, DIFFERS, check
from handgrad.catalogue import BINARY, NEURAL
from handgrad.errors import InputError
from handgrad.gradients import (
    bernoulli,
    cross_entropy,
    logistic,
    perceptron,
    sigmoid,
    softmax,
    squared_error,
)

name_of = lambda statement: statement.name
HOLDING = [s for s in statements.STATEMENTS if s.expected == AGREES]


@cache
def found(name):
    """What comes of a statement, computed once."""
    return check(statements.statement(name))


def mostly_slow(entries, every):
    """One of `every` entries runs in `make test`, all of them in `make proofs`."""
    return [
        entry if number % every == 0 else pytest.param(entry, marks=pytest.mark.slow)
        for number, entry in enumerate(entries)
    ]


def altered(claimed):
    """The claim, a little off: another last digit, another word, a function off by a millionth."""
    if callable(claimed):
        return lambda *args: jax.tree.map(lambda v: v * (1 + 2e-6) + 1e-9, claimed(*args))
    if isinstance(claimed, str) and claimed.replace(".", "").isdigit():
        return claimed[:-1] + str((int(claimed[-1]) + 1) % 10)
    if isinstance(claimed, tuple) and isinstance(claimed[0], str) and claimed[0][0].isdigit():
        return (altered(claimed[0]), *claimed[1:])
    return ("something else", claimed)


def test_the_record_is_complete():
    names = [s.name for s in statements.STATEMENTS]
    assert len(set(names)) == len(names) >= 100
    assert len(statements.errata()) >= 30
    for s in statements.STATEMENTS:
        assert s.says
        assert s.section
        assert (s.expected == DIFFERS) == bool(s.reads) == bool(s.kind) == (s.corrected is not None)
    assert {s.text for s in statements.STATEMENTS} >= {BINARY, NEURAL}


@pytest.mark.parametrize("statement", mostly_slow(statements.STATEMENTS, 12), ids=name_of)
def test_a_statement_comes_out_as_recorded(statement):
    entry = found(statement.name)
    assert entry.verdict == statement.expected, entry.found
    assert entry.as_recorded
    assert entry.found


@pytest.mark.parametrize("statement", mostly_slow(HOLDING, 12), ids=name_of)
def test_what_holds_does_not_hold_when_altered(statement):
    entry = check(replace(statement, claimed=altered(statement.claimed)))
    assert entry.verdict == DIFFERS, entry.found
    assert not entry.as_recorded


@pytest.mark.parametrize("statement", mostly_slow(statements.errata(), 10), ids=name_of)
def test_what_does_not_hold_holds_when_corrected(statement):
    entry = check(replace(statement, claimed=statement.corrected))
    assert entry.verdict == AGREES, entry.found


EVIDENCE = [
    ("step_sign", "v + w, in place of their difference"),
    ("bias_step", "hand/truth: .weight [1, 1, 1]; .bias"),
    ("loop_bias_feature", ".bias: an extra factor x[:, 0]"),
    ("loop_bias_sum", ".bias: an extra factor Σ x"),
    ("loop_bias_often", ".bias: 3 times too large"),
    ("misplaced_bracket", ".weight: only coordinate [0] differs"),
    ("sum_and_mean", "a mean forgotten (ratio 12)"),
    ("minimise_log", "sign flipped"),
    ("log_likelihood_over_n", "sign flipped"),
    ("brackets", "sign flipped (ratio −1) at [2] only"),
    ("student_exercise", "squared error's gradient through a sigmoid"),
    ("softmax_code", "IndentationError: expected an indented block"),
    ("float_", "AttributeError: `np.float_` was removed"),
    ("certain_and_right", "nan"),
    ("certain_mistake", "−ln 0 = ∞"),
    ("inversely_proportional", "their quotient goes from 0.0099"),
    ("line", "it is 0.5 and 0.5, not 0"),
    ("pushing_textbook", "at 17 is 0, in truth -4.1399"),
    ("pushing_accurate", "identical to 60 digits"),
    ("letters", "IndexError"),
]


@pytest.mark.parametrize("entry", mostly_slow(EVIDENCE, 5), ids=lambda entry: entry[0])
def test_the_evidence_of_an_erratum(entry):
    name, evidence = entry
    assert evidence in found(name).found


@pytest.mark.slow
def test_the_judge_is_quoted():
    """Where a gradient is claimed, the judge's own verdict is at hand, with its cause."""
    every = [found(s.name) for s in statements.STATEMENTS]
    judged = [entry for entry in every if entry.judged is not None]
    assert Counter(entry.verdict for entry in judged)[DIFFERS] >= 12
    wrong = [e.judged for e in judged if e.judged.hand == "different"]
    assert all(verdict.cause and not verdict.ok for verdict in wrong)
    assert all(verdict.autodiff == "identical" for verdict in wrong)


def test_a_name_that_is_none():
    assert statements.statement("line").says
    with pytest.raises(InputError, match="statement: expected a name from the notes, got 'lime'"):
        statements.statement("lime")


def uphill(params, x, y):
    value, slope = VALUE_AND_GRADIENT(params, x, y)
    return value, jax.tree.map(jnp.negative, slope)


VALUE_AND_GRADIENT = logistic.value_and_gradient
PLANTED = [
    (perceptron, "gradient", logistic.gradient, "perceptron_stops"),
    (perceptron, "rule", lambda p, x, y: p, "perceptron_never_again"),
    (perceptron, "mistakes", logistic.loss, "no_staircase"),
    (sigmoid, "step", sigmoid.sigmoid, "step_function"),
    (sigmoid, "step", sigmoid.sigmoid, "continuous_predictions"),
    (sigmoid, "sigmoid", sigmoid.softplus, "zero_to_one"),
    (cross_entropy, "binary_from_probabilities", lambda p, y: p - y, "good_classifier"),
    (cross_entropy, "binary_residual", lambda z, y: jnp.minimum(z - 9, 0), "descent_keeps_pushing"),
    (squared_error, "from_logits_gradient", cross_entropy.binary_residual, "local_minima"),
    (bernoulli, "likelihood", lambda p, y: jnp.sum(p), "likeliest_doors"),
    (bernoulli, "likelihood", lambda p, y: jnp.min(p), "maximum_is_minimum"),
    (bernoulli, "negative_log_likelihood", lambda p, y: jnp.sum(p), "likely_outcomes_cost_little"),
    (logistic, "value_and_gradient", uphill, "downhill"),
    (logistic, "value_and_gradient", uphill, "line_moves"),
    (logistic, "gradient", lambda p, x, y: uphill(p, x, y)[1], "uphill"),
    (logistic, "gradient", lambda p, x, y: jax.tree.map(jnp.ones_like, p), "until_small"),
]  # fmt: skip


@pytest.mark.parametrize("planted", mostly_slow(PLANTED, 3), ids=lambda p: f"{p[1]}-{p[3]}")
def test_a_fault_planted_in_the_package_is_seen(monkeypatch, planted):
    """Words and numbers that are measured come from the package: where it is wrong, so are they."""
    room, name, wrong, seen_in = planted
    monkeypatch.setattr(room, name, wrong)
    assert not check(statements.statement(seen_in)).as_recorded


# --- the checks themselves, with planted faults ---------------------------------------------------


def test_figures_hold_to_half_a_unit_of_their_last_place():
    look = checks.figures(softmax.softmax, np.array([2.0, 1.0, 0.0]))
    assert look(("0.67", "0.24", "0.09")).agrees
    assert look(("0.665", "0.245", "0.090")).agrees
    assert not look(("0.66", "0.24", "0.09")).agrees
    assert not look(("0.67", "0.24")).agrees
    rounds = checks.rounds_to
    assert (
        rounds(arb("0.665"), "0.67") is rounds(arb("0.665"), "0.66") is False
    )  # a ball, undecided
    assert rounds(arb(5) / 8, "0.625")
    assert not rounds(arb(5) / 8, "0.626")


def test_decimals_are_not_floats():
    (tenth,) = decimals("0.1")
    assert not tenth.overlaps(arb(0.1))
    assert (tenth * 10).overlaps(arb(1))


def test_a_formula_is_held_to_sixty_digits_at_every_point():
    points = ((decimals("0.3"),), (decimals("0.9"),))
    assert checks.formula(jnp.log, *points)(jnp.log).agrees
    off = checks.formula(jnp.log, *points)(lambda p: jnp.log(p) * (1 + 2.0**-50))
    assert not off.agrees
    elsewhere = checks.formula(jnp.log, *points)(lambda p: jnp.where(p > 0.5, jnp.log(p), 0.0 * p))
    assert elsewhere.found == "0 where -1.203973 is right"
    assert not checks.formula(jnp.log)(jnp.log).agrees  # nothing compared
    assert not checks.formula(jnp.log, *points)(lambda p: jnp.append(p, p)).agrees


def test_proportional_exactly_and_trend():
    points = ((decimals("0.3")[0],), (decimals("0.9")[0],))
    assert checks.proportional(jnp.log, *points)(lambda p: 7 * jnp.log(p)).agrees
    assert not checks.proportional(jnp.log, *points)(lambda p: 1 / p).agrees
    assert checks.exactly(abs, (1,), (-1,))(lambda n: n * n).agrees
    assert checks.exactly(abs, (2,))(lambda n: n * n).found == "4 where 2 is right"
    assert checks.exactly(abs, (2,))(lambda n: n / 0).found.startswith("ZeroDivisionError")
    assert not checks.exactly(abs)(abs).agrees
    assert checks.trend(jnp.log, np.array([1.0, 2.0]))("rises").agrees
    assert not checks.trend(jnp.log, np.array([1.0, 2.0]))("falls").agrees
    assert checks.direction([1.0]) == "turns"


def test_code_is_run():
    source = "def f(x):\n    return [x / 3]\n"
    assert checks.code(("0.33",), 1.0)(source).agrees
    assert not checks.code(("0.34",), 1.0)(source).agrees
    assert not checks.code(("0.33", "0.33"), 1.0)(source).agrees
    assert checks.code(("0.33",), 1.0)("def f(x)").found == "SyntaxError: expected ':'"
    assert checks.code(("0.33",), 1.0)("").found.startswith("KeyError")
    assert checks.code(("0.33",), np.float64(np.nan))(source).found == "it returns nan"


def test_the_judge_is_asked():
    at = wb.scores_and_labels(jax.random.key(0))
    loss = lambda z, y: jnp.sum(cross_entropy.binary(z, y))
    look = checks.gradient(loss, at)
    assert look(cross_entropy.binary_residual).agrees
    assert "sign flipped" in look(lambda z, y: -cross_entropy.binary_residual(z, y)).found
    at_17 = (np.array([17.0]), np.array([1.0]))
    assert checks.gradient(loss, at_17)(cross_entropy.binary_residual_textbook).agrees
    assert not checks.floats(loss, at_17)(cross_entropy.binary_residual_textbook).agrees


def test_a_statement_on_record_with_the_wrong_verdict_is_seen():
    wrong = replace(statements.statement("softmax_table"), expected=DIFFERS)
    assert not records.check(wrong).as_recorded


# --- the command ----------------------------------------------------------------------------------

SOME = ("sum_of_values", "softmax_table", "softmax_code", "step_sign", "pushing_textbook")


def test_statements_and_errata_are_printed_and_written(script, monkeypatch, tmp_path):
    monkeypatch.setattr(statements, "STATEMENTS", tuple(map(statements.statement, SOME)))
    result = script(notes, "--json", tmp_path / "notes.json")
    assert (result.code, result.err) == (0, "")
    assert "…" not in result.out.replace("x₁ …", "")  # no column is cut at 80
    first, second = result.out.split("Errata")
    assert "Sigmoid Function (softmax)" in first
    assert "agrees    scores 2, 1, 0 have the probabilities" in first
    assert "0.665241, 0.2447285" in first
    assert "4. Neural networks: Gradient Descent Algorithm (in floats)" in second
    assert "IndentationError" in second
    assert "w + α(y − ŷ) x" in second
    assert "5 statements: 1 agree, 4 differ" in result.out
    words = " ".join(result.out.split())
    assert "1 of How did binary cross-entropy loss come into existence?" in words
    assert "4 of Neural networks" in words
    assert "2 went before the judge" in result.out
    assert "all came out as recorded" in result.out
    rows = json.loads((tmp_path / "notes.json").read_text())["statements"]
    assert [row["name"] for row in rows] == list(SOME)
    assert [row["verdict"] for row in rows] == [row["expected"] for row in rows]
    sign = rows[3]
    assert sign["judge"]["hand"] == "different"
    assert sign["judge"]["cause"] in sign["found"]
    assert sign["reads"] == "w + α(y − ŷ) x"
    assert rows[1]["reads"] is rows[1]["judge"] is rows[1]["kind"] is None


def test_a_verdict_that_is_not_on_record_gives_exit_code_1(script, monkeypatch):
    table = statements.statement("softmax_table")
    wrong = replace(table, claimed=("0.66", "0.24", "0.09"))
    monkeypatch.setattr(statements, "STATEMENTS", (wrong,))
    result = script(notes)
    assert result.code == 1
    assert "not as recorded: softmax_table differs, where agrees is on record" in result.out
    assert "as recorded\n" not in result.out.replace("not as recorded", "")


def test_bad_options_are_refused_before_any_work(script):
    result = script(notes, "--json", "notes.txt")
    assert (result.code, result.out) == (2, "")
    assert "--json: expected a file name ending in .json" in result.err
