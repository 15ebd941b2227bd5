"""Functions written in NumPy, followed with JAX arrays in the place of NumPy's.

The function is called as it is, with arguments that speak NumPy's protocols (`arrays.Array`). What
the protocols do not reach, because no argument is an array yet or because a list holds them, is
reached by name: while the function runs, the names `np`, `math`, `scipy.special`, `max` and their
like in its module, in those of its helpers, and in their closures stand for functions that follow.
So classes, decorators and helper functions need no special care, and nothing of NumPy itself is
changed.

A branch on a number that depends on the arguments is merged where it only assigns (`branches`), and
else followed both ways, as `lax.cond`, as long as there are few; or it is refused, with its line.
"""

import builtins
import dis
import functools
import linecache
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad.errors import NotFollowed, describe_error
from handgrad.interop.arrays import (
    BRANCH,
    WHERE,
    Array,
    Float,
    Unfollowed,
    apply,
    decide,
    predicates,
    raw,
)
from handgrad.interop.branches import rewritten

FOLLOWED = ("numpy", "math", "scipy")
"""Modules whose functions are answered by others while a function is followed."""
FOREIGN = (
    *FOLLOWED, "handgrad", "jax", "jaxlib", "sklearn", "pandas", "torch", "matplotlib", "pytest",
    "_pytest", "IPython", "ipykernel", "hypothesis",
)  # fmt: skip
"""Modules in which no names are replaced."""
MOST_PATHS = 64
"""Ways through the branches of one function."""
MOST_DEPTH, MOST_ENTRIES = 3, 100
"""Of containers in which functions are looked for."""


def uses_jax(function: Callable) -> bool:
    """Whether the code of a function, or of its helpers, names anything of JAX."""
    return any(module_of(value) == "jax" for _, value in names_used(function))


def is_of_numpy(function: Callable) -> bool:
    """Whether the code of a function, or of its helpers, names NumPy and nothing of JAX."""
    named = {module_of(value) for _, value in names_used(function)}
    return "numpy" in named and "jax" not in named


def draws(function: Callable) -> bool:
    """Whether the code of a function, or of its helpers, may draw random numbers of NumPy."""
    return any(isinstance(_stand_in(value), _Refused) for _, value in names_used(function)) or any(
        "random" in _names(used.__code__) for used in functions_used(function)
    )


def writes_in_place(function: Callable) -> bool:
    """Whether the code of a function has `a += b` or its like, which changes an array of NumPy."""
    return any(
        step.opname == "BINARY_OP" and step.argrepr.endswith("=")
        for used in functions_used(function)
        if not is_foreign(used.__module__ or "")
        for step in dis.get_instructions(used)
    )


