"""`import handgrad` is quick: what is heavy is imported where it is used."""

import json
import subprocess
import sys

import pytest

import handgrad

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
