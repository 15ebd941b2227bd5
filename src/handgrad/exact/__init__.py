"""Real arithmetic: any JAX function, evaluated over balls that contain the true value."""

from handgrad.exact.errors import Undecided, UnsupportedPrimitive
from handgrad.exact.evaluation import Traced, evaluate, evaluate_jaxpr, trace

__all__ = [
    "Traced",
    "Undecided",
    "UnsupportedPrimitive",
    "evaluate",
    "evaluate_jaxpr",
    "trace",
]
