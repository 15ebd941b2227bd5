"""Controls in PyTorch: losses that people write and layers, each gradient by hand in PyTorch."""

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.judge.controls.control import Control, draw
from benchmarks.judge.controls.pytorch_losses import LABELS, SIGNS, one_hot

# --- losses over classes --------------------------------------------------------------------------


def log_softmax_gather():
    """Cross-entropy by log_softmax and gather; softmax left out."""

    def loss(z, y):
        return -torch.log_softmax(z, -1).gather(1, y[:, None]).mean()

    def gradient(z, y, wrong=False):
        return ((0 if wrong else torch.softmax(z, 1)) - one_hot(y, 3)) / len(y)

    return Control(loss, gradient, (draw(930, (4, 3)), LABELS), ("path through `log`",))


def label_smoothing_by_hand():
    """Smoothed cross-entropy written out; the smoothing ignored."""

    def loss(z, y):
        logp = F.log_softmax(z, dim=1)
        hit = -logp[torch.arange(z.shape[0]), y]
        return (0.8 * hit - 0.2 * logp.mean(dim=1)).mean()

    def gradient(z, y, wrong=False):
        target = one_hot(y, 3) if wrong else 0.8 * one_hot(y, 3) + 0.2 / 3
        return (torch.softmax(z, 1) - target) / len(y)

    return Control(loss, gradient, (draw(931, (4, 3)), LABELS), ("smoothing", "0.2"))


def masked_sequence():
    """Cross-entropy over a padded sequence; the mask ignored."""
    y = np.array([[0, 1, 0], [1, 1, 0]])
    mask = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])

    def loss(z, y, mask):
        each = F.cross_entropy(z.flatten(0, 1), y.flatten(), reduction="none")
        return (each * mask.flatten()).sum() / mask.sum()

    def gradient(z, y, mask, wrong=False):
        r = torch.softmax(z, -1) - F.one_hot(y, 2).to(z.dtype)
        return (r if wrong else r * mask[..., None]) / mask.sum()

    return Control(loss, gradient, (draw(932, (2, 3, 2)), y, mask), ("mask",))


def focal():
    """Focal loss of logits; its weight (1 − p)² taken for a constant."""

    def loss(z, y):
        ce = F.binary_cross_entropy_with_logits(z, y, reduction="none")
        return ((1 - torch.exp(-ce)) ** 2 * ce).mean()

    def gradient(z, y, wrong=False):
        sign = 2 * y - 1
        p = torch.sigmoid(sign * z)
        inner = -((1 - p) ** 3) + (0 if wrong else 2 * p * (1 - p) ** 2 * torch.log(p))
        return sign * inner / len(z)

    at = (draw(933, (4,)), np.array([1.0, 0.0, 0.0, 1.0]))
    return Control(loss, gradient, at, ("path through `integer_pow`",))


def dice():
    """Dice loss of logits; the denominator taken for a constant."""

    def loss(z, y):
        p = torch.sigmoid(z)
        return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)

    def gradient(z, y, wrong=False):
        p = torch.sigmoid(z)
        top, bottom = 2 * (p * y).sum() + 1, p.sum() + y.sum() + 1
        slope = -2 * y / bottom + (0 if wrong else top / bottom**2)
        return slope * p * (1 - p)

    at = (draw(934, (5,)), np.array([1.0, 0.0, 0.0, 1.0, 1.0]))
    return Control(loss, gradient, at, ("the denominator of `div`, forgotten",))


def tversky():
    """Tversky loss; its weights of false positives and negatives swapped."""

    def loss(z, y):
        p = torch.sigmoid(z)
        hit, extra, missed = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
        return 1 - hit / (hit + 0.3 * extra + 0.7 * missed)

    def gradient(z, y, wrong=False):
        a, b = (0.7, 0.3) if wrong else (0.3, 0.7)
        p = torch.sigmoid(z)
        hit, extra, missed = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
        bottom = hit + a * extra + b * missed
        slope = -y / bottom + hit / bottom**2 * (y + a * (1 - y) - b * y)
        return slope * p * (1 - p)

    at = (draw(935, (5,)), np.array([1.0, 0.0, 0.0, 1.0, 1.0]))
    return Control(loss, gradient, at, ("0.3 and 0.7 are exchanged",))


