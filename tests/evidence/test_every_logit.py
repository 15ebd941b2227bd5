"""Every float32 logit: a sample in the tests, the contrasts it must show, and that it can fail."""

import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.evidence import every_logit
from handgrad.evidence.every_logit import LIMIT_ULP, faults, sweep
from handgrad.evidence.forms import (
    FORMS,
    LIBRARY,
    LOG_SIGMOID,
    NAIVE,
    OWN,
    SIGMOID,
    SOFTPLUS,
    STABLE,
    TARGETS,
    TEXTBOOK,
    Form,
)  # fmt: skip
from handgrad.evidence.measuring import ALL_BLOCKS, BLOCK, SCRAMBLE, inputs_of
from handgrad.evidence.profile import EXPONENT_EDGES, UNIT_EDGES, as_data, binned
from handgrad.gradients.sigmoid import sigmoid, sigmoid_derivative
from handgrad.verify.ulp import ulp_error

INPUTS = 2**32 - 2 * 2**23
STABLE_SIGMOID = next(f for f in FORMS if f.target is SIGMOID and f.name == STABLE)


@pytest.fixture(scope="module")
def outcomes():
    return sweep(sample=2**22)


def one(outcomes, target, form):
    (found,) = [o for o in outcomes if (o.target, o.form) == (target.name, form)]
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


def test_every_gradient_has_every_kind_of_form(outcomes):
    assert len(outcomes) == len(FORMS)
    for target in TARGETS:
        kinds = [f.name for f in FORMS if f.target is target]
        assert {TEXTBOOK, STABLE, LIBRARY, NAIVE} <= set(kinds)
        assert len(kinds) == len(set(kinds))


def test_the_blocks_are_the_finite_numbers():
    assert len(ALL_BLOCKS) * BLOCK == INPUTS == len(np.unique(ALL_BLOCKS)) * BLOCK
    ends = np.concatenate([ALL_BLOCKS * BLOCK, ALL_BLOCKS * BLOCK + BLOCK - 1]).astype(np.uint32)
    assert np.isfinite(ends.view(np.float32)).all()


@pytest.mark.parametrize("form", [f for f in FORMS if f.name in OWN], ids=lambda f: f[0][0] + f[1])
def test_own_forms_keep_within_4_ulp_and_lose_nothing(outcomes, form):
    own = one(outcomes, form.target, form.name)
    assert own.inputs >= 2**22
    assert own.normal > own.inputs * 0.5
    assert own.max_ulp <= LIMIT_ULP
    assert own.max_ulp <= one(outcomes, form.target, LIBRARY).max_ulp + 1
    assert own.sound
    assert own.nearest == {}
    assert own.limits_right


def test_own_forms_hold_densely_where_they_are_worst():
    """Every input of these blocks, 19 million: near 0, near ±16.6, and at the smallest results."""
    places = np.concatenate([np.linspace(a, b, 20) for a, b in ((0.01, 1), (1, 9), (15, 18))])
    places = [*places, 42, 43.5, 44, 44.25, 86, 87, 88, 100]
    blocks = np.unique([block_of(z) for p in places for z in (p, -p)])
    found = sweep([f for f in FORMS if f.name in (STABLE, LIBRARY)], blocks=blocks)
    assert found[0].inputs > 15_000_000
    assert faults(found) == []
    assert one(found, SIGMOID, STABLE).max_ulp > 3.4  # and it is not vacuous


def test_the_faults_of_the_other_forms_are_seen(outcomes):
    textbook = one(outcomes, SIGMOID, TEXTBOOK)
    assert textbook.zero > 10_000
    assert 16.6 < textbook.nearest["zero"] < 16.7
    assert textbook.max_ulp > 2**23
    assert one(outcomes, SIGMOID, LIBRARY).zero == textbook.zero  # autodiff writes the same
    assert -88.8 < one(outcomes, SIGMOID, NAIVE).nearest["nan"] < -88.7
    assert one(outcomes, LOG_SIGMOID, TEXTBOOK).zero > 10_000
    assert 88.7 < one(outcomes, SOFTPLUS, TEXTBOOK).nearest["nan"] < 88.8
    for target in TARGETS:
        naive = one(outcomes, target, NAIVE)
        assert naive.nan > 1_000_000
        assert not naive.limits_right
    assert 8 < one(outcomes, SOFTPLUS, LIBRARY).max_ulp < 9


def test_small_results_are_counted_apart(outcomes):
    """XLA on the CPU gives 0 for them; on another device they may be subnormal numbers."""
    for o in outcomes:
        assert 0 < o.subnormal < o.inputs // 500
        assert o.subnormal_zero <= o.subnormal
    stable = one(outcomes, SIGMOID, STABLE)
    assert stable.subnormal_zero == stable.subnormal or stable.subnormal_max_ulp < 8


@pytest.mark.parametrize("sample", [None, 1000])
def test_the_sweep_equals_brute_force(sample):
    blocks = np.array([block_of(z) for z in (-88, -17, -0.051, 0.75, 16.6, 90)])
    (found,) = sweep([STABLE_SIGMOID], blocks=blocks, sample=sample)
    count = BLOCK if sample is None else 167
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
    return Form(SIGMOID, STABLE, "planted", function)


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
    (found,) = outcomes = sweep([planted(function)], blocks=np.array([block_of(0.75)]))
    assert any(message in fault for fault in faults(outcomes)), faults(outcomes)
    if "1 x" in message:
        assert list(found.nearest.values()) == [0.75]


def test_a_form_worse_than_autodiff_by_more_than_an_ulp_is_seen():
    better = Form(SOFTPLUS, LIBRARY, "σ(z)", sigmoid)
    worse = Form(SOFTPLUS, STABLE, "planted", lambda z: sigmoid(z) - jnp.float32(2.0**-23))
    found = sweep([better, worse], blocks=np.array([block_of(20)]))
    assert any("more than 1 ulp worse" in fault for fault in faults(found))
    assert not any("1 ulp worse" in fault for fault in faults([found[0], found[0]]))


def test_progress_ends_at_the_number_of_inputs():
    told = []
    blocks = ALL_BLOCKS[1000:1020]
    sweep([STABLE_SIGMOID], blocks=blocks, progress=lambda *p: told.append(p))
    assert told[-1] == (20 * BLOCK, 20 * BLOCK)
    assert len(told) > 1


@pytest.mark.bad_input
@pytest.mark.parametrize("sample", [0, -5, INPUTS + 1])
def test_a_sample_that_cannot_be_drawn_is_refused(sample):
    with pytest.raises(InputError, match="sample: expected a number from 1 to 4,278,190,080"):
        every_logit.check_sample(sample)


def test_the_profile_by_bins_keeps_the_maximum_and_its_place(outcomes):
    stable = one(outcomes, SIGMOID, STABLE)
    for edges in (UNIT_EDGES, EXPONENT_EDGES):
        worst, failing = binned(stable, edges)
        assert np.nanmax(worst) == pytest.approx(stable.max_ulp)
        assert worst[np.searchsorted(edges, stable.worst_at) - 1] == np.nanmax(worst)
        assert not failing.any()
    naive, _ = binned(one(outcomes, SIGMOID, NAIVE), UNIT_EDGES)
    assert naive[UNIT_EDGES[:-1] == -50] > 1e6
    broken = UNIT_EDGES[:-1][binned(one(outcomes, SIGMOID, NAIVE), UNIT_EDGES)[1]]
    assert broken.tolist() == list(range(-128, -88))
    data = as_data(stable)
    assert float.fromhex(data["worst_at"]) == stable.worst_at
    assert len(data["by_unit"]) == len(UNIT_EDGES) - 1
