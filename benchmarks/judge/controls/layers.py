"""Controls: linear and convolutional layers, pooling, lookups, dropout and small networks."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.judge.controls.control import Control, draw, sigmoid, softmax


def linear() -> Control:
    """A linear layer; the bias's gradient averaged, not summed."""
    w, b, x, c = draw(400, (3, 2), (2,), (4, 3), (4, 2))

    def loss(w, b, x):
        return jnp.sum(c * (x @ w + b))

    def gradient(w, b, x, wrong=False):
        db = jnp.mean(c, 0) if wrong else jnp.sum(c, 0)
        return x.T @ c, db + 0 * b, c @ w.T

    return Control(loss, gradient, (w, b, x), ("4 times too small",), (0, 1, 2))


def linear_square() -> Control:
    """A square linear layer in NumPy; the weight not transposed on the way back."""
    w, x, c = draw(401, (3, 3), (2, 3), (2, 3))

    def loss(w, x):
        return jnp.sum(c * jnp.tanh(x @ w))

    def gradient(w, x, wrong=False):
        w, x = np.asarray(w), np.asarray(x)
        r = c * (1 - np.tanh(x @ w) ** 2)
        return x.T @ r, r @ (w if wrong else w.T)

    return Control(loss, gradient, (w, x), ("not transposed",), (0, 1))


def bilinear() -> Control:
    """A bilinear layer; the outer product the wrong way round."""
    a, x, y = draw(402, (3, 3), (3,), (3,))

    def loss(a, x, y):
        return jnp.sin(x @ a @ y)

    def gradient(a, x, y, wrong=False):
        r = jnp.cos(x @ a @ y)
        return r * (jnp.outer(y, x) if wrong else jnp.outer(x, y)), r * (a @ y), r * (a.T @ x)

    return Control(loss, gradient, (a, x, y), ("transposed",), (0, 1, 2))


def mlp_two_layers() -> Control:
    """Two layers with tanh; tanh's derivative forgotten."""
    w1, w2, x, y = draw(403, (2, 3), (3, 1), (3, 2), (3, 1))

    def loss(w1, w2, x, y):
        return jnp.mean((jnp.tanh(x @ w1) @ w2 - y) ** 2)

    def gradient(w1, w2, x, y, wrong=False):
        h = jnp.tanh(x @ w1)
        r = 2 * (h @ w2 - y) / 3
        back = r @ w2.T * (1 if wrong else 1 - h * h)
        return x.T @ back, h.T @ r

    return Control(loss, gradient, (w1, w2, x, y), ("`tanh`",), (0, 1))


def mlp_sigmoid_numpy() -> Control:
    """Two layers of sigmoids in NumPy; the output sigmoid's derivative beside cross-entropy."""
    w1, w2, x = draw(404, (2, 2), (2, 1), (4, 2))
    y = np.array([[1.0], [0.0], [0.0], [1.0]])

    def loss(w1, w2):
        z = jax.nn.sigmoid(x @ w1) @ w2
        return jnp.mean(jnp.logaddexp(0.0, z) - y * z)

    def gradient(w1, w2, wrong=False):
        w1, w2 = np.asarray(w1), np.asarray(w2)
        h = sigmoid(x @ w1)
        p = sigmoid(h @ w2)
        r = (p - y) / 4 * (p * (1 - p) if wrong else 1)
        return x.T @ (r @ w2.T * h * (1 - h)), h.T @ r

    return Control(loss, gradient, (w1, w2), ("squared error", "v(1 − v)"), (0, 1))


def mlp_relu_softmax() -> Control:
    """ReLU and softmax (the CS231n exercise); the mask of the activation, not of its gradient."""
    w1, w2, x = draw(405, (2, 3), (3, 2), (3, 2))
    y = np.array([0, 1, 1])

    def loss(w1, w2):
        z = jnp.maximum(x @ w1, 0) @ w2
        return jnp.mean(jax.nn.logsumexp(z, 1) - jnp.take_along_axis(z, y[:, None], 1)[:, 0])

    def gradient(w1, w2, wrong=False):
        a = np.asarray(x @ w1)
        h = np.maximum(a, 0)
        r = (softmax(h @ np.asarray(w2)) - np.eye(2)[y]) / 3
        back = r @ np.asarray(w2).T
        return x.T @ (back if wrong else back * (a > 0)), h.T @ r

    return Control(loss, gradient, (w1, w2), ("derivative of `max`", "mask", "1["), (0, 1))


