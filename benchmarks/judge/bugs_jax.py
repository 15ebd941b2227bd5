"""Derivatives of JAX and optax that were reported wrong; the live ones are JAX's own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax.losses as ol
from jax.nn import log_sigmoid, log_softmax, sigmoid, silu, softmax, softplus
from jax.scipy.special import i0e, i1, i1e, logsumexp
from jax.scipy.stats import beta

from benchmarks.judge.reports import Bug
from handgrad._types import Array

LN2 = 0.6931471805599453
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
TAIL = 37.42994775023705
HALF = float(np.nextafter(0.5, 0.0))
MANY = np.random.default_rng(0).normal(size=66_000)
WHERE = np.array([True, False])


def _own(report: str, function: str, f: Callable, at: tuple, faulty: Callable,
         dtype: str = "float64", argnums: int | tuple[int, ...] = 0) -> Bug:  # fmt: skip
    """A derivative of JAX's, asked as `jax.grad`."""
    return Bug(report, function, f, at, faulty, dtype, argnums, live=jax.grad(f, argnums))


def _second(report: str, function: str, f: Callable, at: tuple, faulty: Callable,
            dtype: str = "float64") -> Bug:  # fmt: skip
    """A second derivative of JAX's: the derivative of the first one."""
    return _own(report, function, jax.grad(f), at, faulty, dtype)


# --- activations: the derivative rebuilt from a result that has rounded ---------------------------


def elu_by_output(x: Array) -> Array:
    """The output plus one, where the output has rounded to −1."""
    return jnp.where(x > 0, 1.0, jnp.expm1(jnp.minimum(x, 0.0)) + 1)


def selu_by_output(x: Array) -> Array:
    """λα(eˣ − 1) + λα."""
    negative = SELU_ALPHA * jnp.expm1(jnp.minimum(x, 0.0)) + SELU_ALPHA
    return SELU_SCALE * jnp.where(x > 0, 1.0, negative)


def silu_by_sigmoid(x: Array) -> Array:
    """σ + xσ(1 − σ), where σ is below the smallest normal number."""
    s = sigmoid(x)
    return s + x * s * (1 - s)


def sigmoid_by_output(x: Array) -> Array:
    """σ(1 − σ), where σ has rounded to 1."""
    s = sigmoid(x)
    return s * (1 - s)


def tanh_by_output(x: Array) -> Array:
    """(1 + y)(1 − y), where y has rounded to ±1."""
    y = jnp.tanh(x)
    return (1 + y) * (1 - y)


def tanh_twice_by_output(x: Array) -> Array:
    """((1 − y) − (1 + y)) y′, where y is lost beside 1."""
    y = jnp.tanh(x)
    return ((1 - y) - (1 + y)) * (1 + y) * (1 - y)


@jax.custom_jvp
def tanh(x: Array) -> Array:
    """tanh with the rule (ẋ + ẋy)(1 − y)."""
    return jnp.tanh(x)


@tanh.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    y, (tangent,) = tanh(*primals), tangents
    return y, (tangent + tangent * y) * (1 - y)


def tanh_times_square(v: Array) -> Array:
    """u² tanh u at u = −10⁸ v."""
    u = -1e8 * v
    return jnp.tanh(u) * u * u


def _by_own_tanh(v: Array) -> Array:
    u = -1e8 * v
    return tanh(u) * u * u


def softplus_twice(x: Array) -> Array:
    """d(1 − d) with d = exp(x − softplus x), which has rounded to 1."""
    d = jnp.exp(x - softplus(x))
    return d * (1 - d)


def softmax_first(z: Array) -> Array:
    """The first of the probabilities."""
    return softmax(z)[0]


def log_softmax_first(z: Array) -> Array:
    """The logarithm of the first of the probabilities."""
    return log_softmax(z)[0]


def softmax_first_by_output(z: Array) -> Array:
    """p(c − Σpc) for the cotangent c = [1, 0]."""
    p, cotangent = softmax(z), jnp.array([1.0, 0.0], z.dtype)
    return p * (cotangent - jnp.sum(p * cotangent))


def log_softmax_first_by_output(z: Array) -> Array:
    """c − pΣc for the cotangent c = [1, 0]."""
    p, cotangent = softmax(z), jnp.array([1.0, 0.0], z.dtype)
    return cotangent - p * jnp.sum(cotangent)


