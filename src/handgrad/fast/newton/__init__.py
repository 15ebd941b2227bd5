"""To the optimum by Newton's method, in few passes: what `fit` says, and each part in its file."""

from handgrad.fast.newton.optimum import Optimum, fit

__all__ = ["Optimum", "fit"]
