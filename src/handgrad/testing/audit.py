r"""The audit of a package's derivative rules: each is judged at arguments of its calls.

| status | the rule |
|---|---|
| right | is the derivative of the function under it, at all sets of values that were judged |
| kink | is a subgradient: the function has a kink there |
| partial | is right where it says something, and declares other arguments constant (None) |
| numerics | is right as mathematics, and NaN, infinite or of the wrong sign in the dtype |
| close | agrees to five digits, not to all, or as differences in float64 show: the function may \
  approximate what its rule is the derivative of (two digits where it loops until it is near) |
| wrong | is not the derivative |
| marked | is said not to be a derivative, by `not_a_derivative` or in the configuration |
| undecided | could not be judged, for the reason given |
"""

import contextlib
import fnmatch
import gc
import importlib
import inspect
import itertools
import pkgutil
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad._notebook import aligned
from handgrad._precision import x64
from handgrad.errors import InputError, describe_error
from handgrad.testing.recording import (
    RULES,
    Call,
    copied,
    describe_call,
    function_under,
    name_of,
)
from handgrad.verify import Verdict, verify_rule
from handgrad.verify.witnesses import OutOfTime, is_float, round_to

FORMAT = "handgrad audit 1"
STATUSES = ("undecided", "right", "kink", "partial", "marked", "close", "numerics", "wrong")
"""A rule has the last of those that its signatures have."""
SECONDS = 300.0
CALL_SECONDS = 10.0
"""For one signature of one rule."""
APPROXIMATE, ITERATIVE = 1e-5, 1e-2
"""A relative difference up to this is no error of the algebra, and neither is it right."""
VALUES_AGREE = 1e-3
"""Of the value that a rule returns beside its derivative, relative."""
STEP, FAR = 1e-4, 1e-2
"""Of differences; of a function that iterates, as far as it should still move steadily."""
MARK = "__not_a_derivative__"


