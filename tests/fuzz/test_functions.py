"""Arrays and other things given to the functions of the mathematics, the losses and `fast`."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from fuzz.harness import WHOLE, campaign
from fuzz.strategies import SPECIAL, anything, arrays, things
from handgrad import losses
from handgrad.catalogue import CASES
from handgrad.fast import linear_cross_entropy, newton, one_pass, per_example
from handgrad.gradients import (
    bernoulli,
    cross_entropy,
    linear,
    logistic,
    mlp,
    perceptron,
    sigmoid,
    softmax,
    softmax_regression,
    squared_error,
)
from handgrad.gradients import linear_cross_entropy as direct


@functools.cache
def example(name):
    return next(e for e in CASES if e.name == name).example(jax.random.key(0))


def spoiled(draw, args):
    """The arguments with one leaf, or one whole argument, replaced by something else."""
    if draw.sound:
        return tuple(args)
    args = list(args)
    which = draw(st.integers(0, len(args) - 1))
    leaves, tree = jax.tree.flatten(args[which])
    how = draw(st.sampled_from(["leaf", "leaf", "value", "value", "dtype", "shape", "argument"]))
    place = draw(st.integers(0, max(0, len(leaves) - 1)))
    if how == "argument" or not leaves:
        args[which] = draw(anything)
        return tuple(args)
    leaf = np.asarray(leaves[place])
    if how == "leaf":
        leaves[place] = draw(anything)
    elif how == "value" and leaf.size:
        changed = np.array(leaf)
        with np.errstate(all="ignore"):
            value = draw(st.sampled_from(SPECIAL))
            if np.issubdtype(leaf.dtype, np.integer):
                value = int(np.clip(np.nan_to_num(value), -(2**31), 2**31 - 1))
            changed.reshape(-1)[draw(st.integers(0, leaf.size - 1))] = value
        numeric = changed.dtype.kind in "fiu" and draw(st.booleans())
        with np.errstate(all="ignore"):  # float64 becomes float32
            leaves[place] = jnp.asarray(changed) if numeric else changed
    elif how == "dtype":
        leaves[place] = draw(arrays(shape=leaf.shape))
    else:
        leaves[place] = draw(st.sampled_from([leaf[None], leaf.ravel()[:1], leaf.T, leaf[..., None],
                                              leaf.tolist(), leaf[:0] if leaf.ndim else leaf]))  # fmt: skip
    args[which] = jax.tree.unflatten(tree, leaves)
    return tuple(args)


@campaign("every catalogue gradient and loss", 2_000, 8)
def test_catalogue(draw, outcomes, folder):
    entry = draw(st.sampled_from(CASES))
    args = spoiled(draw, example(entry.name))
    function = draw(st.sampled_from([entry.gradient, entry.loss]))
    if entry.name.startswith("loss_"):  # its gradient is jax.grad itself
        function = entry.loss
    outcomes.hold(lambda: jax.block_until_ready(function(*args)), entry.name, args)


DATA = np.linspace(-2, 2, 36, dtype=np.float32).reshape(12, 3)
BINARY, CLASSES = np.arange(12) % 2, np.arange(12) % 4
ONE, FOUR = logistic.init(jax.random.key(1), 3), softmax_regression.init(jax.random.key(1), 3, 4)
TWO_LAYERS = mlp.init(jax.random.key(1), 3, 4, hidden=(5,))
Z, P = jnp.linspace(-3, 3, 12), jnp.linspace(0.1, 0.9, 12)
SCORES, SHARES = jnp.asarray(DATA), jnp.full((12, 3), 1 / 3)

MODELS = ((logistic, ONE, BINARY), (softmax_regression, FOUR, CLASSES), (mlp, TWO_LAYERS, CLASSES),
          (perceptron, ONE, BINARY))  # fmt: skip
MATHEMATICS = [
    *((getattr(room, name), (params, SCORES, y)[: 2 if name in ("logits", "predict") else 3])
      for room, params, y in MODELS
      for name in ("loss", "gradient", "value_and_gradient", "logits", "predict")),
    *((f, (Z,)) for name, f in inspect.getmembers(sigmoid, inspect.isfunction)
      if f.__module__ == sigmoid.__name__),
    *((f, (P, P)) for name, f in inspect.getmembers(bernoulli, inspect.isfunction)
      if f.__module__ == bernoulli.__name__ and list(inspect.signature(f).parameters) == ["p", "y"]),
    *((getattr(cross_entropy, name), (Z, P)) for name in (
        "binary", "binary_residual", "binary_residual_textbook", "binary_label_derivative",
        "binary_from_probabilities", "binary_from_probabilities_gradient")),
    *((getattr(cross_entropy, name), (SCORES, SHARES)) for name in (
        "categorical", "categorical_residual", "categorical_residual_textbook",
        "categorical_label_derivative", "categorical_from_probabilities",
        "categorical_from_probabilities_gradient")),
    *((f, (SCORES,) * len(inspect.signature(f).parameters))
      for name, f in inspect.getmembers(softmax, inspect.isfunction)
      if f.__module__ == softmax.__name__ and not name.startswith("_")),
    *((getattr(squared_error, name), (Z, P)) for name in (
        "squared_error", "squared_error_gradient", "from_logits", "from_logits_gradient")),
    (logistic.hessian, (ONE, SCORES, BINARY)), (logistic.hvp, (ONE, ONE, SCORES, BINARY)),
    (softmax_regression.hessian, (FOUR, SCORES, CLASSES)),
    (softmax_regression.hvp, (FOUR, FOUR, SCORES, CLASSES)),
    (perceptron.rule, (ONE, SCORES[0], jnp.float32(1))), (perceptron.mistakes, (ONE, SCORES, BINARY)),
    (direct.loss, (SCORES, SCORES[:3].T, BINARY)), (direct.gradient, (SCORES, SCORES[:3].T, BINARY)),
]  # fmt: skip


@campaign("gradients.*", 1_200, 16)
def test_mathematics(draw, outcomes, folder):
    function, good = draw(st.sampled_from(MATHEMATICS))
    args = spoiled(draw, good)
    name = f"{function.__module__}.{function.__name__}"
    outcomes.hold(lambda: jax.block_until_ready(function(*args)), name, args)


LOSSES = (
    (losses.sigmoid_binary_cross_entropy, (Z, P)),
    (losses.softmax_cross_entropy, (SCORES, SHARES)),
    (losses.softmax_cross_entropy_with_integer_labels, (SCORES, jnp.asarray(CLASSES % 3))),
    (losses.linear_softmax_cross_entropy, (SCORES, SCORES[:3].T, jnp.asarray(BINARY))),
)


@campaign("losses.*, and under jax.grad", 600, 8)
def test_losses(draw, outcomes, folder):
    function, good = draw(st.sampled_from(LOSSES))
    args = spoiled(draw, good)
    graded = isinstance(args[0], jax.Array) and jnp.issubdtype(args[0].dtype, jnp.floating)
    if graded and draw(st.booleans()):
        called = lambda *a: jax.grad(lambda z: jnp.sum(function(z, *a[1:])))(a[0])
    else:
        called = function
    outcomes.hold(lambda: jax.block_until_ready(called(*args)), function.__name__, args)


numbers = st.one_of(st.sampled_from([*SPECIAL, 1, 2, 3, 5, 0, -1, True, "1", 10**30]), things)


def options(draw, **choices):
    """Some of these options, each as it should be or not; none of them where all must be sound."""
    return {} if draw.sound else {
        name: draw(st.one_of(good, numbers)) for name, good in choices.items() if draw(st.integers(0, 3)) == 0
    }  # fmt: skip


@campaign("fast.one_pass, pack", 500, 6)
def test_one_pass(draw, outcomes, folder):
    params, y = draw(st.sampled_from([(ONE, BINARY), (FOUR, CLASSES)]))
    args = (params, DATA, y) if draw(st.integers(0, 3)) == 0 else spoiled(draw, (params, DATA, y))
    extra = options(draw, l2=st.sampled_from([0.0, 0.1]), rows=st.sampled_from([1, 5, 12, 100]))
    if draw(st.booleans()):
        called = lambda: one_pass.value_and_gradient(*args, **extra)
    else:
        rows = extra.pop("rows", None)
        called = lambda: one_pass.value_and_gradient(
            args[0], one_pass.pack(*args[1:], rows=rows), **extra
        )
    outcomes.hold(lambda: jax.block_until_ready(called()), args, extra)


@campaign("fast.newton", 500, 15)
def test_newton(draw, outcomes, folder):
    good = np.arange(12) // 3 % 2
    y = draw.or_sound(good, st.sampled_from([CLASSES, np.linspace(0.1, 0.9, 12)]))
    x = np.cos(np.arange(36.0)).reshape(12, 3)
    args = spoiled(draw, (draw.or_sound(None, st.sampled_from([ONE, FOUR])), x, y))
    extra = options(
        draw, l2=st.just(0.1), tol=st.just(1e-6), max_passes=st.just(9), seed=st.just(1)
    )
    outcomes.hold(lambda: newton.fit(*args, **extra), args, extra)


@campaign("fast.per_example", 400, 15)
def test_per_example(draw, outcomes, folder):
    args = spoiled(draw, (ONE, DATA, np.float32(BINARY)))
    extra = options(
        draw, learning_rate=st.just(0.1), epochs=st.sampled_from([1, 2]),
        order=arrays(shape=(12,), dtype="int32"), form=st.sampled_from(["plain", "gram", "auto", "no"]),
    )  # fmt: skip
    if isinstance(extra.get("epochs"), int) and extra["epochs"] > 1000:
        extra["epochs"] = 10**30
    outcomes.hold(
        lambda: jax.block_until_ready(per_example.per_example(*args, **extra)), args, extra
    )


@campaign("fast.linear_cross_entropy", 400, 10)
def test_linear_cross_entropy(draw, outcomes, folder):
    args = spoiled(draw, (DATA, np.float32(DATA[:3].T), BINARY))
    extra = options(
        draw, chunk=st.sampled_from([1, 5]), label_smoothing=st.just(0.1), ignore=st.just(-100),
        operands=st.sampled_from([jnp.bfloat16, "float16", "int32", "no"]),
        gradient_dtype=st.sampled_from([jnp.float32, "bfloat16", "U3"]),
        axis_name=st.none(), nonsense=st.none(),
    )  # fmt: skip
    extra.pop("axis_name", None)
    function = draw(
        st.sampled_from([linear_cross_entropy.value_and_gradient, linear_cross_entropy.loss])
    )
    outcomes.hold(lambda: jax.block_until_ready(function(*args, **extra)), args, extra)


@campaign("models: init and options", 300, 15)
def test_models(draw, outcomes, folder):
    key = draw.or_sound(jax.random.key(0), numbers)
    features, classes = (draw.or_sound(2, st.one_of(st.integers(1, 4), numbers)) for _ in "DK")
    hidden = draw.or_sound((4,), st.one_of(st.sampled_from([[3, 2], (), (0,)]), numbers))
    activation = draw.or_sound("tanh", st.one_of(st.just("relu"), numbers))
    dtype = draw.or_sound("float32", st.one_of(st.none(), numbers))
    l2 = draw.or_sound(0.1, numbers)
    which = draw(st.sampled_from([logistic, softmax_regression, mlp]))

    def call():
        made = mlp.model(hidden, activation, l2) if which is mlp else which.model(l2)
        return made.init(key, features, classes, dtype)

    outcomes.hold(call, which.__name__, key, features, classes, hidden, activation, dtype, l2)


def test_the_examples_are_right():
    """What is spoiled was right before; all of them by `make fuzz`."""
    for function, args in (*MATHEMATICS, *LOSSES)[:: 1 if WHOLE else 12]:
        jax.block_until_ready(function(*args))
    assert linear.Params is type(ONE)
