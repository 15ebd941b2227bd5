"""What is measured at every input of a dtype: the inputs, the truth, the definitions."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from handgrad.accuracy.measure import (
    DTYPES,
    HALF,
    TrueValues,
    compare,
    compute,
    inputs_of,
    measure,
    summarize,
    true_derivatives,
)
from handgrad.errors import InputError
from handgrad.verify.ulp import ulp_error


@pytest.mark.parametrize("dtype", HALF)
def test_the_inputs_of_a_half_precision_are_all_its_finite_numbers(dtype):
    every = np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(jnp.dtype(dtype))
    finite = every[np.isfinite(every.astype(np.float32))]
    assert sorted(inputs_of(dtype).view(np.uint16)) == sorted(finite.view(np.uint16))


@pytest.mark.parametrize(("dtype", "exponents"), [("float32", 255), ("float64", 2047)])
def test_the_inputs_of_a_wider_dtype_visit_every_exponent_and_sign(dtype, exponents):
    x = inputs_of(dtype)
    assert np.isfinite(x).all()
    assert len(np.unique(x.view(f"u{x.itemsize}"))) == len(x)
    bits = x.view(f"u{x.itemsize}") >> jnp.finfo(dtype).nmant
    assert len(np.unique(bits)) == 2 * exponents
    assert {float(x.max()), -float(x.max())} == {float(jnp.finfo(dtype).max), float(x.min())}


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_truth_is_that_of_mpmath_beyond_the_last_digit_of_the_dtype(dtype):
    x = np.array([-17.0, -0.052, 0.0, 0.75, 8.5]).astype(jnp.dtype(dtype))
    orders = true_derivatives(jax.nn.softplus, x, dtype=dtype, order=2).orders
    with mpmath.workdps(50):
        for order, truth in enumerate(orders):
            for z, high, low in zip(x.astype(np.float64), *truth[:2], strict=True):
                t = mpmath.diff(lambda u: mpmath.log(1 + mpmath.exp(u)), mpmath.mpf(z), order)
                assert abs((mpmath.mpf(high) + low) / t - 1) < 2.0 ** -(jnp.finfo(dtype).nmant + 15)


def test_the_errors_are_those_of_the_definition():
    """Of a float16: largest number 65504, smallest normal one 2^-14, an ulp of 1 is 2^-10."""
    cases = [  # computed, true, error, what is counted
        (1.0, 1.0, 0.0, ()),
        (1 + 2.0**-9, 1.0, 2.0, ()),
        (-1.0, 1.0, 2048.0, ("wrong_sign",)),
        (0.0, 1.0, 1024.0, ("zero",)),
        (np.nan, 1.0, np.inf, ("nan",)),
        (np.inf, 1.0, np.inf, ("inf",)),
        (np.inf, 1e9, 0.0, ()),
        (-np.inf, 1e9, np.inf, ("wrong_sign",)),
        (65504.0, 1e9, 1.0, ()),
        (0.0, 0.0, 0.0, ()),
        (0.0, 2.0**-15, np.nan, ("subnormal",)),
        (np.nan, 2.0**-15, np.inf, ("nan",)),
        (2.0**-14, 2.0**-15, 512.0, ()),
        (0.0, 1e-300, 0.0, ()),
        (2.0**-14, 1e-300, 1024.0, ()),
        (1.0, np.nan, np.nan, ()),
    ]
    values, true = (np.array(column) for column in list(zip(*cases, strict=True))[:2])
    found = compare(
        values, TrueValues(true, 0 * true, 0 * true), np.ones(len(cases)), dtype="float16"
    )
    np.testing.assert_allclose(found.error, [case[2] for case in cases], atol=1e-12)
    for kind in ("nan", "inf", "wrong_sign", "zero", "subnormal"):
        assert getattr(found, kind).tolist() == [kind in case[3] for case in cases], kind
    row = summarize(found, np.arange(len(cases)))
    assert (row.max_ulp, row.at, row.inputs, row.subnormal) == (2048.0, (2.0,), 14, 1)
    assert (row.nan, row.inf, row.wrong_sign, row.zero) == (2, 1, 2, 1)
    assert (row.above_1, row.above_10) == (9 / 14, 8 / 14)


def test_an_error_of_float64_is_seen_below_its_last_digit():
    true = np.array([1 / 3])
    with mpmath.workdps(40):
        low = np.array([float(mpmath.mpf(1) / 3 - mpmath.mpf(1 / 3))])
    found = compare(true, TrueValues(true, low, 0 * low), np.ones(1), dtype="float64")
    assert found.error[0] == pytest.approx(abs(low[0]) / 2.0**-54)
    assert 0 < found.error[0] < 0.5


def test_the_measure_equals_brute_force():
    x = inputs_of("float16")
    truth = true_derivatives(jnp.arcsinh, x, dtype="float16").orders[1]
    row = measure(jax.grad(jnp.arcsinh), truth, x, "float16")
    wide = x.astype(np.float64)
    true = 1 / np.sqrt(1 + wide**2)
    y = np.asarray(jax.jit(jax.vmap(jax.grad(jnp.arcsinh)))(jnp.asarray(x)), np.float64)
    error, normal = ulp_error(y, true, "float16"), true >= 2.0**-14
    apart = ~normal & (y < 2.0**-14)  # newer versions of JAX round two of the others up to 2^-14
    assert row.max_ulp == pytest.approx(error[normal].max())
    assert error[wide == row.at[0]] == pytest.approx(row.max_ulp)
    assert row.zero == ((y == 0) & normal).sum()
    assert row.zero == (12_288 if jax.__version_info__ < (0, 12) else 0)
    assert row.above_10 == pytest.approx((error[~apart] > 10).mean())
    assert (row.subnormal, row.inputs) == (apart.sum(), (~apart).sum())
    assert row.ns > 0


def exact_gelu(x):
    return jax.nn.gelu(x, approximate=False)


@pytest.mark.parametrize(
    ("f", "dtype", "expected"),
    [
        (jax.nn.squareplus, "float16", {"wrong_sign": 173, "max_ulp": 4_698}),
        (jnp.expm1, "bfloat16", {"zero": 487}),
        (jax.lax.rsqrt, "float16", {"inf": 688}),
        pytest.param(jnp.arccosh, "float16", {"zero": 6_145}, marks=pytest.mark.slow),
        pytest.param(jax.nn.sigmoid, "bfloat16", {"zero": 509}, marks=pytest.mark.slow),
        pytest.param(exact_gelu, "float16", {"max_ulp": 857}, marks=pytest.mark.slow),
    ],
    ids=["squareplus", "expm1", "rsqrt", "arccosh", "sigmoid", "gelu"],
)
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="figures of XLA on a CPU")
@pytest.mark.skipif(jax.__version_info__ >= (0, 12), reason="JAX 0.12 has mended some of them")
def test_the_first_findings_are_found(f, dtype, expected):
    x = inputs_of(dtype)
    truth = true_derivatives(f, x, dtype=dtype).orders[1]
    row = measure(jax.grad(f), truth, x, dtype)
    assert {name: int(getattr(row, name)) for name in expected} == expected


def test_kinks_and_points_outside_of_the_domain_are_not_judged():
    x = inputs_of("float16")
    found = true_derivatives(jax.nn.relu, x, dtype="float16")
    assert (found.kinks, found.undecided) == (2, 0)
    assert measure(jax.grad(jax.nn.relu), found.orders[1], x, "float16").inputs == len(x) - 2
    log = true_derivatives(jnp.log, x, dtype="float16").orders[1]
    assert np.isnan(log.high).sum() == len(x) // 2 + 1  # the negative numbers and both zeros


@pytest.mark.bad_input
def test_what_is_no_dtype_of_the_atlas_or_leaves_it_is_refused():
    with pytest.raises(InputError, match="bfloat16 or float16 or float32 or float64, got 'int8'"):
        inputs_of("int8")
    with pytest.raises(InputError, match="one that stays in float16, got float32"):
        compute(lambda x: x.astype("float32"), inputs_of("float16"), dtype="float16")
