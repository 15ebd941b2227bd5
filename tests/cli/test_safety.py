"""What is read runs no code: the source, walked with `ast`, and bombs that do not go off."""

import ast
import json
import pickle
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

SOURCE = Path(__file__).parents[2] / "src" / "handgrad"
FILES = sorted(SOURCE.rglob("*.py"))

RUNS_CODE = {
    "pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "runpy",
    "code",
    "codeop",
}
STARTS_A_PROGRAM = {"subprocess", "pty"}
BUILTINS = {"eval", "exec", "__import__", "compile"}
CALLS = {
    "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "yaml.load", "yaml.unsafe_load",
    "numpy.fromregex", "pandas.read_pickle", "torch.load", "joblib.load", "ctypes.CDLL",
}  # fmt: skip
IMPORTS_BY_NAME = {
    "importlib.import_module",
    "importlib.util.spec_from_file_location",
    "exec_module",
}
ALLOWED = {
    "cli/user_file.py": {
        "importlib.util.spec_from_file_location",
        "exec_module",
    },  # named by the user
    "accuracy/functions.py": {"importlib.import_module"},  # of JAX and optax, by a fixed list
    "repair/terms.py": {"exec", "compile"},  # what it has itself printed
    "bench/__init__.py": {"importlib.import_module"},  # its jobs, by a fixed list
    "bench/judge.py": {"subprocess"},  # the command itself, timed from its start
    "bench/timing.py": {"importlib.import_module"},  # torch, numba and glum, by name
    "interop/branches.py": {"compile"},  # the user's own function, its branches rewritten
    "interop/functions.py": {"importlib.import_module"},  # jax.numpy and its like, by a fixed list
    "interop/torch.py": {"importlib.import_module", "compile", "eval"},  # torch; one fixed line
    "testing/audit.py": {"importlib.import_module"},  # the package that the user names
    "__init__.py": {"importlib.import_module"},  # the rooms of the package, by a fixed list
    "_precision.py": {"importlib.import_module"},  # jax.experimental
    "exact/interpreter.py": {"importlib.import_module"},  # more primitives of JAX
}
"""The files that may run code that is not theirs by name, and whose it is."""


