"""Objectives for gradient boosting that were reported wrong: XGBoost, LightGBM, scikit-learn's loss.

An objective gives the first and the second derivative of each example's loss in its own score.
The second derivatives are judged as a gradient: of the sum of the first ones, each in its score.
Where a report shows no data, the point is an ordinary one.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid, softmax, softplus

from benchmarks.judge.reports import Bug
from handgrad._types import Array

XGBOOST, LIGHTGBM = "dmlc/xgboost", "lightgbm-org/LightGBM"
DELTA = 10.0
STARTS = [0.5, 0.5, 0.5, 0.5]
STEPS = [0.0, 4.0, 8.0, 12.0]
SPREAD = [3.0, -25.0, 4.5, 40.0]


def each(loss: Callable) -> Callable:
    """The sum over examples."""
    return lambda scores, *labels: jnp.sum(loss(scores, *labels))


# --- losses of one example, and their first derivatives -------------------------------------------


def fair(score: Array, label: Array) -> Array:
    """|r| − log(1 + |r|) for a residual r."""
    size = jnp.abs(label - score)
    return size - jnp.log1p(size)


def fair_of_label_minus_score(score: Any, label: Any) -> Any:
    """r/(1 + |r|) with r = label − score: the sign of −r is due."""
    r = np.asarray(label) - np.asarray(score)
    return r / (np.abs(r) + 1)


def square(score: Array, label: Array) -> Array:
    """(y − s)²."""
    return (label - score) ** 2


def huber(score: Array, label: Array) -> Array:
    """½r² up to 10, and 10|r| − 50 beyond."""
    size = jnp.abs(label - score)
    return jnp.where(size > DELTA, DELTA * (size - DELTA / 2), size**2 / 2)


def huber_of_label_minus_score(score: Any, label: Any) -> Any:
    """The residual label − score, clipped at ±10."""
    r = np.asarray(label) - np.asarray(score)
    return np.where(np.abs(r) > DELTA, np.sign(r) * DELTA, r)


def huber_slope(score: Array, label: Array) -> Array:
    """The residual score − label, clipped at ±10."""
    return jnp.clip(score - label, -DELTA, DELTA)


def log_cosh(score: Array, label: Array) -> Array:
    """log cosh(y − s)."""
    return jnp.log(jnp.cosh(label - score))


def root_mean_square_log(score: Array, label: Array) -> Array:
    """√ mean (log(1 + s) − log(1 + y))²."""
    return jnp.sqrt(jnp.mean((jnp.log1p(score) - jnp.log1p(label)) ** 2))


def root_mean_square_log_over_label(score: Any, label: Any) -> Any:
    """Divided by 1 + y, where 1 + s is due."""
    score, label = np.asarray(score), np.asarray(label)
    r = np.log1p(score) - np.log1p(label)
    return r / (len(label) * np.sqrt(np.mean(r**2))) / (1 + label)


def logistic(score: Array, label: Array) -> Array:
    """log(1 + eˢ) − y s."""
    return softplus(score) - label * score


def focal(score: Array, label: Array) -> Array:
    """−½(1 − p)² log p of the probability p that the score gives the label."""
    p = sigmoid((2 * label - 1) * score)
    return -0.5 * (1 - p) ** 2 * jnp.log(p)


def focal_of_score_as_probability(score: Any, label: Any) -> Any:
    """The derivative in the probability, at the raw score."""
    p, label = np.asarray(score), np.asarray(label)
    true = (1 - p) * np.log(p) - 0.5 * (1 - p) ** 2 / p
    false = 0.5 * p**2 / (1 - p) - p * np.log(1 - p)
    return np.where(label == 1, true, false)


# --- second derivatives ---------------------------------------------------------------------------


def own_softmax_slopes(t: Array, z: Array) -> Array:
    """Σ_k p_k, where the k-th probability is that of z with t_k for its k-th score."""
    moved = jnp.where(jnp.eye(3, dtype=bool), t, z)
    return jnp.trace(softmax(moved, axis=-1))


def doubled_softmax_curvature(t: Any, z: Any) -> Any:
    """2p(1 − p)."""
    e = np.exp(np.asarray(z) - np.max(z))
    p = e / e.sum()
    return 2 * p * (1 - p)


def weighted_pair_slope(score: Array, weight: Array) -> Array:
    """−w σ(−s) for the score of a better document over that of a worse one."""
    return jnp.sum(-weight * sigmoid(-score))


def unweighted_pair_curvature(score: Any, weight: Any) -> Any:
    """2p(1 − p), the weight dropped."""
    p = 1 / (1 + np.exp(-np.asarray(score)))
    return 2 * p * (1 - p)


def half_binomial_by_exponential(score: Any, label: Any) -> Any:
    """((1 − y) − y e⁻ˢ)/(1 + e⁻ˢ), which is ∞/∞."""
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(-np.asarray(score))
        return ((1 - np.asarray(label)) - np.asarray(label) * e) / (1 + e)


def half_binomial_curvature_by_exponential(score: Any, label: Any) -> Any:
    """e⁻ˢ/(1 + e⁻ˢ)², which is ∞/∞."""
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(-np.asarray(score))
        return e / (1 + e) ** 2


def _binomial(method: str) -> Callable:
    """Gradient or Hessian of scikit-learn's own loss."""

    def derivative(score: Any, label: Any) -> Any:
        from sklearn._loss import HalfBinomialLoss

        found = HalfBinomialLoss().gradient_hessian(
            y_true=np.array(label, np.float64), raw_prediction=np.array(score, np.float64)
        )
        return found[0] if method == "gradient" else found[1]

    return derivative


