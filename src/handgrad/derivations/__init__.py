"""The derivations, as numbered lines that run: the only place where one is written.

Each line has a formula, a reason and a value; `check` holds it, in exact arithmetic, to the line
before it. The first line of a gradient is the definition of the derivative, taken from the loss's
values; the last is what `gradients/` computes. One file is one topic, to be read as a page; the
tools beside them are in `steps` and `checking`.

>>> [step.reason for step in derivation("log_sigmoid").steps][1:3]
['chain rule; log′u = 1/u', 'σ′ = σ(1 − σ)']
"""

from handgrad._checks import find_named
from handgrad.derivations import binary, linear_models, networks, sigmoid, softmax
from handgrad.derivations.checking import Checked, CheckedLine, check
from handgrad.derivations.latex import as_latex
from handgrad.derivations.steps import Derivation, Limit, Step

__all__ = [
    "DERIVATIONS", "Checked", "CheckedLine", "Derivation", "Limit", "Step", "as_latex", "check",
    "derivation",
]  # fmt: skip

DERIVATIONS: tuple[Derivation, ...] = (
    binary.TRIAL, binary.LIKELIHOOD, binary.LOG_LIKELIHOOD, binary.NEGATIVE_LOG_LIKELIHOOD,
    binary.CROSS_ENTROPY, binary.FROM_PROBABILITIES, binary.SCALED_SQUARE,
    sigmoid.STEP, sigmoid.SYMMETRY, sigmoid.SIGMOID, sigmoid.SOFTPLUS, sigmoid.LOG_SIGMOID,
    sigmoid.TANH, sigmoid.RELU,
    binary.RESIDUAL, binary.FROM_LOGITS, binary.LABEL, binary.THROUGH_A_SIGMOID,
    softmax.TWO_CLASSES, softmax.JACOBIAN, softmax.LOGSUMEXP, softmax.SOFTMAX, softmax.LOG_SOFTMAX,
    softmax.CROSS_ENTROPY, softmax.RESIDUAL, softmax.INDEXED, softmax.LABEL,
    softmax.FROM_PROBABILITIES,
    linear_models.LOGISTIC, linear_models.LOGISTIC_L2, linear_models.DESCENT,
    linear_models.HESSIAN, linear_models.HVP, linear_models.CONVEXITY,
    linear_models.SOFTMAX_REGRESSION, linear_models.SOFTMAX_REGRESSION_L2,
    linear_models.SOFTMAX_HVP, linear_models.PERCEPTRON,
    networks.TANH, networks.SIGMOID, networks.RELU, networks.LINEAR_CROSS_ENTROPY,
)  # fmt: skip
"""In the order of a book: probabilities, functions, losses, models."""


def derivation(name: str) -> Derivation:
    """The derivation called `name`; raises InputError, with the closest names, if there is none."""
    return find_named(DERIVATIONS, name, "derivation", "the name of one of the derivations")
