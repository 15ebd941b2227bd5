# ruff: noqa: D102, N803, N806  (names as courses and textbooks have them)
"""`python -m benchmarks.judge.numpy_losses`: losses as people write them in NumPy, judged.

Loops, masks written in place, fancy indexing, views, `scipy.special`, `np.linalg`, classes, course
exercises. Each is made by a function whose docstring says "the loss; the mistake", as a `Control`
whose loss and gradient are both in NumPy. Exit code 1 unless each is traced, right and wrong are
told apart, and the cause is named.
"""

import inspect
import math
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import scipy.special
import typer
from scipy.special import expit, gammaln, logsumexp, psi, xlogy

from benchmarks.judge.controls.control import Control, draw
from handgrad.cli.app import run_script
from handgrad.cli.output import WRONG, print, table
from handgrad.errors import HandgradError
from handgrad.verify import Verdict, verify

LABELS = np.array([0, 2, 1, 2])
"""Classes of four examples."""


# --- course exercises -----------------------------------------------------------------------------


def svm_in_loops() -> Control:
    """Multiclass hinge in two loops; the mean is forgotten."""

    def loss(W, X, y, reg):
        total = 0.0
        for i in range(X.shape[0]):
            scores = X[i].dot(W)
            for j in range(W.shape[1]):
                if j == y[i]:
                    continue
                margin = scores[j] - scores[y[i]] + 1
                if margin > 0:
                    total += margin
        return total / X.shape[0] + reg * np.sum(W * W)

    def gradient(W, X, y, reg, wrong=False):
        dW = np.zeros(W.shape)
        for i in range(X.shape[0]):
            scores = X[i].dot(W)
            for j in range(W.shape[1]):
                if j == y[i]:
                    continue
                margin = scores[j] - scores[y[i]] + 1
                if margin > 0:
                    dW[:, j] += X[i]
                    dW[:, y[i]] -= X[i]
        if not wrong:
            dW /= X.shape[0]
        return dW + 2 * reg * W

    W, X = draw(0, (3, 3), (4, 3))
    return Control(loss, gradient, (W, X, LABELS, 0.0), ("mean forgotten", "4 times too large"))


def svm_vectorized() -> Control:
    """The same without loops; the penalty's factor 2 is lost."""

    def loss(W, X, y):
        rows = np.arange(len(y))
        scores = X.dot(W)
        margins = np.maximum(0, scores - scores[rows, y][:, np.newaxis] + 1)
        margins[rows, y] = 0
        return np.sum(margins) / len(y) + 0.1 * np.sum(W * W)

    def gradient(W, X, y, wrong=False):
        rows = np.arange(len(y))
        scores = X.dot(W)
        margins = scores - scores[rows, y][:, np.newaxis] + 1
        counts = np.zeros(scores.shape)
        counts[margins > 0] = 1
        counts[rows, y] = 0
        counts[rows, y] = -np.sum(counts, axis=1)
        return X.T.dot(counts) / len(y) + (0.1 if wrong else 0.2) * W

    return Control(loss, gradient, (*draw(1, (3, 3), (4, 3)), LABELS), ("λ", "linear term"))


def softmax_in_loops() -> Control:
    """Softmax regression example by example; 1 is not subtracted at the label."""

    def loss(W, X, y):
        total = 0.0
        for i in range(len(X)):
            scores = X[i] @ W
            scores -= np.max(scores)
            p = np.exp(scores) / np.sum(np.exp(scores))
            total -= np.log(p[y[i]])
        return float(total / len(X))

    def gradient(W, X, y, wrong=False):
        dW = np.zeros_like(W)
        for i in range(len(X)):
            scores = X[i] @ W
            scores -= np.max(scores)
            p = np.exp(scores) / np.sum(np.exp(scores))
            if not wrong:
                p[y[i]] -= 1
            dW += np.outer(X[i], p)
        return dW / len(X)

    return Control(
        loss, gradient, (*draw(2, (3, 3), (4, 3)), LABELS), ("label", "1 is not subtracted", "y")
    )


