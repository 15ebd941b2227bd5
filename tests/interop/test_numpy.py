"""Functions of NumPy as functions of JAX: what is followed, what is refused, and in which words."""

import functools
import math
import random
import sys
from random import random as uniform

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from scipy.special import expit, logsumexp

from handgrad._precision import x64
from handgrad.errors import NotFollowed
from handgrad.interop import as_jax, from_numpy, functions, known_leaves, read_through
from handgrad.verify import verify

W = np.array([0.5, -1.2, 0.3, 2.0])
M = np.array([[0.3, -0.7, 1.1], [0.9, 0.2, -0.4], [-1.3, 0.6, 0.8]])
LABELS = np.array([0, 2, 1])
WEIGHTS = np.array([1.0, 2.0, 3.0, 4.0])


def followed(function, *at, argnums=0):
    """The function as JAX has it: `as_jax` holds its value against NumPy's own."""
    found = as_jax(function, at, argnums)
    assert read_through(found) == "NumPy"
    return found


def slope(function, *at):
    """The gradient, held against differences of the function in plain NumPy."""
    with x64():
        gradient = np.asarray(jax.jit(jax.grad(followed(function, *at)))(*at))
    for index in np.ndindex(np.shape(at[0])):
        step = np.zeros(np.shape(at[0]))
        step[index] = 1e-6
        rest = at[1:]
        own = (function(at[0] + step, *rest) - function(at[0] - step, *rest)) / 2e-6
        assert abs(gradient[index] - own) < 1e-6 * (1 + abs(own)), index
    return gradient


# --- arrays that are written into -----------------------------------------------------------------


def same_array(w):
    b = w
    b *= 3.0
    return np.sum(w**2)


def view_of_a_slice(w):
    v = w[1:]
    v *= 2
    return np.sum(np.sin(w))


def view_of_a_transpose(w):
    r = w.reshape(2, 2).T
    r[0] += 1
    r.ravel()[0] = 9.0  # of a transpose: a copy
    return np.sum(w**2)


def row_of_a_loop(m):
    for row in m:
        row -= row.max()
    return np.sum(np.exp(m))


def number_is_no_view(w):
    first = w[0]
    first += 10
    return np.sum(w) * first


def entries_written_one_by_one(w):
    out = np.zeros(len(w))
    for i in range(len(w)):
        out[i] = w[i] ** 2
    out[[0, 0]] = np.array([5.0, w[1]])
    return out.sum()


def written_in_many_ways(w):
    out = np.empty((2, 4))
    np.multiply(w, 2, out=out[0])
    out[1, ...] = w[::-1]
    np.copyto(out[:, 0], 7.0)
    np.put_along_axis(out, np.array([[1], [2]]), w[:1] * np.ones((2, 1)), axis=1)
    np.add.at(out, (np.array([0, 0]), np.array([3, 3])), w[:2])
    out.flat[5] += w[2]
    return np.sum(out**2)


def sorted_in_place(w):
    w.sort()
    return np.dot(w, np.arange(4.0))


def divided_where(w):
    return np.sum(np.divide(1.0, w, out=np.zeros_like(w), where=w > 0))


def selected(w):
    chosen = w[w > 0]
    return np.log(chosen).sum() + (w[w < 0] ** 2).mean()


def leaky(w):
    z = np.tanh(w)
    z[z < 0] *= 0.1
    z[z > 0.9] -= 1
    return np.sum(z**2)


def fancy(m, labels):
    rows = np.arange(len(labels))
    m[rows, labels] = 0
    total = np.sum(np.exp(m)[labels]) + m[labels == 1].sum()
    for k in np.unique(labels):
        total += np.tanh(m[labels == k]).std()
    return total


WRITTEN = (
    same_array, view_of_a_slice, view_of_a_transpose, number_is_no_view, entries_written_one_by_one,
    written_in_many_ways, sorted_in_place, divided_where, selected, leaky,
)  # fmt: skip


@pytest.mark.parametrize("function", WRITTEN, ids=lambda f: f.__name__)
def test_arrays_are_written_into_as_in_numpy(function):
    def copied(w):
        return function(w.copy())

    slope(copied, W)


def test_rows_and_entries_chosen_by_labels():
    followed(row_of_a_loop, M)
    assert known_leaves(followed(fancy, M, LABELS)) == (1,)


# --- names that no argument reaches ---------------------------------------------------------------