def log_softmax_total(z: Array) -> Array:
    """Σ log softmax, as the sum of its entries."""
    return jnp.sum(log_softmax(z))


def log_softmax_total_by_count(z: Array) -> Array:
    """1 − n p, the number n of entries being infinite in float16."""
    count = jnp.sum(jnp.ones_like(z), dtype=z.dtype)
    return 1 - (count / jnp.sum(jnp.exp(z - jnp.max(z)), dtype=z.dtype)) * jnp.exp(z - jnp.max(z))


# --- functions ------------------------------------------------------------------------------------


def i0_by_parts(x: Array) -> Array:
    """The product rule for e^|x| · i0e(x), whose parts cancel to the last digit near 0."""
    s = jnp.sign(x)
    return jnp.exp(jnp.abs(x)) * s * i0e(x) + jnp.exp(jnp.abs(x)) * (i1e(x) - s * i0e(x))


def i0_shifted(t: Array) -> Array:
    """I₀(2t − 1)."""
    return jnp.i0(2 * t - 1)


def i0_shifted_twice(t: Array) -> Array:
    """4(I₀ − I₁/y) at y = 2t − 1, and 0 where y is 0."""
    y = 2 * t - 1
    inner = jnp.where(y == 0, 1.0, y)
    return jnp.where(y == 0, 0.0, 4 * (jnp.i0(inner) - i1(inner) / inner))


def sinc_by_parts(x: Array) -> Array:
    """(z cos z − sin z)/z² · π at z = πx."""
    z = jnp.pi * x
    return jnp.pi * (z * jnp.cos(z) - jnp.sin(z)) / (z * z)


def sinc_slope(x: Array) -> Array:
    """sinc′, exact in real arithmetic, which jax.grad of jnp.sinc is not in every JAX."""
    return jnp.where(x == 0, 0.0, sinc_by_parts(jnp.where(x == 0, 1.0, x)))


def sinc_shifted(t: Array) -> Array:
    """sinc(2t − 1)."""
    return jnp.sinc(2 * t - 1)


def sinc_shifted_forward(t: Array) -> Array:
    """2π(cos z/z − z⁻² sin z): two huge numbers that differ by their rounding."""
    z = jnp.pi * (2 * t - 1)
    return 2 * jnp.pi * (jnp.cos(z) / z - jnp.sin(z) * (1 / (z * z)))


def sinc_twice_but_flat(x: Array) -> Array:
    """sinc″ beside 0, and the derivative of a constant at 0."""
    z = jnp.pi * jnp.where(x == 0, 1.0, x)
    beside = -jnp.sin(z) / z - 2 * jnp.cos(z) / z**2 + 2 * jnp.sin(z) / z**3
    return jnp.where(x == 0, 0.0, jnp.pi**2 * beside)


def softplus_by_absolute(x: Array) -> Array:
    """The derivative of max(x, 0) + log1p(e^−|x|) piece by piece, with 0 for both pieces at 0."""
    e = jnp.exp(-jnp.abs(x))
    return jnp.where(x > 0, 1.0, 0.0) - jnp.sign(x) * e / (1 + e)


def naive_sigmoid(x: Array) -> Array:
    """1/(1 + e⁻ˣ)."""
    return 1 / (1 + jnp.exp(-x))


def naive_sigmoid_slope(x: Array) -> Array:
    """(1 + e⁻ˣ)⁻² e⁻ˣ, which is 0 · ∞."""
    return (1 + jnp.exp(-x)) ** -2 * jnp.exp(-x)


def square_norm(x: Array) -> Array:
    """‖x‖², through the norm."""
    return jnp.linalg.norm(x) ** 2


def square_norm_by_norm(x: Array) -> Array:
    """2‖x‖ · x/‖x‖."""
    n = jnp.linalg.norm(x)
    return 2 * n * (x / n)


def scaled_norm(a: Array, x: Array) -> Array:
    """‖a x‖."""
    return jnp.linalg.norm(a * x)


def scaled_norm_by_norm(a: Array, x: Array) -> Array:
    """⟨ax, x⟩/‖ax‖."""
    return jnp.dot(a * x, x) / jnp.linalg.norm(a * x)


