"""All but one: exclusive sums and products against a loop that leaves one out."""

import math

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.gradients.exclusive import exclusive_product, exclusive_sum

rows = arrays(np.float64, (2, 5), elements=st.integers(-9, 9).map(float))


def leave_one_out(combine, a):
    """The loop: combine every row without each of its elements in turn."""
    return [[combine(np.delete(row, i)) for i in range(len(row))] for row in a]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(rows)
def test_exclusive_sum_is_the_loop(a):
    """Small integers, so that both are exact."""
    with x64():
        assert exclusive_sum(jnp.asarray(a)).tolist() == leave_one_out(math.fsum, a)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(rows)
def test_exclusive_product_is_the_loop_zeros_and_all(a):
    with x64():
        assert exclusive_product(jnp.asarray(a)).tolist() == leave_one_out(math.prod, a)


def test_a_dominant_term_does_not_swallow_the_rest(dtype):
    """sum(a) − a[0] is 0 here."""
    a = jnp.asarray([1.0, 1e-20, 2e-20], dtype)
    assert a.sum() - a[0] == 0
    assert exclusive_sum(a)[0] == a[1] + a[2]


@pytest.mark.parametrize(
    ("a", "products"),
    [([2.0, 0.0, 5.0], [0, 10, 0]), ([0.0, 0.0, 5.0], [0, 0, 0]), ([0.0], [1])],
    ids=["one-zero", "two-zeros", "alone"],
)
def test_zeros_in_a_product(a, products):
    assert exclusive_product(jnp.array(a)).tolist() == products


def test_a_lone_element_has_the_empty_sum():
    assert exclusive_sum(jnp.array([7.0])).tolist() == [0]


@pytest.mark.bad_input
def test_a_scalar_is_refused():
    with pytest.raises(InputError, match=r"a: expected at least one axis, got a scalar; pass"):
        exclusive_sum(jnp.array(1.0))