class Scale:
    """A layer that keeps its input."""

    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        self.kept = np.array([x[0], 1.0, x[1]])
        return self.by * self.kept


def helper(x):
    out = np.zeros(3)
    out[1] = x[0]
    return out


def by_name(w):
    total = math.exp(w[0]) + math.hypot(w[1], 1) + max(0, w[2]) + min(w[0], w[3]) * math.pi
    total += Scale(2.0)(w).sum() + helper(w)[1] + float(w[3]) + np.c_[w, w].sum()
    return total + np.sum([w[0], w[1] ** 2]) + logsumexp(w) + scipy.special.softmax(w)[0]


def by_algebra(m):
    spread = m @ m.T + np.eye(3)
    parts = np.linalg.slogdet(spread)[1] + np.trace(np.linalg.inv(spread)) + np.linalg.norm(m)
    parts += np.einsum("ij,jk->", m, m) + np.stack([m[0], 2 * m[1]]).std(ddof=1)
    parts += np.add.reduce(m)[0] + np.multiply.outer(m[0], m[1]).sum() + np.cumsum(m, axis=1)[0, 2]
    return parts + np.clip(m, a_min=-0.5, a_max=None).sum() + m.var(axis=0, keepdims=True).sum()


def test_functions_reached_by_name():
    slope(by_name, W)
    slope(by_algebra, M)
    assert np.zeros is sys.modules["numpy"].zeros
    assert "max" not in globals() and "float" not in globals()  # noqa: PT018


def test_a_whole_number_repeats_a_list():
    repeated = lambda w, count: functools.reduce(np.multiply, [np.exp(w)] * count).sum()
    assert known_leaves(followed(repeated, W, 3)) == (1,)


def test_draws_of_pythons_random_are_refused():
    for draw in (lambda w: np.sum(w) * random.random(), lambda w: np.sum(np.exp(w)) * uniform()):
        with pytest.raises(NotFollowed, match="random draws by Python's random"):
            as_jax(draw, (W,))


def test_data_in_closures_and_partials():
    data = WEIGHTS.copy()

    def loss(by, w):
        return by * np.sum(expit(data * w))

    slope(functools.partial(loss, 2.0), W)
    assert type(data) is np.ndarray


# --- branches -------------------------------------------------------------------------------------


def merged(w):
    total, count = 0.0, 0
    grad = np.zeros_like(w)
    for i, v in enumerate(w):
        if 0 < v < 1 and not (v == 0.7 or v > 5):
            total += v**2
            grad[i] += 2 * v
            count += 1
        elif v >= 1:
            total += 2 * v
        else:
            total -= v if v > -1 else 3 * v
    return total + grad.sum() / count


def returned(w):
    assert np.all(np.isfinite(w))
    if w[0] > 0:
        return w[0] * np.log(w[0])
    if w[1] > 0:
        raise ValueError("outside")
    return np.sum(w)


def test_branches_that_assign_and_branches_that_return():
    slope(merged, W)
    slope(returned, W)
    other = followed(returned, W)
    with x64():
        assert float(jax.jit(other)(-W)) != float(jax.jit(other)(W))
        assert float(jax.jit(other)(np.array([-1.0, -1.0, 2.0, 3.0]))) == 3.0
        assert np.isnan(jax.jit(other)(np.array([-1.0, 1.0, 0.0, 0.0])))


def piece(v):
    """A quadratic between two lines."""
    if v < -1:
        return -0.5 * v
    low = v < 0
    if low and v > -5:
        square = v * v
        return 0.5 * square
    if v < 1:
        return v * v
    return 2 * v - 1


def of_pieces(w):
    total = 0.0
    for v in np.concatenate([w, 2 * w[:2]]):
        if v == 0.125:
            continue
        total += piece(v)
        if not v < 0.7:
            continue
        total += np.exp(v)
    return total


@pytest.fixture
def few_paths(monkeypatch):
    """So that there are soon too many ways through the branches of a function."""
    monkeypatch.setattr("handgrad.interop.MOST_PATHS", 8)


@pytest.mark.usefixtures("few_paths")
def test_sides_that_return_or_continue_are_merged_where_there_are_many():
    slope(of_pieces, W)


SEEN = set()


def jumps(w):
    total = 0.0
    for v in np.concatenate([w, w]):
        if v > 0.2:
            SEEN.clear()
            continue
        total += v
    return total


