"""Controls: losses of a number, generalised linear models, survival, and penalties."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, digamma, gammaln, i0e, i1e, log_ndtr
from scipy.special import digamma as np_digamma
from scipy.special import i0 as np_i0
from scipy.special import i1 as np_i1
from scipy.stats import norm

from benchmarks.judge.controls.control import Control, draw, sigmoid, softmax


def mean_squared_error() -> Control:
    """Linear regression; the factor 2 forgotten."""
    w, x, y = draw(300, (2,), (4, 2), (4,))

    def loss(w):
        return jnp.mean((x @ w - y) ** 2)

    def gradient(w, wrong=False):
        return (1 if wrong else 2) * x.T @ (x @ w - y) / 4

    return Control(loss, gradient, (w,), ("ratio 1/2",))


def ridge() -> Control:
    """Ridge in NumPy; the penalty divided by N too."""
    w, x, y = draw(301, (3,), (4, 3), (4,))
    l2 = 0.7

    def loss(w):
        return jnp.sum((x @ w - y) ** 2) / (2 * 4) + l2 / 2 * jnp.sum(w**2)

    def gradient(w, wrong=False):
        w = np.asarray(w)
        return x.T @ (x @ w - y) / 4 + l2 * w / (4 if wrong else 1)

    return Control(loss, gradient, (w,), ("λ·w is missing", "decay"))


def lasso() -> Control:
    """Lasso, with a weight at its kink; w in place of its sign."""
    w, (x, y) = np.array([0.0, 0.8, -1.4]), draw(302, (4, 3), (4,))
    l1 = 0.3

    def loss(w):
        return jnp.mean((x @ w - y) ** 2) / 2 + l1 * jnp.sum(jnp.abs(w))

    def gradient(w, wrong=False):
        return x.T @ (x @ w - y) / 4 + l1 * (w if wrong else jnp.sign(w))

    return Control(loss, gradient, (w,), ("`abs`", "sign w", "w in place of"))


def elastic_net() -> Control:
    """Elastic net in NumPy; the mixing weight forgotten on the squares."""
    w, (x, y) = np.array([0.6, -0.8, 1.4]), draw(303, (4, 3), (4,))
    alpha, ratio = 0.4, 0.3

    def loss(w):
        penalty = ratio * jnp.sum(jnp.abs(w)) + (1 - ratio) / 2 * jnp.sum(w**2)
        return jnp.mean((x @ w - y) ** 2) / 2 + alpha * penalty

    def gradient(w, wrong=False):
        w = np.asarray(w)
        r = x.T @ (x @ w - y) / 4
        return r + alpha * ratio * np.sign(w) + alpha * (1 if wrong else 1 - ratio) * w

    return Control(loss, gradient, (w,), ("extra linear term λ·w", "decay"))


def group_lasso() -> Control:
    """Group lasso; one norm over all groups."""
    w, l1 = draw(304, (2, 3)), 0.5

    def loss(w):
        return l1 * jnp.sum(jnp.sqrt(jnp.sum(w**2, axis=1)))

    def gradient(w, wrong=False):
        size = jnp.sqrt(jnp.sum(w**2)) if wrong else jnp.sqrt(jnp.sum(w**2, 1, keepdims=True))
        return l1 * w / size

    return Control(loss, gradient, (w,), ("over axis", "everything", "one norm"))


def total_variation() -> Control:
    """Total variation, with two equal neighbours; the left neighbour's share forgotten."""
    x = np.array([0.4, 1.3, 1.3, -0.2, 0.6])

    def loss(x):
        return jnp.sum(jnp.abs(x[1:] - x[:-1]))

    def gradient(x, wrong=False):
        s = np.sign(np.diff(np.asarray(x)))
        g = np.zeros(5)
        g[1:] += s
        if not wrong:
            g[:-1] -= s
        return g

    return Control(loss, gradient, (x,), ("as if it were a constant",))


