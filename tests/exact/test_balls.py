"""Balls against exact rationals: what is computed must contain what is true."""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.exact import Undecided, balls, evaluate
from handgrad.exact.balls import (
    NAN,
    as_balls,
    exact_ball,
    is_accurate,
    looks_rounded,
    power,
    rounded_constant,
    settling,
)

floats = st.floats(-1e30, 1e30, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-30)


def expressions():
    """Trees of +, −, ×, ÷ over three variables, as nested tuples."""
    leaf = st.sampled_from([0, 1, 2])
    return st.recursive(
        leaf, lambda t: st.tuples(st.sampled_from("+-*/"), t, t), max_leaves=8
    ).filter(lambda t: isinstance(t, tuple))


def apply(tree, values):
    if not isinstance(tree, tuple):
        return values[tree]
    operation, left, right = tree
    a, b = apply(left, values), apply(right, values)
    return {"+": a.__add__, "-": a.__sub__, "*": a.__mul__, "/": a.__truediv__}[operation](b)


@settings(deadline=None)
@given(expressions(), st.tuples(floats, floats, floats))
def test_a_ball_contains_the_rational_value(tree, values):
    try:
        truth = apply(tree, [Fraction(v) for v in values])
    except ZeroDivisionError:
        return
    ball = evaluate(lambda *args: apply(tree, args), *map(np.float64, values))[()]
    # flint's `contains` is decided for rationals, and the ball may well be exact
    exact = arb(fmpq(truth.numerator, truth.denominator))
    assert ball.overlaps(exact)
    assert is_accurate(ball, 199)


@settings(deadline=None)
@given(st.lists(floats, min_size=1, max_size=6), st.data())
def test_sums_products_and_dots_contain_their_rational_value(row, data):
    other = data.draw(st.lists(floats, min_size=len(row), max_size=len(row)))
    total, product, dot = evaluate(
        lambda a, b: (jnp.sum(a), jnp.prod(a), a @ b), np.array(row), np.array(other)
    )
    rows, others = [Fraction(v) for v in row], [Fraction(v) for v in other]
    truths = (sum(rows), np.prod(rows), sum(a * b for a, b in zip(rows, others, strict=True)))
    for ball, truth in zip((total, product, dot), truths, strict=True):
        truth = Fraction(truth)
        assert ball[()].overlaps(arb(fmpq(truth.numerator, truth.denominator)))


@given(floats, floats)
def test_exact_numbers_are_always_decided(a, b):
    x, y = arb(a), arb(b)
    assert balls.less(x, y) == (a < b)
    assert balls.less_equal(x, y) == (a <= b)
    assert balls.equal(x, y) == (a == b)
    assert balls.maximum(x, y) == max(a, b)
    assert balls.clamp(arb(-1), x, arb(1)) == min(max(a, -1), 1)


@given(st.floats(-1e9, 1e9))
def test_rounding_is_that_of_rationals(x):
    exact = Fraction(x)
    assert balls.floor(arb(x)) == exact.__floor__()
    assert balls.ceil(arb(x)) == exact.__ceil__()
    assert balls.truncate(arb(x)) == exact.__trunc__()
    assert balls.round_half_even(arb(x)) == round(exact)


@given(floats, st.floats(1e-20, 1))
def test_overlapping_balls_are_never_decided(middle, radius):
    a, b = arb(middle, radius), arb(middle, radius)
    for question in (balls.less, balls.less_equal, balls.greater, balls.equal, balls.not_equal):
        with pytest.raises(Undecided):
            question(a, b)
    assert balls.equal(a, a)
    assert not balls.less(a, a)
    assert balls.maximum(a, b).contains(a)


def test_undecided_rounding_and_signs():
    near_zero = arb(0, 1e-20)
    for question in (balls.sign, balls.floor, balls.ceil):
        with pytest.raises(Undecided):
            question(near_zero)
    assert balls.truncate(near_zero) == 0
    with pytest.raises(Undecided):
        balls.is_finite(arb(0, "inf"))
    with pytest.raises(Undecided):
        balls.less(arb.nan(), arb(0))


def test_settled_nan_compares_as_ieee_says():
    assert not balls.less(NAN, arb(0))
    assert not balls.greater_equal(NAN, arb(0))
    assert not balls.equal(NAN, NAN)
    assert balls.not_equal(NAN, NAN)
    assert not balls.is_finite(NAN)


def test_nan_settles_only_where_nothing_is_left_to_learn():
    log = settling(arb.log)
    assert log(arb(-1)) is NAN
    assert log(NAN) is NAN
    assert log(arb(0, 1)) is not NAN
    assert settling(arb.log, nan_is_final=False)(arb(-1)) is not NAN


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_floats_of_every_width_are_exact(dtype):
    numbers = np.array([0.1, -3.0, 2.0**-10]).astype(jnp.dtype(dtype))
    for ball, number in zip(as_balls(numbers), numbers, strict=True):
        assert ball.is_exact()
        assert ball == float(number)
    assert exact_ball(float("nan")) is NAN


@pytest.mark.parametrize("number", [np.sqrt(2), 0.1, 0.044715, np.log(2 * np.pi) / 2, 1e-5])
def test_full_mantissas_look_rounded(number):
    assert looks_rounded(float(number), 53)
    assert looks_rounded(float(np.float32(number)), 24)


@pytest.mark.parametrize("number", [0.0, 3.0, -100003.0, 0.375, 2.0**-40, 1e22, float("inf")])
def test_short_numbers_and_integers_do_not(number):
    assert not looks_rounded(number, 53)


def test_a_rounded_constant_holds_what_was_rounded():
    (ball,) = rounded_constant(np.array([np.float32(np.sqrt(2))]))
    assert ball.contains(arb(2).sqrt().mid())
    assert 1e-8 < float(ball.rad()) < 2e-7
    assert rounded_constant(np.array([0.5]))[0].is_exact()


@pytest.mark.parametrize("exponent", [1, 2, 3, 8])
def test_a_power_of_a_ball_around_0_holds_the_powers_of_all_in_it(exponent):
    """Of such a ball with a middle of exactly 0 python-flint gives NaN."""
    found = power(arb(0, 0.5), arb(exponent))
    for number in (-0.5, -0.1, 0.0, 0.5):
        assert found.contains(arb(number) ** exponent)
    assert float(found.abs_upper()) < 0.5**exponent * 1.001
    assert exponent % 2 or float(found.lower()) > -1e-6
    assert not power(arb(0, 0.5), arb(-2)).is_finite()
