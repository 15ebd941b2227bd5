"""Kinds of inputs at which a judge goes wrong easily: further instances of kinds 1, 2, 7 and 8.

1, the point given is always judged: `judge.conclude`, `numerics._range_of`. 2, conditioning is
the function's, not the program's: `numerics._reach`, `numerics.lost_coordinate`. 7, numbers that no
dtype asked for can hold: `Programs.is_out_of_reach`, `search.search_bounds`. 8, black boxes:
`blackbox.compare_black_box`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erfc, ndtr

from handgrad._precision import x64
from handgrad.verify import verify
from handgrad.verify.search import search_bounds
from handgrad.verify.witnesses import Problem, trace_all

pytestmark = pytest.mark.usefixtures("without_diagnosis")

BOTH = ("float32", "float64")


@pytest.fixture(autouse=True)
def standard_promotion():
    """What people write promotes dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def ok(gradient, loss, *at, dtypes=BOTH, evaluations=0, **options):
    asked = {"dtypes": dtypes, "evaluations": evaluations} | options
    return verify(gradient, of=loss, at=at, **asked).ok


def wrong(gradient, loss, *at, **options):
    """Whether the algebra is found wrong, for which no second dtype is needed."""
    return not ok(gradient, loss, *at, dtypes=("float64",), **options)


def by_autodiff(loss):
    return jax.grad(loss), loss


# --- 1: the point given ---------------------------------------------------------------------------


def odds(z):
    return jnp.log(jax.nn.sigmoid(z) / (1 - jax.nn.sigmoid(z)))


def log_tail(z):
    return jnp.log(0.5 * (1 - jnp.tanh(z)))


def entropy(z):
    p = jax.nn.sigmoid(z)
    return -p * jnp.log(p) - (1 - p) * jnp.log(1 - p)


def naive_softplus(z):
    return jnp.log(1 + jnp.exp(z))


def power_of_complement(z):
    return jnp.sqrt(1 - jax.nn.sigmoid(z))


@pytest.mark.parametrize(
    ("loss", "z"),
    [(odds, 120.0), (log_tail, 60.0), (entropy, 100.0), (naive_softplus, 800.0),
     (power_of_complement, 100.0)],
)  # fmt: skip
def test_where_autodiff_has_no_number_it_is_not_right(loss, z):
    assert not ok(*by_autodiff(loss), np.float64(z), dtypes=("float64",))


def test_a_right_form_is_right_there():
    assert ok(lambda z: jnp.ones_like(z), odds, np.float64(120.0))
    assert ok(lambda z: -2 * jax.nn.sigmoid(2 * z), log_tail, np.float64(60.0))


# --- 2: conditioning is the function's ------------------------------------------------------------


def one_minus_cos(x):
    return (1 - jnp.cos(x)) / x**2


def log_ratio(x):
    return jnp.log(1 + x) / x


def difference_of_roots(x):
    return jnp.sqrt(x + 1) - jnp.sqrt(x)


def expm1_over_x(x):
    return (jnp.exp(x) - 1) / x


@pytest.mark.parametrize(
    ("loss", "x", "dtype"),
    [
        (one_minus_cos, 1e-4, "float32"),
        (log_ratio, 1e-7, "float32"),
        (difference_of_roots, 1e16, "float64"),
        (expm1_over_x, 1e-9, "float64"),
        (jax.grad(jnp.tanh), 22.0, "float64"),
        (jax.grad(jax.nn.sigmoid), 18.0, "float32"),
    ],
)
def test_the_cancellation_of_a_formula_excuses_it_nowhere(loss, x, dtype):
    assert not ok(*by_autodiff(loss), np.float64(x), dtypes=(dtype,))


def test_a_point_that_is_ill_conditioned_is_no_fault():
    """A sum of many terms that cancels at an optimum owes what its inputs do."""
    x = np.random.default_rng(0).normal(size=(12, 2))
    y = (x @ np.array([1.0, -2.0]) + 4 * np.random.default_rng(2).normal(size=12) > 0) * 1.0
    w = np.zeros(2)
    for _ in range(30):  # Newton, to the optimum
        p = 1 / (1 + np.exp(-x @ w))
        w = w - np.linalg.solve((x.T * (p * (1 - p))) @ x, x.T @ (p - y))

    def loss(w, x, y):
        return jnp.mean(jax.nn.softplus(x @ w) - y * (x @ w))

    assert ok(lambda w, x, y: x.T @ (jax.nn.sigmoid(x @ w) - y) / len(y), loss, w, x, y)
    assert wrong(lambda w, x, y: x.T @ (jax.nn.sigmoid(x @ w) - 0.99 * y) / len(y), loss, w, x, y)


def regression(w, b, x, y):
    z = x @ w + b
    return jnp.mean(jax.nn.softplus(z) - y * z)