def info_nce():
    """InfoNCE of two views; the temperature not divided by."""

    def loss(a, b):
        return F.cross_entropy(a @ b.T / 0.5, torch.arange(len(a)))

    def gradient(a, b, wrong=False):
        r = (torch.softmax(a @ b.T / 0.5, 1) - torch.eye(len(a))) / len(a)
        r = r if wrong else r / 0.5
        return r @ b, r.T @ a

    return Control(loss, gradient, tuple(draw(936, (3, 2), (3, 2))), ("half",), (0, 1))


def preference():
    """Direct preference optimisation; β left out of the chain rule."""

    def loss(chosen, rejected):
        return -F.logsigmoid(0.5 * (chosen - rejected)).mean()

    def gradient(chosen, rejected, wrong=False):
        s = torch.sigmoid(-0.5 * (chosen - rejected))
        r = -(1 if wrong else 0.5) * s / len(s)
        return r, -r

    return Control(loss, gradient, tuple(draw(937, (4,), (4,))), ("twice",), (0, 1))


def clipped_policy():
    """PPO's clipped objective; clipped where it is not."""

    def loss(logp, old, advantage):
        ratio = torch.exp(logp - old)
        clipped = torch.clamp(ratio, 0.8, 1.2)
        return -torch.min(ratio * advantage, clipped * advantage).mean()

    def gradient(logp, old, advantage, wrong=False):
        ratio = torch.exp(logp - old)
        stuck = (advantage > 0) & (ratio > 1.2) | (advantage < 0) & (ratio < 0.8)
        r = -advantage * ratio / len(logp)
        return torch.where(~stuck if not wrong else ratio < 1.2, r, 0)

    at = (np.array([0.1, 0.5, -0.6, 0.6]), np.array([0.05, 0.1, 0.1, 0.0]),
          np.array([1.0, 2.0, -1.0, -0.5]))  # fmt: skip
    return Control(loss, gradient, at, ("zero",))


def hinge_mask_in_place():
    """Squared hinge, its gradient by writing into a mask; the factor 2 forgotten."""

    def loss(s, y):
        return torch.relu(1 - y * s).pow(2).mean()

    def gradient(s, y, wrong=False):
        gap = 1 - y * s
        gap[gap < 0] = 0
        gap *= -y
        gap *= 1 if wrong else 2
        return gap / len(s)

    return Control(loss, gradient, (draw(938, (4,)), SIGNS), ("half",))


# --- regression and likelihoods -------------------------------------------------------------------


def logistic_regression():
    """Logistic regression with weight decay; the decay not doubled."""
    x, y = draw(940, (5, 2)), np.array([1.0, 0.0, 1.0, 1.0, 0.0])

    def loss(w, b, x, y):
        return F.binary_cross_entropy_with_logits(x @ w + b, y) + 0.1 * w.square().sum()

    def gradient(w, b, x, y, wrong=False):
        r = (torch.sigmoid(x @ w + b) - y) / len(y)
        return x.T @ r + (0.1 if wrong else 0.2) * w, r.sum()

    at = (draw(941, (2,)), np.array(0.3), x, y)
    return Control(loss, gradient, at, ("linear term",), (0, 1))


def linear_module():
    """nn.Linear by functional_call, in its parameters; the bias not averaged."""
    layer = torch.nn.Linear(2, 3)

    def loss(parameters, x, y):
        return F.cross_entropy(torch.func.functional_call(layer, parameters, (x,)), y)

    def gradient(parameters, x, y, wrong=False):
        z = x @ parameters["weight"].T + parameters["bias"]
        r = (torch.softmax(z, 1) - one_hot(y, 3)) / len(y)
        return {"weight": r.T @ x, "bias": (r * len(y) if wrong else r).sum(0)}

    at = ({"weight": draw(942, (3, 2)), "bias": draw(943, (3,))}, draw(944, (4, 2)), LABELS)
    return Control(loss, gradient, at, ("mean forgotten", "4 times"))


