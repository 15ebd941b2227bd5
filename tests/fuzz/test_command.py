"""The command: flags, paths of outputs, certificates, and Python files of a user's own."""

import json
import os
import sys

from hypothesis import strategies as st

from fuzz.harness import REFUSED, SECONDS, Ran, campaign, keeps_the_rule, run_and_look
from fuzz.strategies import HUGE, SPECIAL
from fuzz.test_data_files import NAMES, PATHS, THINGS, made

GOOD_CSV = "a,b,label\n" + "".join(f"{n},{n * n % 7},{'uv'[n // 3 % 2]}\n" for n in range(24))
NUMBERS = st.one_of(
    st.sampled_from([str(n) for n in (*HUGE, *SPECIAL)]),
    st.sampled_from(["", "-", "1e3", "0x10", "1_0", "١", "½", "²", "+1", " 1", "1 ", "1.", "none", "True",
                     "--", "\udcff", "\n", "9" * 5000]),
    st.text(max_size=4).filter(lambda text: "\0" not in text),
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(["sgd", "mlp", "", "[bold]", "\x1b[31m", "$x", "é", "a\nb"]), NUMBERS
)
PLACES = st.sampled_from([
    "out{}", "no/out{}", "folder{}", "fifo{}", "null{}", "loop{}", "../out{}", "./x/../out{}", "out.txt",
    "out{}.part", "é{}", "a\nb{}", "\udcff{}", "~/x{}", "a b{}", "-{}", ".{}", "", ".", "/", "in{}",
    "x" * 251 + "{}", "x" * 300 + "{}", "[bold]{}", "taken{}", "linked{}", "/proc/x{}", "/dev/full{}",
])  # fmt: skip


def argument(text):
    """What a shell can hand over: no NUL."""
    return text.replace("\0", "")


def flags(draw, suffix, **choices):
    """Some of these flags, with values that may be anything."""
    if draw.sound:
        return []
    found = []
    for name, good in choices.items():
        if draw(st.integers(0, 3)) == 0:
            value = draw(st.one_of(good, good, WORDS))
            found += [f"--{name.replace('_', '-')}", argument(value)]
    return found


def outputs(draw, folder, **suffixes):
    """Flags that name outputs, in places of every sort, and the files that may then appear."""
    found, allowed = [], []
    for name, suffix in {} if draw.sound else suffixes.items():
        if draw(st.integers(0, 2)) == 0:
            place = draw(PLACES).format(suffix)
            found += [f"--{name}", place]
            allowed.append(os.path.normpath(place))
    return found, tuple(allowed)


def furnish(folder):
    """A folder with good files, and with things that only look like files."""
    if (folder / "in.csv").exists():
        return
    (folder / "in.csv").write_text(GOOD_CSV)
    (folder / "x").mkdir()
    for suffix in (".json", ".png", ".html", ".py"):
        for thing in ("folder", "fifo", "null", "loop"):
            made(folder, thing, suffix)
        (folder / f"taken{suffix}").write_text("kept")
        (folder / f"linked{suffix}").symlink_to("in.csv")
        (folder / f"out{suffix}.part").write_text("kept")
    (folder / "my.py").write_text(MY)


QUICK = ["--epochs", "1", "--batch-size", "full"]


@campaign("handgrad train: flags", 700, 6)
def test_train(draw, outcomes, folder):
    furnish(folder)
    data = draw(st.sampled_from(["in.csv", "iris", "in.csv"]))
    more = flags(
        draw, "", target=st.sampled_from(["label", "a", "lable"]),
        model=st.sampled_from(["logistic", "softmax", "perceptron", "mlp"]),
        optimizer=st.sampled_from(["sgd", "momentum", "adam"]), learning_rate=NUMBERS,
        batch_size=NUMBERS, tol=NUMBERS, seed=NUMBERS, l2=NUMBERS,
        epochs=st.sampled_from(["1", "2", "0", "-1", str(10**18), str(10**30), "1.5"]),
        hidden=st.sampled_from(["3", "3,2", "0", "-1", "", ",", "1,", str(10**9), str(10**18), "9" * 50,
                                "1e3", "1" + ",1" * 999]),
        activation=st.sampled_from(["tanh", "relu"]), dtype=st.sampled_from(["float64", "float16"]),
    )  # fmt: skip
    named, allowed = outputs(draw, folder, json=".json", plot=".png")
    named_target = draw.sound or draw(st.integers(0, 5))
    target = ["--target", "label"] if data == "in.csv" and named_target else []
    line = ["train", data, *target, *QUICK, *more, *named]
    outcomes.hold(lambda: run_and_look(line, folder, allowed), line)


