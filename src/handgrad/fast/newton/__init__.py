"""To the optimum by Newton's method, in few passes over the data: logistic and softmax regression.

`api` is what a caller sees; `rows` and `objective` evaluate E, `hessian` and `descent` take the
steps.
"""

from handgrad.fast.newton.api import Optimum, fit, fit_blocks
from handgrad.fast.newton.rows import Blocks

__all__ = ["Blocks", "Optimum", "fit", "fit_blocks"]
