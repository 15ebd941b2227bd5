"""Every call of a package's own derivative rules, with the values that it was called with.

`Recorder` stands in `jax.custom_jvp.__call__` and `jax.custom_vjp.__call__`, where each call of a
rule passes by: at once where its arguments have values, at the time of tracing where they have
none. Then a `jax.debug.callback` beside the call brings the values when the program runs, of the
first example under `vmap`, of the first steps in a loop. What the call returns stays what it is.
"""

import functools
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CellType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad.errors import describe_error

RULES = (jax.custom_jvp, jax.custom_vjp)
MOST_VALUES = 4
"""Sets of values that are kept for one rule at one signature."""
MOST_NUMBERS = 1_000_000
"""A set with more numbers than this is not kept."""
MOST_SIGNATURES = 50
"""Of one rule: a test may go through all shapes there are."""
MOST_DEPTH = 3
"""Of functions within functions whose closures are searched for traced values."""


@dataclass
class Call:
    """A rule at one signature: the shapes, the dtypes and whatever is no array."""

    rule: Any
    name: str
    positional: tuple[str, ...]
    """The names of the arguments."""
    treedef: Any
    leaves: list[Any]
    """The leaves of the arguments and of `cells`; arrays by shape and dtype."""
    arrays: tuple[int, ...]
    """Which leaves are arrays."""
    dynamic: tuple[int, ...]
    """Which arrays stand in arguments that are not static."""
    moving: tuple[int, ...]
    """Which of these the rule is a derivative in: the floats."""
    cells: tuple[CellType, ...] = ()
    """What the rule closes over that had no value then."""
    test: str = ""
    """The test that called it first."""
    values: list[list[Any]] = field(default_factory=list)
    """For each set that was recorded, the arrays."""
    is_drawn: bool = False
    """Whether no call's values are known, and some were drawn in their place."""

    @property
    def signature(self) -> str:
        """Shapes and dtypes, such as 'float32[3], int32[]'."""
        return ", ".join(
            f"{self.leaves[i].dtype}[{','.join(map(str, self.leaves[i].shape))}]"
            for i in self.arrays
        )

    def keep(self, *arrays: Any) -> None:
        """Keep a set of values, unless there are enough of them."""
        if len(self.values) < MOST_VALUES and sum(np.size(a) for a in arrays) <= MOST_NUMBERS:
            self.values.append(list(arrays))

    def arguments(self, arrays: list[Any]) -> tuple[Any, ...]:
        """The arguments with these arrays; what is closed over is put where it belongs."""
        leaves = list(self.leaves)
        for index, array in zip(self.arrays, arrays, strict=True):
            leaves[index] = array
        args, closed = jax.tree.unflatten(self.treedef, leaves)
        for cell, content in zip(self.cells, closed, strict=True):
            cell.cell_contents = content
        return args