def masked_logsumexp(z: Array) -> Array:
    """log Σ eᶻ over the entries that count."""
    return logsumexp(z, where=jnp.asarray(WHERE))


def masked_logsumexp_by_product(z: Array) -> Array:
    """The mask times exponentials that have overflowed."""
    top = jnp.max(z, where=jnp.asarray(WHERE), initial=-jnp.inf)
    total = jnp.sum(jnp.exp(z - top), where=jnp.asarray(WHERE))
    return jnp.asarray(WHERE, z.dtype) * jnp.exp(z - top) / total


def beta_likelihood(ab: Array) -> Array:
    """Σ log Beta(p | a, b) at p = ½, ½."""
    return jnp.sum(beta.logpdf(jnp.full(2, 0.5, ab.dtype), ab[0], ab[1]))


def beta_likelihood_without_log(ab: Array) -> Array:
    """n(ψ(a + b) − ψ(a, b)), and Σ log p only where a is not 1."""
    digamma = jax.scipy.special.digamma
    logs = jnp.where(ab == 1, 0.0, 2 * jnp.log(0.5))
    return 2 * (digamma(jnp.sum(ab)) - digamma(ab)) + logs


def fraction_to_nothing(x: Array) -> Array:
    """(x − ⌊x⌋)⁰."""
    return jnp.power(x - jnp.floor(x), jnp.zeros((), x.dtype))


# --- optax ----------------------------------------------------------------------------------------


def focal(z: Array) -> Array:
    """The focal loss with γ = 0 at label 1: log(1 + e⁻ᶻ)."""
    return ol.sigmoid_focal_loss(z, jnp.ones((), z.dtype), gamma=0.0)


def focal_by_product(z: Array) -> Array:
    """The product rule for (1 − p)⁰ · log(1 + e⁻ᶻ): 0 (1 − p)⁻¹ is 0 · ∞ where p is 1."""
    p = sigmoid(z)
    return 0 * (1 - p) ** -1.0 * softplus(-z) * p * (1 - p) - (1 - p)


def safe_cross_entropy(z: Array) -> Array:
    """−Σ y log p for y = [0, 1, 0], 0 log 0 being 0."""
    return ol.safe_softmax_cross_entropy(z, jnp.array([0.0, 1.0, 0.0], z.dtype))


def safe_cross_entropy_forward(z: Array) -> Array:
    """Column by column, with ẏ log p for labels that do not move: 0 · ∞ at a masked class."""
    y = jnp.array([0.0, 1.0, 0.0], z.dtype)
    still = jnp.zeros_like(y)
    moved = jnp.eye(3, dtype=z.dtype)
    terms = still * log_softmax(z) + y * (moved - jnp.sum(moved * softmax(z), -1, keepdims=True))
    return -jnp.sum(terms, -1)