@campaign("handgrad train: files", 300, 4)
def test_train_on_files(draw, outcomes, folder):
    furnish(folder)
    kind = draw(st.sampled_from(["thing", "path", "names"]))
    if draw.sound:
        path = "in.csv"
    elif kind == "thing":
        path = str(made(folder, draw(st.sampled_from(THINGS)), ".csv"))
    elif kind == "path":
        path = argument(draw(PATHS))
    else:
        path, names = "names.csv", [draw(NAMES).replace("\0", "") for _ in range(2)]
        rows = [f"{n},{n * n % 7},{draw(st.sampled_from('uv'))}" for n in range(8)]
        head = ",".join('"' + name.replace('"', '""') + '"' for name in [*names, "label"])
        (folder / path).write_bytes("\n".join([head, *rows, ""]).encode("utf-8", "replace"))
    named, allowed = outputs(draw, folder, json=".json", plot=".png")
    line = ["train", path, "--target", "label", *QUICK, *named]
    outcomes.hold(lambda: run_and_look(line, folder, allowed), line)


# --- a user's own Python file ---------------------------------------------------------------------

MY = """
import jax.numpy as jnp
import numpy as np
import sys
def loss(x): return jnp.sum(x ** 3)
def gradient(x): return 3 * x ** 2
def wrong(x): return 3.01 * x ** 2
def leaves(x): sys.exit(0)
def raises(x): raise ValueError("a\\nb\\x1b[31m")
def silent(x): raise ValueError
def deep(x): return deep(x)
def quits(): sys.exit(3)
def points(key): return (jnp.ones(2),)
def many(*args): return args
example = (jnp.array([0.5, -2.0]),)
empty, none, number, text = (), None, 3, "x"
strings, objects, huge = ("x",), (object(),), (np.array([1e300]),)
ragged = ([[1.0], [1.0, 2.0]],)
"""
INSIDE = st.sampled_from([
    "loss", "gradient", "wrong", "leaves", "raises", "silent", "deep", "quits", "points", "many", "example",
    "empty", "none", "number", "text", "strings", "objects", "huge", "ragged", "missing", "", "jnp", "a b",
    "__name__", "loss.__call__", "[bold]", "\x1b[1m", "a\nb", "é", "\udcff",
])  # fmt: skip
SOURCES = (
    b"x = (", b"def f(:\n", b"\x00", b"\xff\xfe", b"# coding: nonsense\n", b"import sys; sys.exit(0)",
    b"import sys; sys.exit('bye')", b"raise SystemExit", b"1/0", b"raise KeyError", b"import nothing_at_all",
    b"def f(): return f()\nf()", b"loss = 1", b"", b"\tx = 1", b"raise BaseException('x')", b"(" * 300,
    b"x = " + b"-" * 5000 + b"1", b"from my import *", b"class E(Exception):\n  def __str__(s): 1/0\nraise E",
    b"import warnings; warnings.warn('x')", b"raise GeneratorExit", b"loss = gradient = example = print",
)  # fmt: skip
FILES = st.sampled_from(["my.py", "my.py", "my.py", "own.py", "folder.py", "fifo.py", "null.py", "loop.py",
                         "missing.py", "in.csv", "../my.py", "", ".py", "x/../my.py", "é.py", "a\nb.py"])  # fmt: skip


def spec(draw, good):
    """FILE:NAME, right in most cases."""
    if draw.sound or draw(st.integers(0, 3)):
        return good
    return f"{draw(FILES)}:{draw(INSIDE)}" if draw(st.integers(0, 5)) else argument(draw(WORDS))


