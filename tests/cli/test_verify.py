"""`handgrad verify` and `handgrad recheck`: the catalogue, a user's own file, its certificate."""

import json
import os
import re
import subprocess
import sys

import pytest

from handgrad.catalogue import CASES

USER = """
import jax
import jax.numpy as jnp
import numpy as np


def loss(w, x, y):
    z = x @ w
    return jnp.mean(jnp.logaddexp(jnp.zeros_like(z), z) - y * z)


def gradient(w, x, y):
    p = 1 / (1 + jnp.exp(-(x @ w)))
    return x.T @ (p - y) / 8


def wrong(w, x, y):
    return -gradient(w, x, y)


def in_numpy(w, x, y):
    p = 1 / (1 + np.exp(-(x @ w)))
    return x.T @ (p - y) / 8


def by_bytes(w, x, y):
    return in_numpy(np.frombuffer(w.tobytes(), w.dtype), x, y)


def raises(w, x, y):
    raise RuntimeError("out of ideas")


def tree(w, x, y):
    return {"w": w}


def vector(w, x, y):
    return x @ w


def opaque(w, x, y):
    return jnp.sum(jax.pure_callback(np.asarray, w, w))


def draw(key):
    a, b = jax.random.split(key)
    return jax.random.normal(a, (3,)), jax.random.normal(b, (8, 3)), jnp.ones(8)


rng = np.random.default_rng(0)
example = (rng.normal(size=3), rng.normal(size=(8, 3)), rng.integers(0, 2, 8).astype(float))
integers = (np.arange(3), *example[1:])
disagree = (np.ones(4), *example[1:])


def broken_example():
    return 1 / 0
"""
QUICK = ("--evaluations", "0", "--dtype", "float32")
SEARCHED = ("--evaluations", "80")


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(USER)
    (tmp_path / "syntax.py").write_text("def gradient(:\n    pass\n")
    (tmp_path / "stops.py").write_text("raise ValueError('no data')\n")
    return tmp_path


def judged(command, gradient, *more, of="mine.py:loss", at="mine.py:example", options=QUICK):
    return command("verify", gradient, "--of", of, "--at", at, *options, *more)


def test_a_case_of_the_catalogue(command):
    ran = command("verify", "sigmoid", *QUICK)
    assert ran.code == 0
    assert "sigmoid: right" in ran.out
    assert "equals the true derivative to 60 digits (7 numbers compared)" in ran.out


def test_several_cases_are_a_table(command):
    ran = command("verify", "sigmoid", "relu", *QUICK)
    assert ran.code == 0
    assert "✓ sigmoid" in ran.out
    assert "2 of 2 right" in ran.out


def test_the_names_of_the_catalogue(command, tmp_path):
    ran = command("verify", "--list", "--json", tmp_path / "names.json")
    names = [entry.name for entry in CASES]
    assert (ran.code, ran.out.split()) == (0, names)
    assert json.loads((tmp_path / "names.json").read_text()) == {"cases": names}


@pytest.mark.slow
def test_many_cases_are_shared_among_processes(command):
    ran = command("verify", "sigmoid", "relu", "step", "tanh", *QUICK)
    assert ran.code == 0
    assert "4 of 4 right" in ran.out


def test_a_right_gradient_and_its_certificate_hold(command, user):
    ran = judged(command, "mine.py:gradient", "--json", "certificate.json", options=SEARCHED)
    assert (ran.code, ran.err) == (0, "")
    (certificate,) = json.loads((user / "certificate.json").read_text())["certificates"]
    assert certificate["ok"]
    assert certificate["hand"] == certificate["autodiff"] == "identical"
    assert {row["dtype"] for row in certificate["numerics"]} == {"float32", "float64"}
    again = command("recheck", "certificate.json", "mine.py", "--json", "again.json")
    assert (again.code, again.out) == (0, "mine.py:gradient: holds\n")
    found = {"name": "mine.py:gradient", "holds": True, "changed": []}
    assert json.loads((user / "again.json").read_text()) == {"certificates": [found]}
    certificate["numerics"][0]["hand_max_ulp"] = 0.0
    (user / "certificate.json").write_text(json.dumps({"certificates": [certificate]}))
    ran = command("recheck", "certificate.json", "mine.py", "--json", "again.json")
    assert ran.code == 1
    (altered,) = json.loads((user / "again.json").read_text())["certificates"]
    assert not altered["holds"]
    assert "no longer holds" in ran.out
    assert "float32 hand_max_ulp: 0.0 then, " in ran.out


