"""The training loop, compiled; update rules by hand; and the optax baseline in the same loop."""

from handgrad.train.evaluation import ParameterDifference, accuracy, parameter_difference
from handgrad.train.fitting import FitResult, History, Progress, fit
from handgrad.train.optax_baseline import OPTAX, baseline
from handgrad.train.optimizers import adam, momentum, sgd

__all__ = [
    "OPTAX",
    "FitResult",
    "History",
    "ParameterDifference",
    "Progress",
    "accuracy",
    "adam",
    "baseline",
    "fit",
    "momentum",
    "parameter_difference",
    "sgd",
]
