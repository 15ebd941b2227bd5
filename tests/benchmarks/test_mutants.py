"""The judge judged: which mutants differ is decided apart from it, and labelled by hand here."""

import json

import jax
import pytest

from benchmarks.judge import trials
from benchmarks.judge.mutants import mutants
from benchmarks.judge.mutations import mutant, mutations
from benchmarks.judge.second_opinion import differ, opinion
from benchmarks.judge.trials import CHECKS, OURS, CaseMutants, all_cases
from handgrad._precision import x64
from handgrad.catalogue import case
from handgrad.errors import InputError

# σ′ = σ(z) σ(−z): 0 logistic z, 1 neg z, 2 logistic of that, 3 mul.
# 6 (x − y): 0 sub, 1 mul by 6.   ŷ − y: 0 logistic, 1 sub.   relu′: 1 ones, 2 zeros, 3 select.
LABELS = [
    ("sigmoid", "factor", 0, "×2", True, "2σ(z)"),
    ("sigmoid", "factor", 1, "×1.001", True, "σ(−1.001 z)"),
    ("sigmoid", "sign", 0, "", True, "−σ(z)"),
    ("sigmoid", "sign", 1, "", True, "σ(z)² is no derivative of σ"),
    ("sigmoid", "sign", 3, "", True, "−σ′"),
    ("sigmoid", "replaced", 0, "", True, "tanh z for σ(z)"),
    ("sigmoid", "replaced", 1, "", True, "z for −z"),
    ("sigmoid", "replaced", 3, "", True, "σ(z) + σ(−z) = 1"),
    ("sigmoid", "off by one", 3, "", True, "the derivative of its neighbour"),
    ("sigmoid", "one coordinate", -1, "[3]", True, "a millionth too much, in one place"),
    ("sigmoid", "NaN", -1, "[0]", True, "not a number"),
    ("sigmoid", "tail", -1, "6.0", True, "1% too much beyond 6"),
    ("sigmoid", "tail", -1, "12.0", True, "1% too much beyond 12"),
    ("sigmoid", "no-op", 0, "×1", False, "one times"),
    ("sigmoid", "no-op", 1, "negated twice", False, "−−z = z"),
    ("sigmoid", "no-op", 3, "commuted", False, "a product commutes"),
    ("scaled_square", "factor", 0, "×0.5", True, "half the difference"),
    ("scaled_square", "factor", 1, "×1.001", True, "a thousandth too much"),
    ("scaled_square", "sign", 0, "", True, "y − x"),
    ("scaled_square", "dropped term", 0, "second", True, "y forgotten"),
    ("scaled_square", "dropped term", 0, "first", True, "x forgotten"),
    ("scaled_square", "swapped operands", 0, "", True, "y − x"),
    ("scaled_square", "replaced", 0, "", True, "x + y"),
    ("scaled_square", "constant dropped", 1, "", True, "the 6 forgotten"),
    ("scaled_square", "replaced", 1, "", True, "6 + (x − y)"),
    ("scaled_square", "no-op", 0, "×1", False, "one times"),
    ("scaled_square", "no-op", 1, "commuted", False, "a product commutes"),
    ("scaled_square", "no-op", 1, "negated twice", False, "−−"),
    ("binary_cross_entropy_textbook", "factor", 0, "×0.5", True, "half of ŷ"),
    ("binary_cross_entropy_textbook", "sign", 1, "", True, "y − ŷ"),
    ("binary_cross_entropy_textbook", "swapped operands", 1, "", True, "y − ŷ"),
    ("binary_cross_entropy_textbook", "replaced", 1, "", True, "ŷ + y, as in the notes"),
    ("binary_cross_entropy_textbook", "replaced", 0, "", True, "tanh for σ"),
    ("binary_cross_entropy_textbook", "dropped term", 1, "second", True, "y forgotten"),
    ("binary_cross_entropy_textbook", "one coordinate", -1, "[7]", True, "a millionth"),
    ("binary_cross_entropy_textbook", "no-op", 1, "×1", False, "one times"),
    ("relu", "factor", 1, "×2", True, "slope 2"),
    ("relu", "sign", 1, "", True, "slope −1"),
    ("relu", "factor", 2, "×2", False, "twice nothing"),
    ("relu", "factor", 2, "×1.001", False, "a little more of nothing"),
    ("relu", "sign", 2, "", False, "minus nothing"),
    ("relu", "swapped operands", 3, "", True, "slope 1 on the wrong side"),
    ("relu", "no-op", 3, "×1", False, "one times"),
    ("step", "sign", 0, "", False, "the derivative of a step is 0, and so is its negative"),
]


