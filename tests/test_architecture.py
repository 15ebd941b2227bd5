"""The house rules, read from the source with `ast`: who may import whom, and who may print."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "handgrad"

# Data flows down this list; a room imports only itself and the rooms above it.
HOUSE = (
    "errors", "_types", "_checks", "_precision", "_placement", "gradients", "fast", "losses",
    "jaxprs", "exact", "verify", "testing", "_pytest_plugin", "derivations", "catalogue",
    "evidence", "data", "train", "bench", "explain", "cli",
)  # fmt: skip
AUTODIFF = {
    "grad", "value_and_grad", "vjp", "jvp", "jacfwd", "jacrev", "hessian", "linearize",
    "custom_jvp", "custom_vjp", "checkpoint", "linear_transpose", "custom_gradient",
}  # fmt: skip
PAST_250_LINES: set[str] = {"jaxprs.py"}

FILES = sorted(SOURCE.rglob("*.py"))


def name_of(path):
    return path.relative_to(SOURCE).as_posix()


def room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_names(tree):
    """Every imported module, dotted, with what is taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted_names(tree):
    """Every attribute chain such as jax.lax.scan, and every bare name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            yield ast.unparse(node)


def parse(path):
    return ast.parse(path.read_text(), filename=str(path))


def test_every_file_is_in_a_known_room():
    assert FILES
    assert {room(f) for f in FILES} - {"__init__"} <= set(HOUSE)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_down_the_house(path):
    here = room(path)
    if here == "__init__":
        return
    for name in imported_names(parse(path)):
        if name.startswith("handgrad."):
            there = name.split(".")[1]
            assert there in HOUSE, f"{name} is in no room"
            assert HOUSE.index(there) <= HOUSE.index(here), f"{here} imports {there}"


@pytest.mark.parametrize("path", [f for f in FILES if room(f) == "gradients"], ids=name_of)
def test_gradients_are_by_hand(path):
    tree = parse(path)
    for name in imported_names(tree):
        allowed = ("jax.numpy", "jax.lax", "jax.random", "jax.Array", "jaxtyping", "typing",
                   "collections", "dataclasses", "handgrad.", "math", "functools")  # fmt: skip
        assert name == "jax" or name.startswith(allowed), f"{name} in gradients/"
    for name in dotted_names(tree):
        assert not AUTODIFF & set(name.split(".")[:2]) or not name.startswith("jax."), name
        if name.startswith("jax."):
            assert name.startswith(("jax.numpy", "jax.lax", "jax.random", "jax.Array")), name


@pytest.mark.parametrize("path", [f for f in FILES if room(f) in ("exact", "verify")], ids=name_of)
def test_the_judge_knows_nothing_of_the_gradients(path):
    for name in imported_names(parse(path)):
        assert not name.startswith(("handgrad.gradients", "handgrad.losses", "handgrad.catalogue"))


@pytest.mark.parametrize("path", [f for f in FILES if room(f) != "cli"], ids=name_of)
def test_only_the_command_prints(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("print", "sys.stdout.write", "sys.stderr.write")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_are_short(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 250 or name_of(path) in PAST_250_LINES, f"{lines} lines"


def test_the_rules_can_fail():
    """A planted breach of each kind is seen."""
    assert list(imported_names(ast.parse("from handgrad.cli import app"))) == ["handgrad.cli.app"]
    assert "jax.grad" in set(dotted_names(ast.parse("g = jax.grad(f)")))
