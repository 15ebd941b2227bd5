"""`handgrad notes`: what it prints, its file and its exit codes."""

import json
from dataclasses import replace

import pytest

from handgrad.evidence import notes

SOME = ("sum_of_values", "softmax_table", "softmax_code", "step_sign", "pushing_textbook")


@pytest.fixture
def few(monkeypatch):
    """A handful of statements, so that the rest need not be computed again."""
    monkeypatch.setattr(notes, "STATEMENTS", tuple(map(notes.statement, SOME)))


def test_statements_and_errata_are_printed_and_written(command, few, tmp_path):
    result = command("notes", "--json", tmp_path / "notes.json")
    assert (result.code, result.err) == (0, "")
    assert "…" not in result.out.replace("x₁ …", "")  # no column is cut at 80
    first, second = result.out.split("Errata")
    assert "Sigmoid Function (softmax)" in first
    assert "agrees    scores 2, 1, 0 have the probabilities" in first
    assert "0.665241, 0.2447285" in first
    assert "4. Neural networks: Gradient Descent Algorithm (in floats)" in second
    assert "IndentationError" in second
    assert "w + α(y − ŷ) x" in second
    assert "5 statements of 2 texts: 1 agree, 4 differ" in result.out
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


def test_a_verdict_that_is_not_on_record_gives_exit_code_1(command, few, monkeypatch):
    table = notes.statement("softmax_table")
    wrong = replace(table, claimed=("0.66", "0.24", "0.09"))
    monkeypatch.setattr(notes, "STATEMENTS", (wrong,))
    result = command("notes")
    assert result.code == 1
    assert "not as recorded: softmax_table differs, where agrees is on record" in result.out
    assert "as recorded\n" not in result.out.replace("not as recorded", "")


def test_bad_options_are_refused_before_any_work(command):
    result = command("notes", "--json", "notes.txt")
    assert (result.code, result.out) == (2, "")
    assert "--json: expected a file name ending in .json" in result.err


@pytest.mark.slow
def test_all_of_them(command, tmp_path):
    result = command("notes", "--json", tmp_path / "notes.json")
    assert result.code == 0
    rows = json.loads((tmp_path / "notes.json").read_text())["statements"]
    assert len(rows) == len(notes.STATEMENTS)
    assert sum(row["verdict"] == "differs" for row in rows) == len(notes.errata())