def huber() -> Control:
    """Huber; the delta forgotten where it is linear."""
    e, delta = np.array([0.4, -1.9, 2.6, -0.7]), 1.5

    def loss(e):
        a = jnp.abs(e)
        return jnp.mean(jnp.where(a <= delta, e**2 / 2, delta * (a - delta / 2)))

    def gradient(e, wrong=False):
        linear = jnp.sign(e) * (1 if wrong else delta)
        return jnp.where(jnp.abs(e) <= delta, e, linear) / 4

    return Control(loss, gradient, (e,), ("the factor 1.5", "factor 1/1.5"))


def smooth_l1() -> Control:
    """Smooth L1 in NumPy; not divided by beta inside."""
    e, beta = np.array([0.4, -1.9, 2.6, -0.3]), 0.6

    def loss(e):
        a = jnp.abs(e)
        return jnp.sum(jnp.where(a < beta, e**2 / (2 * beta), a - beta / 2))

    def gradient(e, wrong=False):
        e = np.asarray(e)
        return np.where(np.abs(e) < beta, e if wrong else e / beta, np.sign(e))

    return Control(loss, gradient, (e,), ("factor 1/0.6", "the factor 0.6"))


def log_cosh() -> Control:
    """Log-cosh; the target's sign, predictions taken from it."""
    p, y = draw(305, (4,), (4,))

    def loss(p):
        e = p - y
        return jnp.mean(jnp.abs(e) + jnp.log1p(jnp.exp(-2 * jnp.abs(e))) - jnp.log(2.0))

    def gradient(p, wrong=False):
        e = np.asarray(p) - y
        return np.tanh(-e if wrong else e) / 4

    return Control(loss, gradient, (p,), ("sign flipped",))


def quantile() -> Control:
    """Quantile (pinball) loss; the quantile of the other side."""
    p, y = draw(306, (5,), (5,))
    q = 0.8

    def loss(p):
        e = y - p
        return jnp.mean(jnp.maximum(q * e, (q - 1) * e))

    def gradient(p, wrong=False):
        under = y > p
        return (jnp.where(under, q - 1, q) if wrong else jnp.where(under, -q, 1 - q)) / 5

    return Control(loss, gradient, (p,), ("side", "exchanged", "swapped", "1 − v"))


def expectile() -> Control:
    """Expectile loss, in NumPy; the asymmetry forgotten above."""
    p, y = draw(307, (4,), (4,))
    q = 0.9

    def loss(p):
        e = y - p
        return jnp.sum(jnp.where(e > 0, q, 1 - q) * e**2)

    def gradient(p, wrong=False):
        e = y - np.asarray(p)
        return -2 * np.where(e > 0, 1.0 if wrong else q, 1 - q) * e

    return Control(loss, gradient, (p,), ("the factor 0.9", "factor 1/0.9"))


def epsilon_insensitive() -> Control:
    """Support vector regression; no tube."""
    p, y, eps = np.array([0.3, 1.1, -0.7, 2.0]), np.array([0.35, 0.4, 0.1, 1.2]), 0.1

    def loss(p):
        return jnp.sum(jnp.maximum(jnp.abs(p - y) - eps, 0.0))

    def gradient(p, wrong=False):
        e = p - y
        return jnp.sign(e) * (1.0 if wrong else jnp.abs(e) > eps)

    return Control(loss, gradient, (p,), ("in place of 0", "where the truth is", "mask"))


def poisson() -> Control:
    """Poisson regression with a log link and exposure; the exposure forgotten."""
    w, x = draw(308, (2,), (4, 2))
    y, exposure = np.array([0.0, 3.0, 1.0, 2.0]), np.array([1.0, 2.5, 0.5, 1.5])

    def loss(w):
        eta = x @ w
        return jnp.mean(exposure * jnp.exp(eta) - y * (eta + jnp.log(exposure)))

    def gradient(w, wrong=False):
        rate = np.exp(x @ np.asarray(w)) * (1 if wrong else exposure)
        return x.T @ (rate - y) / 4

    return Control(
        loss, gradient, (w,), ("missing factor", "factor exposure", "derivative of `mul`")
    )