def dotted(node):
    """A name or a chain of attributes as it is written, `?` for what it begins with otherwise."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def breaches(tree):
    """What in a module could run what it reads, as names."""
    called_as = {}
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                called_as[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                if alias.name.split(".")[0] in RUNS_CODE | STARTS_A_PROGRAM:
                    yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                called_as[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if node.module.split(".")[0] in RUNS_CODE | STARTS_A_PROGRAM:
                yield node.module
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        first, dot, rest = name.partition(".")
        name = called_as.get(first, first) + dot + rest
        if name in BUILTINS | CALLS | IMPORTS_BY_NAME:
            yield name
        elif name.endswith(".exec_module"):
            yield "exec_module"
        for keyword in node.keywords:
            if keyword.arg in ("allow_pickle", "shell", "usetex"):
                said = ast.unparse(keyword.value)
                if said != "False":
                    yield f"{keyword.arg}={said}"


def test_nothing_that_is_read_is_run():
    """And an exception that nobody needs any more is taken back."""
    found = {
        path.relative_to(SOURCE).as_posix(): set(breaches(ast.parse(path.read_text())))
        for path in FILES
    }
    assert {name: what for name, what in found.items() if what} == ALLOWED


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle", "from pickle import loads", "import marshal as m", "import shelve",
        "eval(text)", "exec(text)", "__import__(name)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "from numpy import load\nload(f, allow_pickle=flag)", "import yaml\nyaml.load(text)",
        "import subprocess\nsubprocess.run(line, shell=True)", "import os\nos.system(line)",
        "from os import system as s\ns(line)", "import importlib\nimportlib.import_module(name)",
        "from importlib import import_module\nimport_module(name)",
        "spec.loader.exec_module(module)", "import torch\ntorch.load(f)",
        "import importlib.util as u\nu.spec_from_file_location('x', path)",
        "import joblib\njoblib.load(f)", "Text('x', usetex=True)",
    ],
)  # fmt: skip
def test_a_planted_breach_is_seen(planted):
    assert list(breaches(ast.parse(planted)))


# --- bombs ----------------------------------------------------------------------------------------


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_the_bomb_is_live(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "sentinel"))).close()
    assert (tmp_path / "sentinel").exists()


@pytest.fixture
def bomb(tmp_path, monkeypatch):
    """Pickled bytes, and a folder in which nothing may be made by reading them."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield pickle.dumps(Bomb(tmp_path / "sentinel"), protocol=0)
    assert not (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy", ".npz", ".pkl", ".json"])
def test_a_pickle_is_refused_as_data_and_as_a_certificate(command, bomb, suffix):
    Path("bomb" + suffix).write_bytes(bomb)
    for line in (["train", "bomb" + suffix, "--target", "label"], ["recheck", "bomb" + suffix]):
        ran = command(*line)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("error: ")


def test_an_object_array_in_a_npy_file_is_refused(command, bomb):
    import numpy as np

    np.save("bomb.npy", np.array([Bomb(Path.cwd().parent / "sentinel")], object), allow_pickle=True)
    assert command("train", "bomb.npy", "--target", "0").code == 2


def test_a_parquet_file_whose_schema_holds_a_pickle(command, bomb):
    """The extension types of old pyarrow were unpickled on sight; no model, so it is only read."""
    field = pyarrow.field(
        "a", pyarrow.int64(), metadata={
            "ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": bomb,
        },
    )  # fmt: skip
    schema = pyarrow.schema([field, pyarrow.field("label", pyarrow.string())])
    table = pyarrow.table([list(range(12)), ["u", "v"] * 6], schema=schema)
    table = table.replace_schema_metadata({"pandas": bomb, "pickle": bomb})
    parquet.write_table(table, "bomb.parquet")
    ran = command("train", "bomb.parquet", "--target", "label", "--model", "none")
    assert "model: expected one of" in ran.err


EVIL = "open({path!r}, 'w').close()\ndef gradient(x): return x\nloss = gradient\nexample = (1.0,)\n"


def test_a_certificate_runs_no_file_that_is_not_named(command, bomb, tmp_path):
    folder = Path.cwd()
    ran = command(
        "verify", "sigmoid", "--evaluations", "0", "--dtype", "float32", "--json", "c.json"
    )
    assert ran.code == 0
    evil = folder / "evil.py"
    evil.write_text(EVIL.format(path=str(tmp_path / "sentinel")))
    (folder / "good.py").write_text("x = 1\n")
    data = json.loads(Path("c.json").read_text())
    for spec in ("evil.py:gradient", f"{evil}:gradient", "./x/../evil.py:gradient", "evil:gradient",
                 "good.py:../evil.py:gradient", "evil.py"):  # fmt: skip
        subject = {"gradient": spec, "of": "evil.py:loss", "at": "evil.py:example", "points": spec}
        data["certificates"][0]["subject"] = subject
        Path("c.json").write_text(json.dumps(data))
        for named in ([], ["good.py"], ["c.json"], ["."]):
            ran = command("recheck", "c.json", *named)
            assert ran.code == 2, spec
            assert "the Python files to run" in ran.err
    data["certificates"][0]["subject"] = {
        "case": "sigmoid",
        "seed": 0,
        "points": "evil.py:gradient",
    }
    Path("c.json").write_text(json.dumps(data))
    assert command("recheck", "c.json").code == 2


def test_a_certificate_runs_the_file_that_is_named(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import jax.numpy as jnp\ndef loss(x): return jnp.sum(x * x)\n"
        "def gradient(x): return 2 * x\nexample = (jnp.ones(2),)\n"
    )
    names = ["mine.py:gradient", "--of", "mine.py:loss", "--at", "mine.py:example"]
    ran = command("verify", *names, "--evaluations", "0", "--dtype", "float32", "--json", "c.json")
    assert ran.code == 0
    assert command("recheck", "c.json").code == 2
    ran = command("recheck", "c.json", "mine.py")
    assert (ran.code, ran.out) == (0, "mine.py:gradient: holds\n")


def test_names_in_a_page_are_text(command, tmp_path, monkeypatch):
    """The page of a loss whose every name is markup runs no script but its own."""
    monkeypatch.chdir(tmp_path)
    source = (
        "import jax.numpy as jnp\nclass Named(dict): pass\n"
        "def loss(p):  # <script>alert(1)</script>\n    return jnp.sum(p[KEY] ** 2)\n"
        "KEY = '<script>alert(2)</script><img src=x onerror=alert(3)>'\n"
        "loss.__name__ = '<script>alert(4)</script>'\nexample = ({KEY: jnp.ones(2)},)\n"
    )
    (tmp_path / "<b>own.py").write_text(source)
    ran = command("explain", "<b>own.py:loss", "--at", "<b>own.py:example", "--html", "page.html")
    assert ran.code == 0, ran.err
    page = (tmp_path / "page.html").read_text()
    assert "alert(2)" in page
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<b>own.py" not in page


def test_names_in_a_figure_are_text(command, tmp_path, monkeypatch):
    """A dollar begins no formula, and a backslash no LaTeX."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(
        f"{n},{n * n % 7},{('$u$', '$' + chr(92) + 'frac{')[n // 3 % 2]}\n" for n in range(24)
    )
    (tmp_path / "$d$.csv").write_text("$x_$,\\input{/etc/passwd}$,label\n" + rows)
    ran = command("train", "$d$.csv", "--target", "label", "--epochs", "1", "--plot", "out.png")
    assert (ran.code, ran.err) == (0, "")
    assert (tmp_path / "out.png").read_bytes().endswith(b"IEND\xaeB`\x82")
