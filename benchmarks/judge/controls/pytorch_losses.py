"""Controls in PyTorch: every loss of `torch.nn.functional`, each gradient in PyTorch by hand."""

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.judge.controls.control import Control, draw

LABELS = np.array([0, 2, 1, 1])
SIGNS = np.array([1.0, -1.0, -1.0, 1.0])


def one_hot(y, classes):
    """Zeros, and a one at each label."""
    return torch.zeros(len(y), classes).scatter(1, y[:, None], 1.0)


def cross_entropy():
    """F.cross_entropy of class indices; the mean forgotten."""

    def gradient(z, y, wrong=False):
        r = torch.softmax(z, 1)
        r[torch.arange(len(y)), y] -= 1
        return r if wrong else r / len(y)

    return Control(F.cross_entropy, gradient, (draw(900, (4, 3)), LABELS), ("mean forgotten",))


def cross_entropy_soft():
    """F.cross_entropy of probabilities; p − y without p, the targets alone."""
    y = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.6, 0.4, 0.0]])

    def gradient(z, y, wrong=False):
        return (0 if wrong else torch.softmax(z, 1) / len(y)) - y / len(y)

    return Control(F.cross_entropy, gradient, (draw(901, (3, 3)), y), ("path through `log`",))


def cross_entropy_ignored():
    """F.cross_entropy with ignore_index and label smoothing; averaged over ignored labels too."""
    y = np.array([2, -1, 0, -1])

    def loss(z, y):
        return F.cross_entropy(z, y, ignore_index=-1, label_smoothing=0.1)

    def gradient(z, y, wrong=False):
        kept = y >= 0
        target = 0.9 * one_hot(torch.where(kept, y, 0), 3) + 0.1 / 3
        r = (torch.softmax(z, 1) - target) * kept[:, None]
        return r / (len(y) if wrong else kept.sum())

    return Control(loss, gradient, (draw(902, (4, 3)), y), ("half of what it should be",))


def cross_entropy_weighted():
    """nn.CrossEntropyLoss with class weights; averaged over examples, not over their weights."""
    weight = torch.tensor([0.5, 2.0, 1.25])

    def gradient(z, y, wrong=False):
        w = weight.to(z.dtype)[y]
        r = w[:, None] * (torch.softmax(z, 1) - one_hot(y, 3))
        return r / (len(y) if wrong else w.sum())

    loss = torch.nn.CrossEntropyLoss(weight=weight)
    return Control(loss, gradient, (draw(903, (4, 3)), LABELS), ("factor",))


def nll_loss():
    """F.nll_loss of log-probabilities; the sign lost."""

    def gradient(logp, y, wrong=False):
        r = one_hot(y, 3) / len(y)
        return r if wrong else -r

    at = (np.log(np.full((4, 3), 0.2) + np.eye(4, 3) * 0.4), LABELS)
    return Control(F.nll_loss, gradient, at, ("sign",))


def binary_cross_entropy():
    """F.binary_cross_entropy of probabilities; p(1 − p) left out, as if of logits."""

    def gradient(p, y, wrong=False):
        return (p - y) / (1 if wrong else p * (1 - p)) / len(y)

    at = (np.array([0.2, 0.7, 0.4]), np.array([1.0, 0.0, 0.3]))
    return Control(F.binary_cross_entropy, gradient, at, ("v(1 − v)",))


def binary_cross_entropy_with_logits():
    """F.binary_cross_entropy_with_logits with weights; the weight of positives left out."""
    y, w = np.array([1.0, 0.0, 1.0, 0.0]), np.array([1.0, 2.0, 0.5, 1.5])
    positive = torch.tensor(3.0)

    def loss(z, y, w):
        return F.binary_cross_entropy_with_logits(z, y, weight=w, pos_weight=positive)

    def gradient(z, y, w, wrong=False):
        s = torch.sigmoid(z)
        up = 1.0 if wrong else 3.0
        return w * ((1 - y) * s - up * y * (1 - s)) / len(y)

    return Control(loss, gradient, (draw(904, (4,)), y, w), ("the factor 3",))


def kl_div():
    """F.kl_div with batchmean; averaged over all numbers."""

    def loss(logq, p):
        return F.kl_div(logq, p, reduction="batchmean")

    def gradient(logq, p, wrong=False):
        return -p / (p.numel() if wrong else len(p))

    q = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    return Control(loss, gradient, (np.log(q), q[:, ::-1].copy()), ("1/3",))


def kl_div_of_logs():
    """F.kl_div with log_target, in the target; the derivative of its factor exp left out."""

    def loss(logq, logp):
        return F.kl_div(logq, logp, reduction="sum", log_target=True)

    def gradient(logq, logp, wrong=False):
        return torch.exp(logp) * ((0 if wrong else logp - logq) + 1)

    return Control(
        loss, gradient, (draw(905, (2, 3)), draw(906, (2, 3))), ("path through `exp`",), 1
    )


