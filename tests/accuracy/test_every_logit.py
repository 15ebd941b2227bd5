"""Every float32 logit: a sample in the tests, the contrasts it must show, and that it can fail."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.accuracy.every_logit import (
    ALL_BLOCKS,
    BLOCK,
    EXPONENT_EDGES,
    FAILURES,
    LIMIT_ULP,
    SCRAMBLE,
    UNIT_EDGES,
    as_data,
    binned,
    check_sample,
    error_figure,
    failures_of_own,
    inputs_of,
    sweep,
)
from handgrad.accuracy.formulas import (
    FORMULAS,
    LIBRARY,
    LOG_SIGMOID,
    NAIVE,
    OWN,
    SIGMOID,
    SOFTPLUS,
    STABLE,
    TARGETS,
    TEXTBOOK,
    Formula,
)
from handgrad.errors import InputError
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative
from handgrad.verify.ulp import ulp_error

INPUTS = 2**32 - 2 * 2**23
SAMPLE = 2**19
STABLE_SIGMOID = next(f for f in FORMULAS if f.target is SIGMOID and f.form == STABLE)


@pytest.fixture(scope="module")
def results():
    return sweep(sample=SAMPLE)


def one(results, target, form):
    (found,) = [o for o in results if (o.target, o.form) == (target.name, form)]
    return found


def block_of(z):
    return int(np.float32(z).view(np.uint32)) >> 17


@pytest.mark.parametrize("count", [1, 2, 129, 1000, BLOCK])
def test_the_inputs_of_a_block_are_distinct_and_of_that_block(count):
    blocks = np.array([0, 77, 16319, 16384, 32703], np.uint32)
    bits = np.asarray(inputs_of(jnp.asarray(blocks), count)).view(np.uint32)
    assert bits.shape == (5, count)
    assert (bits >> 17 == blocks[:, None]).all()
    assert (bits[:, 0] == blocks * BLOCK).all()
    assert (np.diff(bits.astype(np.int64)) > 0).all()


def test_every_gradient_has_every_kind_of_form(results):
    assert len(results) == len(FORMULAS)
    for target in TARGETS:
        kinds = [f.form for f in FORMULAS if f.target is target]
        assert {TEXTBOOK, STABLE, LIBRARY, NAIVE} <= set(kinds)
        assert len(kinds) == len(set(kinds))


def test_the_blocks_are_the_finite_numbers():
    assert len(ALL_BLOCKS) * BLOCK == INPUTS == len(np.unique(ALL_BLOCKS)) * BLOCK
    ends = np.concatenate([ALL_BLOCKS * BLOCK, ALL_BLOCKS * BLOCK + BLOCK - 1]).astype(np.uint32)
    assert np.isfinite(ends.view(np.float32)).all()


@pytest.mark.parametrize(
    "form", [f for f in FORMULAS if f.form in OWN], ids=lambda f: f"{f.target.name} {f.form}"
)
def test_own_forms_keep_within_4_ulp_and_lose_nothing(results, form):
    own = one(results, form.target, form.form)
    assert own.inputs >= SAMPLE
    assert own.normal > own.inputs * 0.5
    assert own.max_ulp <= LIMIT_ULP
    assert own.max_ulp <= one(results, form.target, LIBRARY).max_ulp + 1
    assert not any(getattr(own, kind) for kind in FAILURES)
    assert own.nearest == {}
    assert own.limits_right


@pytest.mark.parametrize("density", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_own_forms_hold_densely_where_they_are_worst(density):
    """Every input of these blocks: near 0, near ±16.6, and at the smallest results."""
    ranges = ((0.01, 1), (1, 9), (15, 18))
    places = np.concatenate([np.linspace(a, b, density) for a, b in ranges])
    places = [*places, 42, 43.5, 44, 44.25, 86, 87, 88, 100]
    blocks = np.unique([block_of(z) for p in places for z in (p, -p)])
    found = sweep([f for f in FORMULAS if f.form in (STABLE, LIBRARY)], blocks=blocks)
    assert found[0].inputs > 500_000 * density
    assert failures_of_own(found) == []
    assert one(found, SIGMOID, STABLE).max_ulp > 3.4  # and it is not vacuous


def test_the_faults_of_the_other_forms_are_seen(results):
    textbook = one(results, SIGMOID, TEXTBOOK)
    assert textbook.zero > textbook.inputs // 400
    assert 16.6 < textbook.nearest["zero"] < 16.7
    assert textbook.max_ulp > 2**23
    assert one(results, SIGMOID, LIBRARY).zero == textbook.zero  # autodiff writes the same
    assert -88.8 < one(results, SIGMOID, NAIVE).nearest["nan"] < -88.7
    assert one(results, LOG_SIGMOID, TEXTBOOK).zero > textbook.inputs // 400
    assert 88.7 < one(results, SOFTPLUS, TEXTBOOK).nearest["nan"] < 88.8
    for target in TARGETS:
        naive = one(results, target, NAIVE)
        assert naive.nan > 0.238 * naive.inputs
        assert not naive.limits_right
    assert 8 < one(results, SOFTPLUS, LIBRARY).max_ulp < 9


def test_small_results_are_counted_apart(results):
    """XLA on the CPU gives 0 for them; on another device they may be subnormal numbers."""
    for o in results:
        assert 0 < o.subnormal < o.inputs // 500
        assert o.subnormal_zero <= o.subnormal
    stable = one(results, SIGMOID, STABLE)
    assert stable.subnormal_zero == stable.subnormal or stable.subnormal_max_ulp < 8


@pytest.mark.parametrize("sample", [None, 1000])
def test_the_sweep_equals_brute_force(sample):
    blocks = np.array([block_of(z) for z in (-88, -17, -2, -0.051, 0.75, 3, 16.6, 90)])
    (found,) = sweep([STABLE_SIGMOID], blocks=blocks, sample=sample)
    count = BLOCK if sample is None else 125
    stride = BLOCK // count
    shift = blocks * SCRAMBLE % 2**32 % stride
    bits = blocks[:, None] * BLOCK + np.arange(count) * stride
    bits[:, 1:] += shift[:, None]
    z = bits.astype(np.uint32).view(np.float32)
    e = np.exp(-np.abs(z.astype(np.float64)))
    true = e / (1 + e) ** 2
    y = np.asarray(sigmoid_derivative(jnp.asarray(z)))
    normal = true >= 2.0**-126
    error = np.where(normal, ulp_error(y, true, "float32"), -1)
    assert found.inputs == z.size == len(np.unique(bits))
    assert found.normal == normal.sum()
    assert found.subnormal == ((true >= 2.0**-150) & ~normal).sum()
    assert found.max_ulp == pytest.approx(error.max(), abs=1e-6)
    assert found.worst_at == z.ravel()[error.argmax()]
    assert found.computed == y.ravel()[error.argmax()]
    assert found.true == pytest.approx(true.ravel()[error.argmax()], rel=1e-13)
    by_block = np.where(normal.any(axis=1), error.max(axis=1), np.nan)
    np.testing.assert_allclose(found.profile, by_block, atol=1e-6)


def planted(function):
    return Formula(SIGMOID, STABLE, "planted", function)


def at(z, there, elsewhere):
    return jnp.where(z == jnp.float32(0.75), there, elsewhere)


def five_ulp_off(z):
    return at(z, sigmoid_derivative(z) * (1 + 5 * 2.0**-22), sigmoid_derivative(z))


PLANTS = {
    "five ulp": (five_ulp_off, "ulp at 0x1.8"),
    "NaN": (lambda z: at(z, jnp.nan, sigmoid_derivative(z)), "1 x nan"),
    "infinity": (lambda z: at(z, jnp.inf, sigmoid_derivative(z)), "1 x inf"),
    "sign": (lambda z: at(z, -1.0, 1.0) * sigmoid_derivative(z), "1 x wrong_sign"),
    "zero": (lambda z: at(z, 0.0, 1.0) * sigmoid_derivative(z), "1 x zero"),
    "limits": (lambda z: jnp.where(jnp.isinf(z), 1.0, sigmoid_derivative(z)), "infinities"),
    "other": (lambda z: sigmoid(z), "ulp at"),
}


@pytest.mark.parametrize("name", PLANTS)
def test_one_planted_fault_among_all_inputs_of_a_block_is_seen(name):
    function, message = PLANTS[name]
    (found,) = results = sweep([planted(function)], blocks=np.array([block_of(0.75)]))
    assert any(message in fault for fault in failures_of_own(results)), failures_of_own(results)
    if "1 x" in message:
        assert list(found.nearest.values()) == [0.75]


def test_a_form_worse_than_autodiff_by_more_than_an_ulp_is_seen():
    better = Formula(SOFTPLUS, LIBRARY, "σ(z)", sigmoid)
    worse = Formula(SOFTPLUS, STABLE, "planted", lambda z: sigmoid(z) - jnp.float32(2.0**-23))
    found = sweep([better, worse], blocks=np.array([block_of(20)]))
    assert any("more than 1 ulp worse" in fault for fault in failures_of_own(found))
    assert not any("1 ulp worse" in fault for fault in failures_of_own([found[0], found[0]]))


def test_progress_ends_at_the_number_of_inputs():
    calls = []
    blocks = ALL_BLOCKS[1000:1020]
    sweep([STABLE_SIGMOID], blocks=blocks, progress=lambda *p: calls.append(p))
    assert calls[-1] == (20 * BLOCK, 20 * BLOCK)
    assert len(calls) > 1


@pytest.mark.bad_input
@pytest.mark.parametrize("sample", [0, -5, INPUTS + 1])
def test_a_sample_that_cannot_be_drawn_is_refused(sample):
    with pytest.raises(InputError, match="sample: expected a number from 1 to 4,278,190,080"):
        check_sample(sample)


def test_the_profile_by_bins_keeps_the_maximum_and_its_place(results):
    stable = one(results, SIGMOID, STABLE)
    for edges in (UNIT_EDGES, EXPONENT_EDGES):
        worst, failing = binned(stable, edges)
        assert np.nanmax(worst) == pytest.approx(stable.max_ulp)
        assert worst[np.searchsorted(edges, stable.worst_at) - 1] == np.nanmax(worst)
        assert not failing.any()
    naive, _ = binned(one(results, SIGMOID, NAIVE), UNIT_EDGES)
    assert naive[UNIT_EDGES[:-1] == -50] > 1e6
    broken = UNIT_EDGES[:-1][binned(one(results, SIGMOID, NAIVE), UNIT_EDGES)[1]]
    assert broken.tolist() == list(range(-128, -88))
    data = as_data(stable)
    assert float.fromhex(data["worst_at"]) == stable.worst_at
    assert len(data["by_unit"]) == len(UNIT_EDGES) - 1


def test_the_figure_shows_the_errors_by_unit(results):
    """The step lines are the binned errors, the strips stand where a formula breaks."""
    chosen = [r for r in results if r.target in (SIGMOID.name, TARGETS[0].name, TARGETS[1].name)]
    figure = error_figure([*chosen, one(results, SOFTPLUS, STABLE)], "a sample")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == [
        TARGETS[0].name, TARGETS[1].name, SIGMOID.name, SOFTPLUS.name,
    ]  # fmt: skip
    assert len(figure.axes) == 6
    for axes in shown:
        stable, _ = binned(next(r for r in results if r.target == axes.get_title(loc="left")
                                and r.form == STABLE), UNIT_EDGES)  # fmt: skip
        drawn = [patch.get_data().values for patch in axes.patches]
        assert any(np.array_equal(v, np.clip(stable, 0.35, 2.0**24), equal_nan=True) for v in drawn)
    strips = [p.get_data().values for p in shown[2].patches if p.get_data().baseline is not None]
    naive = binned(one(results, SIGMOID, NAIVE), UNIT_EDGES)[1]
    assert any(np.array_equal(~np.isnan(strip), naive) for strip in strips)


COUNT = """
import json, jax, numpy as np
from handgrad.accuracy.every_logit import sweep
from handgrad.accuracy.formulas import FORMULAS
found = sweep(FORMULAS[18:20], blocks=np.arange(8300, 8400), sample=100 * 1001)
print(json.dumps([len(jax.devices()), [[o.max_ulp, o.worst_at, o.nan, o.zero] for o in found]]))
"""


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="forces host devices")
def test_three_devices_find_what_one_does():
    flags = "--xla_force_host_platform_device_count=3"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    output = subprocess.run(
        [sys.executable, "-c", COUNT], env=environment, check=True, capture_output=True, text=True
    ).stdout
    devices, shared = json.loads(output)
    alone = sweep(FORMULAS[18:20], blocks=np.arange(8300, 8400), sample=100 * 1001)
    assert devices == 3
    assert shared == [[o.max_ulp, o.worst_at, o.nan, o.zero] for o in alone]
