"""Controls: at kinks, ties, zeros and far out, where more than one answer may be right."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy

from benchmarks.judge.controls.control import Control, draw, sigmoid, softmax


def relu_at_zero() -> Control:
    """ReLU at 0, in NumPy; the sign for the step."""
    x, c = np.array([0.0, 1.2, -0.3, 0.0]), np.array([0.7, -1.1, 0.4, -0.6])

    def loss(x):
        return jnp.sum(c * jnp.maximum(x, 0.0))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        return c * (np.sign(x) if wrong else (x > 0))

    return Control(loss, gradient, (x,), ("sign", "in place of 0", "not zero at"))


def relu_slope_one_at_zero() -> Control:
    """ReLU with slope 1 at 0, in NumPy; 1 below it too, close by."""
    x, c = np.array([0.0, 1.2, -0.01, 0.0]), np.array([0.7, -1.1, 0.4, -0.6])

    def loss(x):
        return jnp.sum(c * jnp.maximum(x, 0.0))

    def gradient(x, wrong=False):
        return c * (np.asarray(x) >= (-0.1 if wrong else 0.0))

    return Control(loss, gradient, (x,), ("in place of 0", "not zero at"))


def relu_layer_of_padding() -> Control:
    """A ReLU layer without bias on a row of zeros; the weight not transposed."""
    w, v = draw(700, (2, 2), (2,))
    x = np.array([[0.0, 0.0], [0.4, -1.3], [1.1, 0.9]])

    def loss(w, x):
        return jnp.sum(jax.nn.relu(x @ w) @ v)

    def gradient(w, x, wrong=False):
        back = (x @ w > 0) * v
        return x.T @ back, back @ (w if wrong else w.T)

    return Control(loss, gradient, (w, x), ("not transposed",), (0, 1))


def maximum_of_two() -> Control:
    """The larger of two, with a tie; everything to both."""
    a, b = np.array([0.5, 1.0, -2.0]), np.array([0.5, 0.3, 1.0])

    def loss(a, b):
        return jnp.sum(jnp.maximum(a, b) ** 2)

    def gradient(a, b, wrong=False):
        r = 2 * jnp.maximum(a, b)
        first = a >= b
        second = b >= a if wrong else ~first
        return jnp.where(first, r, 0), jnp.where(second, r, 0)

    return Control(loss, gradient, (a, b), ("together they give", "tie"), (0, 1))


def max_pool_tie() -> Control:
    """Max-pooling with a tie, shared evenly; all of it to each."""
    x, c = np.array([[1.0, 1.0, 0.2], [0.3, 2.0, 2.0]]), np.array([0.8, -1.3])

    def loss(x):
        return jnp.sum(c * jnp.max(x, axis=1))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        best = x == x.max(1, keepdims=True)
        count = 1 if wrong else best.sum(1, keepdims=True)
        return c[:, None] * best / count

    return Control(loss, gradient, (x,), ("together they give", "tie"))


def multiclass_hinge_tie() -> Control:
    """Multiclass hinge, two classes equally wrong; both counted."""
    z, y = np.array([[1.0, 1.0, 0.5], [0.2, -0.4, 0.9]]), np.array([2, 0])

    def loss(z):
        hot = jax.nn.one_hot(y, 3, dtype=z.dtype)
        return jnp.sum(jnp.max(z + 1 - hot, 1) - jnp.sum(z * hot, 1))

    def gradient(z, wrong=False):
        hot = jax.nn.one_hot(y, 3, dtype=z.dtype)
        score = z + 1 - hot
        worst = jax.nn.one_hot(jnp.argmax(score, 1), 3, dtype=z.dtype)
        both = jnp.where(score == jnp.max(score, 1, keepdims=True), 1.0, 0.0)
        return (both if wrong else worst) - hot

    return Control(loss, gradient, (z,), ("together they give", "tie"))


def hinge_at_margin() -> Control:
    """Hinge at its margin; 2 where the slope is at most 1."""
    z, y = np.array([1.0, -0.4, 0.3, -1.0]), np.array([1.0, 1.0, -1.0, -1.0])

    def loss(z):
        return jnp.sum(jnp.maximum(0.0, 1 - y * z))

    def gradient(z, wrong=False):
        active = np.asarray(y * np.asarray(z) <= 1, float)
        return -y * (2 * active if wrong else active)

    return Control(loss, gradient, (z,), ("twice too large",))


def huber_at_delta() -> Control:
    """Huber where it turns linear; the sign forgotten where it is linear."""
    e, delta = np.array([1.0, -1.0, 0.3, -2.5, 1.7]), 1.0

    def loss(e):
        a = jnp.abs(e)
        return jnp.sum(jnp.where(a <= delta, e**2 / 2, delta * (a - delta / 2)))

    def gradient(e, wrong=False):
        linear = delta * jnp.ones_like(e) if wrong else delta * jnp.sign(e)
        return jnp.where(jnp.abs(e) <= delta, e, linear)

    return Control(loss, gradient, (e,), ("sign",))


def absolute_error_at_zero() -> Control:
    """Mean absolute error with an exact prediction, in NumPy; the mean forgotten."""
    p, y = np.array([0.5, 1.2, -0.7]), np.array([0.5, 0.8, 0.1])

    def loss(p):
        return jnp.mean(jnp.abs(p - y))

    def gradient(p, wrong=False):
        s = np.sign(np.asarray(p) - y)
        return s if wrong else s / 3

    return Control(loss, gradient, (p,), ("a mean forgotten", "3 times too large"))


def quantile_at_zero() -> Control:
    """Quantile loss with an exact prediction; the sign of the whole."""
    p, y, q = np.array([0.5, 1.2, -0.7]), np.array([0.5, 0.8, 0.1]), 0.25

    def loss(p):
        e = y - p
        return jnp.sum(jnp.maximum(q * e, (q - 1) * e))

    def gradient(p, wrong=False):
        g = jnp.where(y > p, -q, 1 - q)
        return -g if wrong else g

    return Control(loss, gradient, (p,), ("sign flipped",))


def clip_at_bounds() -> Control:
    """A clip with inputs on its bounds; slope 1 outside too."""
    x, c = np.array([-1.0, 0.5, 1.0, 1.8]), np.array([0.9, -0.7, 1.2, 0.5])

    def loss(x):
        return jnp.sum(c * jnp.clip(x, -1.0, 1.0))

    def gradient(x, wrong=False):
        return c * (np.ones(4) if wrong else (np.abs(np.asarray(x)) <= 1))

    return Control(
        loss, gradient, (x,), ("clip", "in place of 0", "not zero at", "derivative of `min`")
    )


def elu_at_zero() -> Control:
    """ELU with alpha 0.5 at 0, a kink; alpha forgotten below."""
    x, c, alpha = np.array([0.0, -0.8, 1.4, -2.0]), np.array([0.9, -0.7, 1.2, 0.5]), 0.5

    def loss(x):
        return jnp.sum(c * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0.0))))

    def gradient(x, wrong=False):
        below = jnp.exp(jnp.minimum(x, 0.0))
        return c * jnp.where(x > 0, 1.0, below if wrong else alpha * below)

    return Control(loss, gradient, (x,), ("twice too large", "factor 0.5"))


def norm_at_zero() -> Control:
    """A group's norm at 0, 0 as its subgradient; divided by 0."""
    w = np.array([[0.0, 0.0], [0.6, -0.8]])

    def loss(w):
        return jnp.sum(jnp.sqrt(jnp.sum(w**2, axis=1)))

    def gradient(w, wrong=False):
        n = jnp.sqrt(jnp.sum(w**2, axis=1, keepdims=True))
        return w / n if wrong else jnp.where(n > 0, w / jnp.where(n > 0, n, 1.0), 0.0)

    return Control(loss, gradient, (w,), ("NaN",))