def autoencoder_tied() -> Control:
    """An autoencoder with tied weights; the decoder's share alone."""
    w, x = draw(406, (3, 2), (3, 3))

    def loss(w):
        return jnp.mean(jnp.sum((jnp.tanh(x @ w) @ w.T - x) ** 2, 1))

    def gradient(w, wrong=False):
        h = jnp.tanh(x @ w)
        r = 2 * (h @ w.T - x) / 3
        encoder = x.T @ (r @ w * (1 - h * h))
        return r.T @ h + (0 if wrong else encoder)

    return Control(loss, gradient, (w,), ("as if it were a constant",))


def residual_block() -> Control:
    """A residual block; the skip connection forgotten."""
    x, w, c = draw(407, (2, 3), (3, 3), (2, 3))

    def loss(x, w):
        return jnp.sum(c * (x + jnp.tanh(x @ w)))

    def gradient(x, w, wrong=False):
        r = c * (1 - jnp.tanh(x @ w) ** 2)
        return r @ w.T + (0 if wrong else c), x.T @ r

    return Control(loss, gradient, (x, w), ("as if it were a constant", "skip"), (0, 1))


def conv_1d() -> Control:
    """Convolution in one dimension; the kernel not reversed for the input."""
    x, k, c = draw(408, (5,), (3,), (3,))

    def loss(x, k):
        return jnp.sum(c * jnp.correlate(x, k, mode="valid"))

    def gradient(x, k, wrong=False):
        back = jnp.correlate if wrong else jnp.convolve
        return back(c, k, mode="full"), jnp.correlate(x, jnp.asarray(c), mode="valid")

    return Control(loss, gradient, (x, k), ("reversed", "flipped", "`rev`"), (0, 1))


def conv_1d_stride() -> Control:
    """A strided convolution in NumPy, by loops; windows overwrite each other."""
    x, k, c = draw(409, (6,), (3,), (2,))

    def loss(x, k):
        y = jax.lax.conv_general_dilated(x[None, None], k[None, None], (2,), "VALID")
        return jnp.sum(c * y[0, 0])

    def gradient(x, k, wrong=False):
        x, k = np.asarray(x), np.asarray(k)
        dx, dk = np.zeros(6), np.zeros(3)
        for i in range(2):
            window = slice(2 * i, 2 * i + 3)
            dx[window] = c[i] * k if wrong else dx[window] + c[i] * k
            dk += c[i] * x[window]
        return dx, dk

    return Control(loss, gradient, (x, k), ("overwritten",), (0, 1))


def conv_2d() -> Control:
    """Convolution of images; the padding's offset forgotten."""
    x, k, c = draw(410, (1, 1, 3, 3), (1, 1, 3, 3), (1, 1, 3, 3))

    def conv(x, k):
        return jax.lax.conv_general_dilated(x, k, (1, 1), "SAME")

    def loss(x, k):
        return jnp.sum(c * conv(x, k))

    def gradient(x, k, wrong=False):
        padded = jnp.pad(x[0, 0], ((0, 2), (0, 2)) if wrong else 1)
        dk = jnp.stack(
            [jnp.stack([jnp.sum(c[0, 0] * padded[i : i + 3, j : j + 3]) for j in range(3)])
             for i in range(3)]
        )  # fmt: skip
        return conv(jnp.asarray(c), k[:, :, ::-1, ::-1]), dk[None, None]

    return Control(loss, gradient, (x, k), ("shifted", "padding"), (0, 1))


def conv_2d_channels() -> Control:
    """Convolution over channels, in NumPy; in and out channels exchanged."""
    x, k, c = draw(411, (2, 2, 2), (2, 2, 1, 1), (2, 2, 2))

    def loss(k, x):
        return jnp.sum(c * jax.lax.conv_general_dilated(x[None], k, (1, 1), "VALID")[0])

    def gradient(k, x, wrong=False):
        dk = np.einsum("ohw,ihw->oi", c, np.asarray(x))
        return (dk.T if wrong else dk)[:, :, None, None]

    return Control(loss, gradient, (k, x), ("transposed",))


