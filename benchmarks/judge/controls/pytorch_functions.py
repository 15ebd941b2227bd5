"""Controls in PyTorch: `torch.autograd.Function`s, each with a backward that is right and wrong.

A control is a function of `wrong` that returns the Function, the arguments of its `apply`, and
phrases of which one is the cause.
"""

import numpy as np
import torch

from benchmarks.judge.controls.control import draw


def function_of(forward, backward, setup_context=None):
    """A `torch.autograd.Function` of these methods."""
    methods = {"forward": forward, "backward": backward, "setup_context": setup_context}
    methods = {name: staticmethod(method) for name, method in methods.items() if method}
    return type("Function", (torch.autograd.Function,), methods)


def exponential(wrong):
    """exp by its saved output; the cotangent left out."""

    def forward(ctx, x):
        y = torch.exp(x)
        ctx.save_for_backward(y)
        return y

    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return y if wrong else g * y

    return function_of(forward, backward), (draw(980, (3,)),), ("cotangent",)


def linear(wrong):
    """x Wᵀ + b with needs_input_grad, as in PyTorch's notes; the bias of the first row alone."""

    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        return x @ w.T + b

    def backward(ctx, g):
        x, w = ctx.saved_tensors
        dx = g @ w if ctx.needs_input_grad[0] else None
        dw = g.T @ x if ctx.needs_input_grad[1] else None
        db = (g[0] if wrong else g.sum(0)) if ctx.needs_input_grad[2] else None
        return dx, dw, db

    return function_of(forward, backward), tuple(draw(981, (4, 2), (3, 2), (3,))), ("sum", "row")


def cubic(wrong):
    """A cube in the new style, `setup_context`; the factor 3 taken for 2."""

    def forward(x):
        return x**3

    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (2 if wrong else 3) * x**2

    return function_of(forward, backward, setup_context), (draw(982, (4,)),), ("2/3",)


def power(wrong):
    """A power with an exponent that is no tensor, None for its gradient; the exponent kept."""

    def forward(ctx, x, exponent, flag=True):
        ctx.save_for_backward(x)
        ctx.exponent = exponent
        return x**exponent

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        n = ctx.exponent
        return g * n * x ** (n if wrong else n - 1), None, None

    return function_of(forward, backward), (draw(983, (3,)), 3, True), ("x",)


def polar(wrong):
    """Two inputs and two outputs; one sign of the rotation lost."""

    def forward(ctx, r, angle):
        ctx.save_for_backward(r, angle)
        return r * torch.cos(angle), r * torch.sin(angle)

    def backward(ctx, gx, gy):
        r, a = ctx.saved_tensors
        turn = r * (gy * torch.cos(a) + (1 if wrong else -1) * gx * torch.sin(a))
        return gx * torch.cos(a) + gy * torch.sin(a), turn

    at = (np.array([1.5, 0.7]), np.array([0.3, 2.0]))
    return function_of(forward, backward), at, ("sign",)


def cross_entropy(wrong):
    """Softmax cross-entropy of labels, no gradient for them; the mean forgotten."""

    def forward(ctx, z, y):
        logp = torch.log_softmax(z, 1)
        ctx.save_for_backward(logp, y)
        return -logp[torch.arange(len(y)), y].mean()

    def backward(ctx, g):
        logp, y = ctx.saved_tensors
        r = logp.exp()
        r[torch.arange(len(y)), y] -= 1
        return g * (r if wrong else r / len(y)), None

    at = (draw(984, (4, 3)), np.array([0, 2, 1, 1]))
    return function_of(forward, backward), at, ("mean forgotten", "4 times")


def swish(wrong):
    """x σ(x) with gradients in place; the product rule's second term left out."""

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        slope = s.clone()
        if not wrong:
            slope += x * s * (1 - s)
        return g * slope

    return function_of(forward, backward), (draw(985, (4,)),), ("term", "dropped")


def maximum(wrong):
    """The largest entry of each row and where it is, not differentiable; spread evenly."""

    def forward(ctx, x):
        value, index = x.max(1)
        ctx.save_for_backward(index)
        ctx.mark_non_differentiable(index)
        ctx.shape = x.shape
        return value, index

    def backward(ctx, g, unused):
        (index,) = ctx.saved_tensors
        found = torch.zeros(ctx.shape)
        if wrong:
            return found + g[:, None] / ctx.shape[1]
        return found.scatter(1, index[:, None], g[:, None])

    return function_of(forward, backward), (draw(986, (3, 4)),), ("averaged", "mean", "spread")


def straight_through(wrong):
    """A rounding that lets the cotangent through: not the derivative, right or wrong."""

    def forward(ctx, x):
        return torch.round(x)

    def backward(ctx, g):
        return g if wrong else torch.zeros_like(g)

    return function_of(forward, backward), (draw(987, (3,)),), ("straight", "round", "zero")


def layer_norm(wrong):
    """Layer normalisation with a context of numbers; the projection on the output left out."""

    def forward(ctx, x, eps):
        mean = x.mean(-1, keepdim=True)
        rstd = torch.rsqrt(((x - mean) ** 2).mean(-1, keepdim=True) + eps)
        y = (x - mean) * rstd
        ctx.save_for_backward(y, rstd)
        return y

    def backward(ctx, g):
        y, rstd = ctx.saved_tensors
        down = g.mean(-1, keepdim=True)
        if not wrong:
            down = down + y * (g * y).mean(-1, keepdim=True)
        return rstd * (g - down), None

    return function_of(forward, backward), (draw(988, (2, 4)), 1e-5), ("term", "dropped")


CONTROLS = (
    exponential, linear, cubic, power, polar, cross_entropy, swish, maximum, straight_through,
    layer_norm,
)  # fmt: skip