# fmt: off
BOOSTING = (
    Bug(f"{XGBOOST}#3037", "fair loss", each(fair), (STARTS, STEPS), fair_of_label_minus_score),
    Bug(f"{XGBOOST}#3037", "squared error", each(square), (STARTS, STEPS), lambda s, y: 2 * (np.asarray(y) - np.asarray(s))),
    Bug(f"{XGBOOST}#2602", "Huber", each(huber), (STARTS, SPREAD), huber_of_label_minus_score),
    Bug(f"{XGBOOST}#2602", "Huber″", each(huber_slope), (STARTS, SPREAD), lambda s, y: np.where(np.abs(np.asarray(y) - np.asarray(s)) > DELTA, 0.0, -1.0)),
    Bug(f"{XGBOOST}#1743", "log cosh", each(log_cosh), ([0.5, 0.5, 0.5], [1.0, 2.0, 3.0]), lambda s, y: np.tanh(np.asarray(y) - np.asarray(s))),
    Bug(f"{XGBOOST}#4402", "RMSLE", root_mean_square_log, ([0.5, 2.0, 7.0], [1.0, 3.0, 2.5]), root_mean_square_log_over_label),
    Bug(f"{XGBOOST}#2995", "log loss", each(logistic), ([0.5, -1.5, 2.0], [1.0, 0.0, 1.0]), lambda s, y: np.asarray(s) - np.asarray(y)),
    Bug(f"{XGBOOST}#2995", "log loss″", each(lambda s, y: sigmoid(s) - y), ([0.5, -1.5, 2.0], [1.0, 0.0, 1.0]), lambda s, y: np.asarray(s) * (1 - np.asarray(s))),
    Bug(f"{XGBOOST}#119", "LambdaRank″", weighted_pair_slope, ([0.3, -1.2], [0.25, 4.0]), unweighted_pair_curvature),
    Bug(f"{XGBOOST}#2345", "softmax″", own_softmax_slopes, ([0.2, -1.0, 0.7], [0.2, -1.0, 0.7]), doubled_softmax_curvature),
    Bug(f"{LIGHTGBM}#1154", "softmax″", own_softmax_slopes, ([2.0, 0.0, -3.0], [2.0, 0.0, -3.0]), doubled_softmax_curvature),
    Bug(f"{LIGHTGBM}#5567", "Huber″", each(huber_slope), (STARTS, SPREAD), lambda s, y: np.ones_like(np.asarray(s))),
    Bug(f"{LIGHTGBM}#2052", "focal loss", each(focal), ([0.3, 0.6], [1.0, 0.0]), focal_of_score_as_probability),
    Bug("scikit-learn/scikit-learn#28046", "HalfBinomialLoss", each(logistic), ([-1e3], [1.0]), half_binomial_by_exponential, live=_binomial("gradient")),
    Bug("scikit-learn/scikit-learn#28046", "HalfBinomialLoss″", each(lambda s, y: sigmoid(s) - y), ([-1e3], [1.0]), half_binomial_curvature_by_exponential, live=_binomial("hessian")),
)
# fmt: on
