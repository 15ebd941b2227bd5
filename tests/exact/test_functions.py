"""Real arithmetic against mpmath: every function in value and in JAX's own gradient.

One table. Each case has a JAX function of scalars (or of one vector), the same function written
for mpmath from its definition, and points. `evaluate` must enclose mpmath's value to 60 digits and
so must the evaluation of `jax.grad`, with mpmath's derivative taken by differences at 240 digits or
more. Where JAX's trace itself holds a rounded constant (√2, log 2π, 0.044715), the case says
`rounded` (or `rounded="gradient"`): the balls of `constants="rounded"` must enclose the truth and
pin it to 12 digits or more.
"""

from collections.abc import Callable
from dataclasses import dataclass

import flint
import jax
import jax.numpy as jnp
import jax.scipy.special as sp
import jax.scipy.stats as st
import mpmath as mp
import numpy as np
import optax.losses as ol
import pytest
from flint import arb

from handgrad.exact import evaluate_jaxpr, trace

DIGITS = 60


@dataclass(frozen=True)
class Case:
    """A JAX function, its definition in mpmath, and where to compare them."""

    name: str
    f: Callable
    truth: Callable
    points: tuple
    rounded: bool | str = False
    moves: int | None = None  # how many leading arguments have a gradient; None: all


def case(name, f, truth, *points, rounded=False, moves=None):
    points = tuple(p if isinstance(p, tuple) else (p,) for p in points)
    return Case(name, f, truth, points, rounded, moves)


# Definitions that mpmath lacks, or has under another name.
def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x):
    return mp.log1p(mp.exp(x))


def lse(xs):
    return mp.log(mp.fsum(mp.exp(x) for x in xs))


def log_softmax(xs, i):
    return xs[i] - lse(xs)


def xlogy(x, y):
    return x * mp.log(y) if x else mp.mpf(0)


def clip(x, low, high):
    return min(max(x, mp.mpf(low)), mp.mpf(high))


def mean(xs):
    return mp.fsum(xs) / len(xs)


def variance(xs):
    return mean([(x - mean(xs)) ** 2 for x in xs])


def dot(xs, ys):
    return mp.fsum(x * y for x, y in zip(xs, ys, strict=True))


def norm(xs):
    return mp.sqrt(dot(xs, xs))


def gammainc(a, x):
    return mp.gammainc(a, 0, x, regularized=True)


def gammaincc(a, x):
    return mp.gammainc(a, x, mp.inf, regularized=True)


def betainc(a, b, x):
    return mp.betainc(a, b, 0, x, regularized=True)


def beta_log(a, b):
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def log_binomial(n, k):
    return mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)


def cauchy_cdf(x):
    return mp.mpf(1) / 2 + mp.atan(x) / mp.pi


def beta_logpdf(x, a, b):
    return (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) - beta_log(a, b)


def gamma_logpdf(x, a):
    return (a - 1) * mp.log(x) - x - mp.loggamma(a)


def chi2_logpdf(x, k):
    return (k / 2 - 1) * mp.log(x) - x / 2 - (k / 2) * mp.log(2) - mp.loggamma(k / 2)


def t_logpdf(x, v):
    return (
        mp.loggamma((v + 1) / 2) - mp.loggamma(v / 2) - mp.log(v * mp.pi) / 2
        - (v + 1) / 2 * mp.log(1 + x * x / v)
    )  # fmt: skip


def truncated(x, a, b):
    return mp.npdf(x) / (mp.ncdf(b) - mp.ncdf(a))


def softmax_weights(xs):
    total = mp.fsum(mp.exp(x) for x in xs)
    return [mp.exp(x) / total for x in xs]


def sparsemax_loss(x):  # of a logit and the label 1: the sign is turned
    return max(mp.mpf(0), -x) if abs(x) >= 1 else (x - 1) ** 2 / 4


def promoting(f):
    """f traced without the strictness of the tests: optax and JAX mix float32 with float64 here."""

    def traced(*arguments):
        with jax.numpy_dtype_promotion("standard"):
            return f(*arguments)

    return traced


@promoting
def attention(x):
    return jax.nn.dot_product_attention(x, x, x, scale=0.5)


@promoting
def sparsemax(z):
    return ol.multiclass_sparsemax_loss(z, jnp.zeros(1, jnp.int32))


@promoting
def ctc(z):
    return ol.ctc_loss(z, np.zeros((1, 2)), np.ones((1, 1), np.int32), np.zeros((1, 1)))