@dataclass(frozen=True)
class Row:
    """One rule at one signature."""

    rule: str
    signature: str
    source: str
    """The test that called it, or 'drawn'."""
    status: str
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Audit:
    """What came of an audit."""

    package: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """What was not recorded, not called or not judged, and why."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_rule(self) -> dict[str, str]:
        """The status of each rule: the last in STATUSES of those of its signatures."""
        found: dict[str, str] = {}
        for row in self.rows:
            known = found.get(row.rule, STATUSES[0])
            found[row.rule] = max(known, row.status, key=STATUSES.index)
        return found

    @property
    def ok(self) -> bool:
        """Whether no rule is wrong."""
        return "wrong" not in self.by_rule.values()

    def as_data(self) -> dict[str, Any]:
        """For the JSON report."""
        return {"format": FORMAT, **asdict(self), "by_rule": self.by_rule}


def merged(package: str, parts: Iterable[Mapping[str, Any]]) -> Audit:
    """One audit of what several processes found, as data: each rule once at each signature."""
    rows: dict[tuple[str, str], Row] = {}
    notes: list[str] = []
    known: dict[str, str] = {}
    for part in parts:
        for row in (Row(**data) for data in part["rows"]):
            before = rows.get((row.rule, row.signature), row)
            worse = STATUSES.index(row.status) > STATUSES.index(before.status)
            rows[row.rule, row.signature] = row if worse else before
        notes += part["notes"]
        known |= part["versions"]
    return Audit(package, tuple(rows.values()), tuple(dict.fromkeys(notes)), known)


def as_text(audit: Audit) -> str:
    """The table, one line for each signature of each rule, then the counts."""
    rows = sorted(audit.rows, key=lambda row: (row.rule, row.signature))
    cells = [(row.rule, _short(row.signature), row.status, row.source) for row in rows]
    head, *body = aligned([("rule", "arguments", "status", "from"), *cells])
    lines = [head]
    for row, line in zip(rows, body, strict=True):
        lines += [line, f"    {row.detail}"] if row.detail else [line]
    statuses = list(audit.by_rule.values())
    counts = [f"{statuses.count(s)} {s}" for s in STATUSES if s in statuses]
    lines.append(f"{len(statuses)} rules of {audit.package}: {', '.join(counts) or 'none called'}")
    return "\n".join([*lines, *(f"note: {note}" for note in audit.notes)])


def _short(signature: str, most: int = 60) -> str:
    return signature if len(signature) <= most else f"{signature[:most]}..."


# --- marks ----------------------------------------------------------------------------------------


def mark(rule: Any, reason: str) -> Any:
    """Put a mark on a rule, through the wrappers around it."""
    inner, marked = rule, False
    while inner is not None:
        with contextlib.suppress(AttributeError, TypeError):
            setattr(inner, MARK, reason)
            marked = True
        inner = getattr(inner, "__wrapped__", None) or getattr(inner, "fn", None)
    if not marked:
        raise InputError("rule", "a function", repr(rule), "pass what jax.custom_vjp returned")
    return rule


def reason_of(call: Call, function: Any, marks: Mapping[str, str]) -> str | None:
    """Why a rule is no derivative, if its author says so; else None."""
    for owner in (call.rule, call.rule.fun, function):
        if reason := getattr(owner, MARK, None):
            return str(reason)
    found = [said for name, said in marks.items() if fnmatch.fnmatchcase(call.name, name)]
    return found[0] if found else None


def parse_marks(lines: Iterable[str]) -> dict[str, str]:
    """Names of rules, or patterns, with their reasons.

    >>> parse_marks(["mine.ops.quantise: straight-through", "mine.clip*"])
    {'mine.ops.quantise': 'straight-through', 'mine.clip*': 'named in the configuration'}
    """
    pairs = (line.partition(":") for line in lines if line.strip())
    return {n.strip(): why.strip() or "named in the configuration" for n, _, why in pairs}


# --- judging --------------------------------------------------------------------------------------


def judge_calls(
    calls: list[Call],
    package: str,
    marks: Mapping[str, str],
    seconds: float = SECONDS,
    evaluations: int = 0,
) -> list[Row]:
    """A row for each call: the first signature of each rule first, until the time is over."""
    began, rows = time.monotonic(), []
    turn = {id(call): sum(c.name == call.name for c in calls[:i]) for i, call in enumerate(calls)}
    for call in sorted(calls, key=lambda call: turn[id(call)]):
        left = seconds - (time.monotonic() - began)
        start = time.monotonic()
        reason = reason_of(call, function_under(call.rule, package), marks)
        if reason:
            status, detail = "marked", reason
        elif left <= 1:
            status, detail = "undecided", f"not judged: the {seconds:g} seconds given were over"
        else:
            status, detail = judge_call(call, min(left, CALL_SECONDS), evaluations)
        source = "drawn" if call.is_drawn else call.test
        spent = round(time.monotonic() - start, 2)
        rows.append(Row(call.name, call.signature, source, status, detail, spent))
    return rows


def judge_call(call: Call, seconds: float, evaluations: int = 0) -> tuple[str, str]:
    """The status of a rule at the values recorded, and what is to be said about it."""
    if not call.moving:
        return "undecided", "no argument holds floats"
    kept = [arrays for arrays in call.values if _is_number(arrays)]
    call.is_drawn = call.is_drawn or not kept
    began = time.monotonic()
    status, detail = "undecided", "no values"
    for sets in _drawn_sets(call, kept) if call.is_drawn else [kept]:
        left = seconds - (time.monotonic() - began)
        if status == "undecided" and left > 1:
            status, detail = _judge_at(call, sets, left, evaluations)
    return status, detail


def _judge_at(call: Call, sets: list, seconds: float, evaluations: int) -> tuple[str, str]:
    try:
        with _hard_limit(2 * seconds + 10):
            subject = Subject.of(call, sets)
            if not subject.argnums:
                return "partial", f"constant, as declared: {', '.join(subject.constant)}"
            with x64(subject.dtype == "float64"):
                if fault := subject.forward_fault():
                    return "wrong", fault
            options = {"points": subject.points} if len(subject.sets) > 1 else {}
            verdict = verify_rule(
                subject.function, at=subject.at, argnums=subject.argnums, dtypes=(subject.dtype,),
                evaluations=evaluations, seconds=seconds, name=call.name, **options,
            )  # fmt: skip
            status, detail = _status(verdict, subject)
    except OutOfTime:
        status, detail = "undecided", f"took more than {seconds:.0f} seconds"
    except Exception as error:
        status, detail = "undecided", describe_error(error)[:300]
    if status != "undecided":
        return status, detail
    try:
        with _hard_limit(seconds):
            return Subject.of(call, sets).by_differences() or (status, detail)
    except (OutOfTime, Exception):
        return status, detail


@dataclass(frozen=True)
class Subject:
    """A call as the judge takes it: a function of arrays that returns arrays of floats."""

    function: Callable
    at: tuple[Any, ...]
    argnums: tuple[int, ...]
    constant: tuple[str, ...]
    """Arguments that the rule declares constant."""
    sets: list[tuple[Any, ...]]
    dtype: str
    """In which it was called: the widest, if there are several."""
    is_forward: bool
    """Whether it is a `custom_jvp`."""

    @classmethod
    def of(cls, call: Call, sets: list[list[Any]]) -> "Subject":
        """The subject at these sets of values."""
        kinds = {str(call.leaves[call.arrays[k]].dtype) for k in call.moving}
        dtype = max(kinds, key=lambda kind: jnp.dtype(kind).itemsize)
        if len(call.dynamic) < len(call.arrays):
            sets = sets[:1]  # what is static or closed over goes with one set

        def function(*arrays: Any) -> list[Any]:
            whole = [_widened(value, arrays[0].dtype) for value in sets[0]]
            for k, array in zip(call.dynamic, arrays, strict=True):
                whole[k] = array
            leaves = jax.tree.leaves(call.rule(*call.arguments(whole)))
            return [x for x in leaves if jnp.issubdtype(jnp.result_type(x), jnp.floating)]

        names = _identifiers(call)
        kind = inspect.Parameter.POSITIONAL_ONLY
        parameters = [inspect.Parameter(names[k], kind) for k in call.dynamic]
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        constant = constant_leaves(call, sets[0])
        moved = [k for k in call.moving if call.arrays[k] not in constant]
        return cls(
            function=function,
            at=tuple(_doubled(sets[0][k]) for k in call.dynamic),
            argnums=tuple(call.dynamic.index(k) for k in moved),
            constant=tuple(names[k] for k in call.moving if k not in moved),
            sets=[tuple(_doubled(arrays[k]) for k in call.dynamic) for arrays in sets],
            dtype=dtype,
            is_forward=isinstance(call.rule, jax.custom_jvp),
        )

    def points(self, key: jax.Array) -> tuple[Any, ...]:
        """One of the further sets."""
        return self.sets[1 + int(jax.random.bits(key)) % (len(self.sets) - 1)]

    def forward_fault(self) -> str | None:
        """How the value beside the derivative differs from the function's, if it does."""
        at = round_to(self.at, self.dtype)
        plain = self.function(*at)
        beside, _ = jax.vjp(self._of_moving(at), *(at[i] for i in self.argnums))
        for own, under in zip(plain, beside, strict=True):
            a, b = (np.asarray(value, np.float64) for value in (own, under))
            scale = np.abs(a[np.isfinite(a)]).max(initial=0)
            if not np.allclose(a, b, rtol=VALUES_AGREE, atol=VALUES_AGREE * scale, equal_nan=True):
                return (
                    "under differentiation its value is another: "
                    f"{_few(b)} where the function gives {_few(a)}"
                )
        return None

    def _of_moving(self, at: tuple[Any, ...]) -> Callable[..., list[Any]]:
        """The function of those arguments alone that it is differentiated in."""

        def moved(*chosen: Any) -> list[Any]:
            here = dict(zip(self.argnums, chosen, strict=True))
            return self.function(*(here.get(i, value) for i, value in enumerate(at)))

        return moved

    def by_differences(self) -> tuple[str, str] | None:
        """The status where exact arithmetic finds none: differences of the function in float64.

        A rule is wrong only where the function is smooth: the slopes on both sides agree, and those
        at two steps. Forward where the rule is a `custom_jvp`, which need not be transposable.
        """
        with x64():
            value, rule = self._along_a_direction()
            here = value(0.0)
            sides = [[(value(h) - here) / h, (here - value(-h)) / h] for h in (STEP, STEP / 2)]
        coarse, fine = (sum(pair) / 2 for pair in sides)
        truth = (4 * fine - coarse) / 3
        size = max(abs(truth), abs(rule))
        if not np.isfinite(size) or size == 0:
            return None
        share = abs(rule - truth) / size
        said = f"differs by {share:.0e} of its size from differences in float64"
        if share <= APPROXIMATE:
            return "close", said
        steady = abs(coarse - fine) <= 1e-5 * size
        smooth = all(abs(right - left) <= 100 * STEP * size for right, left in sides)
        convicts = steady and smooth and share > ITERATIVE
        if convicts and not (self.iterates and self.by_far_differences()):
            return "wrong", f"{said}, along a direction: rule {rule:.9g}, differences {truth:.9g}"
        return None

    def _along_a_direction(self) -> tuple[Callable[[float], float], float]:
        """The weighed outputs after a step along a direction, and their slope by the rule."""
        rng = np.random.default_rng(0)
        at = round_to(self.at, "float64")
        moves = [rng.normal(size=np.shape(at[i])) for i in self.argnums]
        base = [np.asarray(at[i]) for i in self.argnums]
        weights = [rng.normal(size=x.shape) for x in jax.eval_shape(self.function, *at)]

        def along(*chosen: Any) -> Any:
            outputs = self._of_moving(at)(*chosen)
            return sum(jnp.vdot(w, y) for w, y in zip(weights, outputs, strict=True))

        def value(step: float) -> float:
            return float(along(*(x + step * by for x, by in zip(base, moves, strict=True))))

        if self.is_forward:
            rule = float(jax.jvp(along, tuple(base), tuple(moves))[1])
        else:
            slopes = jax.grad(along, tuple(range(len(base))))(*base)
            rule = sum(float(np.vdot(g, by)) for g, by in zip(slopes, moves, strict=True))
        return value, rule

    def by_far_differences(self) -> str | None:
        """The status where the slope over a step of FAR convicts nobody, else None.

        'close' where that slope is the rule's, 'undecided' where it is another than over STEP. What
        halves an interval until it is small, for example, moves by jumps, and the derivative of
        what it approximates shows only over many of them.
        """
        with x64():
            value, rule = self._along_a_direction()
            near, far = ((value(h) - value(-h)) / (2 * h) for h in (STEP, FAR))
        size = ITERATIVE * max(abs(rule), abs(far))
        if abs(rule - far) <= size:
            return "close"
        return None if abs(near - far) <= size else "undecided"

    @property
    def iterates(self) -> bool:
        """Whether the function loops until a condition holds."""
        equations = jaxprs.equations(jax.make_jaxpr(self.function)(*self.at))
        return any(equation.primitive.name == "while" for equation in equations)


