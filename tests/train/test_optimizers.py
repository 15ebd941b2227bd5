"""The update rules by hand against optax's, step by step in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.fast import newton
from handgrad.gradients import logistic
from handgrad.train import fit
from handgrad.train.loop import differentiable
from handgrad.train.optimizers import (
    HAND,
    OPTAX,
    adam,
    check_learning_rate,
    momentum,
    resolve,
    sgd,
)


@pytest.mark.parametrize("name", list(HAND))
def test_a_rule_equals_optax_over_200_steps(name):
    """On a badly scaled quadratic, leaves of several shapes."""
    with x64(), jax.numpy_dtype_promotion("standard"):  # optax's adam needs it
        scale = {"w": jnp.array([1.0, 30.0, 1e-3]), "b": jnp.array(0.5)}
        start = {"w": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array(-1.0)}

        sides = []
        for rules in (HAND, OPTAX):
            rule = rules[name](0.03)

            @jax.jit
            def step(carry, _, rule=rule):
                params, state = carry
                gradient = jax.tree.map(jnp.multiply, scale, params)
                updates, state = rule.update(gradient, state, params)
                params = optax.apply_updates(params, updates)
                return (params, state), jnp.append(params["w"], params["b"])

            sides.append(np.asarray(jax.lax.scan(step, (start, rule.init(start)), length=200)[1]))
        ours, theirs = sides
        assert ours.shape == (200, 4)
        assert ours.dtype == np.float64
        assert np.abs(ours - theirs).max() <= 1e-12 * np.abs(theirs).max()
        assert np.abs(ours[-1] - ours[0]).max() > 0.01


def test_the_formulas_by_arithmetic():
    """Two steps with gradients 1 and 3, worked on paper."""
    with x64():
        for rule, expected in (
            (sgd(0.1), (-0.1, -0.3)),
            (momentum(0.1, 0.5), (-0.1, -0.35)),
            (adam(0.1, 0.5, 0.5, 0.0), (-0.1, -0.1 * (7 / 3) / (19 / 3) ** 0.5)),
        ):
            params = jnp.array(0.0)
            state = rule.init(params)
            for gradient, wanted in zip((1.0, 3.0), expected, strict=True):
                update, state = rule.update(jnp.array(gradient), state, params)
                np.testing.assert_allclose(update, wanted, rtol=1e-14)


@pytest.mark.parametrize("name", list(HAND))
def test_a_rule_keeps_the_dtype(name, dtype):
    params = jnp.ones((3,), dtype)
    rule = HAND[name](0.1)
    update, _ = rule.update(params, rule.init(params), params)
    assert update.dtype == dtype


def test_resolve():
    chosen = optax.sgd(0.3)
    assert resolve(chosen, None) is chosen
    assert isinstance(resolve("sgd", None), optax.GradientTransformation)
    assert isinstance(resolve("adam", np.float32(0.1)), optax.GradientTransformation)
    assert set(HAND) == set(OPTAX)


@pytest.mark.parametrize("rate", [0, 0.0, -0.1, float("nan"), float("inf"), 1e39, 1e-60, True, "a"])
def test_a_rate_that_is_none(rate):
    with pytest.raises(
        InputError, match=r"learning_rate: expected a finite number above 0, got .*; pass 0.1"
    ):
        check_learning_rate(rate)


def test_an_unknown_rule():
    with pytest.raises(InputError, match=r"optimizer: expected one of sgd, .* got 'sdg'; name one"):
        resolve("sdg", 0.1)
    with pytest.raises(InputError, match=r"optimizer: .* got function; pass optax\.sgd\(0\.1\)"):
        resolve(optax.sgd, None)
    with pytest.raises(InputError, match=r"learning_rate: expected nothing beside an optax"):
        resolve(optax.sgd(0.1), 0.1)


@pytest.mark.parametrize("batch_size", ["full", pytest.param(32, marks=pytest.mark.slow)])
def test_a_rule_that_wants_the_loss_gets_it(breast_cancer, batch_size):
    """lbfgs searches along a line with the gradient by hand, and gets where Newton gets."""
    train, _ = breast_cancer
    rule = optax.lbfgs(memory_size=3)
    model = logistic.model(l2=0.01)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = fit(
            model, train.x, train.y, optimizer=rule, batch_size=batch_size, epochs=20, tol=None
        )
    if batch_size == "full":
        assert found.loss == pytest.approx(newton.fit(None, train.x, train.y, 0.01).loss, rel=1e-4)
    assert found.loss < 0.25


def test_the_loss_a_rule_is_given_has_the_gradient_by_hand():
    def wrong(params, x, y):
        return jnp.sum(params * x) + y, 3 * x  # not the gradient: to see that it is the one used

    loss = differentiable(lambda params: wrong(params, jnp.array([1.0, 2.0]), jnp.array(5.0)))
    value, gradient = jax.value_and_grad(loss)(jnp.array([1.0, 1.0]))
    assert float(value) == 8.0
    assert gradient.tolist() == [3.0, 6.0]