def two_layers() -> Control:
    """Two layers with ReLU by masks in place; the mask of the ReLU is forgotten."""

    def forward(params, X):
        hidden = X @ params["W1"] + params["b1"]
        hidden[hidden < 0] = 0
        return hidden, hidden @ params["W2"] + params["b2"]

    def loss(params, X, y):
        scores = forward(params, X)[1]
        scores = scores - scores.max(axis=1, keepdims=True)
        logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return -logp[range(len(y)), y].mean()

    def gradient(params, X, y, wrong=False):
        hidden, scores = forward(params, X)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        p /= len(y)
        back = p @ params["W2"].T
        if not wrong:
            back[hidden <= 0] = 0
        return {"W1": X.T @ back, "b1": back.sum(axis=0), "W2": hidden.T @ p, "b2": p.sum(axis=0)}

    W1, b1, W2, b2, X = draw(3, (3, 4), (4,), (4, 3), (3,), (4, 3))
    params = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    return Control(loss, gradient, (params, X, LABELS), ("relu", "mask", "max", "select"))


class Affine:
    """A layer with weights, which keeps what it was given."""

    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def forward(self, x):
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, out):
        self.grad = self.x.T @ out, out.sum(axis=0)
        return out @ self.weight.T


class Tanh:
    """A layer without weights."""

    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, out, wrong=False):
        return out * (1 - self.y) if wrong else out * (1 - self.y**2)


def stacked_layers() -> Control:
    """A stack of layer objects; tanh′ = 1 − t instead of 1 − t²."""

    def layers(W1, b1, W2, b2):
        return [Affine(W1, b1), Tanh(), Affine(W2, b2)]

    def loss(W1, b1, W2, b2, x, y):
        for layer in layers(W1, b1, W2, b2):
            x = layer.forward(x)
        return 0.5 * np.mean((x - y) ** 2)

    def gradient(W1, b1, W2, b2, x, y, wrong=False):
        first, squash, last = layers(W1, b1, W2, b2)
        out = last.forward(squash.forward(first.forward(x)))
        back = last.backward((out - y) / y.size)
        first.backward(squash.backward(back, wrong))
        return [*first.grad, *last.grad]

    at = draw(4, (2, 3), (3,), (3, 2), (2,), (3, 2), (3, 2))
    return Control(loss, gradient, tuple(at), ("tanh",), (0, 1, 2, 3))


def batch_norm() -> Control:
    """Batch normalisation with ddof = 0; the variance's own path is left out."""

    def loss(x, gamma, beta):
        mu, var = x.mean(axis=0), x.var(axis=0)
        return np.sum((gamma * (x - mu) / np.sqrt(var + 1e-5) + beta) ** 3)

    def gradient(x, gamma, beta, wrong=False):
        std = np.sqrt(x.var(axis=0) + 1e-5)
        xhat = (x - x.mean(axis=0)) / std
        out = 3 * (gamma * xhat + beta) ** 2 * gamma
        own = out - out.mean(axis=0)
        if not wrong:
            own -= xhat * np.mean(out * xhat, axis=0)
        return own / std

    return Control(
        loss, gradient, tuple(draw(5, (5, 2), (2,), (2,))), ("var", "treated as a constant", "std")
    )


def convolution_in_loops() -> Control:
    """A convolution in four loops; the kernel is turned round."""

    def loss(k, x):
        out = np.zeros((x.shape[0] - k.shape[0] + 1, x.shape[1] - k.shape[1] + 1))
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] = np.sum(x[i : i + k.shape[0], j : j + k.shape[1]] * k)
        return np.sum(np.tanh(out))

    def gradient(k, x, wrong=False):
        dk = np.zeros_like(k)
        for i in range(x.shape[0] - k.shape[0] + 1):
            for j in range(x.shape[1] - k.shape[1] + 1):
                patch = x[i : i + k.shape[0], j : j + k.shape[1]]
                dk += (1 - np.tanh(np.sum(patch * k)) ** 2) * patch
        return dk[::-1, ::-1] if wrong else dk

    return Control(loss, gradient, tuple(draw(6, (2, 2), (4, 4))), ("turned", "reversed", "flip"))