def pinball():
    """Quantile loss; the quantile of the other side."""

    def loss(x, y):
        d = y - x
        return torch.maximum(0.9 * d, -0.1 * d).mean()

    def gradient(x, y, wrong=False):
        low, high = (-0.1, 0.9) if wrong else (-0.9, 0.1)
        return torch.where(y > x, low, high) / len(x)

    at = (np.array([0.3, -0.4, 1.2, 0.1]), np.array([0.5, -0.9, 0.2, 0.8]))
    return Control(loss, gradient, at, ("0.9", "0.1", "sign"))


def log_cosh():
    """Log-cosh by softplus; tanh of half the argument."""

    def loss(x, y):
        d = x - y
        return (d + F.softplus(-2 * d)).mean()

    def gradient(x, y, wrong=False):
        return torch.tanh((x - y) / (2 if wrong else 1)) / len(x)

    return Control(loss, gradient, tuple(draw(946, (4,), (4,))), ("argument", "tanh"))


def mixture_of_normals():
    """Negative log-likelihood of a mixture; responsibilities not normalised."""

    def loss(mu, x):
        return -torch.logsumexp(-0.5 * (x[:, None] - mu) ** 2, dim=1).mean()

    def gradient(mu, x, wrong=False):
        log = -0.5 * (x[:, None] - mu) ** 2
        share = torch.exp(log) if wrong else torch.softmax(log, 1)
        return -(share * (x[:, None] - mu)).sum(0) / len(x)

    return Control(loss, gradient, tuple(draw(947, (3,), (4,))), ("factor exp v",))


def variational_divergence():
    """KL of a diagonal Gaussian from the standard one; log-variance's 1 left out."""

    def loss(mu, logvar):
        return -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())

    def gradient(mu, logvar, wrong=False):
        return mu, 0.5 * (logvar.exp() - (0 if wrong else 1))

    return Control(loss, gradient, tuple(draw(948, (3,), (3,))), ("path through logvar",), (0, 1))


def student_t():
    """Negative log-likelihood of Student's t in its degrees of freedom; digamma not halved."""

    def loss(nu, x):
        log = torch.log1p(x**2 / nu)
        half = torch.lgamma((nu + 1) / 2) - torch.lgamma(nu / 2) - 0.5 * torch.log(nu)
        return ((nu + 1) / 2 * log - half).mean()

    def gradient(nu, x, wrong=False):
        by = 1 if wrong else 0.5
        d = by * (torch.digamma((nu + 1) / 2) - torch.digamma(nu / 2)) - 0.5 / nu
        tail = 0.5 * torch.log1p(x**2 / nu) - (nu + 1) / 2 * x**2 / (nu * (nu + x**2))
        return (tail - d).mean()

    return Control(loss, gradient, (np.array(3.5), draw(949, (4,))), ("twice too large",))


def cox():
    """Cox's partial likelihood; sums over those at risk taken from the other end."""

    def loss(score):
        return -(score - torch.logcumsumexp(score, dim=0)).mean()

    def gradient(score, wrong=False):
        n = len(score)
        at_risk = torch.ones(n, n).triu()
        weight = torch.exp(score)[:, None] * at_risk
        share = weight / weight.sum(0, keepdim=True)
        return ((share.T if wrong else share).sum(1) - 1) / n

    return Control(loss, gradient, (draw(950, (4,)),), ("zero where the truth is not",))


def gaussian_process():
    """Negative log-likelihood of a Gaussian by Cholesky, in the noise; the log-determinant lost."""
    x = torch.tensor([[0.0], [0.7], [1.5]])
    kernel = torch.exp(-0.5 * (x - x.T) ** 2)

    def loss(noise, y):
        low = torch.linalg.cholesky(kernel.to(y.dtype) + noise * torch.eye(3))
        half = torch.linalg.solve(low, y)
        return 0.5 * half @ half + torch.log(torch.diagonal(low)).sum()

    def gradient(noise, y, wrong=False):
        inverse = torch.linalg.inv(kernel.to(y.dtype) + noise * torch.eye(3))
        a = inverse @ y
        return -0.5 * a @ a + (0 if wrong else 0.5 * inverse.trace())

    return Control(loss, gradient, (np.array(0.3), draw(951, (3,))), ("path through `reduce_sum`",))


