"""Drop-in losses: optax's values and derivatives to every order asked, in every transformation.

Along any axes, under masks, for any two dtypes and at infinite logits; and the loss of the output
layer of a language model.
"""

import itertools
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from jax.test_util import check_grads

from handgrad import losses
from handgrad._precision import x64
from handgrad.errors import InputError

RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.normal(size=(5, 4))
SOFT = RNG.dirichlet(np.ones(4), size=5)
CLASSES = np.array([0, 3, 1, 2, 0])

# Ours, optax's, and labels for LOGITS.
PAIRS = {
    "binary": (losses.sigmoid_binary_cross_entropy, optax.sigmoid_binary_cross_entropy, SOFT),
    "binary hard": (
        losses.sigmoid_binary_cross_entropy,
        optax.sigmoid_binary_cross_entropy,
        (SOFT > 0.3).astype(float),
    ),
    "categorical": (losses.softmax_cross_entropy, optax.softmax_cross_entropy, SOFT),
    "one-hot": (losses.softmax_cross_entropy, optax.softmax_cross_entropy, np.eye(4)[CLASSES]),
    "integer": (
        losses.softmax_cross_entropy_with_integer_labels,
        optax.softmax_cross_entropy_with_integer_labels,
        CLASSES,
    ),
}
SMOOTH = {name: pair for name, pair in PAIRS.items() if name != "integer"}


@pytest.fixture(autouse=True)
def float64():
    with x64():
        yield


def arrays(labels):
    return jnp.asarray(LOGITS), jnp.asarray(labels)


def total(loss):
    return lambda z, y: loss(z, y).sum()


