"""Instances of the kinds that the mathematics settles, each at its mechanism.

Kinks with an open centre: `exact.derivative`. Edges of the domain: `kinks.slope_along` and
`mathematics._by_coordinate`; in the numerics `kinks.truth_at`. Infinite arguments:
`witnesses.check_finite` and `exact.derivative`. Identities up to rounding: `identities`. Ties under
cotangents of both signs: `kinks.judge_kinks`. Losses without autodiff: `Problem.differentiable`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import entr, xlogy

from handgrad.errors import InputError
from handgrad.verify import verify

pytestmark = pytest.mark.usefixtures("without_diagnosis")

R = np.random.default_rng(7)


def judged(gradient, loss, *at, **options):
    options = {"dtypes": ("float64",), "evaluations": 0, **options}
    return verify(gradient, of=loss, at=tuple(np.asarray(a, np.float64) for a in at), **options)


def check(gradient, loss, at, ok, note=""):
    verdict = judged(gradient, loss, *at)
    assert verdict.ok == ok, str(verdict)
    assert note in "\n".join(verdict.notes), str(verdict)


# --- kinks with an open centre --------------------------------------------------------------------


def hidden_zero(y):
    return jnp.sin(y) ** 2 + jnp.cos(y) ** 2 - 1


def cone(x, y):
    return jnp.sqrt(hidden_zero(y) + jnp.sum(x * x)) + x[0]


def corner(x, y):
    return jnp.abs(x - hidden_zero(y)) + 2 * x


def apart(x, t):
    return jnp.sqrt(jnp.sum((jnp.exp(x) - jnp.exp(t)) ** 2))


def median(x):
    return jnp.median(jnp.exp(x))


def log_kink(x, y):
    return jnp.maximum(jnp.log(jnp.exp(y)) - y, x)


OPEN_CENTRES = {
    "the centre of a cone": (lambda x, y: 0 * x, cone, ([0.0, 0.0], 1.0), True),
    "beyond a cone": (lambda x, y: 0 * x + 2, cone, ([0.0, 0.0], 1.0), False),
    "a corner, left": (lambda x, y: 0 * x + 1, corner, (0.0, 1.0), True),
    "a corner, outside": (lambda x, y: 0 * x, corner, (0.0, 1.0), False),
    "a distance of equal points": (lambda x, t: 0 * x, apart, ([0.5, 0.7], [0.5, 0.7]), True),
    "a distance, too steep": (
        lambda x, t: jnp.exp(x),
        apart,
        ([0.5, 0.7], [0.5, 0.7]),
        False,
    ),
    "a median of ties": (
        lambda x: jnp.exp(x) * jnp.asarray([0.0, 1.0, 0.0], x.dtype),
        median,
        ([0.1, 0.5, 0.5],),
        True,
    ),
    "a median of ties, both": (
        lambda x: jnp.exp(x) * jnp.asarray([0.0, 1.0, 1.0], x.dtype),
        median,
        ([0.1, 0.5, 0.5],),
        False,
    ),
    "a hidden tie": (lambda x, y: 0 * x + 0.5, log_kink, (0.0, 0.3), True),
    "a hidden tie, outside": (lambda x, y: 0 * x - 0.5, log_kink, (0.0, 0.3), False),
}


@pytest.mark.parametrize("name", OPEN_CENTRES)
def test_a_kink_whose_centre_no_ball_encloses(name):
    check(*OPEN_CENTRES[name])


# --- edges of the domain --------------------------------------------------------------------------


def total_sqrt(x):
    return jnp.sum(jnp.sqrt(x))


def entropy(p):
    return jnp.sum(entr(p))


def entropy_gradient(p):
    return jnp.where(p == 0, jnp.full_like(p, jnp.inf), -jnp.log(p) - 1)


def power(x):
    return jnp.sum(x * jnp.sqrt(x))


EDGES = {
    "entropy": (entropy_gradient, entropy, ([0.0, 0.3, 0.7],), True),
    "the wrong infinity": (lambda p: -entropy_gradient(p), entropy, ([0.0, 0.3],), False),
    "finite for infinite": (
        lambda p: jnp.where(p == 0, 0 * p, entropy_gradient(p)), entropy, ([0.0, 0.3],), False,
    ),
    "a root beside it, wrong": (
        lambda x: jnp.where(x == 0, jnp.full_like(x, jnp.inf), 1 / jnp.sqrt(x)),
        total_sqrt, ([0.0, 4.0],), False,
    ),
    "x to the 3/2: a finite slope on the only side": (
        lambda x: 1.5 * jnp.sqrt(x), power, ([0.0, 2.0],), True,
    ),
    "the same, wrong there": (
        lambda x: jnp.where(x == 0, 1 + 0 * x, 1.5 * jnp.sqrt(x)), power, ([0.0, 2.0],), False,
    ),
    "a slope from -inf to 0": (
        lambda p: jnp.where(p == 0, -5 + 0 * p, jnp.log(jnp.where(p > 0, p, 1)) + 1),
        lambda p: jnp.sum(jnp.where(p > 0, p * jnp.log(p), 0)), ([0.0, 0.4],), True,
    ),
    "beyond 0": (
        lambda p: jnp.where(p == 0, 1 + 0 * p, jnp.log(jnp.where(p > 0, p, 1)) + 1),
        lambda p: jnp.sum(jnp.where(p > 0, p * jnp.log(p), 0)), ([0.0, 0.4],), False,
    ),
    "the cube root: vertical": (
        lambda x: 1 / (3 * jnp.cbrt(x) ** 2), lambda x: jnp.sum(jnp.cbrt(x)), ([0.0, 8.0],), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_an_edge_of_the_domain(name):
    check(*EDGES[name])


def test_at_an_edge_the_numerics_judge_the_point_given_too():
    verdict = judged(jax.grad(total_sqrt), total_sqrt, [0.0, 4.0])
    assert verdict.ok
    assert verdict.numerics[0].exact_points == 1
    assert "the derivative is inf at x[0]" in verdict.notes

    def kl(p):
        return jnp.sum(xlogy(p, p))

    wrong = judged(lambda p: jnp.where(p == 0, -jnp.inf, jnp.log(p)), kl, [0.0, 0.5])
    assert (wrong.ok, wrong.hand, wrong.where) == (False, "different", "p[1]")
    finite = judged(lambda p: jnp.where(p == 0, 0 * p, jnp.log(p) + 1), kl, [0.0, 0.5])
    assert finite.cause == "0 where -inf is right"


# --- infinite arguments ---------------------------------------------------------------------------

MASKED = [-np.inf, 0.5, -0.2]
HOT = [0.0, 1.0, 0.0]


def masked_entropy(z, y):
    return -jnp.sum(jnp.where(y > 0, y * jax.nn.log_softmax(z), 0))


def largest(z):
    return jax.nn.logsumexp(z)


INFINITE = {
    "logsumexp": (jax.nn.softmax, largest, (MASKED,), True),
    "logsumexp, doubled": (lambda z: 2 * jax.nn.softmax(z), largest, (MASKED,), False),
    "something for the masked one": (
        lambda z: jnp.where(jnp.isinf(z), jnp.ones_like(z), jax.nn.softmax(z)),
        largest, (MASKED,), False,
    ),
    "cross-entropy": (lambda z, y: jax.nn.softmax(z) - y, masked_entropy, (MASKED, HOT), True),
    "a saturated sigmoid": (
        lambda z: jax.nn.sigmoid(z) * jax.nn.sigmoid(-z),
        lambda z: jnp.sum(jax.nn.sigmoid(z)), ([np.inf, -np.inf, 0.3],), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INFINITE)
def test_an_infinite_argument(name):
    check(*INFINITE[name])


def test_the_search_keeps_what_is_infinite_and_nan_is_refused():
    at = np.array(MASKED)
    verdict = judged(jax.nn.softmax, largest, at, evaluations=64, dtypes=("float32",))
    assert verdict.ok, str(verdict)
    assert verdict.numerics[0].hand_worst_at.inputs[0][1][0] == "-inf"
    with pytest.raises(InputError, match="NaN in leaf"):
        judged(jax.nn.softmax, largest, [np.nan, 0.0])
    with pytest.raises(InputError, match="more than float32 can hold"):
        judged(jax.nn.softmax, largest, [1e300, 0.0], dtypes=("float32",))


def test_a_loss_that_is_infinite_there_is_undecided():
    verdict = judged(lambda z: 1 / z, lambda z: jnp.sum(jnp.log(z)), [np.inf, 1.0])
    assert (verdict.ok, verdict.hand) == (False, "undecided")


# --- identities up to rounding --------------------------------------------------------------------


def cross_entropy(z, y):
    return -jnp.sum(y * jax.nn.log_softmax(z))


def residual(z, y):
    return jax.nn.softmax(z) - y


def quadratic(x, a):
    return x @ a @ x


def off_line(x, u):
    return 0.5 * jnp.sum((x - u * (u @ x)) ** 2)


def onto_columns(x, q):
    return 0.5 * jnp.sum((q @ (q.T @ x)) ** 2)


def mahalanobis(x, a, b):
    return 0.5 * x @ a @ b @ a.T @ x


LOGITS = R.normal(size=(2, 3))
TEACHER = np.exp(LOGITS[::-1]) / np.exp(LOGITS[::-1]).sum(-1, keepdims=True)
THIRDS = np.array([[1 / 3, 1 / 3, 1 / 3], [0.1, 0.2, 0.7]])
INVERSE = np.linalg.inv(np.cov(R.normal(size=(3, 9))))
UNIT = (lambda v: v / np.linalg.norm(v))(R.normal(size=3))
FRAME = np.linalg.qr(R.normal(size=(3, 2)))[0]
X = R.normal(size=3)
DOUBLY = np.array([[0.2, 0.5, 0.3], [0.5, 0.4, 0.1], [0.3, 0.1, 0.6]])
ROTATION = np.linalg.qr(R.normal(size=(3, 3)))[0]
ROUNDED = {
    "teacher": (residual, cross_entropy, (LOGITS, TEACHER), "each row of at[1] sums to 1"),
    "float32 teacher": (
        residual, cross_entropy, (LOGITS, THIRDS.astype(np.float32)),
        "each row of at[1] sums to 1",
    ),
    "inverse": (lambda x, a: 2 * a @ x, quadratic, (X, INVERSE), "at[1] is symmetric"),
    "unit vector": (lambda x, u: x - u * (u @ x), off_line, (X, UNIT), "at[1] has norm 1"),
    "frame": (
        lambda x, q: q @ (q.T @ x), onto_columns, (X, FRAME),
        "the columns of at[1] are orthonormal",
    ),
    "rows and columns": (
        lambda x, p: 2 * (x - p @ x), lambda x, p: 0.5 * jnp.sum(p * (x[:, None] - x[None]) ** 2),
        (np.array([0.3, -1.0, 0.5]), DOUBLY), "half ulps from here",
    ),
    "logarithms of shares": (
        lambda z, q: jax.nn.softmax(z) - jnp.exp(q),
        lambda z, q: -jnp.sum(jnp.exp(q) * jax.nn.log_softmax(z)),
        (LOGITS, np.log(TEACHER)), "half ulps from here",
    ),
    "a factor beside its product": (
        lambda x, a, u: 2 * u.T @ (u @ x), lambda x, a, u: x @ a @ x,
        (X, INVERSE, np.linalg.cholesky(INVERSE).T), "half ulps from here",
    ),
    "weights of mean 1": (
        lambda m, x, w: 2 * (3 * m - jnp.sum(w * x)), lambda m, x, w: jnp.sum(w * (x - m) ** 2),
        (0.3, X, np.array([0.1, 0.7, 2.2]) * (3 / np.sum([0.1, 0.7, 2.2]))), "half ulps from here",
    ),
    "zeros of an orthogonal matrix": (
        lambda x, q: x, lambda x, q: 0.5 * jnp.sum((q @ x) ** 2),
        (np.array([0.7, 0.0, -1.0]), ROTATION), "half ulps from here",
    ),
    "two inverses": (
        lambda x, a, b: a @ x, mahalanobis, (X, INVERSE, np.linalg.inv(INVERSE)),
        "equal if",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROUNDED)
def test_an_identity_that_holds_up_to_rounding_is_named(name):
    gradient, loss, at, note = ROUNDED[name]
    check(gradient, loss, at, True, note)


@pytest.mark.parametrize("name", [name for name in ROUNDED if name != "two inverses"])
def test_a_factor_is_no_rounding(name):
    gradient, loss, at, _ = ROUNDED[name]
    for dtype, factor in (("float64", 1e-14), ("float32", 1e-6)):
        verdict = judged(lambda *a, f=factor: gradient(*a) * (1 + f), loss, *at, dtypes=(dtype,))
        assert (verdict.ok, verdict.hand) == (False, "different"), str(verdict)


def test_rounding_excuses_no_error_at_a_kink():
    def loss(z, y):
        return cross_entropy(z, y) + jnp.abs(z[0, 0])

    def gradient(slope):
        return lambda z, y: residual(z, y).at[0, 0].add(slope)

    at = (LOGITS * (LOGITS[0, 0] != LOGITS), TEACHER)
    verdict = judged(gradient(0.5), loss, *at)
    assert (verdict.ok, verdict.hand) == (True, "valid subgradient"), str(verdict)
    assert "each row of at[1] sums to 1" in "".join(verdict.notes)
    assert not judged(gradient(1.5), loss, *at).ok
    assert not judged(lambda z, y: gradient(0.5)(z, y) * (1 + 1e-14), loss, *at).ok


def test_nor_is_an_asymmetry_that_rounding_does_not_make():
    skew = INVERSE + np.triu(INVERSE, 1) * 1e-9
    check(lambda x, a: 2 * a @ x, quadratic, (X, skew), False)
    shares = TEACHER * (1 + 1e-5)
    check(residual, cross_entropy, (LOGITS, shares), False)


# --- ties under cotangents of both signs ----------------------------------------------------------


def pooled(x, d):
    return jnp.sum(d * x.max(1))


def tied(x):
    return (x == x.max(1, keepdims=True)).astype(x.dtype)


def first(x):
    return jax.nn.one_hot(jnp.argmax(x, 1), x.shape[1], dtype=x.dtype)


def windows(x):
    return jnp.maximum(x[0], x[1]) - jnp.maximum(x[1], x[2])


def ordered(x):
    return jnp.sum(jnp.array([1, -1, 1], x.dtype) * jnp.sort(x))


def vector(*numbers):
    return lambda x, *rest: jnp.asarray(numbers, x.dtype)


POOL = (np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]), np.array([1.0, -1.0]))
SAME = (np.full(3, 2.0),)
TIES = {
    "the first gets it": (lambda x, d: d[:, None] * first(x), pooled, POOL, True),
    "they share it": (
        lambda x, d: d[:, None] * tied(x) / tied(x).sum(1, keepdims=True), pooled, POOL, True,
    ),
    "all get all": (lambda x, d: d[:, None] * tied(x), pooled, POOL, False),
    "nobody gets it": (lambda x, d: d[:, None] * 0 * x, pooled, POOL, False),
    "overlapping windows": (vector(0.5, 0, -0.5), windows, SAME, True),
    "overlapping windows, wrong": (vector(1, 0, 0), windows, SAME, False),
    "sorted, a permutation": (vector(1, 1, -1), ordered, SAME, True),
    "sorted, one derivative each": (vector(1, 1, 1), ordered, SAME, False),
    "a norm at 0": (vector(0.6, 0.8, 0), jnp.linalg.norm, (np.zeros(3),), True),
    "a norm at 0, too long": (vector(0.6, 0.8, 0.1), jnp.linalg.norm, (np.zeros(3),), False),
    "units of both signs": (
        lambda z, w: w * (z > 0), lambda z, w: jnp.sum(w * jax.nn.relu(z)),
        (np.zeros(3), np.array([1.0, -1.0, 2.0])), True,
    ),
    "a piece that fills little room": (
        vector(1.0, 2.0),
        lambda w, x: jax.nn.relu(x[0] @ w) - jax.nn.relu(x[1] @ w),
        (np.zeros(2), np.array([[1.0, 2.0], [3.0, 4.0]])), True,
    ),
    "units of both signs, halved twice": (
        lambda z, w: -w / 4, lambda z, w: jnp.sum(w * jax.nn.relu(z)),
        (np.zeros(3), np.array([1.0, -1.0, 2.0])), False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TIES)
def test_a_tie(name):
    check(*TIES[name])


def test_a_kink_leaves_the_other_coordinates_their_full_digits():
    def off(z):
        return jnp.where(z == 0, 0.5 + 0 * z, jnp.sign(z) * (1 + 1e-12))

    verdict = judged(off, lambda z: jnp.sum(jnp.abs(z)), [0.0, 1.0])
    assert (verdict.ok, verdict.hand, verdict.where) == (False, "different", "z[1]")


# --- losses that JAX cannot differentiate ---------------------------------------------------------


def root(a):
    def far(x):
        return jnp.abs(x * x - a) > 1e-15 * a

    return jax.lax.while_loop(far, lambda x: (x + a / x) / 2, a)


def cube(x):
    def more(state):
        return state[0] < 3

    return jnp.sum(
        jax.lax.while_loop(more, lambda s: (s[0] + 1, s[1] * x), (0, jnp.ones_like(x)))[1]
    )


WITHOUT_AUTODIFF = {
    "Newton's root": (lambda a: 0.5 / jnp.sqrt(a), root, (2.0,), True),
    "Newton's root, 1e-12 off": (lambda a: (0.5 + 5e-13) / jnp.sqrt(a), root, (2.0,), False),
    "a product in a loop": (lambda x: 3 * x * x, cube, ([1.0, 2.0],), True),
    "a product in a loop, wrong": (lambda x: 2 * x * x, cube, ([1.0, 2.0],), False),
    "in NumPy": (lambda x: 3 * np.asarray(x) ** 2, cube, ([1.0, 2.0],), True),
    "in NumPy, wrong": (lambda x: 2 * np.asarray(x) ** 2, cube, ([1.0, 2.0],), False),
}


@pytest.mark.parametrize("name", WITHOUT_AUTODIFF)
def test_a_loss_without_autodiff_is_judged_and_that_is_said(name):
    check(*WITHOUT_AUTODIFF[name], "JAX cannot differentiate this loss")


def test_a_loop_that_ends_nowhere_else_is_not_searched():
    verdict = judged(lambda a: 0.5 / jnp.sqrt(a), root, 2.0, evaluations=64)
    assert verdict.ok, str(verdict)
    assert verdict.numerics[0].evaluations == 0


def test_a_callback_has_no_rule_and_that_is_said():
    def called_back(x):
        shape = jax.ShapeDtypeStruct((), x.dtype)
        return jnp.sum(x) + jax.pure_callback(lambda v: v, shape, x[0])

    verdict = judged(jnp.ones_like, called_back, [1.0, 2.0])
    assert (verdict.ok, verdict.hand) == (False, "unsupported")
    assert any("'pure_callback'" in note and "rules=" in note for note in verdict.notes)


def test_a_loss_that_is_nan_at_the_point_is_told_as_that():
    verdict = judged(lambda x: 1 / x, lambda x: jnp.sum(jnp.log(x)), [-1.0, 2.0])
    assert (verdict.ok, verdict.hand) == (False, "undecided")
    assert "no value at the point" in verdict.cause
    assert str(verdict).startswith("<lambda>: undecided: ")
