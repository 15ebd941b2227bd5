"""The yardstick, against `math.ulp` (float64) and `numpy.spacing` (float32)."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from handgrad.verify.ulp import ulp, ulp_error

TINY = {"float32": 2.0**-149, "float64": 2.0**-1074}
SMALLEST_NORMAL = {"float32": 2.0**-126, "float64": 2.0**-1022}
LARGEST = {"float32": float(np.finfo(np.float32).max), "float64": float(np.finfo(np.float64).max)}


@settings(derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.0)
@example(5e-324)
@example(2.0**-1022)
@example(1.0)
@example(math.nextafter(1.0, 0.0))
def test_ulp_of_a_float64_is_that_of_the_standard_library(value):
    assert ulp(value, "float64") == math.ulp(value)


@settings(derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
@example(0.0)
@example(2.0**-149)
@example(2.0**-126)
@example(-1.0)
def test_ulp_of_a_float32_is_the_spacing_of_numpy(value):
    assert ulp(value, "float32") == abs(np.spacing(np.float32(value)))


@pytest.mark.parametrize(("dtype", "at_one"), [("bfloat16", 2.0**-7), ("float16", 2.0**-10)])
def test_ulp_at_one_in_half_precision(dtype, at_one):
    assert ulp(1.0, dtype) == at_one


def test_ulp_of_a_real_number_is_that_of_the_floats_around_it():
    """1 + 2⁻⁴⁰ is no float32; it lies between 1 and 1 + 2⁻²³."""
    assert ulp(1 + 2.0**-40, "float32") == 2.0**-23


@pytest.mark.parametrize("dtype", TINY)
def test_below_the_smallest_normal_number_an_ulp_stops_shrinking(dtype):
    values = [SMALLEST_NORMAL[dtype], SMALLEST_NORMAL[dtype] / 2, TINY[dtype], 0.0]
    assert ulp(np.array(values), dtype).tolist() == [TINY[dtype]] * 4


@pytest.mark.parametrize("dtype", TINY)
def test_the_next_float_is_one_ulp_away(dtype):
    for value in (1.0, 3.0, -0.1, 1e-30, SMALLEST_NORMAL[dtype]):
        x = np.dtype(dtype).type(value)
        away = np.nextafter(x, np.dtype(dtype).type(np.sign(value) * np.inf))
        assert ulp_error(away, x, dtype) == 1


def test_flushing_a_subnormal_to_zero_is_counted_in_subnormal_ulps():
    assert ulp_error(0.0, 5 * TINY["float32"], "float32") == 5


def test_the_error_is_counted_in_the_judged_dtype():
    assert ulp_error(1 + 2.0**-23, 1.0, "float32") == 1
    assert ulp_error(1 + 2.0**-23, 1.0, "float64") == 2.0**29


@pytest.mark.parametrize(
    ("computed", "true", "error"),
    [
        (np.nan, np.nan, np.inf),
        (np.nan, 1.0, np.inf),
        (1.0, np.nan, np.inf),
        (np.inf, 1.0, np.inf),
        (1.0, np.inf, np.inf),
        (np.inf, -np.inf, np.inf),
        (np.inf, np.inf, 0.0),
        (-np.inf, -np.inf, 0.0),
        (0.0, -0.0, 0.0),
    ],
    ids=str,
)
def test_what_is_not_finite_equals_itself_or_nothing_and_nan_not_even_itself(computed, true, error):
    assert ulp_error(computed, true, "float32") == error


@pytest.mark.parametrize("dtype", TINY)
def test_opposite_ends_of_the_number_line_do_not_overflow_into_nan(dtype):
    error = ulp_error(-LARGEST[dtype], LARGEST[dtype], dtype)
    assert error >= 2.0 ** np.finfo(dtype).nmant


def test_arrays_are_judged_element_by_element():
    errors = ulp_error(np.array([1.0, 2.0, np.nan]), np.array([1.0, 2 + 2.0**-22, 0.0]), "float32")
    assert errors.tolist() == [0, 1, np.inf]