@pytest.fixture(scope="module")
def groups():
    return {name: CaseMutants(case(name)) for name in {label[0] for label in LABELS}}


@pytest.fixture
def shared(groups, monkeypatch):
    """The command finds what the cases' mutants share already computed."""
    monkeypatch.setattr(trials, "CaseMutants", lambda case: groups[case.name])


def found(name, operator, place, detail):
    entry = case(name)
    with x64():
        every = list(mutations(entry.gradient, entry.example(jax.random.key(0))))
    (one,) = [
        m for m in every if (m.operator, m.place) == (operator, place)
        and (detail in m.detail.partition(": ")[2])
    ][:1]  # fmt: skip
    return mutant(entry.gradient, one)


def test_there_are_labels_enough():
    assert len(LABELS) >= 40
    assert len({label[:4] for label in LABELS}) == len(LABELS)


@pytest.mark.parametrize("label", LABELS, ids=lambda v: "-".join(map(str, v[:4])))
def test_the_second_opinion_agrees_with_the_label(label, groups):
    name, operator, place, detail, different, why = label
    changed, group = found(name, operator, place, detail), groups[name]
    with x64():
        pairs = zip(group.unseen, group.right, strict=True)
        assert any(differ(opinion(changed, args), right) for args, right in pairs) == different, why


@pytest.mark.parametrize("limit", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_a_sample_of_mutants(script, tmp_path, shared, limit):
    """Every really different one is caught, no equivalent one accused; JAX's checks miss some."""
    path = tmp_path / "mutants.json"
    ran = script(mutants, "sigmoid", "--limit", limit, "--json", path)
    assert (ran.code, ran.err) == (0, "")
    assert "false alarms on equivalent ones" in ran.out
    data = json.loads(path.read_text())
    assert [t for t in data["trials"] if t["accused"]["handgrad"] != t["different"]] == []
    everything = data["summary"][-1]
    assert everything["mutants"] == len(data["trials"]) >= 0.8 * limit
    assert everything["different"] >= 0.5 * limit
    missed = [everything["different"] - everything[judge]["killed"] for judge in (OURS, *CHECKS)]
    assert missed[0] == 0 < min(missed[1:])


def test_a_judge_that_is_wrong_gives_exit_code_1(script, monkeypatch, shared):
    monkeypatch.setattr(CaseMutants, "by_handgrad", lambda self, *_: (True, ""))
    monkeypatch.setattr(CaseMutants, "by_jax", lambda self, changed, dtype, check: True)
    ran = script(mutants, "sigmoid", "--limit", 8)
    assert ran.code == 1
    assert "accused, though equivalent: sigmoid, no-op at" in ran.out


@pytest.mark.parametrize(
    ("operator", "detail", "different"), [("factor", "×2", True), ("no-op", "×1", False)]
)
def test_a_branch_that_is_taken_far_out_alone_counts(operator, detail, different):
    """Of tanh′ = 1 − tanh², or its tail: twice the tail is different where biases are large."""
    entry = case("mlp_tanh_binary")
    with x64():
        every = list(mutations(entry.gradient, entry.example(jax.random.key(0))))
    tail = [m for m in every if m.operator == operator and m.place == 33 and detail in m.detail]
    group, changed = CaseMutants(entry), mutant(entry.gradient, tail[0])
    with x64():
        assert not any(
            differ(opinion(changed, args), right)
            for args, right in zip(group.unseen, group.right, strict=True)
        )
    assert group.differs_far_out(changed) == different


def test_what_the_command_refuses(script):
    ran = script(mutants, "--limit", 0)
    assert (ran.code, ran.out) == (2, "")
    assert "limit: expected a whole number above 0, got 0" in ran.err


def test_only_gradients_without_loops_are_mutated():
    names = [case.name for case in all_cases()]
    assert len(names) == 48
    assert "one_pass_logistic" in names
    assert "linear_cross_entropy_chunked" not in names
    with pytest.raises(InputError):
        all_cases(["linear_cross_entropy_chunked"])