def lovasz_tie() -> Control:
    """Lovász hinge with two errors equal, in NumPy; the errors in rising order."""
    z, y = np.array([0.6, -0.6, 0.3]), np.array([1.0, 0.0, 1.0])

    def loss(z):
        errors = 1 - z * (2 * y - 1)
        order = jnp.argsort(-errors)
        truth = jnp.asarray(y)[order]
        both, union = 2 - jnp.cumsum(truth), 2 + jnp.cumsum(1 - truth)
        jaccard = 1 - both / union
        weights = jnp.concatenate([jaccard[:1], jnp.diff(jaccard)])
        return jnp.sum(jnp.maximum(errors[order], 0.0) * weights)

    def gradient(z, wrong=False):
        signs = 2 * y - 1
        errors = 1 - np.asarray(z) * signs
        order = np.argsort(errors if wrong else -errors, kind="stable")
        truth = y[order]
        jaccard = 1 - (2 - np.cumsum(truth)) / (2 + np.cumsum(1 - truth))
        g = np.zeros(3)
        g[order] = np.diff(jaccard, prepend=0.0)
        return -signs * g

    return Control(loss, gradient, (z,), ("order", "revers", "wrong coordinates", "sort"))


def sorted_tie() -> Control:
    """Trimmed mean by a sort, with a tie in the data; the trimmed ones counted."""
    x = np.array([0.4, 0.4, 2.0, -1.0])

    def loss(x):
        return jnp.mean(jnp.sort(x)[1:3] ** 2)

    def gradient(x, wrong=False):
        rank = jnp.argsort(jnp.argsort(x))
        kept = (rank >= 0) if wrong else (rank >= 1) & (rank < 3)
        return jnp.where(kept, x, 0.0)

    return Control(loss, gradient, (x,), ("not zero at", "`slice`", "mask"))


