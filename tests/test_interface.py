"""The public face: quick to import, the same names for people, programs and type checkers."""

import ast
import importlib
import inspect
import json
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import handgrad
from handgrad import errors

HEAVY = ["jax", "jaxlib", "sklearn", "matplotlib", "pandas", "numpy", "optax", "flint", "pyarrow"]


def modules_after(code):
    """The heavy modules that a fresh process has imported after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys, json; print(json.dumps(list(sys.modules)))"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return set(HEAVY) & set(json.loads(done.stdout.splitlines()[-1]))


def test_the_import_is_quick():
    assert modules_after("import handgrad; handgrad.__version__; dir(handgrad)") == set()


def test_the_help_is_quick():
    code = """
import sys
from handgrad.cli import main
sys.argv = ["handgrad", "train", "--help"]
try:
    main()
except SystemExit as left:
    assert left.code == 0
"""
    assert modules_after(code) == set()


def test_every_name_is_there():
    for name in handgrad.__all__:
        assert getattr(handgrad, name) is not None
        assert name in dir(handgrad)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = handgrad.nonsense


def test_type_checkers_see_the_names_that_are_there():
    """What stands under TYPE_CHECKING and what is fetched at run time are one list."""
    tree = ast.parse(Path(handgrad.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {}
    for statement in block.body:
        (alias,) = statement.names
        assert alias.asname == alias.name, "re-exported by `import name as name`"
        seen[alias.name] = statement.module
    fetched = {
        name: "handgrad" if name in handgrad._MODULES else f"handgrad.{home}"
        for name, home in handgrad._HOME.items()
    }
    assert seen == fetched


@pytest.mark.parametrize("name", ["verify", "explain", "accuracy", "fit"])
def test_a_function_stays_one_though_a_room_has_its_name(name):
    """Help, signatures and calls see the function, whoever has imported the room."""
    for room in ("verify", "explain"):
        importlib.import_module(f"handgrad.{room}")
    function = getattr(handgrad, name)
    assert inspect.isfunction(function)
    assert len(inspect.signature(function).parameters) > 2
    assert f"{name}(" in pydoc.plain(pydoc.render_doc(function))


EXCEPTIONS = [
    errors.InputError("x", "shape (N, D)", "shape (3,)", "reshape x"),
    errors.NotFollowed("a branch", "write np.where", "my.py", 3, "if x > 0:"),
    errors.MissingExtraError("reading Parquet", "data"),
    errors.DivergedError(7, float("inf")),
    errors.Undecided("a tie", "max", "my.py:3 in loss"),
    errors.UnsupportedPrimitive("svd", "signs are free", "my.py:3 in loss"),
]


def test_every_public_exception_is_tried():
    public = {e for e in vars(errors).values() if isinstance(e, type)} - {errors.HandgradError}
    assert {type(e) for e in EXCEPTIONS} == {e for e in public if e.__module__ == errors.__name__}
    assert all(getattr(handgrad, type(e).__name__) is type(e) for e in EXCEPTIONS)


@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda e: type(e).__name__)
def test_exceptions_survive_pickling(error):
    """As when a process pool hands one back: the same type, words and facts."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