# fmt: off
JAX = (
    _own("jax-ml/jax#39794", "expm1", jnp.expm1, (-40.0,), lambda x: jnp.expm1(x) + 1),
    _own("jax-ml/jax#39795", "elu", jax.nn.elu, (-40.0,), elu_by_output),
    _own("jax-ml/jax#39796", "selu", jax.nn.selu, (-700.0,), selu_by_output),
    _own("jax-ml/jax#39797", "i0", jnp.i0, (1e-300,), i0_by_parts),
    _own("jax-ml/jax#39798", "silu", silu, (-709.0,), silu_by_sigmoid),
    _own("jax-ml/jax#39799", "sqrt", jnp.sqrt, (5e-324,), lambda x: 0.5 / jnp.sqrt(x)),
    _second("jax-ml/jax#39801", "tanh″", jnp.tanh, (1e-300,), tanh_twice_by_output),
    _second("jax-ml/jax#40315", "(u² tanh u)″", tanh_times_square, (1.0,), jax.grad(jax.grad(_by_own_tanh))),
    _own("jax-ml/jax#40342", "sigmoid", sigmoid, (40.0,), sigmoid_by_output),
    _own("jax-ml/jax#40343", "tanh", jnp.tanh, (-20.0,), tanh_by_output),
    _own("jax-ml/jax#40344", "softmax[0]", softmax_first, ([40.0, 0.0],), softmax_first_by_output),
    _own("jax-ml/jax#40382", "exp2", jax.lax.exp2, (1024.0000000000002,), lambda x: LN2 * jnp.exp2(x)),
    _second("jax-ml/jax#40383", "log_sigmoid″", log_sigmoid, (-TAIL,), lambda x: -softplus_twice(-x)),
    _own("jax-ml/jax#40384", "log_softmax[0]", log_softmax_first, ([TAIL, 0.0],), log_softmax_first_by_output),
    _own("jax-ml/jax#40385", "sigmoid", sigmoid, (TAIL,), sigmoid_by_output),
    _own("jax-ml/jax#40386", "softmax[0]", softmax_first, ([TAIL, 0.0],), softmax_first_by_output),
    _second("jax-ml/jax#40387", "softplus″", softplus, (TAIL,), softplus_twice),
    _own("jax-ml/jax#40388", "tanh", jnp.tanh, (-9.010913848876953,), tanh_by_output, "float32"),
    _own("jax-ml/jax#40409", "Σ log_softmax", log_softmax_total, (MANY,), log_softmax_total_by_count, "float16"),
    Bug("jax-ml/jax#40627", "i0(2t − 1)″", lambda t: 2 * i1(2 * t - 1), (0.5,), i0_shifted_twice, live=jax.grad(jax.grad(i0_shifted))),
    Bug("jax-ml/jax#40629", "sinc(2t − 1), forward", sinc_shifted, (HALF,), sinc_shifted_forward, live=jax.jacfwd(sinc_shifted)),
    _own("jax-ml/jax#40634", "arcsinh", jnp.arcsinh, (1e22,), lambda x: jax.lax.rsqrt(x * x + 1), "float32"),
    _own("jax-ml/jax#40634", "arccosh", jnp.arccosh, (1e22,), lambda x: jax.lax.rsqrt(x * x - 1), "float32"),
    _own("jax-ml/jax#34139", "sinc", jnp.sinc, (1e-6,), sinc_by_parts, "float32"),
    Bug("jax-ml/jax#5054", "sinc″", sinc_slope, (0.0,), sinc_twice_but_flat, live=jax.grad(jax.grad(jnp.sinc))),
    _own("jax-ml/jax#2107", "softplus", softplus, (0.0,), softplus_by_absolute),
    _own("jax-ml/jax#2140", "log_sigmoid", log_sigmoid, (0.0,), lambda x: softplus_by_absolute(-x)),
    _own("jax-ml/jax#777", "1/(1 + e⁻ˣ)", naive_sigmoid, (-200.0,), naive_sigmoid_slope, "float32"),
    _own("jax-ml/jax#4177", "‖x‖²", square_norm, ([0.0, 0.0],), square_norm_by_norm),
    _own("jax-ml/jax#21723", "‖x‖²", square_norm, (0.0,), square_norm_by_norm, "float32"),
    _own("jax-ml/jax#26248", "‖a x‖ in a", scaled_norm, (1.3, [0.0, 0.0]), scaled_norm_by_norm),
    _own("jax-ml/jax#23842", "logsumexp(where=)", masked_logsumexp, ([0.0, 100.0],), masked_logsumexp_by_product, "float32"),
    _own("jax-ml/jax#15598", "beta.logpdf in a, b", beta_likelihood, ([1.0, 1.0],), beta_likelihood_without_log),
    Bug("jax-ml/jax#11467", "ldexp(x, 1)", lambda x: x * 2**1, (1.0,), lambda x: 0 * x, "float32", live=jax.grad(lambda x: jnp.ldexp(x, jnp.int32(1)))),
    Bug("jax-ml/jax#18450", "x⁰", lambda x: x**0, (0.0,), lambda x: 0 * x**-1.0, live=jax.jacfwd(jax.jit(lambda x: x**jnp.int32(0)))),
    _own("jax-ml/jax#12409", "(x − ⌊x⌋)⁰", fraction_to_nothing, (1.0,), lambda x: 0 * (x - jnp.floor(x)) ** -1.0),
    _own("google-deepmind/optax#1267", "focal loss, γ = 0", focal, (1000.0,), focal_by_product, "float32"),
    Bug("google-deepmind/optax#1762", "safe cross-entropy", safe_cross_entropy, ([-np.inf, 0.0, 0.0],), safe_cross_entropy_forward, live=jax.jacfwd(safe_cross_entropy)),
)
# fmt: on
