"""The workers of one run share a folder of compiled programs, which JAX writes in place."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

TIME = "jax_persistent_cache_min_compile_time_secs"
"""From how many seconds of compiling on a program is kept."""


def keep_programs_in(folder, seconds):
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update(TIME, seconds)
    compilation_cache.reset_cache()


@pytest.fixture
def folder(tmp_path):
    """A folder for compiled programs of one test, also of those that are compiled at once."""
    before = jax.config.jax_compilation_cache_dir, getattr(jax.config, TIME)
    keep_programs_in(tmp_path, 0)
    yield tmp_path
    keep_programs_in(*before)


def program():
    """The same program, which this process has not compiled yet."""

    def twice(x):
        return x + x

    return jax.jit(twice)


def test_a_program_that_is_half_written(folder):
    x = jnp.arange(3.0)
    program()(x)
    (entry,) = folder.glob("jit_twice*-cache")
    entry.write_bytes(entry.read_bytes()[:100])
    assert program()(x).tolist() == [0, 2, 4]