def negative_binomial() -> Control:
    """Negative binomial with a log link; (y + r) in place of (y + r)/(r + mu)."""
    eta, y, r = draw(309, (4,)), np.array([0.0, 5.0, 1.0, 2.0]), 2.5

    def loss(eta):
        mu = jnp.exp(eta)
        constant = gammaln(y + r) - gammaln(r) - gammaln(y + 1)
        return -jnp.sum(constant + r * jnp.log(r / (r + mu)) + y * jnp.log(mu / (r + mu)))

    def gradient(eta, wrong=False):
        mu = jnp.exp(eta)
        return -(y - (y + r) * mu / (1 if wrong else r + mu))

    return Control(loss, gradient, (eta,), ("`div`", "denominator", "missing factor"))


def gamma_shape() -> Control:
    """Gamma likelihood in its shape and rate, in NumPy; the digamma term forgotten."""
    a, b, y = np.array(2.3), np.array(1.4), np.array([0.8, 2.1, 1.5])

    def loss(a, b):
        return -jnp.sum(a * jnp.log(b) - gammaln(a) + (a - 1) * jnp.log(y) - b * y)

    def gradient(a, b, wrong=False):
        a, b = float(a), float(b)
        da = -3 * np.log(b) + (0 if wrong else 3 * np_digamma(a)) - np.log(y).sum()
        return da, -3 * a / b + y.sum()

    return Control(loss, gradient, (a, b), ("lgamma", "as if it were a constant"), (0, 1))


def gamma_log_link() -> Control:
    """Gamma deviance with a log link; the link's derivative forgotten."""
    eta, y = draw(310, (4,)), np.array([0.8, 2.1, 1.5, 0.3])

    def loss(eta):
        mu = jnp.exp(eta)
        return 2 * jnp.mean(-jnp.log(y / mu) + (y - mu) / mu)

    def gradient(eta, wrong=False):
        mu = jnp.exp(eta)
        d = 2 * (mu - y) / mu**2 / 4
        return d if wrong else d * mu

    return Control(loss, gradient, (eta,), ("derivative of `exp`", "missing factor"))


def tweedie() -> Control:
    """Tweedie with a log link, in NumPy; the power's factor 1 − p kept."""
    eta, y, p = draw(311, (4,)), np.array([0.0, 2.1, 0.0, 3.3]), 1.5

    def loss(eta):
        return jnp.mean(-y * jnp.exp((1 - p) * eta) / (1 - p) + jnp.exp((2 - p) * eta) / (2 - p))

    def gradient(eta, wrong=False):
        eta = np.asarray(eta)
        first = -y * np.exp((1 - p) * eta) * ((1 - p) if wrong else 1)
        return (first + np.exp((2 - p) * eta)) / 4

    return Control(loss, gradient, (eta,), ("factor 0.5", "half of what"))


def beta_regression() -> Control:
    """Beta regression with a logit link; one digamma of the mean's two."""
    eta, y, phi = draw(312, (3,)), np.array([0.2, 0.7, 0.4]), 4.0

    def loss(eta):
        mu = jax.nn.sigmoid(eta)
        a, b = mu * phi, (1 - mu) * phi
        return -jnp.sum((a - 1) * jnp.log(y) + (b - 1) * jnp.log(1 - y) - betaln(a, b))

    def gradient(eta, wrong=False):
        mu = sigmoid(eta)
        other = 0 if wrong else digamma((1 - mu) * phi)
        score = np.log(y) - np.log(1 - y) - digamma(mu * phi) + other
        return -phi * score * mu * (1 - mu)

    return Control(loss, gradient, (eta,), ("as if it were a constant",))


def dirichlet() -> Control:
    """Dirichlet likelihood; the digamma of the sum forgotten."""
    alpha, p = np.array([1.5, 0.7, 2.2]), np.array([0.3, 0.2, 0.5])

    def loss(alpha):
        normaliser = jnp.sum(gammaln(alpha)) - gammaln(jnp.sum(alpha))
        return normaliser - jnp.sum((alpha - 1) * jnp.log(p))

    def gradient(alpha, wrong=False):
        total = 0 if wrong else digamma(jnp.sum(alpha))
        return digamma(alpha) - total - np.log(p)

    return Control(loss, gradient, (alpha,), ("as if it were a constant",))