def conv_bias() -> Control:
    """A convolution's bias; summed over channels too."""
    x, k, b, c = draw(412, (1, 1, 2, 2), (2, 1, 1, 1), (2,), (1, 2, 2, 2))

    def loss(b, x, k):
        y = jax.lax.conv_general_dilated(x, k, (1, 1), "VALID") + b[None, :, None, None]
        return jnp.sum(c * y**2) / 2

    def gradient(b, x, k, wrong=False):
        y = c * (jax.lax.conv_general_dilated(x, k, (1, 1), "VALID") + b[None, :, None, None])
        return jnp.broadcast_to(jnp.sum(y), (2,)) if wrong else jnp.sum(y, (0, 2, 3))

    return Control(loss, gradient, (b, x, k), ("summed over", "broadcast again"))


def depthwise() -> Control:
    """Depthwise convolution; the first channel's input for every kernel."""
    x, k, c = draw(413, (2, 4), (2, 2), (2, 3))

    def loss(k, x):
        y = jax.lax.conv_general_dilated(x[None], k[:, None], (1,), "VALID", feature_group_count=2)
        return jnp.sum(c * y[0])

    def gradient(k, x, wrong=False):
        source = jnp.stack([x[0], x[0]]) if wrong else x
        windows = jnp.stack([source[:, i : i + 3] for i in range(2)], 1)
        return jnp.sum(windows * c[:, None, :], -1)

    return Control(loss, gradient, (k, x), ("channel", "axis 0 of x"))


def transposed_conv() -> Control:
    """Transposed convolution with stride 2; the stride forgotten in the input's gradient."""
    x, k, c = draw(414, (3,), (2,), (6,))

    def loss(x, k):
        y = jnp.zeros(6, x.dtype)
        for i in range(3):
            y = y.at[2 * i : 2 * i + 2].add(x[i] * k)
        return jnp.sum(c * y)

    def gradient(x, k, wrong=False):
        step = 1 if wrong else 2
        windows = jnp.stack([jnp.asarray(c)[step * i : step * i + 2] for i in range(3)])
        right = jnp.asarray(c).reshape(3, 2)
        return windows @ k, x @ right

    return Control(loss, gradient, (x, k), ("stride", "shifted"), (0, 1))


def max_pool() -> Control:
    """Max-pooling; everything to the window's first entry."""
    x, c = draw(415, (4, 2), (2, 2))

    def loss(x):
        return jnp.sum(c * jnp.max(x.reshape(2, 2, 2), axis=1))

    def gradient(x, wrong=False):
        windows = np.asarray(x).reshape(2, 2, 2)
        best = np.zeros((2, 2), int) if wrong else windows.argmax(1)
        return (c[:, None, :] * (np.arange(2)[None, :, None] == best[:, None, :])).reshape(4, 2)

    return Control(loss, gradient, (x,), ("`reduce_max`", "wrong coordinates", "first"))


def max_pool_window() -> Control:
    """Overlapping max-pooling by reduce_window; overlapping winners overwritten."""
    x, c = np.array([0.3, 1.4, -0.6, 0.8, 0.2]), draw(416, (4,))

    def loss(x):
        y = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2,), (1,), "VALID")
        return jnp.sum(c * y)

    def gradient(x, wrong=False):
        best = jnp.arange(4) + jnp.argmax(jnp.stack([x[:-1], x[1:]]), 0)
        g = jnp.zeros_like(x)
        return g.at[best].set(c) if wrong else g.at[best].add(c)

    return Control(loss, gradient, (x,), ("overwritten",))


def average_pool() -> Control:
    """Average pooling; not divided by the window."""
    x, c = draw(417, (1, 4, 4), (1, 2, 2))

    def loss(x):
        return jnp.sum(c * jnp.mean(x.reshape(1, 2, 2, 2, 2), axis=(2, 4)))

    def gradient(x, wrong=False):
        g = np.repeat(np.repeat(c, 2, axis=1), 2, axis=2)
        return g if wrong else g / 4

    return Control(loss, gradient, (x,), ("4 times too large",))


