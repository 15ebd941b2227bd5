"""Controls: policies, boosting, factorisations, linear algebra, and variational objectives."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.judge.controls.control import Control, draw, sigmoid, softmax


def dpo() -> Control:
    """DPO; beta forgotten outside the sigmoid."""
    chosen, rejected, ref = draw(600, (3,), (3,), (3,))
    beta = 0.2

    def loss(chosen, rejected):
        return jnp.mean(jnp.logaddexp(0.0, -beta * (chosen - rejected - ref)))

    def gradient(chosen, rejected, wrong=False):
        p = sigmoid(-beta * (chosen - rejected - ref)) / 3
        g = p if wrong else beta * p
        return -g, g

    return Control(loss, gradient, (chosen, rejected), ("factor 0.2 ", "factor 1/0.2"), (0, 1))


def ppo() -> Control:
    """PPO's clipped objective; the clip's mask forgotten."""
    log_p = np.array([-0.4, -1.6, -0.9, -0.2])
    old, advantage = np.array([-0.9, -1.5, -0.9, -1.0]), np.array([1.2, 0.7, -0.5, -0.8])
    eps = 0.2

    def loss(log_p):
        ratio = jnp.exp(log_p - old)
        clipped = jnp.clip(ratio, 1 - eps, 1 + eps)
        return -jnp.mean(jnp.minimum(ratio * advantage, clipped * advantage))

    def gradient(log_p, wrong=False):
        ratio = jnp.exp(log_p - old)
        outside = ((advantage > 0) & (ratio > 1 + eps)) | ((advantage < 0) & (ratio < 1 - eps))
        on = 1.0 if wrong else jnp.where(outside, 0.0, 1.0)
        return -on * ratio * advantage / 4

    return Control(loss, gradient, (log_p,), ("`min`", "clip", "in place of 0", "mask"))


def reinforce() -> Control:
    """REINFORCE with a baseline; the log-probability's derivative replaced by the probability's."""
    z, reward = draw(601, (3, 2), (3,))
    actions, baseline = np.array([0, 1, 1]), 0.3

    def loss(z):
        log_p = jax.nn.log_softmax(z)[jnp.arange(3), actions]
        return -jnp.mean((reward - baseline) * log_p)

    def gradient(z, wrong=False):
        p = softmax(np.asarray(z))
        score = np.eye(2)[actions] - p
        if wrong:
            score = score * p[np.arange(3), actions][:, None]
        return -(reward - baseline)[:, None] * score / 3

    return Control(loss, gradient, (z,), ("extra factor",))


def entropy_bonus() -> Control:
    """Actor's loss with an entropy bonus; the bonus's sign."""
    z, advantage = draw(602, (2, 3), (2,))
    actions, beta = np.array([2, 0]), 0.1

    def loss(z):
        log_p = jax.nn.log_softmax(z)
        entropy = -jnp.sum(jnp.exp(log_p) * log_p, 1)
        return jnp.mean(-advantage * log_p[jnp.arange(2), actions] - beta * entropy)

    def gradient(z, wrong=False):
        p = softmax(z)
        log_p = jnp.log(p)
        dentropy = -p * (log_p - jnp.sum(p * log_p, 1, keepdims=True))
        sign = 1 if wrong else -1
        policy = -advantage[:, None] * (jax.nn.one_hot(actions, 3, dtype=z.dtype) - p)
        return (policy + sign * beta * dentropy) / 2

    return Control(loss, gradient, (z,), ("sign flipped", "−1"))


def value_function() -> Control:
    """A value function clipped as in PPO, in NumPy; the maximum's other branch."""
    v, old = np.array([0.4, 1.6, -0.2]), np.array([0.1, 0.9, -0.3])
    target, eps = np.array([0.9, 0.2, -1.1]), 0.2

    def loss(v):
        clipped = old + jnp.clip(v - old, -eps, eps)
        return jnp.mean(jnp.maximum((v - target) ** 2, (clipped - target) ** 2)) / 2

    def gradient(v, wrong=False):
        v = np.asarray(v)
        inside = np.abs(v - old) < eps
        clipped = old + np.clip(v - old, -eps, eps)
        free = (v - target) ** 2 >= (clipped - target) ** 2
        return np.where(~free if wrong else free, v - target, (clipped - target) * inside) / 3

    return Control(loss, gradient, (v,), ("`max`", "mask", "branch", "select"))


