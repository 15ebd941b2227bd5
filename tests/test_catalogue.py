"""The catalogue: every gradient agrees with its loss, and an error planted in any is seen."""

import functools

import jax
import numpy as np
import pytest

from handgrad._precision import x64
from handgrad.catalogue import CASES, case
from handgrad.errors import InputError
from handgrad.verify import agree, agreement, witnesses

DTYPES = ("float32", "float64")
NAMES = [entry.name for entry in CASES]
SAMPLE = NAMES[::5]
"""All are compared in floats by `make proofs`; in exact arithmetic, by the tests of derivations."""
autodiff = functools.cache(witnesses.autodiff)


@pytest.fixture(autouse=True)
def compile_autodiff_once_per_case(monkeypatch):
    """One function object for each loss, so that JAX finds its program again."""
    monkeypatch.setattr(agreement, "autodiff", autodiff)


@functools.cache
def point(name, seed=0):
    with x64():
        return case(name).example(jax.random.key(seed))


@functools.cache
def compiled(name):
    """One program for the hand-derived gradient instead of one for each operation."""
    return jax.jit(case(name).gradient)


@functools.cache
def right_answer(name, dtype):
    """The catalogued gradient in a dtype, as NumPy arrays."""
    with x64():
        answer = compiled(name)(*witnesses.round_to(point(name), dtype))
        return jax.tree.map(np.asarray, answer)


def judged(name, gradient, dtypes=DTYPES):
    entry = case(name)
    return agree(gradient, of=entry.loss, at=point(name), argnums=entry.argnums, dtypes=dtypes)


def planted(name, leaf, index):
    """The catalogued gradient with an error of 0.1% in one coordinate (0.001 where it is 0)."""

    def gradient(*args):
        dtype = next(str(a.dtype) for a in jax.tree.leaves(args) if witnesses.is_float(a))
        leaves, structure = jax.tree.flatten(right_answer(name, dtype))
        leaves[leaf] = np.array(leaves[leaf])
        leaves[leaf][index] += leaves[leaf][index] / 1000 or 1e-3
        return structure.unflatten(leaves)

    return gradient


def coordinates(name):
    """The largest coordinate of each leaf, and one coordinate drawn from all that are not 0."""
    leaves = jax.tree.leaves(right_answer(name, "float64"))
    chosen = [(i, np.unravel_index(abs(a).argmax(), a.shape)) for i, a in enumerate(leaves)]
    others = [(i, tuple(index)) for i, a in enumerate(leaves) for index in np.argwhere(a)]
    if others:
        chosen.append(others[np.random.default_rng(len(name)).integers(len(others))])
    return [(i, tuple(map(int, index))) for i, index in chosen]


def assert_it_agrees(name):
    result = judged(name, compiled(name))
    assert result.fault is None
    assert result.ok
    assert {leaf.dtype for leaf in result.leaves} == set(DTYPES)


@pytest.mark.parametrize("name", SAMPLE)
def test_the_gradient_agrees_with_autodiff_in_both_dtypes(name):
    assert_it_agrees(name)


@pytest.mark.parametrize("name", SAMPLE)
def test_an_error_of_a_thousandth_in_one_coordinate_is_seen_and_named(name):
    assert_errors_are_named(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SAMPLE])
def test_the_rest_of_the_catalogue(name):
    assert_it_agrees(name)
    assert_errors_are_named(name)


def assert_errors_are_named(name):
    paths = [
        path or "gradient" for path, _ in witnesses.named_leaves(right_answer(name, "float64"))
    ]
    for leaf, index in coordinates(name):
        result = judged(name, planted(name, leaf, index))
        assert not result.ok
        faults = [(row.dtype, row.leaf, row.worst_at) for row in result.leaves if row.fault]
        assert faults == [(dtype, paths[leaf], index) for dtype in DTYPES]
        place = paths[leaf] + (str(list(index)) if index else "")
        assert result.fault.startswith(f"float32 {place}: hand ")


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES) >= 42


def test_every_key_draws_an_example_of_its_own():
    first, other = (point("softplus", seed)[0] for seed in (0, 1))
    with x64():
        assert (case("softplus").example(jax.random.key(0))[0] == first).all()
        assert not (first == other).any()


def test_a_case_is_found_by_its_name():
    assert case("logistic").name == "logistic"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("logistc", "logistic"), ("mlp_tanh", "mlp_tanh_binary"), ("?", "logistic")],
)
def test_an_unknown_name_is_refused_with_the_closest_ones(name, suggestion):
    with pytest.raises(InputError, match=r"case: expected a name from the catalogue") as refusal:
        case(name)
    assert suggestion in refusal.value.remedy