def student_t() -> Control:
    """Student-t errors, in NumPy; the weight without nu + 1."""
    mu, y = np.array([0.3, -0.4]), np.array([[0.1, 2.5, -1.1], [0.9, -0.2, 0.4]])
    nu, s = 4.0, 0.7

    def loss(mu):
        return jnp.sum((nu + 1) / 2 * jnp.log1p(((y - mu[:, None]) / s) ** 2 / nu))

    def gradient(mu, wrong=False):
        e = y - np.asarray(mu)[:, None]
        top = nu if wrong else nu + 1
        return -np.sum(top * e / (nu * s**2 + e**2), 1)

    return Control(loss, gradient, (mu,), ("factor 0.8", "divided by 5 in place of 4", "4/5"))


def von_mises() -> Control:
    """Von Mises likelihood in its concentration; the ratio of Bessel functions upside down."""
    kappa, mu = np.array(1.7), np.array(0.4)
    angles = np.array([0.1, 0.9, -0.3])

    def loss(kappa, mu):
        log_i0 = jnp.log(i0e(kappa)) + kappa
        return -jnp.sum(kappa * jnp.cos(angles - mu) - log_i0)

    def gradient(kappa, mu, wrong=False):
        ratio = i0e(kappa) / i1e(kappa) if wrong else i1e(kappa) / i0e(kappa)
        d = angles - mu
        return 3 * ratio - jnp.sum(jnp.cos(d)), -jnp.sum(kappa * jnp.sin(d))

    return Control(loss, gradient, (kappa, mu), ("bessel", "i0e", "i1e"), (0, 1))


def gaussian_nll() -> Control:
    """Gaussian likelihood in its mean and log-variance; the log-variance's half forgotten."""
    mu, s, y = draw(313, (3,), (3,), (3,))

    def loss(mu, s):
        return jnp.mean(s + (y - mu) ** 2 * jnp.exp(-s)) / 2

    def gradient(mu, s, wrong=False):
        e = y - mu
        ds = 1 - e**2 * jnp.exp(-s)
        return -e * jnp.exp(-s) / 3, ds / 3 if wrong else ds / 6

    return Control(loss, gradient, (mu, s), ("twice too large",), (0, 1))


def gaussian_scale() -> Control:
    """Gaussian likelihood in sigma, in NumPy; the derivative in the variance."""
    mu, sigma, y = np.array(0.2), np.array(1.3), np.array([0.4, -1.1, 2.0])

    def loss(mu, sigma):
        return jnp.sum(jnp.log(sigma) + ((y - mu) / sigma) ** 2 / 2)

    def gradient(mu, sigma, wrong=False):
        e, sigma = y - float(mu), float(sigma)
        if wrong:
            ds = np.sum(1 / (2 * sigma**2) - e**2 / (2 * sigma**4))
        else:
            ds = np.sum(1 / sigma - e**2 / sigma**3)
        return -e.sum() / sigma**2, ds

    return Control(
        loss, gradient, (mu, sigma), ("missing factor", "extra factor", "factor sigma"), (0, 1)
    )


def probit() -> Control:
    """Probit regression; the label's sign forgotten outside."""
    w, x = draw(314, (2,), (4, 2))
    signs = np.array([1.0, -1.0, 1.0, -1.0])

    def loss(w):
        return -jnp.mean(log_ndtr(signs * (x @ w)))

    def gradient(w, wrong=False):
        u = signs * (x @ np.asarray(w))
        mills = norm.pdf(u) / norm.cdf(u)
        return -x.T @ (mills if wrong else signs * mills) / 4

    return Control(loss, gradient, (w,), ("factor signs", "missing factor", "derivative of `mul`"))