# --- against optax --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
def test_the_value_is_that_of_optax(name):
    ours, theirs, labels = PAIRS[name]
    np.testing.assert_allclose(jax.jit(ours)(*arrays(labels)), theirs(*arrays(labels)), rtol=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_the_gradient_is_that_of_optax(name):
    ours, theirs, labels = PAIRS[name]
    hand, auto = (jax.jit(jax.grad(total(f)))(*arrays(labels)) for f in (ours, theirs))
    np.testing.assert_allclose(hand, auto, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_cotangent_of_the_labels_is_that_of_optax(name):
    ours, theirs, labels = SMOOTH[name]
    hand, auto = (jax.jit(jax.grad(total(f), 1))(*arrays(labels)) for f in (ours, theirs))
    np.testing.assert_allclose(hand, auto, rtol=1e-14, atol=1e-14)


ORDERS = {
    "forward over reverse": lambda f: jax.jacfwd(jax.jacrev(f)),
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(f)),
    "reverse over reverse": lambda f: jax.jacrev(jax.jacrev(f)),
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
}


def in_every_order(loss, at):
    """Second derivatives, by each way to take them, in one program."""
    return jax.jit(lambda at: {name: order(loss)(at) for name, order in ORDERS.items()})(at)


@pytest.mark.parametrize("name", ["categorical", "integer"])
def test_the_hessian_is_that_of_optax(name):
    """Where labels have derivatives too, it is a part of the next test."""
    ours, theirs, labels = PAIRS[name]
    z, y = jnp.asarray(LOGITS[0]), jnp.asarray(labels[0])
    auto = jax.jit(jax.hessian(lambda a: theirs(a, y).sum()))(z)
    for order, hand in in_every_order(lambda a: ours(a, y).sum(), z).items():
        np.testing.assert_allclose(hand, auto, rtol=0, atol=1e-14, err_msg=order)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_second_derivative_in_logits_and_labels_is_that_of_optax(name):
    ours, theirs, labels = SMOOTH[name]
    both = jnp.asarray(np.stack([LOGITS[0], labels[0]]))
    auto = jax.jit(jax.hessian(lambda b: theirs(b[0], b[1]).sum()))(both)
    for order, hand in in_every_order(lambda b: ours(b[0], b[1]).sum(), both).items():
        np.testing.assert_allclose(hand, auto, rtol=0, atol=1e-14, err_msg=order)


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_to_order_two_are_those_of_finite_differences(name):
    ours, _, labels = SMOOTH[name]
    z, y = jnp.asarray(LOGITS[:2]), jnp.asarray(labels[:2])
    check_grads(jax.jit(ours), (z, y), order=2, modes=("fwd", "rev"))


def test_derivatives_to_order_two_for_integer_labels():
    y = jnp.asarray(CLASSES[:2])
    loss = jax.jit(lambda z: losses.softmax_cross_entropy_with_integer_labels(z, y))
    check_grads(loss, (jnp.asarray(LOGITS[:2]),), order=2, modes=("fwd", "rev"))


# --- transformations ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
def test_vmap_over_examples_is_the_batch(name):
    ours, _, labels = PAIRS[name]
    z, y = arrays(labels)
    np.testing.assert_allclose(jax.jit(jax.vmap(ours))(z, y), jax.jit(ours)(z, y), rtol=1e-15)
    each = jax.jit(jax.vmap(jax.grad(total(ours))))(z, y)
    np.testing.assert_allclose(each, jax.jit(jax.grad(total(ours)))(z, y), rtol=1e-14, atol=1e-17)


@pytest.mark.parametrize("name", PAIRS)
def test_jvp_is_the_gradient_along_the_tangent(name):
    ours, _, labels = PAIRS[name]
    z, y = arrays(labels)
    t = jnp.asarray(np.random.default_rng(1).normal(size=z.shape))
    along = jax.jit(lambda z, t: jax.jvp(lambda a: total(ours)(a, y), (z,), (t,))[1])(z, t)
    gradient = np.asarray(jax.jit(jax.grad(total(ours)))(z, y))
    assert float(along) == pytest.approx((gradient * np.asarray(t)).sum(), rel=1e-13)


def test_any_leading_axes_will_do():
    z = RNG.normal(size=(2, 3, 4))
    integer = jax.jit(losses.softmax_cross_entropy_with_integer_labels)
    assert integer(z, np.zeros((2, 3), int)).shape == (2, 3)
    assert jax.jit(losses.sigmoid_binary_cross_entropy)(z[0, 0, 0], np.float64(1)).shape == ()


@pytest.mark.parametrize("labels", [np.array([0, 1]), np.array([False, True])], ids=["int", "bool"])
def test_hard_binary_labels_need_not_be_floats(labels):
    gradient = jax.grad(lambda z: losses.sigmoid_binary_cross_entropy(z, jnp.asarray(labels)).sum())
    np.testing.assert_allclose(jax.jit(gradient)(np.zeros(2)), [0.5, -0.5])


# --- better than autodiff -------------------------------------------------------------------------


FAR = np.array([17, 50, 80], np.float32)
SMALL = 1 / (1 + np.exp(FAR.astype(float)))


@pytest.mark.digits
def test_a_sure_hit_has_a_gradient_and_a_curvature_in_float32():
    """σ(−z) both; the gradients of a rounded probability would be 0."""
    slope = jax.grad(losses.sigmoid_binary_cross_entropy)
    for way, expected in ((slope, -SMALL), (jax.grad(slope), SMALL)):
        found = jax.jit(jax.vmap(way))(FAR, np.ones(3, np.float32))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.digits
def test_a_sure_class_has_a_gradient_and_a_curvature_in_float32():
    loss = losses.softmax_cross_entropy_with_integer_labels
    z, first = np.stack([FAR, 0 * FAR], axis=1), np.zeros(3, np.int32)
    signs = np.array([-1, 1])
    for way, expected in (
        (jax.grad(loss), SMALL[:, None] * signs),
        (jax.hessian(loss), SMALL[:, None, None] * np.outer(signs, signs)),
    ):
        np.testing.assert_allclose(jax.jit(jax.vmap(way))(z, first), expected, rtol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_extreme_logits_have_finite_gradients_to_order_two(name):
    ours, _, labels = PAIRS[name]
    z, y = jnp.asarray([1e4, -1e4, 3e38, -3e38]), jnp.asarray(labels[0])
    for way in (jax.grad, jax.hessian):
        assert np.isfinite(np.asarray(jax.jit(way(lambda a: ours(a, y).sum()))(z))).all()


# --- along any axes, and under masks --------------------------------------------------------------

CUBE = RNG.normal(size=(2, 3, 4))
MASK = np.array([[[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], [[1, 1, 1, 1], [0, 1, 1, 0], [0] * 4]])
AXES = {
    "first": 0,
    "middle": 1,
    "last": 2,
    "from the end": -2,
    "two": (0, 2),
    "two in another order": (-1, 0),
    "two at the end": (-2, -1),
}


def mask_for(kind, axis):
    """Per logit, per example, or one row for all examples, as booleans."""
    whole = MASK.astype(bool)
    masks = {"logits": whole, "row": whole[:1], "examples": whole.any(axis)}
    return None if kind == "none" else jnp.asarray(masks[kind])


def same_as_optax(name, labels, **options):
    """Value and gradients of the loss called `name`; optax's may be NaN, in what is left out."""
    ours, theirs = getattr(losses, name), getattr(optax, name)
    argnums = 0 if jnp.issubdtype(labels.dtype, jnp.integer) else (0, 1)

    def both(z, y):
        weights = jnp.cos(jnp.arange(jax.eval_shape(partial(theirs, **options), z, y).size))
        found = []
        for loss in (ours, theirs):

            def weighted(z, y, loss=loss):
                value = loss(z, y, **options)
                return (value.ravel() * weights).sum(), value

            found.append(jax.value_and_grad(weighted, argnums, has_aux=True)(z, y))
        return found

    hand, auto = jax.device_get(jax.jit(both)(jnp.asarray(CUBE), labels))
    for a, b in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
        assert a.shape == b.shape
        assert np.isfinite(a).all()
        known = ~np.isnan(b)
        np.testing.assert_allclose(a[known], b[known], rtol=1e-13, atol=1e-14)


def axes_and_masks(*masks):
    """Each axis under one of the masks, in turn; the other pairs are a long proof."""
    return [
        pytest.param(axis, mask, marks=[] if i % len(masks) == j else pytest.mark.slow,
                     id=f"{name}-{mask}")
        for i, (name, axis) in enumerate(AXES.items())
        for j, mask in enumerate(masks)
    ]  # fmt: skip


@pytest.mark.parametrize(("axis", "mask"), axes_and_masks("logits", "none", "examples", "row"))
def test_probabilities_along_any_axis_are_as_in_optax(axis, mask):
    labels = jnp.asarray(RNG.uniform(size=CUBE.shape))
    where = mask_for(mask, axis)
    same_as_optax("softmax_cross_entropy", labels, axis=axis, where=where)


def test_probabilities_over_all_axes_are_as_in_optax():
    labels = jnp.asarray(RNG.uniform(size=CUBE.shape))
    for where in (None, mask_for("logits", None)):
        same_as_optax("softmax_cross_entropy", labels, axis=None, where=where)


@pytest.mark.parametrize(("axis", "mask"), axes_and_masks("none", "logits", "examples"))
def test_classes_along_any_axis_are_as_in_optax(axis, mask):
    """Several labels are left out by the mask of logits: optax takes their logit all the same."""
    classes = np.prod([CUBE.shape[a] for a in np.atleast_1d(axis)])
    batch = [n for a, n in enumerate(CUBE.shape) if a not in np.atleast_1d(axis) % 3]
    labels = jnp.asarray(RNG.integers(classes, size=batch))
    where = mask_for(mask, axis)
    same_as_optax("softmax_cross_entropy_with_integer_labels", labels, axis=axis, where=where)


def test_a_mask_is_the_same_as_leaving_out():
    keep = np.array([True, False, True, True])
    loss = jax.jit(losses.softmax_cross_entropy)
    masked = loss(LOGITS, SOFT, where=keep[None])
    np.testing.assert_allclose(masked, loss(LOGITS[:, keep], SOFT[:, keep]), rtol=1e-15)


@pytest.mark.parametrize("name", ["one-hot", "integer"])
def test_what_a_mask_leaves_out_may_be_anything(name):
    """Values and gradients are those without it, forwards and backwards."""
    ours, _, labels = PAIRS[name]
    z, y = LOGITS[0].copy(), jnp.asarray(labels[0])
    loss = partial(ours, where=jnp.asarray([True, False, True, True]))
    every = jax.jit(lambda z: (loss(z, y), jax.jacfwd(loss)(z, y), jax.jacrev(loss)(z, y)))
    expected = jax.device_get(every(z))
    for hole in (np.nan, np.inf, -np.inf):
        z[1] = hole
        for found, wanted in zip(every(z), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert expected[1][1] == expected[2][1] == 0


@pytest.mark.parametrize("name", ["one-hot", "integer"])
def test_an_example_without_a_class_costs_nothing_and_pulls_nowhere(name):
    ours, _, labels = PAIRS[name]
    mask = np.array([True, False, True, True, False])
    pull = jax.jit(jax.value_and_grad(lambda z, y: ours(z, y, where=jnp.asarray(mask)).sum()))
    value, gradient = jax.device_get(pull(LOGITS, labels))
    kept = jax.jit(total(ours))(LOGITS[mask], labels[mask])
    np.testing.assert_allclose(value, kept, rtol=1e-14)
    assert ((gradient != 0).any(axis=1) == mask).all()


def test_options_under_jit_and_vmap():
    z, y = jnp.asarray(CUBE), jnp.asarray(RNG.integers(3, size=(2, 4)))
    loss = losses.softmax_cross_entropy_with_integer_labels
    theirs = optax.softmax_cross_entropy_with_integer_labels
    expected = jax.jit(partial(theirs, axis=1))(z, y)
    static = jax.jit(loss, static_argnames="axis")
    for way in (partial(static, axis=-2), jax.jit(jax.vmap(partial(loss, axis=0)))):
        np.testing.assert_allclose(way(z, y), expected, rtol=1e-14)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"axis": 3}, "axis: expected axes of 3 dimensions, got 3"),
        ({"axis": (0, -4)}, r"axis: expected axes of 3 dimensions, got \(0, -4\)"),
        ({"axis": 1.0}, "axis: expected axes of 3 dimensions, got 1.0"),
        ({"axis": (1, -2)}, r"axis: expected each axis once, got \(1, -2\)"),
        ({"where": np.ones((2, 3, 4))}, "where: expected booleans, got float64"),
        ({"where": np.ones(4, bool)}, r"where: expected a shape that broadcasts to \(2, 3, 4\)"),
        ({"where": np.ones((2, 3, 3), bool)}, "where: expected a shape that broadcasts to"),
        ({"where": [True]}, "where: expected an array of numbers, got list"),
    ],
    ids=["outside", "outside too", "half", "twice", "numbers", "other rank", "other size", "list"],
)
def test_axes_and_masks_that_cannot_be_are_refused(options, words):
    z = jnp.asarray(CUBE)
    with pytest.raises(InputError, match=words):
        losses.softmax_cross_entropy(z, jax.nn.softmax(z), **options)


