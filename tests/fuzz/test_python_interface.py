"""`fit`, `fit_many`, `folds`, the data sets, the judge, exact evaluation and `explain` from Python."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import strategies as st

import handgrad as hg
from fuzz.harness import campaign
from fuzz.strategies import HUGE, SPECIAL, anything, arrays, things
from fuzz.test_functions import BINARY, CLASSES, DATA, numbers, options, spoiled
from handgrad import exact
from handgrad.data import Dataset, check_labels, check_values, split, standardise
from handgrad.gradients import logistic, softmax_regression
from handgrad.train import accuracy, fit, fit_many, folds

EPOCHS = st.one_of(
    st.integers(1, 3), st.sampled_from([0, -1, 10**18, 10**30, 2.5, True, None, "3"])
)
MODELS = ((logistic.model(), BINARY), (softmax_regression.model(0.1), CLASSES))


def training_options(draw):
    """What `fit` and `fit_many` share."""
    extra = options(
        draw, batch_size=st.sampled_from(["full", 1, 5, 12, 13, "all", 10**18]),
        key=st.just(jax.random.key(3)), shuffle=st.booleans(),
        optimizer=st.sampled_from(["sgd", "adam", "newton"]),
    )  # fmt: skip
    return {"epochs": draw.or_sound(1, EPOCHS), **extra}


@campaign("fit", 700, 12)
def test_fit(draw, outcomes, folder):
    model, y = draw(st.sampled_from(MODELS))
    x, y = (DATA, y) if draw(st.integers(0, 3)) == 0 else spoiled(draw, (DATA, y))
    extra = training_options(draw) | options(
        draw, learning_rate=st.sampled_from([0.1, 1e30]), tol=st.just(1e-3),
        params=st.sampled_from([logistic.init(jax.random.key(1), 3), None]),
        progress=st.just(lambda seen: None),
    )  # fmt: skip
    extra.pop("model", None)
    if not draw.sound and draw(st.integers(0, 9)) == 0:
        model = draw(things)
    outcomes.hold(lambda: fit(model, x, y, **extra), x, y, extra)


@campaign("fit_many, folds", 500, 15)
def test_fit_many(draw, outcomes, folder):
    made = (logistic.model, BINARY)  # a function of the penalty, for which l2s is needed
    model, y = draw(st.sampled_from(MODELS if draw.sound else [made, *MODELS]))
    x, y = (DATA, y) if draw(st.booleans()) else spoiled(draw, (DATA, y))
    extra = training_options(draw) | options(
        draw, learning_rates=st.sampled_from([(0.1,), (0.1, 1.0), (0.1, "a"), ()]),
        l2s=st.sampled_from([(0.0, 0.1), (-1.0,)]), keys=st.just([jax.random.key(5)]),
        rows=st.one_of(st.just(folds(12, 3)[0]), arrays(shape=(2, 3), dtype="int32")),
    )  # fmt: skip
    outcomes.hold(lambda: fit_many(model, x, y, **extra), x, y, extra)


@campaign("folds", 100, 20)
def test_folds(draw, outcomes, folder):
    args = [draw.or_sound(good, numbers) for good in (10, 3, 0)]
    outcomes.hold(lambda: folds(*args), args)


@functools.cache
def iris():
    return hg.load("iris")


@campaign("Dataset, split, standardise, checks", 900, 24)
def test_data(draw, outcomes, folder):
    what = draw(
        st.sampled_from(["dataset", "split", "standardise", "values", "labels", "accuracy"])
    )
    if what == "dataset":
        x, y, names, classes = spoiled(
            draw, (DATA.astype(float), np.int32(BINARY), *map(tuple, ("abc", "uv")))
        )
        outcomes.hold(lambda: Dataset("made up", x, y, names, classes, "Made up."), x, y, names)
    elif what == "split":
        data, fraction, seed = (draw.or_sound(good, numbers) for good in (iris(), 0.25, 0))
        outcomes.hold(lambda: split(data, fraction, seed), data, fraction, seed)
    elif what == "standardise":
        scale = draw.or_sound(1.0, st.sampled_from([1e300, 1e-300, 5e-324, 1e154, 0.0]))
        data = iris()
        x = data.x[:, :2] * scale
        made = lambda: Dataset("x", x, data.y, ("a", "b"), data.class_names, "x")
        other = draw.or_sound(None, st.one_of(st.just(data), things))
        outcomes.hold(
            lambda: standardise(made(), *([] if other is None else [other])), scale, other
        )
    elif what == "values":
        x, y = spoiled(draw, (DATA, CLASSES))
        outcomes.hold(lambda: check_values(x, y), x, y)
    elif what == "labels":
        y, examples = draw.or_sound(CLASSES, anything), draw.or_sound(12, numbers)
        classes = draw.or_sound(4, numbers)
        outcomes.hold(lambda: check_labels(y, examples, classes), y, examples, classes)
    else:
        params, x, y = spoiled(draw, (logistic.init(jax.random.key(1), 3), DATA, BINARY))
        outcomes.hold(lambda: accuracy(logistic.model(), params, x, y), params, x, y)


# --- the judge ------------------------------------------------------------------------------------


def energy(x, n):
    return jnp.sum(x * x) * n


def right(x, n):
    return 2 * x * n


def wrong(x, n):
    return 2.001 * x * n


def in_numpy(x, n):
    return 2 * np.asarray(x) * np.asarray(n)


def raises(x, n):
    raise KeyError("x")


def leaves(x, n):
    raise SystemExit(0)


def recurses(x, n):
    return recurses(x, n)


def nothing(x, n):
    return None


def words(x, n):
    return "x"


def shorter(x, n):
    return x[:1]


def not_numbers(x, n):
    return x * jnp.nan


GRADIENTS = (
    right,
    right,
    right,
    wrong,
    in_numpy,
    raises,
    recurses,
    nothing,
    words,
    shorter,
    not_numbers,
)
NOT_LOSSES = (right, raises, recurses, nothing, words, lambda: 1, lambda x, n: 1j * x.sum(), in_numpy,
              lambda x, n: float(x.sum()))  # fmt: skip


@campaign("verify", 700, 8)
def test_verify(draw, outcomes, folder):
    at = (jnp.array([0.5, -2.0]), jnp.float32(3))
    gradient, of = draw(st.sampled_from(GRADIENTS)), energy
    which = draw(st.sampled_from(["gradient", "of", "at", "at", "option", "option", "points"]))
    extra = {"evaluations": 0, "dtypes": ("float32",), "digits": 30}
    if draw.sound:
        gradient = right
    elif which == "of":
        of = draw(st.one_of(st.sampled_from(NOT_LOSSES), things))
    elif which == "at":
        at = (
            draw(st.one_of(anything, st.just(None)))
            if draw(st.integers(0, 4)) == 0
            else spoiled(draw, at)
        )
    elif which == "gradient" and draw(st.booleans()):
        gradient = draw(things)
    elif which == "points":
        extra["points"] = draw(
            st.one_of(
                things,
                st.sampled_from([raises, lambda key: at, lambda key: None, lambda key: at[:1]]),
            )
        )
    else:
        extra |= options(
            draw, digits=st.sampled_from([1, 10, 0, 10**9]), evaluations=st.sampled_from([0, 10**18]),
            seed=st.sampled_from([0, 2**32, 2**64]), reference=st.sampled_from(["autodiff", "me"]),
            dtypes=st.sampled_from(["float32", ("bfloat16",), ("int8",), (None,), (["float32"],), 3]),
            argnums=st.sampled_from([0, 1, (0, 1), (0, 0), (), -1, 2, "0", 0.0, (0, "1"), True]),
            name=st.just("energy"), rules=st.just({}), strict=st.booleans(),
        )  # fmt: skip
    outcomes.hold(lambda: str(hg.verify(gradient, of=of, at=at, **extra)) and None,
                  getattr(gradient, "__name__", gradient), of, at, extra)  # fmt: skip


FUNCTIONS = (
    jnp.exp, jnp.log, jnp.sqrt, jnp.tanh, jnp.sum, jnp.sort, jnp.argmax, jnp.sign, jnp.floor, jnp.max,
    lambda x: x @ x, lambda x: 1 / x, lambda x: x**x, lambda x: x > 0, lambda x: x.astype("int32"),
    lambda x: jnp.where(x > 0, jnp.log(x), x), lambda x: jnp.cumsum(x), jnp.linalg.inv, jnp.fft.fft,
    lambda x: None, lambda x: "a", lambda x: [x, {"b": x}], len, raises,
)  # fmt: skip


@campaign("exact.evaluate, derivative", 600, 15)
def test_exact(draw, outcomes, folder):
    f = draw.or_sound(jnp.exp, st.one_of(*[st.sampled_from(FUNCTIONS)] * 4, things))
    x = draw.or_sound(
        jnp.array([0.5, 2.0]), st.one_of(arrays(shape=(2,)), arrays(shape=()), anything)
    )
    extra = {"digits": 20} | options(
        draw, digits=st.sampled_from([1, 50, 10**9]), dtype=st.sampled_from(["float32", "int32"])
    )
    if isinstance(extra["digits"], int) and extra["digits"] > 300:
        extra["digits"] = 10**9
    if draw(st.booleans()):
        outcomes.hold(lambda: exact.evaluate(f, x, **extra), f, x, extra)
    else:
        direction = draw.or_sound(x, anything)
        outcomes.hold(lambda: exact.derivative(f, x, direction, **extra), f, x, direction, extra)


@campaign("explain", 300, 8)
def test_explain(draw, outcomes, folder):
    at = (jnp.array([0.5, -2.0]), jnp.float32(3))
    of = draw.or_sound(energy, st.one_of(st.sampled_from(NOT_LOSSES), things))
    args = spoiled(draw, at) if draw(st.booleans()) else at
    extra = options(
        draw, argnums=st.sampled_from([0, 1, (0, 1), (), -3, "0", 10**30]), name=st.just("<script>"),
        gradient=st.sampled_from(GRADIENTS),
    )  # fmt: skip

    def call():
        made = hg.explain(of, at=args, **extra)
        return str(made), as_html(made), as_data(made)

    outcomes.hold(call, of, args, extra)


@campaign("load: things that are no path", 100, 15)
def test_load_things(draw, outcomes, folder):
    name = draw.or_sound("iris", things)
    target = draw.or_sound(None, st.one_of(st.just("label"), things))
    outcomes.hold(lambda: hg.load(name, target), name, target)


def test_draws_are_of_many_kinds():
    """The lists have what the rule speaks of."""
    kinds = {type(value) for value in itertools.chain(HUGE, SPECIAL)}
    assert kinds == {int, float}
    assert isinstance(optax.sgd(0.1), optax.GradientTransformation)