def ordinal() -> Control:
    """Proportional odds; the lower threshold's density forgotten."""
    w, x = draw(315, (2,), (4, 2))
    cuts, y = np.array([-0.6, 0.9]), np.array([0, 2, 1, 1])

    def bounds(cuts):
        inner = jnp.concatenate([jnp.array([-jnp.inf]), cuts, jnp.array([jnp.inf])])
        return inner[y + 1], inner[y]

    def loss(w, cuts):
        upper, lower = bounds(cuts)
        eta = x @ w
        return -jnp.mean(jnp.log(jax.nn.sigmoid(upper - eta) - jax.nn.sigmoid(lower - eta)))

    def gradient(w, cuts, wrong=False):
        upper, lower = bounds(cuts)
        eta = x @ w
        a, b = jax.nn.sigmoid(upper - eta), jax.nn.sigmoid(lower - eta)
        above, below = a * (1 - a) / (a - b), b * (1 - b) / (a - b)
        through_lower = 0 if wrong else below
        dcuts = jnp.zeros(4).at[y + 1].add(-above / 4).at[y].add(below / 4)
        return x.T @ (above - through_lower) / 4, dcuts[1:3]

    return Control(loss, gradient, (w, cuts), ("as if it were a constant",), (0, 1))


def conditional_logit() -> Control:
    """Multinomial logit of choices; attributes of the chosen one alone."""
    w, x, chosen = draw(316, (2,)), draw(317, (3, 3, 2)), np.array([1, 0, 2])

    def loss(w):
        u = x @ w
        return jnp.sum(jax.nn.logsumexp(u, 1) - u[jnp.arange(3), chosen])

    def gradient(w, wrong=False):
        p = softmax(x @ np.asarray(w))
        picked = x[np.arange(3), chosen]
        expected = (p[..., None] * x).sum(1)
        return -picked.sum(0) + (0 if wrong else expected.sum(0))

    return Control(loss, gradient, (w,), ("as if it were a constant",))


def cox() -> Control:
    """Cox's partial likelihood; the risk set of those who left before, not after."""
    w, x = draw(318, (2,), (4, 2))
    event = np.array([1.0, 0.0, 1.0, 1.0])  # in the order of time

    def loss(w):
        eta = x @ w
        risk = jnp.cumsum(jnp.exp(eta)[::-1])[::-1]
        return -jnp.sum(event * (eta - jnp.log(risk)))

    def gradient(w, wrong=False):
        e = jnp.exp(x @ w)
        risk = jnp.cumsum(e[::-1])[::-1]
        share = event / risk
        weight = jnp.cumsum(share[::-1])[::-1] if wrong else jnp.cumsum(share)
        return -x.T @ (event - e * weight)

    return Control(loss, gradient, (w,), ("reversed", "cumsum", "every `rev`"))


def cox_numpy() -> Control:
    """Cox's partial likelihood in NumPy, by loops; censored examples leave the risk set."""
    eta = np.array([0.3, -0.5, 0.9, 0.1])
    event = np.array([1, 0, 1, 1])

    def loss(eta):
        later = np.tril(np.ones((4, 4))).T
        return jnp.sum(event * (jnp.log(later @ jnp.exp(eta)) - eta))

    def gradient(eta, wrong=False):
        g, e = np.zeros(4), np.exp(np.asarray(eta))
        for i in range(4):
            if event[i]:
                risk = [j for j in range(i, 4) if event[j] or not wrong]
                g[risk] += e[risk] / e[i:].sum()
                g[i] -= 1
        return g

    return Control(loss, gradient, (eta,), ("mask", "factor event"))


def weibull() -> Control:
    """Weibull survival with censoring; censored times counted as events."""
    k, scale = np.array(1.6), np.array(2.1)
    t, event = np.array([0.8, 2.5, 1.7]), np.array([1.0, 0.0, 1.0])

    def loss(k, scale):
        z = t / scale
        return -jnp.sum(event * (jnp.log(k / scale) + (k - 1) * jnp.log(z)) - z**k)

    def gradient(k, scale, wrong=False):
        z, seen = t / scale, np.ones(3) if wrong else event
        dk = -jnp.sum(seen * (1 / k + jnp.log(z)) - z**k * jnp.log(z))
        return dk, -jnp.sum(-event * k / scale + z**k * k / scale)

    return Control(
        loss,
        gradient,
        (k, scale),
        ("mask", "factor event", "missing factor", "derivative of `mul`"),
        (0, 1),
    )


