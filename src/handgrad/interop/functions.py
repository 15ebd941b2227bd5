"""Which function of JAX computes what a function of NumPy, SciPy or `math` does.

`equivalent(function)` finds it: mostly the one of the same name, with a rule here wherever names,
defaults or dtypes differ. They take and return arrays of JAX, in the dtypes that NumPy would have,
as far as JAX's mode has them.
"""

import functools
import importlib
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NAMESPACES = (
    ("numpy", "jax.numpy"),
    ("numpy.linalg", "jax.numpy.linalg"),
    ("numpy.fft", "jax.numpy.fft"),
    ("scipy.special", "jax.scipy.special"),
    ("scipy.linalg", "jax.scipy.linalg"),
)
"""Where functions of one name mean the same."""

JOINING = frozenset({
    "block", "broadcast_arrays", "column_stack", "concatenate", "concat", "dstack", "einsum",
    "hstack", "ix_", "meshgrid", "multi_dot", "row_stack", "select", "stack", "vstack",
})  # fmt: skip
"""Functions that take a list of arrays; any other takes a list for one array."""
PROMOTED = frozenset({
    "average", "block", "column_stack", "concatenate", "concat", "convolve", "correlate", "cross",
    "dot", "dstack", "einsum", "hstack", "inner", "kron", "multi_dot", "outer", "row_stack",
    "solve", "stack", "tensordot", "vdot", "vstack",
})  # fmt: skip
"""Functions whose operands NumPy brings to one dtype, by rules other than JAX's."""
INTEGERS_ADDED = frozenset({"sum", "prod", "cumsum", "cumprod", "trace", "nansum", "nanprod"})
INTEGERS_AVERAGED = frozenset({
    "mean", "var", "std", "average", "median", "quantile", "percentile", "nanmean", "nanvar",
    "nanstd", "norm", "inv", "det", "slogdet", "solve", "pinv", "cov", "corrcoef", "interp",
})  # fmt: skip
"""Functions that add up integers as int64, and those that take them for float64."""


def equivalent(function: Callable) -> Callable | None:
    """The function of JAX with the meaning of `function`; None where there is none."""
    table = _table(tuple(name for name, _ in NAMESPACES if name in sys.modules))
    try:
        return table.get(function)
    except TypeError:  # what cannot be hashed is no function of NumPy
        return None


@functools.cache
def _table(loaded: tuple[str, ...]) -> dict[Any, Callable]:
    """Functions of NumPy, SciPy and `math` to those of JAX, for the modules that are loaded."""
    table: dict[Any, Callable] = {}
    for name, other in NAMESPACES:
        if name not in loaded:
            continue
        theirs, ours = sys.modules[name], importlib.import_module(other)
        for key in dir(theirs):
            function, match = getattr(theirs, key), getattr(ours, key, None)
            if callable(function) and callable(match) and not isinstance(function, type):
                table[function] = match
        for key, rule in RULES.get(name, {}).items():
            if hasattr(theirs, key):
                table[getattr(theirs, key)] = rule
    for key in dir(math):
        function = getattr(math, key)
        match = RULES["math"].get(key) or getattr(jnp, key, None)
        if callable(function) and callable(match):
            table[function] = match
    return table


# --- dtypes ---------------------------------------------------------------------------------------


def is_traced(value: Any) -> bool:
    """Whether a value is an array of JAX."""
    return isinstance(value, jax.Array)


def dtype_of(value: Any) -> Any:
    """The dtype of an array; of a Python number its type, which yields to any array's dtype."""
    if type(value) in (int, float, complex):
        return type(value)
    return value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype


def elementwise(ufunc: np.ufunc, operands: Sequence[Any], dtype: Any = None) -> Any:
    """A ufunc at operands some of which are arrays of JAX, in the dtypes that NumPy takes."""
    function = equivalent(ufunc)
    if function is None:
        raise NotImplementedError(f"{ufunc.__name__}, which JAX does not have")
    kinds = [dtype_of(operand) for operand in operands]
    signature = [None] * ufunc.nout if dtype is None else [np.dtype(dtype)] * ufunc.nout
    try:
        found = ufunc.resolve_dtypes((*kinds, *signature))
    except TypeError:  # a dtype of JAX alone, such as bfloat16
        return function(*operands)
    if ufunc is np.power and _is_whole(operands[1]) and np.issubdtype(found[0], np.inexact):
        return function(cast(operands[0], found[0]), int(operands[1]))
    answer = function(*map(cast, operands, found))
    outputs = answer if isinstance(answer, tuple) else (answer,)
    outputs = tuple(map(cast, outputs, found[len(operands) :]))
    return outputs if isinstance(answer, tuple) else outputs[0]


def _is_whole(exponent: Any) -> bool:
    """Whether an exponent is known, and a whole number: then a power has a value at any base."""
    return not is_traced(exponent) and np.ndim(exponent) == 0 and float(exponent).is_integer()


def cast(value: Any, dtype: Any) -> jax.Array:
    """An array of JAX in a dtype of NumPy, as far as JAX's mode has it."""
    return jnp.asarray(value).astype(jax.dtypes.canonicalize_dtype(dtype))