def global_average_pool() -> Control:
    """Global average pooling over a mask; divided by the length, not the mask's sum."""
    x, c = draw(418, (2, 4, 2), (2, 2))
    mask = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])

    def loss(x):
        return jnp.sum(c * jnp.einsum("ntd,nt->nd", x, mask) / jnp.sum(mask, 1, keepdims=True))

    def gradient(x, wrong=False):
        count = 4 if wrong else np.sum(mask, 1)[:, None, None]
        return c[:, None, :] * mask[:, :, None] / count + 0 * x

    return Control(loss, gradient, (x,), ("half of what", "wrong count"))


def embedding() -> Control:
    """Embedding lookup with a repeated token; overwritten, not added."""
    table, c = draw(419, (4, 2), (5, 2))
    tokens = np.array([1, 3, 1, 0, 3])

    def loss(table, tokens):
        return jnp.sum(c * jnp.take(table, tokens, axis=0))

    def gradient(table, tokens, wrong=False):
        g = jnp.zeros_like(table)
        return g.at[tokens].set(c) if wrong else g.at[tokens].add(c)

    return Control(loss, gradient, (table, tokens), ("overwritten",))


def embedding_bag() -> Control:
    """Mean of embeddings, in NumPy; the padding token updated too."""
    table, w = draw(420, (4, 2), (2,))
    tokens = np.array([[1, 2, 0], [3, 1, 2]])
    lengths = np.array([2, 3])
    kept = np.arange(3) < lengths[:, None]

    def loss(table):
        bags = jnp.sum(table[tokens] * kept[..., None], 1) / lengths[:, None]
        return jnp.sum(jnp.tanh(bags @ w))

    def gradient(table, wrong=False):
        table = np.asarray(table)
        bags = (table[tokens] * kept[..., None]).sum(1) / lengths[:, None]
        r = (1 - np.tanh(bags @ w) ** 2)[:, None] * w / lengths[:, None]
        g = np.zeros_like(table)
        for i, row in enumerate(tokens):
            for t, token in enumerate(row):
                if kept[i, t] or wrong:
                    g[token] += r[i]
        return g

    return Control(loss, gradient, (table,), ("not zero at", "mask", "derivative of `mul`"))


def positional_embedding() -> Control:
    """Learned positions; one position too far."""
    p, x, c = draw(421, (4, 2), (3, 2), (3, 2))

    def loss(p):
        return jnp.sum(c * jnp.sin(x + p[:3]))

    def gradient(p, wrong=False):
        r = c * jnp.cos(x + p[:3])
        start = 1 if wrong else 0
        return jnp.zeros_like(p).at[start : start + 3].set(r)

    return Control(loss, gradient, (p,), ("shifted by 1 along axis 0",))


def dropout() -> Control:
    """Dropout with its mask; not scaled by 1/(1 − rate)."""
    x, w, c = draw(422, (2, 4), (4, 2), (2, 2))
    keep = np.array([[1, 0, 1, 1], [0, 1, 1, 0]], bool)
    rate = 0.3

    def loss(x, w):
        h = jnp.where(keep, x / (1 - rate), 0.0)
        return jnp.sum(c * (h @ w))

    def gradient(x, w, wrong=False):
        h = jnp.where(keep, x / (1 - rate), 0.0)
        dh = c @ w.T
        return jnp.where(keep, dh / (1.0 if wrong else 1 - rate), 0.0), h.T @ c

    return Control(loss, gradient, (x, w), ("factor 1/0.7",), (0, 1))


def dropout_mask_forgotten() -> Control:
    """Dropout in NumPy; the mask forgotten on the way back."""
    x, c = draw(423, (2, 3), (2, 3))
    keep = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])

    def loss(x):
        return jnp.sum(c * jnp.tanh(keep * x / 0.8))

    def gradient(x, wrong=False):
        h = np.tanh(keep * np.asarray(x) / 0.8)
        return c * (1 - h * h) / 0.8 * (1 if wrong else keep)

    return Control(loss, gradient, (x,), ("not zero at", "mask", "keep", "derivative of `mul`"))


