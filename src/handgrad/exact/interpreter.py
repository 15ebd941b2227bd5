"""The walk over a jaxpr's equations with balls in place of floats."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from handgrad.errors import Undecided, UnsupportedPrimitive
from handgrad.exact import (
    control,
    conversion,
    elementwise,
    indexing,
    integers,
    linear_algebra,
    movement,
    reductions,
    special,
    windows,
)
from handgrad.exact.balls import as_balls, kind, rounded_constant

RULES: dict[str, Callable[..., Any]] = {
    **movement.DIRECT,
    **elementwise.RULES,
    **special.RULES,
    **conversion.RULES,
    **indexing.RULES,
    **reductions.RULES,
    **linear_algebra.RULES,
    **windows.RULES,
}


def place_of(equation: Any) -> str:
    """The line of the user's code that an equation comes from, or the equation itself."""
    traceback = getattr(equation.source_info, "traceback", None)
    for frame in traceback.frames if traceback else ():
        path = frame.file_name.replace("\\", "/")
        inside = ("/jax/", "/jaxlib/", "/handgrad/exact/", "/importlib/")
        if not any(part in path for part in inside) and not path.startswith("<frozen"):
            return f"{path}:{frame.line_num} in {frame.function_name}"
    return " ".join(str(equation).split())[:120]


def is_real(variable: Any) -> bool:
    """Whether a variable of a jaxpr holds real numbers."""
    return kind(getattr(variable.aval, "dtype", np.dtype(bool))) == "real"


class Interpreter:
    """Evaluates programs with one set of rules; holds nothing but converted constants.

    `constants="rounded"` gives the constants that fill their mantissa one ulp of radius.
    """

    def __init__(self, rules: Mapping[str, Callable[..., Any]], constants: str = "exact"):
        self.rules = rules
        self._convert = as_balls if constants == "exact" else rounded_constant
        self._converted: dict[int, tuple[Any, Any]] = {}

    def constant(self, value: Any, real: bool) -> Any:
        """A literal or constant as balls (or as it is), converted once: one object, one number."""
        known = self._converted.get(id(value))
        if known is None or known[0] is not value:
            plain = value if _is_key(value) else np.asarray(value)
            ready = self._convert(plain) if real else plain
            known = self._converted[id(value)] = (value, ready)
        return known[1]

    def literal(self, literal: Literal) -> Any:
        """A literal, in the dtype that the trace gave it."""
        known = self._converted.get(id(literal))
        if known is None or known[0] is not literal:
            typed = np.asarray(literal.val, dtype=literal.aval.dtype)  # type: ignore[attr-defined]
            ready = self._convert(typed) if is_real(literal) else typed
            known = self._converted[id(literal)] = (literal, ready)
        return known[1]

    def run(self, program: Any, operands: list[Any]) -> list[Any]:
        """The outputs of a (closed) jaxpr at operands that are already balls or integers."""
        if isinstance(program, ClosedJaxpr) or hasattr(program, "consts"):
            jaxpr, consts = program.jaxpr, program.consts
        else:
            jaxpr, consts = program, ()
        values: dict[Any, Any] = {}
        for variable, const in zip(jaxpr.constvars, consts, strict=True):
            values[variable] = self.constant(const, is_real(variable))
        values.update(zip(jaxpr.invars, operands, strict=True))

        def read(atom: Any) -> Any:
            return self.literal(atom) if isinstance(atom, Literal) else values[atom]

        for equation in jaxpr.eqns:
            outputs = self.apply(equation, [read(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        """The outputs of one equation."""
        name = equation.primitive.name
        try:
            outputs = self._dispatch(name, equation, operands)
        except Undecided as undecided:
            if undecided.primitive is not None:
                raise
            raise Undecided(undecided.reason, name, place_of(equation)) from None
        except UnsupportedPrimitive as unsupported:
            if unsupported.where is not None:
                raise
            where = place_of(equation)
            raise UnsupportedPrimitive(unsupported.primitive, unsupported.reason, where) from None
        if not isinstance(outputs, list | tuple):
            return [outputs]
        return list(outputs)

    def _dispatch(self, name: str, equation: Any, operands: list[Any]) -> Any:
        params, primitive = equation.params, equation.primitive
        if name in self.rules:
            return self.rules[name](*operands, **params)
        if name in control.RULES:
            return control.RULES[name](self.run, *operands, **params)
        if not any(map(is_real, (*equation.invars, *equation.outvars))):
            return self._without_reals(name, equation, operands)
        if name == "bitcast_convert_type":
            dtype = equation.invars[0].aval.dtype
            return conversion.bitcast_of(operands[0], dtype, params["new_dtype"])
        if name in RULES:
            return RULES[name](*operands, **params)
        if name in movement.MOVES:
            return movement.by_position(primitive, operands, params)
        raise UnsupportedPrimitive(name)

    def _without_reals(self, name: str, equation: Any, operands: list[Any]) -> Any:
        if any(kind(v.aval.dtype) == "complex" for v in (*equation.invars, *equation.outvars)):
            raise UnsupportedPrimitive(name, "complex numbers are not covered")
        if name in integers.RULES and all(isinstance(x, np.ndarray) for x in operands):
            return integers.RULES[name](*operands, **equation.params)
        outputs = equation.primitive.bind(*operands, **equation.params)
        if not equation.primitive.multiple_results:
            outputs = [outputs]
        return [out if _is_key(out) else np.asarray(out) for out in outputs]


def _is_key(value: Any) -> bool:
    return not isinstance(getattr(value, "dtype", None), np.dtype | None)