V = ((0.5, -1.25, 2.0, 0.1),)
P = ((0.2, 0.3, 0.4, 0.1),)
W = np.array([0.5, -1.0, 2.0, 0.25])  # exact weights that make a vector a scalar
X = (-2.5, 0.3, 4.0)
UNIT = (0.03125, 0.3, 0.9)
POSITIVE = (0.01, 0.7, 5.5)
Q = [mp.mpf(w) for w in (0.5, 0.25, 0.125, 0.125)]  # a distribution of short binary fractions
QJ = np.array([0.5, 0.25, 0.125, 0.125])
ONE_HOT = np.array([0.0, 0.0, 1.0, 0.0])

NN = (
    case("nn.celu", jax.nn.celu, lambda x: x if x > 0 else mp.expm1(x), *X),
    case("nn.elu", jax.nn.elu, lambda x: x if x > 0 else mp.expm1(x), *X),
    case("nn.gelu", lambda x: jax.nn.gelu(x, approximate=False), lambda x: x * mp.ncdf(x), *X,
         rounded=True),
    case("nn.gelu tanh", jax.nn.gelu, lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (
        x + mp.mpf("0.044715") * x**3))), *X, rounded=True),
    case("nn.glu", lambda x: jax.nn.glu(x) @ W[:2], lambda x: x[0] * sigmoid(x[2]) / 2
         - x[1] * sigmoid(x[3]), V),
    case("nn.hard_sigmoid", jax.nn.hard_sigmoid, lambda x: clip(x + 3, 0, 6) / 6, *X),
    case("nn.hard_silu", jax.nn.hard_silu, lambda x: x * clip(x + 3, 0, 6) / 6, *X),
    case("nn.hard_tanh", jax.nn.hard_tanh, lambda x: clip(x, -1, 1), *X),
    case("nn.identity", jax.nn.identity, lambda x: x, *X),
    case("nn.leaky_relu", lambda x: jax.nn.leaky_relu(x, 0.25), lambda x: max(x, x / 4), *X),
    case("nn.leaky_relu 0.01", jax.nn.leaky_relu, lambda x: max(x, x / 100), -2.5, rounded=True),
    case("nn.log1mexp", jax.nn.log1mexp, lambda x: mp.log(1 - mp.exp(-x)), *POSITIVE),
    case("nn.log_sigmoid", jax.nn.log_sigmoid, lambda x: -softplus(-x), *X, -90.0, 50.0),
    case("nn.log_softmax", lambda x: jax.nn.log_softmax(x)[2], lambda x: log_softmax(x, 2), V),
    case("nn.logmeanexp", jax.nn.logmeanexp, lambda x: lse(x) - mp.log(4), V),
    case("nn.logsumexp", jax.nn.logsumexp, lse, V, ((-800.0, 3.0, 0.5, 1.0),)),
    case("nn.mish", jax.nn.mish, lambda x: x * mp.tanh(softplus(x)), *X),
    case("nn.relu", jax.nn.relu, lambda x: max(x, mp.mpf(0)), *X),
    case("nn.relu6", jax.nn.relu6, lambda x: clip(x, 0, 6), *X, 7.0),
    case("nn.selu", jax.nn.selu, lambda x: mp.mpf("1.0507009873554804934193349852946") * (
        x if x > 0 else mp.mpf("1.6732632423543772848170429916717") * mp.expm1(x)), *X,
        rounded=True),
    case("nn.sigmoid", jax.nn.sigmoid, sigmoid, *X, 17.0, -745.0, 745.0),
    case("nn.silu", jax.nn.silu, lambda x: x * sigmoid(x), *X),
    case("nn.soft_sign", jax.nn.soft_sign, lambda x: x / (1 + abs(x)), *X),
    case("nn.softmax", lambda x: jax.nn.softmax(x) @ W,
         lambda x: dot(softmax_weights(x), [mp.mpf(w) for w in W]), V),
    case("nn.softplus", jax.nn.softplus, softplus, *X, -80.0),
    case("nn.sparse_plus", jax.nn.sparse_plus, lambda x: max(x, mp.mpf(0)) if abs(x) >= 1
         else (x + 1) ** 2 / 4, *X),
    case("nn.sparse_sigmoid", jax.nn.sparse_sigmoid, lambda x: clip((x + 1) / 2, 0, 1), *X),
    case("nn.squareplus", jax.nn.squareplus, lambda x: (x + mp.sqrt(x * x + 4)) / 2, *X),
    case("nn.standardize", lambda x: jax.nn.standardize(x, epsilon=0.0) @ W, lambda x: mp.fsum(
        w * (v - mean(x)) for w, v in zip(map(mp.mpf, W), x, strict=True)) / mp.sqrt(variance(x)),
        V),
    case("nn.tanh", jax.nn.tanh, mp.tanh, *X, 30.0),
    case("nn.dot_product_attention", lambda x: attention(x.reshape(1, 2, 1, 2))[0, 0, 0, 0],
        lambda x: (lambda p: p[0] * x[0] + p[1] * x[2])(softmax_weights(
            [dot(x[:2], x[:2]) / 2, dot(x[:2], x[2:]) / 2])), V),
)  # fmt: skip

