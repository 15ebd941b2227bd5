"""What the notes print, as functions: taken at the letter where the letter is what is wrong.

Gradients seen wrong elsewhere too are in `wrong_binary`. Code is given as source, since some of
what is printed cannot even be compiled; it is written here in other words than there.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.judge.wrong_binary import binary_data, right
from handgrad._types import Array
from handgrad.gradients import bernoulli, logistic
from handgrad.gradients.linear import Params, affine, affine_pullback
from handgrad.gradients.sigmoid import sigmoid


def params_of(weight: Any, bias: Any) -> Params:
    """Parameters as NumPy holds them, in float64 though JAX may not have it."""
    return Params(weight, bias)


def data() -> tuple:
    """Parameters, twelve points of three features and their labels, as float64 arrays."""
    params, x, y = binary_data(jax.random.key(0))
    weight, bias, x, y = (np.asarray(a, np.float64) for a in (*params, x, y))
    return params_of(weight, bias), x, y


# --- cross-entropy --------------------------------------------------------------------------------


def bracketed(p: Array, y: Array) -> Array:
    """−Σ [y ln p + (1−y) ln(1−p)]: the minus sign and the sum hold both terms."""
    return -jnp.sum(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))


def unbracketed(p: Array, y: Array) -> Array:
    """−Σ y ln p + Σ (1−y) ln(1−p): the minus sign holds the first term alone."""
    return -jnp.sum(y * jnp.log(p)) + jnp.sum((1 - y) * jnp.log(1 - p))


def bracketed_gradient(p: Array, y: Array) -> Array:
    """The derivative in p of the formula with its brackets."""
    return -y / p + (1 - y) / (1 - p)


def unbracketed_gradient(p: Array, y: Array) -> Array:
    """The derivative in p of the formula as printed."""
    return -y / p - (1 - y) / (1 - p)


def of_each_point(y: Array, p: Array) -> Array:
    """−y ln ŷ − (1−y) ln(1−ŷ)."""
    return -y * jnp.log(p) - (1 - y) * jnp.log(1 - p)


def mean_over_points(params: Params, x: Array, y: Array) -> Array:
    """−(1/m) Σ [(1−y) ln(1−σ(Wx+b)) + y ln σ(Wx+b)]."""
    p = 1 / (1 + jnp.exp(-(jnp.sum(x * params.weight[None, :], axis=1) + params.bias[None])))
    return jnp.mean(of_each_point(y, p))


def mean_log_likelihood_gradient(p: Array, y: Array) -> Array:
    """The gradient of (1/n) log L, without a minus sign."""
    return bernoulli.log_likelihood_gradient(p, y) / p.shape[0]


def mean_negative_log_likelihood_gradient(p: Array, y: Array) -> Array:
    """The gradient of −(1/n) log L."""
    return -mean_log_likelihood_gradient(p, y)


# --- gradients ------------------------------------------------------------------------------------


def misplaced_bracket(params: Params, x: Array, y: Array) -> Params:
    """−(y − ŷ x₁) for the first weight, −(y − ŷ) xᵢ for the others and −(y − ŷ) for the bias."""
    p = sigmoid(affine(params, x))
    g = affine_pullback((p - y) / x.shape[0], x)
    return g._replace(weight=g.weight.at[0].set(-jnp.mean(y - p * x[:, 0])))


def bias_with_both_faults(params: Params, x: Array, y: Array) -> Params:
    """The bias moved by (y + ŷ) x₁: the sign of the prediction, and a feature too many."""
    p = sigmoid(affine(params, x))
    return right(params, x, y)._replace(bias=-jnp.mean((y + p) * x[:, 0]))


def bias_in_the_loop(params: Params, x: Array, y: Array) -> Params:
    """The bias updated once for every feature, each time by (ŷ − y) xᵢ."""
    g = right(params, x, y)
    return g._replace(bias=jnp.sum(g.weight))


def bias_once_a_feature(params: Params, x: Array, y: Array) -> Params:
    """The bias updated once for every feature, each time by ŷ − y."""
    g = right(params, x, y)
    return g._replace(bias=x.shape[1] * g.bias)


def of_gradient_itself(params: Params, x: Array, y: Array) -> Params:
    """∇ ½‖∇E‖² = (∇²E) ∇E: what one would follow to descend the gradient and not E."""
    return logistic.hvp(params, logistic.gradient(params, x, y), x, y)


def sum_of_partials(params: Params, x: Array, y: Array) -> Params:
    """Σ (∂E/∂wᵢ) eᵢ: one derivative along each axis, added as vectors."""
    flat, unravel = _flat(params)
    rows = jnp.eye(flat.shape[0], dtype=flat.dtype)
    total = jnp.zeros_like(flat)
    for axis in rows:
        slope = jax.jvp(lambda v: logistic.loss(unravel(v), x, y), (flat,), (axis,))[1]
        total = total + slope * axis
    return unravel(total)


def _flat(params: Params) -> tuple:
    def unravel(vector: Array) -> Params:
        return Params(vector[:-1], vector[-1])

    return jnp.append(params.weight, params.bias), unravel


# --- code -----------------------------------------------------------------------------------------

SOFTMAX_WITHOUT_APPEND = """
def f(scores):
    powers = np.exp(scores)
    whole = sum(powers)
    shares = []
    for power in powers:
    return shares
"""
SOFTMAX_WITH_APPEND = SOFTMAX_WITHOUT_APPEND.replace(
    "in powers:\n", "in powers:\n        shares.append(power / whole)\n"
)
SOFTMAX_SHIFTED = SOFTMAX_WITH_APPEND.replace("exp(scores)", "exp(scores - np.max(scores))")

CROSS_ENTROPY_FLOAT_ = """
def f(truth, chance):
    truth, chance = np.float_(truth), np.float_(chance)
    return -np.sum(truth * np.log(chance) + (1 - truth) * np.log(1 - chance))
"""
CROSS_ENTROPY_FLOAT64 = CROSS_ENTROPY_FLOAT_.replace("float_", "float64")
CROSS_ENTROPY_OF_THE_EVENT = """
def f(truth, chance):
    truth, chance = np.float64(truth), np.float64(chance)
    return -np.sum(np.log(np.where(truth == 1, chance, 1 - chance)))
"""
CROSS_ENTROPY_OF_SIGMOID = """
def f(truth, score):
    chance = 1 / (1 + np.exp(-np.float64(score)))
    return -np.sum(truth * np.log(chance) + (1 - truth) * np.log(1 - chance))
"""
CROSS_ENTROPY_OF_SCORE = """
def f(truth, score):
    return np.sum(np.logaddexp(0, score) - truth * score)
"""
