"""A second opinion: a gradient's program in mpmath, at 50 digits, and at 5,000 in case of doubt.

Which mutants are really different must not be decided by what is being tested. This evaluates a
jaxpr with mpmath numbers in place of floats; it shares no code with `handgrad.exact`, knows only
the primitives that hand-derived gradients are made of, and compares midpoints instead of enclosing.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax
import mpmath as mp
import numpy as np
from jax.extend.core import Literal

from handgrad.errors import HandgradError

DIGITS = 50
MANY = 5_000
"""Far out, terms as unlike as 1 and e^-2400 meet: a difference has to outlive this many digits."""
INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")
MOVES = ("broadcast_in_dim", "reshape", "transpose", "slice", "squeeze", "rev", "copy", "gather")


def opinion(function: Callable, args: tuple, digits: int = DIGITS) -> list[np.ndarray]:
    """The flat outputs of a function at exact arguments, as object arrays of mpmath numbers."""
    with mp.workdps(digits):
        closed = jax.make_jaxpr(function)(*args)
        return _run(closed.jaxpr, closed.consts, [_lift(leaf) for leaf in jax.tree.leaves(args)])


def _lift(array: Any) -> np.ndarray:
    array = np.asarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        return array
    return _each(lambda v: mp.mpf(float(v)), array)


def _each(f: Callable, *arrays: Any) -> np.ndarray:
    """f elementwise over object arrays, always as an object array."""
    arrays = tuple(np.asarray(a, dtype=object) for a in np.broadcast_arrays(*arrays))
    flat = [f(*values) for values in zip(*(a.ravel() for a in arrays), strict=True)]
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(arrays[0].shape)


def _run(jaxpr: Any, consts: list, args: list) -> list:
    values = dict(zip(jaxpr.constvars, map(_lift, consts), strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for equation in jaxpr.eqns:
        operands = [
            _lift(np.asarray(v.val, v.aval.dtype)) if isinstance(v, Literal) else values[v]  # type: ignore[attr-defined]
            for v in equation.invars
        ]
        inner = next((equation.params[k] for k in INNER if k in equation.params), None)
        if inner is not None:
            body = getattr(inner, "jaxpr", inner)
            outputs = _run(body, list(getattr(inner, "consts", ())), operands)
        else:
            outputs = [_apply(equation, operands)]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [_lift(v.val) if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]


def _apply(equation: Any, operands: list) -> np.ndarray:
    name, params = equation.primitive.name, equation.params
    if not any(np.asarray(o).dtype == object for o in operands) and name != "convert_element_type":
        return np.asarray(equation.primitive.bind(*operands, **params))
    if name in MOVES:
        positions = np.arange(operands[0].size).reshape(operands[0].shape)
        moved = np.asarray(equation.primitive.bind(positions, *operands[1:], **params))
        return operands[0].ravel()[moved]
    if name == "concatenate":
        return np.concatenate(operands, axis=params["dimension"])
    if name == "stack":
        return np.stack(operands, axis=params["axis"])
    if name in ("eq", "ne", "lt", "le", "gt", "ge"):
        return _each(getattr(operator, name), *operands).astype(bool)
    if name == "select_n":
        return _each(lambda which, *cases: cases[int(which)], *operands)
    if name == "convert_element_type":
        real = np.issubdtype(params["new_dtype"], np.floating)
        return (
            (operands[0] if operands[0].dtype == object else _lift(operands[0].astype(float)))
            if real
            else operands[0].astype(params["new_dtype"])
        )
    if name in ("reduce_sum", "reduce_max", "reduce_prod"):
        return _reduce(REDUCTIONS[name], operands[0], params["axes"])
    if name == "argmax":
        return np.argmax(operands[0], axis=params["axes"][0]).astype(params["index_dtype"])
    if name in ("cumsum", "cumprod"):
        run = np.add if name == "cumsum" else np.multiply
        axis, array = params["axis"], operands[0]
        flipped = np.flip(array, axis) if params["reverse"] else array
        out = run.accumulate(flipped, axis=axis)
        return np.flip(out, axis) if params["reverse"] else out
    if name == "dot_general":
        (left, right), batch = params["dimension_numbers"]
        if batch == ((), ()):
            a, b = operands
            return np.asarray(np.tensordot(a, b, axes=(left, right)), dtype=object)
    if name in ("scatter", "scatter-add"):
        return _scatter_rows(params["dimension_numbers"], name == "scatter-add", *operands)
    if name in _elementwise():
        return _each(_elementwise()[name](params), *operands)
    raise HandgradError(f"the second opinion knows no rule for {name}")


REDUCTIONS: dict[str, Callable] = {
    "reduce_sum": np.add,
    "reduce_max": np.maximum,
    "reduce_prod": np.multiply,
}


def _reduce(ufunc: Any, array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    for axis in sorted(axes, reverse=True):
        array = np.asarray(ufunc.reduce(array, axis=axis), dtype=object)
    return array


def _scatter_rows(
    numbers: Any, adds: bool, operand: np.ndarray, indices: np.ndarray, updates: np.ndarray
) -> np.ndarray:
    """Rows written, or added, to those that the indices (n, 1) name; none outside."""
    if numbers.scatter_dims_to_operand_dims != (0,) or numbers.inserted_window_dims != (0,):
        raise HandgradError("the second opinion scatters nothing but rows")
    out = np.array(operand, dtype=object)
    for row, update in zip(indices[:, 0].tolist(), updates, strict=True):
        if 0 <= row < len(out):
            out[row] = out[row] + update if adds else update
    return out


def _elementwise() -> dict[str, Callable[[dict], Callable]]:
    """Primitive -> (parameters -> function of mpmath numbers)."""

    def logistic(z: Any) -> Any:
        return 1 / (1 + mp.exp(-z)) if mp.isfinite(z) else mp.mpf(z > 0)

    def divide(a: Any, b: Any) -> Any:
        if b == 0:
            return mp.nan if a == 0 or mp.isnan(a) else mp.sign(a) * mp.inf
        return a / b

    def power(a: Any, b: Any) -> Any:
        if b == 0 or a == 1:
            return mp.mpf(1)  # whatever the other is, NaN too, as IEEE 754 has it
        if a == 0 and b < 0:
            return mp.inf
        return mp.nan if a < 0 and b != mp.floor(b) else mp.power(a, b)

    def logarithm(a: Any) -> Any:
        return -mp.inf if a == 0 else mp.nan if a < 0 else mp.log(a)

    plain: dict[str, Callable] = {
        "add": operator.add, "add_any": operator.add, "sub": operator.sub, "mul": operator.mul,
        "div": divide, "neg": operator.neg, "abs": abs, "exp": mp.exp, "expm1": mp.expm1,
        "log": logarithm, "log1p": lambda a: logarithm(1 + a), "logistic": logistic,
        "tanh": mp.tanh, "max": max, "min": min, "square": lambda a: a * a, "pow": power,
        "sqrt": mp.sqrt, "sign": mp.sign, "stop_gradient": lambda a: a,
        "floor": lambda a: mp.floor(a) if mp.isfinite(a) else a,
    }  # fmt: skip
    table: dict[str, Callable] = {name: (lambda p, f=f: f) for name, f in plain.items()}
    table["integer_pow"] = lambda p: lambda a: a ** p["y"]
    table["is_finite"] = lambda p: mp.isfinite
    return table


def differ(a: list[np.ndarray], b: list[np.ndarray], digits: int = 30) -> bool:
    """Whether two answers differ in any coordinate beyond `digits` digits; NaN is NaN here."""
    with mp.workdps(MANY):
        pairs = [
            (x, y)
            for u, v in zip(a, b, strict=True)
            for x, y in zip(np.ravel(u), np.ravel(v), strict=True)
        ]
        for x, y in pairs:
            if mp.isnan(x) != mp.isnan(y):
                return True
            if x == y or mp.isnan(x):
                continue
            if abs(x - y) > mp.mpf(10) ** -digits * max(abs(x), abs(y)) or not mp.isfinite(x - y):
                return True
        return False