def from_numpy(
    function: Callable, at: tuple = (), known: Sequence[int] = (), paths: int = MOST_PATHS,
    jumps: bool = False,
) -> Callable:  # fmt: skip
    """A function of JAX arrays that computes what `function` computes of NumPy's.

    It can be traced, differentiated and mapped as any function of JAX. Dtypes are NumPy's, as far
    as JAX's mode has them. Arguments that are no tracers keep their numbers, so that they may be
    counts, labels and masks; so do, of those that are, the leaves of `at` whose positions are
    `known`. Of ways through its branches it takes up to `paths`; with `jumps` those are merged too
    that end in `return` or `continue`.

    Raises NotFollowed, when it is called, for what cannot be followed: the message names the line.

    >>> def loss(w, x):
    ...     z = x @ w
    ...     z[z < 0] *= 0.1
    ...     return np.sum(z**2)
    >>> gradient = jax.grad(from_numpy(loss))(jnp.array([0.5, -1.0]), np.eye(2))
    >>> [round(number, 6) for number in gradient.tolist()]
    [1.0, -0.02]
    """
    given = jax.tree.leaves(at)
    fixed = {position: np.asarray(given[position]) for position in known}

    @functools.wraps(function)
    def followed(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        for position, number in fixed.items():
            if isinstance(leaves[position], jax.core.Tracer):
                leaves[position] = number.astype(leaves[position].dtype)
        with (
            jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"),
            np.errstate(all="ignore"),
        ):  # fmt: skip
            return _Course(function, leaves, tree, paths, jumps).take()

    followed.numpy_function = function  # type: ignore[attr-defined]
    followed.read_through = "NumPy"  # type: ignore[attr-defined]
    followed.known = tuple(known)  # type: ignore[attr-defined]
    return followed


# --- one call -------------------------------------------------------------------------------------


class _Fork(BaseException):
    """A branch whose direction has not been decided yet."""

    def __init__(self, condition: jax.Array):
        self.condition = condition


class _Raised(Exception):  # noqa: N818  (what the function itself raised)
    """The function ends this way in an exception of its own, such as a failed assertion."""


class _Course:
    """One call of a function: every way through its branches."""

    def __init__(self, function: Callable, leaves: list, tree: Any, paths: int, jumps: bool):
        function = _stand_in(function) if is_followed(function) else function
        merge = functools.partial(rewritten, jumps=jumps) if paths > 1 else None
        self.function = merge(function) if merge else function
        self.leaves, self.tree = leaves, tree
        self.names = list(names_used(function))
        self.merge, self.left = merge, paths

    def take(self, *decisions: bool) -> Any:
        """What the function returns if its first branches go as decided, and the others both ways.

        Raises NotFollowed; _Raised for what it raises itself behind a branch.
        """
        taken = iter(decisions)

        def chosen(condition: jax.Array) -> bool:
            for decision in taken:
                return decision
            if self.left < 2:
                raise Unfollowed(BRANCH, WHERE)
            raise _Fork(condition)

        self.left -= 1
        token, outer = decide.set(chosen), len(predicates)
        try:
            with replaced(self.names, self.merge):
                args = jax.tree.unflatten(self.tree, list(map(_as_argument, self.leaves)))
                return jax.tree.map(_as_output, self.function(*args))
        except _Fork as fork:
            condition = fork.condition
        except (NotFollowed, _Raised):
            raise
        except Exception as error:
            if decisions and _is_own(error):
                raise _Raised from error
            raise _not_followed(error) from error
        finally:
            decide.reset(token)
            del predicates[outer:]
        return self._both(condition, decisions)

    def _both(self, condition: jax.Array, decisions: tuple[bool, ...]) -> Any:
        """Both ways from here; NaN on one that ends in an exception."""
        ways: list[Any] = []
        for decision in (True, False):
            try:
                take = functools.partial(self.take, *decisions, decision)
                ways.append(jax.make_jaxpr(take, return_shape=True)())
            except _Raised as raised:
                ways.append(None)
                last = raised
        if ways == [None, None]:
            raise last
        answers = [way[1] for way in ways if way is not None]
        specs = [
            (leaves[0].shape, np.result_type(*(leaf.dtype for leaf in leaves)))
            for leaves in zip(*map(jax.tree.leaves, answers), strict=True)
        ]

        def outputs(way: Any) -> list:
            if way is None:
                return [jnp.full(shape, jnp.nan, dtype) for shape, dtype in specs]
            found = jaxprs.run(way[0], [], jaxprs.bind)
            return [out.astype(dtype) for out, (_, dtype) in zip(found, specs, strict=True)]

        leaves = jax.lax.cond(condition, *(functools.partial(outputs, way) for way in ways))
        return jax.tree.unflatten(jax.tree.structure(answers[0]), leaves)


def _as_argument(leaf: Any) -> Any:
    """An argument as the function gets it: of NumPy where its numbers are known."""
    if isinstance(leaf, jax.core.Tracer):
        return Array(leaf, is_number=not leaf.shape)
    known = np.array(leaf)
    return Array(known) if known.ndim else known[()]


def _as_output(leaf: Any) -> Any:
    """What the function returns, as arrays of JAX."""
    value = raw(leaf)
    array = value if hasattr(value, "dtype") else np.asarray(value)
    if array.dtype.kind in "OUSc":
        raise Unfollowed(f"an answer of dtype {array.dtype}", "return arrays of real numbers")
    return jnp.asarray(value)


def _is_own(error: Exception) -> bool:
    """Whether the user's own code raised this."""
    trace: Any = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return not is_foreign(trace.tb_frame.f_globals.get("__name__", ""))


def _not_followed(error: Exception) -> NotFollowed:
    """What stopped a call, with the line of the user's own code."""
    if isinstance(error, Unfollowed):
        step, remedy = error.step, error.remedy
    else:
        step, remedy = describe_error(error), "write that step in another way"
    place: Any = ()
    trace: Any = error.__traceback__
    while trace:
        if not is_foreign(trace.tb_frame.f_globals.get("__name__", "")):
            file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
            place = file, line, linecache.getline(file, line).strip()
        trace = trace.tb_next
    return NotFollowed(step, remedy, *place)


# --- names ----------------------------------------------------------------------------------------

_lock = threading.RLock()


@contextmanager
def replaced(
    names: Sequence[tuple[Callable[[Any], None], Any]], merge: Callable | None
) -> Iterator[None]:
    """While this lasts, names of NumPy stand for what follows."""
    changed: list[tuple[Callable[[Any], None], Any]] = []
    with _lock:
        try:
            for assign, value in names:
                new = _stand_in(value, merge)
                if new is not value:
                    assign(new)
                    changed.append((assign, value))
            yield
        finally:
            for assign, value in reversed(changed):
                assign(value)


def names_used(function: Any) -> Iterator[tuple[Callable[[Any], None], Any]]:
    """What the names in the code of a function and of its helpers stand for, and what sets each."""
    for entry in functions_used(function):
        for cell in _filled_cells(entry):
            yield functools.partial(setattr, cell, "cell_contents"), cell.cell_contents
        if is_foreign(entry.__module__ or ""):
            continue
        names = entry.__globals__
        for name in dict.fromkeys(_names(entry.__code__)):
            if name in names:
                yield functools.partial(names.__setitem__, name), names[name]
            elif name in BUILTINS:
                yield functools.partial(_hide, names, name), getattr(builtins, name)


def _hide(names: dict[str, Any], name: str, value: Any) -> None:
    """Set a name of a module that hides Python's own; Python's own itself hides nothing."""
    if value is getattr(builtins, name):
        names.pop(name, None)
    else:
        names[name] = value


def functions_used(function: Any) -> Iterator[FunctionType]:
    """The functions written in Python that a function, or a callable object, may come to call."""
    seen: set[int] = set()
    waiting = [(function, 0)]
    while waiting:
        entry, depth = waiting.pop()
        if id(entry) in seen:
            continue
        seen.add(id(entry))
        if not isinstance(entry, FunctionType):
            waiting += [(inner, depth + 1) for inner in _held(entry) if depth < MOST_DEPTH]
            continue
        yield entry
        waiting += [(cell.cell_contents, 0) for cell in _filled_cells(entry)]
        waiting += [(value, 0) for value in entry.__defaults__ or ()]
        if is_foreign(entry.__module__ or ""):
            continue
        names = list(_names(entry.__code__))
        for value in (entry.__globals__[name] for name in names if name in entry.__globals__):
            if not isinstance(value, ModuleType):
                waiting.append((value, 0))
            elif not is_foreign(value.__name__):
                waiting += [(getattr(value, name, None), 0) for name in names]


def _filled_cells(function: FunctionType) -> list[CellType]:
    """The variables of a closure that have a value."""
    return [cell for cell in function.__closure__ or () if cell != CellType()]


def _names(code: CodeType) -> Iterator[str]:
    """The global names and attributes that a piece of code uses."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _held(entry: Any) -> list[Any]:
    """What is called when an object is: its function, methods, wrapped functions, entries."""
    if isinstance(entry, dict | list | tuple):
        entries = entry.values() if isinstance(entry, dict) else entry
        return list(entries) if len(entry) <= MOST_ENTRIES else []
    if isinstance(entry, functools.partial):
        return [entry.func, *entry.args, *entry.keywords.values()]
    if isinstance(entry, MethodType):
        return [entry.__func__, entry.__self__]
    kind = entry if isinstance(entry, type) else type(entry)
    if is_foreign(kind.__module__) or isinstance(entry, ModuleType):
        inner = (getattr(entry, name, None) for name in ("__wrapped__", "pyfunc"))
        return [f for f in inner if isinstance(f, FunctionType)]  # lru_cache, np.vectorize
    members = [member for base in kind.__mro__ for member in vars(base).values()]
    functions = [getattr(m, "__func__", getattr(m, "fget", m)) for m in members]
    found = [f for f in functions if isinstance(f, FunctionType)]
    return found if isinstance(entry, type) else [*found, *getattr(entry, "__dict__", {}).values()]


def is_foreign(module: str) -> bool:
    """Whether a module is one in which no names are replaced."""
    top = module.partition(".")[0]
    return top in FOREIGN or (top in sys.stdlib_module_names and top != "__main__")


def module_of(value: Any) -> str:
    """The top of the path of a module, or of the one that a function or an object comes from."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return str(name).partition(".")[0]


def is_followed(value: Any) -> bool:
    """Whether a value is a module or a function of NumPy, SciPy or math."""
    if isinstance(value, np.ufunc):
        return True
    return isinstance(value, ModuleType | Callable) and module_of(value) in FOLLOWED


# --- what stands for NumPy's names ----------------------------------------------------------------


def _stand_in(value: Any, merge: Callable | None = None) -> Any:
    """What a name stands for while a function is followed; the value itself if nothing else.

    Functions of the user's own have their branches merged, by `merge`.
    """
    try:
        if value in STAND_INS:
            return STAND_INS[value]
    except TypeError:  # arrays and lists have no hash
        pass
    if isinstance(value, ModuleType):
        return _Namespace(value) if is_followed(value) else value
    if type(value) is np.ndarray:
        return Array(value) if value.ndim and value.dtype != object else value
    if isinstance(value, np.random.Generator | np.random.RandomState):
        return _Refused("random draws by a generator from outside the function")
    if isinstance(getattr(value, "__self__", value), random.Random):
        return _Refused("random draws by Python's random")
    if isinstance(value, np.vectorize):
        return _vectorized(merge(value.pyfunc) if merge else value.pyfunc)
    if isinstance(value, type) or not is_followed(value):
        own = not is_foreign(getattr(value, "__module__", None) or "")
        return merge(value) if merge and own else value
    if isinstance(getattr(value, "__self__", None), np.random.RandomState):
        return _Refused(f"random draws by np.random.{value.__name__}")
    return _Function(value)


class _Function:
    """A function of NumPy that follows."""

    def __init__(self, function: Callable):
        self._function = function
        self.__name__ = getattr(function, "__name__", str(function))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return apply(self._function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


class _Namespace:
    """A module of NumPy, SciPy or math whose functions follow."""

    def __init__(self, module: ModuleType):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = _stand_in(getattr(self._module, name))
        setattr(self, name, found)
        return found


class _Refused:
    """What cannot be followed, whatever is asked of it."""

    def __init__(self, step: str):
        self._step = step

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise Unfollowed(self._step, SEED)

    def __getattr__(self, name: str) -> Any:
        raise Unfollowed(f"{self._step}: .{name}", SEED)


SEED = "leave them out, or draw from np.random.default_rng(seed) within the function"


class _Columns:
    """`np.c_`, and `np.r_` for arrays and numbers."""

    def __init__(self, join: Callable):
        self._join = join

    def __getitem__(self, parts: Any) -> Any:
        parts = parts if isinstance(parts, tuple) else (parts,)
        if any(isinstance(part, slice | str) for part in parts):
            raise Unfollowed("np.r_ or np.c_ of a slice", "write np.arange or np.concatenate")
        return apply(self._join, ([apply(np.atleast_1d, (part,), {}) for part in parts],), {})


def _vectorized(pyfunc: Callable, *args: Any, **kwargs: Any) -> Callable:
    """`np.vectorize`: the function at one entry after another."""

    def mapped(*arrays: Any) -> Any:
        arrays = tuple(apply(np.asarray, (array,), {}) for array in arrays)
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        columns = [apply(np.broadcast_to, (array, shape), {}).flatten() for array in arrays]
        answers = [pyfunc(*row) for row in zip(*columns, strict=True)]
        return apply(np.array, (answers,), {}).reshape(shape)

    return mapped


def _enumerated(array: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    """`np.ndenumerate`."""
    return ((index, array[index]) for index in np.ndindex(*array.shape))


def _default_rng(*seed: Any) -> np.random.Generator:
    """`np.random.default_rng`, with a seed."""
    if not seed or seed[0] is None:
        raise Unfollowed("random draws without a seed", SEED)
    return np.random.default_rng(*seed)


def _extreme(own: Callable, ufunc: np.ufunc) -> Callable:
    """`max` or `min` of numbers that may depend on the arguments."""

    def chosen(*values: Any, **options: Any) -> Any:
        numbers = list(values[0]) if len(values) == 1 else list(values)
        if options or not any(isinstance(raw(number), jax.Array) for number in numbers):
            return own(*(values if len(values) > 1 else (numbers,)), **options)
        return functools.reduce(lambda a, b: apply(ufunc, (a, b), {}), numbers)

    return chosen


STAND_INS: dict[Any, Any] = {
    np.vectorize: _vectorized, np.ndenumerate: _enumerated, np.c_: _Columns(np.column_stack),
    np.r_: _Columns(np.concatenate), np.random.default_rng: _default_rng,
    random: _Refused("random draws by Python's random"),
    max: _extreme(max, np.maximum), min: _extreme(min, np.minimum), float: Float,
}  # fmt: skip
BUILTINS = ("max", "min", "float")
"""Names of Python's own that are replaced too."""