def test_a_wrong_gradient_exits_with_1_and_says_why(command, user):
    ran = judged(command, "mine.py:wrong")
    assert ran.code == 1
    assert "differs from the true derivative" in ran.out
    assert "sign flipped" in ran.out


def test_numpy_is_read_or_judged_by_its_numbers(command, user):
    read, called = (judged(command, f"mine.py:{name}") for name in ("in_numpy", "by_bytes"))
    assert (read.code, called.code) == (0, 0)
    assert "the gradient was read through NumPy" in read.out
    assert "cannot be traced" in called.out


def test_points_and_argnums_may_be_named(command, user):
    assert (
        judged(command, "mine.py:gradient", "--points", "mine.py:draw", "--argnums", "0").code == 0
    )


REFUSED = {
    "raises": (("mine.py:raises",), {}, "gradient: expected .*RuntimeError: out of ideas"),
    "vector": (("mine.py:gradient",), {"of": "mine.py:vector"}, "of: expected a loss with one"),
    "integers": (("mine.py:gradient",), {"at": "mine.py:integers"}, "argument 0 of dtype int"),
    "shapes": (("mine.py:gradient",), {"at": "mine.py:disagree"}, "of: expected .*TypeError"),
    "syntax": (("syntax.py:gradient",), {}, "syntax error in line 1"),
    "stops": (("stops.py:gradient",), {}, "ValueError: no data"),
    "no_name": (("mine.py:gradien",), {}, "did you mean gradient?"),
    "no_file": (("none.py:gradient",), {}, "expected a Python file, got 'none.py'"),
    "no_function": (("mine.py:example",), {}, "expected a function, got mine.py:example"),
    "no_tuple": (("mine.py:gradient",), {"at": "mine.py:rng"}, "at: expected a tuple"),
    "broken_at": (("mine.py:gradient",), {"at": "mine.py:broken_example"}, "ZeroDivisionError"),
    "argnums": (("mine.py:gradient", "--argnums", "x"), {}, "--argnums: expected 0, or 0,1"),
    "dtype": (("mine.py:gradient", "--dtype", "int8"), {}, "dtypes: expected some of float64"),
}


@pytest.mark.parametrize(("arguments", "named", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(command, user, arguments, named, words):
    ran = judged(command, *arguments, "--json", "out.json", **named)
    assert ran.code == 2
    assert re.search(words, ran.err), ran.err
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err + ran.out
    assert not (user / "out.json").exists()


def test_a_wrong_tree_is_bad_input(command, user):
    ran = judged(command, "mine.py:tree")
    assert ran.code == 2
    assert "the gradient is PyTreeDef({'w': *}), jax.grad gives PyTreeDef(*)" in ran.out


def test_what_must_be_named_together(command, user):
    ran = command("verify", "mine.py:gradient")
    assert ran.code == 2
    assert "with --of and --at" in ran.err


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "expected JSON"), ("{}", "expected 'handgrad certificate 1'"), ("[1]", "certificate")],
    ids=["cut", "foreign", "list"],
)
def test_what_is_no_certificate(command, user, text, words):
    (user / "c.json").write_text(text)
    ran = command("recheck", "c.json")
    assert ran.code == 2
    assert words in ran.err


LEAVES = """
import sys
import jax.numpy as jnp
def loss(x): return jnp.sum(x * x)
def leaves(x): sys.exit(0)
def silent(x): raise ValueError
def example(): sys.exit(0)
point = (jnp.ones(2),)
"""


