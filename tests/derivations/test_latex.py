"""A derivation as LaTeX for a paper: plain ASCII, numbered lines, and it compiles."""

import re
import shutil
import subprocess

import pytest

from handgrad.derivations import DERIVATIONS, as_latex, derivation
from handgrad.derivations.latex import as_html, as_mathml

DOCUMENT = r"""\documentclass{article}
\usepackage{amsmath}
\begin{document}
%s
\end{document}
"""


@pytest.mark.parametrize("entry", DERIVATIONS, ids=lambda entry: entry.name)
def test_every_derivation_is_written_whole(entry):
    text = as_latex(entry)
    assert text.isascii()
    assert entry.of in text
    assert all(step.formula in text for step in entry.steps)
    assert len(re.findall(r"\\tag\{\d+\}", text)) == len(entry.steps) == text.count(r"\item ")
    assert text.count("{") == text.count("}")
    for inline in re.findall(r"\\\((.*?)\\\)", text):
        assert "\\" not in as_mathml(inline), inline


def test_words_and_symbols_stand_apart():
    text = as_latex(derivation("logistic"))
    assert r"chain rule: \(\hat y\) = \(\sigma\)(z)" in text
    assert r"\(\hat y_{n}\) = \(\sigma\)(\(z_{n}\))" in text
    assert r"times \(e ^{- z}\)" in as_latex(derivation("softplus"))


def test_a_derivation_compiles(tmp_path):
    tex = shutil.which("pdflatex") or shutil.which("tectonic")
    if tex is None:
        pytest.skip("no LaTeX here: install texlive-latex-base")
    path = tmp_path / "all.tex"
    path.write_text(DOCUMENT % "\n\n".join(map(as_latex, DERIVATIONS)))
    stop = ["-interaction=nonstopmode", "-halt-on-error"] if tex.endswith("pdflatex") else []
    done = subprocess.run(
        [tex, *stop, path.name], cwd=tmp_path, capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stdout[-2_000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


def test_the_html_has_each_line_with_its_reason():
    entry = derivation("softplus")
    page = as_html(entry)
    assert page.count("<li>") == len(entry.steps)
    assert page.count("<math") == 1 + len(entry.steps)