def recurrent_network() -> Control:
    """A recurrent network over time; the state's own path back is cut."""

    def loss(W, U, h, xs):
        total = 0.0
        for x in xs:
            h = np.tanh(W @ h + U @ x)
            total += np.dot(h, h)
        return total

    def gradient(W, U, h, xs, wrong=False):
        states = [h]
        for x in xs:
            states.append(np.tanh(W @ states[-1] + U @ x))
        dW, back = np.zeros_like(W), np.zeros_like(h)
        for state, before in zip(states[:0:-1], states[-2::-1], strict=True):
            inner = (2 * state + back) * (1 - state**2)
            dW += np.outer(inner, before)
            if not wrong:
                back = W.T @ inner
        return dW

    return Control(loss, gradient, tuple(draw(7, (2, 2), (2, 2), (2,), (3, 2))), ("",))


# --- in place, by index, by mask ------------------------------------------------------------------


def leaky_relu_in_place() -> Control:
    """A leaky ReLU by a mask in place; the sign is flipped."""

    def loss(w, x):
        z = x @ w
        z[z < 0] *= 0.1
        return np.mean(z**2)

    def gradient(w, x, wrong=False):
        z = x @ w
        slope = np.where(z < 0, 0.01, 1.0)
        return (-2 if wrong else 2) * x.T @ (z * slope) / len(x)

    return Control(loss, gradient, tuple(draw(8, (3,), (5, 3))), ("sign flipped",))


def huber_by_branches() -> Control:
    """Huber's loss, an `if` for each residual; the clip is forgotten."""

    def loss(w, x, y):
        total = 0.0
        for r in x @ w - y:
            if abs(r) <= 0.5:
                total += 0.5 * r**2
            else:
                total += 0.5 * (abs(r) - 0.25)
        return total

    def gradient(w, x, y, wrong=False):
        r = x @ w - y
        return x.T @ (r if wrong else np.clip(r, -0.5, 0.5))

    return Control(loss, gradient, tuple(draw(9, (3,), (6, 3), (6,))), ("clip", "select", "max"))


def embeddings_by_add_at() -> Control:
    """Rows looked up, some twice; repeated rows are overwritten instead of added."""

    def loss(table, words):
        return np.sum(np.sin(table[words]))

    def gradient(table, words, wrong=False):
        grad, rows = np.zeros_like(table), np.cos(table[words])
        if wrong:
            grad[words] = rows
        else:
            np.add.at(grad, words, rows)
        return grad

    return Control(
        loss,
        gradient,
        (draw(10, (4, 2)), np.array([1, 3, 1, 0])),
        ("repeated", "overwritten"),
    )


def pairs_by_fancy_indexing() -> Control:
    """Distances of listed pairs; only one end of each is moved."""

    def loss(x, pairs):
        gap = x[pairs[:, 0]] - x[pairs[:, 1]]
        return np.sum(np.sqrt((gap**2).sum(axis=1) + 1e-3))

    def gradient(x, pairs, wrong=False):
        gap = x[pairs[:, 0]] - x[pairs[:, 1]]
        push = gap / np.sqrt((gap**2).sum(axis=1, keepdims=True) + 1e-3)
        out = np.zeros_like(x)
        np.add.at(out, pairs[:, 0], push)
        if not wrong:
            np.subtract.at(out, pairs[:, 1], push)
        return out

    return Control(loss, gradient, (draw(11, (4, 2)), np.array([[0, 1], [1, 2], [0, 3]])), ("",))


def groups_by_mask() -> Control:
    """Squares around group means, each group by a mask; the mean over groups is forgotten."""

    def loss(centers, x, group):
        kinds = np.unique(group)
        total = 0.0
        for k in kinds:
            rows = x[group == k]
            total += ((rows - centers[k]) ** 2).sum() / np.sum(group == k)
        return total / len(kinds)

    def gradient(centers, x, group, wrong=False):
        out = np.zeros_like(centers)
        for k in np.unique(group):
            out[k] = 2 * (centers[k] - x[group == k].mean(axis=0))
        return out if wrong else out / len(np.unique(group))

    return Control(
        loss, gradient, (*draw(12, (3, 2), (4, 2)), LABELS), ("mean forgotten", "3 times too large")
    )