def regression_gradient(w, b, x, y):
    r = (jax.nn.sigmoid(x @ w + b) - y) / len(y)
    return x.T @ r, r.sum()


@pytest.mark.parametrize("size", [1e-9, 1e-7, 1e-4])
def test_a_sum_that_cancels_owes_what_every_sum_owes(size):
    """Balanced labels at nearly no weights: terms of ±1/2 that cancel to their size."""
    x = np.array([[1.0, 2.0], [3.0, 1.0], [1.0, 2.0], [3.0, 1.0]])
    y = np.array([1.0, 0.0, 0.0, 1.0])
    at = (np.array([size, 2 * size]), np.float64(size / 3), x, y)
    assert ok(regression_gradient, regression, *at, argnums=(0, 1))
    assert wrong(
        lambda *at: jax.tree.map(lambda g: g * 1.001, regression_gradient(*at)),
        regression, *at, argnums=(0, 1),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", BOTH)
def test_a_sum_on_the_way_excuses_nothing(dtype):
    """p − 1 at a confident logit cancels after its sum: 0 there is wrong, whoever computes it."""
    z = np.array([17.0 if dtype == "float32" else 38.0, 0.0])

    def loss(z):
        return -jnp.sum(jnp.array([1.0, 0.0], z.dtype) * jax.nn.log_softmax(z))

    assert not ok(lambda z: jax.nn.softmax(z) - jnp.array([1.0, 0.0], z.dtype), loss, z,
                  dtypes=(dtype,))  # fmt: skip


def test_what_a_sum_owes_is_told_where_it_takes_all_digits():
    """Σ LN(x)² is nearly constant: its slope is a sum over the features that cancels to the ε."""

    def loss(x):
        variance = jnp.mean((x - x.mean()) ** 2)
        return jnp.sum(((x - x.mean()) / jnp.sqrt(variance + 1e-12)) ** 2)

    def notes(at):
        return " ".join(verify(jax.grad(loss), of=loss, at=(at,), dtypes=("float32",)).notes)

    assert "float32 keeps no digit of x[0] at the point given" in notes(np.array([0.3, -1.2, 0.8]))
    assert "no digit" not in notes(np.array([3e-6, -1.2e-5, 8e-6]))


# --- 7: what no dtype can hold --------------------------------------------------------------------


def upper_tail(x):
    return jnp.sum(0.5 * erfc(x / jnp.sqrt(2.0)))


def density(x):
    return -jnp.exp(-x * x / 2) / np.sqrt(2 * np.pi)


@pytest.mark.parametrize("x", [45.0, 922.0, 1e5])
def test_rounded_constants_far_out_accuse_nobody(x):
    assert ok(density, upper_tail, np.array([1.0, x]))
    assert wrong(lambda x: 1.001 * density(x), upper_tail, np.array([1.0, x]))


def test_rounded_constants_make_no_gradient_differ_from_itself():
    def loss(m):
        return -jnp.log(ndtr(5.001 - m) - ndtr(5.0 - m))

    verdict = verify(jax.grad(loss), of=loss, at=(0.0,), dtypes=("float64",), evaluations=0)
    assert (verdict.ok, verdict.hand) == (True, "identical"), str(verdict)
    assert not ok(*by_autodiff(loss), np.float64(0.0), dtypes=("float32",))


@pytest.mark.parametrize(
    ("far", "at", "right"), [(40, 50.0, True), (30, 31.0, False), (40, 39.0, True)]
)
def test_a_constant_that_no_dtype_can_tell_from_the_truth(far, at, right):
    def gradient(z):
        return jnp.where(z > far, jnp.ones_like(z), jax.nn.sigmoid(z))

    def loss(z):
        return jnp.sum(jax.nn.softplus(z))

    assert ok(gradient, loss, np.array([1.0, at])) == right


@pytest.mark.parametrize(("factor", "right"), [(1, True), (1 + 1e-6, False)])
def test_rounded_constants_may_cancel_in_one_coordinate(factor, right):
    def loss(x):
        return (x[0] + np.sqrt(2) * x[1]) ** 2 / 2 + x[2] ** 2

    def gradient(x):
        s = factor * (x[0] + x[1] * (2 / np.sqrt(2)))
        return jnp.stack([s, np.sqrt(2) * s, 2 * x[2]])

    at = np.array([-3 * np.sqrt(2) + 1e-8, 3.0, 1.0])
    assert ok(gradient, loss, at, dtypes=("float64",)) == right


MASK = np.tril(np.ones((2, 2)))
MASKED = {
    "selected": (lambda x, m: jnp.where(m > 0, x, -1e5), MASK, 1e2),
    "selected, far": (lambda x, m: jnp.where(m > 0, x, -1e30), MASK, 1e27),
    "added": (lambda x, m: x + (1 - m) * -1e9, MASK, 1e6),
    "subtracted": (lambda x, m: x - 1e9 * (1 - m), MASK, 1e6),
    "an argument": (lambda x, m: x + m, -1e9 * (1 - MASK), 1e6),
    "clipped": (lambda x, m: jnp.clip(m * x, -1e4, 1e4), MASK, 10),
    "labels subtracted": (lambda x, m: x - m, 1e4 * MASK, np.inf),
    "no mask": (lambda x, m: x * (1 - m), 1e9 * MASK, np.inf),
}


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_by_a_large_number_bounds_the_search(name):
    masked, mask, far = MASKED[name]
    at = (np.random.default_rng(0).normal(size=(2, 2)), mask)
    problem = Problem(jax.grad(jnp.sum), lambda x, m: jnp.sum(jax.nn.softmax(masked(x, m))), at)
    with x64():
        programs = trace_all(problem, "float64", hand=False)
    assert search_bounds(problem, programs, list(at)) == pytest.approx((-far, far))


def test_bounds_may_be_given():
    def loss(x):
        return jnp.sum(jnp.where(x < 50, x * x, 0.0))

    def gradient(x):
        return 2 * x

    options = {"dtypes": ("float32",), "evaluations": 80}
    at = np.array([1.0, 3.0])
    assert not ok(gradient, loss, at, **options)
    assert ok(gradient, loss, at, bounds=(-10.0, 10.0), **options)


# --- 8: black boxes -------------------------------------------------------------------------------


def as_numpy(function):
    return lambda *args: function(*map(np.asarray, args))


def hinge(w, x):
    return jnp.sum(jnp.maximum(1 - x @ w, 0.0))


X = np.random.default_rng(3).normal(size=(6, 2))


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 + 1e-9, 1.5, -1.0])
def test_a_wrong_factor_in_numpy_is_wrong_in_any_dtype(factor):
    def gradient(w, x):
        return factor * (-(x * ((x @ w) < 1)[:, None]).sum(0))

    for dtype in BOTH:
        assert not ok(as_numpy(gradient), hinge, np.array([0.3, -0.2]), X, dtypes=(dtype,))