def _few(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values.ravel()[:3])
    return f"{shown}, ..." if values.size > 3 else shown


def _status(verdict: Verdict, subject: Subject) -> tuple[str, str]:
    """The verdict in one word, and a line on it."""
    if verdict.ok:
        if subject.constant:
            return "partial", f"constant, as declared: {', '.join(subject.constant)}"
        return ("kink" if verdict.hand == "valid subgradient" else "right"), ""
    fault = f"{verdict.fault}"
    if verdict.is_undecided or verdict.structure != "ok":
        return "undecided", fault
    found = verdict.evidence
    if verdict.hand != "different":
        return "numerics", fault
    if found is not None and found.truth:
        answer, truth = float(found.answer), float(found.truth)
        share = abs(answer - truth) / max(abs(truth), np.finfo(float).tiny)
        if share <= APPROXIMATE or (share <= ITERATIVE and subject.iterates):
            return "close", (
                f"differs by {max(share, 1e-16):.0e} of its size at {found.coordinate} = "
                f"{found.own}: the function may approximate what its rule is the derivative of"
            )
        asked = np.isfinite(answer) and subject.iterates  # NaN is wrong, whatever loops
        if asked and (status := subject.by_far_differences()):
            does = "agrees with the rule over long steps" if status == "close" else "moves by jumps"
            return status, (
                f"loops until a condition holds, and {does}: at {found.coordinate} = {found.own} "
                f"the derivative of the loop is {truth:.6g}, the rule's {answer:.6g}"
            )
        fault += f" ({found.place}, {found.coordinate} = {found.own}: rule {answer:.9g}, "
        fault += f"truth {truth:.9g})"
    return "wrong", fault


