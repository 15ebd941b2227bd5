"""Strict numerics for every test: no silent promotion of dtypes or ranks."""

from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiling is most of the time: what one run has compiled, the next one finds (see `make clean`).
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".pytest_cache/jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each dtype in turn, with float64 really enabled for its turn."""
    from handgrad._precision import x64

    with x64(request.param == "float64"):
        yield request.param