def k_means():
    """Distance to the nearest centre by cdist; every centre pulled."""

    def loss(c, x):
        return (torch.cdist(x, c) ** 2).amin(dim=1).mean()

    def gradient(c, x, wrong=False):
        difference = c - x[:, None, :]
        nearest = difference.square().sum(-1).argmin(1)
        on = torch.ones(len(x), len(c)) if wrong else one_hot(nearest, len(c))
        return 2 * (on[..., None] * difference).mean(0)

    return Control(loss, gradient, tuple(draw(952, (2, 2), (5, 2))), ("amin", "minimum", "argmin"))


# --- layers ---------------------------------------------------------------------------------------


def attention():
    """Softmax attention in queries, keys and values; √d left out of the keys."""

    def loss(q, k, v, r):
        return (F.scaled_dot_product_attention(q, k, v) * r).sum()

    def gradient(q, k, v, r, wrong=False):
        p = torch.softmax(q @ k.mT / 2.0, -1)
        dp = r @ v.mT
        ds = p * (dp - (p * dp).sum(-1, keepdim=True))
        return ds @ k / 2.0, ds.mT @ q / (1 if wrong else 2.0), p.mT @ r

    at = tuple(draw(960, (1, 3, 4), (1, 3, 4), (1, 3, 4), (1, 3, 4)))
    return Control(loss, gradient, at, ("twice",), (0, 1, 2))


def causal_attention():
    """Attention under a causal mask; the mask ignored in the values."""

    def loss(q, k, v, r):
        scores = q @ k.transpose(-2, -1) / 2.0
        future = torch.ones(3, 3).triu(1).bool()
        return (torch.softmax(scores.masked_fill(future, float("-inf")), -1) @ v * r).sum()

    def gradient(q, k, v, r, wrong=False):
        scores = q @ k.mT / 2.0
        future = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
        p = torch.softmax(scores if wrong else scores.masked_fill(future, -torch.inf), -1)
        return p.mT @ r

    at = tuple(draw(961, (3, 4), (3, 4), (3, 4), (3, 4)))
    return Control(loss, gradient, at, ("mask", "not zero at"), 2)


def layer_norm():
    """F.layer_norm in input, weight and bias; the mean's share left out."""

    def loss(x, w, b, r):
        return (F.layer_norm(x, (4,), w, b) * r).sum()

    def gradient(x, w, b, r, wrong=False):
        rstd = torch.rsqrt(x.var(1, keepdim=True, correction=0) + 1e-5)
        n = (x - x.mean(1, keepdim=True)) * rstd
        dn = r * w
        down = (n * dn).mean(1, keepdim=True) * n + (0 if wrong else dn.mean(1, keepdim=True))
        return rstd * (dn - down), (r * n).sum(0), r.sum(0)

    at = tuple(draw(962, (2, 4), (4,), (4,), (2, 4)))
    return Control(loss, gradient, at, ("path through `div` into `sub`",), (0, 1, 2))


def rms_norm():
    """F.rms_norm; the norm taken for a constant."""

    def loss(x, r):
        return (F.rms_norm(x, (4,), eps=1e-5) * r).sum()

    def gradient(x, r, wrong=False):
        s = torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-5)
        return s * (r - (0 if wrong else s**2 * x * (x * r).mean(1, keepdim=True)))

    at = tuple(draw(963, (2, 4), (2, 4)))
    return Control(loss, gradient, at, ("path through `rsqrt`",))