def constant_leaves(call: Call, arrays: list[Any]) -> set[int]:
    """The leaves that a rule declares constant: by None, in `bwd` or in `defjvps`."""
    numbered, _ = jax.tree.unflatten(call.treedef, range(len(call.leaves)))
    static = {i % len(numbered) for i in call.rule.nondiff_argnums}
    dynamic = [arg for i, arg in enumerate(numbered) if i not in static]
    if isinstance(call.rule, jax.custom_jvp):
        jvp: Any = inspect.unwrap(call.rule.jvp)  # type: ignore[arg-type]
        names = jvp.__code__.co_freevars if inspect.isfunction(jvp) else ()
        cells = dict(zip(names, getattr(jvp, "__closure__", None) or (), strict=False))
        jvps = cells["jvps"].cell_contents if "jvps" in cells else ()
        declared = [arg for arg, jvp in zip(dynamic, jvps, strict=False) if jvp is None]
        return set(jax.tree.leaves(declared))
    args = call.arguments(arrays)
    fixed = [args[i] for i in sorted(static)]
    found: list[Any] = []

    def pull_back(*moved: Any) -> list[Any]:
        rest = iter(moved)
        whole = [arg if i in static else next(rest) for i, arg in enumerate(args)]
        output, kept = call.rule.fwd(*whole)
        cotangents = jax.tree.map(jnp.ones_like, output)
        found.append(call.rule.bwd(*fixed, kept, cotangents))
        return []

    try:
        jax.eval_shape(pull_back, *(arg for i, arg in enumerate(args) if i not in static))
        declared = jax.tree.map(
            lambda cotangent, arg: arg if cotangent is None else (),
            tuple(found[0]), tuple(dynamic), is_leaf=lambda leaf: leaf is None,
        )  # fmt: skip
    except Exception:  # a rule that asks for symbolic zeros, for example
        return set()
    return set(jax.tree.leaves(declared))


