"""Strict numerics for every test: no silent promotion of dtypes or ranks."""

import gc
import os
from functools import cache, cached_property
from pathlib import Path

import jax
import pytest
from jax._src import compiler  # whose options no public setting reaches for every program
from jax._src.interpreters import mlir

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiling takes long: what one run has compiled, the next one finds (see `make clean`), but for
# programs that are compiled as quickly as they are written and read.
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".pytest_cache/jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# Nor need a program of StableHLO say which line of Python each operation stands on: a tenth.
jax.config.update("jax_traceback_in_locations_limit", 0)

make_context = mlir.make_ir_context
shared_context = cache(make_context)


def context():
    """JAX makes MLIR's dialects anew for each program, a twelfth of a test's time: once will do.

    A program that is compiled while another is being lowered has a context of its own.
    """
    return shared_context() if mlir.ir.Context.current is None else make_context()


mlir.make_ir_context = context

# Few objects here are garbage: looking for it rarely saves another twelfth.
gc.set_threshold(200_000, 50, 50)


ENFORCED = ("tests/gradients/", "tests/test_losses.py")
"""Tests that `make test` runs with every annotation enforced, and therefore not once more."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests that can run, and need run only, with every annotation enforced.

    Those of a file that are compiled quickly come first: between them and the others JAX forgets
    its programs.
    """
    files: dict[Path, int] = {}
    for item in items:
        files.setdefault(item.path, len(files))
        if item.nodeid.startswith(ENFORCED) and not item.get_closest_marker("bad_input"):
            item.add_marker("annotated")
    items.sort(key=lambda item: (files[item.path], not is_quick(item)))


PLUMBING = ("train", "scale", "data", "cli", "bench", "fuzz", "derivations")
"""Rooms whose tests are not about digits: their programs are compiled quickly, and less well."""

ALGEBRA = (
    "benchmarks/test_battery.py",
    "benchmarks/test_bugs.py",
    "benchmarks/test_controls.py",
    "benchmarks/test_faults.py",
    "benchmarks/test_mutants.py",
    "benchmarks/test_notes.py",
    "benchmarks/test_objectives.py",
    *(f"docs/test_code_blocks.py::test_a_chapter_runs[{n}" for n in ("05", "06", "13", "15")),
    "docs/test_figures.py",
    "exact/",
    "explain/test_notebook_in_browser.py",
    "explain/test_page_in_browser.py",
    "explain/test_pieces.py",
    "explain/test_recompute_in_browser.py",
    "explain/test_training_figure.py",
    "fast/",
    "gradients/test_bernoulli.py",
    "gradients/test_coded.py",
    "gradients/test_cross_entropy.py",
    "gradients/test_linear.py",
    "gradients/test_linear_cross_entropy.py",
    "gradients/test_logistic.py",
    "gradients/test_mlp.py",
    "gradients/test_perceptron.py",
    "gradients/test_softmax.py",
    "gradients/test_softmax_regression.py",
    "interop/",
    "test_audit.py",
    "test_catalogue.py",
    "test_jaxprs.py",
    "test_losses.py",
    "test_notebook.py",
    "test_testing.py",
    "verify/test_agreement.py",
    "verify/test_blackbox.py",
    "verify/test_captured_data.py",
    "verify/test_derivatives.py",
    "verify/test_diagnosis.py",
    "verify/test_diagnosis_rules.py",
    "verify/test_judge.py",
    "verify/test_kinds_mathematics.py",
    "verify/test_kinds_numerics.py",
    "verify/test_kinks.py",
    "verify/test_mathematics.py",
    "verify/test_sizes.py",
    "verify/test_strangers.py",
    "verify/test_verdict.py",
)
"""Files about algebra, ball arithmetic, pictures, optima and fused forms: compiled quickly too.

Tests marked `digits` in them are not. `make proofs` runs all once more, compiled as usual.
"""

QUICK = (
    ()
    if os.environ.get("HANDGRAD_COMPILE") == "usual"
    else (*(f"tests/{room}/" for room in PLUMBING), *(f"tests/{file}" for file in ALGEBRA))
)

QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""Options of XLA under which it compiles in a third of the time."""


EXACT = frozenset(
    f"jit_{name}"
    for name in (
        *("abs", "add", "bitwise_and", "bitwise_not", "bitwise_or", "broadcast_in_dim", "clip"),
        *("concatenate", "convert_element_type", "div", "dynamic_slice", "equal", "floor", "full"),
        *("gather", "ge", "greater", "greater_equal", "gt", "iota", "isfinite", "isnan", "le"),
        *("less", "less_equal", "lt", "maximum", "minimum", "mul", "multiply", "neg", "negative"),
        *("not_equal", "reshape", "scatter", "select_n", "sign", "slice", "split", "squeeze"),
        *("stack", "sub", "subtract", "transpose", "true_divide", "unstack", "_broadcast_arrays"),
        *("_reduce_all", "_reduce_any", "_reduce_max", "_reduce_min", "_where"),
        *("_normal", "_normal_real", "_randint", "_uniform"),  # what tests draw their inputs with
    )
)
"""JAX's operations of one step whose result no optimisation changes, and its random draws."""


class Compiler:
    """JAX's, as everybody has it or, for a while, quick; also for the commands that tests start.

    A program of EXACT is always compiled quickly: tests have thousands, one for each shape.
    """

    def __init__(self):
        self.is_quick = False
        self.as_usual = compiler.get_compile_options
        self.compile = compiler.compile_or_get_cached
        if QUICK:
            compiler.compile_or_get_cached = self.compile_exact_quickly
        self.flags = os.environ.get("XLA_FLAGS", "")

    @cached_property
    def options(self):
        """Those of QUICKLY that this version of XLA knows."""

        def is_known(name):
            try:
                jax.jit(lambda: 0, compiler_options={name: QUICKLY[name]}).lower().compile()
            except jax.errors.JaxRuntimeError:
                return False
            return True

        return [(name, value) for name, value in QUICKLY.items() if is_known(name)]

    def compile_exact_quickly(self, backend, module, devices, options, *args, **kwargs):
        """What JAX does with a module in MLIR, after a look at its name."""
        name = str(module.operation.attributes["sym_name"]).strip('"')
        if name in EXACT and not self.is_quick:
            options.env_option_overrides = [*options.env_option_overrides, *self.options]
        return self.compile(backend, module, devices, options, *args, **kwargs)

    def turn(self, quick):
        """Compile quickly, or as usual: nothing that was compiled in the other way is met again."""
        if quick == self.is_quick:
            return
        options = self.options if quick else []
        self.is_quick = quick

        def get_compile_options(*args, **kwargs):
            made = self.as_usual(*args, **kwargs)
            made.env_option_overrides = [*made.env_option_overrides, *options]
            return made

        compiler.get_compile_options = get_compile_options
        flags = [f"--{name}={str(value).lower()}" for name, value in options]
        os.environ["XLA_FLAGS"] = " ".join([self.flags, *flags])
        jax.clear_caches()


COMPILER = Compiler()


def is_quick(item):
    """Whether a test is compiled quickly; digits, long proofs and the source's doctests are not."""
    if item is None or item.get_closest_marker("slow") or item.get_closest_marker("digits"):
        return False
    return item.nodeid.startswith(QUICK)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """No optimisation for the tests of PLUMBING and ALGEBRA, nor for the commands they start."""
    COMPILER.turn(quick=is_quick(item))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """As usual again, once the next test is another: it may be no test of this folder."""
    COMPILER.turn(quick=is_quick(item) and is_quick(nextitem))


@pytest.fixture(autouse=True, scope="module")
def what_is_there_stays():
    """What was made before this file is kept: no collection of garbage need look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each dtype in turn, with float64 really enabled for its turn."""
    from handgrad._precision import x64

    with x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def without_diagnosis(monkeypatch):
    """The judge says right or wrong alone: it looks for no cause, which takes most of its time.

    `make proofs` looks for them.
    """
    from handgrad.verify import judge

    if QUICK:
        monkeypatch.setattr(judge, "diagnose", lambda *args: None)


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