@pytest.mark.parametrize("name", ["leaves", "silent"])
def test_a_gradient_that_leaves_is_no_right_gradient(command, user, name):
    (user / "leaves.py").write_text(LEAVES)
    names = [f"leaves.py:{name}", "--of", "leaves.py:loss", "--at", "leaves.py:point"]
    ran = command("verify", *names, *QUICK)
    assert ran.code == 2
    assert "error: gradient: expected a function of the arguments" in ran.err
    assert ran.err.count("\n") == 1


def test_a_file_that_leaves(command, user):
    (user / "exits.py").write_text("import sys; sys.exit(0)")
    ran = command("verify", "exits.py:f", "--of", "mine.py:loss", "--at", "mine.py:example")
    assert ran.code == 2
    assert "error: gradient: expected exits.py to load, got SystemExit: 0" in ran.err
    (user / "leaves.py").write_text(LEAVES)
    ran = judged(command, "mine.py:gradient", at="leaves.py:example")
    assert ran.code == 2
    assert "called sys.exit(0)" in ran.err


def test_a_search_without_end_is_refused(command):
    ran = command("verify", "sigmoid", "--evaluations", str(10**18))
    assert ran.code == 2
    assert "error: evaluations: expected 0 to 10,000,000, got 1000000000000000000" in ran.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "expected JSON"),
        ('{"certificates": []}', "at least one certificate, got none"),
        ('{"certificates": [{"format": "handgrad certificate 1"}]}', "without hand, inputs"),
    ],
    ids=["deep", "none", "empty"],
)
def test_a_certificate_that_cannot_be_read(command, user, text, words):
    (user / "c.json").write_text(text)
    ran = command("recheck", "c.json")
    assert ran.code == 2
    assert words in ran.err


def test_a_pipe_is_no_certificate(command, user):
    os.mkfifo(user / "c.json")
    assert "a certificate, got c.json, which is none" in command("recheck", "c.json").err


@pytest.mark.parametrize(
    ("path", "value"),
    [(("name",), 3), (("question", "digits"), "60"), (("question", "argnums"), None),
     (("inputs",), [3]),
     (("numerics", 0), {}), (("inputs", 0, "values"), ["0x1p99999"]), (("subject", "case"), [1]),
     (("subject", "seed"), 10**30), (("question", "dtypes"), [["float32"]]),
     (("reference",), "me")],
    ids=str,
)  # fmt: skip
def test_an_edited_certificate_is_refused_in_words(command, user, sigmoid_certificate, path, value):
    data = json.loads(sigmoid_certificate)
    place = data["certificates"][0]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (user / "c.json").write_text(json.dumps(data))
    ran = command("recheck", "c.json")
    assert ran.code == 2, ran.out
    assert ran.err.startswith("error: ")


@pytest.fixture(scope="module")
def sigmoid_certificate():
    from handgrad.cli.verify import judge_case

    options = {"dtypes": ("float32",), "digits": 20, "evaluations": 0, "seed": 0}
    return '{"certificates": [' + judge_case(options, "sigmoid").to_json() + "]}"


def test_a_name_with_markup_is_shown_as_it_is(command, user, sigmoid_certificate):
    data = json.loads(sigmoid_certificate)
    data["certificates"][0]["name"] = "[/bold]"
    (user / "c.json").write_text(json.dumps(data))
    out = command("recheck", "c.json").out
    assert out.startswith("[/bold]: no longer holds\n  digest: ")
    assert len(out.splitlines()) == 2, out


def test_a_process_that_ends_without_a_verdict_is_no_pass(tmp_path):
    (tmp_path / "my.py").write_text(
        "import os, jax.numpy as jnp\n"
        "def loss(x): return jnp.sum(x * x)\n"
        "def gradient(x): os._exit(0)\n"
        "at = (jnp.ones(2),)\n"
    )
    asked = ["verify", "my.py:gradient", "--of", "my.py:loss", "--at", "my.py:at"]
    run = f"import sys; sys.argv[1:] = {asked}; from handgrad.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "before it had a verdict" in done.stderr


def test_a_loss_beyond_the_rules_is_undecided(command, user):
    ran = judged(command, "mine.py:gradient", of="mine.py:opaque")
    assert ran.code == 3
    assert "no exact rule for the primitive 'pure_callback'" in ran.out