def selected_entries() -> Control:
    """Entries above a threshold, selected and added up; the logarithm's slope is inverted."""

    def loss(p):
        big = p[p > 0.3]
        return -np.log(big).sum() + np.mean(p[p <= 0.3] ** 2)

    def gradient(p, wrong=False):
        big = p > 0.3
        out = 2 * p / np.sum(~big)
        out[big] = -p[big] if wrong else -1 / p[big]
        return out

    return Control(loss, gradient, (np.array([0.1, 0.4, 0.25, 0.9, 1.7]),), ("",))


def views_of_one_vector() -> Control:
    """Parameters unpacked as views of one vector, one changed in place; a bias is not averaged."""

    def unpack(theta):
        return theta[:4].reshape(2, 2), theta[4:]

    def loss(theta, x):
        theta = theta.copy()
        weight, bias = unpack(theta)
        bias -= bias.mean()
        weight *= 2
        return np.sum(np.tanh(x @ weight + theta[4:]))

    def gradient(theta, x, wrong=False):
        weight, bias = unpack(theta)
        back = 1 - np.tanh(x @ (2 * weight) + bias - bias.mean()) ** 2
        out = np.empty_like(theta)
        d_weight, d_bias = unpack(out)
        d_weight[...] = 2 * x.T @ back
        d_bias[:] = back.sum(axis=0)
        if not wrong:
            d_bias -= d_bias.mean()
        return out

    return Control(loss, gradient, tuple(draw(14, (6,), (3, 2))), ("",))


def total_variation() -> Control:
    """Differences of neighbours by slices; the last difference is left out."""

    def loss(x):
        return np.sum(np.sqrt(np.diff(x) ** 2 + 0.01)) + 0.5 * (x[-1] - x[0]) ** 2

    def gradient(x, wrong=False):
        d = np.diff(x)
        s = d / np.sqrt(d**2 + 0.01)
        out = np.zeros_like(x)
        out[1:] += s
        out[:-1] -= s
        if not wrong:
            out[[0, -1]] += np.array([-1, 1]) * (x[-1] - x[0])
        return out

    return Control(loss, gradient, (draw(15, (5,)),), ("",))


# --- scipy.special, np.linalg, np.einsum ----------------------------------------------------------


def logistic() -> Control:
    """Logistic regression by `expit` and `xlogy`; the residual is turned round."""

    def loss(w, x, y):
        p = expit(x @ w)
        return -np.mean(xlogy(y, p) + xlogy(1 - y, 1 - p))

    def gradient(w, x, y, wrong=False):
        r = expit(x @ w) - y
        return x.T @ (-r if wrong else r) / len(y)

    return Control(
        loss, gradient, (*draw(16, (3,), (4, 3)), np.array([0.0, 1, 1, 0])), ("sign flipped",)
    )


def mixture_of_normals() -> Control:
    """A mixture of normals by `logsumexp`; responsibilities are not normalised."""

    def logs(mu, x, logit):
        return logit - logsumexp(logit) - 0.5 * (x[:, None] - mu) ** 2

    def loss(mu, x, logit):
        return -np.sum(logsumexp(logs(mu, x, logit), axis=1))

    def gradient(mu, x, logit, wrong=False):
        parts = logs(mu, x, logit)
        share = np.exp(parts) if wrong else scipy.special.softmax(parts, axis=1)
        return -np.sum(share * (x[:, None] - mu), axis=0)

    return Control(loss, gradient, tuple(draw(17, (2,), (5,), (2,))), ("",))


