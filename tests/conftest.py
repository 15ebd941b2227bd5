"""Strict numerics for every test: no silent promotion of dtypes or ranks."""

import gc
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiling is most of the time: what one run has compiled, the next one finds (see `make clean`).
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".pytest_cache/jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


ENFORCED = ("tests/gradients/", "tests/test_losses.py")
"""Tests that `make test` runs with every annotation enforced, and therefore not once more."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests that can run, and need run only, with every annotation enforced."""
    for item in items:
        if item.nodeid.startswith(ENFORCED) and not item.get_closest_marker("bad_input"):
            item.add_marker("annotated")


PLUMBING = ("train", "scale", "data", "cli", "bench", "fuzz")
"""Rooms whose tests are not about digits: their programs are compiled quickly, and less well."""


@pytest.fixture(autouse=True, scope="module")
def compiled_quickly(request):
    """No optimisation for the tests of the rooms in PLUMBING, nor for the commands they start."""
    if request.path.relative_to(Path(__file__).parent).parts[0] not in PLUMBING:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)
        jax.clear_caches()  # no other test meets a program that was compiled so


def pytest_collection_finish():
    """What is imported by now stays: no later collection of garbage need look through it."""
    gc.freeze()


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each dtype in turn, with float64 really enabled for its turn."""
    from handgrad._precision import x64

    with x64(request.param == "float64"):
        yield request.param


def pytest_terminal_summary(terminalreporter):
    """Say at the end which tests needed a part that is not here, and that the browser's ran."""
    in_browser = [r for r in terminalreporter.stats.get("passed", ()) if "_in_browser" in r.nodeid]
    skipped = terminalreporter.stats.get("skipped", ())
    terminalreporter.section("parts")
    terminalreporter.write_line(f"tests in a browser: {len(in_browser)} passed")
    terminalreporter.write_line(f"tests skipped for want of a part: {len(skipped)}")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"  {report.nodeid}: {reason}")