@campaign("handgrad verify", 400, 4)
def test_verify(draw, outcomes, folder):
    furnish(folder)
    number = len(list(folder.glob("own*.py")))
    own = f"own{number}.py"
    (folder / own).write_bytes(draw(st.sampled_from(SOURCES)))
    quick = ["--evaluations", "0", "--digits", "20", "--dtype", "float32"]
    what = spec(draw, "my.py:gradient").replace("own.py", own)
    line = ["verify", what, "--of", spec(draw, "my.py:loss").replace("own.py", own),
            "--at", spec(draw, "my.py:example").replace("own.py", own), *quick]  # fmt: skip
    line += flags(
        draw, "", argnums=st.sampled_from(["0", "0,", "1", "-1", "(0)", "0,0", "x"]), seed=NUMBERS,
        dtype=st.sampled_from(["bfloat16", "float64"]), points=st.just("my.py:points"),
        reference=st.sampled_from(["autodiff"]), digits=st.sampled_from(["1", "0", str(10**9), str(10**30)]),
        evaluations=st.sampled_from(["1", "-1", str(10**18), str(10**30)]),
    )  # fmt: skip
    named, allowed = outputs(draw, folder, json=".json")
    outcomes.hold(lambda: run_and_look([*line, *named], folder, allowed), line, named)
    (folder / own).write_bytes(b"")


@campaign("handgrad explain", 250, 3)
def test_explain(draw, outcomes, folder):
    furnish(folder)
    line = ["explain", spec(draw, "my.py:loss"), "--at", spec(draw, "my.py:example")]
    line += flags(
        draw,
        "",
        gradient=st.just("my.py:gradient"),
        argnums=st.sampled_from(["0", "0,", "1", "x"]),
        seed=NUMBERS,
    )
    if not draw.sound and draw(st.integers(0, 3)) == 0:
        line = ["explain", draw(st.sampled_from(["sigmoid", "residual", "no", "<b>"])),
                *flags(draw, "", seed=NUMBERS, argnums=NUMBERS)]  # fmt: skip
    named, allowed = outputs(draw, folder, json=".json", html=".html")
    outcomes.hold(lambda: run_and_look([*line, *named], folder, allowed), line, named)


@campaign("handgrad atlas, bench: refusals", 400, 8)
def test_the_others(draw, outcomes, folder):
    furnish(folder)
    name = draw(st.sampled_from(["atlas", "bench", "", "nothing", "--help"]))
    bad_number = st.sampled_from(["-1", "0", "x", "1.5", "", str(10**30), "nan"])
    bad_name = st.one_of(
        st.sampled_from(["Sigmoid", "sigmoid.png", "a\nb", "\x1b[1m"]), PATHS.map(argument)
    )
    line = {
        "atlas": ["atlas", "--every-logit", "--sample", draw(bad_number)],
        "bench": ["bench", draw(bad_name), "--figures", draw(PLACES).format("")],
    }.get(name, [name])
    if name in ("atlas", "bench") and draw(st.booleans()):
        line += ["--json", draw(PLACES).format(".txt")]
    if draw.sound:
        line = ["--help"]
    outcomes.hold(lambda: run_and_look(line, folder), line)


# --- certificates ---------------------------------------------------------------------------------


def certificate(folder):
    """A certificate of the judge on a case, and one on a user's file."""
    from fuzz.harness import command

    for name, what in {
        "case.json": ["sigmoid"],
        "file.json": ["my.py:gradient", "--of", "my.py:loss", "--at", "my.py:example"],
    }.items():
        if not (folder / name).exists():
            ran = command("verify", *what, "--evaluations", "0", "--digits", "20", "--dtype", "float32",
                          "--json", name)  # fmt: skip
            assert ran.code == 0, ran.err
    return [(folder / name).read_text() for name in ("case.json", "file.json")]


VALUES = st.sampled_from([
    None, True, -1, 0, 1, 10**18, 10**400, 1.5, float("nan"), float("inf"), "", "x", "0x1p3", "float32", [], {},
    [None], ["0x1.8p+1"], ["inf"], ["nan"], ["0x1p99999"], {"a": 1}, [[1]], "\x1b[31m", "my.py:gradient", "a\nb",
    [{}], [{"leaf": "x"}], [{"dtype": "float32"}], "handgrad certificate 1",
])  # fmt: skip
TEXTS = st.sampled_from([
    "", "{", "[]", "null", "[" * 100_000, '{"a":' * 50_000, "9" * 5000, "NaN", '"x"', "\ufeff{}", "{}{}", "\0",
    '{"certificates": 3}', '{"certificates": []}', '{"certificates": [1, null]}', '{"format": NaN}', "-" * 99,
    '{"certificates": [{"format": "handgrad certificate 1"}]}',
])  # fmt: skip


