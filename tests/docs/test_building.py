"""The parts of the build: what is wrong on a page is a warning, which fails `make docs`."""

import dataclasses
import io
import re
import warnings
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from benchmarks.notes import statements as notes
from book import apidoc, docstrings, drawn, outside, results
from handgrad.accuracy.atlas import Atlas, AtlasRow, as_json
from handgrad.derivations import DERIVATIONS, Checked, check, derivation

ROOT = Path(__file__).parents[2]
PARTS = ["myst_parser", "book.formulas", "book.directives", "book.drawn", "book.results",
         "book.statements", "book.outside"]  # fmt: skip


def build(folder, text):
    """A site of one page: (its HTML, what the build complained of)."""
    source, out = folder / "source", folder / "out"
    source.mkdir()
    (source / "index.md").write_text(text)
    said = io.StringIO()
    options = {
        "extensions": PARTS,
        "html_math_renderer": "mathml",
        "myst_enable_extensions": ["dollarmath"],
    }
    with warnings.catch_warnings(), patch_docutils(), docutils_namespace():
        warnings.simplefilter("ignore")  # those of Sphinx's own dependencies
        app = Sphinx(source, None, out, folder / "trees", "html", options, io.StringIO(), said)
        app.build()
    return (out / "index.html").read_text(), said.getvalue()


def test_a_page_that_is_in_order(tmp_path):
    page = """# A page

A formula $\\frac{1}{2}$, and a value {value}`6 * 7`.

```{run}
print("seen")
```

```{check}
assert 1 + 1 == 2
```

```{derivation} log_sigmoid
```
"""
    html, said = build(tmp_path, page)
    assert said == ""
    assert "<mfrac>" in html
    assert ">42<" in html
    assert "seen" in html
    assert "assert" not in html
    assert "1 block of code and 1 claim" in html
    assert html.count('<li id="log_sigmoid-') == len(derivation("log_sigmoid").steps)
    assert "to 60 digits" in html


def test_a_page_without_its_package_shows_its_code(tmp_path):
    page = "# A\n\n```{needs}\nno_such_package\n```\n\n```{run}\n1 / 0\n```\n"
    html, said = build(tmp_path, page)
    assert said == ""
    assert "built without no_such_package" in html
    assert "1 block of code" not in html


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("# A\n\n```{check}\nassert 1 == 2\n```\n", "index.md:4: AssertionError"),
        ("# A\n\n```{run}\n1 / 0\n```\n", "index.md:4: ZeroDivisionError"),
        ("# A\n\n{value}`1 / 0`\n", "index.md:3: ZeroDivisionError"),
        ("# A\n\n```{run}\n:wrap:\n\n1 / 0\n```\n", "index.md:6: ZeroDivisionError"),
        ("# A\n\n$\\left( x$\n", "formula: expected LaTeX that becomes MathML"),
        ("# A\n\n$\\nothing x$\n", "formula: a command that is unknown"),
        ('# A\n\n<img src="https://a.net/b.png">\n', "loaded from elsewhere: index.html"),
    ],
)
def test_a_page_that_is_not(page, said, tmp_path):
    assert said in build(tmp_path, page)[1]


def test_a_wrong_line_of_a_derivation_is_an_error(tmp_path, monkeypatch):
    entry = derivation("log_sigmoid")
    last = entry.steps[-1]
    spoilt = dataclasses.replace(last, value=lambda z: 1.001 * last.value(z))
    wrong = dataclasses.replace(entry, steps=(*entry.steps[:-1], spoilt))
    monkeypatch.setattr(drawn, "derivation", lambda name: wrong)
    drawn.verdict_on.cache_clear()
    try:
        said = build(tmp_path, "# A\n\n```{derivation} log_sigmoid\n```\n")[1]
    finally:
        drawn.verdict_on.cache_clear()
    assert "derivation log_sigmoid: line 5" in said


