"""Per-example descent at compiled speed is the reference loop, in both forms, and refuses alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from sklearn.linear_model import SGDClassifier

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.fast import per_example as module
from handgrad.fast.per_example import dot, per_example
from handgrad.gradients import logistic
from handgrad.gradients.linear import Params
from handgrad.train import fit

FORMS = ("plain", "gram")
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def problem(examples, features, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(examples, features)) / np.sqrt(features)).astype(dtype)
    y = (rng.random(examples) < 0.4).astype(dtype)
    start = Params(jnp.asarray(rng.normal(size=features), dtype), jnp.asarray(0.25, dtype))
    return start, jnp.asarray(x), jnp.asarray(y)


def assert_close(ours, theirs, dtype):
    """To the rounding of so many steps, relative to the largest parameter; and in its dtype."""
    largest = float(jnp.max(jnp.abs(theirs.weight)))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype == dtype
        assert float(jnp.max(jnp.abs(a - b))) <= TOLERANCE[dtype] * largest


@jax.jit
def one_by_one(params, x, y, rate):
    """The reference gradient of every example alone, and a step against it."""

    def step(params, example):
        gradient = logistic.gradient(params, *(part[None] for part in example))
        return jax.tree.map(lambda p, g: p - rate * g, params, gradient), None

    return lax.scan(step, params, (x, y))[0]


@pytest.mark.parametrize(
    ("examples", "features", "dtype"),
    [(1, 1, "float32"), (75, 100, "float32"), (70, 5, "float64")],
    indirect=["dtype"],
)
def test_it_is_the_reference_loop(examples, features, dtype):
    """Blocks that end in a few single steps, lanes that end in a few numbers, one example only."""
    start, x, y = problem(examples, features, dtype)
    theirs = one_by_one(start, x, y, jnp.asarray(0.5, dtype))
    for form in FORMS:
        assert_close(per_example(start, x, y, 0.5, form=form), theirs, dtype)


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_epochs_and_an_order(dtype):
    start, x, y = problem(70, 5, dtype)
    order = np.random.default_rng(1).permutation(70)
    theirs = start
    for _ in range(3):
        theirs = one_by_one(theirs, x[order], y[order], jnp.asarray(0.3, dtype))
    for form in FORMS:
        found = per_example(start, x, y, 0.3, order=order, epochs=3, form=form)
        assert_close(found, theirs, dtype)
        in_order = per_example(start, x, y, 0.3, epochs=3, form=form)
        assert float(jnp.max(jnp.abs(in_order.weight - theirs.weight))) > 1e-3


def test_it_is_fit_with_batches_of_one():
    start, x, y = problem(70, 5, "float32")
    theirs = fit(
        logistic.model(), x, y, batch_size=1, shuffle=False, epochs=1, learning_rate=0.3,
        params=start,
    ).params  # fmt: skip
    assert_close(per_example(start, x, y, 0.3), theirs, "float32")


@pytest.mark.parametrize("form", FORMS)
def test_scikit_learn_walks_the_same_way(form):
    with x64():
        start, x, y = problem(200, 8, "float64")
        theirs = SGDClassifier(
            loss="log_loss", penalty=None, learning_rate="constant", eta0=0.2, shuffle=False,
            max_iter=2, tol=None,
        ).fit(
            x, np.asarray(y, int), coef_init=np.array(start.weight),
            intercept_init=np.array([0.25]),
        )  # fmt: skip
        ours = per_example(start, x, y, 0.2, epochs=2, form=form)
        np.testing.assert_allclose(ours.weight, theirs.coef_[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours.bias, theirs.intercept_[0], rtol=0, atol=1e-9)


@pytest.mark.digits
@pytest.mark.parametrize("form", FORMS)
def test_confident_labels_keep_their_push(form):
    """At logit 20 and y = 1 the textbook residual is 0 in float32; the reference's is −2e-9."""
    start = Params(jnp.array([20.0]), jnp.array(0.0))
    x, y = jnp.ones((40, 1)), jnp.ones(40)
    moved = per_example(start, x, y, 1e9, form=form)  # 2 upwards at the first step
    assert 21.0 < float(moved.weight[0]) < 26.0


@pytest.mark.parametrize(("form", "labels"), [("plain", np.int32), ("gram", np.bool_)])
def test_labels_of_other_dtypes(form, labels):
    start, x, y = problem(40, 3, "float32")
    assert_close(
        per_example(start, x, np.asarray(y).astype(labels), form=form),
        per_example(start, x, y, form=form),
        "float32",
    )


