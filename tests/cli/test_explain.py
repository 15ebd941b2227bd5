"""`handgrad explain`: a case, a user's own file, the page and the data that it writes."""

import json
import sys

import jax
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.catalogue import case
from handgrad.cli.explain import of_case
from handgrad.explain import find_case

USER = """
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def loss(weights, inputs, target):
    def step(state, x):
        return jnp.tanh(weights @ state + x), None

    state, _ = lax.scan(step, jnp.zeros(3), inputs)
    distance = jnp.square(state - target)
    return jnp.sum(distance)


def gradient(weights, inputs, target):
    return jax.grad(loss)(weights, inputs, target)


def wrong(weights, inputs, target):
    return 1.001 * jax.grad(loss)(weights, inputs, target)


def vector(weights, inputs, target):
    return weights


rng = np.random.default_rng(0)
example = (rng.normal(size=(3, 3)), rng.normal(size=5), rng.normal(size=3))


def drawn():
    return example
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(USER)
    return tmp_path


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    from handgrad.cli.output import console

    monkeypatch.setattr(console, "_width", 180)


def test_a_case_with_its_derivation_its_tape_and_the_agreement(command, tmp_path):
    ran = command(
        "explain", "logistic", "--html", tmp_path / "p.html", "--json", tmp_path / "p.json",
        "--latex", tmp_path / "p.tex",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert (tmp_path / "p.tex").read_text().count("\\tag{") == 11
    order = [
        "The gradient of logistic regression", "(yₙ − ŷₙ)(xₙ, 1)", "21 equations forward",
        "logits = product + v₁", "backward", "∂ loss/∂ it", "the tape's last cotangent", "by hand",
        "the tape's gradient is jax.grad's, bit for bit, and the hand-derived one's",
    ]  # fmt: skip
    places = [ran.out.index(words) for words in order]
    assert places == sorted(places)
    data = json.loads((tmp_path / "p.json").read_text())
    with x64():
        entry = case("logistic")
        expected = jax.grad(entry.loss)(*entry.example(jax.random.key(0)))
    for leaf, want in zip(data["gradient"], expected, strict=True):
        assert leaf["identical"]
        assert leaf["hand_equal"]
        np.testing.assert_array_equal(leaf["tape"], want)
        np.testing.assert_array_equal(leaf["jax.grad"], want)
    assert (tmp_path / "p.html").read_text().startswith("<!doctype html>")
    matches = [line["matches"] for line in data["derivation"]["lines"]]
    ends = [{"value": index, "of": "cotangent"} for index in data["wanted"]]
    assert all(end in matches[-1] for end in ends)
    assert not any(end in line for end in ends for line in matches[:-1])


def test_a_derivation_or_a_kind_names_its_first_case(monkeypatch, capsys):
    """Of the explanation itself there is no need."""
    assert find_case("mlp").name == "mlp_tanh_binary"
    room = sys.modules["handgrad.explain"]
    monkeypatch.setattr(room, "explain_case", lambda name, seed, order: find_case(name))
    assert of_case("residual", None, None, 0).name == "binary_cross_entropy"
    assert capsys.readouterr().out == "residual: its first case, binary_cross_entropy\n"


def test_a_loss_of_a_users_own_with_a_loop(command, user):
    own = ("mine.py:loss", "--at", "mine.py:example", "--gradient", "mine.py:gradient")
    ran = command("explain", *own, "--html", "page.html")
    assert (ran.code, ran.err) == (0, "")
    assert "state = scan of 5" in ran.out
    assert "distance = v" in ran.out
    assert "mine.py:13" in ran.out
    assert "float64[3, 3]" in ran.out
    assert "bit for bit" in ran.out
    assert (user / "page.html").stat().st_size < 2_000_000


def test_a_wrong_gradient_exits_with_1(command, user):
    ran = command("explain", "mine.py:loss", "--at", "mine.py:drawn", "--gradient", "mine.py:wrong")
    assert ran.code == 1
    assert "the hand-derived one is different" in " ".join(ran.out.split())


REFUSED = {
    "no_case": (("logistc",), "case: expected a name from the catalogue"),
    "no_arguments": (("mine.py:loss",), "--at: expected the arguments to run it with"),
    "arguments_of_a_case": (("logistic", "--at", "mine.py:example"), "expected my.py:loss beside"),
    "vector": (("mine.py:vector", "--at", "mine.py:example"), "f: expected a loss with one real"),
    "latex_of_a_file": (
        ("mine.py:loss", "--at", "mine.py:example", "--latex", "p.tex"),
        "--latex: expected a case of the catalogue",
    ),
    "html": (("logistic", "--html", "page.txt"), "a file name ending in .html"),
    "no_folder": (("logistic", "--json", "none/p.json"), "a folder that can be written to"),
    "argnums": (
        ("mine.py:loss", "--at", "mine.py:example", "--argnums", "3"),
        "argnums: expected positions",
    ),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(command, user, arguments, words):
    ran = command("explain", *arguments)
    assert ran.code == 2
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_names_with_markup_are_printed_as_they_are(command, user):
    (user / "odd.py").write_text(
        "import jax.numpy as jnp\n"
        "def loss(w):\n    return jnp.sum(w['[bold red]a[/]'] ** 2)\n"
        "loss.__name__ = '[blink]'\n"
        "example = ({'[bold red]a[/]': jnp.ones(2)},)\n"
    )
    ran = command("explain", "odd.py:loss", "--at", "odd.py:example")
    assert ran.code == 0
    assert "w['[bold red]a[/]']" in ran.out
    assert "[blink]" in ran.out