def pixel_shuffle() -> Control:
    """A reshape and a transpose; undone in the wrong order."""
    x, c = draw(424, (2, 2, 2), (2, 4))

    def loss(x):
        return jnp.sum(c * jnp.transpose(x, (1, 0, 2)).reshape(2, 4))

    def gradient(x, wrong=False):
        g = jnp.asarray(c).reshape(2, 2, 2) + 0 * x
        return g if wrong else jnp.transpose(g, (1, 0, 2))

    return Control(loss, gradient, (x,), ("transposed",))


def upsample() -> Control:
    """Nearest-neighbour upsampling; the mean of what comes back, not the sum."""
    x, c = draw(425, (3,), (6,))

    def loss(x):
        return jnp.sum(c * jnp.repeat(x, 2) ** 2)

    def gradient(x, wrong=False):
        r = 2 * c * np.repeat(np.asarray(x), 2)
        pairs = r.reshape(3, 2)
        return pairs.mean(1) if wrong else pairs.sum(1)

    return Control(loss, gradient, (x,), ("half of what",))


def fourier_features() -> Control:
    """Random Fourier features; the cosine's minus forgotten."""
    x, w, b, c = draw(426, (2, 2), (2, 3), (3,), (2, 3))

    def loss(x, w):
        return jnp.sum(c * jnp.sqrt(2 / 3) * jnp.cos(x @ w + b))

    def gradient(x, w, wrong=False):
        sign = 1 if wrong else -1
        r = sign * c * jnp.sqrt(2 / 3) * jnp.sin(x @ w + b)
        return r @ w.T, x.T @ r

    return Control(loss, gradient, (x, w), ("sign flipped",), (0, 1))


def fir_filter() -> Control:
    """A causal FIR filter in NumPy; filtered forwards on the way back too."""
    x, h, target = draw(427, (5,), (2,), (5,))

    def loss(x, h):
        y = jnp.convolve(x, h)[:5]
        return jnp.sum((y - target) ** 2) / 2

    def gradient(x, h, wrong=False):
        x, h = np.asarray(x), np.asarray(h)
        r = np.convolve(x, h)[:5] - target
        back = np.convolve(r, h)[:5] if wrong else np.convolve(r[::-1], h)[:5][::-1]
        return back, np.array([r @ x, r[1:] @ x[:-1]])

    return Control(loss, gradient, (x, h), ("reversed", "`rev`"), (0, 1))


def soft_threshold() -> Control:
    """Soft-thresholding (one ISTA step); its derivative forgotten."""
    x, lam = np.array([0.9, -0.2, -1.7, 0.1]), 0.5
    c = draw(428, (4,))

    def loss(x):
        return jnp.sum(c * jnp.sign(x) * jnp.maximum(jnp.abs(x) - lam, 0.0))

    def gradient(x, wrong=False):
        return c * (jnp.ones_like(x) if wrong else jnp.abs(x) > lam)

    return Control(
        loss, gradient, (x,), ("where the truth is", "derivative of `max`", "in place of 0")
    )


def factorization_machine() -> Control:
    """A factorization machine; the square of the sum without the sum of squares."""
    v, x = draw(429, (3, 2), (2, 3))

    def loss(v):
        return jnp.sum((x @ v) ** 2 - x**2 @ v**2) / 2

    def gradient(v, wrong=False):
        crossed = x.T @ (x @ v)
        return crossed if wrong else crossed - jnp.sum(x**2, 0)[:, None] * v

    return Control(loss, gradient, (v,), ("as if it were a constant",))


CONTROLS = (
    linear, linear_square, bilinear, mlp_two_layers, mlp_sigmoid_numpy, mlp_relu_softmax,
    autoencoder_tied, residual_block, conv_1d, conv_1d_stride, conv_2d, conv_2d_channels,
    conv_bias, depthwise, transposed_conv, max_pool, max_pool_window, average_pool,
    global_average_pool, embedding, embedding_bag, positional_embedding, dropout,
    dropout_mask_forgotten, pixel_shuffle, upsample, fourier_features, fir_filter, soft_threshold,
    factorization_machine,
)  # fmt: skip
