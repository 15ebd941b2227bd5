"""The derivations, as numbered lines that run: the only place where one is written.

Each line has a formula, a reason and a value; `check` holds it, in exact arithmetic, to the line
before it. The first line of a gradient is the definition of the derivative, taken from the loss's
values; the last is what `gradients/` computes. One file is one topic, to be read as a page; the
tools beside them are in `steps` and `checking`.

>>> [step.reason for step in derivation("log_sigmoid").steps][1:3]
['chain rule; log′u = 1/u', 'σ′ = σ(1 − σ)']
"""

from handgrad._checks import find_named
from handgrad.derivations import (
    bernoulli,
    categorical,
    linear_cross_entropy,
    logistic,
    mlp,
    perceptron,
    residual,
    sigmoid,
    softmax,
    softmax_regression,
)
from handgrad.derivations.checking import Checked, CheckedLine, check
from handgrad.derivations.latex import as_latex
from handgrad.derivations.steps import Derivation, Limit, Step

__all__ = [
    "DERIVATIONS",
    "Checked",
    "CheckedLine",
    "Derivation",
    "Limit",
    "Step",
    "as_latex",
    "check",
    "derivation",
]

DERIVATIONS: tuple[Derivation, ...] = (
    bernoulli.TRIAL,
    bernoulli.LIKELIHOOD,
    bernoulli.LOG_LIKELIHOOD,
    bernoulli.NEGATIVE_LOG_LIKELIHOOD,
    bernoulli.CROSS_ENTROPY,
    bernoulli.FROM_PROBABILITIES,
    residual.SCALED_SQUARE,
    sigmoid.STEP,
    sigmoid.SYMMETRY,
    sigmoid.SIGMOID,
    sigmoid.SOFTPLUS,
    sigmoid.LOG_SIGMOID,
    sigmoid.TANH,
    sigmoid.RELU,
    residual.RESIDUAL,
    residual.FROM_LOGITS,
    residual.LABEL,
    residual.THROUGH_A_SIGMOID,
    softmax.TWO_CLASSES,
    softmax.JACOBIAN,
    softmax.LOGSUMEXP,
    softmax.SOFTMAX,
    softmax.LOG_SOFTMAX,
    categorical.CROSS_ENTROPY,
    categorical.RESIDUAL,
    categorical.INDEXED,
    categorical.LABEL,
    categorical.FROM_PROBABILITIES,
    logistic.LOGISTIC,
    logistic.LOGISTIC_L2,
    logistic.DESCENT,
    logistic.HESSIAN,
    logistic.HVP,
    logistic.CONVEXITY,
    softmax_regression.SOFTMAX_REGRESSION,
    softmax_regression.SOFTMAX_REGRESSION_L2,
    softmax_regression.HVP,
    perceptron.PERCEPTRON,
    mlp.TANH,
    mlp.SIGMOID,
    mlp.RELU,
    linear_cross_entropy.LINEAR_CROSS_ENTROPY,
)
"""In the order of a book: probabilities, functions, losses, models."""


def derivation(name: str) -> Derivation:
    """The derivation called `name`; raises InputError, with the closest names, if there is none."""
    return find_named(DERIVATIONS, name, "derivation", "the name of one of the derivations")
