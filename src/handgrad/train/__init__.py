"""The training loop, compiled; update rules by hand; and the optax baseline in the same loop.

The files build on each other in this order: `batches` (what a step sees), `optimizers` (what it
computes), `log` (what is reported), `loop` (steps, chunks, the run), `api` (`fit`), `streaming`
(`fit_stream`), `many` (`fit_many`), `saved` (a model in a file), `comparison` (hand beside optax,
and what a practitioner asks of a result).
"""

from handgrad.train.api import FitResult, accuracy, fit
from handgrad.train.log import History, Progress, RunLog
from handgrad.train.many import ManyResult, Setting, fit_many, folds
from handgrad.train.optimizers import OPTAX, adam, baseline, momentum, sgd
from handgrad.train.streaming import fit_stream, newton_stream

__all__ = [
    "OPTAX",
    "FitResult",
    "History",
    "ManyResult",
    "Progress",
    "RunLog",
    "Setting",
    "accuracy",
    "adam",
    "baseline",
    "fit",
    "fit_many",
    "fit_stream",
    "folds",
    "momentum",
    "newton_stream",
    "sgd",
]