def boosting_logistic() -> Control:
    """XGBoost's binary logistic; the margin taken for the probability."""
    z, y = draw(603, (5,)), np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    weight = np.array([1.0, 2.0, 0.5, 1.0, 1.5])

    def loss(z):
        return jnp.sum(weight * (jnp.logaddexp(0.0, z) - y * z))

    def gradient(z, wrong=False):
        z = np.asarray(z)
        return weight * ((z if wrong else sigmoid(z)) - y)

    return Control(
        loss, gradient, (z,), ("its argument", "proportional to", "v − w", "sigmoid", "`logistic`")
    )


def boosting_softmax() -> Control:
    """LightGBM's multiclass, classes first; softmax over the examples."""
    z, y = draw(604, (3, 4)), np.array([0, 2, 1, 1])

    def loss(z):
        return jnp.sum(jax.nn.logsumexp(z, 0) - z[y, jnp.arange(4)])

    def gradient(z, wrong=False):
        return softmax(z, axis=1 if wrong else 0) - np.eye(3)[y].T

    return Control(loss, gradient, (z,), ("axis", "softmax(z)"))


def boosting_scale_pos_weight() -> Control:
    """A weight for positives, in NumPy; on the residual of negatives too."""
    z, y, pos = draw(605, (4,)), np.array([1.0, 0.0, 1.0, 0.0]), 3.0

    def loss(z):
        return jnp.mean(jnp.where(y == 1, pos * jax.nn.softplus(-z), jax.nn.softplus(z)))

    def gradient(z, wrong=False):
        weight = pos if wrong else np.where(y == 1, pos, 1.0)
        return weight * (sigmoid(np.asarray(z)) - y) / 4

    return Control(loss, gradient, (z,), ("factor 1/3", "3 times too large", "factor 3"))


def boosting_tweedie() -> Control:
    """XGBoost's Tweedie; exp(2 − rho) where exp((2 − rho) z) belongs."""
    z, y, rho = draw(606, (4,)), np.array([0.0, 1.3, 0.0, 2.2]), 1.3

    def loss(z):
        a, b = jnp.exp((1 - rho) * z), jnp.exp((2 - rho) * z)
        return jnp.sum(-y * a / (1 - rho) + b / (2 - rho))

    def gradient(z, wrong=False):
        a = jnp.exp((1 - rho) * z)
        b = jnp.exp((2 - rho) if wrong else (2 - rho) * z)
        return -y * a + b

    return Control(loss, gradient, (z,), ("`exp`",))


def boosting_quantile() -> Control:
    """LightGBM's quantile objective, in NumPy; prediction and label exchanged."""
    z, y, alpha = draw(607, (5,)), np.array([0.3, -0.4, 1.1, 0.2, -1.5]), 0.7

    def loss(z):
        e = y - z
        return jnp.sum(jnp.where(e >= 0, alpha * e, (alpha - 1) * e))

    def gradient(z, wrong=False):
        above = np.asarray(z) > y
        return np.where(above ^ wrong, 1 - alpha, -alpha)

    return Control(loss, gradient, (z,), ("exchanged", "swapped", "side", "branch"))


def lambdarank_pairwise() -> Control:
    """RankNet over pairs; the lower document's share overwritten."""
    s, relevance = draw(608, (4,)), np.array([2, 0, 1, 0])
    high, low = np.nonzero(relevance[:, None] > relevance)

    def loss(s, high, low):
        return jnp.sum(jnp.logaddexp(0.0, s[low] - s[high]))

    def gradient(s, high, low, wrong=False):
        p = sigmoid(s[low] - s[high])
        g = jnp.zeros_like(s)
        down = g.at[low].set(p) if wrong else g.at[low].add(p)
        return g.at[high].add(-p) + down

    return Control(loss, gradient, (s, high, low), ("overwritten",))


def lambdarank_weighted() -> Control:
    """Pairwise ranking weighted by |ΔNDCG|, in NumPy; the weights forgotten."""
    s, relevance = draw(609, (3,)), np.array([2.0, 0.0, 1.0])
    gain, discount = 2**relevance - 1, 1 / np.log2(2 + np.arange(3))
    delta = np.abs((gain[:, None] - gain) * (discount[:, None] - discount))

    def loss(s):
        better = relevance[:, None] > relevance
        return jnp.sum(jnp.where(better, delta * jax.nn.softplus(s - s[:, None]), 0.0))

    def gradient(s, wrong=False):
        s = np.asarray(s)
        lam = (relevance[:, None] > relevance) * sigmoid(s - s[:, None])
        lam = lam if wrong else lam * delta
        return lam.sum(0) - lam.sum(1)

    return Control(loss, gradient, (s,), ("missing factor", "factor delta", "derivative of `mul`"))


