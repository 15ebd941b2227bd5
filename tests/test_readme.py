"""The README does what it says: its Python is run, and what it prints stands below it."""

import contextlib
import io
import re
import sys
import tomllib
from pathlib import Path

import jax
import pytest

import handgrad
from benchmarks import devices
from handgrad.bench import read_report
from handgrad.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MEASURED = (ROOT / "docs" / "measured.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)
CONSOLE = re.findall(r"```console\n\$ handgrad (.*?)\n(.*?)```", README, re.DOTALL)


def printed_by(code):
    """What `code` prints under JAX's own settings, which are not as strict as those of tests."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def test_every_block_is_looked_at():
    assert README.count("```python") == len(PYTHON) == 3
    assert README.count("```console") == len(CONSOLE) == 2


@pytest.mark.parametrize(("code", "output"), PYTHON, ids=["sigmoid", "judge", "train"])
def test_python(code, output):
    """Beyond five digits, float32 belongs to the machine."""
    found, expected = (re.sub(r"(\.\d{4})\d+", r"\1", t) for t in (printed_by(code), output))
    assert found == expected


@pytest.mark.parametrize(("arguments", "output"), CONSOLE, ids=[c[0] for c in CONSOLE])
def test_console(arguments, output, monkeypatch, capsys):
    """The words, the counts and the accuracies; rounding and speed belong to the machine."""
    monkeypatch.setattr(sys, "argv", ["handgrad", *arguments.split()])
    with pytest.raises(SystemExit):
        main()
    found = "".join(capsys.readouterr())
    machine = r"[\d.]+ ulp|\d\.\de-\d+|[\d,]+$| {2,}"
    same = [re.sub(machine, "#", text, flags=re.MULTILINE) for text in (found, output)]
    assert same[0] == same[1]


def test_it_takes_two_minutes():
    assert len(README.splitlines()) <= 180


def test_what_is_named_exists():
    named = re.findall(r"`([\w/]+(?:\.md|\.cff|/))`", README)
    assert len(named) > 5
    for name in named:
        assert (ROOT / name).exists(), name


def test_one_version_and_one_licence():
    """The package, its metadata, the changelog and the citation agree."""
    citation, changelog = (ROOT / "CITATION.cff").read_text(), (ROOT / "CHANGELOG.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == handgrad.__version__
    assert f"\nversion: {handgrad.__version__}\n" in citation
    assert citation.startswith("cff-version: 1.2.0\n")
    assert f"\nlicense: {project['license']}\n" in citation
    assert f"\n## [{handgrad.__version__}]" in changelog


RESULTS = ROOT / "benchmarks" / "results" / "cpu-amd-epyc-2-cores"


def table_under(heading):
    """The rows of the table with this heading."""
    lines = MEASURED.split(heading)[1].split("\n\n")[0].splitlines()[2:]
    return {tuple(line.strip("| ").split(" | ")) for line in lines}


def test_the_races_are_those_of_the_results():
    """Every bar of the committed results stands in the tables as each device met it."""
    found = devices.read_bars()
    assert found
    for table in devices.tables(found):
        assert f"\n\n{table}\n\n" in MEASURED, "print it with python -m benchmarks.devices"
    assert devices.sentence(found) in re.sub(r"\n +", " ", README)


def test_the_streams_are_those_of_the_results():
    measured = set()
    for report in read_report(RESULTS / "streaming.json")[1]:
        assert all(bar.met for bar in report.bars), "then the table has to say so"
        kind = report.title.split()[0]
        measured |= {(f"`{kind}`, {r['name']}", r["resident"], r["share"]) for r in report.rows}
    heading = "| 5 GB on the disk | resident | of the rows a second in memory |"
    assert table_under(heading) == measured


def figures_of(job):
    """Every number of a job's reports and bars on any CPU, in each way that it may be written."""
    seen = set()
    files = RESULTS.parent.glob(f"cpu-*/{job}.json")
    for report in (report for file in files for report in read_report(file)[1]):
        values = [number for bar in report.bars for number in (bar.got, bar.wanted)]
        values += [v for row in report.rows for v in row.values() if isinstance(v, float)]
        for value in values:
            seen |= {f"{value:.2f}", f"{value:.3g}", f"{value:.1f}", f"{1e3 * value:.3g}"}
            seen |= {f"{100 * value:.0f}%", f"{100 * value:.1f}%"}
        for note in report.notes:
            seen |= set(re.findall(r"\d+\.\d+", note))
    return seen


def test_the_figures_of_the_misses_are_those_of_the_results():
    """Every number with a point or a per cent sign is in a report that its section names."""
    _, *sections = (RESULTS.parents[1] / "MISSES.md").read_text().split("\n## ")
    assert sections
    for section in sections:
        jobs = set(re.findall(r"(\w+)\.json", section))
        figures = set(re.findall(r"\d+\.\d+%?|\d+%", section))
        assert figures
        assert figures <= set().union(*map(figures_of, jobs)), section.splitlines()[0]


def test_the_errors_of_the_cost_model_are_as_chapter_10_says():
    """Full batches within a third, mini-batches within a half, five classes two to three times."""
    for report in read_report(RESULTS / "processes.json")[1]:
        for row in report.rows:
            if "classes" in row["name"]:
                assert 2 < row["seconds"] / row["predicted"] < 3
            else:
                assert abs(row["error"]) < (1 / 3 if "full" in row["name"] else 1 / 2), row["name"]
