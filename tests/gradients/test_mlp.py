"""The multilayer perceptron: backpropagation against autodiff, and what it loses: convexity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.gradients import linear, logistic, mlp
from handgrad.gradients.mlp import ACTIVATIONS

DEPTHS = {"none": (), "one": (4,), "two": (4, 3), "three": (4, 3, 2)}


def drawn(hidden, classes=2, seed=0, soft=False):
    """Parameters with biases drawn too, features (9, 3), labels."""
    rng = np.random.default_rng(seed)
    widths, last = (3, *hidden), () if classes == 2 else (classes,)
    layers = tuple(
        linear.Params(
            jnp.asarray(rng.normal(size=(n, *out)) / 2), jnp.asarray(rng.normal(size=out))
        )
        for n, out in zip(widths, [*((h,) for h in hidden), last], strict=True)
    )
    labels = rng.uniform(size=(9, *last))
    if not soft:
        labels = labels.round() if classes == 2 else labels.argmax(axis=1)
    return mlp.Params(layers), jnp.asarray(rng.normal(size=(9, 3))), jnp.asarray(labels)


def assert_close(hand, auto, rtol):
    """Leaf by leaf, relative to the largest coordinate of the leaf."""
    assert jax.tree.structure(hand) == jax.tree.structure(auto)
    for a, b in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * abs(b).max())


# --- against autodiff -----------------------------------------------------------------------------


@pytest.mark.digits
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_derivative_is_that_of_autodiff(name, dtype):
    z = jnp.asarray([-2.5, -1.0, -0.1, 0.1, 1.0, 2.5], dtype)
    auto = jax.vmap(jax.grad(ACTIVATIONS[name].value))(z)
    # Autodiff of tanh and sigmoid cancels in 1 − y², 1 − σ: at 2.5 that costs 4 bits.
    rtol = 64 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(z), auto, rtol=rtol)


def depths_and_activations():
    """Each depth with one of the activations, in turn; the other pairs are a long proof."""
    return [
        pytest.param(activation, depth, classes, marks=[] if i % 3 == j else pytest.mark.slow,
                     id=f"{activation}-{depth}-{classes}")
        for i, (depth, classes) in enumerate(zip(DEPTHS, (3, 2, 3, 2), strict=True))
        for j, activation in enumerate(ACTIVATIONS)
    ]  # fmt: skip


@pytest.mark.parametrize(("activation", "depth", "classes"), depths_and_activations())
def test_backpropagation_is_autodiff(activation, depth, classes):
    with x64():
        model = mlp.model(DEPTHS[depth], activation, l2=0.1)
        data = drawn(DEPTHS[depth], classes)
        assert_close(jax.jit(model.gradient)(*data), jax.jit(jax.grad(model.loss))(*data), 1e-13)


@pytest.mark.digits
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backpropagation_is_autodiff_in_float32(activation):
    model, data = mlp.model((4, 3), activation), drawn((4, 3), 3)
    # 9 examples through three layers, some 20 roundings of about half an ulp each.
    rtol = 20 * float(jnp.finfo("float32").eps)
    assert_close(jax.jit(model.gradient)(*data), jax.jit(jax.grad(model.loss))(*data), rtol)


@pytest.mark.parametrize("classes", [2, 3], ids=["binary", "three-classes"])
def test_backpropagation_is_autodiff_for_soft_labels(classes):
    with x64():
        data = drawn((4,), classes, soft=True)
        assert_close(jax.jit(mlp.gradient)(*data), jax.jit(jax.grad(mlp.loss))(*data), 1e-13)


def test_backward_is_the_pullback_of_forward():
    with x64():
        params, x, _ = drawn((4, 3), 3)
        z, activations = jax.jit(lambda p, x: mlp.forward(p, x, "sigmoid"))(params, x)
        cotangent = jnp.asarray(np.random.default_rng(5).normal(size=z.shape))
        pull = jax.jit(lambda r: mlp.backward(r, activations, params, "sigmoid"))
        auto = jax.jit(lambda r: jax.vjp(lambda p: mlp.logits(p, x, "sigmoid"), params)[1](r)[0])
        assert_close(pull(cotangent), auto(cotangent), 1e-13)


def test_backward_is_linear_in_the_cotangent():
    with x64():
        params, x, _ = drawn((4,), 3)
        z, activations = mlp.forward(params, x)
        a, b = np.random.default_rng(6).normal(size=(2, *z.shape))
        pull = jax.jit(lambda r: ravel_pytree(mlp.backward(r, activations, params))[0])
        np.testing.assert_allclose(pull(2 * a - b), 2 * pull(a) - pull(b), rtol=0, atol=1e-13)


@pytest.mark.digits
def test_saturated_hidden_units_keep_their_small_gradient():
    """Hidden tanh at z = 12: 1 − tanh² is 0 in float32, and sech² is 1.5e-10."""
    params, x, y = drawn((1,))
    first, last = params.layers
    stuck = mlp.Params((first._replace(weight=0 * first.weight, bias=first.bias * 0 + 12), last))
    by_hand, by_autodiff = jax.jit(mlp.gradient), jax.jit(jax.grad(mlp.loss))
    assert (by_hand(stuck, x, y).layers[0].weight != 0).all()
    assert (by_autodiff(stuck, x, y).layers[0].weight == 0).all()


# --- what it is made of ---------------------------------------------------------------------------


def test_without_hidden_layers_it_is_logistic_regression():
    with x64():
        params, x, y = drawn(())
        value, gradient = mlp.model((), l2=0.2).value_and_gradient(params, x, y)
        alone_value, alone = logistic.model(l2=0.2).value_and_gradient(params.layers[0], x, y)
        assert value == alone_value
        assert (gradient.layers[0].weight == alone.weight).all()


@pytest.mark.parametrize("classes", [2, 3], ids=["binary", "three-classes"])
def test_predictions_are_probabilities(classes, dtype):
    params, x, _ = drawn((4,), classes)
    p = jax.jit(mlp.predict)(params, x)
    assert p.dtype == dtype
    assert ((p > 0) & (p < 1)).all()
    if classes > 2:
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=4 * float(jnp.finfo(dtype).eps))


def test_hidden_layers_bend_the_line():
    """XOR, which no line separates: relu(a + b), relu(a + b − 1) and −½ + h₁ − 2h₂ do."""
    hidden = linear.Params(jnp.ones((2, 2)), jnp.array([0.0, -1.0]))
    params = mlp.Params((hidden, linear.Params(jnp.array([1.0, -2.0]), jnp.array(-0.5))))
    x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert (mlp.predict(params, x, "relu") > 0.5).tolist() == [False, True, True, False]


def test_its_hessian_is_not_positive_semidefinite():
    """The loss of logistic regression is convex; one hidden layer ends that."""
    with x64():
        params, x, y = drawn((2,))
        flat, restore = ravel_pytree(params)
        hessian = jax.jit(jax.hessian(lambda v: mlp.loss(restore(v), x, y)))
        points = [flat, *np.random.default_rng(0).normal(size=(5, flat.size))]
        lowest = min(float(np.linalg.eigvalsh(hessian(point)).min()) for point in points)
        assert lowest < -1e-3


def test_the_penalty_pulls_on_every_weight_and_on_no_bias():
    with x64():
        params, x, y = drawn((4, 3), 3)
        free, ridge = (jax.jit(mlp.model(l2=l2).gradient)(params, x, y) for l2 in (0.0, 0.7))
        for layer, a, b in zip(params.layers, free.layers, ridge.layers, strict=True):
            np.testing.assert_allclose(b.weight - a.weight, 0.7 * layer.weight, rtol=0, atol=1e-14)
            assert (a.bias == b.bias).all()


def test_the_penalty_of_the_loss_is_half_lambda_times_the_squares_of_all_weights():
    with x64():
        params, x, y = drawn((4, 3), 3)
        squares = sum(np.square(layer.weight).sum() for layer in params.layers)
        free, ridge = (jax.jit(mlp.model(l2=l2).loss)(params, x, y) for l2 in (0.0, 0.7))
        added = float(ridge) - float(free)
        assert added == pytest.approx(0.35 * squares, rel=1e-13)


def test_float32_parameters_stay_float32_where_float64_is_enabled():
    data = drawn((4,))
    with x64():
        value, gradient = jax.eval_shape(mlp.model(l2=0.1).value_and_gradient, *data)
        assert value.dtype == "float32"
        assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("classes", "shapes"), [(2, [(3, 5), (5,)]), (4, [(3, 5), (5, 4)])], ids=["binary", "four"]
)
def test_init_gives_one_logit_for_two_classes_and_k_for_more(classes, shapes):
    params = mlp.init(jax.random.key(0), 3, classes, hidden=(5,))
    assert [layer.weight.shape for layer in params.layers] == shapes
    assert all((layer.bias == 0).all() for layer in params.layers)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        ((0,), "a whole number in 1..*, got 0"),
        ((4, -1), "a whole number in 1..*, got -1"),
        pytest.param(4, "a tuple of sizes, got 4", marks=pytest.mark.bad_input),
    ],
    ids=str,
)
def test_hidden_layers_without_units_are_refused(hidden, words):
    with pytest.raises(InputError, match=f"hidden: expected {words}"):
        mlp.init(jax.random.key(0), 3, hidden=hidden)
    with pytest.raises(InputError, match=f"hidden: expected {words}"):
        mlp.model(hidden)


def test_one_class_is_refused():
    with pytest.raises(InputError, match=r"classes: expected a whole number in 2\.\.2.*, got 1"):
        mlp.init(jax.random.key(0), 3, classes=1)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["gelu", None, []], ids=str)
def test_an_unknown_activation_is_refused_when_the_model_is_made(name):
    with pytest.raises(InputError, match="activation: expected one of sigmoid, tanh, relu, got"):
        mlp.model(activation=name)


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [mlp.loss, mlp.gradient])
@pytest.mark.parametrize(
    ("classes", "x", "y", "words"),
    [
        (2, (9, 3), jnp.zeros((9, 1)), r"y: expected the shape of the logits, \(9,\), got"),
        (3, (9, 3), jnp.zeros((9, 1), int), r"y: expected integer class indices of shape \(9,\)"),
        (2, (9, 2), jnp.zeros(9), r"x: expected 3 along axis 1"),
        (2, (0, 3), jnp.zeros(0), r"x: expected at least one example"),
    ],
    ids=["column-labels", "column-classes", "wrong-width", "empty"],
)
def test_data_that_do_not_fit_are_refused(function, classes, x, y, words):
    params, _, _ = drawn((4,), classes)
    with pytest.raises(InputError, match=words):
        function(params, jnp.zeros(x), y)
