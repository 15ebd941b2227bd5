"""The rules of the house, read from the source: each is a function of the sources to its breaches.

Every rule is tried twice: on the house, where it must find nothing, and on a planted breach, which
it must find.
"""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Data flows down this list; a room imports only itself and the rooms above it.
HOUSE = (
    "errors", "_notebook", "_types", "_checks", "_precision", "_placement", "gradients",
    "fast", "losses", "jaxprs", "exact", "interop", "verify", "accuracy", "repair", "testing",
    "derivations", "catalogue", "data", "scale", "train", "sklearn", "bench", "explain", "cli",
    "__main__",
)  # fmt: skip
AUTODIFF = {
    "grad", "value_and_grad", "vjp", "jvp", "jacfwd", "jacrev", "hessian", "linearize",
    "custom_jvp", "custom_vjp", "checkpoint", "linear_transpose", "custom_gradient",
}  # fmt: skip
BY_HAND = (
    "jax.numpy", "jax.lax", "jax.random", "jax.Array", "jaxtyping", "typing", "collections",
    "dataclasses", "handgrad.", "math", "functools",
)  # fmt: skip
FRAGMENT = 60  # lines
SECOND_OPINION = "benchmarks/judge/second_opinion.py"

Sources = dict[str, str]
"""The text of each file by its path, `handgrad/...` for the package."""


@functools.cache
def sources():
    files = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))
    return {p.relative_to(ROOT).as_posix().removeprefix("src/"): p.read_text() for p in files}


@functools.cache
def parsed(text):
    return ast.parse(text)


def statements(text):
    """Every statement, however deep: imports are among them, and expressions need no look."""
    stack = [parsed(text)]
    while stack:
        node = stack.pop()
        yield node
        stack += [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr)]


def room(path):
    return path.split("/")[1].removesuffix(".py")


def package_files(files):
    return {path: text for path, text in files.items() if path.startswith("handgrad/")}


@functools.cache
def imported_names(text):
    """Every imported module, dotted, with what is taken from it."""
    found = []
    for node in statements(text):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            found += [f"{prefix}.{alias.name}" for alias in node.names]
    return found


def dotted_names(text):
    """Every attribute chain such as jax.lax.scan, and every bare name."""
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Attribute | ast.Name):
            yield ast.unparse(node)


