"""Programs with balls in place of floats: which rule serves which equation, and which have none.

A program can be evaluated exactly and still not be the function of its name: JAX traces some
functions as approximations made for float64 (a polynomial, a truncated series). The balls enclose
what was traced, and stand next to the mathematical function, at a relative distance near 1e-15.
`approximations` finds those in a program.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad

from handgrad import jaxprs
from handgrad.errors import Undecided, UnsupportedPrimitive
from handgrad.exact import (
    complex_numbers,
    elementwise,
    linear_algebra,
    movement,
    reductions,
    special,
)
from handgrad.exact.balls import as_balls, kind, rounded_constant

Rules = Mapping[str, Callable[..., Any]]

watch: ContextVar[Callable[[], None]] = ContextVar("watch", default=lambda: None)
"""Called before each equation: whoever waits may say how far it is, or raise to give up."""


def platform_index(*operands: Any, platforms: Any, **params: Any) -> np.ndarray:
    """Which of the alternatives for different devices applies: the one for a CPU, or for all."""
    for index, names in enumerate(platforms):
        if names is None or "cpu" in names:
            return np.asarray(index, dtype=np.int32)
    raise KeyError(f"no alternative for a CPU among {platforms}")


def ignored(*operands: Any, **params: Any) -> list[Any]:
    """A message to the user, such as `jax.debug.print`, and what else is no part of the value."""
    return []


RULES: dict[str, Callable[..., Any]] = {
    **movement.DIRECT,
    **movement.COLLECTIVES,
    **movement.RULES,
    **elementwise.RULES,
    **special.RULES,
    **reductions.RULES,
    **linear_algebra.RULES,
}
COMPLEX_RULES: dict[str, Callable[..., Any]] = {
    **movement.DIRECT,
    **{name: RULES[name] for name in complex_numbers.SHARED},
    "eig": linear_algebra.eig,
    **complex_numbers.RULES,
}
WITHOUT_REALS = {**movement.DIRECT, **elementwise.INTEGER_RULES}
# Whatever their operands hold.
ALWAYS: Rules = {
    **movement.REFERENCES,
    "check": ignored,
    "dce_sink": ignored,
    "inspect_sharding": ignored,
    "debug_callback": ignored,
    "debug_print": ignored,
    "platform_index": platform_index,
}

WITHOUT_A_RULE: dict[str, str] = {
    "custom_call": "a program that JAX cannot see into",
    "ffi_call": "a program that JAX cannot see into",
    "io_callback": "a program that JAX cannot see into",
    "nextafter": "real numbers have no next one",
    "pallas_call": "a kernel for one kind of device",
    "pure_callback": "a program that JAX cannot see into",
    "ragged_all_to_all": "a program for several devices",
    "shard_map": "a program for several devices: judge it on a mesh of one",
}
"""Primitives that exact evaluation leaves alone, and why."""


BOUND = frozenset({
    "and", "clz", "from_edtype", "mulhi", "not", "or", "population_count", "random_bits",
    "random_fold_in", "random_seed", "random_split", "random_unwrap", "random_wrap", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "to_edtype", "xor",
})  # fmt: skip
"""Primitives of integers and random keys alone: JAX itself computes them."""

BY_HAND = frozenset({"bitcast_convert_type", "random_gamma", "shard_map"})
"""Primitives that the interpreter itself has a rule for."""

HOLD_PROGRAMS = frozenset({
    "custom_jvp_call", "call_hi_primitive", "shard_map",
    *jaxprs.ENTERED, *jaxprs.WRITTEN_OUT, *reductions.PROGRAM_RULES,
})  # fmt: skip
"""Primitives that hold programs, or stand for one."""

TABLES = (RULES, COMPLEX_RULES, ALWAYS, reductions.PROGRAM_RULES, movement.MOVES, BOUND, BY_HAND)


def has_rule(name: str) -> bool:
    """Whether a primitive of this name is evaluated, in some use of it at least.

    >>> has_rule("add"), has_rule("nextafter")
    (True, False)
    """
    return name in jaxprs.ENTERED | jaxprs.WRITTEN_OUT or any(name in table for table in TABLES)


def holds_balls(variable: Any) -> bool:
    """Whether a variable of a jaxpr holds real or complex numbers."""
    return kind(getattr(variable.aval, "dtype", np.dtype(bool))) != "discrete"


class Interpreter:
    """Evaluates programs with one set of rules; holds nothing but converted constants.

    `constants="rounded"` gives the constants that fill their mantissa one ulp of radius.
    """

    def __init__(self, rules: Rules, constants: str = "exact"):
        self.rules = rules
        self._convert = as_balls if constants == "exact" else rounded_constant
        self._converted: dict[tuple[int, Any], tuple[Any, Any]] = {}
        self._watch = watch.get()

    @property
    def blurred(self) -> bool:
        """Whether a constant met so far got a radius."""
        ready = [ready for _, ready in self._converted.values() if ready.dtype == object]
        return not all(part.is_exact() for array in ready for part in array.ravel())

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
            ready = self._convert(typed) if kind(aval.dtype) != "discrete" else typed
            known = self._converted[name] = (value, ready)
        return known[1]

    def apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        """The outputs of one equation."""
        name = equation.primitive.name
        self._watch()
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
        params = equation.params
        for rules in (self.rules, ALWAYS):
            if name in rules:
                return rules[name](*operands, **params)
        outputs = self._enter(name, equation, operands) if name in HOLD_PROGRAMS else None
        if outputs is not None:
            pairs = zip(outputs, equation.outvars, strict=True)
            return [_as_balls(out) if holds_balls(variable) else out for out, variable in pairs]
        kinds = {kind(v.aval.dtype) for v in (*equation.invars, *equation.outvars)}
        if kinds <= {"discrete"}:
            return _without_reals(name, equation, operands)
        if name == "bitcast_convert_type":
            dtype = equation.invars[0].aval.dtype
            return elementwise.bitcast_of(operands[0], dtype, params["new_dtype"])
        if name == "random_gamma":
            return _random_gamma(equation, operands)
        table = COMPLEX_RULES if "complex" in kinds else RULES
        if name in table:
            return table[name](*operands, **params)
        if name in movement.MOVES:
            return movement.by_position(equation.primitive, operands, params)
        missing = "of complex numbers" if "complex" in kinds else ""
        raise UnsupportedPrimitive(name, WITHOUT_A_RULE.get(name, missing))

    def _enter(self, name: str, equation: Any, operands: list[Any]) -> list[Any] | None:
        """The outputs of an equation that holds programs, or stands for one; else None."""
        # a call of a derivative keeps the name of its function, but is of neither kind
        whole = name in ("custom_jvp_call", "call_hi_primitive")
        if whole or (name in jaxprs.CALLS and not any(map(holds_balls, equation.outvars))):
            rule = special.FUNCTIONS.get(jaxprs.library_function(equation))
            if rule is not None:
                outputs = rule(*operands)
                return outputs if isinstance(outputs, list) else [outputs]
        if name in reductions.PROGRAM_RULES:
            return reductions.PROGRAM_RULES[name](self.run, *operands, **equation.params)
        if name in jaxprs.WRITTEN_OUT:
            program = jaxprs.written_out(equation)
            return None if program is None else self.run(program, operands)
        if name == "shard_map" and equation.params["mesh"].size == 1:
            return self.run(equation.params["jaxpr"], operands)
        return jaxprs.enter(equation, operands, self.run)


def _without_reals(name: str, equation: Any, operands: list[Any]) -> Any:
    if name in WITHOUT_REALS and all(isinstance(x, np.ndarray) for x in operands):
        return WITHOUT_REALS[name](*operands, **equation.params)
    if name in WITHOUT_A_RULE:
        raise UnsupportedPrimitive(name, WITHOUT_A_RULE[name])
    outputs = jaxprs.bind(equation, operands)
    return [out if _is_key(out) else np.asarray(out) for out in outputs]


def _random_gamma(equation: Any, operands: list[Any]) -> Any:
    """The draw of JAX, at shape parameters that are floats: a constant, like any random number.

    At other real numbers there is no draw. What JAX calls its derivative is that of a quantile.
    """
    keys, shapes = operands
    dtype = equation.invars[1].aval.dtype
    try:
        numbers = [elementwise.as_float(ball, dtype) for ball in shapes.ravel()]
    except Undecided:
        reason = "a draw is a constant, and has no derivative in its shape parameter"
        raise UnsupportedPrimitive("random_gamma", reason) from None
    floats = np.reshape(numbers, shapes.shape).astype(dtype)
    return [as_balls(draw) for draw in jaxprs.bind(equation, [keys, jnp.asarray(floats)])]


def _as_balls(value: Any) -> Any:
    return value if isinstance(value, movement.Reference) else as_balls(value)


def _is_key(value: Any) -> bool:
    return not isinstance(getattr(value, "dtype", None), np.dtype | None)


# --- what is covered, and what JAX only approximates ----------------------------------------------

APPROXIMATED_BY_JAX: dict[str, str] = {
    "jax.scipy.special.bernoulli": "a table of float64 numbers",
    "jax.scipy.special.dawsn": "rational approximations",
    "jax.scipy.special.erfcx, its gradient": "rational approximations beside the exact value",
    "jax.scipy.special.exp1": "rational approximations, a series that stops at 2^-53",
    "jax.scipy.special.expi": "rational approximations",
    "jax.scipy.special.expn": "a series and a continued fraction that stop at 2^-53",
    "jax.scipy.special.fresnel": "rational approximations",
    "jax.scipy.special.hyp1f1": "a series that stops at 2^-53",
    "jax.scipy.special.hyp2f1": "a series that stops at 2^-53",
    "jax.scipy.special.log_ndtr, below -20": "the first terms of an asymptotic series",
    "jax.scipy.special.ndtri": "rational approximations",
    "jax.scipy.special.owens_t": "a quadrature rule with fixed nodes",
    "jax.scipy.special.sici": "rational approximations",
    "jax.scipy.special.spence": "rational approximations; jax.grad gives NaN above 1",
    "jax.scipy.special.zeta, its gradient": "the first terms of the Euler-Maclaurin series",
    "jax.scipy.stats.norm.ppf, isf": "rational approximations",
    "jax.scipy.stats.poisson.entropy": "a truncated sum, and an asymptotic series",
    "jax.scipy.linalg.expm": "a Padé approximant with scaling",
}
"""The functions of JAX that are approximations, and of what kind."""


def approximations(program: jaxprs.Program) -> dict[str, str]:
    """The entries of APPROXIMATED_BY_JAX that a program was traced from.

    >>> import jax
    >>> list(approximations(jax.make_jaxpr(jax.scipy.special.ndtri)(0.3)))
    ['jax.scipy.special.ndtri']
    """
    frames = {
        frame.replace("third_party.", "")
        for equation in jaxprs.equations(program)
        for frame in jaxprs.library_frames(equation)
    }
    found = {}
    for entry, by_what in APPROXIMATED_BY_JAX.items():
        module, _, function = entry.split(",")[0].rpartition(".")
        # the helpers of a function begin with its name
        if f"{module}.{function}" in frames or any(
            frame.startswith(f"{module}._{function}") for frame in frames
        ):
            found[entry] = by_what
    return found


class Coverage(NamedTuple):
    """How many of JAX's differentiable primitives have a rule, and which have not."""

    covered: int
    total: int
    missing: tuple[str, ...]

    def __str__(self) -> str:
        missing = ", ".join(self.missing)
        return (
            f"{self.covered} of {self.total} differentiable primitives; without a rule: {missing}"
        )


def coverage() -> Coverage:
    """The primitives that JAX can differentiate or transpose, held against the rules here.

    >>> coverage().covered >= 200
    True
    """
    importlib.import_module("jax.experimental.sparse")  # registers its primitives
    names = sorted({p.name for p in (*ad.primitive_jvps, *ad.primitive_transposes)})
    missing = tuple(name for name in names if not has_rule(name))
    return Coverage(len(names) - len(missing), len(names), missing)