# --- infinite logits -----------------------------------------------------------------------------

INFINITE = {
    "masked, right": (-np.inf, 0.0, 0.0, 0.0),
    "masked, wrong": (-np.inf, 1.0, np.inf, -1.0),
    "sure, right": (np.inf, 1.0, 0.0, 0.0),
    "sure, wrong": (np.inf, 0.0, np.inf, 1.0),
}


def derivatives(loss, argnums=0):
    """The first derivative forwards and backwards, and the second in every order."""

    def every(*args):
        first = [way(loss, argnums)(*args) for way in (jax.jacfwd, jax.jacrev)]
        return first, in_every_order(lambda at: loss(at, *args[1:]), args[0])

    return jax.jit(every)


def test_an_infinite_binary_logit_has_the_limit():
    """Value, slope in the logit, ±∞ in the label, and second derivatives, in every mode."""
    of_both = derivatives(lambda both: losses.sigmoid_binary_cross_entropy(both[0], both[1]))
    for z, y, value, slope in INFINITE.values():
        first, second = of_both(jnp.asarray([z, y]))
        assert losses.sigmoid_binary_cross_entropy(jnp.asarray(z), jnp.asarray(y)) == value
        for gradient in first:
            assert gradient.tolist() == [slope, -z]
        for hessian in second.values():
            assert hessian.tolist() == [[0, -1], [-1, 0]]