SPECIAL = (
    case("sp.beta", sp.beta, mp.beta, (0.75, 2.5), (7.0, 0.1)),
    case("sp.betainc", lambda x: sp.betainc(0.75, 2.5, x), lambda x: betainc(.75, 2.5, x), *UNIT),
    case("sp.betaln", sp.betaln, beta_log, (0.75, 2.5), (7.0, 0.1)),
    case("sp.boxcox", getattr(sp, "boxcox", None), lambda x, k: (x**k - 1) / k,
         (0.7, 1.5), (3.0, -0.25)),
    case("sp.boxcox1p", getattr(sp, "boxcox1p", None), lambda x, k: ((1 + x)**k - 1) / k,
         (0.7, 1.5), (3.0, -0.25)),
    case("sp.comb", getattr(sp, "comb", None), mp.binomial, (5.5, 2.25)),
    case("sp.digamma", sp.digamma, mp.digamma, 0.3, 12.0, -1.5),
    case("sp.entr", sp.entr, lambda x: -x * mp.log(x), *UNIT),
    case("sp.erf", sp.erf, mp.erf, *X, rounded="gradient"),
    case("sp.erfc", sp.erfc, mp.erfc, *X, 30.0, rounded="gradient"),
    case("sp.erfinv", sp.erfinv, mp.erfinv, -0.75, 0.3, 0.99, rounded="gradient"),
    case("sp.expit", sp.expit, sigmoid, *X),
    case("sp.factorial", lambda x: sp.factorial(x), mp.factorial, 0.5, 4.25),
    case("sp.gamma", sp.gamma, mp.gamma, 0.3, 4.5, -1.5),
    case("sp.gammainc x", lambda x: sp.gammainc(2.5, x), lambda x: gammainc(2.5, x), *POSITIVE),
    case("sp.gammainc a", lambda a: sp.gammainc(a, 2.0), lambda a: gammainc(a, 2), 0.75, 6.0),
    case("sp.gammaincc x", lambda x: sp.gammaincc(2.5, x), lambda x: gammaincc(2.5, x), *POSITIVE),
    case("sp.gammaincc a", lambda a: sp.gammaincc(a, 2.0), lambda a: gammaincc(a, 2), 0.75, 6.0),
    case("sp.gammaln", sp.gammaln, mp.loggamma, *POSITIVE),
    case("sp.gammasgn", sp.gammasgn, lambda x: mp.sign(mp.gamma(x)), -1.5, 0.3, moves=0),
    case("sp.i0", sp.i0, lambda x: mp.besseli(0, x), *X),
    case("sp.i0e", sp.i0e, lambda x: mp.exp(-abs(x)) * mp.besseli(0, x), *X, 100.0),
    case("sp.i1", sp.i1, lambda x: mp.besseli(1, x), *X),
    case("sp.i1e", sp.i1e, lambda x: mp.exp(-abs(x)) * mp.besseli(1, x), *X),
    case("sp.kl_div", sp.kl_div, lambda p, q: p * mp.log(p / q) - p + q, (0.3, 0.6), (2.0, 0.1)),
    case("sp.log_ndtr", sp.log_ndtr, lambda x: mp.log(mp.ncdf(x)), *X, rounded=True),
    case("sp.log_softmax", lambda x: sp.log_softmax(x)[0], lambda x: log_softmax(x, 0), V),
    case("sp.logit", sp.logit, lambda p: mp.log(p / (1 - p)), *UNIT, 1e-12),
    case("sp.logsumexp", lambda x: sp.logsumexp(x, b=W * W), lambda x: mp.log(mp.fsum(
        mp.mpf(w)**2 * mp.exp(v) for w, v in zip(W, x, strict=True))), V),
    case("sp.multigammaln", lambda a: sp.multigammaln(a, 2), lambda a: mp.log(mp.pi) / 2
         + mp.loggamma(a) + mp.loggamma(a - 0.5), 1.25, 4.0, rounded=True),
    case("sp.ndtr", sp.ndtr, mp.ncdf, *X, rounded=True),
    case("sp.poch", sp.poch, mp.rf, (1.5, 2.25), (4.0, 0.5)),
    case("sp.polygamma 1", lambda x: sp.polygamma(1, x), lambda x: mp.polygamma(1, x), *POSITIVE,
         -2.25),
    case("sp.polygamma 3", lambda x: sp.polygamma(3, x), lambda x: mp.polygamma(3, x), *POSITIVE,
         -100.5),
    case("sp.rel_entr", sp.rel_entr, lambda p, q: p * mp.log(p / q), (0.3, 0.6), (2.0, 0.1)),
    case("sp.softmax", lambda x: sp.softmax(x)[1], lambda x: softmax_weights(x)[1], V),
    case("sp.xlog1py", sp.xlog1py, lambda x, y: x * mp.log(1 + y), (0.3, 0.6), (2.0, -0.1)),
    case("sp.xlogy", sp.xlogy, xlogy, (0.3, 0.6), (2.0, 0.1)),
    case("sp.zeta", lambda q: sp.zeta(3.5, q), lambda q: mp.zeta(3.5, q), *POSITIVE,
         moves=0),  # JAX differentiates the first terms of a series
)  # fmt: skip