def bradley_terry() -> Control:
    """Bradley–Terry; the loser's share forgotten."""
    s, winner, loser = draw(319, (4,)), np.array([0, 2, 0, 3]), np.array([1, 1, 3, 2])

    def loss(s):
        return jnp.sum(jnp.logaddexp(0.0, s[loser] - s[winner]))

    def gradient(s, wrong=False):
        p = sigmoid(s[loser] - s[winner])
        g = jnp.zeros(4).at[winner].add(-p)
        return g if wrong else g.at[loser].add(p)

    return Control(loss, gradient, (s,), ("as if it were a constant",))


def bradley_terry_numpy() -> Control:
    """Bradley–Terry in NumPy; a player's later game overwrites the earlier."""
    s, winner, loser = draw(320, (4,)), np.array([0, 2, 0, 3]), np.array([1, 1, 3, 2])

    def loss(s):
        return jnp.mean(jnp.log1p(jnp.exp(s[loser] - s[winner])))

    def gradient(s, wrong=False):
        s = np.asarray(s)
        p = sigmoid(s[loser] - s[winner]) / 4
        g = np.zeros(4)
        if wrong:
            g[winner] -= p
            g[loser] += p
        else:
            np.add.at(g, winner, -p)
            np.add.at(g, loser, p)
        return g

    return Control(loss, gradient, (s,), ("overwritten",))


def plackett_luce() -> Control:
    """Plackett–Luce; those already placed stay in the denominator."""
    s, order = draw(321, (4,)), np.array([2, 0, 3, 1])

    def loss(s):
        t = s[order]
        return jnp.sum(jnp.log(jnp.cumsum(jnp.exp(t)[::-1])[::-1]) - t)

    def gradient(s, wrong=False):
        e = jnp.exp(s[order])
        rest = jnp.sum(e) * jnp.ones(4) if wrong else jnp.cumsum(e[::-1])[::-1]
        g = e * jnp.cumsum(1 / rest) - 1
        return jnp.zeros(4).at[order].set(g)

    return Control(loss, gradient, (s,), ("cumsum", "denominator"))


def log_normal() -> Control:
    """Log-normal likelihood, in NumPy; the median's derivative without 1/m."""
    m, y = np.array([0.7, 1.9]), np.array([1.2, 1.5])

    def loss(m):
        return jnp.sum((jnp.log(y) - jnp.log(m)) ** 2) / 2

    def gradient(m, wrong=False):
        m = np.asarray(m)
        return (np.log(m) - np.log(y)) / (1 if wrong else m)

    return Control(loss, gradient, (m,), ("derivative of `log`", "factor m", "v = m"))


def bessel_numpy() -> Control:
    """Rice's normaliser log I0, in NumPy; I1 in place of I1/I0."""
    k = np.array([0.6, 1.9])

    def loss(k):
        return jnp.sum(jnp.log(jax.scipy.special.i0(k)))

    def gradient(k, wrong=False):
        k = np.asarray(k, np.float64)
        return np_i1(k) / (1 if wrong else np_i0(k))

    return Control(loss, gradient, (k,), ("derivative of `log`", "missing factor"))


CONTROLS = (
    mean_squared_error, ridge, lasso, elastic_net, group_lasso, total_variation, huber, smooth_l1,
    log_cosh, quantile, expectile, epsilon_insensitive, poisson, negative_binomial, gamma_shape,
    gamma_log_link, tweedie, beta_regression, dirichlet, student_t, von_mises, gaussian_nll,
    gaussian_scale, probit, ordinal, conditional_logit, cox, cox_numpy, weibull, bradley_terry,
    bradley_terry_numpy, plackett_luce, log_normal, bessel_numpy,
)  # fmt: skip