@pytest.mark.parametrize("name", ["categorical", "integer"])
def test_a_class_masked_by_minus_infinity_is_as_if_it_were_not_there(name):
    rest, loss = np.array([0, 2, 3]), PAIRS[name][0]
    z, soft = LOGITS[0].copy(), np.array([0.2, 0, 0.5, 0.3])
    z[1] = -np.inf
    y, fewer = (soft, soft[rest]) if name == "categorical" else (np.array(2), np.array(1))
    every, loss = derivatives(loss), jax.jit(loss)
    (slope, _), second = jax.device_get(every(z[rest], fewer))
    first, infinite = jax.device_get(every(z, y))
    np.testing.assert_allclose(loss(z, y), loss(z[rest], fewer), rtol=1e-14)
    for found in first:
        np.testing.assert_allclose(found[rest], slope, rtol=1e-14)
        assert found[1] == 0
    for order, found in infinite.items():
        np.testing.assert_allclose(found[np.ix_(rest, rest)], second[order], rtol=1e-13)
        assert (found[1] == 0).all()
        assert (found[:, 1] == 0).all()


def test_the_label_of_a_masked_class_has_an_infinite_slope_and_the_others_their_own():
    z, y = LOGITS[0].copy(), np.array([0.2, 0, 0.5, 0.3])
    z[1] = -np.inf
    z = jnp.asarray(z)
    first, _ = derivatives(lambda y: losses.softmax_cross_entropy(z, y))(y)
    for found in first:
        np.testing.assert_allclose(found, -scipy.special.log_softmax(z), rtol=1e-14)
    mixed = scipy.special.softmax(z)[:, None] - np.eye(4)  # ∂²ℓ/∂z_i∂y_j
    ways = list(itertools.product((jax.jacfwd, jax.jacrev), repeat=2))

    @jax.jit
    def every(z, y):
        loss = losses.softmax_cross_entropy
        by_logits_first = [inner(outer(loss, 0), 1)(z, y) for inner, outer in ways]
        return by_logits_first, [inner(outer(loss, 1), 0)(z, y).T for inner, outer in ways]

    for found in itertools.chain(*every(z, y)):
        np.testing.assert_allclose(found, mixed, atol=1e-14)


