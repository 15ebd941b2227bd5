"""Controls: recurrent networks through time, attention, and models of sequences."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.judge.controls.control import Control, draw, sigmoid, softmax


def rnn() -> Control:
    """An RNN through time, by scan; cut off after one step."""
    u, w, x, c = draw(500, (2, 2), (2, 2), (3, 2), (3, 2))

    def states(u, w, x):
        def step(h, xt):
            h = jnp.tanh(xt @ u + h @ w)
            return h, h

        return jax.lax.scan(step, jnp.zeros(2, u.dtype), x)[1]

    def loss(u, w, x):
        return jnp.sum(c * states(u, w, x))

    def gradient(u, w, x, wrong=False):
        h = states(u, w, x)
        before = jnp.concatenate([jnp.zeros_like(h[:1]), h[:-1]])
        du, dw, back = jnp.zeros_like(u), jnp.zeros_like(w), jnp.zeros(2, u.dtype)
        for t in (2, 1, 0):
            r = (c[t] + back) * (1 - h[t] ** 2)
            du, dw = du + jnp.outer(x[t], r), dw + jnp.outer(before[t], r)
            back = jnp.zeros_like(r) if wrong else r @ w.T
        return du, dw

    return Control(
        loss,
        gradient,
        (u, w, x),
        ("scan", "truncated", "one step", "as if it were a constant"),
        (0, 1),
    )


def rnn_numpy() -> Control:
    """An RNN in NumPy, its last state alone; the recurrent weight not transposed."""
    u, w, x, c = draw(501, (2, 2), (2, 2), (3, 2), (2,))

    def loss(u, w):
        h = jnp.zeros(2, u.dtype)
        for t in range(3):
            h = jnp.tanh(x[t] @ u + h @ w)
        return c @ h

    def gradient(u, w, wrong=False):
        u, w = np.asarray(u), np.asarray(w)
        h = [np.zeros(2)]
        for t in range(3):
            h.append(np.tanh(x[t] @ u + h[-1] @ w))
        du, dw, back = np.zeros((2, 2)), np.zeros((2, 2)), c
        for t in (2, 1, 0):
            r = back * (1 - h[t + 1] ** 2)
            du += np.outer(x[t], r)
            dw += np.outer(h[t], r)
            back = r @ (w if wrong else w.T)
        return du, dw

    return Control(loss, gradient, (u, w), ("not transposed",), (0, 1))


def rnn_state_after() -> Control:
    """A scalar RNN; the state after the step where the one before belongs."""
    w, x = np.array(0.7), draw(502, (4,))

    def loss(w):
        h = jnp.zeros((), w.dtype)
        for t in range(4):
            h = jnp.tanh(w * h + x[t])
        return h

    def gradient(w, wrong=False):
        h = [jnp.zeros((), w.dtype)]
        for t in range(4):
            h.append(jnp.tanh(w * h[-1] + x[t]))
        dw, back = 0.0, 1.0
        for t in (3, 2, 1, 0):
            r = back * (1 - h[t + 1] ** 2)
            dw = dw + r * (h[t + 1] if wrong else h[t])
            back = r * w
        return dw

    return Control(loss, gradient, (w,), ("shift", "off by one", "one step"))


def lstm_forward(w, b, x):
    """Hidden and cell states, and the gates (T, 4, H): input, forget, candidate, output."""
    xp = np if isinstance(w, np.ndarray) else jnp
    h = c = xp.zeros(2, w.dtype)
    hs, cs, gates = [h], [c], []
    for xt in x:
        z = xp.concatenate([xt, h]) @ w + b
        i, f, o = (sigmoid(z[k : k + 2]) for k in (0, 2, 6))
        g = xp.tanh(z[4:6])
        c = f * c + i * g
        h = o * xp.tanh(c)
        hs, cs, gates = [*hs, h], [*cs, c], [*gates, (i, f, g, o)]
    return hs, cs, gates


def lstm_backward(w, b, x, r, gate_slope, forget=True):
    """The gradient of Σ r·h_T; `gate_slope` is the derivative of the candidate, by its value."""
    xp = np if isinstance(w, np.ndarray) else jnp
    hs, cs, gates = lstm_forward(w, b, x)
    dw, db = xp.zeros_like(w), xp.zeros_like(b)
    dh, dc = r, xp.zeros(2, w.dtype)
    for t in reversed(range(len(x))):
        i, f, g, o = gates[t]
        tanh_c = xp.tanh(cs[t + 1])
        dc = dc + dh * o * (1 - tanh_c**2)
        dz = xp.concatenate([
            dc * g * i * (1 - i), dc * cs[t] * f * (1 - f),
            dc * i * gate_slope(g), dh * tanh_c * o * (1 - o),
        ])  # fmt: skip
        dw, db = dw + xp.outer(xp.concatenate([x[t], hs[t]]), dz), db + dz
        dh, dc = (w @ dz)[2:], dc * f if forget else dc
    return dw, db


def lstm() -> Control:
    """An LSTM through time; the candidate's derivative that of a sigmoid."""
    w, b, x, r = draw(503, (4, 8), (8,), (2, 2), (2,))

    def loss(w, b):
        return r @ lstm_forward(w, b, x)[0][-1]

    def gradient(w, b, wrong=False):
        slope = (lambda g: g * (1 - g)) if wrong else (lambda g: 1 - g * g)
        return lstm_backward(w, b, x, r, slope)

    return Control(loss, gradient, (w, b), ("v(1 − v)", "`tanh`"), (0, 1))