def mse_loss():
    """F.mse_loss; the factor 2 forgotten."""

    def gradient(x, y, wrong=False):
        return (1 if wrong else 2) * (x - y) / x.numel()

    return Control(F.mse_loss, gradient, tuple(draw(907, (2, 3), (2, 3))), ("half",))


def l1_loss():
    """F.l1_loss; summed, not averaged."""

    def gradient(x, y, wrong=False):
        return torch.sign(x - y) / (1 if wrong else x.numel())

    return Control(F.l1_loss, gradient, tuple(draw(908, (2, 3), (2, 3))), ("mean forgotten",))


def smooth_l1_loss():
    """F.smooth_l1_loss; its parabola not divided by beta."""

    def loss(x, y):
        return F.smooth_l1_loss(x, y, beta=0.5)

    def gradient(x, y, wrong=False):
        d = x - y
        return torch.where(abs(d) < 0.5, d if wrong else d / 0.5, torch.sign(d)) / x.numel()

    at = (np.array([0.3, -1.2, 0.1, 2.0]), np.array([0.1, 0.4, 0.3, 1.9]))
    return Control(loss, gradient, at, ("half",))


def huber_loss():
    """F.huber_loss; the slope of its straight part taken for 1."""

    def loss(x, y):
        return F.huber_loss(x, y, delta=1.5)

    def gradient(x, y, wrong=False):
        d = x - y
        return torch.where(abs(d) < 1.5, d, (1 if wrong else 1.5) * torch.sign(d)) / x.numel()

    at = (np.array([0.3, -2.2, 0.1, 4.0]), np.array([0.1, 0.4, 0.9, 1.9]))
    return Control(loss, gradient, at, ("the factor 1.5",))


def hinge_embedding_loss():
    """F.hinge_embedding_loss; the sign of dissimilar pairs lost."""

    def gradient(x, y, wrong=False):
        apart = torch.where(x < 1, 1.0 if wrong else -1.0, 0.0)
        return torch.where(y > 0, 1.0, apart) / len(y)

    at = (np.array([0.3, 0.6, 1.7, 0.2]), SIGNS)
    return Control(F.hinge_embedding_loss, gradient, at, ("absolute value",))


def margin_ranking_loss():
    """F.margin_ranking_loss; the second score pushed the way of the first."""

    def loss(a, b, y):
        return F.margin_ranking_loss(a, b, y, margin=0.5)

    def gradient(a, b, y, wrong=False):
        r = torch.where(0.5 - y * (a - b) > 0, -y, 0) / len(y)
        return r, (r if wrong else -r)

    return Control(loss, gradient, (*draw(909, (4,), (4,)), SIGNS), ("sign",), (0, 1))


def multi_margin_loss():
    """F.multi_margin_loss; the label's own score left alone."""

    def gradient(z, y, wrong=False):
        rows = torch.arange(len(y))
        active = (1 - z[rows, y][:, None] + z > 0).to(z.dtype)
        active[rows, y] = 0
        active[rows, y] = 0 if wrong else -active.sum(1)
        return active / z.numel()

    return Control(
        F.multi_margin_loss, gradient, (draw(910, (4, 3)), LABELS), ("path through `sub`",)
    )


def multi_margin_loss_squared():
    """F.multi_margin_loss with p = 2 and weights; the factor 2 forgotten."""
    weight = torch.tensor([0.5, 2.0, 1.0])

    def loss(z, y):
        return F.multi_margin_loss(z, y, p=2, weight=weight)

    def gradient(z, y, wrong=False):
        rows = torch.arange(len(y))
        gap = torch.clamp(1 - z[rows, y][:, None] + z, min=0)
        gap[rows, y] = 0
        gap = gap * weight.to(z.dtype)[y][:, None]
        gap[rows, y] = -gap.sum(1)
        return gap * (1 if wrong else 2) / z.numel()

    return Control(loss, gradient, (draw(911, (4, 3)), LABELS), ("half",))


def multilabel_margin_loss():
    """F.multilabel_margin_loss; not divided by the number of classes."""
    y = np.array([[2, 0, -1], [1, -1, 0]])

    def gradient(z, y, wrong=False):
        chosen = torch.zeros(2, 3, dtype=torch.bool)
        chosen[0, 2] = chosen[0, 0] = chosen[1, 1] = True
        gap = (1 - z[:, :, None] + z[:, None, :] > 0) & chosen[:, :, None] & ~chosen[:, None, :]
        gap = gap.to(z.dtype)
        return (gap.sum(1) - gap.sum(2)) / (len(z) if wrong else z.numel())

    at = (draw(912, (2, 3)), y)
    return Control(F.multilabel_margin_loss, gradient, at, ("mean forgotten",))


def multilabel_soft_margin_loss():
    """F.multilabel_soft_margin_loss; averaged over examples, not over classes too."""
    y = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])

    def gradient(z, y, wrong=False):
        return (torch.sigmoid(z) - y) / (len(z) if wrong else z.numel())

    at = (draw(913, (2, 3)), y)
    return Control(F.multilabel_soft_margin_loss, gradient, at, ("mean forgotten",))