def test_a_masked_class_that_came_costs_infinity():
    z, y = jnp.asarray([0.0, -jnp.inf]), jnp.asarray([0.9, 0.1])
    assert losses.softmax_cross_entropy(z, y) == jnp.inf
    assert losses.softmax_cross_entropy_with_integer_labels(z, jnp.asarray(1)) == jnp.inf


# --- dtypes --------------------------------------------------------------------------------------

MIXED = [
    ("bfloat16", "float32", "float32"),
    ("float16", "float32", "float32"),
    ("float32", "bfloat16", "float32"),
    ("bfloat16", "float16", "float32"),
    ("float32", "float64", "float64"),
    ("bfloat16", "bfloat16", "bfloat16"),
]


@pytest.mark.digits
@pytest.mark.parametrize(("of_logits", "of_labels", "of_loss"), MIXED, ids=str)
def test_labels_may_be_wider_than_logits(of_logits, of_labels, of_loss):
    """The usual mixed precision: a gradient has its argument's dtype, the loss the wider one."""
    z, y = jnp.asarray(LOGITS, of_logits), jnp.asarray(SOFT, of_labels)
    loss = losses.softmax_cross_entropy

    @jax.jit
    def every(z, y):
        value, pull = jax.vjp(loss, z, y)
        return value, pull(jnp.ones_like(value)), jax.jvp(loss, (z, y), (z, y))[1]

    value, (by_logits, by_labels), along = every(z, y)
    truth, (slope, _), _ = every(*(jnp.asarray(a, "float64") for a in (z, y)))
    assert value.dtype == along.dtype == of_loss
    assert (by_logits.dtype, by_labels.dtype) == (of_logits, of_labels)
    eps = float(jnp.finfo(of_loss).eps)
    np.testing.assert_allclose(jnp.asarray(value, "float64"), truth, rtol=4 * eps)
    eps = max(eps, float(jnp.finfo(of_logits).eps))
    np.testing.assert_allclose(jnp.asarray(by_logits, "float64"), slope, rtol=0, atol=2 * eps)


@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
def test_binary_losses_have_the_dtype_of_the_logits(narrow):
    z, y = jnp.asarray(LOGITS, narrow), jnp.asarray(SOFT, "float32")
    ours, theirs = losses.sigmoid_binary_cross_entropy, optax.sigmoid_binary_cross_entropy
    assert {jax.eval_shape(loss, z, y).dtype for loss in (ours, theirs)} == {jnp.dtype(narrow)}
    gradients = jax.jit(jax.grad(total(ours), (0, 1)))(z, y)
    assert [g.dtype for g in gradients] == [narrow, "float32"]


# --- the output layer of a language model --------------------------------------------------------


def layer(dtype):
    """Hidden states, a weight and labels, all of them multiples of 1/8."""
    rng = np.random.default_rng(4)
    h, w = rng.integers(-4, 5, (6, 3)), rng.integers(-4, 5, (3, 11)) / 8
    return jnp.asarray(h, dtype), jnp.asarray(w, dtype), jnp.asarray(rng.integers(0, 11, 6))


