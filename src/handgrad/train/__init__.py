"""The training loop, compiled; update rules by hand; and the optax baseline in the same loop."""

from handgrad.train.distributed import together
from handgrad.train.evaluation import ParameterDifference, accuracy, parameter_difference
from handgrad.train.fitting import FitResult, fit
from handgrad.train.grid import Setting, folds
from handgrad.train.many import ManyResult, fit_many
from handgrad.train.optax_baseline import OPTAX, baseline
from handgrad.train.optimizers import adam, momentum, sgd
from handgrad.train.running import History, Progress
from handgrad.train.stream_fitting import fit_stream
from handgrad.train.stream_newton import newton_stream

__all__ = [
    "OPTAX",
    "FitResult",
    "History",
    "ManyResult",
    "ParameterDifference",
    "Progress",
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
    "parameter_difference",
    "sgd",
    "together",
]
