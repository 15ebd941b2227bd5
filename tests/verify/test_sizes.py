"""Large problems: fewer evaluations, the same verdicts; too large: never right, said at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb

from handgrad.exact import Undecided, balls, trace
from handgrad.exact.elementwise import (
    FEW,
    RULES,
    absolute,
    add,
    divide,
    log1p,
    logarithm,
    power,
    rsqrt,
    subtract,
)
from handgrad.exact.evaluation import effort_of
from handgrad.exact.reductions import sum_over
from handgrad.verify import mathematics, verify, witnesses

pytestmark = pytest.mark.usefixtures("without_diagnosis")

NUMBERS = np.linspace(-3.0, 3.0, 2 * FEW + 1)
"""With 0 among them."""


def logistic(z, y):
    return jnp.mean(jnp.logaddexp(0, z) - y * z)


def residual(z, y):
    return (jax.nn.sigmoid(z) - y) / z.size


def off_in_one(z, y):
    return residual(z, y).at[3].multiply(1.5)


AT = (NUMBERS, (NUMBERS > 0.2) * 1.0)


# --- many balls at once ---------------------------------------------------------------------------


EDGES = balls.as_balls(np.array([*NUMBERS, np.inf, -np.inf, np.nan]))
WIDE = np.array([arb(2).sqrt()] * len(EDGES))
UNCERTAIN = np.array([arb(x, 1.0) for x in np.linspace(-3, 3, len(EDGES))])
OUTSIDE = {
    "log": lambda x: x < 0,
    "log1p": lambda x: x < -1,
    "pow": lambda x, y: x < 0 and not y.contains_integer(),
    "rsqrt": lambda x: x < 0,
}
"""Where functions surely have no value."""


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("add", add), ("sub", subtract), ("div", divide), ("max", balls.maximum),
        ("min", balls.minimum), ("pow", power),
    ],
    ids=["add", "sub", "div", "max", "min", "pow"],
)  # fmt: skip
def test_many_pairs_come_out_as_one_by_one(name, function):
    """Objects too: adding 0 keeps one, and a − a is exactly 0."""
    for a in (EDGES, UNCERTAIN):
        for b in (a, a[::-1], WIDE, np.broadcast_to(WIDE[:1], WIDE.shape)):
            got = RULES[name](a, b)
            for entry, one, two in zip(got, a, b, strict=True):
                expected = balls.settling(function, outside=OUTSIDE.get(name))(one, two)
                assert_same(entry, expected, one, two)


@pytest.mark.parametrize(
    ("name", "function"),
    [("abs", absolute), ("log", logarithm), ("log1p", log1p), ("rsqrt", rsqrt)],
    ids=["abs", "log", "log1p", "rsqrt"],
)
def test_many_numbers_come_out_as_one_by_one(name, function):
    careful = balls.settling(function, outside=OUTSIDE.get(name))
    for array in (EDGES, UNCERTAIN, WIDE):
        for entry, x in zip(RULES[name](array), array, strict=True):
            assert_same(entry, careful(x), x)


def assert_same(entry, expected, *operands):
    same = entry is expected or (entry - expected).is_zero() or str(entry) == str(expected)
    assert same
    assert all((entry is x) == (expected is x) for x in operands)
    assert (entry is balls.NAN) == (expected is balls.NAN)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("lt", balls.less), ("le", balls.less_equal), ("gt", balls.greater),
        ("ge", balls.greater_equal), ("eq", balls.equal), ("ne", balls.not_equal),
    ],
    ids=["lt", "le", "gt", "ge", "eq", "ne"],
)  # fmt: skip
def test_many_answers_are_those_of_each_entry(name, function):
    for a, b in ((EDGES, EDGES), (EDGES, EDGES[::-1]), (EDGES, WIDE), (WIDE, WIDE)):
        assert RULES[name](a, b).tolist() == [function(*pair) for pair in zip(a, b, strict=True)]
    with pytest.raises(Undecided):
        RULES[name](UNCERTAIN, UNCERTAIN[::-1])


def test_what_repeats_one_entry_is_computed_once():
    once = RULES["exp"](np.broadcast_to(balls.as_balls(0.5), (2 * FEW,)))
    assert once.shape == (2 * FEW,)
    assert all(entry is once[0] for entry in once)
    assert once[0].overlaps(arb(0.5).exp())


def test_a_sum_of_zeros_and_one_number_is_that_number():
    row = balls.as_balls(np.zeros(2 * FEW))
    row[5] = arb(2).sqrt()
    assert sum_over(row, axes=(0,))[()] is row[5]
    row[:] = [arb(2).sqrt()] * len(row)
    assert sum_over(row, axes=(0,))[()].overlaps(arb(8).sqrt() * FEW)


def test_accuracy_of_a_list_is_that_of_its_worst_ball():
    exact, rough, zero = arb(1), arb(1, 1e-3), arb(0, 1e-400)
    assert balls.are_accurate([exact, exact], 100)
    assert balls.are_accurate([exact, zero], 8)
    assert not balls.are_accurate([exact, rough], 100)
    assert balls.are_accurate([], 100)


def test_a_loop_counts_as_often_as_it_runs():
    def once(x):
        return jnp.sin(x) * 2

    def loop(x):
        return jax.lax.scan(lambda c, _: (once(c), None), x, length=7)[0]

    def work(f):
        return effort_of(trace(f, np.ones(3)).jaxpr).numbers - 3

    assert work(loop) >= 7 * work(once)


def test_a_point_is_evaluated_once(monkeypatch):
    """As long as no more digits are asked for; what is handed out may be written into."""
    counted = []
    evaluate = witnesses.exact.evaluate_jaxpr
    monkeypatch.setattr(
        witnesses.exact, "evaluate_jaxpr", lambda *a, **k: counted.append(1) or evaluate(*a, **k)
    )
    problem = witnesses.Problem(residual, logistic, AT)
    programs = witnesses.trace_all(problem, "float64")
    first = programs.row(programs.hand, list(AT), 60)
    first[:] = None
    assert None not in programs.row(programs.hand, list(AT), 30)
    assert len(counted) == 1
    programs.row(programs.hand, list(AT), 70)
    programs.row(programs.hand, [AT[0] + 1, AT[1]], 60)
    programs.row(programs.autodiff, list(AT), 60)
    programs.row(programs.hand, list(AT), 60, "rounded")
    assert len(counted) == 5
    programs.row(programs.hand, [balls.as_balls(AT[0]), AT[1]], 60)
    assert len(counted) == 6


def test_the_value_of_the_loss_is_dead_code_of_its_gradient():
    programs = witnesses.trace_all(witnesses.Problem(residual, logistic, AT), "float64")
    names = [equation.primitive.name for equation in programs.autodiff.jaxpr.jaxpr.eqns]
    assert "reduce_sum" not in names
    assert names.count("exp") == 1


# --- where evaluations are expensive --------------------------------------------------------------


@pytest.fixture
def expensive(monkeypatch):
    monkeypatch.setattr(witnesses, "EXPENSIVE_SECONDS", 0.0)


@pytest.mark.usefixtures("expensive")
def test_with_fewer_evaluations_the_verdicts_are_the_same():
    right = verify(residual, of=logistic, at=AT, evaluations=16)
    assert (right.ok, right.compared) == (True, len(NUMBERS))
    assert right.truth.endswith("confirmed by differences of the loss along a random direction")
    wrong = verify(off_in_one, of=logistic, at=AT, evaluations=16)
    assert (wrong.ok, wrong.hand, wrong.where) == (False, "different", "z[3]")


# --- where there is too much ----------------------------------------------------------------------


@pytest.fixture
def too_large(monkeypatch):
    monkeypatch.setattr(mathematics, "MOST_SECONDS", 0.0)


@pytest.mark.usefixtures("too_large")
def test_what_is_too_large_is_undecided_with_an_estimate():
    verdict = verify(residual, of=logistic, at=AT)
    assert (verdict.ok, verdict.hand, verdict.numerics) == (False, "undecided", ())
    assert "33 coordinates are too many for exact arithmetic here" in verdict.fault
    assert "would take about 1 s and 1 GB" in verdict.fault
    assert "agree at all 33 coordinates" in verdict.notes[0]


@pytest.mark.usefixtures("too_large")
@pytest.mark.parametrize("wrong", [off_in_one, lambda z, y: residual(z, y).at[3].set(jnp.nan)])
def test_one_coordinate_that_autodiff_does_not_share_is_caught_at_any_size(wrong):
    verdict = verify(wrong, of=logistic, at=AT)
    assert (verdict.ok, verdict.hand, verdict.where) == (False, "different", "z[3]")
    assert "differences of the loss give" in verdict.cause


@pytest.mark.usefixtures("too_large")
def test_what_is_wrong_everywhere_is_convicted_where_it_shows_best():
    """Not at a coordinate so small that float64 cannot difference the loss there."""
    at = (np.where(np.arange(len(NUMBERS)) == 4, -36.0, NUMBERS), np.zeros(len(NUMBERS)))
    verdict = verify(lambda z, y: 2 * residual(z, y), of=logistic, at=at)
    assert (verdict.ok, verdict.hand) == (False, "different")
    assert verdict.where == f"z[{len(NUMBERS) - 1}]"


@pytest.mark.usefixtures("too_large")
@pytest.mark.parametrize(("slope", "status"), [(0.4, "undecided"), (1.5, "undecided")])
def test_at_a_kink_nothing_is_said(slope, status):
    """|x| at 0 has every slope between −1 and 1; at 1.5 only balls would convict."""
    x = np.array([-1.0, 0.0, 2.0])
    verdict = verify(
        lambda x: jnp.where(x == 0, slope, jnp.sign(x)), of=lambda x: jnp.sum(jnp.abs(x)), at=(x,)
    )
    assert (verdict.ok, verdict.hand) == (False, status)
    assert "differ at 1 of 3 coordinates" in verdict.notes[0]


def test_the_time_given_decides_what_is_too_large():
    at = np.zeros(200_000), np.zeros(200_000)
    verdict = verify(residual, of=logistic, at=at, seconds=0.1)
    assert "200,000 coordinates are too many for exact arithmetic" in verdict.fault


# --- time -----------------------------------------------------------------------------------------


def test_an_evaluation_that_takes_far_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(witnesses, "GRACE_SECONDS", -1e6)
    verdict = verify(residual, of=logistic, at=AT, seconds=100)
    assert (verdict.ok, verdict.hand, verdict.compared) == (False, "undecided", 0)
    assert verdict.notes[-1].startswith("the 100 seconds given were over")
    assert "not done: mathematics at 1 of 1 points; numerics in float32" in verdict.notes[-1]


def test_what_takes_long_is_told_again(monkeypatch):
    monkeypatch.setattr(witnesses, "QUIET_SECONDS", -1.0)
    monkeypatch.setattr(witnesses, "REPEATED_SECONDS", 0.0)
    told = []
    verify(residual, of=logistic, at=AT, evaluations=0, progress=told.append)
    assert any(stage.endswith("s so far") for stage in told)