def test_a_wrong_block_is_seen(monkeypatch):
    """The comparison notices a Gram form that forgets the bias in G, or one sweep too few."""
    start, x, y = problem(64, 5, "float32")
    right = per_example(start, x, y, 0.5, form="plain")
    for planted in (
        {"tril": lambda g, k: jnp.tril(g - 1, k)},
        {"tril": lambda g, k: jnp.tril(g, k - 1)},
    ):

        class Faulty:
            tril = staticmethod(planted["tril"])

            def __getattr__(self, name):
                return getattr(jnp, name)

        monkeypatch.setattr(module, "jnp", Faulty())
        wrong = gram_once_more(start, x, y)
        monkeypatch.undo()
        with pytest.raises(AssertionError):
            assert_close(wrong, right, "float32")
    assert_close(gram_once_more(start, x, y), right, "float32")


def gram_once_more(*at):
    """Traced anew, whatever JAX has compiled before."""
    run = module._run.__wrapped__
    return jax.jit(lambda *at: run(*at, jnp.float32(0.5), None, 1, "gram"))(*at)


@pytest.mark.parametrize("form", FORMS)
def test_it_ends_where_it_diverges(form):
    """NaN never equals itself: the sweeps of a block are counted."""
    start, x, y = problem(40, 3, "float32")
    wild = per_example(start, x.at[3, 0].set(jnp.nan), y, form=form)
    assert not np.isfinite(wild.weight).any()


def test_auto_is_plain_on_a_cpu():
    start, x, y = problem(40, 3, "float32")
    chosen = "plain" if jax.default_backend() == "cpu" else "gram"
    for a, b in zip(per_example(start, x, y), per_example(start, x, y, form=chosen), strict=True):
        np.testing.assert_array_equal(a, b)


def test_under_jit():
    start, x, y = problem(40, 3, "float32")
    for form in FORMS:
        expected = per_example(start, x, y, 0.3, form=form)
        inside = jax.jit(lambda p, r, form=form: per_example(p, x, y, r, form=form))(start, 0.3)
        assert_close(inside, expected, "float32")


@pytest.mark.parametrize("size", [1, 65, 9000])
def test_a_product_by_lanes(size, dtype):
    rng = np.random.default_rng(size)
    a, b = rng.normal(size=(2, size)).astype(dtype)
    found = jax.jit(dot)(a, b)
    exact = np.sum(a.astype(np.longdouble) * b)
    scale = np.sum(np.abs(a.astype(np.longdouble) * b))
    assert found.dtype == dtype
    assert abs(float(found) - exact) <= 80 * np.finfo(dtype).eps * scale


START, X, Y = problem(6, 2, "float32")
REFUSED = {
    "labels_in_a_column": ((START, X, Y[:, None]), {}, r"y: expected the shape of the logits"),
    "too_few_labels": ((START, X, Y[:-1]), {}, r"y: expected the shape of the logits, \(6,\), got"),
    "one_axis": ((START, X[:, 0], Y), {}, r"x: expected shape \(N, D\), got shape \(6,\)"),
    "no_example": ((START, X[:0], Y[:0]), {}, r"x: expected at least one example"),
    "integers": ((START, X.astype(int), Y), {}, r"x: expected a floating dtype, got int32"),
    "other_features": ((START, X[:, :1], Y), {}, r"x: expected 2 along axis 1 .features"),
    "weight_dtype": (
        (Params(START.weight.astype("bfloat16"), START.bias), X, Y), {},
        r"params\.weight: expected float32, as x has, got bfloat16 of shape \(2,\); convert one",
    ),
    "a_column_of_weights": (
        (Params(START.weight[:, None], START.bias[None]), X, Y), {},
        r"params\.weight: expected shape \(D,\), got shape \(2, 1\)",
    ),
    "rate_zero": ((START, X, Y, 0.0), {}, r"learning_rate: .* above 0, got 0\.0"),
    "rate_nan": ((START, X, Y, float("nan")), {}, r"learning_rate: .* got nan; pass 0\.1"),
    "epochs": ((START, X, Y), {"epochs": 0}, r"epochs: expected a whole number in .*, got 0;"),
    "form": ((START, X, Y), {"form": "fast"}, r"form: expected one of auto, plain, gram, got 'f"),
    "order_short": ((START, X, Y), {"order": np.arange(5)}, r"order: expected the shape of y"),
    "order_floats": ((START, X, Y), {"order": np.arange(6.0)}, r"order: expected integers, got f"),
    "order_twice": (
        (START, X, Y), {"order": np.array([0, 1, 2, 3, 4, 4])},
        r"order: expected each of 0\.\.5 once, got another sequence; pass, for example, ",
    ),
    "order_beyond": ((START, X, Y), {"order": np.arange(1, 7)}, r"order: expected each of 0\.\.5"),
}  # fmt: skip


@pytest.mark.bad_input
@pytest.mark.parametrize(("given", "options", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(given, options, words):
    with pytest.raises(InputError, match=words):
        per_example(*given, **options)
