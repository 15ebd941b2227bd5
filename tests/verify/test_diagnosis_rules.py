"""Wrong gradients in NumPy: one program for all, a leaf of its own for each mistake."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.verify.diagnosis import diagnose
from handgrad.verify.diagnosis.relations import ComparedLeaf, Context, relations

W = np.array([0.3, -1.2, 0.8, 0.5])
X = np.random.default_rng(0).normal(size=(6, 4))
Y = np.random.default_rng(1).normal(size=6)


def truth_of(loss, at):
    with x64():
        return jax.tree.map(np.asarray, jax.jit(jax.grad(loss))(*at))


def running(x):
    """The reverse of a running sum."""
    return np.cumsum(x[::-1])[::-1]


def lately(r, x, wrong):
    """d h_T / dr of h = tanh(r h + x), with the state after each step for the one before."""
    h = [0.0]
    for value in x:
        h.append(np.tanh(r * h[-1] + value))
    total, back = 0.0, 1.0
    for t in reversed(range(len(x))):
        back = back * (1 - h[t + 1] ** 2)
        total, back = total + back * h[t + wrong], back * r
    return total


def of_softmax(z, c):
    """c·softmax(z) differentiated, row by row."""
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return p * (c - (p * c).sum(1, keepdims=True))


def at_a_step():
    """By name a term of a loss, a wrong derivative of it, where, and what is to be said."""
    y, c, square = Y, X[:3, :3], np.array([[2.0, 0.3], [-0.7, 1.5]])
    kept = np.tril(np.ones((3, 3), bool))
    hard, order = np.array([1.0, 0.0, 1.0, 0.0]), np.array([2, 0, 3, 1])

    def state(r):
        h = jnp.zeros((), r.dtype)
        for t in range(3):
            h = jnp.tanh(r * h + y[t])
        return h

    def rated(p):
        return 0.3 * (p * hard).sum() + 0.7 * (p * (1 - hard)).sum()

    def looped(w):
        return jax.lax.scan(lambda s, x: (s + jnp.sin(w * x), None), 0.0 * w, y[:4])[0]

    def summed(z):
        top = jax.lax.stop_gradient(jnp.max(z))
        return jnp.log(jnp.sum(jnp.exp(z - top))) + top

    return {
        "rank": (lambda s: jnp.sum(jnp.log(jnp.cumsum(jnp.exp(s)))),
                 lambda s: np.exp(s) * running(np.full(4, 1 / np.exp(s).sum())), W,
                 "the whole sum in place of the running one"),
        "mask": (lambda a: jnp.sum(c * jax.nn.softmax(jnp.where(kept, a, -jnp.inf))),
                 lambda a: of_softmax(a, c), X[1:4, 1:], "the mask of `select_n` forgotten"),
        "rate": (lambda p: jnp.log(rated(p)),
                 lambda p: (0.7 * hard + 0.3 * (1 - hard)) / rated(p), np.abs(W),
                 "are exchanged"),
        "late": (state, lambda r: lately(r, y[:3], True), np.array(0.7), "shifted by one step"),
        "step": (looped, lambda w: np.sum(y[1:4] * np.cos(w * y[1:4])), np.array(0.6),
                 "of 4 alone"),
        "held": (summed, lambda z: np.exp(z) / np.exp(z).sum() + (z == z.max()), W,
                 "by `stop_gradient`, is counted"),
        "turn": (lambda o: jnp.sum(W * jnp.sin(o * hard + o)[order]),
                 lambda o: (1 + hard) * np.cos(o * hard + o) * W, W + 0.1,
                 "the order (a permutation) of `gather`"),
        "half diagonal": (lambda q: jnp.sum(square * jnp.linalg.cholesky((q + q.T) / 2)),
                          lambda q: of_cholesky(q, square), np.array([[2.0, 0.6], [0.6, 1.5]]),
                          "the diagonal is not halved"),
        "solved": (lambda a: jnp.sum(jnp.linalg.solve(a, W[:2])),
                   lambda a: -np.outer(np.linalg.solve(a, [1, 1]), np.linalg.solve(a, W[:2])),
                   square, "the matrix of `custom_linear_solve` is not transposed"),
    }  # fmt: skip


def of_cholesky(q, c):
    low = np.linalg.cholesky((q + q.T) / 2)
    inverse = np.linalg.inv(low)
    g = inverse.T @ np.tril(low.T @ c) @ inverse
    return (g + g.T) / 2


def in_a_cotangent():
    """The same, for mistakes that are looked for in what comes back to a value of the loss."""
    labels = np.array([0, 2, 1, 2])
    hot, c = np.eye(3)[labels], np.array([0.7, -1.1])

    def windows(x):
        y = jax.lax.conv_general_dilated(x[None, None], jnp.ones((1, 1, 3)), (2,), "VALID")
        return jnp.sum(c * y[0, 0])

    def smoothed(z):
        target = 0.9 * jax.nn.one_hot(labels, 3, dtype=z.dtype) + 0.1 / 3
        return -jnp.sum(target * jax.nn.log_softmax(z))

    def residual(z):
        return np.exp(z) / np.exp(z).sum(1, keepdims=True)

    return {
        "window": (windows, lambda x: c[[0, 0, 1, 1, 1]] + 0 * x, Y[:5], "overwritten, not added"),
        "sigma": (lambda s: jnp.log(s) + jnp.sum(Y[:3] ** 2) / s**2,
                  lambda s: (1 / s - 2 * np.sum(Y[:3] ** 2) / s**3) / (2 * s), np.array(1.3),
                  "a missing factor"),
        "smooth": (smoothed, lambda z: residual(z) - 0.8 * hot - 0.2 / 3, X[2:, 1:],
                   "the label smoothing is another"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "mistakes", [at_a_step, pytest.param(in_a_cotangent, marks=pytest.mark.slow)]
)
def test_each_mistake_of_many_is_named(mistakes):
    """In NumPy, and one program for all: a leaf for each."""
    terms = mistakes()
    at = ({name: start for name, (_, _, start, _) in terms.items()},)
    loss = lambda p: sum(term(p[name]) for name, (term, *_) in terms.items())
    wrong = lambda p: {name: np.asarray(g(p[name])) for name, (_, g, *_) in terms.items()}
    found = diagnose(loss, at, 0, wrong(at[0]), truth_of(loss, at), wrong)
    assert {name: words for name, (*_, words) in terms.items() if words not in found} == {}


def test_the_weight_of_another_class():
    labels, weight = np.array([0, 2, 1, 2]), np.array([0.5, 2.0, 1.2])
    loss = lambda z: jnp.sum(weight[labels] * jnp.sum(z**2, 1)) / 2
    wrong, at = lambda z: weight * z, (X[:4, :3],)
    found = diagnose(loss, at, 0, wrong(*at), truth_of(loss, at), wrong)
    assert "weight in place of the factor" in found


def test_what_an_infinity_masks_is_counted():
    at = (np.array([[-np.inf, 0.4, 1.1], [0.3, -np.inf, -0.6]]),)
    loss = lambda z: jnp.sum(W[:2] * jax.nn.logsumexp(z, axis=1))
    e = lambda z: np.exp(np.where(np.isinf(z), 0, z))
    wrong = lambda z: W[:2, None] * e(z) / e(z).sum(1, keepdims=True)
    found = diagnose(loss, at, 0, wrong(*at), truth_of(loss, at), wrong)
    assert found.startswith("what is masked by an infinity is counted, as if it were 0")


def test_a_mistake_at_a_kink_is_named_where_any_slope_is_right():
    """The truth at a tie is the gradient's own slope there, not that of the loss's own rules."""
    at = (np.array([0.4, 1.3, 1.3, -0.2, 0.6]),)
    loss = lambda x: jnp.sum(jnp.abs(x[1:] - x[:-1]))
    wrong = lambda x: np.append(0.0, np.sign(np.diff(x)))
    truth = np.array([-1.0, 1.0, 0.0, -2.0, 1.0])
    found = diagnose(loss, at, 0, wrong(*at), truth, wrong)
    assert "forgotten, as if it were a constant" in found


def test_a_floor_under_a_probability():
    leaf = ComparedLeaf.of("z", [1e-7 / 3, -1e-7 / 3, 0.2], [1e-18, -1e-18, 0.2], np.ones(3))
    found = [
        cause.phrase for cause in relations(0, leaf, Context({3: "axis 0 of z"}, frozenset(), ()))
    ]
    assert any(phrase.startswith("clipped at 1e-07/3") for phrase in found)


def test_a_single_number_gets_no_story_at_one_point():
    """2x² for the derivative of x³ at 1.5: one number is no evidence of an added term."""
    loss, at = lambda x: x**3, (np.array(1.5),)
    found = diagnose(loss, at, 0, np.array(4.5), np.array(6.75))
    assert found is None or "linear term" not in found


def test_a_loss_that_jax_cannot_differentiate_backwards():
    """Only the numbers themselves are looked at."""

    def loss(x):
        turn = lambda state: (state[0] + 1, state[1] * x)
        return jnp.sum(jax.lax.while_loop(lambda s: s[0] < 3, turn, (0, jnp.ones_like(x)))[1])

    assert diagnose(loss, (W,), 0, 6 * W**2, 3 * W**2) == "twice too large (ratio 2)"
    assert diagnose(loss, (W,), 0, W**2 * [1, 2, 5, 4], 3 * W**2) is None