@pytest.mark.parametrize("convention", [0.0, 0.5, 1.0])
def test_any_subgradient_in_numpy_will_do(convention):
    def gradient(z):
        return np.where(z > 0, 1.0, np.where(z == 0, convention, 0.0)) + 2 * z

    def loss(z):
        return jnp.sum(jnp.maximum(z, 0.0) + z * z)

    at = np.array([0.0, 1.0, -2.0, 0.0])
    assert ok(as_numpy(gradient), loss, at)
    if convention == 0.5:
        assert not ok(as_numpy(lambda z: gradient(z) + 1.5 * (z == 0)), loss, at)
        assert not ok(as_numpy(lambda z: gradient(z) + 1e-3 * (z == 1)), loss, at)


def test_a_formula_in_numpy_that_cancels_is_judged_by_its_digits():
    def loss(z):
        return jnp.sum(jax.nn.softplus(-z))

    def textbook(z):
        return 1 / (1 + np.exp(-z)) - 1

    assert ok(as_numpy(textbook), loss, np.array([5.0, 9.0, -3.0]))
    assert not ok(as_numpy(textbook), loss, np.array([5.0, 40.0]))
    assert not ok(as_numpy(lambda z: textbook(z) * (1 + 1e-6)), loss, np.array([5.0, 9.0]))


def test_one_that_writes_into_its_arguments_corrupts_nothing():
    def vandal(x):
        x *= 2
        return x

    assert ok(as_numpy(vandal), lambda x: jnp.sum(x * x), np.array([1.0, 2.0]))
    assert not ok(as_numpy(vandal), lambda x: jnp.sum(x * x) / 2, np.array([1.0, 2.0]))


def test_one_that_takes_float32_alone_is_judged_there():
    def narrow(x):
        if np.asarray(x).dtype != np.float32:
            raise TypeError("float32 only")
        return 2 * np.asarray(x)

    at = np.array([1.0, 2.0])
    assert ok(narrow, lambda x: jnp.sum(x * x), at, dtypes=("float32",))
    assert not ok(lambda x: 1.01 * narrow(x), lambda x: jnp.sum(x * x), at, dtypes=("float32",))


# --- complex numbers on the way -------------------------------------------------------------------


def test_a_real_loss_through_complex_numbers_has_a_range():
    loss = lambda x: jnp.real(
        jnp.prod(jax.lax.complex(jnp.stack([x, x]), jnp.stack([2 * x, 2 * x])))
    )
    assert ok(lambda x: -6 * x, loss, np.float64(1.0))
    assert wrong(lambda x: 10 * x, loss, np.float64(1.0))
