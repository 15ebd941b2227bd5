"""Power series over balls: every rule against autodiff in balls, and what happens at the edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb
from jax import lax

from handgrad.errors import InputError, UnsupportedPrimitive
from handgrad.exact import evaluate
from handgrad.exact.balls import NAN
from handgrad.exact.series import UNIVARIATE, derivatives, derivatives_by

BESIDE = {
    "acosh": (1.25, 7.0), "asin": (-0.75, 0.5), "acos": (-0.75, 0.5), "atanh": (-0.75, 0.5),
    "erf_inv": (-0.75, 0.5), "lgamma": (-2.25, 3.5), "digamma": (-2.25, 3.5),
    "cbrt": (-3.0, 0.75), "log": (0.3, 9.0), "log1p": (-0.5, 9.0), "log2": (0.3, 9.0),
    "sqrt": (0.3, 9.0), "rsqrt": (0.3, 9.0),
}  # fmt: skip


def agree(f, points, order=2):
    found = derivatives(f, np.array(points), order=order, bits=60)
    assert not found.kink.any()
    assert not found.undecided.any()
    g = f
    for row in found.values:
        for x, ball in zip(points, row, strict=True):
            true = evaluate(g, x, digits=25)[()]
            # JAX's rules hold constants such as 2/√π rounded to float64
            assert abs(ball - true) <= abs(true) * 2.0**-50, (x, ball, true)
            assert ball.rel_accuracy_bits() >= 60
        g = jax.jacfwd(g)


@pytest.mark.parametrize("name", [name for name in UNIVARIATE if hasattr(lax, name)])
def test_each_primitive_has_the_derivatives_that_autodiff_has_in_balls(name):
    agree(getattr(lax, name), BESIDE.get(name, (-1.5, 0.3)))


COMPOSED = {
    "quotient": lambda x: jnp.sin(x) / (1 + x**4),
    "powers": lambda x: (1 + x * x) ** (x + 0.5) + x**3 + x**-2,
    "to a power": lambda x: 2.5**x + jnp.abs(x) ** 1.5,
    "angle": lambda x: jnp.arctan2(x, 1 + x * x) + jnp.arctan2(x, 2.0) + jnp.arctan2(-3.0, x),
    "choices": lambda x: jnp.where(x > 1, jnp.exp(-x), jnp.maximum(x, 0.25) * jnp.minimum(x, 4.0)),
    "clipped": lambda x: jnp.clip(x, -2.0, 3.0) * jnp.sign(x) + jnp.fmod(x, 0.75),
    "arrays": lambda x: jnp.dot(jnp.stack([x, x * x]), jnp.array([2.0, 3.0])) + jnp.sum(x**2),
    "a loop": lambda x: lax.fori_loop(0, 4, lambda i, y: jnp.sin(y) + x, x),
    "a while loop": lambda x: lax.while_loop(lambda y: y < 10, lambda y: y * y + 1, x),
    "a branch": lambda x: lax.cond(x > 0, jnp.exp, jnp.cos, x),
    "bessel": lambda x: lax.bessel_i0e(x) + lax.bessel_i1e(x),
    "gamma": lambda x: lax.igamma(2.5, jnp.abs(x)) + lax.igammac(1.5, jnp.abs(x)),
    "beta and zeta": lambda x: lax.betainc(2.0, 1.5, 1 / (2 + x * x)) + lax.polygamma(1.0, x + 9),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_what_is_made_of_them_has_too(name):
    agree(COMPOSED[name], (-2.2, 0.3, 1.7))


def test_partial_derivatives_in_either_argument():
    x, y = np.array([0.5, 3.0]), np.array([2.0, 1.25])
    for argnum in (0, 1):
        found = derivatives(jnp.power, x, y, argnum=argnum, order=1, bits=60)
        for a, b, ball in zip(x, y, found.values[1], strict=True):
            assert ball.overlaps(evaluate(jax.grad(jnp.power, argnum), a, b, digits=25)[()])
    found = derivatives(lax.igamma, x, y, argnum=0, order=1)
    assert not found.undecided.any()


def test_a_kink_has_no_derivative_and_a_smooth_joint_has_one():
    at = np.array([0.0, -0.0, 1.0])
    assert derivatives(jnp.abs, at).kink.tolist() == [True, True, False]
    elu = derivatives(jax.nn.elu, at, order=2)
    assert [float(ball) for ball in elu.values[1]] == [1.0, 1.0, 1.0]
    assert elu.values[2][0] is NAN
    assert elu.kink.tolist() == [True, True, False]
    logaddexp = derivatives(lambda x: jnp.logaddexp(x, 0.0), at, order=2)
    assert not logaddexp.kink.any()
    assert float(logaddexp.values[1][0]) == 0.5
    assert derivatives(jnp.floor, np.array([0.5, 2.0])).kink.tolist() == [False, True]


def test_outside_of_the_domain_and_at_a_pole_there_is_nothing():
    found = derivatives(jnp.log, np.array([-1.0, 0.0, 2.0]), order=1)
    for row in found.values:
        assert [ball is NAN for ball in row] == [True, True, False]
    root = derivatives(jnp.sqrt, np.array([0.0]), order=1)
    assert (float(root.values[0][0]), root.values[1][0] is NAN) == (0.0, True)
    logit = derivatives(lambda p: jnp.log(p / (1 - p)), np.array([1.5]), order=1)
    assert logit.values[1][0] is NAN  # 1/(p(1−p)) is a number there, but of no function
    assert not any(one.undecided.any() for one in (found, root, logit))


def test_what_is_open_is_said_so():
    """sin x / x at 0 has a limit, which no series of this order sees."""
    found = derivatives(lambda x: jnp.where(x == 0, 1.0, jnp.sin(x) / x), np.array([0.0, 0.5]))
    assert found.undecided.tolist() == [True, False]
    same = derivatives(
        lambda x: jnp.where(jnp.sin(x) ** 2 + jnp.cos(x) ** 2 > 1, 1.0, x), np.ones(1)
    )
    assert same.undecided.tolist() == [True]


def test_digits_that_cancel_are_fetched_by_more_precision():
    found = derivatives(lambda x: jnp.exp(x) - 1 - x, np.array([1e-30, 1e30, -1e5]), bits=50)
    assert [ball.rel_accuracy_bits() >= 50 for ball in found.values[1]] == [True] * 3
    assert str(found.values[1][0].str(15, radius=False)) == "1.00000000000000e-30"


def test_far_out_the_derivative_of_a_tanh_is_zero_however_wide_its_argument():
    """gelu: 0.0447 x³ is known to a float only, so that the argument is ±10 at x = 2²⁰."""
    found = derivatives(jax.nn.gelu, np.array([-(2.0**20), 2.0**20, 2.0**60]))
    assert [float(ball) for ball in found.values[1]] == [0.0, 1.0, 1.0]


def test_a_function_of_balls_serves_instead_of_a_program():
    def cube(x: arb):
        return x**3, 3 * x**2, 3 * x

    found = derivatives_by(cube, np.array([2.0]), order=2)
    assert [float(row[0]) for row in found.values] == [8.0, 12.0, 12.0]


@pytest.mark.bad_input
def test_what_is_no_function_of_a_number_is_refused():
    at = np.ones(2)
    with pytest.raises(InputError, match="to one number"):
        derivatives(lambda x: jnp.stack([x, x]), at)
    with pytest.raises(InputError, match="a real number as output"):
        derivatives(lambda x: x > 0, at)
    with pytest.raises(InputError, match="0 to 2"):
        derivatives(jnp.sin, at, order=3)
    with pytest.raises(UnsupportedPrimitive, match="sort"):
        derivatives(lambda x: jnp.sort(jnp.stack([x, 1 - x]))[0], at)
    with pytest.raises(UnsupportedPrimitive, match="scan"):
        derivatives(lambda x: lax.scan(lambda c, y: (c + y, y), 0.0, jnp.stack([x, x]))[0], at)
