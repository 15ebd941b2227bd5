"""Wrong gradients of losses, of a lookup and of attention. Each says what is wrong with it."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import random

from handgrad._types import Array, Key
from handgrad.gradients.sigmoid import sigmoid
from handgrad.gradients.softmax import softmax

DELTA = 0.8


def scores_and_signs(key: Key) -> tuple:
    """Scores and labels ±1."""
    a, b = random.split(key)
    z = 2 * random.normal(a, (11,))
    return z, 2 * random.bernoulli(b, 0.5, (11,)).astype(z.dtype) - 1


def scores_around_margin(key: Key) -> tuple:
    """Scores on both sides of the line and of the margin, with labels ±1."""
    z = jnp.array([-2.0, -0.5, 0.25, 0.75, 1.5, 2.5, -1.25, -0.75])
    return z, jnp.array([1.0, -1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0])


def scores_and_weights(key: Key) -> tuple:
    """Scores and positive weights."""
    a, b = random.split(key)
    return 2 * random.normal(a, (11,)), 0.5 + random.uniform(b, (11,))


def two_distributions(key: Key) -> tuple:
    """Two positive vectors that sum to 1."""
    a, b = random.split(key)
    return softmax(random.normal(a, (7,))), softmax(random.normal(b, (7,)))


# --- losses ---------------------------------------------------------------------------------------


def huber(e: Array) -> Array:
    """Σ of e²/2 near 0, δ(|e| − δ/2) outside."""
    size = jnp.abs(e)
    return jnp.sum(jnp.where(size <= DELTA, 0.5 * e * e, DELTA * (size - 0.5 * DELTA)))


def huber_one_sided(e: Array) -> Array:
    """The outer region is e > δ in place of |e| > δ."""
    return jnp.where(jnp.abs(e) <= DELTA, e, 0.0) + jnp.where(e > DELTA, DELTA, 0.0)


def weighted_huber(e: Array, w: Array) -> Array:
    """Huber's loss of each example with a weight."""
    size = jnp.abs(e)
    return jnp.sum(w * jnp.where(size <= DELTA, 0.5 * e * e, DELTA * (size - 0.5 * DELTA)))


def huber_ignores_cotangent(e: Array, w: Array) -> Array:
    """What comes from above is ignored: no weights."""
    return jnp.clip(e, -DELTA, DELTA)


def insensitive(e: Array) -> Array:
    """Σ max(0, |e| − ε)²."""
    return jnp.sum(jnp.square(jnp.maximum(jnp.abs(e) - DELTA, 0.0)))


def insensitive_inside_tube(e: Array) -> Array:
    """The lower branch begins at e < ε in place of e < −ε."""
    return jnp.where(e > DELTA, 2 * (e - DELTA), jnp.where(e < DELTA, 2 * (e + DELTA), 0.0))


def hinge(z: Array, t: Array) -> Array:
    """Σ max(0, 1 − t z)."""
    return jnp.sum(jnp.maximum(1 - t * z, 0.0))


def hinge_without_margin(z: Array, t: Array) -> Array:
    """Only mistakes push: t z < 0 in place of t z < 1."""
    return jnp.where(t * z < 0, -t, 0.0)


def squared_hinge(z: Array, t: Array) -> Array:
    """Σ max(0, 1 − t z)²."""
    return jnp.sum(jnp.square(jnp.maximum(1 - t * z, 0.0)))


def squared_hinge_half(z: Array, t: Array) -> Array:
    """The 2 of the square forgotten."""
    return -t * jnp.maximum(1 - t * z, 0.0)


def kl(p: Array, q: Array) -> Array:
    """Σ p (log p − log q)."""
    return jnp.sum(p * (jnp.log(p) - jnp.log(q)))


def kl_reversed(p: Array, q: Array) -> Array:
    """The derivative in q of KL(q ‖ p)."""
    return jnp.log(q) - jnp.log(p) + 1


def kl_sign(p: Array, q: Array) -> Array:
    """p/q with the wrong sign."""
    return p / q


def generalised_kl(p: Array, q: Array) -> Array:
    """Σ p log(p/q) − p + q."""
    return jnp.sum(p * (jnp.log(p) - jnp.log(q)) - p + q)


def generalised_kl_sign(p: Array, q: Array) -> Array:
    """1 + p/q: one of two terms with the wrong sign."""
    return 1 + p / q


def focal(z: Array) -> Array:
    """Σ −(1 − p)^γ log p at p = σ(z)."""
    p = sigmoid(z)
    return -jnp.sum(jnp.square(1 - p) * jnp.log(p))


def focal_constant_weight(z: Array) -> Array:
    """The modulating factor taken for a constant."""
    p = sigmoid(z)
    return -jnp.square(1 - p) * (1 - p)


def focal_in_probability(z: Array) -> Array:
    """Stops at p: without p(1 − p)."""
    p = sigmoid(z)
    return 2 * (1 - p) * jnp.log(p) - jnp.square(1 - p) / p


def log_likelihood(p: Array, q: Array) -> Array:
    """Σ q log p + (1 − q) log(1 − p)."""
    return jnp.sum(q * jnp.log(p) + (1 - q) * jnp.log(1 - p))


def log_likelihood_inner_sign(p: Array, q: Array) -> Array:
    """The −1 inside log(1 − p) forgotten."""
    return q / p + (1 - q) / (1 - p)


# --- lookups and attention ------------------------------------------------------------------------


def tokens(key: Key) -> tuple:
    """A table (6, 3), indices with repeats, and cotangents."""
    a, b = random.split(key)
    return random.normal(a, (6, 3)), jnp.array([2, 0, 2, 5, 0, 2]), random.normal(b, (6, 3))


def lookup(table: Array, index: Array, c: Array) -> Array:
    """⟨c, table[index]²/2⟩."""
    return jnp.sum(c * jnp.square(table[index])) / 2


def lookup_overwritten(table: Array, index: Array, c: Array) -> Array:
    """Rows looked up twice keep the last contribution only."""
    last = jnp.array([False, False, False, True, True, True])
    rows = jnp.where(last[:, None], c * table[index], 0.0)
    return jnp.zeros_like(table).at[index].add(rows)


def lookup_off_by_one(table: Array, index: Array, c: Array) -> Array:
    """Each contribution lands one row below."""
    return jnp.roll(jnp.zeros_like(table).at[index].add(c * table[index]), 1, axis=0)


def heads(key: Key) -> tuple:
    """q, k and v: (5, 8) each, and a cotangent."""
    q, k, v, c = (random.normal(a, (5, 8)) for a in random.split(key, 4))
    return q, k, v, c


def attention(q: Array, k: Array, v: Array, c: Array) -> Array:
    """⟨c, softmax(q kᵀ/√d) v⟩."""
    return jnp.sum(c * (softmax(q @ k.T / q.shape[1] ** 0.5) @ v))


def _attention(scale: float, dot: float) -> Callable:
    def gradient(q: Array, k: Array, v: Array, c: Array) -> tuple:
        p = softmax(q @ k.T / q.shape[1] ** 0.5)
        r = c @ v.T
        r = p * (r - dot * jnp.sum(p * r, axis=-1, keepdims=True)) * scale
        return r @ k, r.T @ q, p.T @ c

    return gradient


attention_unscaled = _attention(1.0, 1.0)
attention_without_dot = _attention(8**-0.5, 0.0)


def attention_exchanged(q: Array, k: Array, v: Array, c: Array) -> tuple:
    """The gradients of q and k exchanged."""
    dq, dk, dv = _attention(8**-0.5, 1.0)(q, k, v, c)
    return dk, dq, dv
