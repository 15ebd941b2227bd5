"""Controls: layers that normalise."""

import jax.numpy as jnp
import numpy as np

from benchmarks.judge.controls.control import Control, draw, softmax

EPS = 1e-5


def batch_norm() -> Control:
    """Batch norm, training; the batch's variance held constant."""
    x, gamma, beta, c = draw(1, (4, 2), (2,), (2,), (4, 2))

    def loss(x, gamma, beta):
        mean, var = jnp.mean(x, 0), jnp.var(x, 0)
        return jnp.sum(c * (gamma * (x - mean) / jnp.sqrt(var + EPS) + beta))

    def gradient(x, gamma, beta, wrong=False):
        mean, var = jnp.mean(x, 0), jnp.var(x, 0)
        std = jnp.sqrt(var + EPS)
        xhat = (x - mean) / std
        g = gamma * c
        through_var = 0 if wrong else xhat * jnp.mean(g * xhat, 0)
        dx = (g - jnp.mean(g, 0) - through_var) / std
        return dx, jnp.sum(c * xhat, 0), jnp.sum(c, 0)

    return Control(loss, gradient, (x, gamma, beta), ("as if it were a constant",), (0, 1, 2))


def batch_norm_numpy() -> Control:
    """Batch norm in NumPy; the batch's mean held constant."""
    x, gamma, c = draw(2, (4, 2), (2,), (4, 2))

    def loss(x, gamma):
        mean = jnp.mean(x, axis=0)
        var = jnp.mean((x - mean) ** 2, axis=0)
        return jnp.sum(c * gamma * (x - mean) / jnp.sqrt(var + EPS))

    def gradient(x, gamma, wrong=False):
        x, gamma = np.asarray(x), np.asarray(gamma)
        n = x.shape[0]
        centred = x - x.mean(0)
        istd = 1 / np.sqrt((centred**2).mean(0) + EPS)
        dxhat = c * gamma
        dvar = (dxhat * centred).sum(0) * -0.5 * istd**3
        dmean = 0 if wrong else -(dxhat * istd).sum(0)
        dx = dxhat * istd + dvar * 2 * centred / n + dmean / n
        return dx, (c * centred * istd).sum(0)

    return Control(loss, gradient, (x, gamma), ("as if it were a constant",), (0, 1))


def batch_norm_inference() -> Control:
    """Batch norm with running statistics; divided by the variance, not its root."""
    x, c = draw(3, (3, 2), (3, 2))
    mean, var = np.array([0.3, -0.2]), np.array([0.7, 1.9])
    gamma = np.array([1.2, 0.8])

    def loss(x):
        return jnp.sum(c * gamma * (x - mean) / jnp.sqrt(var + EPS))

    def gradient(x, wrong=False):
        return c * gamma / (var + EPS if wrong else jnp.sqrt(var + EPS))

    return Control(loss, gradient, (x,), ("factor", "sqrt", "applied twice"))


def layer_norm() -> Control:
    """Layer norm; the row's mean held constant."""
    x, gamma, beta, c = draw(4, (2, 4), (4,), (4,), (2, 4))

    def loss(x, gamma, beta):
        mean = x.mean(-1, keepdims=True)
        var = ((x - mean) ** 2).mean(-1, keepdims=True)
        return jnp.sum(c * (gamma * (x - mean) / jnp.sqrt(var + EPS) + beta))

    def gradient(x, gamma, beta, wrong=False):
        mean = x.mean(-1, keepdims=True)
        std = jnp.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + EPS)
        xhat = (x - mean) / std
        g = gamma * c
        through_mean = 0 if wrong else g.mean(-1, keepdims=True)
        dx = (g - through_mean - xhat * (g * xhat).mean(-1, keepdims=True)) / std
        return dx, jnp.sum(c * xhat, 0), jnp.sum(c, 0)

    return Control(loss, gradient, (x, gamma, beta), ("as if it were a constant",), (0, 1, 2))


def layer_norm_scale() -> Control:
    """Layer norm's scale; summed over the features, not over the examples."""
    x, gamma, c = draw(5, (3, 3), (3,), (3, 3))

    def normalised(x):
        mean = jnp.mean(x, 1, keepdims=True)
        return (x - mean) / jnp.sqrt(jnp.mean((x - mean) ** 2, 1, keepdims=True) + EPS)

    def loss(gamma, x):
        return jnp.sum(c * normalised(x) * gamma)

    def gradient(gamma, x, wrong=False):
        return jnp.sum(c * normalised(x), axis=1 if wrong else 0)

    return Control(loss, gradient, (gamma, x), ("axis",))


def group_norm() -> Control:
    """Group norm; means over one channel where the statistics are over the group."""
    x, c = draw(6, (1, 4, 3), (1, 4, 3))

    def normalised(x):
        grouped = x.reshape(1, 2, 6)
        mean = jnp.mean(grouped, -1, keepdims=True)
        std = jnp.sqrt(jnp.var(grouped, -1, keepdims=True) + EPS)
        return ((grouped - mean) / std).reshape(x.shape), std

    def loss(x):
        return jnp.sum(c * normalised(x)[0])

    def gradient(x, wrong=False):
        xhat, std = normalised(x)
        shape = (1, 2, 6)
        xhat, g = xhat.reshape(shape), jnp.reshape(c, shape)
        mean = g.reshape(1, 4, 3).mean(-1, keepdims=True)
        mean = jnp.repeat(mean, 3, -1).reshape(shape) if wrong else g.mean(-1, keepdims=True)
        dx = (g - mean - xhat * (g * xhat).mean(-1, keepdims=True)) / std
        return dx.reshape(x.shape)

    return Control(loss, gradient, (x,), ("axis", "mean over"))