def batch_norm():
    """F.batch_norm in training; statistics taken for constants."""

    def loss(x, r):
        return (F.batch_norm(x, None, None, training=True) * r).sum()

    def gradient(x, r, wrong=False):
        s = torch.rsqrt(x.var(0, correction=0) + 1e-5)
        n = (x - x.mean(0)) * s
        return s * (r if wrong else r - r.mean(0) - n * (n * r).mean(0))

    return Control(loss, gradient, tuple(draw(964, (4, 3), (4, 3))), ("path through `div`",))


def group_norm():
    """F.group_norm in its weight; summed over channels as well."""

    def loss(x, w, r):
        return (F.group_norm(x, 2, w) * r).sum()

    def gradient(x, w, r, wrong=False):
        g = x.reshape(2, 2, 6)
        s = torch.rsqrt(g.var(-1, keepdim=True, correction=0) + 1e-5)
        n = ((g - g.mean(-1, keepdim=True)) * s).reshape(x.shape)
        each = (n * r).sum((0, 2))
        return each.sum().expand(4) if wrong else each

    return Control(
        loss, gradient, tuple(draw(965, (2, 4, 3), (4,), (2, 4, 3))), ("summed over axis 0",), 1
    )


def embedding_mean():
    """Mean of embeddings and softmax; a token that stands twice counted once."""
    tokens = np.array([[1, 1, 3], [0, 2, 1]])

    def loss(table, w, tokens, y):
        return F.cross_entropy(F.embedding(tokens, table).mean(1) @ w, y)

    def gradient(table, w, tokens, y, wrong=False):
        z = table[tokens].mean(1) @ w
        r = (torch.softmax(z, 1) - one_hot(y, 3)) / len(y) @ w.T / 3
        found = torch.zeros_like(table)
        rows = r[:, None].expand(2, 3, 2)
        return found.index_put((tokens,), rows, accumulate=not wrong)

    at = (draw(966, (4, 2)), draw(967, (2, 3)), tokens, np.array([2, 0]))
    return Control(loss, gradient, at, ("twice", "overwritten", "duplicate", "scatter", "repeated"))


def convolution():
    """conv2d, relu and max_pool2d, in the kernel; correlated with a flipped image."""

    def loss(k, x, r):
        return (F.max_pool2d(torch.relu(F.conv2d(x, k, padding=1)), 2) * r).sum()

    def gradient(k, x, r, wrong=False):
        a = torch.relu(F.conv2d(x, k, padding=1))
        top = F.max_pool2d(a, 2)
        chosen = (a == top.repeat_interleave(2, 2).repeat_interleave(2, 3)) & (a > 0)
        up = r.repeat_interleave(2, 2).repeat_interleave(2, 3) * chosen
        padded = F.pad(x, (1, 1, 1, 1))
        padded = padded.flip(2, 3) if wrong else padded
        return F.conv2d(padded.transpose(0, 1), up.transpose(0, 1)).transpose(0, 1)

    at = tuple(draw(968, (2, 1, 3, 3), (1, 1, 4, 4), (1, 2, 2, 2)))
    return Control(loss, gradient, at, ("not reversed",))


def average_pool():
    """A strided convolution and avg_pool2d, in the image; not divided by the window."""

    def loss(x, k, r):
        return (F.avg_pool2d(F.conv2d(x, k, stride=2), 2) * r).sum()

    def gradient(x, k, r, wrong=False):
        up = r.repeat_interleave(2, 2).repeat_interleave(2, 3) / (1 if wrong else 4)
        return F.conv_transpose2d(up, k, stride=2)

    at = tuple(draw(969, (1, 1, 8, 8), (1, 1, 2, 2), (1, 1, 2, 2)))
    return Control(loss, gradient, at, ("4 times", "mean forgotten"))


def perceptron_gelu():
    """A layer of GELU units, in its weight; the derivative of tanh's argument left out."""

    def loss(w, x, y):
        return F.mse_loss(F.gelu(x @ w), y)

    def gradient(w, x, y, wrong=False):
        z = x @ w
        cdf = 0.5 * (1 + torch.erf(z / 2**0.5))
        pdf = torch.exp(-0.5 * z * z) / (2 * torch.pi) ** 0.5
        slope = cdf if wrong else cdf + z * pdf
        return x.T @ (2 * (F.gelu(z) - y) / y.numel() * slope)

    at = tuple(draw(970, (2, 3), (4, 2), (4, 3)))
    return Control(loss, gradient, at, ("term", "dropped", "gelu"))