def gamma_likelihood() -> Control:
    """A gamma likelihood by `gammaln`; the digamma is forgotten."""

    def loss(a, x):
        return np.sum(gammaln(a) - (a - 1) * np.log(x) + x)

    def gradient(a, x, wrong=False):
        return (0 if wrong else psi(a)) - np.log(x)

    return Control(loss, gradient, (np.array([0.7, 1.5, 3.2]), np.array([0.5, 2.0, 2.5])), ("",))


def gaussian_likelihood() -> Control:
    """A normal likelihood by `slogdet` and `solve`; the determinant's half is lost."""

    def loss(L, x):
        cov = L @ L.T + np.eye(len(L))
        return 0.5 * np.linalg.slogdet(cov)[1] + 0.5 * x @ np.linalg.solve(cov, x)

    def gradient(L, x, wrong=False):
        inv = np.linalg.inv(L @ L.T + np.eye(len(L)))
        solved = inv @ x
        return (2 if wrong else 1) * inv @ L - np.outer(solved, solved) @ L

    return Control(loss, gradient, tuple(draw(18, (3, 3), (3,))), ("",))


def attention_by_einsum() -> Control:
    """Attention by `np.einsum`; the scale 1/√d is lost."""

    def weights(q, k):
        scores = np.einsum("id,jd->ij", q, k) / math.sqrt(q.shape[1])
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def loss(q, k, v):
        return np.sum(np.einsum("ij,jd->id", weights(q, k), v) ** 2)

    def gradient(q, k, v, wrong=False):
        a = weights(q, k)
        da = np.einsum("id,jd->ij", 2 * a @ v, v)
        ds = a * (da - np.sum(da * a, axis=1, keepdims=True))
        return ds @ k if wrong else ds @ k / math.sqrt(q.shape[1])

    return Control(
        loss, gradient, tuple(draw(19, (3, 4), (3, 4), (3, 4))), ("2 times too large", "scale", "√")
    )


def matrix_factors() -> Control:
    """Two factors of a matrix with a mask of what is seen; one transpose is forgotten."""

    def loss(U, V, R, seen):
        return 0.5 * np.sum(np.where(seen, U @ V.T - R, 0) ** 2)

    def gradient(U, V, R, seen, wrong=False):
        E = (U @ V.T - R) * seen
        return E @ V, (E if wrong else E.T) @ U

    U, V, R = draw(20, (3, 2), (3, 2), (3, 3))
    return Control(loss, gradient, (U, V, R, R > -0.5), ("transpose",), (0, 1))


def poisson_by_math() -> Control:
    """Poisson regression, number by number, by `math`; the offset is counted twice."""

    def loss(w, x, counts):
        total = 0.0
        for row, n in zip(x, counts, strict=True):
            eta = sum(a * b for a, b in zip(row, w, strict=True))
            total += math.exp(eta) - n * eta
        return total

    def gradient(w, x, counts, wrong=False):
        rate = np.exp(x @ w)
        return ((rate - (2 if wrong else 1) * counts)[:, np.newaxis] * x).sum(axis=0)

    return Control(loss, gradient, (*draw(21, (2,), (4, 2)), np.array([1.0, 0, 3, 2])), ("",))


def triplets() -> Control:
    """Triplet margins by `np.maximum`; the negative's sign is wrong."""

    def loss(a, p, n):
        return np.maximum(0, ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + 1).mean()

    def gradient(a, p, n, wrong=False):
        active = ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + 1 > 0
        out = 2 * (a - p) + 2 * (a - n) if wrong else 2 * (n - p)
        return active[:, None] * out / len(a)

    return Control(loss, gradient, tuple(draw(22, (4, 2), (4, 2), (4, 2))), ("",))


def cox_likelihood() -> Control:
    """Cox's partial likelihood by sorting and a running sum; the risk set is not sorted back."""

    def loss(eta, times, events):
        order = np.argsort(-times)
        z = eta[order]
        return -np.sum(events[order] * (z - np.log(np.cumsum(np.exp(z)))))

    def gradient(eta, times, events, wrong=False):
        order = np.argsort(-times)
        e, d = np.exp(eta[order]), events[order]
        share = d / np.cumsum(e)
        inner = e * np.cumsum(share[::-1])[::-1] - d
        out = np.empty_like(eta)
        out[slice(None) if wrong else order] = inner
        return out

    times, events = np.array([3.0, 1.0, 4.0, 2.0]), np.array([1.0, 1.0, 0.0, 1.0])
    return Control(loss, gradient, (draw(23, (4,)), times, events), ("permut", "order", "sort"))