@pytest.mark.digits
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_offset_of_all_words_takes_no_digit_from_the_fused_loss(smoothing):
    """Logits of 1e6 and a few eighths are exact in float32, and their differences too."""
    h, w, y = layer("float32")
    loss = jax.jit(
        partial(losses.linear_softmax_cross_entropy, labels=y, label_smoothing=smoothing)
    )
    h = np.concatenate([h, np.ones((6, 1), h.dtype)], axis=1)
    plain, moved = (
        loss(h, np.concatenate([w, np.full((1, 11), offset, w.dtype)])) for offset in (0, 1e6)
    )
    assert moved == plain


@pytest.mark.digits
def test_a_fused_loss_in_bfloat16_is_not_rounded_to_it():
    h, w, y = layer("bfloat16")
    three = jax.jit(lambda h, w, y: 3 * losses.linear_softmax_cross_entropy(h, w, y))
    value, (by_hidden, by_weight) = jax.jit(jax.value_and_grad(three, (0, 1)))(h, w, y)
    assert value.dtype == "float32"
    assert by_hidden.dtype == by_weight.dtype == "bfloat16"
    assert value == three(*layer("float32"))


# --- training a user's own network ----------------------------------------------------------------

FEATURES = RNG.normal(size=(40, 3))
TARGETS = {
    "binary": (FEATURES[:, :1] * FEATURES[:, 1:2] > 0).astype(float),
    "categorical": np.eye(3)[FEATURES.argmax(axis=1)],
    "integer": FEATURES.argmax(axis=1),
}


def plain_network(outputs):
    """Two layers in a dictionary, and how to apply them."""
    rng = np.random.default_rng(3)
    params = {
        "hidden": jnp.asarray(rng.normal(size=(3, 8)) / 2),
        "out": jnp.asarray(rng.normal(size=(8, outputs)) / 2),
    }
    return params, lambda p, x: jnp.tanh(x @ p["hidden"]) @ p["out"]


def equinox_network(outputs):
    """Two layers as Equinox's own MLP."""
    network = eqx.nn.MLP(3, outputs, 8, 1, key=jax.random.key(3), dtype=jnp.float64)
    arrays, rest = eqx.partition(network, eqx.is_array)
    return arrays, lambda p, x: jax.vmap(eqx.combine(p, rest))(x)


def trained(network, loss, targets):
    """Parameters before and after a hundred steps of gradient descent with momentum."""
    params, apply = network(1 if targets.shape == (40, 1) else 3)
    x, y = jnp.asarray(FEATURES), jnp.asarray(targets)
    optimizer = optax.sgd(0.1, momentum=0.9)
    gradient = jax.grad(lambda p: loss(apply(p, x), y).mean())

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(gradient(params), state)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), length=100)[0][0])
    return params, run(params)


@pytest.mark.parametrize(
    ("network", "name"),
    [*((plain_network, name) for name in TARGETS), (equinox_network, "integer")],
)
def test_a_hundred_steps_lead_where_those_of_optax_lead(network, name):
    ours, theirs, _ = PAIRS[name]
    start, hand = trained(network, ours, TARGETS[name])
    _, auto = trained(network, theirs, TARGETS[name])
    start, hand, auto = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
        for tree in (start, hand, auto)
    )
    assert abs(auto - start).max() > 0.1  # it went somewhere
    assert abs(hand - auto).max() <= 1e-9 * abs(auto).max()


# --- labels that cannot be ------------------------------------------------------------------------


@pytest.mark.parametrize("label", [-1, 4])
def test_a_class_out_of_range_gives_nan_in_the_value_and_in_the_gradient(label):
    loss = losses.softmax_cross_entropy_with_integer_labels
    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.zeros(4), jnp.asarray(label))
    assert jnp.isnan(value)
    assert jnp.isnan(gradient).all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("loss", "labels", "words"),
    [
        ("sigmoid_binary_cross_entropy", (5, 1), r"y: expected the shape of the logits, \(5, 4\)"),
        ("softmax_cross_entropy", (5, 1), r"y: expected the shape of the logits, \(5, 4\)"),
        ("softmax_cross_entropy", (5,), r"y: expected the shape of the logits, \(5, 4\), got"),
        ("softmax_cross_entropy_with_integer_labels", (5, 1), r"y: expected integer class indic"),
    ],
)
def test_labels_that_do_not_fit_are_refused(loss, labels, words):
    integer = loss.endswith("labels")
    with pytest.raises(InputError, match=words):
        getattr(losses, loss)(jnp.asarray(LOGITS), jnp.zeros(labels, int if integer else float))