def test_every_formula_of_every_derivation_becomes_mathml(monkeypatch):
    """With no verdict, which the derivations' own tests give."""
    monkeypatch.setattr(drawn, "verdict_on", lambda name: (True, ""))
    for entry in DERIVATIONS:
        html = drawn.derivation_html(entry.name)
        assert html.count("<math") == 1 + len(entry.steps)
        assert "\\" not in html, entry.name


def test_the_sentence_under_a_derivation_is_that_of_its_check():
    found = check(derivation("softplus"))
    assert isinstance(found, Checked)
    holds, said = drawn.verdict_on("softplus")
    assert holds
    assert f"in {found.compared} comparisons" in said


@pytest.mark.parametrize(
    "text",
    [
        '<script src="//a.net/b.js"></script>',
        '<link rel="stylesheet" href="http://a.net/b.css">',
        '<link rel="preconnect" href="https://fonts.net">',
        '<img srcset="a.png 1x, https://a.net/b.png 2x">',
        "<style>@import 'https://a.net/b.css';</style>",
        '<p style="background: url(https://a.net/b.png)">',
        '<iframe src="https://a.net"></iframe>',
    ],
)
def test_loads_from_elsewhere_are_seen(text):
    assert len(outside.loads_of_html(text)) == 1


def test_links_and_what_is_beside_are_no_loads():
    page = (
        '<a href="https://a.net">a</a><img src="b.png"><script src="_static/c.js"></script>'
        '<link rel="canonical" href="https://a.net"><style>p { background: url(b.png) }</style>'
        '<img src="data:image/png;base64,AA//BB">'
    )
    assert outside.loads_of_html(page) == []


@pytest.mark.parametrize(
    ("text", "rst"),
    [
        ("a * b, |x|, x_n", r"a \* b, \|x\|, x\_n"),
        ("`f(x)`s and `**`", r"``f(x)``\ s and ``**``"),
        ("**The kink.** At 0", "**The kink.** At 0"),
        ("- one `a\n  b`\n- two", "- one ``a b``\n\n- two"),
        ("Raises:\n    E: what\n        more\n    F: that", "Raises:\n\n- E: what more\n- F: that"),
        ("Says:\n>>> 1 * 2\n2", "Says:\n\n>>> 1 * 2\n2"),
    ],
)
def test_docstrings_are_text_and_not_markup(text, rst):
    assert "\n".join(docstrings.as_rst(text.split("\n"))) == rst


def test_the_reference_has_every_room_and_file():
    rooms = apidoc.rooms()
    assert {"gradients", "verify", "exact", "explain", "train", "losses"} <= set(rooms)
    assert "cli" not in rooms
    assert ".. automodule:: handgrad.gradients.sigmoid\n   :members:" in apidoc.page("gradients")
    names = apidoc.top_names()
    assert "`hg.verify` | {py:func}`handgrad.verify.api.verify`" in names


def test_the_page_of_the_command_has_every_option():
    page = apidoc.command_page()
    for name in ("train", "verify", "recheck", "explain", "bench", "atlas"):
        assert f"## `handgrad {name}`" in page
    assert "`--learning-rate`" in page


def test_rows_and_page_of_an_atlas(tmp_path, monkeypatch):
    kept = tmp_path / "results" / "cpu"
    kept.mkdir(parents=True)
    row = AtlasRow(
        "jnp.tanh", 1, "float16", "default", 2045.4, "0x1p+3", 0, 0, 0, 532, 0.1, 0.05, 9, 99, 1.0
    )
    (kept / "atlas-jax-0.0.json").write_text(as_json(Atlas(rows=[row])))
    monkeypatch.setattr(drawn, "RESULTS", tmp_path / "results")
    (tmp_path / "a").mkdir()
    html, said = build(tmp_path / "a", "# A\n\n```{atlas}\njnp.tanh | 1 | float16\n```\n")
    assert said == ""
    assert "2,045" in html
    assert 'href="atlas/cpu-atlas-jax-0.0.html"' in html
    page = tmp_path / "a" / "source" / "generated" / "beside" / "atlas" / "cpu-atlas-jax-0.0.html"
    assert "The accuracy of derivatives" in page.read_text()
    (tmp_path / "b").mkdir()
    _, said = build(tmp_path / "b", "# A\n\n```{atlas}\njnp.tanh | 2 | float16\n```\n")
    assert "no row of the atlas: jnp.tanh | 2 | float16" in said
    monkeypatch.setattr(drawn, "RESULTS", tmp_path / "none")
    (tmp_path / "c").mkdir()
    html, said = build(tmp_path / "c", "# A\n\n```{atlas}\n```\n")
    assert "This copy holds no atlas" in html