def _identifiers(call: Call) -> list[str]:
    """A name for each array: that of its argument, and its path in it."""
    args, _ = jax.tree.unflatten(call.treedef, range(len(call.leaves)))
    paths = {}
    for name, arg in zip(call.positional, args, strict=True):
        for path, i in jax.tree_util.tree_leaves_with_path(arg):
            paths[i] = re.sub(r"\W+", "_", name + jax.tree_util.keystr(path)).strip("_")
    names = [paths.get(i, f"closed{k}") for k, i in enumerate(call.arrays)]
    return [n if names.count(n) == 1 and n.isidentifier() else f"a{k}_{n}" for k, n in
            enumerate(names)]  # fmt: skip


def _doubled(value: Any) -> Any:
    """The same numbers in float64: the judge rounds them to each dtype, which changes nothing."""
    return np.asarray(value).astype(np.float64) if is_float(value) else value


def _widened(value: Any, dtype: Any) -> Any:
    """A static array of floats in the dtype that is judged."""
    is_wider = is_float(value) and jnp.issubdtype(dtype, jnp.floating)
    return np.asarray(value).astype(dtype) if is_wider else value


def _is_number(arrays: list[Any]) -> bool:
    return not any(
        jnp.issubdtype(array.dtype, jnp.inexact) and np.isnan(np.asarray(array)).any()
        for array in arrays
    )


def _drawn_sets(call: Call, known: list[list[Any]]) -> list[list[list[Any]]]:
    """What is tried where no values came: floats between 0.2 and 0.8, negative, and above 1."""
    rng = np.random.default_rng(0)
    first = known[0] if known else [_draw(rng, call.leaves[i]) for i in call.arrays]

    def changed(change: Callable[[Any], Any]) -> list[Any]:
        return [change(value).astype(value.dtype) if is_float(value) else value for value in first]

    return [[first], [changed(lambda value: -value)], [changed(lambda value: 1 + value)]]


def _draw(rng: np.random.Generator, like: Any) -> Any:
    if jnp.issubdtype(like.dtype, jax.dtypes.extended):
        return jax.random.split(jax.random.key(0), like.shape)
    if jnp.issubdtype(like.dtype, jnp.inexact):
        return rng.uniform(0.2, 0.8, like.shape).astype(like.dtype)
    return rng.integers(0, 2, like.shape).astype(like.dtype)


