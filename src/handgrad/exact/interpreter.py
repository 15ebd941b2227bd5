"""Programs with balls in place of floats: which rule serves which equation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from handgrad import jaxprs
from handgrad.errors import Undecided, UnsupportedPrimitive
from handgrad.exact import (
    conversion,
    elementwise,
    linear_algebra,
    movement,
    reductions,
    special,
)
from handgrad.exact.balls import as_balls, kind, rounded_constant

Rules = Mapping[str, Callable[..., Any]]


def platform_index(*operands: Any, platforms: Any, **params: Any) -> np.ndarray:
    """Which of the alternatives for different devices applies: the one for a CPU, or for all."""
    for index, names in enumerate(platforms):
        if names is None or "cpu" in names:
            return np.asarray(index, dtype=np.int32)
    raise KeyError(f"no alternative for a CPU among {platforms}")


def ignored(*operands: Any, **params: Any) -> list[Any]:
    """A message to the user, such as `jax.debug.print`: no part of the value."""
    return []


RULES: dict[str, Callable[..., Any]] = {
    **movement.DIRECT,
    **movement.RULES,
    **elementwise.RULES,
    **special.RULES,
    **conversion.RULES,
    **reductions.RULES,
    **linear_algebra.RULES,
}
WITHOUT_REALS = {**movement.DIRECT, **conversion.INTEGER_RULES}
ALWAYS: Rules = {
    "debug_callback": ignored,
    "debug_print": ignored,
    "platform_index": platform_index,
}


def is_real(variable: Any) -> bool:
    """Whether a variable of a jaxpr holds real numbers."""
    return kind(getattr(variable.aval, "dtype", np.dtype(bool))) == "real"


class Interpreter:
    """Evaluates programs with one set of rules; holds nothing but converted constants.

    `constants="rounded"` gives the constants that fill their mantissa one ulp of radius.
    """

    def __init__(self, rules: Rules, constants: str = "exact"):
        self.rules = rules
        self._convert = as_balls if constants == "exact" else rounded_constant
        self._converted: dict[tuple[int, Any], tuple[Any, Any]] = {}

    def run(self, program: Any, operands: Sequence[Any]) -> list[Any]:
        """The outputs of a program at operands that are already balls or integers."""
        return jaxprs.run(program, operands, self.apply, self.constant)

    def constant(self, value: Any, aval: Any) -> Any:
        """A literal or constant in the dtype of its trace, as balls if it is real.

        Converted once: one object stands for one number.
        """
        if _is_key(value):
            return value
        name = (id(value), aval.dtype)
        known = self._converted.get(name)
        if known is None or known[0] is not value:
            typed = np.asarray(value, dtype=aval.dtype)
            ready = self._convert(typed) if kind(aval.dtype) == "real" else typed
            known = self._converted[name] = (value, ready)
        return known[1]

    def apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        """The outputs of one equation."""
        name = equation.primitive.name
        try:
            outputs = self._dispatch(name, equation, operands)
        except Undecided as undecided:
            if undecided.primitive is not None:
                raise
            where = jaxprs.source_location(equation)
            raise Undecided(undecided.reason, name, where) from None
        except UnsupportedPrimitive as unsupported:
            if unsupported.where is not None:
                raise
            where = jaxprs.source_location(equation)
            raise UnsupportedPrimitive(unsupported.primitive, unsupported.reason, where) from None
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]

    def _dispatch(self, name: str, equation: Any, operands: list[Any]) -> Any:
        params, primitive = equation.params, equation.primitive
        if name in self.rules:
            return self.rules[name](*operands, **params)
        if name in ALWAYS:
            return ALWAYS[name](*operands, **params)
        program = jaxprs.called_program(equation)
        if program is not None and jaxprs.library_function(program) in special.FUNCTIONS:
            return special.FUNCTIONS[jaxprs.library_function(program)](*operands)
        outputs = jaxprs.enter(equation, operands, self.run, _stacked, _selected)
        if outputs is not None:
            pairs = zip(outputs, equation.outvars, strict=True)
            return [as_balls(out) if is_real(variable) else out for out, variable in pairs]
        if not any(map(is_real, (*equation.invars, *equation.outvars))):
            return _without_reals(name, equation, operands)
        if name == "bitcast_convert_type":
            dtype = equation.invars[0].aval.dtype
            return conversion.bitcast_of(operands[0], dtype, params["new_dtype"])
        if name in RULES:
            return RULES[name](*operands, **params)
        if name in movement.MOVES:
            return movement.by_position(primitive, operands, params)
        raise UnsupportedPrimitive(name)


def _without_reals(name: str, equation: Any, operands: list[Any]) -> Any:
    if any(kind(v.aval.dtype) == "complex" for v in (*equation.invars, *equation.outvars)):
        raise UnsupportedPrimitive(name, "complex numbers are not covered")
    if name in WITHOUT_REALS and all(isinstance(x, np.ndarray) for x in operands):
        return WITHOUT_REALS[name](*operands, **equation.params)
    outputs = jaxprs.bind(equation, operands)
    return [out if _is_key(out) else np.asarray(out) for out in outputs]


def _stacked(rows: list[Any]) -> Any:
    return np.stack(rows) if isinstance(rows[0], np.ndarray) else jnp.stack(rows)  # random keys


def _selected(mask: np.ndarray, new: Any, old: Any) -> Any:
    if not isinstance(new, np.ndarray):
        return jaxprs.where(mask, new, old)
    return np.where(mask.reshape(mask.shape + (1,) * (new.ndim - mask.ndim)), new, old)


def _is_key(value: Any) -> bool:
    return not isinstance(getattr(value, "dtype", None), np.dtype | None)
