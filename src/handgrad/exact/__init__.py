"""Real arithmetic: any JAX function, evaluated over balls that contain the true value.

`evaluate` traces a function once and runs its program with `flint.arb` in place of floats, at a
precision that rises until the digits asked for are there: rigorous. `derivative` and `one_sided`
differentiate it from values alone, with none of JAX's derivative rules: estimates that say so.
The functions that end in `_jaxpr` take a program that is traced already, and flat arguments.

A real number has no dtype and no sign of zero: conversions between floats do nothing, a zero
counts as +0. `coverage` counts which of JAX's primitives have a rule, `approximations` names the
functions in a program that JAX itself only approximates.

>>> import jax
>>> print(evaluate(jax.grad(jax.nn.sigmoid), 17.0, digits=20)[()].str(20, radius=False))
4.1399373760035016377e-8
"""

from handgrad.errors import Undecided, UnsupportedPrimitive
from handgrad.exact.balls import ulp_ball
from handgrad.exact.derivative import (
    Derivative,
    derivative,
    derivative_jaxpr,
    one_sided,
    one_sided_jaxpr,
)
from handgrad.exact.evaluation import Traced, as_operand, evaluate, evaluate_jaxpr, trace
from handgrad.exact.interpreter import Coverage, Interpreter, approximations, coverage

__all__ = [
    "Coverage",
    "Derivative",
    "Interpreter",
    "Traced",
    "Undecided",
    "UnsupportedPrimitive",
    "approximations",
    "as_operand",
    "coverage",
    "derivative",
    "derivative_jaxpr",
    "evaluate",
    "evaluate_jaxpr",
    "one_sided",
    "one_sided_jaxpr",
    "trace",
    "ulp_ball",
]
