"""The witnesses: a problem to judge, its arguments as rows of numbers, and its functions traced.

A `Problem` is what was asked. `Layout` turns arguments into flat leaves, and the differentiated
ones into one row of numbers with a name for each coordinate. `trace_all` turns loss, autodiff and
hand into `Programs`, which are evaluated over balls at any point.
"""

import functools
import gc
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import CellType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb

from handgrad import exact, jaxprs
from handgrad._checks import dtype_of
from handgrad._precision import Switch
from handgrad.errors import InputError, describe_error
from handgrad.exact import Traced
from handgrad.exact.evaluation import Effort, effort_of, is_ball_array

QUIET_SECONDS = 2.0
"""Before the first progress report."""
REPEATED_SECONDS = 10.0
"""Between two reports on one stage."""
GRACE_SECONDS = 2.0
"""What is being judged when the time given is over may take so much longer."""
EXPENSIVE_SECONDS = 0.02
"""Of one evaluation over balls, from which on there are fewer of them."""
MOST_KEPT = 2**19
"""Balls that are remembered, over all rows."""
MOST_DEPTH = 4
"""Of functions within functions in which captured arrays are looked for."""

Argnums = int | tuple[int, ...]
Row = np.ndarray
"""The coordinates of a gradient as one row of balls."""


# --- leaves ---------------------------------------------------------------------------------------


def is_float(leaf: Any) -> bool:
    """Whether a leaf of the arguments carries real numbers (keys and integers do not)."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def narrow_integers(leaf: Any) -> Any:
    """64-bit integers as 32-bit ones where they fit: JAX has no others without x64."""
    if jnp.result_type(leaf) not in (np.dtype("int64"), np.dtype("uint64")):
        return leaf
    narrow = np.asarray(leaf).astype(np.int32)
    return narrow if (narrow == np.asarray(leaf)).all() else leaf


def round_to(at: tuple, dtype: str) -> tuple:
    """The arguments with every float leaf rounded to `dtype`; integers and keys as they are."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype) if is_float(leaf) else narrow_integers(leaf), at
    )