def matrix_factorisation() -> Control:
    """Matrix factorisation of the entries seen; both factors' gradients by the same factor."""
    u, v, rating = draw(610, (3, 2), (3, 2), (4,))
    i, j = np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1])

    def loss(u, v):
        return jnp.sum((jnp.sum(u[i] * v[j], 1) - rating) ** 2) / 2

    def gradient(u, v, wrong=False):
        e = (jnp.sum(u[i] * v[j], 1) - rating)[:, None]
        other = v[j] if wrong else u[i]
        return jnp.zeros_like(u).at[i].add(e * v[j]), jnp.zeros_like(v).at[j].add(e * other)

    return Control(
        loss, gradient, (u, v), ("derivative of `mul`", "in place of", "stands here"), (0, 1)
    )


def word2vec() -> Control:
    """Skip-gram with negative samples; the negatives' sign."""
    center, context, negatives = draw(611, (3,), (3,), (2, 3))

    def loss(center, context, negatives):
        positive = jax.nn.log_sigmoid(center @ context)
        return -positive - jnp.sum(jax.nn.log_sigmoid(-negatives @ center))

    def gradient(center, context, negatives, wrong=False):
        p = sigmoid(center @ context) - 1
        q = sigmoid(negatives @ center) * (-1 if wrong else 1)
        return p * context + q @ negatives, p * center, q[:, None] * center

    return Control(loss, gradient, (center, context, negatives), ("sign flipped",), (0, 1, 2))


def glove() -> Control:
    """GloVe in NumPy; the weighting's mask forgotten for the biases."""
    w, v, a, b = draw(612, (2, 2), (2, 2), (2,), (2,))
    counts = np.array([[12.0, 3.0], [150.0, 1.0]])
    weight = np.minimum(counts / 100, 1.0) ** 0.75

    def loss(w, v, a, b):
        e = w @ v.T + a[:, None] + b - jnp.log(counts)
        return jnp.sum(weight * e**2)

    def gradient(w, v, a, b, wrong=False):
        w, v, a, b = (np.asarray(p) for p in (w, v, a, b))
        e = 2 * (w @ v.T + a[:, None] + b - np.log(counts))
        r = weight * e
        bias = e if wrong else r
        return r @ v, r.T @ w, bias.sum(1), bias.sum(0)

    return Control(
        loss,
        gradient,
        (w, v, a, b),
        ("missing factor", "factor weight", "derivative of `mul`"),
        (0, 1, 2, 3),
    )


def rayleigh_quotient() -> Control:
    """PCA's Rayleigh quotient; the denominator held constant."""
    w, x = draw(613, (3,), (4, 3))
    a = x.T @ x / 4

    def loss(w):
        return -(w @ a @ w) / (w @ w)

    def gradient(w, wrong=False):
        size = w @ w
        q = w @ a @ w / size
        return -2 * (a @ w - (0 if wrong else q * w)) / size

    return Control(loss, gradient, (w,), ("as if it were a constant", "denominator"))


def log_determinant() -> Control:
    """The log-determinant; the inverse not transposed."""
    a = np.array([[2.0, 0.3, -0.5], [0.1, 1.5, 0.4], [0.6, -0.2, 1.8]])

    def loss(a):
        return jnp.linalg.slogdet(a)[1]

    def gradient(a, wrong=False):
        inverse = jnp.linalg.inv(a)
        return inverse if wrong else inverse.T

    return Control(loss, gradient, (a,), ("transposed",))


def matrix_inverse() -> Control:
    """The inverse of a matrix, in NumPy; the minus forgotten."""
    a, c = np.array([[2.0, 0.3], [0.1, 1.5]]), draw(614, (2, 2))

    def loss(a):
        return jnp.sum(c * jnp.linalg.inv(a))

    def gradient(a, wrong=False):
        inverse = np.linalg.inv(np.asarray(a, np.float64))
        g = inverse.T @ c @ inverse.T
        return g if wrong else -g

    return Control(loss, gradient, (a,), ("sign flipped",))


def linear_solve() -> Control:
    """A linear system's solution; solved with A, not its transpose, on the way back."""
    a = np.array([[2.0, 0.3], [-0.7, 1.5]])
    b, c = draw(615, (2,), (2,))

    def loss(a, b):
        return c @ jnp.linalg.solve(a, b)

    def gradient(a, b, wrong=False):
        x = jnp.linalg.solve(a, b)
        u = jnp.linalg.solve(a if wrong else a.T, jnp.asarray(c))
        return -jnp.outer(u, x), u

    return Control(loss, gradient, (a, b), ("transpose",), (0, 1))


