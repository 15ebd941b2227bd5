"""Real arithmetic: any JAX function, evaluated over balls that contain the true value.

`evaluate` traces a function once and runs its program with `flint.arb` in place of floats, at a
precision that rises until the digits asked for are there: rigorous. `derivative` and `one_sided`
differentiate it from values alone, with none of JAX's derivative rules: estimates that say so.
The functions that end in `_jaxpr` take a program that is traced already, and flat arguments.

A real number has no dtype and no sign of zero: conversions between floats do nothing, a zero
counts as +0. `limits.py` lists what cannot be done.

>>> import jax
>>> print(evaluate(jax.grad(jax.nn.sigmoid), 17.0, digits=20)[()].str(20, radius=False))
4.1399373760035016377e-8
"""

from handgrad.errors import Undecided, UnsupportedPrimitive
from handgrad.exact.balls import ulp_ball
from handgrad.exact.derivative import Derivative, derivative, one_sided
from handgrad.exact.differences import derivative_jaxpr, one_sided_jaxpr
from handgrad.exact.evaluation import Traced, evaluate, evaluate_jaxpr, trace

__all__ = [
    "Derivative",
    "Traced",
    "Undecided",
    "UnsupportedPrimitive",
    "derivative",
    "derivative_jaxpr",
    "evaluate",
    "evaluate_jaxpr",
    "one_sided",
    "one_sided_jaxpr",
    "trace",
    "ulp_ball",
]