ONE = mp.mpf(1)


def distribution(name, module, logpdf, cdf, points, rounded=False, ppf=None, moves=None):
    """The functions of a continuous distribution, from its log-density and its two tails."""
    table = {
        "logpdf": logpdf,
        "pdf": lambda *a: mp.exp(logpdf(*a)),
    }
    if cdf is not None:
        table |= {
            "cdf": cdf,
            "sf": lambda *a: 1 - cdf(*a),
            "logcdf": lambda *a: mp.log(cdf(*a)),
            "logsf": lambda *a: mp.log(1 - cdf(*a)),
        }
    for key, truth in table.items():
        if hasattr(module, key):
            yield case(f"st.{name}.{key}", getattr(module, key), truth, *points, rounded=rounded,
                       moves=None if "pdf" in key else moves)  # fmt: skip
    if ppf is not None:
        yield case(f"st.{name}.ppf", module.ppf, ppf, *UNIT, rounded=rounded, moves=moves)
        if hasattr(module, "isf"):
            yield case(f"st.{name}.isf", module.isf, lambda q: ppf(1 - q), *UNIT, rounded=rounded)


STATS = (
    *distribution("norm", st.norm, lambda x: mp.log(mp.npdf(x)), mp.ncdf, X, True),
    *distribution("logistic", st.logistic, lambda x: -x - 2 * softplus(-x), sigmoid, X,
               ppf=lambda p: mp.log(p / (1 - p))),
    *distribution("cauchy", st.cauchy, lambda x: -mp.log(mp.pi * (1 + x * x)), cauchy_cdf, X, True,
               ppf=lambda p: mp.tan(mp.pi * (p - ONE / 2))),
    *distribution("laplace", st.laplace, lambda x: -abs(x) - mp.log(2),
               lambda x: mp.exp(x) / 2 if x < 0 else 1 - mp.exp(-x) / 2, X),
    *distribution("expon", st.expon, lambda x: -x, lambda x: -mp.expm1(-x), POSITIVE,
               ppf=lambda p: -mp.log(1 - p)),
    *distribution("gumbel_r", st.gumbel_r, lambda x: -x - mp.exp(-x), lambda x: mp.exp(-mp.exp(-x)),
               X, ppf=lambda p: -mp.log(-mp.log(p)), moves=0),  # jax.grad itself fails in ppf
    *distribution("gumbel_l", st.gumbel_l, lambda x: x - mp.exp(x),
               lambda x: 1 - mp.exp(-mp.exp(x)), X, ppf=lambda p: mp.log(-mp.log(1 - p)), moves=0),
    *distribution("beta", st.beta, beta_logpdf, lambda x, a, b: betainc(a, b, x),
               [(u, 0.75, 2.5) for u in UNIT], moves=1),  # JAX has no derivative in a and b
    *distribution("gamma", st.gamma, gamma_logpdf, lambda x, a: gammainc(a, x),
               [(u, 2.5) for u in POSITIVE]),
    *distribution("chi2", st.chi2, chi2_logpdf, lambda x, k: gammainc(k / 2, x / 2),
               [(u, 3.0) for u in POSITIVE]),
    *distribution("t", st.t, t_logpdf, None, [(u, 4.5) for u in X], True),
    *distribution("pareto", st.pareto, lambda x, b: mp.log(b) - (b + 1) * mp.log(x),
               lambda x, b: 1 - x ** (-b), [(1.5, 2.5), (9.0, 0.3)]),
    *distribution("uniform", st.uniform, lambda x, a, s: -mp.log(s), lambda x, a, s: (x - a) / s,
               [(0.3, -0.5, 3.0)]),
    *distribution("gennorm", st.gennorm, lambda x, b: mp.log(b / 2) - mp.loggamma(1 / b)
               - abs(x) ** b, lambda x, b: ONE / 2 + mp.sign(x) * gammainc(1 / b, abs(x)**b) / 2,
               [(0.7, 1.5), (-2.0, 2.5)]),
    *distribution("vonmises", st.vonmises, lambda x, k: k * mp.cos(x) - mp.log(2 * mp.pi
               * mp.besseli(0, k)), None, [(0.7, 1.5)], True),
    *distribution("wrapcauchy", st.wrapcauchy, lambda x, c: mp.log((1 - c * c) / (2 * mp.pi * (
               1 + c * c - 2 * c * mp.cos(x)))), None, [(0.7, 0.5)], True),
    *distribution("truncnorm", st.truncnorm, lambda x, a, b: mp.log(truncated(x, a, b)),
               lambda x, a, b: (mp.ncdf(x) - mp.ncdf(a)) / (mp.ncdf(b) - mp.ncdf(a)),
               [(0.3, -1.5, 2.5)], True),
    case("st.bernoulli.logpmf", lambda p: st.bernoulli.logpmf(1, p), mp.log, *UNIT),
    case("st.bernoulli.pmf", lambda p: st.bernoulli.pmf(0, p), lambda p: 1 - p, *UNIT),
    case("st.binom.logpmf", lambda p: st.binom.logpmf(3, 7, p), lambda p: log_binomial(7, 3)
         + 3 * mp.log(p) + 4 * mp.log(1 - p), *UNIT),
    case("st.binom.pmf", lambda p: st.binom.pmf(3, 7, p), lambda p: 35 * p**3 * (1 - p)**4, *UNIT),
    case("st.betabinom.logpmf", lambda a, b: st.betabinom.logpmf(3, 7, a, b), lambda a, b:
         log_binomial(7, 3) + beta_log(3 + a, 4 + b) - beta_log(a, b), (0.75, 2.5)),
    case("st.geom.logpmf", lambda p: st.geom.logpmf(3, p), lambda p: mp.log(p)
         + 2 * mp.log(1 - p), *UNIT),
    case("st.nbinom.logpmf", lambda p: st.nbinom.logpmf(3, 2.5, p), lambda p: mp.loggamma(5.5)
         - mp.loggamma(4) - mp.loggamma(2.5) + 2.5 * mp.log(p) + 3 * mp.log(1 - p), *UNIT),
    case("st.poisson.logpmf", lambda m: st.poisson.logpmf(3, m), lambda m: 3 * mp.log(m) - m
         - mp.log(6), *POSITIVE),
    case("st.poisson.cdf", lambda m: st.poisson.cdf(3, m), lambda m: gammaincc(4, m), *POSITIVE),
    case("st.dirichlet.logpdf", lambda a: st.dirichlet.logpdf(QJ, a), lambda a: mp.loggamma(
        mp.fsum(a)) + mp.fsum((k - 1) * mp.log(q) - mp.loggamma(k)
                              for k, q in zip(a, Q, strict=True)), ((1.5, 2.0, 0.5, 3.0),)),
    case("st.multinomial.logpmf", lambda p: st.multinomial.logpmf(
        np.array([1, 2, 3, 0]), 6, p), lambda p: mp.log(60) + mp.log(p[0]) + 2 * mp.log(p[1])
        + 3 * mp.log(p[2]), ((0.5, 0.25, 0.125, 0.125),)),
    case("st.multivariate_normal.logpdf", lambda x: st.multivariate_normal.logpdf(
        x, np.zeros(2), np.array([[2.0, 0.5], [0.5, 1.0]])), lambda x: -mp.log(2 * mp.pi)
        - mp.log(mp.mpf(7) / 4) / 2 - (x[0]**2 - x[0] * x[1] + 2 * x[1]**2) * 2 / 7,
        ((0.3, -1.5),), rounded=True),
    case("st.sem", lambda x: st.sem(x), lambda x: mp.sqrt(variance(x) / 3), V),
)  # fmt: skip

