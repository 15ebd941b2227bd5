"""Newton's passes as machine code give what the passes of XLA give, and the same optimum."""

import numpy as np
import pytest

from handgrad._precision import x64
from handgrad._types import Coded
from handgrad.errors import InputError
from handgrad.fast import newton, one_pass
from handgrad.fast.newton import api
from handgrad.fast.newton.objective import (
    ProgramCache,
    lay_out,
    value_and_gradient,
    with_hessian,
)

pytest.importorskip("numba")

from handgrad.fast.newton.compiled import CompiledRows


def draw(examples, features, dtype="float64"):
    rng = np.random.default_rng(examples)
    x = rng.normal(1, 2, size=(examples, features)).astype(dtype)
    z = x @ rng.normal(size=features)
    return x, (rng.random(examples) < 1 / (1 + np.exp(-z))).astype(float)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("examples", "features"), [(1, 1), (4_099, 5), (130, 700)])
@pytest.mark.parametrize("scale", [0.1, 40.0])
def test_a_pass_is_that_of_xla(examples, features, dtype, scale):
    x, y = draw(examples, features, dtype)
    theta = scale * np.random.default_rng(1).normal(size=features + 1)
    for labels in (y, np.full(examples, 0.25), np.linspace(0, 1, examples)):
        with x64():
            usual = lay_out(x, labels)
            found = CompiledRows(usual, x, labels).sums(value_and_gradient, ProgramCache(), theta)
            expected = usual.sums(value_and_gradient, ProgramCache(), theta)
        loss, gradient, margin = map(np.asarray, expected)
        np.testing.assert_allclose(found[0], loss, rtol=1e-13, atol=1e-300)
        size = np.abs(x).sum(axis=0).max() + examples
        np.testing.assert_allclose(found[1], gradient, rtol=1e-12, atol=1e-15 * size)
        np.testing.assert_allclose(found[2], margin, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("examples", "features"), [(1, 1), (4_099, 5), (1_130, 300)])
def test_the_hessian_beside_a_pass_is_that_of_xla(examples, features, dtype):
    x, y = draw(examples, features, dtype)
    theta = np.random.default_rng(1).normal(size=features + 1)
    args = with_hessian, ProgramCache(), theta, x.mean(axis=0).astype(float), np.full(features, 2.0)
    with x64():
        usual = lay_out(x, y)
        found, expected = CompiledRows(usual, x, y).sums(*args), usual.sums(*args)
    for ours, theirs in zip(found[:3], map(np.asarray, expected[:3]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-11 * np.abs(theirs).max())
    own, hessian = found[3], np.asarray(expected[3])
    assert own.dtype == np.float64
    np.testing.assert_allclose(own, hessian, atol=1e-6 * hessian.max())


def test_the_hessian_of_codes_is_left_to_xla():
    x = Coded(np.array([[0.0, 1.0], [4.0, 2.0]]), (5, 0))
    with x64():
        usual = lay_out(x, np.ones(2))
        args = with_hessian, ProgramCache(), np.ones(7), np.zeros(6), np.ones(6)
        for ours, theirs in zip(
            CompiledRows(usual, x, np.ones(2)).sums(*args), usual.sums(*args), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_pass_over_codes_is_that_of_xla(dtype):
    rng = np.random.default_rng(0)
    n = 1_300
    values = np.stack([rng.integers(-1, 5, n), rng.normal(size=n), rng.integers(0, 40, n)], axis=1)
    x = Coded(values.astype(dtype), (5, 0, 40))
    theta = rng.normal(size=47)
    for labels in (rng.integers(0, 2, n).astype(float), np.linspace(0, 1, n)):
        with x64():
            usual = lay_out(x, labels)
            found = CompiledRows(usual, x, labels).sums(value_and_gradient, ProgramCache(), theta)
            expected = usual.sums(value_and_gradient, ProgramCache(), theta)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("code", [5, -2, 0.5, np.nan])
def test_a_code_out_of_range_gives_nan(code):
    x = Coded(np.array([[0.0, 1.0], [code, 2.0]]), (5, 0))
    with x64():
        sums = CompiledRows(lay_out(x, np.ones(2)), x, np.ones(2)).sums
        loss, gradient, _ = sums(value_and_gradient, ProgramCache(), np.ones(7))
    assert np.isnan(loss)
    assert np.isnan(gradient).any()


@pytest.fixture
def taken(monkeypatch):
    """Whether machine code was taken, for data of any size."""
    seen = []
    monkeypatch.setattr(api, "LARGE", 0)
    monkeypatch.setattr(api, "LARGE_CODES", 0)
    sums = CompiledRows.sums
    monkeypatch.setattr(CompiledRows, "sums", lambda *args: seen.append(args) or sums(*args))
    return seen


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_optimum_is_the_same(taken, monkeypatch, dtype):
    x, y = draw(20_011, 6, dtype)
    found = newton.fit(None, x, y, 1e-3)
    assert taken
    taken.clear()
    monkeypatch.setenv(one_pass.VARIABLE, "xla")
    usual = newton.fit(None, x, y, 1e-3)
    assert not taken
    assert found.converged
    assert usual.converged
    np.testing.assert_allclose(found.params.weight, usual.params.weight, atol=1e-8)
    np.testing.assert_allclose(found.loss, usual.loss, rtol=1e-13)


def test_the_optimum_of_codes_is_that_of_columns(taken):
    rng = np.random.default_rng(1)
    n = 3_000
    values = np.stack([rng.integers(0, 7, n), rng.normal(size=n)], axis=1).astype(float)
    columns = np.concatenate([np.eye(7)[values[:, 0].astype(int)], values[:, 1:]], axis=1)
    y = (rng.random(n) < 1 / (1 + np.exp(-np.sin(values[:, 0]) - values[:, 1]))).astype(float)
    by_codes = newton.fit(None, Coded(values, (7, 0)), y, 1e-3)
    assert isinstance(taken[0][0].x, Coded)
    by_columns = newton.fit(None, columns, y, 1e-3)
    np.testing.assert_allclose(by_codes.params.weight, by_columns.params.weight, atol=1e-8)


def test_what_it_does_not_suit_is_left_to_xla(taken):
    x, y = draw(40, 2)
    newton.fit(None, x, np.arange(40) % 3, 1e-3)
    newton.fit(None, x.astype("float16"), y, 1e-3)
    newton.fit(None, np.asfortranarray(x), y, 1e-3)
    newton.fit(None, x, y, 1e-3, sample_weight=np.ones(40))
    assert not taken


def test_features_that_are_no_numbers_and_separable_classes(taken):
    x, y = draw(40, 2)
    x[3, 1] = np.nan
    with pytest.raises(InputError, match="x: expected finite"):
        newton.fit(None, x, y, 1e-3)
    x[3, 1] = 0
    assert newton.fit(None, x, (x[:, 0] > 1).astype(float)).separable
    assert taken