def cholesky() -> Control:
    """Cholesky of a symmetrised matrix; the diagonal not halved."""
    a, c = np.array([[2.0, 0.6], [0.6, 1.5]]), np.tril(draw(616, (2, 2)))

    def loss(a):
        return jnp.sum(c * jnp.linalg.cholesky((a + a.T) / 2))

    def gradient(a, wrong=False):
        low = jnp.linalg.cholesky(a)
        half = jnp.array([[1.0, 0.0], [1.0, 1.0]]) if wrong else jnp.array([[0.5, 0.0], [1.0, 0.5]])
        inner = (low.T @ c) * half
        inverse = jnp.linalg.inv(low)
        g = inverse.T @ inner @ inverse
        return (g + g.T) / 2

    return Control(loss, gradient, (a,), ("half", "twice too large", "diagonal"))


def trace_of_product() -> Control:
    """A quadratic form tr(WᵀAW) with A not symmetric, in NumPy; A taken to be symmetric."""
    w, a = draw(617, (3, 2), (3, 3))

    def loss(w):
        return jnp.trace(w.T @ a @ w)

    def gradient(w, wrong=False):
        w = np.asarray(w)
        return 2 * a @ w if wrong else (a + a.T) @ w

    return Control(loss, gradient, (w,), ("transpose", "symmetric"))


def gaussian_process() -> Control:
    """A Gaussian process's marginal likelihood in the log length; the trace term forgotten."""
    log_l, (x, y) = np.array(0.2), draw(618, (3,), (3,))
    d2 = (x[:, None] - x) ** 2

    def loss(log_l):
        k = jnp.exp(-d2 * jnp.exp(-2 * log_l) / 2) + 0.1 * jnp.eye(3)
        return (y @ jnp.linalg.solve(k, y) + jnp.linalg.slogdet(k)[1]) / 2

    def gradient(log_l, wrong=False):
        s = d2 * jnp.exp(-2 * log_l)
        k = jnp.exp(-s / 2)
        dk, inverse = k * s, jnp.linalg.inv(k + 0.1 * jnp.eye(3))
        alpha = inverse @ y
        trace = 0 if wrong else jnp.sum(inverse * dk)
        return (trace - alpha @ dk @ alpha) / 2

    return Control(loss, gradient, (log_l,), ("as if it were a constant", "det"))


def mahalanobis() -> Control:
    """Gaussian likelihood in a precision's factor, in NumPy; the log-determinant's half."""
    low, x = np.array([[1.2, 0.0], [0.4, 0.8]]), draw(619, (2,))

    def loss(low):
        z = jnp.tril(low).T @ x
        return z @ z / 2 - jnp.sum(jnp.log(jnp.diag(low)))

    def gradient(low, wrong=False):
        low = np.tril(np.asarray(low))
        g = np.tril(np.outer(x, low.T @ x))
        return g - np.diag((0.5 if wrong else 1) / np.diag(low))

    return Control(loss, gradient, (low,), ("half of what",))


def kl_of_gaussians() -> Control:
    """KL of two Gaussians; 1/sigma for the standard deviation forgotten."""
    m1, s1, m2, s2 = (np.array(v) for v in ([0.3, -0.8], [0.7, 1.6], [0.1, 0.5], [1.2, 0.9]))

    def loss(m1, s1):
        return jnp.sum(jnp.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5)

    def gradient(m1, s1, wrong=False):
        ds = s1 / s2**2 - (0 if wrong else 1 / s1)
        return (m1 - m2) / s2**2, ds

    return Control(loss, gradient, (m1, s1), ("as if it were a constant",), (0, 1))


def vae() -> Control:
    """A VAE's bound by one sample; the noise's path to the log-variance without 1/2."""
    mu, s, x, noise = draw(620, (2,), (2,), (2,), (2,))

    def loss(mu, s):
        z = mu + jnp.exp(s / 2) * noise
        reconstruction = jnp.sum((jnp.tanh(z) - x) ** 2) / 2
        return reconstruction - jnp.sum(1 + s - mu**2 - jnp.exp(s)) / 2

    def gradient(mu, s, wrong=False):
        scale = jnp.exp(s / 2) * noise
        t = jnp.tanh(mu + scale)
        dz = (t - x) * (1 - t * t)
        half = 1 if wrong else 0.5
        return dz + mu, half * dz * scale + (jnp.exp(s) - 1) / 2

    return Control(loss, gradient, (mu, s), ("twice too large",), (0, 1))


