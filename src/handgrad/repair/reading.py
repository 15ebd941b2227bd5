"""Reading a function: the one formula that it applies to every entry, and the sum around it."""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad._precision import x64
from handgrad.errors import InputError, describe_error
from handgrad.interop import as_jax
from handgrad.repair.terms import (
    ARITHMETIC,
    COMPARISONS,
    FUNCTIONS,
    Expression,
    argument,
    constant,
    depends,
    function,
    is_number,
    make,
    where,
)

DIRECT: dict[str, Callable[..., Expression]] = {
    **ARITHMETIC, "add_any": operator.add, "square": lambda a: a * a,
    "max": functools.partial(function, "max"), "min": functools.partial(function, "min"),
    "not": lambda a: constant(int(not a.value)) if a.op == "const" else make("not", (a,)),
    "and": lambda a, b: _either(a, b, "and", False), "or": lambda a, b: _either(a, b, "or", True),
    "is_finite": lambda a: constant(1), "stop_gradient": lambda a: a,
    "clamp": lambda low, x, high: function("min", function("max", x, low), high),
}  # fmt: skip
"""Primitives that are an operation on terms."""
SAME_FUNCTION = {"bessel_i0e": "i0e", "bessel_i1e": "i1e"}
SAME_ENTRIES = frozenset({
    "broadcast_in_dim", "reshape", "squeeze", "convert_element_type", "copy", "copy_p",
    "expand_dims", "reduce_precision", "optimization_barrier",
})  # fmt: skip
RANDOM = ("random", "threefry")
STEPS = frozenset({"floor", "ceil", "round", "rem"})


@dataclass(frozen=True)
class Core:
    """What a function does to one entry x, and to the entries of what else it is given."""

    term: Expression
    """The formula: argument 0 is x, argument i the entry of the i-th argument."""
    scale: Fraction = Fraction(1)
    """What the sum over entries is multiplied by; 1 where there is no sum."""
    is_sum: bool = False


def read(f: Callable, at: Any) -> Core:
    """The formula that `f` applies to every entry of its first argument.

    Raises InputError where there is none: the entries meet each other, or the value is random.
    """
    if not isinstance(at, tuple) or not at:
        raise InputError("at", "a tuple of arguments", type(at).__name__, "write at=(x,)")
    leaves = [_as_array(place, value) for place, value in enumerate(at)]
    if not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        raise InputError(
            "at", "floats in the first argument, the one that is differentiated",
            f"dtype {leaves[0].dtype}", "put the input first",
        )  # fmt: skip
    size = leaves[0].size
    for place, leaf in enumerate(leaves):
        if leaf.size not in (1, size):
            raise InputError(
                "at", f"one number, or {size} as in the first argument", f"shape {leaf.shape} in "
                f"argument {place}", "bind what is no entry with functools.partial",
            )  # fmt: skip
    with x64():
        try:
            abstract = [jax.ShapeDtypeStruct(leaf.shape, _wide(leaf.dtype)) for leaf in leaves]
            program = jaxprs.attempt(as_jax(f, at, 0), abstract)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                "f", "a function that JAX can trace at `at`", describe_error(error), "check both"
            ) from error
        terms: list[Any] = [argument(place) for place in range(len(leaves))]
        if len(program.jaxpr.outvars) != 1:
            raise _no_core("f", f"{len(program.jaxpr.outvars)} values")
        (value,) = Reader(size).run(program, terms)
    shape = program.jaxpr.outvars[0].aval.shape
    if isinstance(value, Expression) and not (size == 1 or shape == leaves[0].shape):
        raise _no_core("f", f"a value of shape {shape} for entries of shape {leaves[0].shape}")
    core = value if isinstance(value, Core) else Core(value)
    if not depends(core.term):
        raise InputError("f", "a function of its first argument", "a constant", "use the argument")
    return core


def _as_array(place: int, value: Any) -> np.ndarray:
    leaves = jax.tree.leaves(value)
    if len(leaves) != 1:
        raise InputError(
            "at", "arrays, one for each argument", f"a structure of {len(leaves)} in argument "
            f"{place}", "write the loss as a function of one array",
        )  # fmt: skip
    try:
        array = np.asarray(leaves[0])
    except Exception as error:
        raise InputError("at", "numbers", describe_error(error), "pass arrays") from error
    if array.dtype == object or array.dtype.kind in "USO":
        raise InputError("at", "numbers", f"dtype {array.dtype}", "pass arrays of numbers")
    return array


