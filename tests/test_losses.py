"""Drop-in losses: optax's values and derivatives to every order asked, in every transformation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
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


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", PAIRS)
def test_the_hessian_is_that_of_optax(name, order):
    ours, theirs, labels = PAIRS[name]
    z, y = jnp.asarray(LOGITS[0]), jnp.asarray(labels[0])
    hand = jax.jit(ORDERS[order](lambda a: ours(a, y).sum()))(z)
    auto = jax.jit(jax.hessian(lambda a: theirs(a, y).sum()))(z)
    np.testing.assert_allclose(hand, auto, rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", SMOOTH)
def test_the_mixed_second_derivative_in_logits_and_labels_is_that_of_optax(name, order):
    ours, theirs, labels = SMOOTH[name]
    both = jnp.asarray(np.stack([LOGITS[0], labels[0]]))
    hand = jax.jit(ORDERS[order](lambda b: ours(b[0], b[1]).sum()))(both)
    auto = jax.jit(jax.hessian(lambda b: theirs(b[0], b[1]).sum()))(both)
    np.testing.assert_allclose(hand, auto, rtol=0, atol=1e-14)


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
    z = jnp.asarray(RNG.normal(size=(2, 3, 4)))
    loss = losses.softmax_cross_entropy_with_integer_labels(z, jnp.zeros((2, 3), int))
    assert loss.shape == (2, 3)
    assert losses.sigmoid_binary_cross_entropy(z[0, 0, 0], jnp.float64(1)).shape == ()


@pytest.mark.parametrize("labels", [np.array([0, 1]), np.array([False, True])], ids=["int", "bool"])
def test_hard_binary_labels_need_not_be_floats(labels):
    gradient = jax.grad(lambda z: losses.sigmoid_binary_cross_entropy(z, jnp.asarray(labels)).sum())
    np.testing.assert_allclose(gradient(jnp.zeros(2)), [0.5, -0.5])


# --- better than autodiff -------------------------------------------------------------------------


@pytest.mark.parametrize("logit", [17.0, 50.0, 80.0])
def test_a_sure_hit_has_a_gradient_and_a_curvature_in_float32(logit):
    """σ(−z) both; the gradients of a rounded probability would be 0."""
    small = 1 / (1 + np.exp(logit))
    one, z = jnp.float32(1), jnp.float32(logit)
    slope = jax.grad(losses.sigmoid_binary_cross_entropy)
    assert float(slope(z, one)) == pytest.approx(-small, rel=1e-6)
    assert float(jax.grad(slope)(z, one)) == pytest.approx(small, rel=1e-6)


@pytest.mark.parametrize("logit", [17.0, 50.0, 80.0])
def test_a_sure_class_has_a_gradient_and_a_curvature_in_float32(logit):
    small = 1 / (1 + np.exp(logit))
    z, first = jnp.float32([logit, 0]), jnp.int32(0)
    loss = losses.softmax_cross_entropy_with_integer_labels
    np.testing.assert_allclose(jax.grad(loss)(z, first), [-small, small], rtol=1e-6)
    curvature = np.array([[1, -1], [-1, 1]]) * small
    np.testing.assert_allclose(jax.hessian(loss)(z, first), curvature, rtol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_extreme_logits_have_finite_gradients_to_order_two(name):
    ours, _, labels = PAIRS[name]
    z, y = jnp.asarray([1e4, -1e4, 3e38, -3e38]), jnp.asarray(labels[0])
    assert jnp.isfinite(jax.jit(jax.grad(lambda a: ours(a, y).sum()))(z)).all()
    assert jnp.isfinite(jax.jit(jax.hessian(lambda a: ours(a, y).sum()))(z)).all()


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


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("network", [plain_network, equinox_network])
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
        ("softmax_cross_entropy", (5,), r"y: expected integer indices of shape \(5,\) or probab"),
        ("softmax_cross_entropy_with_integer_labels", (5, 1), r"y: expected integer class indic"),
    ],
)
def test_labels_that_do_not_fit_are_refused(loss, labels, words):
    integer = loss.endswith("labels")
    with pytest.raises(InputError, match=words):
        getattr(losses, loss)(jnp.asarray(LOGITS), jnp.zeros(labels, int if integer else float))