def lstm_forget_gate() -> Control:
    """An LSTM in NumPy; the cell's gradient not multiplied by the forget gate."""
    w, b, x, r = draw(504, (4, 8), (8,), (2, 2), (2,))

    def loss(w, b):
        return r @ lstm_forward(w, b, x)[0][-1]

    def gradient(w, b, wrong=False):
        return lstm_backward(np.asarray(w), np.asarray(b), x, r, lambda g: 1 - g * g, not wrong)

    return Control(
        loss, gradient, (w, b), ("derivative of `mul`", "missing factor", "gate"), (0, 1)
    )


def gru() -> Control:
    """A GRU, one layer through time; the reset gate's path to the state forgotten."""
    wz, wr, wh, x, c = draw(505, (3, 1), (3, 1), (3, 1), (3, 2), (1,))

    def forward(wz, wr, wh):
        h, saved = jnp.zeros(1, wz.dtype), []
        for xt in x:
            v = jnp.concatenate([xt, h])
            z, r = jax.nn.sigmoid(v @ wz), jax.nn.sigmoid(v @ wr)
            u = jnp.concatenate([xt, r * h])
            n = jnp.tanh(u @ wh)
            saved.append((h, v, z, r, u, n))
            h = (1 - z) * n + z * h
        return h, saved

    def loss(wz, wr, wh):
        return jnp.sum(c * forward(wz, wr, wh)[0])

    def gradient(wz, wr, wh, wrong=False):
        dz, dr, dn = (jnp.zeros_like(w) for w in (wz, wr, wh))
        back = jnp.asarray(c, wz.dtype)
        for h, v, z, r, u, n in forward(wz, wr, wh)[1][::-1]:
            to_n = back * (1 - z) * (1 - n * n)
            du = wh @ to_n
            to_z = back * (h - n) * z * (1 - z)
            to_r = du[2:] * h * r * (1 - r)
            dz, dr, dn = dz + jnp.outer(v, to_z), dr + jnp.outer(v, to_r), dn + jnp.outer(u, to_n)
            through_reset = 0 if wrong else du[2:] * r
            back = back * z + through_reset + (wz @ to_z)[2:] + (wr @ to_r)[2:]
        return dz, dr, dn

    return Control(loss, gradient, (wz, wr, wh), ("as if it were a constant",), (0, 1, 2))


def gru_update_gate() -> Control:
    """A GRU's single step in NumPy; the update gate's two sides exchanged."""
    wz, x, h, n = draw(506, (2, 2), (2,), (2,), (2,))
    c = np.array([0.7, -1.2])

    def loss(wz):
        z = jax.nn.sigmoid(x @ wz)
        return jnp.sum(c * ((1 - z) * n + z * h))

    def gradient(wz, wrong=False):
        z = sigmoid(x @ np.asarray(wz))
        return np.outer(x, c * (n - h if wrong else h - n) * z * (1 - z))

    return Control(loss, gradient, (wz,), ("sign flipped",))