SOME = ("sum_of_values", "softmax_table", "softmax_code")


def test_statements_of_the_notes_and_their_errata(tmp_path, monkeypatch):
    some = tuple(map(notes.statement, SOME))
    monkeypatch.setattr(notes, "STATEMENTS", some)
    (tmp_path / "a").mkdir()
    html, said = build(tmp_path / "a", "# A\n\n```{statements}\n```\n")
    assert said == ""
    assert re.search(r"3 statements \(\d of [^)]+\): 1 agree, 2 differ", html)
    assert "Sigmoid Function (softmax)" in html
    found, reads = html.index("0.665241, 0.2447285"), html.index("append each power")
    assert found < html.index("Errata") < reads
    wrong = dataclasses.replace(some[1], claimed=("0.66", "0.24", "0.09"))
    monkeypatch.setattr(notes, "STATEMENTS", (wrong,))
    (tmp_path / "b").mkdir()
    _, said = build(tmp_path / "b", "# A\n\n```{statements}\n```\n")
    assert "not as recorded: softmax_table differs: 0.665241" in said


REPORT = {
    "job": "one", "title": "One pass", "notes": ["quiet"], "figure": None,
    "rows": [{"name": "hand", "seconds": 0.0123, "temporaries": 2**20}],
    "bars": [{"name": "faster", "wanted": 1.0, "got": 1.5, "at_most": False}],
}  # fmt: skip


def test_results_become_tables(tmp_path, monkeypatch):
    import json

    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    (tmp_path / "results").mkdir()
    file = tmp_path / "results" / "cpu.json"
    machine = {"device": "A chip", "platform": "cpu"}
    file.write_text(json.dumps({"machine": machine, "reports": [REPORT]}))
    (tmp_path / "a").mkdir()
    html, said = build(tmp_path / "a", "# A\n\n```{results}\n```\n")
    assert said == ""
    for words in ("One pass", "A chip (cpu)", "12.3 ms", "1.0 MB", "faster: 1.5", "quiet"):
        assert words in html
    file.write_text("{}")
    (tmp_path / "b").mkdir()
    html, said = build(tmp_path / "b", "# A\n\n```{results}\n```\n")
    assert "cpu.json: no result" in said
    assert "This copy holds no results" in html


def test_pages_run_ahead_by_other_processes(tmp_path):
    """Each in a namespace of its own, with its faults; the one without code is read first."""
    source = tmp_path / "source"
    source.mkdir()
    right = "# A\n\n{value}`6 * 7`\n\n```{run}\nx = 1\nprint('seen', x)\n```\n"
    wrong = "# B\n\n```{check}\nassert x == 1\n```\n"
    toc = "# Index\n\n```{toctree}\na\nb\n```\n"
    for name, text in {"a": right, "b": wrong, "index": toc}.items():
        (source / f"{name}.md").write_text(text)
    said = io.StringIO()
    options = {"extensions": [*PARTS, "book.ahead"], "html_math_renderer": "mathml"}
    with warnings.catch_warnings(), patch_docutils(), docutils_namespace():
        warnings.simplefilter("ignore")
        out = tmp_path / "out"
        Sphinx(source, None, out, tmp_path / "t", "html", options, io.StringIO(), said).build()
    html = (out / "a.html").read_text()
    assert ">42<" in html
    assert "seen 1" in html
    assert "1 block of code" in html
    assert "b.md:4: NameError: name 'x' is not defined" in said.getvalue()
    assert len(said.getvalue().splitlines()) == 1