LOSSES = (
    case("loss.sigmoid_binary_cross_entropy", lambda z: ol.sigmoid_binary_cross_entropy(z, 0.25),
         lambda z: softplus(z) - z / 4, *X, 40.0),
    case("loss.softmax_cross_entropy", lambda z: ol.softmax_cross_entropy(z, QJ),
         lambda z: lse(z) - dot(Q, z), V),
    case("loss.safe_softmax_cross_entropy", lambda z: ol.safe_softmax_cross_entropy(z, ONE_HOT),
         lambda z: lse(z) - z[2], V),
    case("loss.softmax_cross_entropy_with_integer_labels",
         lambda z: ol.softmax_cross_entropy_with_integer_labels(z, jnp.int32(2)),
         lambda z: lse(z) - z[2], V),
    case("loss.poly_loss_cross_entropy", lambda z: ol.poly_loss_cross_entropy(z, QJ),
         lambda z: lse(z) - dot(Q, z) + 2 * (1 - dot(Q, softmax_weights(z))), V),
    case("loss.sigmoid_focal_loss", lambda z: ol.sigmoid_focal_loss(z, 1.0),
         lambda z: softplus(-z) * (1 - sigmoid(z)) ** 2, *X),
    case("loss.kl_divergence", lambda q: ol.kl_divergence(q, QJ), lambda q: mp.fsum(
        p * (mp.log(p) - v) for p, v in zip(Q, q, strict=True)), V),
    case("loss.kl_divergence_with_log_targets", lambda q: ol.kl_divergence_with_log_targets(
        q, W), lambda q: mp.fsum(mp.exp(mp.mpf(w)) * (mp.mpf(w) - v)
                                 for w, v in zip(W, q, strict=True)), V),
    case("loss.generalized_kl_divergence", lambda q: ol.generalized_kl_divergence(q, QJ),
         lambda q: mp.fsum(p * (mp.log(p) - v) + mp.exp(v) - p
                           for p, v in zip(Q, q, strict=True)), V),
    case("loss.squared_error", lambda x: ol.squared_error(x, 0.5), lambda x: (x - 0.5) ** 2, *X),
    case("loss.l2_loss", lambda x: ol.l2_loss(x, 0.5), lambda x: (x - 0.5) ** 2 / 2, *X),
    case("loss.huber_loss", lambda x: ol.huber_loss(x, 0.5), lambda x: (x - 0.5) ** 2 / 2
         if abs(x - 0.5) <= 1 else abs(x - 0.5) - ONE / 2, *X),
    case("loss.log_cosh", lambda x: ol.log_cosh(x, 0.5), lambda x: mp.log(mp.cosh(x - 0.5)), *X,
         rounded=True),
    case("loss.hinge_loss", lambda x: ol.hinge_loss(x, -1.0), lambda x: max(mp.mpf(0), 1 + x), *X),
    case("loss.perceptron_loss", lambda x: ol.perceptron_loss(x, -1.0),
         lambda x: max(mp.mpf(0), x), *X),
    case("loss.sparsemax_loss", lambda x: ol.sparsemax_loss(x, 1), sparsemax_loss, *X),
    case("loss.multiclass_hinge_loss", lambda z: ol.multiclass_hinge_loss(z, jnp.int32(0)),
         lambda z: max(v - z[0] + bool(i) for i, v in enumerate(z)), V),
    case("loss.multiclass_perceptron_loss", lambda z: ol.multiclass_perceptron_loss(
        z, jnp.int32(0)), lambda z: max(z) - z[0], V),
    case("loss.multiclass_sparsemax_loss", lambda z: sparsemax(z[None])[0],
         lambda z: (z[2]**2 - (z[2] - 1)**2) / 2 - z[0] + ONE / 2, V),
    case("loss.cosine_similarity", lambda x: ol.cosine_similarity(x, W), lambda x: dot(
        x, list(map(mp.mpf, W))) / norm(x) / norm(list(map(mp.mpf, W))), V),
    case("loss.cosine_distance", lambda x: ol.cosine_distance(x, W), lambda x: 1 - dot(
        x, list(map(mp.mpf, W))) / norm(x) / norm(list(map(mp.mpf, W))), V),
    case("loss.ranking_softmax_loss", lambda z: ol.ranking_softmax_loss(z, QJ),
         lambda z: lse(z) - dot(Q, z), V),
    case("loss.smooth_labels", lambda y: ol.smooth_labels(y, 0.25) @ W, lambda y: dot(
        [3 * v / 4 + ONE / 16 for v in y], list(map(mp.mpf, W))), P),
    case("loss.binary_dice_loss", lambda z: ol.binary_dice_loss(
        z[None, :, None], ONE_HOT[None, :, None])[0],
        lambda z: 1 - (2 * sigmoid(z[2]) + 2) / (mp.fsum(map(sigmoid, z)) + 3), V),
    case("loss.triplet_margin_loss", lambda x: ol.triplet_margin_loss(x, W, -W, eps=0.0),
         lambda x: max(mp.mpf(0), norm([v - mp.mpf(w) for v, w in zip(x, W, strict=True)])
                       - norm([v + mp.mpf(w) for v, w in zip(x, W, strict=True)]) + 1), V),
    case("loss.dice_loss", lambda z: ol.dice_loss(z.reshape(1, 1, 4), ONE_HOT[None, None])[0],
         lambda z: mean([1 - (i + 1) / ((p + t) / 2 + 1) for p, t, i in zip(
             softmax_weights(z), (0, 0, 1, 0), (0, 0, softmax_weights(z)[2], 0), strict=True)]), V),
    case("loss.ctc_loss", lambda z: ctc(z.reshape(1, 2, 2))[0], lambda z: -mp.log(
         1 - softmax_weights(z[:2])[0] * softmax_weights(z[2:])[0]), V),  # not blank twice
    case("loss.fenchel_young", lambda z: ol.make_fenchel_young_loss(jax.nn.logsumexp)(z, QJ),
         lambda z: lse(z) - dot(Q, z), V),
)  # fmt: skip


