"""To the optimum by Newton's method, in few passes over the data: logistic and softmax regression.

`api` is what a caller sees; `objective` evaluates E, `descent` takes the steps.
"""

from handgrad.fast.newton.api import Optimum, fit, fit_blocks
from handgrad.fast.newton.objective import Blocks

__all__ = ["Blocks", "Optimum", "fit", "fit_blocks"]