def _wide(dtype: Any) -> Any:
    return np.dtype("float64") if jnp.issubdtype(dtype, jnp.floating) else dtype


def _no_core(where: str, got: str, remedy: str = "") -> InputError:
    return InputError(
        where, "one formula for every entry (or a sum or mean of it)", got,
        remedy or "repair the scalar function inside instead",
    )  # fmt: skip


class Reader:
    """Runs a program with terms in place of arrays."""

    def __init__(self, size: int):
        self.size = size

    def run(self, program: Any, operands: Sequence[Any]) -> list[Any]:
        """The outputs of a program at terms."""
        return jaxprs.run(program, operands, self.apply, self.constant)

    def constant(self, value: Any, aval: Any) -> Any:
        """A number as a term; an array only where all its entries are one number."""
        if not hasattr(aval, "dtype") or aval.dtype.kind not in "fiub":
            raise _no_core("f", f"a constant of dtype {getattr(aval, 'dtype', type(value))}")
        array = np.asarray(value)
        if array.size and (array == array.flat[0]).all():
            return constant(float(array.flat[0]))
        raise _no_core(
            "f", f"a captured array of shape {array.shape}", "pass the array as an argument"
        )

    def apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        """The outputs of one equation. Raises InputError for one that is no formula."""
        name, params = equation.primitive.name, equation.params
        if any(isinstance(operand, Core) for operand in operands):
            return [self.of_sum(equation, operands)]
        if name.startswith(RANDOM):
            raise InputError(
                "f", "a function without randomness", f"random numbers ({_place(equation)})",
                "draw them outside, and pass them as an argument",
            )  # fmt: skip
        if name in STEPS:
            raise InputError(
                "f", "a smooth formula", f"'{name}', which jumps ({_place(equation)})",
                "repair the smooth part alone",
            )  # fmt: skip
        shapes = [getattr(atom.aval, "shape", ()) for atom in equation.outvars]
        sizes = {int(np.prod(shape)) for shape in shapes}
        if name == "reduce_sum" and self.size > 1 and sizes == {1}:
            return [Core(operands[0], is_sum=True)]
        if name == "reduce_sum" and self.size == 1:
            return [operands[0]]
        if not sizes <= {1, self.size}:
            raise _no_core("f", f"entries that meet in '{name}' ({_place(equation)})")
        if name in SAME_ENTRIES:
            return [operands[0]]
        if name in DIRECT:
            return [DIRECT[name](*operands)]
        if name in COMPARISONS or SAME_FUNCTION.get(name, name) in FUNCTIONS:
            return [function(SAME_FUNCTION.get(name, name), *operands)]
        if name == "integer_pow":
            return [operands[0] ** params["y"]]
        if name == "pow":
            base, exponent = operands
            simple = is_number(exponent) and exponent.value.denominator <= 2
            return [base**exponent.value if simple else function("power", base, exponent)]
        if name == "select_n" and len(operands) == 3:
            return [where(operands[0], operands[2], operands[1])]
        if name in jaxprs.ENTERED:
            try:
                outputs = jaxprs.enter(equation, operands, self.run)
            except TypeError:  # a loop or a branch over what is not a number
                outputs = None
            if outputs is not None:
                return outputs
        raise _no_core("f", f"'{name}' ({_place(equation)})")

    def of_sum(self, equation: Any, operands: list[Any]) -> Any:
        """What may be done to a sum: multiples of it, by constants."""
        name = equation.primitive.name
        if name in SAME_ENTRIES:
            return operands[0]
        if name == "neg":
            return replace(operands[0], scale=-operands[0].scale)
        if name in ("mul", "div"):
            first, second = operands
            if name == "mul" and isinstance(first, Expression):
                first, second = second, first
            if isinstance(second, Expression) and is_number(second):
                factor = second.value if name == "mul" else 1 / second.value
                return replace(first, scale=first.scale * factor)
        if name in jaxprs.ENTERED:
            outputs = jaxprs.enter(equation, operands, self.run)
            if outputs is not None and len(outputs) == 1:
                return outputs[0]
        raise _no_core("f", f"'{name}' of a sum ({_place(equation)})")


def _place(equation: Any) -> str:
    return jaxprs.place_in_words(equation) or "in JAX"


def _either(a: Expression, b: Expression, op: str, strong: bool) -> Expression:
    """A conjunction or a disjunction; `strong` is the value of one side that decides."""
    for one, other in ((a, b), (b, a)):
        if one.op == "const":
            return constant(int(strong)) if bool(one.value) == strong else other
    return a if a is b else make(op, (a, b))