def dropout_with_a_seed() -> Control:
    """Dropout whose mask is drawn from a seed; the rescaling is forgotten."""

    def mask(shape):
        return np.random.default_rng(7).random(shape) < 0.8

    def loss(w, x):
        return np.sum(np.tanh((x * mask(x.shape) / 0.8) @ w))

    def gradient(w, x, wrong=False):
        kept = x * mask(x.shape) / 0.8
        back = 1 - np.tanh(kept @ w) ** 2
        return (x * mask(x.shape) if wrong else kept).T @ back

    return Control(loss, gradient, tuple(draw(24, (3,), (4, 3))), ("0.8", "1.25"))


def smoothed_hinge_by_vectorize() -> Control:
    """A smooth hinge by `np.vectorize`; the slope of the middle piece is halved."""

    @np.vectorize
    def piece(m):
        if m >= 1:
            return 0.0
        if m > 0:
            return 0.5 * (1 - m) ** 2
        return 0.5 - m

    def loss(w, x, y):
        return piece(y * (x @ w)).sum()

    def gradient(w, x, y, wrong=False):
        m = y * (x @ w)
        slope = np.zeros_like(m)
        middle = (m > 0) & (m < 1)
        slope[m <= 0] = -1
        slope[middle] = (0.5 if wrong else 1) * (m[middle] - 1)
        return x.T @ (slope * y)

    return Control(loss, gradient, (*draw(25, (2,), (3, 2)), np.array([1.0, -1, 1])), ("",))


LOSSES: tuple[Callable[[], Control], ...] = tuple(
    made
    for name, made in list(globals().items())
    if inspect.isfunction(made) and inspect.signature(made).return_annotation is Control
)


def judged(control: Control, wrong: bool, evaluations: int = 0) -> Verdict:
    """The verdict on the right or on the wrong gradient of one loss."""
    gradient = control.wrong if wrong else control.gradient
    return verify(
        gradient, of=control.loss, at=control.at, argnums=control.argnums, evaluations=evaluations
    )


def said(verdict: Verdict) -> str:
    """What the judge says: right, wrong or undecided."""
    if verdict.ok:
        return "right"
    return "undecided" if verdict.hand in ("undecided", "unsupported") else "wrong"


def numpy_losses(
    only: Annotated[str, typer.Option(help="Only those whose name contains this.")] = "",
    evaluations: Annotated[int, typer.Option(min=0, help="Points of the search.")] = 0,
) -> None:
    """Put losses written in NumPy before the judge, each with a right and a wrong gradient."""
    rows = table("loss", "traced", "right", "wrong", "cause", "named", "s")
    chosen = [made for made in LOSSES if only in made.__name__]
    good = named = 0
    for made in chosen:
        control, began = made(), time.perf_counter()
        try:
            right, wrong = (judged(control, w, evaluations) for w in (False, True))
        except HandgradError as error:
            rows.add_row(made.__name__, "no", "", "", str(error), "", "")
            continue
        traced = right.hand != "not traceable" and wrong.hand != "not traceable"
        is_named = any(phrase in (wrong.cause or "") for phrase in control.cause)
        good += traced and (said(right), said(wrong)) == ("right", "wrong")
        named += is_named
        rows.add_row(
            made.__name__, "yes" if traced else "no", said(right), said(wrong), wrong.cause or "",
            "yes" if is_named else "no", f"{time.perf_counter() - began:.1f}",
        )  # fmt: skip
    print(rows)
    print(f"{good} of {len(chosen)} traced and judged right; cause named in {named}")
    if good < len(chosen):
        raise typer.Exit(WRONG)


if __name__ == "__main__":
    run_script(numpy_losses)