class Recorder:
    """Records the calls of the rules that are defined in a package, once installed."""

    def __init__(self, package: str):
        self.package = package
        self.calls: dict[Any, Call] = {}
        self.failures: Counter[str] = Counter()
        self.context = ""
        """The test that runs."""
        self.in_programs = True
        """Whether callbacks may be put into programs."""
        self.callbacks = 0
        self._originals: dict[type, Callable] = {}

    def install(self) -> None:
        """Begin: whatever JAX has traced before is forgotten."""
        jax.clear_caches()
        for kind in RULES:
            self._originals[kind] = kind.__call__
            kind.__call__ = self._recorded(kind.__call__)  # type: ignore[method-assign]

    def uninstall(self) -> None:
        """End; programs with callbacks in them are forgotten."""
        for kind, original in self._originals.items():
            kind.__call__ = original  # type: ignore[method-assign]
        self._originals.clear()
        jax.effects_barrier()
        jax.clear_caches()

    @contextmanager
    def without_callbacks(self) -> Iterator[None]:
        """Programs are traced anew for a while, without callbacks in them."""
        self.in_programs = False
        jax.clear_caches()
        try:
            yield
        finally:
            self.in_programs = True

    def _recorded(self, original: Callable) -> Callable:
        @functools.wraps(original)
        def call(rule: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            function = function_under(rule, self.package)
            if function is not None:
                try:
                    self.record(rule, function, args, kwargs)
                except Exception as error:  # whatever it is, the call itself goes on
                    self.failures[f"{name_of(function)}: {describe_error(error)}"] += 1
            return original(rule, *args, **kwargs)

        return call

    def record(self, rule: Any, function: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
        """Keep the values of one call, now or when the program runs."""
        functions = [f for f in (*functions_of(rule), *args) if callable(f)]
        cells = {id(c): c for c in _cells(functions) if _is_traced(c.cell_contents)}
        call, current = describe_call(rule, function, args, kwargs, tuple(cells.values()))
        key = key_of(call, function)
        if key not in self.calls:
            if sum(known[0] == key[0] for known in self.calls) >= MOST_SIGNATURES:
                self.failures[f"{call.name}: more than {MOST_SIGNATURES} signatures"] += 1
                return
            call.test = self.context
            self.calls[key] = call
        call = self.calls[key]
        if len(call.values) >= MOST_VALUES:
            return
        if not any(isinstance(array, jax.core.Tracer) for array in current):
            call.keep(*map(copied, current))
        elif self.in_programs:
            self.callbacks += 1
            shown = first_example(*map(jax.lax.stop_gradient, current))
            jax.debug.callback(call.keep, *shown)


@jax.custom_batching.custom_vmap
def first_example(*arrays: Any) -> tuple[Any, ...]:
    """The arrays; under `vmap` those of the first example."""
    return arrays


@first_example.def_vmap
def _first_of_batch(axis_size: int, batched: Any, *arrays: Any) -> tuple[Any, Any]:
    shown = [
        jax.lax.index_in_dim(array, 0, keepdims=False) if is_batched else array
        for array, is_batched in zip(arrays, batched, strict=True)
    ]
    return first_example(*shown), tuple(False for _ in arrays)


# --- one call -------------------------------------------------------------------------------------


def describe_call(
    rule: Any,
    function: Callable,
    args: tuple,
    kwargs: dict[str, Any],
    cells: tuple[CellType, ...] = (),
) -> tuple[Call, list[Any]]:
    """A call without its values, and its arrays as they are, with a value or without one."""
    names = tuple(f"arg{i}" for i in range(len(args)))
    try:
        bound = inspect.signature(rule.fun).bind(*args, **kwargs)
    except (TypeError, ValueError):
        if kwargs:
            raise
    else:
        bound.apply_defaults()
        args, names = bound.args, _names(bound)
    static = {i % len(args) for i in rule.nondiff_argnums} if args else set()
    leaves, treedef = jax.tree.flatten((args, [cell.cell_contents for cell in cells]))
    owners = [i for i, arg in enumerate(args) for _ in jax.tree.leaves(arg)]
    arrays = []
    for i, leaf in enumerate(leaves):
        is_dynamic = i < len(owners) and owners[i] not in static
        if is_array(leaf) or (is_dynamic and isinstance(leaf, float)):
            arrays.append(i)
    current = [leaves[i] for i in arrays]
    for i in arrays:
        leaves[i] = jax.ShapeDtypeStruct(np.shape(leaves[i]), jnp.result_type(leaves[i]))
    dynamic = tuple(k for k, i in enumerate(arrays) if i < len(owners) and owners[i] not in static)
    moving = tuple(k for k in dynamic if jnp.issubdtype(leaves[arrays[k]].dtype, jnp.floating))
    call = Call(
        rule, name_of(function), names, treedef, leaves, tuple(arrays), dynamic, moving, cells
    )
    return call, current


def _names(bound: inspect.BoundArguments) -> tuple[str, ...]:
    found: list[str] = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found += [f"{name}{i}" for i in range(len(value))]
        elif kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            found.append(name)
    return tuple(found)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array of numbers or of keys, or stands for one."""
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def key_of(call: Call, function: Callable) -> tuple:
    """What calls have in common that are judged once: the rule and its signature."""
    others = tuple(
        (leaf.shape, str(leaf.dtype)) if isinstance(leaf, jax.ShapeDtypeStruct) else _plain(leaf)
        for leaf in call.leaves
    )
    origin = getattr(inspect.unwrap(function), "__code__", None)
    return (call.name, origin), re.sub("0x[0-9a-f]+", "", str(call.treedef)), others


def _plain(leaf: Any) -> Any:
    if isinstance(leaf, bool | int | str | float | complex):
        return type(leaf).__name__, leaf if not isinstance(leaf, float) else None
    return type(leaf).__name__, getattr(leaf, "__qualname__", None)


def copied(array: Any) -> Any:
    """An array of NumPy of its own, in the dtype that JAX gives it; keys as they are."""
    if is_array(array) and jnp.issubdtype(array.dtype, jax.dtypes.extended):
        return array
    return np.array(array, jnp.result_type(array))


# --- rules ----------------------------------------------------------------------------------------


def functions_of(rule: Any) -> list[Callable]:
    """The function under a rule, and the rule itself."""
    return [rule.fun, *(f for name in ("jvp", "fwd", "bwd") if (f := getattr(rule, name, None)))]


def function_under(rule: Any, package: str) -> Callable | None:
    """The function of a package that a rule is for; None if it belongs to somebody else.

    It is the function that was decorated, or one that the decorated one closes over: the wrappers
    of libraries (`equinox.filter_custom_vjp`, `jax.custom_gradient`) hold the author's function so.
    """
    prefix = f"{package.replace('._src', '')}."
    held = [rule.fun, *(cell.cell_contents for cell in _cells([rule.fun], MOST_DEPTH))]
    held += [getattr(content, "fn", None) for content in held[1:]]
    return next((f for f in held if callable(f) and f"{name_of(f)}.".startswith(prefix)), None)


def name_of(function: Any) -> str:
    """The module and the name of a function; JAX's private modules by their public name.

    >>> name_of(jax.nn.relu)
    'jax.nn.functions.relu'
    """
    while isinstance(function, functools.partial):
        function = function.func
    module = str(getattr(function, "__module__", "")).replace("._src", "")
    return f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"


def _cells(functions: list[Callable], depth: int = 0) -> Iterator[CellType]:
    """The closures of some functions, and of the functions in them."""
    for function in functions:
        inner = function
        while isinstance(inner, functools.partial):
            inner = inner.func
        for cell in getattr(inspect.unwrap(inner), "__closure__", None) or ():
            if cell == CellType():  # not filled yet
                continue
            yield cell
            if depth < MOST_DEPTH and callable(cell.cell_contents):
                yield from _cells([cell.cell_contents], depth + 1)


def _is_traced(content: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(content))