def complex_case(name, f, truth, moves=None):
    """A function of z = (x + (x/2 + 1) i) / 3: its real part, and twice its imaginary part."""

    def of_parts(x):
        w = f(jax.lax.complex(x, x / 2 + 1) / 3)
        return jnp.real(w) + 2 * jnp.imag(w)

    def truth_of_parts(x):
        w = mp.mpmathify(truth(mp.mpc(x, x / 2 + 1) / 3))
        return w.real + 2 * w.imag

    return case(f"complex.{name}", of_parts, truth_of_parts, 0.75, -3.0, moves=moves)


COMPLEX = (
    *(complex_case(name, getattr(jnp, name), getattr(mp, name)) for name in (
        "cos", "cosh", "exp", "expm1", "log", "log1p", "sin", "sinh", "sqrt", "tan", "tanh")),
    *(complex_case(f"arc{name}", getattr(jnp, f"arc{name}"), getattr(mp, f"a{name}")) for name in (
        "cos", "sin", "sinh", "tan", "tanh")),
    # JAX's slope has the wrong sign left of 0, and that of the sign is 0
    complex_case("arccosh", jnp.arccosh, mp.acosh, moves=0),
    complex_case("sign", jnp.sign, lambda z: z / abs(z), moves=0),
    complex_case("abs", jnp.abs, abs),
    complex_case("angle", jnp.angle, mp.arg),
    complex_case("conj", lambda z: jnp.conj(z) * z * z, lambda z: mp.conj(z) * z * z),
    complex_case("integer_pow", lambda z: z**3, lambda z: z**3),
    complex_case("pow", lambda z: z ** (0.25 + 0.5j), lambda z: z ** mp.mpc(0.25, 0.5)),
    complex_case("sigmoid", jax.nn.sigmoid, sigmoid),
    complex_case("division", lambda z: 1 / (z - 1j), lambda z: 1 / (z - 1j)),
    complex_case("where", lambda z: jnp.where(z.real > 0, z - 1j, -z),
                 lambda z: z - 1j if z.real > 0 else -z),
    complex_case("equal", lambda z: jnp.where(z == z, z * z, 1j),
                 lambda z: z * z),
    complex_case("cumsum", lambda z: jnp.cumsum(jnp.stack([z, z * z]))[1] * jnp.prod(
        jnp.stack([z, z])), lambda z: (z + z * z) * z * z),
)  # fmt: skip

