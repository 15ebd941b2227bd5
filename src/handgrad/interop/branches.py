"""`if` on a number that depends on the arguments: both sides are run, and their results merged.

The source of a function is rewritten: an `if` whose sides only assign (to names, or to entries of
arrays) becomes a `Branch`. Where its condition is known, the one side is run. Else both are, what
they write into arrays kept only where the condition holds, or does not, and each name gets
`np.where(condition, this, that)`. A side that returns (or goes on with a loop by `continue`) can be
made to assign as well: the statements after the `if` become its other side, and what is returned
gets a name. A side that appends, raises or breaks off a loop is left as it is.
"""

import ast
import copy
import dis
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import jax
import numpy as np

from handgrad.interop.arrays import Array, Unfollowed, apply, predicates, raw

ASSIGNED = (ast.Assign, ast.AugAssign, ast.AnnAssign)
MUTATING = frozenset({
    "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "seed",
    "setdefault", "shuffle", "update", "write",
})  # fmt: skip
"""Methods that change lists, dicts, sets, files and generators in place."""
HERE = "__branches__"
"""The name by which a rewritten function finds this module."""
ANSWER = "__answer__"
"""The name that a function with one `return` gives to what it returns."""
MOST_COPIES = 32
"""Statements that may be written twice because two sides of an `if` go on with them."""


def rewritten(function: Any, jumps: bool = False) -> Any:
    """The function with its branches merged; the function itself where that cannot be done.

    With `jumps` those too whose sides end in `return` or `continue`.
    """
    if isinstance(function, functools.partial):
        inner = rewritten(function.func, jumps)
        return functools.partial(inner, *function.args, **function.keywords)
    if isinstance(function, MethodType):
        return MethodType(rewritten(function.__func__, jumps), function.__self__)
    if not isinstance(function, FunctionType) or function.__name__ == "<lambda>":
        return function
    return _rewritten(function, jumps)


@functools.lru_cache(maxsize=64)
def _rewritten(function: FunctionType, jumps: bool) -> FunctionType:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError):
        return function
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        return function
    definition.decorator_list = []
    if not _is_same(_compiled(definition, function), function.__code__):  # another's source
        return function
    if jumps:
        definition = _Straightened().visit(definition)
    rewriter = _Rewriter()
    code = _compiled(rewriter.visit(definition), function)
    if not rewriter.count:
        return function
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells[HERE] = CellType(Branch)
    closure = tuple(cells[name] for name in code.co_freevars)
    new = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, closure
    )
    new.__kwdefaults__ = function.__kwdefaults__
    return new


def _compiled(definition: ast.FunctionDef, function: FunctionType) -> CodeType:
    """The code of a function defined so, in the place and with the free names of another."""
    names = ", ".join([HERE, *function.__code__.co_freevars])
    outer: Any = ast.parse(f"def {HERE}outer({names}): pass")
    outer.body[0].body = [copy.deepcopy(definition)]
    ast.fix_missing_locations(ast.increment_lineno(outer, function.__code__.co_firstlineno - 1))
    code = compile(outer, function.__code__.co_filename, "exec")
    for name in (f"{HERE}outer", definition.name):
        inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        code = next(constant for constant in inner if constant.co_name == name)
    return code


def _is_same(one: Any, other: Any) -> bool:
    """Whether two pieces of code do the same: a file may have changed since it was imported."""
    if isinstance(one, str) and isinstance(other, str):
        return one.split() == other.split()  # a docstring, with its indentation or without
    if not (isinstance(one, CodeType) and isinstance(other, CodeType)):
        return type(one) is type(other) and one == other
    return (
        _steps(one) == _steps(other)
        and len(one.co_consts) == len(other.co_consts)
        and all(map(_is_same, one.co_consts, other.co_consts))
    )