def soft_margin_loss():
    """F.soft_margin_loss; the label dropped from the chain rule."""

    def gradient(x, y, wrong=False):
        return -torch.sigmoid(-y * x) * (1 if wrong else y) / len(y)

    return Control(F.soft_margin_loss, gradient, (draw(914, (4,)), SIGNS), ("sign",))


def poisson_nll_loss():
    """F.poisson_nll_loss of logarithms; exp taken for a rate."""

    def gradient(x, y, wrong=False):
        return (1 - y / x if wrong else torch.exp(x) - y) / len(y)

    at = (np.array([0.3, -0.4, 1.1]), np.array([1.0, 0.0, 4.0]))
    return Control(F.poisson_nll_loss, gradient, at, ("exp", "log"))


def gaussian_nll_loss():
    """F.gaussian_nll_loss in mean and variance; the variance's share of 1/v not halved."""

    def gradient(mu, y, v, wrong=False):
        r = (mu - y) / v
        return r / len(y), ((1 if wrong else 0.5) / v - 0.5 * r * r) / len(y)

    at = (*draw(915, (3,), (3,)), np.array([0.5, 1.5, 0.8]))
    return Control(F.gaussian_nll_loss, gradient, at, ("twice",), (0, 2))


def cosine_embedding_loss():
    """F.cosine_embedding_loss; the derivative of the length left out."""

    def gradient(a, b, y, wrong=False):
        na, nb = (torch.sqrt((v * v).sum(1, keepdim=True) + 1e-12) for v in (a, b))  # as F does
        cos = (a * b).sum(1, keepdim=True) / (na * nb)
        slope = b / (na * nb) - (0 if wrong else cos * a / na**2)
        pushed = torch.where(cos > 0, slope, 0)
        return torch.where(y[:, None] > 0, -slope, pushed) / len(y)

    at = (*draw(916, (4, 3), (4, 3)), SIGNS)
    return Control(F.cosine_embedding_loss, gradient, at, ("path through `sqrt`",))


def triplet_margin_loss():
    """F.triplet_margin_loss; the anchor pulled only, not pushed."""

    def gradient(a, p, n, wrong=False):
        to_p, to_n = a - p + 1e-6, a - n + 1e-6
        dp, dn = to_p.norm(dim=1, keepdim=True), to_n.norm(dim=1, keepdim=True)
        on = (1 + dp - dn > 0).to(a.dtype) / len(a)
        pull, push = on * to_p / dp, on * to_n / dn
        return (pull if wrong else pull - push), -pull, push

    at = tuple(draw(917, (4, 3), (4, 3), (4, 3)))
    return Control(F.triplet_margin_loss, gradient, at, ("path through anchor",), (0, 1, 2))


def triplet_margin_with_distance_loss():
    """F.triplet_margin_with_distance_loss by squares; the factor 2 forgotten."""

    def distance(a, b):
        return ((a - b) ** 2).sum(1)

    def loss(a, p, n):
        return F.triplet_margin_with_distance_loss(a, p, n, distance_function=distance)

    def gradient(a, p, n, wrong=False):
        on = (1 + distance(a, p) - distance(a, n) > 0).to(a.dtype)[:, None] / len(a)
        return (1 if wrong else 2) * on * (n - p)

    return Control(loss, gradient, tuple(draw(918, (4, 2), (4, 2), (4, 2))), ("half",))


def linear_cross_entropy():
    """F.linear_cross_entropy in inputs and weight; the mean forgotten in the weight."""

    def loss(x, w, y):
        return F.linear_cross_entropy(x, w, y)

    def gradient(x, w, y, wrong=False):
        r = (torch.softmax(x @ w.T, 1) - one_hot(y, 3)) / len(y)
        return r @ w, (r * len(y) if wrong else r).T @ x

    at = (*draw(919, (4, 2), (3, 2)), LABELS)
    return Control(loss, gradient, at, ("mean forgotten",), (0, 1))


def ctc_loss():
    """F.ctc_loss; the sign lost."""
    labels, inputs, lengths = np.array([[1, 2]]), np.array([4]), np.array([2])

    def gradient(logp, y, inputs, lengths, wrong=False):
        return torch.exp(logp)

    at = (np.log(np.full((4, 1, 3), 1 / 3)), labels, inputs, lengths)
    return Control(F.ctc_loss, gradient, at, ("sign",))


CONTROLS = (
    cross_entropy, cross_entropy_soft, cross_entropy_ignored, cross_entropy_weighted, nll_loss,
    binary_cross_entropy, binary_cross_entropy_with_logits, kl_div, kl_div_of_logs, mse_loss,
    l1_loss, smooth_l1_loss, huber_loss, hinge_embedding_loss, margin_ranking_loss,
    multi_margin_loss, multi_margin_loss_squared, multilabel_margin_loss,
    multilabel_soft_margin_loss, soft_margin_loss, poisson_nll_loss, gaussian_nll_loss,
    cosine_embedding_loss, triplet_margin_loss, triplet_margin_with_distance_loss,
    linear_cross_entropy, ctc_loss,
)  # fmt: skip