def computed(function: Callable, args: list, kwargs: dict[str, Any]) -> Any:
    """A function of NumPy, SciPy or `math` that is no ufunc, at arguments with arrays of JAX."""
    match = equivalent(function)
    name = getattr(function, "__name__", str(function))
    if match is None:
        raise NotImplementedError(f"{name}, which JAX does not have")
    if name in JOINING:
        args = [_entries(arg, nested=name == "block") for arg in args]
    else:
        args = [_joined(arg) for arg in args]
        kwargs = {key: _joined(value) for key, value in kwargs.items()}
    if name in PROMOTED:  # lists of them too
        arrays = [leaf for leaf in jax.tree.leaves(args) if hasattr(leaf, "dtype")]
        dtype = np.result_type(*(array.dtype for array in arrays))
        args = jax.tree.map(lambda x: cast(x, dtype) if hasattr(x, "dtype") else x, args)
    kind = getattr(args[0], "dtype", None) if args else None
    if kind is not None and (kind.kind in "biu"):
        if name in INTEGERS_ADDED and kwargs.get("dtype") is None:
            args[0] = cast(args[0], np.result_type(kind, np.int64))
        elif name in INTEGERS_AVERAGED:
            args[0] = cast(args[0], np.float64)
    kwargs = {key: value for key, value in kwargs.items() if value is not np._NoValue}
    if kwargs.get("dtype") is not None:
        kwargs["dtype"] = jax.dtypes.canonicalize_dtype(kwargs["dtype"])
    return match(*args, **kwargs)


def any_traced(value: Any) -> bool:
    """Whether a value is an array of JAX, or a list or dict, nested or not, that holds one."""
    if isinstance(value, list | tuple | dict):
        return any(map(any_traced, value.values() if isinstance(value, dict) else value))
    return is_traced(value)


def _joined(value: Any) -> Any:
    """A list that holds arrays of JAX as one array; anything else as it is."""
    return joined(value) if any_traced(value) else value


def joined(values: Any) -> Any:
    """What np.array makes of a list, nested or not, that may hold arrays of JAX."""
    if not isinstance(values, list | tuple):
        return values
    if not any_traced(values):
        return np.asarray(values)
    parts = [joined(value) for value in values]
    dtype = np.result_type(*(np.asarray(0, dtype_of(part)).dtype for part in parts))
    return jnp.stack([cast(part, dtype) for part in parts])


def _entries(arg: Any, nested: bool) -> Any:
    """The entries of a list of arrays, each as one array; of lists within it, if `nested`."""
    if not isinstance(arg, list | tuple):
        return arg
    return [
        _entries(entry, True) if nested and isinstance(entry, list) else jnp.asarray(joined(entry))
        for entry in arg
    ]


# --- where JAX means something else by a name, or has another name --------------------------------


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    if low is not None:
        a = elementwise(np.maximum, (a, low))
    return a if high is None else elementwise(np.minimum, (a, high))


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None:
        raise NotImplementedError("np.where(mask), whose length depends on the arguments")
    x, y = joined(x), joined(y)
    numbers = (v if type(v) in (int, float, complex) else dtype_of(v) for v in (x, y))
    dtype = np.result_type(*numbers)  # a Python number yields
    return jnp.where(condition, cast(x, dtype), cast(y, dtype))


def _sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, **rest: Any) -> Any:
    return jnp.sort(a, axis=axis)


def _argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, **rest: Any) -> Any:
    return jnp.argsort(a, axis=axis)


def _over_all_axes(function: Callable) -> Callable:
    """A function of JAX that SciPy takes over all axes unless it is given some."""
    return lambda x, axis=None: function(x, tuple(range(x.ndim)) if axis is None else axis)


def _huber(delta: Any, r: Any) -> Any:
    size = jnp.abs(r)
    return jnp.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))


def _pseudo_huber(delta: Any, r: Any) -> Any:
    return delta * delta * (jnp.sqrt(1 + (r / delta) ** 2) - 1)


def _euclidean(*coordinates: Any) -> Any:
    return jnp.sqrt(sum(jnp.asarray(c) ** 2 for c in coordinates))


def _log(x: Any, base: Any = None) -> Any:
    return jnp.log(x) if base is None else jnp.log(x) / jnp.log(base)


def _sum(values: Any) -> Any:
    return jnp.sum(joined(list(values)))


def _prod(values: Any, *, start: Any = 1) -> Any:
    return start * jnp.prod(joined(list(values)))


RULES: dict[str, dict[str, Callable]] = {
    "numpy": {
        "clip": _clip, "where": _where, "sort": _sort, "argsort": _argsort, "abs": jnp.abs,
        "fabs": jnp.abs, "float_power": jnp.power, "round": jnp.round, "trapz": jnp.trapezoid,
    },
    "scipy.special": {
        "softmax": _over_all_axes(jax.nn.softmax),
        "log_softmax": _over_all_axes(jax.nn.log_softmax), "log_expit": jax.nn.log_sigmoid,
        "softplus": jax.nn.softplus, "huber": _huber, "pseudo_huber": _pseudo_huber,
        "psi": jax.scipy.special.digamma, "expm1": jnp.expm1, "log1p": jnp.log1p,
        "cbrt": jnp.cbrt, "exp2": jnp.exp2, "sinc": jnp.sinc,
    },
    "math": {
        "fabs": jnp.abs, "pow": jnp.power, "fsum": _sum, "prod": _prod,
        "hypot": _euclidean, "log": _log, "lgamma": jax.scipy.special.gammaln,
        "erf": jax.scipy.special.erf, "erfc": jax.scipy.special.erfc, "acos": jnp.arccos,
        "asin": jnp.arcsin, "atan": jnp.arctan, "atan2": jnp.arctan2, "acosh": jnp.arccosh,
        "asinh": jnp.arcsinh, "atanh": jnp.arctanh,
    },
}  # fmt: skip
"""By module."""