def _steps(code: CodeType) -> list[Any]:
    """What a piece of code computes and stores; calls look otherwise where a module is imported."""
    told = ("BINARY", "COMPARE", "CONTAINS", "IS_OP", "POP_JUMP", "STORE", "UNARY")
    steps = [s for s in dis.get_instructions(code) if s.opname.startswith(told)]
    named = [(s.opname, "" if "JUMP" in s.opname else s.argrepr) for s in steps]
    return [code.co_names, code.co_varnames, *named]


# --- at run time ----------------------------------------------------------------------------------


class _Unset:
    """A name that has a value on one side of a branch only."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python itself asks: it has none
            raise AttributeError(name)
        raise Unfollowed("a name that only one side of a branch sets", "set it before the branch")


_UNSET = _Unset()
Getters = Sequence[Callable[[], Any]]


class Branch:
    """One `if`, as the rewritten function meets it."""

    def __init__(self, condition: Any):
        self.condition = condition
        value = raw(condition) if isinstance(condition, Array) else None
        self.is_known = not isinstance(value, jax.core.Tracer) or value.size != 1
        if self.is_known:
            self.holds = bool(condition)
        else:
            self.predicate = value.reshape(()) != 0  # type: ignore[union-attr]

    def start(self, *names: Callable) -> None:
        """Before the side that is run where the condition holds."""
        self.before = _values(names)
        predicates.append(self.predicate)

    def turn(self, *names: Callable) -> list[Any]:
        """Between the sides: the names have again the values that they had before."""
        self.first = _values(names)
        predicates[-1] = ~self.predicate
        return self.before

    def end(self, *names: Callable) -> list[Any]:
        """After both sides: what each name is now."""
        predicates.pop()
        pairs = zip(self.first, _values(names), strict=True)
        return [self._merged(first, second) for first, second in pairs]

    def _merged(self, first: Any, second: Any) -> Any:
        if first is second:
            return first
        if first is _UNSET or second is _UNSET:
            return _UNSET
        if not (_is_number_or_array(first) and _is_number_or_array(second)):
            raise Unfollowed("other things than numbers set by a branch", "use np.where")
        if np.shape(raw(first)) != np.shape(raw(second)):
            raise Unfollowed("arrays of other shapes on both sides of a branch", "use np.where")
        return apply(np.where, (Array(self.predicate), first, second), {})

    @staticmethod
    def choose(condition: Any, first: Callable, second: Callable) -> Any:
        """`first() if condition else second()`."""
        branch = Branch(condition)
        if branch.is_known:
            return first() if branch.holds else second()
        branch.start()
        one = first()
        branch.turn()
        other = second()
        branch.end()
        return branch._merged(one, other)

    @staticmethod
    def every(*parts: Callable) -> Any:
        """`a and b and c`."""
        return _joined(np.logical_and, False, parts)

    @staticmethod
    def some(*parts: Callable) -> Any:
        """`a or b or c`."""
        return _joined(np.logical_or, True, parts)

    @staticmethod
    def opposite(value: Any) -> Any:
        """`not a`."""
        return apply(np.logical_not, (value,), {}) if type(value) is Array else not value

    @staticmethod
    def writable(value: Any) -> None:
        """Raise Unfollowed for what cannot be changed on one side of a branch alone."""
        if predicates and not _is_number_or_array(value):
            raise Unfollowed(f"a {type(value).__name__} changed by a branch", "use arrays")


def _joined(ufunc: np.ufunc, settled: bool, parts: Sequence[Callable]) -> Any:
    """The parts joined, up to the first known one that settles it."""
    whole: Any = not settled
    for part in parts:
        value = part()
        is_traced = type(value) is Array and isinstance(value.value, jax.core.Tracer)
        if not is_traced and bool(value) == settled:
            return value if whole is (not settled) else settled
        if is_traced or whole is not (not settled):
            whole = value if whole is (not settled) else apply(ufunc, (whole, value), {})
    return whole


def _values(names: Getters) -> list[Any]:
    values = []
    for name in names:
        try:
            values.append(name())
        except NameError:
            values.append(_UNSET)
    return values


def _is_number_or_array(value: Any) -> bool:
    return type(value) is Array or isinstance(value, int | float | np.generic)


# --- the source -----------------------------------------------------------------------------------


class _Straightened(ast.NodeTransformer):
    """Makes the sides of an `if` that end in `return` or `continue` assign, where it can."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """A function: one return at its end, of a name that every way through it sets."""
        self.generic_visit(node)
        if any(_ends_within(statement, ast.Return) for statement in node.body):
            straight = _without_jumps(node.body, ast.Return, [MOST_COPIES])
            if straight is not None:
                node.body = [*straight, *_made(node.body[-1], f"return {ANSWER}")]
        return node

    def visit_For(self, node: ast.For) -> Any:
        """A loop: what `continue` leaves out becomes the other side."""
        self.generic_visit(node)
        if any(_ends_within(statement, ast.Continue) for statement in node.body):
            straight = _without_jumps(node.body, ast.Continue, [MOST_COPIES])
            node.body = node.body if straight is None else straight
        return node


def _ends_within(statement: ast.stmt, kind: type) -> bool:
    """Whether an `if` has a statement of a kind on one of its sides, at any depth of `if`."""
    return isinstance(statement, ast.If) and any(
        isinstance(part, kind) or _ends_within(part, kind)
        for part in (*statement.body, *statement.orelse)
    )


def _without_jumps(
    statements: Sequence[ast.stmt], kind: type, left: list[int]
) -> list[ast.stmt] | None:
    """The statements without `return` or `continue`; None where they do more than assign.

    What follows an `if` that may end in one goes to both of its sides, `left` times at most.
    """
    before: list[ast.stmt] = []
    for number, statement in enumerate(statements):
        if isinstance(statement, kind):
            if isinstance(statement, ast.Continue):
                return before or _made(statement, "pass")
            if statement.value is None:  # type: ignore[attr-defined]
                return None
            named: Any = _made(statement, f"{ANSWER} = 0")
            named[0].value = statement.value  # type: ignore[attr-defined]
            return before + named
        if _ends_within(statement, kind):
            rest = statements[number + 1 :]
            left[0] -= len(rest)
            if left[0] < 0:
                return None
            whole: Any = copy.deepcopy(statement)
            sides = [
                _without_jumps([*side, *copy.deepcopy(rest)], kind, left)
                for side in (whole.body, whole.orelse)
            ]
            if None in sides:
                return None
            whole.body, whole.orelse = sides
            whole.body = whole.body or _made(statement, "pass")
            return [*before, whole]
        if not _only_assigns(statement):
            return None
        before.append(statement)
    return before if kind is ast.Continue else None


class _Rewriter(ast.NodeTransformer):
    """Turns every `if` that only assigns into a `Branch`."""

    def __init__(self) -> None:
        self.count = 0

    def visit_If(self, node: ast.If) -> Any:
        """An `if`, its sides first."""
        simple = all(map(_only_assigns, [*node.body, *node.orelse]))
        stored = sorted({name for side in (node.body, node.orelse) for name in _stored(side)})
        node.test = self._condition(node.test)
        node.body = [part for statement in node.body for part in self._visited(statement)]
        node.orelse = [part for statement in node.orelse for part in self._visited(statement)]
        if not simple:
            return node
        self.count += 1
        name = f"__branch{self.count}__"
        getters = ", ".join(f"(lambda: {stored_name})" for stored_name in stored)
        target = f"[{', '.join(stored)}] = " if stored else ""
        made: Any = _made(
            node,
            f"{name} = {HERE}(0)\n"
            f"if {name}.is_known:\n    if {name}.holds: pass\n    else: pass\n"
            f"else:\n    {name}.start({getters})\n    {target}{name}.turn({getters})\n"
            f"    {target}{name}.end({getters})",
        )
        made[0].value.args = [node.test]
        known, both = made[1].body[0], made[1].orelse
        known.body, known.orelse = node.body, node.orelse or known.orelse
        first, second = copy.deepcopy(node.body), copy.deepcopy(node.orelse)
        made[1].orelse = [both[0], *_checked(first), both[1], *_checked(second), both[2]]
        return made

    def _visited(self, statement: ast.stmt) -> list[ast.stmt]:
        found = self.visit(statement)
        return found if isinstance(found, list) else [found]

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        """`a if condition else b`."""
        self.generic_visit(node)
        self.count += 1
        return self._call("choose", node, self._condition(node.test), node.body, node.orelse)

    def _condition(self, test: Any) -> Any:
        """A condition whose `and`, `or`, `not` and chains do not ask for a bool."""
        if isinstance(test, ast.BoolOp):
            parts = list(map(self._condition, test.values))
            kind = "every" if isinstance(test.op, ast.And) else "some"
            return self._call(kind, test, None, *parts)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self._call("opposite", test, self._condition(test.operand))
        if isinstance(test, ast.Compare) and len(test.ops) > 1:
            ends = [test.left, *test.comparators]
            pairs = [
                ast.copy_location(ast.Compare(a, [op], [b]), test)
                for a, op, b in zip(ends, test.ops, ends[1:], strict=False)
            ]
            return self._call("every", test, None, *map(copy.deepcopy, pairs))
        return self.visit(test)

    def _call(self, method: str, node: ast.AST, first: Any, *later: Any) -> ast.expr:
        """A call of `Branch`: the first argument as it is, the later ones when they are asked."""
        made: Any = _made(node, f"{HERE}.{method}({', '.join(['lambda: 0'] * len(later))})")[0]
        for function, body in zip(made.value.args, later, strict=True):
            function.body = body
        made.value.args = ([] if first is None else [first]) + made.value.args
        return made.value


def _made(place: ast.AST, text: str) -> list[ast.stmt]:
    """Statements as if they stood at the place of another."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        ast.copy_location(node, place)
    return tree.body