def appends(w):
    kept = []
    for v in np.concatenate([w, w]):
        if v > 0:
            kept.append(v)
    return sum(kept)


def changes_a_list(w):
    kept = [0.0]
    for v in np.concatenate([w, w]):
        if v > 0:
            kept[0] += v
    return kept[0]


def counts(w):
    return w[int(10 * w[0]) % 4]


def draws(w):
    return np.sum(w * np.random.rand(4))


GENERATOR = np.random.default_rng(0)


def draws_from_outside(w):
    return np.sum(w * GENERATOR.normal(size=4))


def leaves(w):
    return np.sum(np.frombuffer(w.tobytes()))


def length(w):
    return np.sum(np.where(w > 0)[0])


@pytest.mark.parametrize(
    ("function", "words", "line"),
    [
        (jumps, "a branch on a number", "if v > 0.2:"),
        (appends, "a branch on a number", "if v > 0:"),
        (changes_a_list, "a list changed by a branch", "kept[0] += v"),
        (counts, "as an int", "return w[int(10 * w[0]) % 4]"),
        (draws, "random draws by np.random.rand", "np.random.rand(4)"),
        (draws_from_outside, "random draws by a generator", "GENERATOR"),
        (leaves, "no attribute 'tobytes'", "w.tobytes()"),
        (length, "np.where(mask), whose length", "np.where(w > 0)"),
    ],
    ids=lambda entry: getattr(entry, "__name__", None),
)
@pytest.mark.usefixtures("few_paths")
def test_what_cannot_be_followed_is_refused_with_its_line(function, words, line):
    with pytest.raises(NotFollowed) as caught:
        as_jax(function, (W,))
    error = caught.value
    assert words in error.step
    assert line in error.source
    assert error.file == __file__
    assert f"test_numpy.py:{error.line}" in str(error)


def test_a_seed_makes_draws_plain_numbers():
    def dropout(w):
        return np.sum(np.exp(w * (np.random.default_rng(3).random(4) < 0.5)))

    slope(dropout, W)


def test_values_other_than_numpys_are_refused(monkeypatch):
    def loss(w):
        return np.sum(np.sinh(w))

    monkeypatch.setattr(functions, "equivalent", {np.sum: jnp.sum, np.sinh: jnp.sin}.get)
    with pytest.raises(NotFollowed, match="values other than NumPy's own"):
        as_jax(loss, (W,))


# --- dtypes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (lambda x: np.exp(2.0 * x) + 1, "float32"),
        (lambda x: np.exp(x) * np.float64(2), "float64"),
        (lambda x: x * WEIGHTS, "float64"),
        (lambda x: np.where(x > 0, x, 0.0), "float32"),
        (lambda x: np.exp(x) / LABELS.size, "float32"),
        (lambda x: np.exp(x) + np.arange(4), "float64"),
        (lambda x: np.mean(x > 0), "float64"),
        (lambda x: np.sum(x > 0), "int64"),
        (lambda x: np.zeros(4) + np.tanh(x), "float64"),
    ],
)
def test_dtypes_are_those_of_numpy(function, dtype):
    x = W.astype(np.float32)
    assert function(x).dtype == dtype
    with x64():
        out = jax.eval_shape(from_numpy(function), x)
    assert out.dtype == dtype


def test_without_x64_there_is_no_warning_and_no_float64():
    assert jax.eval_shape(from_numpy(lambda x: x * WEIGHTS + np.mean(x > 0)), W).dtype == "float32"


def test_functions_of_numpy_itself_are_read():
    for function in (np.sum, np.linalg.norm, logsumexp):
        slope(function, W)


def test_truth_values_are_compared_too():
    as_jax(lambda w: np.sum(w) > 0, (W,))


def test_functions_of_jax_stay_what_they_are():
    loss = lambda x: jnp.sum(x**2)
    assert as_jax(loss, (W,)) is loss
    assert read_through(loss) is None
    fails = lambda x: jnp.sum(x.nothing)
    assert as_jax(fails, (W,)) is fails


def test_a_random_key_among_the_arguments_is_left_to_jax():
    def energy(w, key):
        return np.sum(np.square(w))

    at = jnp.array([0.5, -2.0]), jax.random.key(0)
    assert verify(lambda w, key: 2 * w, of=energy, at=at, evaluations=0).ok