def instance_norm() -> Control:
    """Instance norm; the deviation held constant."""
    x, c = draw(7, (2, 2, 3), (2, 2, 3))

    def loss(x):
        mean = jnp.mean(x, axis=2, keepdims=True)
        var = jnp.var(x, axis=2, keepdims=True)
        return jnp.sum(c * (x - mean) / jnp.sqrt(var + EPS))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        mean = x.mean(2, keepdims=True)
        std = np.sqrt(x.var(2, keepdims=True) + EPS)
        xhat = (x - mean) / std
        dx = c - c.mean(2, keepdims=True)
        if not wrong:
            dx = dx - xhat * (c * xhat).mean(2, keepdims=True)
        return dx / std

    return Control(loss, gradient, (x,), ("as if it were a constant",))


def rms_norm() -> Control:
    """RMS norm; the root mean square held constant."""
    x, gain, c = draw(8, (2, 4), (4,), (2, 4))

    def loss(x, gain):
        rms = jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
        return jnp.sum(c * x / rms * gain)

    def gradient(x, gain, wrong=False):
        rms = jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
        y = x / rms
        g = c * gain
        dx = (g if wrong else g - y * jnp.mean(g * y, -1, keepdims=True)) / rms
        return dx, jnp.sum(c * y, 0)

    return Control(loss, gradient, (x, gain), ("as if it were a constant",), (0, 1))


def rms_norm_sum() -> Control:
    """RMS norm in NumPy; a sum over the features where there is a mean."""
    x, c = draw(9, (2, 3), (2, 3))

    def loss(x):
        return jnp.sum(c * x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        rms = np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        inner = (c * x).sum(-1, keepdims=True)
        inner = inner if wrong else inner / x.shape[-1]
        return c / rms - x * inner / rms**3

    return Control(loss, gradient, (x,), ("a mean forgotten", "3 times too large"))


def weight_norm() -> Control:
    """Weight norm, w = g v / |v|; not projected away from v."""
    v, g, x, c = draw(10, (2, 3), (2,), (4, 3), (4, 2))

    def loss(v, g):
        w = g[:, None] * v / jnp.linalg.norm(v, axis=1, keepdims=True)
        return jnp.sum(c * (x @ w.T))

    def gradient(v, g, wrong=False):
        size = jnp.linalg.norm(v, axis=1, keepdims=True)
        dw = c.T @ x
        dg = jnp.sum(dw * v, 1) / size[:, 0]
        dv = g[:, None] / size * dw
        if not wrong:
            dv = dv - (g * dg)[:, None] * v / size**2
        return dv, dg

    return Control(loss, gradient, (v, g), ("as if it were a constant",), (0, 1))


def unit_vectors() -> Control:
    """Rows of norm 1; the norm held constant."""
    x, c = draw(11, (2, 3), (2, 3))

    def loss(x):
        return jnp.sum(c * x / jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True)))

    def gradient(x, wrong=False):
        x = np.asarray(x)
        n = np.sqrt((x**2).sum(1, keepdims=True))
        u = x / n
        return (c - (0 if wrong else u * (u * c).sum(1, keepdims=True))) / n

    return Control(loss, gradient, (x,), ("as if it were a constant",))


def z_score_unbiased() -> Control:
    """Standardising with N − 1; N in the gradient of the deviation."""
    x, c = draw(12, (5,), (5,))

    def loss(x):
        return jnp.sum(c * (x - jnp.mean(x)) / jnp.std(x, ddof=1))

    def gradient(x, wrong=False):
        n = len(x)
        std = jnp.std(x, ddof=1)
        xhat = (x - jnp.mean(x)) / std
        count = n if wrong else n - 1
        return (c - jnp.mean(c) - xhat * jnp.sum(c * xhat) / count) / std

    return Control(loss, gradient, (x,), ("divided by 5 in place of 4", "wrong count"))


def softmax_with_temperature() -> Control:
    """Softmax with a temperature; the temperature forgotten."""
    z, c = draw(13, (2, 3), (2, 3))
    temperature = 1.7

    def loss(z):
        return jnp.sum(c * softmax(z / temperature))

    def gradient(z, wrong=False):
        p = softmax(z / temperature)
        dz = p * (c - jnp.sum(p * c, -1, keepdims=True))
        return dz if wrong else dz / temperature

    return Control(loss, gradient, (z,), ("factor 1/1.7 of the loss forgotten",))


def softmax_diagonal() -> Control:
    """Softmax in NumPy; only the diagonal of its Jacobian."""
    z, c = draw(14, (2, 4), (2, 4))

    def loss(z):
        return jnp.sum(c * softmax(z))

    def gradient(z, wrong=False):
        p = softmax(np.asarray(z))
        return p * (1 - p) * c if wrong else p * (c - (p * c).sum(-1, keepdims=True))

    return Control(loss, gradient, (z,), ("taken to be v(1 − v)", "diagonal"))


def log_softmax() -> Control:
    """Log-softmax; the gradients not summed over the row."""
    z, c = draw(15, (2, 3), (2, 3))

    def loss(z):
        shifted = z - jnp.max(z, -1, keepdims=True)
        return jnp.sum(c * (shifted - jnp.log(jnp.sum(jnp.exp(shifted), -1, keepdims=True))))

    def gradient(z, wrong=False):
        p = softmax(z)
        return c - p * (c if wrong else jnp.sum(c, -1, keepdims=True))

    return Control(loss, gradient, (z,), ("not summed", "1 − v, v being softmax("))


CONTROLS = (
    batch_norm, batch_norm_numpy, batch_norm_inference, layer_norm, layer_norm_scale, group_norm,
    instance_norm, rms_norm, rms_norm_sum, weight_norm, unit_vectors, z_score_unbiased,
    softmax_with_temperature, softmax_diagonal, log_softmax,
)  # fmt: skip