def _only_assigns(statement: ast.stmt) -> bool:
    """Whether a statement changes names and entries of arrays, and nothing else."""
    if isinstance(statement, ast.If | ast.For):
        return all(map(_only_assigns, [*statement.body, *statement.orelse]))
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if not isinstance(statement, ASSIGNED):
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    changing = any(isinstance(c.func, ast.Attribute) and c.func.attr in MUTATING for c in calls)
    walrus = any(isinstance(node, ast.NamedExpr) for node in ast.walk(statement))
    return not changing and not walrus and all(map(_is_plain_target, targets))


def _is_plain_target(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_is_plain_target, target.elts))
    if isinstance(target, ast.Subscript):
        return isinstance(target.value, ast.Name | ast.Attribute)
    return isinstance(target, ast.Name)


OWN_NAMES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
"""Expressions whose names are their own."""


def _stored(statements: Sequence[ast.AST]) -> Iterator[str]:
    """The names that statements assign to."""
    for node in statements:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if not isinstance(node, OWN_NAMES):
            yield from _stored(list(ast.iter_child_nodes(node)))


def _checked(statements: Sequence[ast.stmt]) -> list[ast.stmt]:
    """The statements, each preceded by a look at what it changes in place."""
    checked: list[ast.stmt] = []
    for statement in statements:
        if isinstance(statement, ast.For | ast.If):
            statement.body, statement.orelse = map(_checked, (statement.body, statement.orelse))
        if isinstance(statement, ASSIGNED):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                changed = target.value if isinstance(target, ast.Subscript) else None
                if isinstance(statement, ast.AugAssign) and isinstance(target, ast.Name):
                    changed = target
                if changed is not None:
                    checked += _made(statement, f"{HERE}.writable({ast.unparse(changed)})")
        checked.append(statement)
    return checked