def attention() -> Control:
    """Dot-product attention; not scaled by 1/√d on the way back."""
    q, k, v, c = draw(507, (2, 3), (3, 3), (3, 2), (2, 2))
    scale = 3**-0.5

    def loss(q, k, v):
        return jnp.sum(c * (jax.nn.softmax(q @ k.T * scale, -1) @ v))

    def gradient(q, k, v, wrong=False):
        a = softmax(q @ k.T * scale)
        da = c @ v.T
        ds = a * (da - jnp.sum(a * da, 1, keepdims=True)) * (1 if wrong else scale)
        return ds @ k, ds.T @ q, a.T @ c

    return Control(loss, gradient, (q, k, v), ("factor 0.57735", "1.73205", "√3"), (0, 1, 2))


def attention_numpy() -> Control:
    """Attention in NumPy; the softmax's dot product forgotten."""
    q, k, v, c = draw(508, (2, 2), (3, 2), (3, 2), (2, 2))

    def loss(q, k, v):
        return jnp.sum(c * (jax.nn.softmax(q @ k.T / jnp.sqrt(2.0)) @ v))

    def gradient(q, k, v, wrong=False):
        q, k, v = (np.asarray(a) for a in (q, k, v))
        a = softmax(q @ k.T / np.sqrt(2.0))
        da = c @ v.T
        inner = 0 if wrong else (a * da).sum(1, keepdims=True)
        ds = a * (da - inner) / np.sqrt(2.0)
        return ds @ k, ds.T @ q, a.T @ c

    return Control(loss, gradient, (q, k, v), ("as if it were", "taken to be v, v"), (0, 1, 2))


def causal_attention() -> Control:
    """Causal attention; the mask forgotten on the way back."""
    q, k, v, c = draw(509, (3, 2), (3, 2), (3, 2), (3, 2))
    mask = np.tril(np.ones((3, 3), bool))

    def weights(q, k, masked):
        s = q @ k.T / np.sqrt(2.0)
        return softmax(jnp.where(mask, s, -jnp.inf) if masked else s)

    def loss(q, k, v):
        return jnp.sum(c * (weights(q, k, True) @ v))

    def gradient(q, k, v, wrong=False):
        a = weights(q, k, not wrong)
        da = c @ v.T
        ds = a * (da - jnp.sum(a * da, 1, keepdims=True)) / np.sqrt(2.0)
        return ds @ k, ds.T @ q, weights(q, k, True).T @ c

    return Control(loss, gradient, (q, k, v), ("mask", "select_n"), (0, 1, 2))


def causal_attention_shifted() -> Control:
    """Causal attention with −1e9, in NumPy; the mask one off."""
    s, c = draw(510, (3, 3), (3, 3))
    mask = np.tril(np.ones((3, 3), bool))

    def loss(s):
        return jnp.sum(c * jax.nn.softmax(jnp.where(mask, s, -1e9), -1))

    def gradient(s, wrong=False):
        seen = np.tril(np.ones((3, 3), bool), 1) if wrong else mask
        a = softmax(np.where(seen, np.asarray(s), -1e9))
        return a * (c - (a * c).sum(1, keepdims=True))

    return Control(loss, gradient, (s,), ("mask", "not zero at", "select_n"))


def multi_head() -> Control:
    """Two heads; each head's output projection by the other's weights."""
    x, w, o, c = draw(511, (2, 4), (4, 4), (4, 2), (2, 2))

    def heads(x, w):
        y = (x @ w).reshape(2, 2, 2)
        s = jnp.einsum("thd,shd->hts", y, y) / jnp.sqrt(2.0)
        return y, jax.nn.softmax(s, -1)

    def loss(o, x, w):
        y, a = heads(x, w)
        return jnp.sum(c * (jnp.einsum("hts,shd->thd", a, y).reshape(2, 4) @ o))

    def gradient(o, x, w, wrong=False):
        y, a = heads(x, w)
        z = jnp.einsum("hts,shd->thd", a, y)
        z = z[:, ::-1] if wrong else z
        return z.reshape(2, 4).T @ c

    return Control(loss, gradient, (o, x, w), ("shifted by 2 along axis 0", "swapped"))


