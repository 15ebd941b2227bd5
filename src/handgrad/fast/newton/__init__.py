"""To the optimum by Newton's method, in few passes: what `fit` says, and each part in its file."""

from handgrad.fast.newton.optimum import fit, fit_blocks
from handgrad.fast.newton.parted import Blocks
from handgrad.fast.newton.result import Optimum

__all__ = ["Blocks", "Optimum", "fit", "fit_blocks"]
