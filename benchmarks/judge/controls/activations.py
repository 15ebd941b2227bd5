"""Controls: activations, element by element and in pairs."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

from benchmarks.judge.controls.control import Control, draw, sigmoid


def gelu_exact() -> Control:
    """GELU by erf; the density's term forgotten."""
    x, c = draw(100, (4,), (4,))

    def loss(x):
        return jnp.sum(c * jax.nn.gelu(x, approximate=False))

    def gradient(x, wrong=False):
        cdf = 0.5 * (1 + erf(x / np.sqrt(2.0)))
        density = jnp.exp(-x * x / 2) / np.sqrt(2 * np.pi)
        return c * (cdf if wrong else cdf + x * density)

    return Control(loss, gradient, (x,), ("as if it were a constant",))


def gelu_tanh() -> Control:
    """GELU by tanh; the inner derivative without its cubic term."""
    x, c = draw(101, (4,), (4,))
    a, b = 0.7978845608028654, 0.044715

    def loss(x):
        return jnp.sum(c * 0.5 * x * (1 + jnp.tanh(a * (x + b * x**3))))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        t = np.tanh(a * (x + b * x**3))
        inner = a * (1 if wrong else 1 + 3 * b * x * x)
        return c * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner)

    return Control(loss, gradient, (x,), ("`integer_pow`", "as if it were a constant"))


def silu() -> Control:
    """SiLU; the derivative of the sigmoid alone."""
    x, c = draw(102, (4,), (4,))

    def loss(x):
        return jnp.sum(c * x * jax.nn.sigmoid(x))

    def gradient(x, wrong=False):
        s = sigmoid(x)
        return c * (s * (1 - s) if wrong else s * (1 + x * (1 - s)))

    return Control(loss, gradient, (x,), ("`logistic`", "v(1 − v)"))


def swish_beta() -> Control:
    """Swish with a learned slope; the slope's gradient with one factor x too few."""
    x, c = draw(103, (4,), (4,))
    beta = np.array(1.3)

    def loss(x, beta):
        return jnp.sum(c * x * jax.nn.sigmoid(beta * x))

    def gradient(x, beta, wrong=False):
        s = sigmoid(beta * x)
        slope = s * (1 - s)
        return c * (s + beta * x * slope), jnp.sum(c * slope * (x if wrong else x * x))

    return Control(loss, gradient, (x, beta), ("missing factor x",), (0, 1))


def softplus_beta() -> Control:
    """Softplus with a sharpness, in NumPy; the sharpness forgotten in the sigmoid."""
    x, c = draw(104, (4,), (4,))
    beta = 2.5

    def loss(x):
        return jnp.sum(c * jnp.logaddexp(0.0, beta * x) / beta)

    def gradient(x, wrong=False):
        x = np.asarray(x)
        return c * sigmoid(x if wrong else beta * x)

    return Control(
        loss, gradient, (x,), ("the factor 2.5", "σ(x)", "σ(its argument): the factor 1/2.5")
    )


def elu() -> Control:
    """ELU; the value in place of value plus alpha where x < 0."""
    x, c = np.array([-1.2, 0.4, -0.3, 2.1]), draw(105, (4,))
    alpha = 0.8

    def loss(x):
        return jnp.sum(c * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0.0))))

    def gradient(x, wrong=False):
        value = alpha * jnp.expm1(jnp.minimum(x, 0.0))
        return c * jnp.where(x > 0, 1.0, value if wrong else value + alpha)

    return Control(loss, gradient, (x,), ("taken to be v, v being its value",))


def selu() -> Control:
    """SELU in NumPy; the scale forgotten where x < 0."""
    x, c = np.array([-1.2, 0.4, -0.3, 2.1]), draw(106, (4,))
    scale, alpha = 1.0507009873554805, 1.6732632423543772

    def loss(x):
        negative = alpha * (jnp.exp(jnp.minimum(x, 0.0)) - 1)
        return jnp.sum(c * scale * jnp.where(x > 0, x, negative))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        negative = alpha * np.exp(np.minimum(x, 0.0))
        return c * np.where(x > 0, scale, negative if wrong else scale * negative)

    return Control(loss, gradient, (x,), ("factor 1.0507",))


