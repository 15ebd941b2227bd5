"""What is thrown at the surfaces: arrays of every kind, and things that are not arrays."""

import datetime
import decimal
import fractions
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from hypothesis import strategies as st

FLOATS = ("float16", "float32", "float64", ml_dtypes.bfloat16)
ODD = (
    "bool", "int8", "uint8", "int32", "int64", "uint64", "complex64", "complex128", "longdouble",
    "object", "U3", "S3", "datetime64[s]", "timedelta64[s]", "V4", [("a", "i4"), ("b", "f4")],
    ml_dtypes.float8_e4m3fn, ml_dtypes.int4,
)  # fmt: skip
SHAPES = (
    (), (0,), (1,), (3,), (12,), (13,), (0, 3), (3, 0), (12, 0), (0, 0), (1, 3), (12, 1), (12, 3),
    (12, 4), (13, 3), (3, 12), (12, 3, 1), (1, 12, 3), (2, 2, 2, 2),
)  # fmt: skip
SPECIAL = (
    0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.0, 7.0, -7.0, 300.0, float("nan"), float("inf"),
    -float("inf"), 3.4e38, -3.4e38, 1.7e308, 1e-45, 5e-324, 2.2e-308, 2.0**31, -(2.0**31), 2.0**63,
)  # fmt: skip
HUGE = (10**18, -(10**18), 2**31, 2**32, 2**63, 2**64, 10**30, 10**400, -1, 0, 1, 2, 3)

shapes = st.sampled_from(SHAPES)


@st.composite
def arrays(draw, shape=None, dtype=None):
    """An array: mostly floats of ordinary size, often with one value that is not ordinary."""
    shape = draw(shapes) if shape is None else shape
    if dtype is None:
        dtype = draw(st.sampled_from(FLOATS if draw(st.booleans()) else ODD))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.integers(-2, 3, shape) + rng.choice([0.0, 0.25], shape)
    if values.size and draw(st.booleans()):
        values = np.array(values)
        place = draw(st.sampled_from([0, values.size - 1]))
        values.reshape(-1)[place] = draw(st.sampled_from(SPECIAL))
    if values.size and draw(st.integers(0, 5)) == 0:
        values = np.full(shape, draw(st.sampled_from(SPECIAL)))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = converted(np.asarray(values), dtype)
    return placed(draw, found)


def converted(values, dtype):
    if dtype == "object":
        return np.array([None if v < 0 else v for v in values.ravel()], object).reshape(
            values.shape
        )
    if dtype in ("U3", "S3"):
        return values.astype("U3").astype(dtype)
    if isinstance(dtype, str) and dtype.startswith(("datetime", "timedelta")):
        return np.nan_to_num(values).clip(-9, 9).astype("int64").astype(dtype)
    if isinstance(dtype, list) or dtype == "V4":
        return np.zeros(values.shape, dtype)
    if np.issubdtype(np.dtype(dtype), np.number) and not np.issubdtype(np.dtype(dtype), np.inexact):
        return np.nan_to_num(values).clip(-(2.0**62), 2.0**62).astype("int64").astype(dtype)
    return values.astype(dtype)


def placed(draw, array):
    """As it is, in another order, read-only, masked, as a list, or as JAX has it."""
    how = draw(st.sampled_from(["numpy", "numpy", "jax", "jax", "list", "fortran", "frozen"]))
    if how == "jax":
        try:
            return jnp.asarray(array)
        except Exception:
            return array
    if how == "list":
        return array.tolist()
    if how == "fortran":
        return np.asfortranarray(array)[..., ::1]
    if how == "frozen" and isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array


class Odd:
    """An object with no meaning."""

    def __repr__(self):
        return "Odd()"


class Pretends:
    """Looks like an array by its attributes, and has no values."""

    shape, dtype, ndim = (12, 3), np.dtype("float32"), 2

    def __repr__(self):
        return "Pretends()"


class Explodes:
    """An object that raises when it is looked at as an array."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("boom")

    def __repr__(self):
        return "Explodes()"


things = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(HUGE),
    st.sampled_from(SPECIAL),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.builds(Odd),
    st.builds(Pretends),
    st.builds(Explodes),
    st.sampled_from(
        [[], (), {}, set(), [[1.0], [1.0, 2.0]], [None], [[]], ["a"], [1, "a"], {"weight": 1.0}]
    ),
    st.sampled_from([int, len, print, np.float32, Ellipsis, NotImplemented, range(3)]),
    st.sampled_from([datetime.date(2020, 1, 1), decimal.Decimal("1.5"), fractions.Fraction(1, 3)]),
    st.builds(lambda: jax.random.key(0)),
    st.builds(lambda: jax.ShapeDtypeStruct((12, 3), jnp.float32)),
    st.sampled_from([np.float64(1), np.int64(3), np.bool_(True), np.str_("a"), np.float32(2)]),
    st.builds(lambda: np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0])),
)
anything = st.one_of(arrays(), things)
