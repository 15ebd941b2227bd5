"""Kinks: any value between the one-sided derivatives is right, nothing else is excused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.gradients import perceptron
from handgrad.verify import verify

pytestmark = pytest.mark.usefixtures("without_diagnosis")


def relu_total(z):
    return jnp.sum(jax.nn.relu(z))


def hinge(margin):
    return jnp.sum(jnp.maximum(1 - margin, 0))


def absolute(x):
    return jnp.sum(jnp.abs(x))


def step_with(at, convention, below, above):
    """A piecewise constant derivative with a convention at its kink."""

    def derivative(x):
        numbers = (jnp.asarray(value, x.dtype) for value in (convention, below, above))
        here, left, right = numbers
        return jnp.where(x == at, here, jnp.where(x < at, left, right))

    return derivative


def judged(gradient, of, *at, **options):
    return verify(gradient, of=of, at=tuple(np.array(a) for a in at), evaluations=0, **options)


VALID = {
    "relu 0": (step_with(0, 0, 0, 1), relu_total, [0.0, 1.0, -2.0]),
    "relu 0.5": (step_with(0, 0.5, 0, 1), relu_total, [0.0, 1.0, -2.0]),
    "hinge -0.3": (step_with(1, -0.3, -1, 0), hinge, [1.0, 0.5]),
    "abs -1": (step_with(0, -1, -1, 1), absolute, [0.0, -3.0]),
}
INVALID = {
    "relu 1.5": (step_with(0, 1.5, 0, 1), relu_total, [0.0, 1.0], "1.5 where 0 to 1 is right"),
    "relu -0.1": (step_with(0, -0.1, 0, 1), relu_total, [0.0, 1.0], "-0.1 where 0 to 1 is right"),
    "abs 1.01": (step_with(0, 1.01, -1, 1), absolute, [0.0, 2.0], "1.01 where -1 to 1 is right"),
}


@pytest.mark.parametrize("name", VALID)
def test_any_convention_between_the_one_sided_derivatives_passes(name):
    gradient, loss, at = VALID[name]
    verdict = judged(gradient, loss, at)
    assert (verdict.ok, verdict.hand) == (True, "valid subgradient"), str(verdict)
    convention = name.split()[-1]
    (note,) = [note for note in verdict.notes if re.match(r"kink at \w+\[0\]", note)]
    assert f"the gradient takes {convention}," in note


@pytest.mark.parametrize("name", INVALID)
def test_what_lies_outside_fails_and_says_what_would_be_right(name):
    gradient, loss, at, words = INVALID[name]
    verdict = judged(gradient, loss, at)
    assert (verdict.ok, verdict.hand, verdict.where[1:]) == (False, "different", "[0]")
    assert verdict.cause == words


@pytest.mark.parametrize(
    ("tied", "ok"),
    [((1, 0), True), ((0.25, 0.75), True), ((1, 1), False), ((0.5, 0.25), False)],
    ids=str,
)  # fmt: skip
def test_at_a_tie_of_max_the_parts_must_add_up(tied, ok):
    def gradient(x):
        return jnp.where(x == 2, jnp.asarray([*tied, 0], x.dtype), jnp.zeros_like(x))

    verdict = judged(gradient, jnp.max, [2.0, 2.0, 1.0])
    assert verdict.ok == ok, str(verdict)
    if not ok:
        assert f"together they give {sum(tied):g} where 1 is right" in verdict.cause


def test_the_perceptron_at_its_kink():
    params = perceptron.init(jax.random.key(0), 1, 2)
    zero = jax.tree.map(lambda leaf: np.zeros(leaf.shape), params)
    x, y = np.array([[1.0], [0.5]]), np.array([1.0, 0.0])
    verdict = verify(perceptron.gradient, of=perceptron.loss, at=(zero, x, y), evaluations=0)
    assert (verdict.ok, verdict.hand) == (True, "valid subgradient"), str(verdict)
    doubled = verify(
        lambda *args: jax.tree.map(lambda leaf: 3 * leaf + 5, perceptron.gradient(*args)),
        of=perceptron.loss, at=(zero, x, y), evaluations=0, dtypes=("float64",),
    )  # fmt: skip
    assert not doubled.ok


def test_a_kink_does_not_excuse_another_coordinate():
    def careless(z):
        return jnp.where(z >= 0, 1.0, 1e-6).astype(z.dtype)

    verdict = judged(careless, relu_total, [0.0, 1.0, -2.0], dtypes=("float64",))
    assert (verdict.ok, verdict.where) == (False, "z[2]")


def test_nor_does_it_hide_one_among_a_hundred():
    at = np.random.default_rng(0).normal(size=100)
    at[3] = 0

    def planted(z):
        error = jnp.zeros_like(z).at[77].set(1e-6)
        return step_with(0, 0.5, 0, 1)(z) + error

    verdict = judged(planted, relu_total, at, dtypes=("float64",))
    assert (verdict.ok, verdict.where) == (False, "z[77]")


def test_nor_an_overflow_at_another_coordinate():
    """expm1(z) / (exp(z) − 1) is 1, and inf / inf from 89 on in float32."""

    def overflows(z):
        safe = jnp.where(z == 0, jnp.ones_like(z), z)
        one = jnp.expm1(safe) / (jnp.exp(safe) - 1)
        return jnp.where(z == 0, jnp.asarray(0.5, z.dtype), jnp.where(z > 0, one, 0 * z))

    assert judged(overflows, relu_total, [0.0, 2.0]).ok
    verdict = judged(overflows, relu_total, [0.0, 100.0])
    assert (verdict.ok, verdict.hand) == (False, "valid subgradient")
    assert verdict.numerics[0].hand_bad == 1


def test_a_jump_of_the_loss_is_undecided():
    verdict = judged(jnp.zeros_like, lambda x: jnp.sum(jnp.sign(x)), [0.0, 1.0])
    assert (verdict.ok, verdict.hand) == (False, "undecided")
