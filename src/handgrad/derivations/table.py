"""The table of derivations, in the order of a book: probabilities, functions, losses, models."""

import difflib

from handgrad.derivations import (
    activations,
    bernoulli,
    categorical,
    curvature,
    descent,
    genesis,
    likelihood,
    linear_cross_entropy,
    logistic,
    networks,
    perceptron,
    residual,
    sigmoid,
    softmax,
    softmax_curvature,
    softmax_products,
    softmax_regression,
    squared_error,
)
from handgrad.derivations.steps import Derivation
from handgrad.errors import InputError

DERIVATIONS: tuple[Derivation, ...] = (
    bernoulli.TRIAL,
    likelihood.LIKELIHOOD,
    likelihood.LOG_LIKELIHOOD,
    likelihood.NEGATIVE_LOG_LIKELIHOOD,
    genesis.BINARY,
    bernoulli.FROM_PROBABILITIES,
    squared_error.SCALED_SQUARE,
    sigmoid.STEP,
    sigmoid.SYMMETRY,
    sigmoid.SIGMOID,
    sigmoid.SOFTPLUS,
    sigmoid.LOG_SIGMOID,
    activations.TANH,
    activations.RELU,
    residual.RESIDUAL,
    residual.FROM_LOGITS,
    residual.LABEL,
    squared_error.THROUGH_A_SIGMOID,
    softmax.TWO_CLASSES,
    softmax.JACOBIAN,
    softmax.LOGSUMEXP,
    softmax_products.SOFTMAX,
    softmax_products.LOG_SOFTMAX,
    genesis.CATEGORICAL,
    categorical.RESIDUAL,
    categorical.INDEXED,
    categorical.LABEL,
    categorical.FROM_PROBABILITIES,
    logistic.LOGISTIC,
    logistic.LOGISTIC_L2,
    descent.DESCENT,
    curvature.HESSIAN,
    curvature.HVP,
    curvature.CONVEXITY,
    softmax_regression.SOFTMAX_REGRESSION,
    softmax_regression.SOFTMAX_REGRESSION_L2,
    softmax_curvature.HVP,
    perceptron.PERCEPTRON,
    networks.TANH,
    networks.SIGMOID,
    networks.RELU,
    linear_cross_entropy.LINEAR_CROSS_ENTROPY,
)


def derivation(name: str) -> Derivation:
    """The derivation called `name`; raises InputError, with the closest names, if there is none."""
    for entry in DERIVATIONS:
        if entry.name == name:
            return entry
    close = difflib.get_close_matches(name, [entry.name for entry in DERIVATIONS]) or ["logistic"]
    raise InputError(
        "derivation", "the name of one of the derivations", repr(name), f"try {', '.join(close)}"
    )