# Distributions and losses are made of the same functions: every third of them, and all of them
# in the long run. An older JAX lacks a few.
QUICK = NN + SPECIAL + COMPLEX + STATS[::3] + LOSSES[::3]
CASES = tuple(case for case in NN + SPECIAL + COMPLEX + STATS + LOSSES if case.f is not None)


def as_mp(point):
    return [[mp.mpf(v) for v in p] if isinstance(p, tuple) else mp.mpf(p) for p in point]


def as_arrays(point):
    return [np.array(p) if isinstance(p, tuple) else p for p in point]


def ball_of(value):
    """mpmath's value, with the last of its 110 digits in doubt."""
    value = arb(mp.nstr(mp.mpmathify(value), 110))
    return value + arb(0, (abs(value) * arb(10) ** -105).upper())


def slopes(truth, point, count):
    """mpmath's first partial derivatives: central differences at a step of 1e-60."""
    flat = [v for p in point for v in (p if isinstance(p, list) else [p])]
    moving = sum(len(p) if isinstance(p, list) else 1 for p in point[:count])
    step = mp.mpf(10) ** -60

    def rebuilt(values):
        values = iter(values)
        return [[next(values) for _ in p] if isinstance(p, list) else next(values) for p in point]

    for index in range(moving):
        above = [v + step * (i == index) for i, v in enumerate(flat)]
        below = [v - step * (i == index) for i, v in enumerate(flat)]
        yield (truth(*rebuilt(above)) - truth(*rebuilt(below))) / (2 * step)


