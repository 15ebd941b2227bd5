"""Gradients neither traced nor followed: scikit-learn, PyTorch, NumPy by way of bytes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import xlogy

from handgrad import verify as judged
from handgrad.errors import InputError
from handgrad.verify import blackbox


def verify(gradient, **options):
    """The verdict on a gradient in NumPy that cannot be followed."""

    @functools.wraps(gradient)
    def opaque(*args):
        return gradient(*(np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape) for x in args))

    return judged(opaque, **options)


RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(12, 3)), (RNG.random(12) < 0.5).astype(float), RNG.normal(size=3)


def squares(w, x, y):
    return jnp.mean((x @ w - y) ** 2)


def of_squares(w, x, y):
    return 2 * x.T @ (x @ w - y) / np.asarray(len(y), w.dtype)


def logistic_loss(w, x, y):
    z = x @ w
    return jnp.mean(jax.nn.softplus(z) - y * z)


def in_numpy(w, x, y):
    assert isinstance(w, np.ndarray)
    return x.T @ (1 / (1 + np.exp(-(x @ w))) - y) / np.asarray(len(y), w.dtype)


def test_a_gradient_in_numpy():
    verdict = verify(in_numpy, of=logistic_loss, at=(W, X, Y))
    assert (verdict.ok, verdict.hand, verdict.autodiff) == (True, "not traceable", "identical")
    assert [row.dtype for row in verdict.numerics] == ["float32", "float64"]
    assert all(row.hand_max_ulp < 64 for row in verdict.numerics)


def test_a_planted_error_of_1e_6_fails_and_is_named():
    def planted(w, x, y):
        return of_squares(w, x, y) * np.array([1, 1 + 1e-6, 1], w.dtype)

    verdict = verify(planted, of=squares, at=(W, X, Y))
    assert not verdict.ok
    assert verdict.cause == "only coordinate [1] differs: ratio 1.000001"
    assert verdict.cause in str(verdict).splitlines()[0]


@pytest.mark.usefixtures("without_diagnosis")
@pytest.mark.parametrize(
    "wrong",
    [
        lambda g: -g,
        lambda g: g * np.array([np.nan, 1, 1], g.dtype),
        lambda g: g * np.array([0, 1, 1], g.dtype),
    ],
    ids=["sign", "NaN", "zero"],
)
def test_gross_errors_fail(wrong):
    verdict = verify(lambda *args: wrong(in_numpy(*args)), of=logistic_loss, at=(W, X, Y))
    assert not verdict.ok
    assert verdict.numerics[0].hand_bad > 0


def test_a_wrong_shape_is_refused_in_words():
    with pytest.raises(InputError, match=r"leaves of shapes \[\(3,\)\], as jax.grad gives"):
        verify(lambda *args: in_numpy(*args)[:, None], of=logistic_loss, at=(W, X, Y))


def binomial(z, y):
    return jnp.sum(jax.nn.softplus(z) - y * z)


def multinomial(z, y):
    own = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
    return jnp.sum(jax.nn.logsumexp(z, axis=1) - own)


def half_binomial(z, y):
    from sklearn._loss import HalfBinomialLoss

    return HalfBinomialLoss().gradient(y_true=np.asarray(y), raw_prediction=np.asarray(z))


def half_multinomial(z, y):
    from sklearn._loss import HalfMultinomialLoss

    z = np.asarray(z)
    loss = HalfMultinomialLoss(n_classes=z.shape[1])
    return loss.gradient(y_true=np.asarray(y).astype(z.dtype), raw_prediction=z)


SKLEARN = {
    "binomial": (half_binomial, binomial, (3 * RNG.normal(size=6), np.array([0, 1, 1, 0, 1, 0.0]))),
    "multinomial": (
        half_multinomial, multinomial, (RNG.normal(size=(5, 4)), np.array([0, 1, 2, 3, 1])),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SKLEARN)
def test_scikit_learn(name):
    gradient, loss, at = SKLEARN[name]
    verdict = verify(gradient, of=loss, at=at, dtypes=("float64",))
    assert (verdict.ok, verdict.hand) == (True, "not traceable"), str(verdict)
    assert verdict.numerics[0].hand_max_ulp < 4


def test_an_error_planted_in_scikit_learn():
    gradient, loss, at = SKLEARN["binomial"]
    planted = verify(
        lambda z, y: gradient(z, y) * (1 + 1e-6 * (np.arange(z.size) == 2)),
        of=loss, at=at, dtypes=("float64",),
    )  # fmt: skip
    assert not planted.ok
    assert "[2]" in planted.cause


def test_pytorch():
    torch = pytest.importorskip("torch")

    def in_torch(w, x, y):
        w, x, y = (torch.from_numpy(np.array(a)) for a in (w, x, y))
        return (x.T @ (torch.sigmoid(x @ w) - y) / len(y)).numpy()

    assert verify(in_torch, of=logistic_loss, at=(W, X, Y)).ok


# --- kinks, and derivatives that jax.grad gets wrong ----------------------------------------------

Z2 = np.zeros(2)


def norm(x):
    return jnp.sqrt(jnp.sum(x * x))


def square_norm(x):
    return jnp.linalg.norm(x) ** 2


def at_given(gradient, loss, at):
    return verify(gradient, of=loss, at=(at,), dtypes=("float64",), evaluations=0)


@pytest.mark.parametrize(
    ("share", "right"), [([1, 1, 0], False), ([0.5, 0.5, 0], True), ([0, 0, 0], False)]
)
def test_what_tied_entries_take_must_add_up(share, right):
    gradient = lambda x: np.array(share) + 0 * np.asarray(x)
    verdict = at_given(gradient, jnp.max, np.array([1.0, 1.0, 0.0]))
    assert verdict.ok == right
    assert right or "together they give" in verdict.cause


@pytest.mark.usefixtures("without_diagnosis")
@pytest.mark.parametrize(
    ("loss", "value", "right"),
    [(norm, 0.0, True), (norm, 1.0, False), (norm, np.nan, False), (square_norm, 0.0, True),
     (square_norm, 1.0, False)],
)  # fmt: skip
def test_where_autodiff_is_nan_the_loss_is_differenced(loss, value, right):
    verdict = at_given(lambda x: value + 0 * np.asarray(x), loss, Z2)
    assert verdict.autodiff == "different"
    assert verdict.ok == right
    assert right or verdict.hand != "undecided"


@pytest.mark.usefixtures("without_diagnosis")
def test_more_kinks_than_are_looked_at_are_undecided(monkeypatch):
    monkeypatch.setattr(blackbox, "MOST_AT_KINKS", 2)
    relu = lambda z: jnp.sum(jnp.maximum(z, 0))
    verdict = at_given(lambda z: (np.asarray(z) > 0) * 1.0, relu, np.zeros(3))
    assert not verdict.ok
    assert verdict.hand == "undecided"
    wrong = at_given(lambda z: (np.asarray(z) >= 0) * 2.0, relu, np.zeros(3))
    assert not wrong.ok
    assert wrong.hand == "not traceable"


SCALE = np.array([0.7, -1.3, 0.9])
TIED = np.array([1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("scale", "share", "ok"),
    [(0.7, [1, 0, 0], True), (0.7, [0.5, 0.5, 0], True), (0.7, [1, 1, 0], False),
     (-2.0, [1, 1, 0], False)],
)  # fmt: skip
def test_a_tie_is_judged_as_a_whole(scale, share, ok):
    verdict = verify(
        lambda x: scale * np.array(share) + 0 * np.asarray(x),
        of=lambda x: scale * jnp.max(x),
        at=(TIED,),
        evaluations=0,
    )
    assert verdict.ok == ok
    assert ok or "together they give" in verdict.cause


def test_the_end_of_a_kink_may_be_computed_from_constants_that_the_loss_rounds():
    verdict = verify(
        lambda x: SCALE * (np.asarray(x) >= 0),
        of=lambda x: jnp.sum(SCALE * jnp.maximum(x, 0)),
        at=(np.array([0.0, 0.0, 1.0]),),
        dtypes=("float32",),
        evaluations=0,
    )
    assert verdict.ok, str(verdict)


def test_autodiff_that_fails_where_the_truth_is_infinite_is_told():
    verdict = verify(
        lambda p: -(jnp.log(p) + 1),
        of=lambda p: -jnp.sum(xlogy(p, p)),
        at=(np.array([0.0, 0.3]),),
        evaluations=0,
    )
    assert verdict.ok
    assert "in truth inf" in str(verdict)


@jax.custom_jvp
def cubed_by_name(x):
    return x**2


cubed_by_name.defjvp(lambda x, t: (cubed_by_name(x[0]), 3 * x[0] * t[0]))


@pytest.mark.usefixtures("without_diagnosis")
@pytest.mark.parametrize(
    ("factor", "reference", "ok"),
    [(2, "truth", True), (3, "truth", False), (3, "autodiff", True)],
)
def test_beside_a_wrong_rule_of_jax_the_loss_is_the_truth(factor, reference, ok):
    verdict = verify(
        lambda x: factor * np.asarray(x),
        of=lambda x: jnp.sum(cubed_by_name(x)),
        at=(np.array([1.0, 2.0]),),
        reference=reference,
        evaluations=0,
    )
    assert (verdict.ok, verdict.hand) == (ok, "not traceable")


def test_a_norm_at_zero_where_autodiff_is_nan():
    def in_numpy(w):
        size = np.linalg.norm(w, axis=1, keepdims=True)
        return np.divide(w, size, out=np.zeros_like(w), where=size > 0)

    loss, at = lambda w: jnp.sum(jnp.linalg.norm(w, axis=1)), (np.array([[0.0, 0.0], [1.0, 2.0]]),)
    assert verify(in_numpy, of=loss, at=at, evaluations=0).ok
    beyond = verify(lambda w: in_numpy(w) + 0.9 * (w == 0), of=loss, at=at, evaluations=0)
    assert "together they give" in beyond.cause


@pytest.mark.usefixtures("without_diagnosis")
def test_a_layer_of_relu_on_a_row_of_zeros():
    rng = np.random.default_rng(3)
    at = np.array([[0.0, 0, 0], [0.3, -1, 0.2]]), rng.normal(size=(3, 4)), rng.normal(size=4)
    loss = lambda x, w, v: jnp.sum(jax.nn.relu(x @ w) @ v)
    for factor, ok in ((1, True), (1.01, False)):
        verdict = verify(
            lambda x, w, v, by=factor: x.dtype.type(by) * ((x @ w > 0) * v) @ w.T,
            of=loss, at=at, evaluations=0,
        )  # fmt: skip
        assert verdict.ok == ok, str(verdict)


def test_many_points_drawn_find_a_wrong_tail():
    """Beyond 12, where one in fourteen of the points drawn lies."""

    def hinged(z):
        slope = 1 / (1 + np.exp(-z))
        return np.where(z > 12, slope * z.dtype.type(1.01), slope)

    def points(key):
        return (8 * jax.random.normal(key, (1,), jnp.float64),)

    question = {"of": lambda z: jnp.sum(jax.nn.softplus(z)), "at": (np.array([0.7]),)}
    verdict = verify(hinged, points=points, dtypes=("float64",), **question)
    assert (verdict.ok, verdict.is_undecided) == (False, False)
    assert "1.01" in verdict.cause
    assert verify(hinged, dtypes=("float64",), **question).ok


@pytest.mark.parametrize(("factor", "cause"), [(1, "float64 loses the digits"), (2, "twice")])
def test_digits_lost_to_rounding_have_no_cause_in_the_algebra(factor, cause):
    verdict = verify(
        lambda z: factor / (1 + np.exp(-z)) - (factor == 1),
        of=lambda z: jnp.sum(jax.nn.softplus(-z if factor == 1 else z)),
        at=(np.array([40.0, 2.0]) if factor == 1 else np.array([-50.0, -60.0]),),
        dtypes=("float64",),
        evaluations=0,
    )
    assert not verdict.ok
    assert cause in verdict.cause


@pytest.mark.parametrize(("slope", "ok"), [(0.0, True), (-0.4, True), (-1.01, False), (-2, False)])
def test_conditioning_explains_nothing_beyond_the_slopes_of_a_kink(slope, ok):
    verdict = verify(
        lambda z: np.where(z == 1, slope, -1.0 * (z < 1)).astype(z.dtype),
        of=lambda z: jnp.sum(jnp.maximum(1 - z, 0)),
        at=(np.array([1.0, 0.0, 2.0]),),
        evaluations=0,
    )
    assert verdict.ok == ok, str(verdict)


BIG = np.array([9.0, 0.5, -8.0])


def tanh_slope(factor, dtype=None):
    """1 − tanh², which cancels; wrong by a factor beyond 7, computed in another dtype."""

    def slope(z):
        z = z.astype(dtype or z.dtype)
        return (1 - np.tanh(z) ** 2) * np.where(np.abs(z) > 7, factor, 1).astype(z.dtype)

    return slope


@pytest.mark.usefixtures("without_diagnosis")
@pytest.mark.parametrize("dtype", [None, "float64"])
@pytest.mark.parametrize(("factor", "ok"), [(1, True), (1.0002, False), (1 - 1e-5, False)])
def test_errors_of_rounding_change_close_by_and_those_of_a_factor_stay(factor, ok, dtype):
    options = {"of": lambda z: jnp.sum(jnp.tanh(z)), "at": (BIG,), "evaluations": 0}
    verdict = verify(tanh_slope(factor, dtype), dtypes=("float64",), **options)
    assert verdict.ok == ok, str(verdict)


@pytest.mark.usefixtures("without_diagnosis")
def test_what_overflows_in_float32_is_not_excused_in_float64():
    loss = lambda z: jnp.sum(jnp.cosh(z) * 1e-40)
    for factor, ok in ((1, True), (1.00001, False)):
        verdict = verify(
            lambda z, by=factor: by * np.sinh(z) * z.dtype.type(1e-40),
            of=loss, at=(np.array([100.0, 101.0]),), dtypes=("float64",), evaluations=0,
        )  # fmt: skip
        assert verdict.ok == ok, str(verdict)