def edited(draw, data):
    """The same with one value at any depth taken by another, or away."""
    if isinstance(data, dict | list) and data and draw(st.integers(0, 4)):
        key = draw(
            st.sampled_from(list(data) if isinstance(data, dict) else list(range(len(data))))
        )
        data = dict(data) if isinstance(data, dict) else list(data)
        if draw(st.integers(0, 9)) == 0:
            del data[key]
        else:
            data[key] = edited(draw, data[key])
        return data
    return draw(VALUES)


@campaign("handgrad recheck: certificates", 900, 10)
def test_recheck(draw, outcomes, folder):
    furnish(folder)
    texts = certificate(folder)
    kind = draw(st.sampled_from(["edited", "edited", "edited", "cut", "text", "bytes", "thing"]))
    path = folder / "spoiled.json"
    text = draw.or_sound(texts[0], st.just(texts[1]))
    if draw.sound:
        kind, content = "sound", text.encode()
    elif kind == "edited":
        content = json.dumps(edited(draw, json.loads(text))).encode()
    elif kind == "cut":
        content = text[: draw(st.integers(0, len(text)))].encode()
    elif kind == "text":
        content = draw(TEXTS).encode()
    else:
        content = draw(st.binary(max_size=30))
    if kind == "thing":
        path = draw(
            st.sampled_from(
                [made(folder, thing, ".json") for thing in THINGS] + [folder / "no.json"]
            )
        )
    else:
        path.write_bytes(content)
    line = ["recheck", str(path), *draw.or_sound([], st.sampled_from([["my.py"], ["no.py"]]))]
    line += flags(draw, "", gradient=st.just("my.py:gradient"), of=st.just("my.py:loss"),
                  at=st.just("my.py:example"))  # fmt: skip
    outcomes.hold(lambda: run_and_look(line, folder), kind, content[-300:], line)


# --- real processes -------------------------------------------------------------------------------

RIGHT = (
    ["--help"], ["train", "in.csv", "--target", "label", "--epochs", "1"], ["explain", "sigmoid"],
    ["verify", "sigmoid", "--evaluations", "0"],
)  # fmt: skip
WRONG = (
    ["train", "\udcff.csv", "--target", "x"], ["train", "fifo.csv", "--target", "x"], ["recheck", "fifo.json"],
    ["recheck", "zero.json"], ["verify", "fifo.py:f", "--of", "my.py:loss", "--at", "my.py:example"],
    ["train", "é\n.csv"], [], ["train", "zero.csv", "--target", "x"],
)  # fmt: skip


@campaign("real processes", 24, 2)
def test_real_processes(draw, outcomes, folder):
    import subprocess

    furnish(folder)
    for thing in ("fifo", "zero"):
        made(folder, thing, ".csv")
        made(folder, thing, ".json")
    line = draw(st.sampled_from(RIGHT if draw.sound else WRONG))
    environment = dict(os.environ) | draw(
        st.sampled_from([{}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"COLUMNS": "1"},
                         {"COLUMNS": "x"}, {"TERM": "dumb"}, {"HOME": "/nowhere"}, {"TMPDIR": "/nowhere"}])
    )  # fmt: skip
    target = draw(st.sampled_from(["pipe", "pipe", "/dev/null"]))

    def call():
        with open("/dev/null", "wb") as null:
            done = subprocess.run(
                [sys.executable, "-c", "from handgrad.cli import main; main()",
                 *(part.encode("utf-8", "surrogateescape") for part in line)],
                stdin=subprocess.DEVNULL, env=environment, timeout=4 * SECONDS, cwd=folder,
                stdout=null if target != "pipe" else subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        out = "not read" if done.stdout is None else done.stdout.decode()
        keeps_the_rule(Ran(done.returncode, out, done.stderr.decode()))
        return REFUSED if done.returncode == 2 else None

    outcomes.hold(call, line, environment.get("PYTHONIOENCODING"), target)