def entropy_at_zero() -> Control:
    """Entropy at p = 0, where its slope is infinite; an epsilon in the logarithm."""
    p = np.array([0.0, 0.3, 0.7])

    def loss(p):
        return -jnp.sum(xlogy(p, p))

    def gradient(p, wrong=False):
        return -(jnp.log(p + (1e-7 if wrong else 0.0)) + 1)

    return Control(loss, gradient, (p,), ("inf", "epsilon", "1e-7", "1e-07"))


def cross_entropy_of_zero_label() -> Control:
    """Soft labels with a 0 among them, in NumPy; each row's labels not summed."""
    z, y = draw(701, (2, 3)), np.array([[0.0, 0.3, 0.5], [1.0, 0.0, 0.0]])

    def loss(z):
        return -jnp.sum(y * jax.nn.log_softmax(z))

    def gradient(z, wrong=False):
        total = 1 if wrong else y.sum(1, keepdims=True)
        return softmax(np.asarray(z)) * total - y

    return Control(loss, gradient, (z,), ("not summed", "softmax", "factor"))


def masked_logits() -> Control:
    """Logits of which some are −inf; the masked ones as 0."""
    z, y = np.array([[-np.inf, 0.4, 1.1], [0.3, -np.inf, -0.6]]), np.array([1, 2])

    def loss(z):
        return jnp.sum(jax.nn.logsumexp(z, axis=1) - z[jnp.arange(2), y])

    def gradient(z, wrong=False):
        p = softmax(jnp.where(jnp.isinf(z), 0.0, z) if wrong else z)
        return p - jax.nn.one_hot(y, 3, dtype=z.dtype)

    return Control(loss, gradient, (z,), ("mask", "not zero at"))


def saturated_logits() -> Control:
    """Binary cross-entropy at logits of ±40; from a probability clipped at 1e-7."""
    z, y = np.array([40.0, -40.0, 2.0]), np.array([1.0, 0.0, 0.0])

    def loss(z):
        return jnp.mean(jnp.logaddexp(0.0, z) - y * z)

    def gradient(z, wrong=False):
        if wrong:
            return (jnp.clip(jax.nn.sigmoid(z), 1e-7, 1 - 1e-7) - y) / 3
        return ((1 - y) * jax.nn.sigmoid(z) - y * jax.nn.sigmoid(-z)) / 3

    return Control(loss, gradient, (z,), ("clip", "no digit", "1e-07", "1e-7"))


def large_logits() -> Control:
    """Softmax cross-entropy at logits near 1000; the shift's gradient added."""
    z, y = np.array([[1000.0, 998.5, 999.2]]), np.array([1])

    def loss(z):
        return jnp.sum(jax.nn.logsumexp(z, axis=1) - z[jnp.arange(1), y])

    def gradient(z, wrong=False):
        z = np.asarray(z)
        r = softmax(z) - np.eye(3)[y]
        return r + (z == z.max(1, keepdims=True)) if wrong else r

    return Control(loss, gradient, (z,), ("`reduce_max`",))


def layer_norm_of_equals() -> Control:
    """Layer norm of a row of equal numbers; the epsilon forgotten."""
    x, c = np.array([[0.5, 0.5, 0.5], [1.0, -0.2, 0.4]]), draw(702, (2, 3))

    def loss(x):
        mean = jnp.mean(x, 1, keepdims=True)
        return jnp.sum(c * (x - mean) / jnp.sqrt(jnp.var(x, 1, keepdims=True) + 1e-5))

    def gradient(x, wrong=False):
        mean = jnp.mean(x, 1, keepdims=True)
        std = jnp.sqrt(jnp.var(x, 1, keepdims=True) + (0.0 if wrong else 1e-5))
        u = (x - mean) / std
        return (c - jnp.mean(c, 1, keepdims=True) - u * jnp.mean(c * u, 1, keepdims=True)) / std

    return Control(loss, gradient, (x,), ("NaN", "inf"))


