"""The user's own file: the line that an equation comes from, and the names that values have there.

JAX keeps the stack that a primitive was applied under. Python knows the columns of every call in
it, so the expression itself can be cut out of the file: `x @ w` rather than line 12.
"""

import ast
import functools
import inspect
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from handgrad.jaxprs import Frame, frames

LONGEST = 120


@dataclass(frozen=True)
class SourceLocation:
    """A file (its name only), a line, the function around it, and the expression itself."""

    file: str
    line: int
    function: str
    code: str
    names: tuple[str, ...] = ()
    """What the expression was assigned to, or the function that returned it; none for a part."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def locate(equation: Any) -> SourceLocation | None:
    """The innermost frame of the user's code, and the name that its value took on the way out."""
    found = frames(equation)
    if not found:
        return None
    file, function, span = found[0]
    return SourceLocation(Path(file).name, span[0], function, _cut(file, span), _names(found))


def _cut(file: str, span: tuple[int, int, int, int]) -> str:
    """The source between two positions, on one line; the whole line where columns are not known."""
    start, left, end, right = span
    lines = [linecache.getline(file, number).encode() for number in range(start, end + 1)]
    if (start, left) == (end, right) or not lines:
        return lines[0].decode().strip()[:LONGEST] if lines else ""
    lines[-1] = lines[-1][:right]
    lines[0] = lines[0][left:]
    text = " ".join(b" ".join(lines).decode(errors="replace").split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _names(found: list[Frame]) -> tuple[str, ...]:
    """Outwards through `return` until an assignment: its targets, or the last function's name."""
    names: tuple[str, ...] = ()
    for file, function, span in found:
        statements = _statements(file)
        if span not in statements:
            return names
        targets = statements[span]
        if targets is not None:
            return targets
        names = names if function.startswith("<") else (function,)
    return names


@functools.lru_cache(maxsize=64)
def _statements(file: str) -> dict[tuple[int, int, int, int], tuple[str, ...] | None]:
    """By the span of an expression that is all of a statement: what it is assigned to.

    None for what is returned.
    """
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    found: dict[tuple[int, int, int, int], tuple[str, ...] | None] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Return | ast.Assign) or node.value is None:
            continue
        names = None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            ids = [part.id for part in parts if isinstance(part, ast.Name)]
            names = tuple(name for name in ids if name.strip("_"))
        end = node.value.end_lineno or 0, node.value.end_col_offset or 0
        found[(node.value.lineno, node.value.col_offset, *end)] = names
    return found


# --- functions and their arguments ------------------------------------------------------------


def function_name(f: Any) -> str:
    """A function's own name, through `functools.partial`."""
    while isinstance(f, functools.partial):
        f = f.func
    return str(getattr(f, "__name__", type(f).__name__))


def argument_names(f: Callable, count: int) -> list[str]:
    """The names of the first `count` parameters; numbered where the signature has `*args`."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names[:count] + [f"argument {i}" for i in range(len(names), count)]


def leaf_names(at: tuple, arguments: list[str]) -> list[str]:
    """`params.weight` for every leaf of the arguments, in order."""
    paths, _ = jax.tree_util.tree_flatten_with_path(at)
    return [arguments[path[0].idx] + jax.tree_util.keystr(path[1:]) for path, _ in paths]