def cross_attention_shared() -> Control:
    """Self-attention of one matrix as query, key and value; the key's share forgotten."""
    x, c = draw(512, (3, 2), (3, 2))

    def loss(x):
        return jnp.sum(c * (jax.nn.softmax(x @ x.T, -1) @ x))

    def gradient(x, wrong=False):
        a = softmax(x @ x.T)
        da = c @ x.T
        ds = a * (da - jnp.sum(a * da, 1, keepdims=True))
        return ds @ x + a.T @ c + (0 if wrong else ds.T @ x)

    return Control(loss, gradient, (x,), ("as if it were a constant",))


def rotary() -> Control:
    """Rotary embedding; rotated forwards on the way back."""
    x, c = draw(513, (3, 2), (3, 2))
    angle = np.arange(3.0)[:, None] * 0.8

    def rotate(x, angle):
        a, b = x[:, :1], x[:, 1:]
        cos, sin = np.cos(angle), np.sin(angle)
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)

    def loss(x):
        return jnp.sum(c * jnp.tanh(rotate(x, angle)))

    def gradient(x, wrong=False):
        r = c * (1 - jnp.tanh(rotate(x, angle)) ** 2)
        return rotate(r, angle if wrong else -angle)

    return Control(loss, gradient, (x,), ("transposed", "inverse", "sign flipped", "rotat"))


def alibi() -> Control:
    """Attention with a bias by distance, in NumPy; the slope's minus forgotten."""
    slope, (s, c) = np.array(0.4), draw(514, (3, 3), (3, 3))
    distance = np.abs(np.arange(3.0)[:, None] - np.arange(3.0))

    def loss(slope):
        return jnp.sum(c * jax.nn.softmax(s - slope * distance, -1))

    def gradient(slope, wrong=False):
        a = softmax(s - float(slope) * distance)
        ds = a * (c - (a * c).sum(1, keepdims=True))
        return (1 if wrong else -1) * np.sum(ds * distance)

    return Control(loss, gradient, (slope,), ("sign flipped",))


def ctc() -> Control:
    """CTC; a symbol that comes twice in the path overwritten."""
    z, path = draw(515, (3, 3)), np.array([0, 1, 0, 2, 0])

    def step(alpha, log_p):
        skip = jnp.array([False, False, False, True, False])
        one = jnp.concatenate([jnp.array([-jnp.inf]), alpha[:-1]])
        two = jnp.where(skip, jnp.concatenate([jnp.full(2, -jnp.inf), alpha[:-2]]), -jnp.inf)
        return jax.nn.logsumexp(jnp.stack([alpha, one, two]), axis=0) + log_p[path]

    def forward(log_p):
        start = jnp.where(jnp.arange(5) < 2, log_p[0][path], -jnp.inf)
        alphas = [start]
        for t in (1, 2):
            alphas.append(step(alphas[-1], log_p[t]))
        return jnp.stack(alphas)

    def loss(z):
        last = forward(jax.nn.log_softmax(z))[-1]
        return -jnp.logaddexp(last[-1], last[-2])

    def gradient(z, wrong=False):
        p = np.exp(np.asarray(z) - np.max(z, 1, keepdims=True))
        p = p / p.sum(1, keepdims=True)
        ways = [way for way in np.ndindex(5, 5, 5) if _is_path(way)]
        weight = np.array([np.prod([p[t, path[s]] for t, s in enumerate(way)]) for way in ways])
        g = p.copy()
        for t in range(3):
            at = np.zeros(5)
            np.add.at(at, [way[t] for way in ways], weight / weight.sum())
            if wrong:
                g[t, path] = p[t, path] - at
            else:
                np.subtract.at(g[t], path, at)
        return g

    return Control(loss, gradient, (z,), ("overwritten",))


def _is_path(way: tuple) -> bool:
    """Whether a way through blank, a, blank, b, blank begins, moves and ends as CTC allows."""
    moves = [b - a for a, b in pairwise(way)]
    skips = [a == 1 for a, b in pairwise(way) if b - a == 2]
    return way[0] < 2 and way[-1] > 2 and all(0 <= m <= 2 for m in moves) and all(skips)