def dice_of_nothing() -> Control:
    """Dice of an empty mask, in NumPy; the smoothing above forgotten."""
    p, y = np.array([0.2, 0.1, 0.4]), np.zeros(3)

    def loss(p):
        return 1 - (2 * jnp.sum(p * y) + 1) / (jnp.sum(p) + jnp.sum(y) + 1)

    def gradient(p, wrong=False):
        p = np.asarray(p)
        bottom = p.sum() + y.sum() + 1
        return -2 * y / bottom + (2 * (p * y).sum() + (0 if wrong else 1)) / bottom**2

    return Control(loss, gradient, (p,), ("forgotten: zero",))


def cosine_with_floor() -> Control:
    """Cosine with a floor under the norm, at a zero vector; the floor forgotten."""
    a, b = np.array([[0.0, 0.0], [0.6, -1.3]]), draw(703, (2, 2))

    def loss(a):
        n = jnp.sqrt(jnp.maximum(jnp.sum(a * a, 1), 1e-6))
        return jnp.sum(jnp.sum(a * b, 1) / n)

    def gradient(a, wrong=False):
        square = jnp.sum(a * a, 1, keepdims=True)
        n = jnp.sqrt(square if wrong else jnp.maximum(square, 1e-6))
        above = jnp.where(square > 1e-6, 1.0, 0.0)
        return b / n - above * a * jnp.sum(a * b, 1, keepdims=True) / n**3

    return Control(loss, gradient, (a,), ("inf", "NaN"))


def softplus_far() -> Control:
    """Softplus at ±30, in NumPy; one half added at both ends."""
    x = np.array([30.0, -30.0, 0.5])

    def loss(x):
        return jnp.sum(jnp.logaddexp(x, 0.0))

    def gradient(x, wrong=False):
        e = np.exp(-np.abs(np.asarray(x)))
        s = np.where(np.asarray(x) >= 0, 1 / (1 + e), e / (1 + e))
        return s + 0.5 if wrong else s

    return Control(loss, gradient, (x,), ("additive constant 0.5",))


def hard_sigmoid_kinks() -> Control:
    """Hard sigmoid at both of its kinks; the slope 1/5 of another library for 1/6."""
    x, c = np.array([-3.0, 3.0, 1.0, -0.5]), np.array([0.9, -0.7, 1.2, 0.5])

    def loss(x):
        return jnp.sum(c * jnp.clip(x + 3, 0.0, 6.0) / 6)

    def gradient(x, wrong=False):
        inside = (x > -3) & (x < 3)
        return c * jnp.where(inside, 0.2 if wrong else 1 / 6, 0.0)

    return Control(loss, gradient, (x,), ("constant factor 1.2", "factor 6/5", "ratio 1.2"))


def sparse_counts() -> Control:
    """Poisson with counts of 0 and a rate near 0; the rate's reciprocal forgotten."""
    rate, y = np.array([1e-6, 0.4, 3.1]), np.array([0.0, 1.0, 2.0])

    def loss(rate):
        return jnp.sum(rate - xlogy(y, rate))

    def gradient(rate, wrong=False):
        return 1 - y / (1.0 if wrong else rate)

    return Control(loss, gradient, (rate,), ("derivative of `log`", "missing factor", "xlogy"))


def gate_near_zero() -> Control:
    """SiLU at inputs of 1e-8, in NumPy; off by a part in ten thousand."""
    x, c = 1e-8 * draw(704, (3,)), draw(705, (3,))

    def loss(x):
        return jnp.sum(c * x * jax.nn.sigmoid(x))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        s = sigmoid(x)
        return c * (s + x * s * (1 - s)) * (1.0001 if wrong else 1)

    return Control(loss, gradient, (x,), ("1.0001", "constant factor"))


CONTROLS = (
    relu_at_zero, relu_slope_one_at_zero, relu_layer_of_padding, maximum_of_two, max_pool_tie,
    multiclass_hinge_tie,
    hinge_at_margin, huber_at_delta, absolute_error_at_zero, quantile_at_zero, clip_at_bounds,
    elu_at_zero, norm_at_zero, lovasz_tie, sorted_tie, entropy_at_zero,
    cross_entropy_of_zero_label, masked_logits, saturated_logits, large_logits,
    layer_norm_of_equals, dice_of_nothing, cosine_with_floor, softplus_far, hard_sigmoid_kinks,
    sparse_counts, gate_near_zero,
)  # fmt: skip
