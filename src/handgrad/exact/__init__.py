"""Real arithmetic: any JAX function, evaluated over balls that contain the true value."""

from handgrad.exact.balls import ulp_ball
from handgrad.exact.derivative import Derivative, derivative, one_sided
from handgrad.exact.differences import derivative_jaxpr, one_sided_jaxpr
from handgrad.exact.errors import Undecided, UnsupportedPrimitive
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