def encloses(balls, truths, digits):
    """Whether every ball holds its true value and is narrow enough to say so."""
    assert len(balls) == len(truths)
    return all(
        ball.overlaps(ball_of(truth))
        and (ball.rel_accuracy_bits() >= digits * 3.32 or (ball.contains(0) and abs(ball) < 1e-300))
        for ball, truth in zip(balls, truths, strict=True)
    )


def agrees(case, f, truth):
    """Whether value and gradient enclose the truth at all points, in the way the case promises."""
    count = len(case.points[0]) if case.moves is None else case.moves
    traced_f = jax.value_and_grad(f, tuple(range(count))) if count else f
    traced = trace(traced_f, *as_arrays(case.points[0]))  # once, for all points
    for point in case.points:
        with mp.workdps(520 if np.max(np.abs(np.hstack(point))) > 100 else 240):
            truths = [truth(*as_mp(point)), *slopes(truth, as_mp(point), count)]
        leaves = jax.tree.leaves(as_arrays(point))
        found = {}
        with flint.ctx.workprec(400):
            for rounded in {case.rounded is True, bool(case.rounded)}:
                constants = "rounded" if rounded else "exact"
                outputs = evaluate_jaxpr(traced.jaxpr, leaves, DIGITS, constants=constants)
                found[rounded] = [ball for output in outputs for ball in np.ravel(output)]
            parts = ((case.rounded is True, slice(1)), (bool(case.rounded), slice(1, None)))
            for rounded, part in parts:
                digits = 12 if rounded else DIGITS
                if not encloses(found[rounded][part], truths[part], digits):
                    return False
    return True


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name, marks=() if c in QUICK else pytest.mark.slow) for c in CASES],
)
def test_value_and_gradient(case):
    assert agrees(case, case.f, case.truth)


def test_the_table_is_long_enough():
    assert len({case.name for case in CASES}) == len(CASES) >= 120
    assert sum(case.moves != 0 for case in CASES) >= 120


@pytest.mark.parametrize("error", ["1e-58", "-1e-60", "1"])
def test_an_error_in_the_sixtieth_digit_is_seen(error):
    def off(value):
        return value * (1 + mp.mpf(error))

    exact = case("", jax.nn.sigmoid, sigmoid, 0.3)
    assert agrees(exact, exact.f, sigmoid)
    assert not agrees(exact, exact.f, lambda x: off(sigmoid(x)))
    slope = case("", lambda x: x, None, 0.3)  # right in value, wrong in slope
    assert not agrees(slope, slope.f, lambda x: mp.mpf(0.3) + off(x - mp.mpf(0.3)))
    rounded = case("", jax.nn.gelu, None, 0.3, rounded=True)
    assert not agrees(rounded, rounded.f, lambda x: mp.mpf("0.185"))