def mish() -> Control:
    """Mish; 1 − t in place of 1 − t²."""
    x, c = draw(107, (4,), (4,))

    def loss(x):
        return jnp.sum(c * x * jnp.tanh(jax.nn.softplus(x)))

    def gradient(x, wrong=False):
        t = jnp.tanh(jax.nn.softplus(x))
        slope = 1 - (t if wrong else t * t)
        return c * (t + x * slope * sigmoid(x))

    return Control(loss, gradient, (x,), ("1 − v, v being its value", "`tanh`"))


def hardswish() -> Control:
    """Hard swish; the middle as x/3 without its half."""
    x, c = np.array([-3.5, -1.0, 0.7, 4.0]), draw(108, (4,))

    def loss(x):
        return jnp.sum(c * x * jnp.clip(x + 3, 0, 6) / 6)

    def gradient(x, wrong=False):
        middle = x / 3 + (0 if wrong else 0.5)
        return c * jnp.where(x <= -3, 0.0, jnp.where(x >= 3, 1.0, middle))

    return Control(loss, gradient, (x,), ("constant 3", "forgotten"))


def leaky_relu() -> Control:
    """Leaky ReLU in NumPy; zero where x < 0."""
    x, c = np.array([-1.2, 0.4, -0.3, 2.1]), draw(109, (4,))

    def loss(x):
        return jnp.sum(c * jnp.where(x > 0, x, 0.1 * x))

    def gradient(x, wrong=False):
        return c * np.where(np.asarray(x) > 0, 1.0, 0.0 if wrong else 0.1)

    return Control(loss, gradient, (x,), ("as if it were a constant", "1[x > 0]"))


def prelu() -> Control:
    """PReLU, a slope for each channel; the slopes' gradient not masked by x < 0."""
    x, c = draw(110, (4, 2), (4, 2))
    a = np.array([0.25, 0.1])

    def loss(x, a):
        return jnp.sum(c * jnp.where(x > 0, x, a * x))

    def gradient(x, a, wrong=False):
        x = np.asarray(x)
        da = c * x if wrong else c * x * (x < 0)
        return c * np.where(x > 0, 1.0, a), da.sum(0)

    return Control(
        loss,
        gradient,
        (x, a),
        ("mask", "derivative of `select_n`", "derivative of `where`"),
        (0, 1),
    )


def relu_of_gradient() -> Control:
    """ReLU; masked by the sign of what comes back."""
    x, c = np.array([-1.2, 0.4, -0.3, 2.1]), np.array([0.5, -1.0, 0.7, 1.1])

    def loss(x):
        return jnp.sum(c * jnp.maximum(x, 0.0))

    def gradient(x, wrong=False):
        c_ = jnp.asarray(c)
        return jnp.where(c_ > 0, c_, 0.0) if wrong else jnp.where(x > 0, c_, 0.0)

    return Control(loss, gradient, (x,), ("1[", "mask"))


def softsign() -> Control:
    """Softsign; 1/(1+|x|), not squared."""
    x, c = draw(111, (4,), (4,))

    def loss(x):
        return jnp.sum(c * x / (1 + jnp.abs(x)))

    def gradient(x, wrong=False):
        d = 1 + np.abs(np.asarray(x))
        return c / (d if wrong else d**2)

    return Control(loss, gradient, (x,), ("as if it were a constant",))


def sigmoid_of_value() -> Control:
    """Sigmoid with the saved output; the sigmoid applied to it again."""
    x, c = draw(112, (4,), (4,))

    def loss(x):
        return jnp.sum(c * jax.nn.sigmoid(x))

    def gradient(x, wrong=False):
        s = sigmoid(x)
        s = sigmoid(s) if wrong else s
        return c * s * (1 - s)

    return Control(loss, gradient, (x,), ("σ(its value)", "σ(σ("))


