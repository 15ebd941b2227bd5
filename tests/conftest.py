"""Strict numerics for every test: no silent promotion of dtypes or ranks."""

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each dtype in turn, with float64 really enabled for its turn."""
    from handgrad._precision import x64

    with x64(request.param == "float64"):
        yield request.param