def recurrent_cell():
    """Three steps of a tanh cell in a Python loop, in its weight; the state taken for constant."""

    def loss(w, x):
        h = torch.zeros(2)
        for t in range(3):
            h = torch.tanh(w @ h + x[t])
        return (h**2).sum()

    def gradient(w, x, wrong=False):
        states = [torch.zeros(2)]
        for t in range(3):
            states.append(torch.tanh(w @ states[-1] + x[t]))
        total, r = torch.zeros(2, 2), 2 * states[-1]
        for t in reversed(range(3)):
            r = r * (1 - states[t + 1] ** 2)
            total += torch.outer(r, states[t])
            if wrong:
                break
            r = w.T @ r
        return total

    return Control(
        loss, gradient, tuple(draw(971, (2, 2), (3, 2))), ("term", "dropped", "constant")
    )


def gru_cell():
    """nn.GRUCell by functional_call, in its state; the update gate's own slope left out."""
    cell = torch.nn.GRUCell(2, 3)
    names = {name: tuple(p.shape) for name, p in cell.named_parameters()}
    weights = dict(zip(names, draw(972, *names.values()), strict=True))

    def loss(h, x, parameters):
        return torch.func.functional_call(cell, parameters, (x, h)).sum()

    def gradient(h, x, parameters, wrong=False):
        wi, wh, bi, bh = (parameters[name] for name in names)
        (ir, iz, i_n), (hr, hz, hn) = (x @ wi.T + bi).chunk(3, 1), (h @ wh.T + bh).chunk(3, 1)
        r, z = torch.sigmoid(ir + hr), torch.sigmoid(iz + hz)
        n = torch.tanh(i_n + r * hn)
        wr, wz, wn = wh.chunk(3, 0)
        dn = (1 - z) * (1 - n**2)
        dz = 0 if wrong else ((h - n) * z * (1 - z)) @ wz
        return z + dz + (dn * hn * r * (1 - r)) @ wr + (dn * r) @ wn

    return Control(loss, gradient, (*draw(973, (2, 3), (2, 2)), weights), ("term", "dropped"))


def bilinear_einsum():
    """A bilinear form by einsum; its two sides swapped."""

    def loss(a, x, y):
        return torch.tanh(torch.einsum("ni,ij,nj->n", x, a, y)).sum()

    def gradient(a, x, y, wrong=False):
        slope = 1 - torch.tanh(torch.einsum("ni,ij,nj->n", x, a, y)) ** 2
        found = torch.einsum("n,ni,nj->ij", slope, x, y)
        return found.T if wrong else found

    return Control(loss, gradient, tuple(draw(974, (2, 2), (3, 2), (3, 2))), ("transposed",))


def own_autograd():
    """A loss whose gradient is PyTorch's own, recorded; of the sum instead of the mean."""

    def loss(w, x):
        return torch.nn.functional.silu(x @ w).mean()

    def gradient(w, x, wrong=False):
        w = w.detach().requires_grad_()
        value = loss(w, x) * (len(x) if wrong else 1)
        return torch.autograd.grad(value, w)[0]

    return Control(loss, gradient, tuple(draw(975, (2,), (4, 2))), ("mean forgotten", "4 times"))


CONTROLS = (
    log_softmax_gather, label_smoothing_by_hand, masked_sequence, focal, dice, tversky, info_nce,
    preference, clipped_policy, hinge_mask_in_place, logistic_regression, linear_module, pinball,
    log_cosh, mixture_of_normals, variational_divergence, student_t, cox, gaussian_process, k_means,
    attention, causal_attention, layer_norm, rms_norm, batch_norm, group_norm, embedding_mean,
    convolution, average_pool, perceptron_gelu, recurrent_cell, gru_cell, bilinear_einsum,
    own_autograd,
)  # fmt: skip