@contextlib.contextmanager
def _hard_limit(seconds: float) -> Iterator[None]:
    """OutOfTime wherever Python is when the time is over, and again, where signals can do that."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 10.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- without tests --------------------------------------------------------------------------------

NOT_IMPORTED = r"(^|[._])(tests?|testing|__main__|benchmarks?|examples?)(_|\.|$)"


def audit_package(
    package: str,
    seconds: float = SECONDS,
    evaluations: int = 0,
    marks: Mapping[str, str] | None = None,
) -> Audit:
    """Judge the rules of a package that can be called with drawn arguments.

    Imports the package with its modules. Raises InputError if the package itself cannot be.
    """
    notes = import_modules(package)
    calls: list[Call] = []
    for rule, function in find_rules(package):
        call = drawn_call(rule, function)
        if call is None:
            notes.append(f"{name_of(function)}: no arguments that were tried suit it")
        else:
            calls.append(call)
    rows = judge_calls(calls, package, marks or {}, seconds, evaluations)
    return Audit(package, tuple(rows), tuple(notes), versions(package))


def import_modules(package: str) -> list[str]:
    """Import a package and its modules, tests aside; what could not be imported, in words."""
    try:
        top = importlib.import_module(package)
    except Exception as error:
        raise InputError(
            "package", "a package that can be imported here", describe_error(error),
            f"try python -c 'import {package}'",
        ) from error  # fmt: skip
    notes = []
    failed: list[str] = []
    modules = pkgutil.walk_packages(getattr(top, "__path__", ()), f"{package}.", failed.append)
    for module in modules:
        if re.search(NOT_IMPORTED, module.name):
            continue
        try:
            importlib.import_module(module.name)
        except (Exception, SystemExit) as error:
            notes.append(f"{module.name} was not imported: {describe_error(error)}")
    return notes + [f"{name} was not imported" for name in failed]


def find_rules(package: str) -> list[tuple[Any, Any]]:
    """Every rule of a package that there is now, each beside its function, in order of names."""
    found: dict[Any, tuple[Any, Any]] = {}
    for rule in gc.get_objects():
        if type(rule) in RULES:
            function = function_under(rule, package)
            if function is not None:
                origin = getattr(inspect.unwrap(function), "__code__", None)
                found.setdefault((name_of(function), origin), (rule, function))
    return sorted(found.values(), key=lambda pair: name_of(pair[1]))


MATRIX = np.array([[0.9, 0.2, 0.35], [0.15, 0.8, 0.25], [0.3, 0.1, 0.7]], np.float32)
KINDS: dict[str, Callable[[int], Any]] = {
    "scalar": lambda i: np.float32(0.3 + 0.17 * (i % 4)),
    "vector": lambda i: np.array([0.3, 0.75, 0.5], np.float32) + np.float32(0.06 * (i % 4)),
    "matrix": lambda i: MATRIX + np.float32(0.03 * (i % 4)),
    "integer": lambda i: np.int32(1),
    "integers": lambda i: np.array([0, 2, 1], np.int32),
    "key": lambda i: jax.random.key(i),
}
"""What is tried for an argument, by its position."""
STATICS: tuple[Any, ...] = (0, 1, -1, False, None, "float32", jnp.tanh, (3,), 0.5)
MOST_TRIES = 120


def drawn_call(rule: Any, function: Any) -> Call | None:
    """The first call of a rule that JAX can trace and differentiate, of those that are tried."""
    try:
        parameters = list(inspect.signature(rule.fun).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in kinds]
    static = {i % max(1, len(needed)) for i in rule.nondiff_argnums}
    wanted = [i for i, p in enumerate(needed) if i not in static and p.default is p.empty]
    uniform = [(kind,) * len(wanted) for kind in KINDS]
    mixed = itertools.product(KINDS, repeat=len(wanted)) if 1 < len(wanted) <= 4 else ()
    tries = itertools.islice(dict.fromkeys(itertools.chain(uniform, mixed)), MOST_TRIES)
    options = STATICS if any(needed[i].default is needed[i].empty for i in static) else (None,)
    for chosen, value in itertools.product(tries, options):
        names = dict(zip(wanted, chosen, strict=True))
        args = tuple(
            KINDS[names[i]](i) if i in names else value if p.default is p.empty else p.default
            for i, p in enumerate(needed)
        )
        call, arrays = describe_call(rule, function, args, {})
        if call.moving and _can_be_differentiated(call, arrays):
            call.keep(*map(copied, arrays))
            call.is_drawn = True
            return call
    return None


def _can_be_differentiated(call: Call, arrays: list[Any]) -> bool:
    def pulled(*moved: Any) -> Any:
        whole = list(arrays)
        for k, value in zip(call.moving, moved, strict=True):
            whole[k] = value
        leaves = jax.tree.leaves(call.rule(*call.arguments(whole)))
        return [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]

    def by_rule(*moved: Any) -> Any:
        outputs, pull = jax.vjp(pulled, *moved)
        if not outputs:
            raise TypeError("it returns no floats")
        return pull(jax.tree.map(jnp.ones_like, outputs))

    try:
        jax.eval_shape(by_rule, *(arrays[k] for k in call.moving))
    except Exception:
        return False
    return True


def versions(package: str) -> dict[str, str]:
    """The versions of a package's distribution, JAX and handgrad."""
    top = package.partition(".")[0]
    names = {"jax", "handgrad", *packages_distributions().get(top, ())}
    found = {}
    for name in sorted(names):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
