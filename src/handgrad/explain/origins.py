"""Where an equation comes from: the line of the user's code, the expression, and a name for it.

JAX keeps the stack that a primitive was applied under. Python knows the columns of every call in
it, so the expression itself can be cut out of the file: `x @ w` rather than line 12.
"""

import ast
import functools
import linecache
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSIDE = ("/jax/", "/jaxlib/", "/handgrad/explain/", "/importlib/", "/contextlib.py", "<frozen")
LONGEST = 120


@dataclass(frozen=True)
class Origin:
    """A file (its name only), a line, the function around it, and the expression itself."""

    file: str
    line: int
    function: str
    code: str
    names: tuple[str, ...] = ()
    """What the expression was assigned to, or the function that returned it; none for a part."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def origin_of(equation: Any) -> Origin | None:
    """The innermost frame of the user's code, and the name that its value took on the way out."""
    frames = _frames(getattr(equation.source_info, "traceback", None))
    if not frames:
        return None
    file, function, span = frames[0]
    return Origin(Path(file).name, span[0], function, _cut(file, span), _names(frames))


Span = tuple[int, int, int, int]


def _frames(traceback: Any) -> list[tuple[str, str, Span]]:
    """(file, function, span) of the user's frames, innermost first."""
    if traceback is None:
        return []
    found = []
    for code, address in zip(*traceback.raw_frames(), strict=True):
        path = code.co_filename.replace("\\", "/")
        if not any(part in path for part in INSIDE):
            found.append((code.co_filename, code.co_name, _span(traceback, code, address)))
        elif found and "/handgrad/explain/" in path:
            break  # what called the explanation is no part of the loss
    return found


def _span(traceback: Any, code: Any, address: int) -> Span:
    positions = list(code.co_positions())
    index = address // 2
    if index < len(positions) and None not in positions[index]:
        start, end, left, right = positions[index]
        return start, left, end, right
    line = traceback.code_addr2line(code, address)
    return line, 0, line, 0


def _cut(file: str, span: Span) -> str:
    """The source between two positions, on one line; the whole line where columns are not known."""
    start, left, end, right = span
    lines = [linecache.getline(file, number).encode() for number in range(start, end + 1)]
    if (start, left) == (end, right) or not lines:
        return lines[0].decode().strip()[:LONGEST] if lines else ""
    lines[-1] = lines[-1][:right]
    lines[0] = lines[0][left:]
    text = " ".join(b" ".join(lines).decode(errors="replace").split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _names(frames: list[tuple[str, str, Span]]) -> tuple[str, ...]:
    """Outwards through `return` until an assignment: its targets, or the last function's name."""
    names: tuple[str, ...] = ()
    for file, function, span in frames:
        kind, targets = _whole(file, span)
        if kind == "assigned":
            return targets
        if kind != "returned":
            return names
        names = names if function.startswith("<") else (function,)
    return names


@functools.lru_cache(maxsize=4096)
def _whole(file: str, span: Span) -> tuple[str, tuple[str, ...]]:
    """How an expression ends up if it is all of a statement: assigned to a name, or returned."""
    for node in _statements(file):
        value = getattr(node, "value", None)
        if value is None or (value.lineno, value.col_offset) != span[:2]:
            continue
        if (value.end_lineno, value.end_col_offset) != span[2:]:
            continue
        if isinstance(node, ast.Return):
            return "returned", ()
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            named = [part.id for part in parts if isinstance(part, ast.Name)]
            return "assigned", tuple(name for name in named if name.strip("_"))
    return "part", ()


@functools.lru_cache(maxsize=64)
def _statements(file: str) -> tuple[ast.stmt, ...]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    return tuple(n for n in ast.walk(tree) if isinstance(n, ast.Return | ast.Assign))