def rounded(leaves: list, dtype: Any) -> list:
    """Leaves as NumPy arrays, the floats rounded to `dtype`; random keys stay what they are."""
    return [np.asarray(leaf).astype(dtype) if is_float(leaf) else leaf for leaf in leaves]


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree with their paths as text, such as '.weight' or '[0].bias'."""
    return [
        (jax.tree_util.keystr(p), leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def argument_names(at: tuple, *functions: Callable) -> list[str]:
    """What the first function that has names calls the arguments in `at`; else 'at[0]' and so on.

    >>> argument_names((1.0, 2.0), lambda *args: 0, lambda weight, x: 0)
    ['weight', 'x']
    """
    for function in functions:
        try:
            bound = inspect.signature(function).bind(*at)
        except (TypeError, ValueError):
            continue
        names = list(bound.arguments)
        kinds = [bound.signature.parameters[name].kind for name in names]
        if len(names) == len(at) and inspect.Parameter.VAR_POSITIONAL not in kinds:
            return names
    return [f"at[{i}]" for i in range(len(at))]


def positions_of(argnums: Argnums) -> tuple[int, ...]:
    """`argnums` as a tuple."""
    return argnums if isinstance(argnums, tuple) else (argnums,)


def differentiated(args: tuple, argnums: Argnums) -> Any:
    """The argument that `argnums` names, or the tuple of them."""
    return tuple(args[i] for i in argnums) if isinstance(argnums, tuple) else args[argnums]


# --- time -----------------------------------------------------------------------------------------


class OutOfTime(BaseException):
    """The time given is over, amid a long evaluation."""


@dataclass
class Stage:
    """What is done now, and when that was last told."""

    name: str = ""
    told: float = 0.0


# --- the problem, and the checks of its arguments -------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """What was asked: whether `gradient` is `jax.grad(of, argnums)` at `at`, and how to judge it.

    The options are those of `handgrad.verify`.
    """

    gradient: Callable
    of: Callable
    at: tuple
    argnums: Argnums = 0
    dtypes: tuple[str, ...] = ("float32", "float64")
    digits: int = 60
    points: Callable | None = None
    evaluations: int = 2_000
    seed: int = 0
    reference: str = "truth"
    strict: bool = False
    name: str = "gradient"
    rules: Mapping[str, Callable] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None
    seconds: float | None = None
    progress: Callable[[str], None] | None = None
    switch: Switch = field(default_factory=Switch, repr=False, compare=False)
    """Every function of the problem is traced and called in its `x64`."""
    began: float = field(default_factory=time.monotonic, repr=False, compare=False)
    stage: Stage = field(default_factory=Stage, repr=False, compare=False)

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    @property
    def is_late(self) -> bool:
        """Whether the time given is over."""
        return self.seconds is not None and self.elapsed > self.seconds

    def report(self, stage: str) -> None:
        """Tell whoever waits what is done now, once it has taken a while."""
        self.stage.name = stage
        if self.progress and self.elapsed > QUIET_SECONDS:
            self.stage.told = self.elapsed
            self.progress(stage)

    def watch(self) -> None:
        """Called all along: tells again what is done now. Raises OutOfTime well after the time."""
        if self.seconds is None and self.progress is None:
            return
        elapsed = self.elapsed
        if self.seconds is not None and elapsed > self.seconds + GRACE_SECONDS:
            raise OutOfTime
        due = max(QUIET_SECONDS, self.stage.told + REPEATED_SECONDS)
        if self.progress and elapsed > due and self.stage.name:
            self.stage.told = elapsed
            self.progress(f"{self.stage.name}, {elapsed:.0f} s so far")

    @cached_property
    def layout(self) -> "Layout":
        """How `at` is made of leaves, named as the loss, or else the gradient, names them."""
        return Layout.of(self.at, self.argnums, argument_names(self.at, self.of, self.gradient))

    @cached_property
    def _grad(self) -> Callable:
        """One function, so that JAX finds its trace again."""
        return autodiff(self.of, self.argnums)

    @cached_property
    def differentiable(self) -> bool:
        """Whether JAX can differentiate the loss: a while loop or a callback it cannot."""
        try:
            jax.eval_shape(self._grad, *self.at)
        except Exception:
            return False
        return True

    @cached_property
    def autodiff(self) -> Callable:
        """The second witness: `jax.grad` of the loss; NaN everywhere if there is none."""
        if self.differentiable:
            return self._grad

        def unknown(*args: Any) -> Any:
            chosen = differentiated(args, self.argnums)
            return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), chosen)

        return unknown


def autodiff(of: Callable, argnums: Argnums) -> Callable:
    """`jax.grad` of a loss."""
    return jax.grad(of, argnums=argnums)


def check_at(at: Any) -> None:
    """Raise InputError unless `at` is a tuple whose leaves are numbers, or arrays of them."""
    if not isinstance(at, tuple):
        raise InputError("at", "a tuple of arguments", type(at).__name__, "write at=(args,)")
    for path, leaf in named_leaves(at):
        dtype_of(f"at{path}", leaf)


def counted_from_0(argnums: Any, at: tuple) -> Argnums:
    """`argnums` as positions in `at` from 0 on. Raises InputError for what names no argument.

    >>> counted_from_0(-1, (1.0, 2.0)), counted_from_0((0, -1), (1.0, 2.0))
    (1, (0, 1))
    """
    positions = positions_of(argnums)
    if not positions or not all(isinstance(p, int | np.integer) for p in positions):
        raise InputError("argnums", "an integer or a tuple of them", repr(argnums), "count from 0")
    if not all(-len(at) <= position < len(at) for position in positions):
        raise InputError(
            "argnums", f"positions within {len(at)} arguments", argnums, "count from 0"
        )
    counted = tuple(int(position) % len(at) for position in positions)
    if len(set(counted)) < len(counted):
        raise InputError("argnums", "each position once", argnums, "leave out the second one")
    return counted if isinstance(argnums, tuple) else counted[0]


def check_floats(at: tuple, argnums: Argnums) -> None:
    """Raise InputError where `argnums` names a leaf that is no float."""
    for position in positions_of(argnums):
        for path, leaf in named_leaves(at[position]):
            if not is_float(leaf):
                raise InputError(
                    "argnums", "floating leaves",
                    f"argument {position}{path} of dtype {jnp.result_type(leaf)}",
                    "differentiate with respect to floats, or convert it",
                )  # fmt: skip


def check_arguments(of: Callable, at: tuple, argnums: Argnums, differentiable: bool = True) -> None:
    """Raise InputError unless `argnums` names floats in `at`, and `of` is scalar.

    And unless JAX can differentiate the loss, if it has to be `differentiable`.
    """
    check_floats(at, argnums)
    try:
        value = jax.eval_shape(of, *at)
        scalar = _is_real_number(value)
        if scalar and differentiable:
            jax.eval_shape(autodiff(of, argnums), *at)
    except Exception as error:
        raise InputError(
            "of", "a loss that JAX can trace and differentiate here",
            describe_error(own_error(of, at, error)), "call of(*at) by itself",
        ) from error  # fmt: skip
    if not scalar:
        raise InputError(
            "of", "a loss with one real number as its value", as_shapes(value),
            "take a sum or a mean",
        )  # fmt: skip


def _is_real_number(value: Any) -> bool:
    is_array = hasattr(value, "shape") and hasattr(value, "dtype")
    return is_array and value.shape == () and jnp.issubdtype(value.dtype, jnp.floating)


def as_shapes(tree: Any) -> Any:
    """A tree with each array as text: its dtype and its shape.

    >>> as_shapes((jnp.ones((2, 3), "float32"), None))
    ('float32[2, 3]', None)
    """
    return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)


def own_error(function: Callable, at: tuple, error: Exception) -> Exception:
    """What the function raises of plain arrays, where JAX only says that it cannot trace it."""
    if isinstance(error, jax.errors.JAXTypeError | jax.errors.JAXIndexError):
        try:
            function(*jax.tree.map(lambda leaf: np.array(leaf) if np.ndim(leaf) else leaf, at))
        except Exception as own:
            return own
    return error


def check_finite(name: str, args: tuple, dtypes: tuple[str, ...]) -> None:
    """Raise InputError for NaN, and for finite numbers that a dtype holds as infinity.

    What is infinite itself may stay: a logit masked with −inf is a place like any other.
    """
    for path, leaf in named_leaves(args):
        for dtype in dtypes if is_float(leaf) else ():
            size = np.abs(np.asarray(leaf, np.float64))
            if not (np.isinf(size) | (size <= float(jnp.finfo(dtype).max))).all():
                what = "NaN" if np.isnan(size).any() else f"more than {dtype} can hold"
                raise InputError(
                    name, f"finite numbers in {dtype}, or ±inf", f"{what} in leaf {path}",
                    "choose a point of the domain",
                )  # fmt: skip


def draw_points(problem: Problem, count: int) -> list[tuple]:
    """The first `count` arguments that `points` draws. Raises InputError unless they suit `at`."""
    drawn: list[tuple] = []
    for i in range(count if problem.points else 0):
        key = jax.random.fold_in(jax.random.key(problem.seed), i)
        try:
            args = problem.points(key)  # type: ignore[misc]
        except Exception as error:
            raise InputError(
                "points", "a function of one random key", describe_error(error),
                "call points(jax.random.key(0)) by itself",
            ) from error  # fmt: skip
        if shapes_of(args) != shapes_of(problem.at):
            raise InputError(
                "points", "arguments with the structure and shapes of `at`",
                jax.tree.map(jnp.shape, args), "draw a tuple like `at`",
            )  # fmt: skip
        check_finite("points", args, problem.dtypes)
        drawn.append(jax.tree.map(narrow_integers, args))
    return drawn


def shapes_of(tree: Any) -> tuple[Any, list]:
    """The structure of a tree, and the shapes of its leaves."""
    return jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


# --- data in closures -----------------------------------------------------------------------------


def captures_arrays(function: Callable, at: tuple) -> bool:
    """Whether a function may hold arrays of NumPy that JAX would keep in the mode of a trace.

    True also where it cannot be traced for another reason than that it wants NumPy's arrays or a
    number's value: it may be what another mode has left.
    """
    if _holds(function, most_axes=0):  # in a program such an array looks like any literal
        return True
    try:
        return bool(jaxprs.captured_arrays(jaxprs.attempt(function, at)))
    except jax.errors.TracerArrayConversionError:
        return False
    except jax.errors.ConcretizationTypeError:
        return _holds(function, most_axes=np.inf)
    except Exception:
        return True
    finally:
        gc.collect(0)


def _holds(function: Any, most_axes: float, depth: int = 0) -> bool:
    """Whether an array of NumPy stands in a closure, a global, an attribute or a partial.

    One of at most `most_axes` axes.
    """
    if isinstance(function, functools.partial):
        held = [function.func, *function.args, *function.keywords.values()]
    else:
        owner = getattr(function, "__self__", None)
        held = [] if inspect.ismodule(owner) else list(getattr(owner, "__dict__", {}).values())
        function = inspect.unwrap(function)
        function = getattr(function, "__func__", function)
        if not inspect.isfunction(function):
            return False
        names = function.__code__.co_names
        held += [function.__globals__[n] for n in names if n in function.__globals__]
        filled = [cell for cell in function.__closure__ or () if cell != CellType()]
        held += [cell.cell_contents for cell in filled]
        held += function.__defaults__ or ()
    if any(isinstance(entry, np.ndarray) and entry.ndim <= most_axes for entry in held):
        return True
    return depth < MOST_DEPTH and any(
        _holds(entry, most_axes, depth + 1)
        for entry in held
        if callable(entry) and not str(getattr(entry, "__module__", "")).startswith("jax")
    )


# --- structure ------------------------------------------------------------------------------------


def is_traceable(gradient: Callable, at: tuple) -> bool:
    """Whether JAX can trace a gradient; one written in NumPy or PyTorch it cannot."""
    try:
        jaxprs.attempt(gradient, at)
    except Exception:
        return False
    return True


def structure_fault(answer: Any, expected: Any) -> str | None:
    """What is wrong with the structure, shapes or dtypes of a gradient, in words; None if nothing.

    `expected` are the arguments that it belongs to, as `jax.grad` gives it: broadcasting is not
    forgiven.
    """
    got: Any = jax.tree.structure(answer)
    want: Any = jax.tree.structure(expected)
    if got != want:
        return f"the gradient is {got}, jax.grad gives {want}"
    for (path, leaf), (_, spec) in zip(named_leaves(answer), named_leaves(expected), strict=True):
        shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
        if shape != spec.shape or dtype != spec.dtype:
            return f"leaf {path or 'gradient'} is {dtype}{list(shape)}, jax.grad gives " + (
                f"{spec.dtype}{list(spec.shape)}"
            )
    return None


def leaves_like(answer: Any, like: Any) -> list | None:
    """The leaves of an answer in the order of the arguments' own; None where that is not said.

    Names are held against names, so that no order of a dict matters; a list or a tuple stands for
    a tuple, or for fields; one array stands for one array.

    >>> leaves_like([1.0, 2.0], (3.0, 4.0)), leaves_like({"b": 1.0, "w": 2.0}, (3.0, 4.0))
    ([1.0, 2.0], None)
    """
    given, own = ({_keys(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
                  for tree in (answer, like))  # fmt: skip
    if given.keys() == own.keys():
        return [given[keys] for keys in own]
    named = any(isinstance(key, str) for keys in given for key in keys)
    by_key = any(
        isinstance(key, jax.tree_util.DictKey)
        for path, _ in jax.tree_util.tree_leaves_with_path(like) for key in path
    )  # fmt: skip
    in_order = len(given) == len(own) and (len(own) == 1 or not (named or by_key))
    return list(given.values()) if in_order else None


def _keys(path: Any) -> tuple:
    """A path as the keys, field names and positions that it is made of."""
    return tuple(
        getattr(key, "key", getattr(key, "name", getattr(key, "idx", str(key)))) for key in path
    )


# --- layout ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """How `at` is made of leaves, and where `argnums` points into them."""

    treedef: Any
    argnums: tuple[int, ...]
    """Flat positions of the differentiated leaves, in the order of the gradient's leaves."""
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, at: tuple, argnums: Argnums, arguments: Sequence[str] = ()) -> "Layout":
        """The layout of these arguments, whose names may be given."""
        leaves, treedef = jax.tree.flatten(at)
        positions = jax.tree.unflatten(treedef, range(len(leaves)))
        flat = tuple(position for _, position in named_leaves(differentiated(positions, argnums)))
        own = arguments or [f"at[{i}]" for i in range(len(at))]
        names = [own[i] + path for i in positions_of(argnums) for path, _ in named_leaves(at[i])]
        return cls(
            treedef=treedef,
            argnums=flat,
            shapes=tuple(tuple(np.shape(leaves[i])) for i in flat),
            names=tuple(names),
        )

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Coordinates in each differentiated leaf."""
        return tuple(int(np.prod(shape, dtype=int)) for shape in self.shapes)

    @property
    def size(self) -> int:
        """Coordinates of the gradient."""
        return sum(self.sizes)

    def coordinate(self, index: int) -> str:
        """The name of a coordinate of the gradient, such as 'params.weight[2, 0]'."""
        for name, shape, size in zip(self.names, self.shapes, self.sizes, strict=True):
            if index < size:
                place = [int(i) for i in np.unravel_index(index, shape)] if shape else ""
                return f"{name}{place}"
            index -= size
        raise IndexError(index)

    def args(self, leaves: list) -> tuple:
        """The arguments with these leaves."""
        return jax.tree.unflatten(self.treedef, leaves)

    def row(self, leaves: list, dtype: Any) -> np.ndarray:
        """The differentiated leaves as one row of `dtype`."""
        parts = [np.ravel(np.asarray(leaves[i])).astype(dtype) for i in self.argnums]
        return np.concatenate(parts) if parts else np.zeros(0, dtype)

    def split(self, row: Any) -> list:
        """A row, of NumPy or of JAX, cut into the shapes of the differentiated leaves."""
        ends = np.cumsum(self.sizes)[:-1]
        parts: Any = np.split(row, ends) if isinstance(row, np.ndarray) else jnp.split(row, ends)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def replaced(self, leaves: list, row: Any) -> list:
        """The leaves with the differentiated ones taken from a row."""
        leaves = list(leaves)
        for position, part in zip(self.argnums, self.split(row), strict=True):
            leaves[position] = part
        return leaves

    def moves(self, leaves: list, direction: np.ndarray) -> list:
        """A direction for every flat leaf: None where nothing moves."""
        return self.replaced([None] * len(leaves), direction)

    def unit(self, index: int) -> np.ndarray:
        """The direction along one coordinate."""
        return np.eye(1, self.size, index)[0]


# --- programs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Programs:
    """The witnesses traced at one dtype; `hand` is None where it cannot be traced."""

    layout: Layout
    loss: Traced
    autodiff: Traced | None
    """None where JAX cannot differentiate the loss."""
    hand: Traced | None
    rules: Mapping[str, Callable] = field(default_factory=dict)
    smallest: float = 0.0
    """The smallest positive number of the dtypes asked for."""
    _rows: dict[tuple, tuple[int, Row]] = field(default_factory=dict, repr=False, compare=False)
    """The latest rows of balls, and the digits that they were asked for, by program and point."""

    @cached_property
    def loss_effort(self) -> Effort:
        """What it takes to evaluate the loss once."""
        return effort_of(self.loss.jaxpr)

    @property
    def all(self) -> list[Traced]:
        """Those that there are."""
        return [p for p in (self.loss, self.autodiff, self.hand) if p is not None]

    @cached_property
    def gradient_effort(self) -> Effort:
        """What it takes to evaluate a gradient once."""
        return max((effort_of(p.jaxpr) for p in self.all), key=lambda effort: effort.seconds)

    @property
    def is_expensive(self) -> bool:
        """Whether evaluations over balls have to be counted."""
        return self.gradient_effort.seconds > EXPENSIVE_SECONDS

    def is_out_of_reach(self, a: arb, b: arb) -> bool:
        """Whether two numbers are so small that no dtype asked for can hold either: both are 0."""
        return bool(abs(a) < self.smallest) and bool(abs(b) < self.smallest)

    def row(
        self, program: Traced | None, leaves: list, digits: int, constants: str = "exact"
    ) -> Row:
        """All coordinates that a gradient program gives at these leaves, in balls.

        Evaluated once for each point, as long as no more digits are asked for.
        """
        assert program is not None
        point = _fingerprint(leaves)
        key = program.jaxpr, constants, point
        known_digits, row = self._rows.get(key, (-1, np.zeros(0, object)))
        if known_digits < digits:
            out = exact.evaluate_jaxpr(program.jaxpr, leaves, digits, self.rules, constants)
            row = np.concatenate([np.ravel(part).astype(object) for part in (*out, row[:0])])
            if point is not None:
                self._rows.pop(key, None)
                self._rows[key] = digits, row
                while sum(len(kept) for _, kept in self._rows.values()) > MOST_KEPT:
                    del self._rows[next(iter(self._rows))]  # the oldest
        return row.copy()

    def along(self, leaves: list, direction: np.ndarray, digits: int) -> arb:
        """The directional derivative of the loss, from its values alone."""
        moves = self.layout.moves(leaves, direction)
        row, _ = exact.derivative_jaxpr(self.loss.jaxpr, leaves, moves, digits, self.rules)
        return row[0]

    def one_sided(
        self, leaves: list, direction: np.ndarray, digits: int
    ) -> tuple[arb | None, arb | None]:
        """The left and the right directional derivative of the loss: finite, ±∞, or no value."""
        moves = self.layout.moves(leaves, direction)
        sides = exact.one_sided_jaxpr(self.loss.jaxpr, leaves, moves, digits, self.rules)
        return sides[0][0], sides[1][0]


def _fingerprint(leaves: list) -> tuple | None:
    """The numbers of all leaves, to tell points apart; None where there are balls or keys."""
    parts = []
    for leaf in leaves:
        if is_ball_array(leaf) or not isinstance(getattr(leaf, "dtype", np.dtype(bool)), np.dtype):
            return None
        array = np.asarray(leaf, np.float64 if is_float(leaf) else None)
        parts.append((array.dtype.str, array.shape, array.tobytes()))
    return tuple(parts)


def called(traced: Traced, leaves: list) -> list[jax.Array]:
    """The outputs of a traced function at these leaves, in JAX."""
    variables = traced.jaxpr.jaxpr.invars
    operands = [jaxprs.as_arrays(leaf, v.aval) for leaf, v in zip(leaves, variables, strict=True)]
    return jaxprs.run(traced.jaxpr, operands, jaxprs.bind)


def compiled(problem: Problem, function: Callable, operands: Sequence, dtype: str) -> Callable:
    """`function` compiled in the dtype's mode for these operands, to be called in either mode.

    It holds nothing that JAX made of a caller's array, so that it outlives the emptying of caches.
    """
    with problem.switch.x64(dtype == "float64"):
        if problem.switch.captures:
            traced, shape = jax.make_jaxpr(function, return_shape=True)(*operands)
            program, tree = jaxprs.with_copied_constants(traced), jax.tree.structure(shape)

            def function(*operands: Any) -> Any:
                outputs = jaxprs.run(program, jax.tree.leaves(operands), jaxprs.bind)
                return jax.tree.unflatten(tree, outputs)

        return jax.jit(function).lower(*operands).compile()


QUICKLY: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


@functools.cache
def quick_options() -> dict[str, Any]:
    """Options of XLA under which it compiles in a third of the time, as far as it knows them.

    For helpers of the judge alone: what is judged is compiled as a user's call of `jax.jit` is.
    """

    def are_known(options: dict[str, Any]) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options=options).lower().compile()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    if are_known(QUICKLY):
        return QUICKLY
    return {name: value for name, value in QUICKLY.items() if are_known({name: value})}


def trace_all(problem: Problem, dtype: str, hand: bool = True) -> Programs:
    """Trace loss, autodiff and, if `hand`, the gradient at one dtype."""

    def trace(function: Callable) -> Traced:
        with problem.switch.x64(dtype == "float64"):
            traced = exact.trace(function, *problem.at, dtype=dtype)
            traced = traced._replace(jaxpr=jaxprs.without_dead_code(traced.jaxpr))
            if problem.switch.captures:
                return traced._replace(jaxpr=jaxprs.with_copied_constants(traced.jaxpr))
            return traced

    return Programs(
        layout=problem.layout,
        loss=trace(problem.of),
        autodiff=trace(problem.autodiff) if problem.differentiable else None,
        hand=trace(problem.gradient) if hand else None,
        rules=problem.rules,
        smallest=min(float(jnp.finfo(d).smallest_subnormal) for d in problem.dtypes),
    )
