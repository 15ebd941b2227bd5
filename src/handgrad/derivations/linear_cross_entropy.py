r"""The output layer of a language model: two cotangents, and how to take them in the forward pass.

The residual of each token needs its own logits and nobody else's. So the gradient may be taken
chunk by chunk while the logits of a chunk are at hand, and the logits of all tokens are never held
at once; what is carried from chunk to chunk is the sum for the weight.
"""

import jax.numpy as jnp
from jax import lax

from handgrad._types import Array
from handgrad.derivations.linear_models import error, labels, residual, split
from handgrad.derivations.steps import (
    Limit,
    derive,
    drawn,
    indices,
    normal,
    slope,
    still_open,
)
from handgrad.gradients import linear_cross_entropy as house

CHUNK = 2
"""Tokens in a chunk: any number that divides T would do."""


def _both_open(weights: Array, hidden: Array, weight: Array) -> tuple[Array, Array]:
    """Σ weights ∂z/∂h and Σ weights ∂z/∂W of z = hW, not worked out yet."""
    return (
        still_open(weights, lambda h: h @ weight, hidden),
        still_open(weights, lambda w: hidden @ w, weight),
    )


def _residual(hidden: Array, weight: Array, y: Array) -> Array:
    """R = (p − y)/T."""
    return residual(hidden @ weight, y) / y.shape[0]


def _by_chunks(hidden: Array, weight: Array, y: Array) -> tuple[Array, Array]:
    """(rows of R_c Wᵀ joined, Σ_c h_cᵀ R_c)."""
    rows, total = [], jnp.zeros_like(weight)
    for start in range(0, hidden.shape[0], CHUNK):
        part = hidden[start : start + CHUNK]
        r = residual(part @ weight, y[start : start + CHUNK]) / hidden.shape[0]
        rows.append(r @ weight.T)
        total = total + part.T @ r
    return jnp.concatenate(rows), total


def _in_the_forward_pass(hidden: Array, weight: Array, y: Array) -> tuple[Array, Array]:
    """One scan: log-sum-exp of a chunk serves its loss and its residual; Σ h_cᵀ R_c is carried."""
    tokens, features = hidden.shape

    def one_chunk(carry: tuple[Array, Array], chunk: tuple) -> tuple[tuple[Array, Array], Array]:
        (loss, gradient), (part, c) = carry, chunk
        z = part @ weight
        lse = jnp.log(jnp.sum(jnp.exp(z), axis=1, keepdims=True))
        picked = labels(z, c)
        loss = loss + jnp.sum(picked * (lse - z)) / tokens
        r = (jnp.exp(z - lse) - picked) / tokens
        return (loss, gradient + part.T @ r), r @ weight.T

    start = (jnp.zeros((), hidden.dtype), jnp.zeros_like(weight))
    chunks = (hidden.reshape(-1, CHUNK, features), y.reshape(-1, CHUNK))
    (_, by_weight), by_hidden = lax.scan(one_chunk, start, chunks)
    return by_hidden.reshape(hidden.shape), by_weight


def _split(hidden: Array, weight: Array, y: Array) -> Array:
    """R, split by label."""
    return split(hidden @ weight, y) / y.shape[0]


LINEAR_CROSS_ENTROPY = derive(
    "linear_cross_entropy",
    "The output layer of a language model, and its gradient in the forward pass",
    r"\left( \frac{\partial E}{\partial h}, \frac{\partial E}{\partial W} \right)",
    r"= \lim_{\varepsilon \to 0}"
    r" \frac{E(\ldots + \varepsilon \ldots) - E(\ldots - \varepsilon \ldots)}"
    r"{2 \varepsilon}",
    "definition of the partial derivative, for every entry of h and of W",
    Limit(house.loss, (0, 1)),
    r"= -\frac{\partial}{\partial (h, W)} \frac{1}{T} \sum_t \sum_v y_{tv} \log p_{tv}",
    "the error: the mean of categorical cross-entropy",
    lambda h, w, y: slope(lambda both: error(both[0] @ both[1], y), (h, w)),
    r"= \sum_t \sum_v \frac{\partial E}{\partial z_{tv}}"
    r" \cdot \frac{\partial z_{tv}}{\partial (h, W)}",
    "chain rule over the logits",
    lambda h, w, y: _both_open(slope(lambda z: error(z, y), h @ w), h, w),
    r"= \sum_t \sum_v R_{tv} \frac{\partial z_{tv}}{\partial (h, W)},"
    r" \quad R_{tv} = \frac{1}{T} (p_{tv} - y_{tv})",
    "the residual of softmax cross-entropy",
    lambda h, w, y: _both_open(_residual(h, w, y), h, w),
    r"= \left( R W^{\top},"
    r" \sum_t \sum_v R_{tv} \frac{\partial z_{tv}}{\partial W} \right)",
    "z_tv = Σ_d h_td W_dv: ∂z_tv/∂h_td = W_dv, and other tokens are not in it",
    lambda h, w, y: (
        _residual(h, w, y) @ w.T,
        still_open(_residual(h, w, y), lambda b: h @ b, w),
    ),
    r"= \left( R W^{\top}, h^{\top} R \right)",
    "∂z_tv/∂W_dv = h_td, and other words are not in it",
    lambda h, w, y: (_residual(h, w, y) @ w.T, h.T @ _residual(h, w, y)),
    r"= \left( [R_1 W^{\top}; R_2 W^{\top}; \ldots], \sum_c h_c^{\top} R_c \right)",
    "a sum over tokens is a sum over chunks of tokens, and R_c needs no other chunk",
    _by_chunks,
    r"= \left( [R_1 W^{\top}; R_2 W^{\top}; \ldots], \sum_c h_c^{\top} R_c \right),"
    r" \quad R_c = \frac{1}{T} \left( e^{z_c - \mathrm{lse}(z_c)} - y_c \right)",
    "p = e^(z − lse): the log-sum-exp that the loss needs anyway gives the residual, so one"
    " pass takes both, and each chunk's logits are forgotten",
    _in_the_forward_pass,
    r"= \left( R W^{\top}, h^{\top} R \right), \quad R_{tv} = \frac{1}{T}"
    r" \left( p_{tv} \sum_{u \neq v} y_{tu} - y_{tv} \sum_{u \neq v} p_{tu} \right)",
    "1 − p is the sum of the others: the form that keeps its digits",
    lambda h, w, y: (_split(h, w, y) @ w.T, h.T @ _split(h, w, y)),
    given="h is (T, D), one row per token; W is (D, V), V words; y are the T words that came, as "
    "indices, and y_tv the same one-hot. z = hW, p = softmax(z), E is the mean over tokens in "
    "nats. T is even, for chunks of two tokens.",
    example=drawn(normal(4, 2, scale=1), normal(2, 3, scale=1), indices(4, classes=3)),
)