def module_of(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_files(files):
    """path -> the paths of this package that it imports, at the top or inside a function."""
    paths = {module_of(path): path for path in files}
    found = {}
    for path, text in files.items():
        names = {n for n in imported_names(text) if n.startswith("handgrad")}
        targets = {paths.get(n) or paths.get(n.rpartition(".")[0]) for n in names}
        found[path] = targets - {None, path, "handgrad/__init__.py"}
    return found


# --- the rules --------------------------------------------------------------------------------


def unknown_rooms(files):
    for path in package_files(files):
        if room(path) not in (*HOUSE, "__init__"):
            yield f"{path} is in no room"


def imports_up_the_house(files):
    for path, text in package_files(files).items():
        if path == "handgrad/__init__.py":
            continue
        for name in imported_names(text):
            if name.startswith("."):
                yield f"{path}: relative import {name}"
            elif name.startswith("benchmarks"):
                yield f"{path} imports {name}, which is not in the wheel"
            elif name.startswith("handgrad."):
                there = name.split(".")[1]
                if there == "__version__":
                    continue
                if there not in HOUSE or HOUSE.index(there) > HOUSE.index(room(path)):
                    yield f"{path} imports {name}"


def circles(files):
    """Files that can be reached from themselves."""
    graph = imported_files(package_files(files))
    for start in graph:
        seen, stack = set(), list(graph[start])
        while stack:
            path = stack.pop()
            if path == start:
                yield f"{start} imports itself by way of others"
                break
            if path not in seen:
                seen.add(path)
                stack += graph.get(path, ())


def fragments(files):
    """Short files that a single neighbour imports, and nobody else."""
    files = package_files(files)
    graph = imported_files(files)
    for path, text in files.items():
        lines = len(text.splitlines())
        users = [user for user, used in graph.items() if path in used]
        neighbours = [user for user in users if user.rpartition("/")[0] == path.rpartition("/")[0]]
        if lines < FRAGMENT and len(users) == len(neighbours) == 1 and "__init__" not in path:
            yield f"{path}, {lines} lines, is imported by {users[0]} alone"


def autodiff_in_gradients(files):
    for path, text in package_files(files).items():
        if room(path) != "gradients":
            continue
        for name in imported_names(text):
            if name != "jax" and not name.startswith(BY_HAND):
                yield f"{path} imports {name}"
        for name in dotted_names(text):
            if name.startswith("jax.") and not name.startswith(BY_HAND):
                yield f"{path} uses {name}"
            if name.split(".")[0] == "jax" and AUTODIFF & set(name.split(".")[:2]):
                yield f"{path} differentiates by {name}"


def judge_knows_the_judged(files):
    judged = ("handgrad.gradients", "handgrad.losses", "handgrad.catalogue", "handgrad.fast")
    for path, text in package_files(files).items():
        if room(path) in ("jaxprs", "exact", "verify"):
            for name in imported_names(text):
                if name.startswith(judged):
                    yield f"{path} imports {name}"


def printing_outside_the_command(files):
    for path, text in package_files(files).items():
        if room(path) == "cli" or not re.search("print|write", text):
            continue
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                called = ast.unparse(node.func)
                if called in ("print", "sys.stdout.write", "sys.stderr.write"):
                    yield f"{path}:{node.lineno} prints"


def second_walks(files):
    """Whoever goes through the equations of a jaxpr by itself, or imports what jaxprs.py offers."""
    for path, text in files.items():
        if path in ("handgrad/jaxprs.py", SECOND_OPINION) or not re.search("eqns|extend", text):
            continue
        nodes = ast.walk(parsed(text)) if "eqns" in text else ()
        if any(isinstance(node, ast.Attribute) and node.attr == "eqns" for node in nodes):
            yield f"{path} looks at .eqns"
        for name in imported_names(text):
            if name.startswith("jax.extend.core"):
                yield f"{path} imports {name}"


def classes_with_one_name(files):
    homes = {}
    for path, text in package_files(files).items():
        for node in parsed(text).body:
            # Every model has its own Params, as it has its own loss.
            if isinstance(node, ast.ClassDef) and node.name[0] != "_" and node.name != "Params":
                homes.setdefault(node.name, []).append(path)
    for name, paths in homes.items():
        if len(paths) > 1:
            yield f"{name} means {len(paths)} things: {', '.join(paths)}"


# --- each rule on the house, and on a breach of it --------------------------------------------

BREACHES = {
    unknown_rooms: {"handgrad/utils.py": ""},
    imports_up_the_house: {"handgrad/exact/a.py": "from handgrad.cli import app"},
    circles: {
        "handgrad/exact/a.py": "from handgrad.exact.b import f",
        "handgrad/exact/b.py": "def f():\n    from handgrad.exact import a",
    },
    fragments: {
        "handgrad/exact/a.py": "from handgrad.exact.b import f",
        "handgrad/exact/b.py": "def f(): pass",
    },
    autodiff_in_gradients: {"handgrad/gradients/a.py": "import jax\ng = jax.grad(f)"},
    judge_knows_the_judged: {"handgrad/verify/a.py": "from handgrad.gradients import logistic"},
    printing_outside_the_command: {"handgrad/train/a.py": "print('epoch 1')"},
    second_walks: {"benchmarks/a.py": "for equation in jaxpr.eqns: pass"},
    classes_with_one_name: {
        "handgrad/exact/a.py": "class Step: pass",
        "handgrad/verify/b.py": "class Step: pass",
    },
}
MORE_BREACHES = [
    (imports_up_the_house, {"handgrad/exact/a.py": "from . import balls"}),
    (imports_up_the_house, {"handgrad/bench/a.py": "from benchmarks import judge"}),
    (imports_up_the_house, {"handgrad/exact/a.py": "def f():\n    import handgrad.verify"}),
    (autodiff_in_gradients, {"handgrad/gradients/a.py": "from jax import vjp"}),
    (autodiff_in_gradients, {"handgrad/gradients/a.py": "import jax\nx = jax.nn.relu(x)"}),
    (second_walks, {"handgrad/explain/a.py": "from jax.extend.core import Literal"}),
]


@pytest.mark.parametrize("rule", BREACHES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule):
    files = sources()
    assert len(package_files(files)) > 50
    assert list(rule(files)) == []


@pytest.mark.parametrize(
    ("rule", "files"), [*BREACHES.items(), *MORE_BREACHES], ids=lambda v: getattr(v, "__name__", "")
)
def test_a_breach_is_found(rule, files):
    assert list(rule(files))


def test_what_is_allowed_is_no_breach():
    """Two importers, or 60 lines, make a file; a shared importer in another room does too."""
    short = {
        "handgrad/exact/a.py": "from handgrad.exact.b import f",
        "handgrad/exact/b.py": "def f(): pass",
    }
    assert not list(fragments(short | {"handgrad/verify/c.py": "from handgrad.exact.b import f"}))
    assert not list(fragments(short | {"handgrad/exact/b.py": "x = 1\n" * FRAGMENT}))
    assert not list(circles(short))
    assert not list(imports_up_the_house({"handgrad/verify/a.py": "from handgrad import exact"}))