def vae_kl() -> Control:
    """A VAE's KL term, in NumPy; exp(s) where the standard deviation is exp(s/2)."""
    mu, s = draw(621, (3,), (3,))

    def loss(mu, s):
        return -jnp.mean(1 + 2 * s - mu**2 - jnp.exp(2 * s)) / 2

    def gradient(mu, s, wrong=False):
        mu, s = np.asarray(mu), np.asarray(s)
        return mu / 3, (np.exp(s if wrong else 2 * s) - 1) / 3

    return Control(
        loss, gradient, (mu, s), ("derivative of `exp`", "missing factor exp", "exp v"), (0, 1)
    )


def wasserstein() -> Control:
    """Wasserstein distance in one dimension; the sorting not undone."""
    a, b = draw(622, (4,), (4,))

    def loss(a):
        return jnp.mean((jnp.sort(a) - jnp.sort(b)) ** 2)

    def gradient(a, wrong=False):
        order = jnp.argsort(a)
        r = (a[order] - jnp.sort(jnp.asarray(b))) / 2
        return r if wrong else jnp.zeros_like(a).at[order].set(r)

    return Control(loss, gradient, (a,), ("wrong coordinates", "sort", "permut"))


def sinkhorn() -> Control:
    """Sinkhorn's plan after three iterations; the plan held constant."""
    cost, eps = np.abs(draw(623, (2, 2))), 0.5

    def scaled(cost):
        k, u = jnp.exp(-cost / eps), jnp.ones(2, cost.dtype)
        history = []
        for _ in range(3):
            v = 0.5 / (k.T @ u)
            history.append((u, v))
            u = 0.5 / (k @ v)
        return k, u, v, history

    def loss(cost):
        k, u, v, _ = scaled(cost)
        return jnp.sum(u[:, None] * k * v * cost)

    def gradient(cost, wrong=False):
        k, u, v, history = scaled(cost)
        plan = u[:, None] * k * v
        if wrong:
            return plan
        inner = cost * k
        du, dv, dk = inner @ v, inner.T @ u, u[:, None] * v * cost
        for before, v in history[::-1]:
            r = -du * u**2 / 0.5
            dk, dv = dk + jnp.outer(r, v), dv + k.T @ r
            t = -dv * v**2 / 0.5
            dk, du = dk + jnp.outer(before, t), k @ t
            u, dv = before, jnp.zeros_like(dv)
        return plan - dk * k / eps

    return Control(loss, gradient, (cost,), ("as if it were a constant",))


def log_sum_exp_pool() -> Control:
    """Smooth maximum with sharpness r, in NumPy; softmax without r."""
    x, r = draw(624, (2, 3)), 4.0

    def loss(x):
        return jnp.sum(jax.nn.logsumexp(r * x, axis=1) - jnp.log(3.0)) / r

    def gradient(x, wrong=False):
        return softmax(np.asarray(x) if wrong else r * np.asarray(x))

    return Control(loss, gradient, (x,), ("softmax(x)", "factor 4"))


def self_gated() -> Control:
    """A self-gated unit; a stop-gradient on the gate, where the loss has none."""
    x, c = draw(625, (4,), (4,))

    def loss(x):
        return jnp.sum(c * x * jax.nn.sigmoid(3 * x))

    def gradient(x, wrong=False):
        s = sigmoid(3 * x)
        return c * (s if wrong else s + 3 * x * s * (1 - s))

    return Control(loss, gradient, (x,), ("as if it were a constant",))


def isotonic_penalty() -> Control:
    """A penalty on decreasing steps, in NumPy; the step's own sign."""
    x = np.array([0.4, 1.3, 0.9, -0.2, 0.6])

    def loss(x):
        return jnp.sum(jnp.maximum(x[:-1] - x[1:], 0.0) ** 2)

    def gradient(x, wrong=False):
        r = 2 * np.maximum(-np.diff(np.asarray(x)), 0.0)
        g = np.zeros(5)
        g[:-1] += r
        g[1:] += r if wrong else -r
        return g

    return Control(loss, gradient, (x,), ("sign flipped", "−1"))


CONTROLS = (
    dpo, ppo, reinforce, entropy_bonus, value_function, boosting_logistic, boosting_softmax,
    boosting_scale_pos_weight, boosting_tweedie, boosting_quantile, lambdarank_pairwise,
    lambdarank_weighted, matrix_factorisation, word2vec, glove, rayleigh_quotient,
    log_determinant, matrix_inverse, linear_solve, cholesky, trace_of_product, gaussian_process,
    mahalanobis, kl_of_gaussians, vae, vae_kl, wasserstein, sinkhorn, log_sum_exp_pool,
    self_gated, isotonic_penalty,
)  # fmt: skip