def tanh_of_argument() -> Control:
    """Tanh in NumPy; 1 − x² with the argument, not the value."""
    x, c = draw(113, (4,), (4,))

    def loss(x):
        return jnp.sum(c * jnp.tanh(x))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        return c * (1 - (x if wrong else np.tanh(x)) ** 2)

    return Control(loss, gradient, (x,), ("its argument", "v = x"))


def glu() -> Control:
    """GLU; the two halves' gradients exchanged."""
    x, c = draw(114, (2, 4), (2, 2))

    def loss(x):
        a, b = jnp.split(x, 2, axis=1)
        return jnp.sum(c * a * jax.nn.sigmoid(b))

    def gradient(x, wrong=False):
        a, b = jnp.split(x, 2, axis=1)
        s = sigmoid(b)
        halves = [c * s, c * a * s * (1 - s)]
        return jnp.concatenate(halves[::-1] if wrong else halves, axis=1)

    return Control(loss, gradient, (x,), ("shifted by 2 along axis 1", "exchanged", "swapped"))


def swiglu() -> Control:
    """SwiGLU; the gate's derivative that of a sigmoid."""
    x, w, v, c = draw(115, (2, 3), (3, 2), (3, 2), (2, 2))

    def loss(w, v, x):
        return jnp.sum(c * jax.nn.silu(x @ w) * (x @ v))

    def gradient(w, v, x, wrong=False):
        z, u = x @ w, x @ v
        s = sigmoid(z)
        slope = s * (1 - s) if wrong else s + z * s * (1 - s)
        return x.T @ (c * u * slope), x.T @ (c * z * s)

    return Control(loss, gradient, (w, v, x), ("v(1 − v)", "`logistic`", "silu"), (0, 1))


def reglu() -> Control:
    """ReGLU; the gate's mask forgotten."""
    x, c = draw(116, (3, 4), (3, 2))

    def loss(x):
        a, b = x[:, :2], x[:, 2:]
        return jnp.sum(c * jax.nn.relu(a) * b)

    def gradient(x, wrong=False):
        x = np.asarray(x)
        a, b = x[:, :2], x[:, 2:]
        da = c * b if wrong else c * b * (a > 0)
        return np.concatenate([da, c * np.maximum(a, 0)], axis=1)

    return Control(loss, gradient, (x,), ("forgotten", "mask"))


def maxout() -> Control:
    """Maxout of two; both pieces get everything."""
    x, c = draw(117, (3, 2, 2), (3, 2))

    def loss(x):
        return jnp.sum(c * jnp.max(x, axis=-1))

    def gradient(x, wrong=False):
        first = x == jnp.max(x, axis=-1, keepdims=True)
        return c[:, :, None] * (jnp.ones_like(x) if wrong else first)

    return Control(loss, gradient, (x,), ("not zero at", "`reduce_max`", "mask", "broadcast again"))


def hard_tanh() -> Control:
    """Hard tanh; the straight-through estimator, not clipped."""
    x, c = np.array([-1.7, -0.4, 0.3, 2.2]), draw(118, (4,))

    def loss(x):
        return jnp.sum(c * jnp.clip(x, -1.0, 1.0))

    def gradient(x, wrong=False):
        inside = (x > -1) & (x < 1)
        return c * (jnp.ones_like(x) if wrong else inside)

    return Control(loss, gradient, (x,), ("not zero at", "clip", "mask", "`min`"))


def log_sigmoid() -> Control:
    """Log-sigmoid; sigmoid(x) in place of sigmoid(−x)."""
    x, c = draw(119, (4,), (4,))

    def loss(x):
        return jnp.sum(c * -jnp.logaddexp(0.0, -x))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        return c * sigmoid(x if wrong else -x)

    return Control(loss, gradient, (x,), ("σ(",))


CONTROLS = (
    gelu_exact, gelu_tanh, silu, swish_beta, softplus_beta, elu, selu, mish, hardswish, leaky_relu,
    prelu, relu_of_gradient, softsign, sigmoid_of_value, tanh_of_argument, glu, swiglu, reglu,
    maxout, hard_tanh, log_sigmoid,
)  # fmt: skip