def crf() -> Control:
    """A linear-chain CRF; the transitions' expectation forgotten."""
    e, t = draw(516, (3, 2), (2, 2))
    y = np.array([0, 1, 1])

    def forward(e, t):
        alphas = [e[0]]
        for k in (1, 2):
            alphas.append(e[k] + jax.nn.logsumexp(alphas[-1][:, None] + t, axis=0))
        return alphas

    def loss(e, t):
        score = e[jnp.arange(3), y].sum() + t[y[:-1], y[1:]].sum()
        return jax.nn.logsumexp(forward(e, t)[-1]) - score

    def gradient(e, t, wrong=False):
        alphas, beta = forward(e, t), jnp.zeros(2, e.dtype)
        total = jax.nn.logsumexp(alphas[-1])
        de, dt = [jnp.exp(alphas[2] - total)], jnp.zeros_like(t)
        for k in (2, 1):
            joint = jnp.exp(alphas[k - 1][:, None] + t + e[k] + beta - total)
            dt = dt + joint
            beta = jax.nn.logsumexp(t + e[k] + beta, axis=1)
            de.insert(0, jnp.exp(alphas[k - 1] + beta - total))
        dt = (0 * dt if wrong else dt).at[y[:-1], y[1:]].add(-1.0)
        return jnp.stack(de).at[jnp.arange(3), y].add(-1.0), dt

    return Control(loss, gradient, (e, t), ("as if it were a constant",), (0, 1))


def hmm() -> Control:
    """An HMM's likelihood, scaled forward pass, in NumPy; posteriors by the forward pass alone."""
    b = np.array([[0.7, 0.2], [0.1, 0.6], [0.5, 0.5]])
    a, pi = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0.6, 0.4])

    def loss(b):
        alpha = pi * b[0]
        for t in (1, 2):
            alpha = (alpha @ a) * b[t]
        return -jnp.log(jnp.sum(alpha))

    def gradient(b, wrong=False):
        b = np.asarray(b)
        alphas, betas = [pi * b[0]], [np.ones(2)]
        for t in (1, 2):
            alphas.append((alphas[-1] @ a) * b[t])
            betas.insert(0, a @ (b[3 - t] * betas[0]))
        posterior = np.stack([f if wrong else f * g for f, g in zip(alphas, betas, strict=True)])
        return -posterior / posterior.sum(1, keepdims=True) / b

    return Control(loss, gradient, (b,), ("as if it were a constant", "backward"))


def gmm() -> Control:
    """A Gaussian mixture; weights' gradient without subtracting the weights themselves."""
    logits, mu, y = draw(517, (2,), (2,), (4,))

    def joint(logits, mu):
        return jax.nn.log_softmax(logits) - (y[:, None] - mu) ** 2 / 2

    def loss(logits, mu):
        return -jnp.sum(jax.nn.logsumexp(joint(logits, mu), axis=1))

    def gradient(logits, mu, wrong=False):
        r = softmax(joint(logits, mu))
        weight = 0 if wrong else 4 * softmax(logits)
        return -(jnp.sum(r, 0) - weight), -jnp.sum(r * (y[:, None] - mu), 0)

    return Control(loss, gradient, (logits, mu), ("as if it were a constant",), (0, 1))


def gmm_scales() -> Control:
    """A Gaussian mixture's scales, in NumPy; the determinant's term forgotten."""
    s, y = np.array([0.7, 1.8]), draw(518, (4,))
    mu, weight = np.array([-0.5, 0.9]), np.array([0.4, 0.6])

    def loss(s):
        z = (y[:, None] - mu) / s
        return -jnp.sum(jax.nn.logsumexp(jnp.log(weight) - z**2 / 2 - jnp.log(s), axis=1))

    def gradient(s, wrong=False):
        s = np.asarray(s)
        z = (y[:, None] - mu) / s
        r = softmax(np.log(weight) - z**2 / 2 - np.log(s))
        return -np.sum(r * (z**2 / s - (0 if wrong else 1 / s)), 0)

    return Control(loss, gradient, (s,), ("`log`",))


def kalman() -> Control:
    """A local-level Kalman filter; the gain held constant."""
    log_q, y, noise = np.array(-0.4), draw(519, (3,)), 0.5

    def loss(log_q):
        q = jnp.exp(log_q)
        m, p, total = 0.0, 1.0, 0.0
        for t in range(3):
            p = p + q
            s = p + noise
            total = total + jnp.log(s) / 2 + (y[t] - m) ** 2 / (2 * s)
            gain = p / s
            m, p = m + gain * (y[t] - m), (1 - gain) * p
        return total

    def gradient(log_q, wrong=False):
        q = jnp.exp(log_q)
        m, p, dm, dp, total = 0.0, 1.0, 0.0, 0.0, 0.0
        for t in range(3):
            p, dp = p + q, dp + q
            s, e = p + noise, y[t] - m
            total = total + dp / (2 * s) - e * dm / s - e**2 * dp / (2 * s**2)
            gain = p / s
            dgain = 0.0 if wrong else dp * noise / s**2
            m, dm = m + gain * e, dm + dgain * e - gain * dm
            p, dp = (1 - gain) * p, (1 - gain) * dp - dgain * p
        return total

    return Control(loss, gradient, (log_q,), ("as if it were a constant",))


def ar_likelihood() -> Control:
    """An AR(1) model, in NumPy; today's value for yesterday's."""
    phi, y = np.array(0.6), draw(520, (5,))

    def loss(phi):
        return jnp.sum((y[1:] - phi * y[:-1]) ** 2) / 2

    def gradient(phi, wrong=False):
        e = y[1:] - float(phi) * y[:-1]
        return -e @ (y[1:] if wrong else y[:-1])

    return Control(loss, gradient, (phi,), ("shift", "off by one"))


def euler() -> Control:
    """An ODE by Euler's steps, adjoint; the state's own derivative forgotten in the adjoint."""
    a, h, x0 = np.array(0.8), 0.1, 0.6

    def loss(a):
        def step(x, _):
            return x + h * a * x * (1 - x), x

        return jax.lax.scan(step, jnp.asarray(x0, a.dtype), None, length=4)[0]

    def gradient(a, wrong=False):
        xs = [jnp.asarray(x0, a.dtype)]
        for _ in range(4):
            xs.append(xs[-1] + h * a * xs[-1] * (1 - xs[-1]))
        back, da = 1.0, 0.0
        for x in xs[-2::-1]:
            da = da + back * h * x * (1 - x)
            back = back * (1.0 if wrong else 1 + h * a * (1 - 2 * x))
        return da

    return Control(loss, gradient, (a,), ("scan", "as if it were a constant"))


def runge_kutta() -> Control:
    """One step of RK4 on x' = −kx², in NumPy; the middle slopes weighted once."""
    k, h, x0 = np.array([0.5, 1.2]), 0.3, np.array([0.9, 0.4])

    def loss(k):
        f = lambda x: -k * x**2
        k1 = f(x0)
        k2 = f(x0 + h / 2 * k1)
        k3 = f(x0 + h / 2 * k2)
        k4 = f(x0 + h * k3)
        return jnp.sum(x0 + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))

    def gradient(k, wrong=False):
        k = np.asarray(k)
        x, dx, total = x0, np.zeros(2), np.zeros(2)
        weights = (1, 1, 1, 1) if wrong else (1, 2, 2, 1)
        for weight, ahead in zip(weights, (h / 2, h / 2, h, 0), strict=True):
            slope, dslope = -k * x**2, -(x**2) - 2 * k * x * dx
            total = total + weight * dslope
            x, dx = x0 + ahead * slope, ahead * dslope
        return h / 6 * total

    return Control(loss, gradient, (k,), ("half of what", "counted once", "weight"))


CONTROLS = (
    rnn, rnn_numpy, rnn_state_after, lstm, lstm_forget_gate, gru, gru_update_gate, attention,
    attention_numpy, causal_attention, causal_attention_shifted, multi_head,
    cross_attention_shared, rotary, alibi, ctc, crf, hmm, gmm, gmm_scales, kalman, ar_likelihood,
    euler, runge_kutta,
)  # fmt: skip
