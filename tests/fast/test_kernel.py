"""The compiled kernel gives the reference's loss and gradient, and the truth to a few ulp."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import handgrad as hg
from handgrad._precision import x64
from handgrad.errors import InputError
from handgrad.fast import one_pass
from handgrad.gradients import logistic, softmax_regression
from handgrad.gradients.linear import Params

pytest.importorskip("numba")
from numba import njit

from handgrad.fast import kernel

compiled = jax.jit(one_pass.value_and_gradient, static_argnames="form")
exactly = {model: jax.jit(model.value_and_gradient) for model in (logistic, softmax_regression)}


def problem(n, d, k, scale=2.0):
    """Parameters, features and labels, of logits about `scale`."""
    rng = np.random.default_rng(n)
    outputs = (k,) if k else ()
    weight = (scale / np.sqrt(d) * rng.normal(size=(d, *outputs))).astype(np.float32)
    params = Params(weight, rng.normal(size=outputs).astype(np.float32))
    x = rng.normal(size=(n, d)).astype(np.float32)
    y = rng.integers(0, k, n).astype(np.int32) if k else rng.random(n).astype(np.float32)
    return params, x, y


def in_float64(params, x, y):
    model = logistic if np.ndim(params.weight) == 1 else softmax_regression
    with x64():
        to = lambda a: jnp.asarray(a, jnp.float64 if a.dtype == np.float32 else None)
        return exactly[model](Params(*map(to, params)), to(x), to(y))


@pytest.mark.parametrize(
    ("n", "d", "k"),
    [
        (1, 1, 0), (3, 2, 0), (517, 37, 0), (129, 1031, 0), (2, 1, 2), (1, 3, 2), (301, 33, 3),
        (67, 10, 10), (131, 513, 32),
    ],
)  # fmt: skip
def test_it_equals_the_reference_at_shapes_that_divide_nothing(n, d, k):
    args = problem(n, d, k)
    value, gradient = compiled(*args, form="numba")
    expected_value, expected = in_float64(*args)
    np.testing.assert_allclose(value, expected_value, rtol=1e-6, atol=1e-30)
    assert gradient.weight.shape == args[0].weight.shape
    assert gradient.bias.shape == np.shape(args[0].bias)
    for ours, theirs in zip(gradient, expected, strict=True):
        largest = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * largest + 1e-30)


def ulps(given, truth):
    """The largest error where the truth is a normal number, in units of its last place."""
    normal = np.abs(truth) >= np.finfo(np.float32).tiny
    unit = np.spacing(np.abs(truth).astype(np.float32)).astype(np.float64)
    return (np.abs(given.astype(np.float64) - truth) / unit)[normal].max()


every_999th = np.arange(0, 0x7F800000, 999, dtype=np.int32).view(np.float32)


@njit
def of_each(function, at, values):
    for i in range(len(at)):
        values[i] = function(at[i])
    return values


def test_the_functions_over_all_numbers():
    """As the docstrings of the kernel and the chapter say: 1.1 and 2.0 ulp."""
    given = of_each(kernel.exp, -every_999th, np.empty_like(every_999th))
    assert ulps(given, np.exp(-every_999th.astype(np.float64))) <= 1.1
    given = of_each(kernel.log1p, every_999th, np.empty_like(every_999th))
    assert ulps(given, np.log1p(every_999th.astype(np.float64))) <= 2.0
    ends = np.array([-np.inf, 0.0, np.nan, -104.0, -87.5], np.float32)
    np.testing.assert_allclose(
        of_each(kernel.exp, ends, np.empty_like(ends)), [0, 1, np.nan, 0, 1e-38], rtol=2e-2
    )


@pytest.mark.parametrize(("sign", "label"), [(1, 0), (1, 1), (-1, 0), (-1, 1)])
def test_binary_losses_and_residuals_over_all_logits(sign, label):
    z = sign * every_999th
    exact = np.float64(sign) * every_999th
    loss, residual = np.empty_like(z), z.copy()
    kernel.binary(residual, np.full(len(z), label, np.float32), loss)
    with np.errstate(over="ignore"):
        towards = exact if label == 0 else -exact
        assert ulps(loss, np.logaddexp(0, towards)) <= 3.0
        right = 1 / (1 + np.exp(-towards))
    assert ulps(residual, right if label == 0 else -right) <= 2.5


def test_infinite_logits():
    z = np.array([np.inf, -np.inf, np.inf, -np.inf, np.nan], np.float32)
    loss = np.empty_like(z)
    kernel.binary(z, np.array([1, 0, 0, 1, 1], np.float32), loss)
    np.testing.assert_array_equal(loss, [0, 0, np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(z, [0, 0, 1, -1, np.nan])


@pytest.mark.digits
def test_a_certain_class_keeps_its_digits_and_an_unknown_one_is_nan():
    weight = np.zeros((1, 3), np.float32)
    weight[0, 1] = 17
    params = Params(weight, np.zeros(3, np.float32))
    x, y = np.ones((5, 1), np.float32), np.ones(5, np.int32)
    value, gradient = compiled(params, x, y, form="numba")
    np.testing.assert_allclose(value, 2 * 4.1399374e-8, rtol=3e-7)
    by_class = np.array([[1, -2, 1]]) * 4.1399374e-8
    np.testing.assert_allclose(gradient.weight, by_class, rtol=3e-7)
    for wrong in (-1, 3):
        y[2] = wrong
        value, gradient = compiled(params, x, y, form="numba")
        assert np.isnan(value)
        assert np.isnan(gradient.weight).all()


@pytest.mark.parametrize("k", [0, 4])
def test_the_judge_finds_nothing(k):
    """Machine code cannot be traced: its numbers are judged, by the bound for such gradients."""
    model = softmax_regression if k else logistic
    params, x, y = problem(9, 3, k)

    def gradient(params, x, y):
        arrays = np.asarray(x, np.float32), np.asarray(y, np.int32 if k else np.float32)
        single = Params(*(np.asarray(leaf, np.float32) for leaf in params))
        return Params(*map(np.asarray, compiled(single, *arrays, form="numba")[1]))

    verdict = hg.verify(
        gradient, of=model.loss, at=(params, x, y), dtypes=("float32",), evaluations=50
    )
    assert verdict.ok, str(verdict)
    assert verdict.hand == "not traceable"


def test_derivatives_and_batches():
    """Of machine code there is no derivative: XLA's form has it."""
    params, x, y = problem(20, 3, 0)
    params = Params(*map(jnp.asarray, params))
    losses = {
        form: jax.jit(lambda p, form=form: one_pass.value_and_gradient(p, x, y, form=form)[0])
        for form in ("numba", "xla")
    }
    for of in (jax.grad, jax.hessian):
        given, expected = (jax.tree.leaves(jax.jit(of(loss))(params)) for loss in losses.values())
        for ours, theirs in zip(given, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), params)
    given, expected = (jax.jit(jax.vmap(loss))(several) for loss in losses.values())
    np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_several_runs_at_once():
    args = problem(5_000, 20, 3)
    expected = compiled(*args, form="numba")[1].weight
    found = []
    runs = [
        threading.Thread(target=lambda: found.append(compiled(*args, form="numba")[1].weight))
        for _ in range(8)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(found) == 8
    for weight in found:
        np.testing.assert_array_equal(weight, expected)


def taken(*args, **options):
    """Whether a program calls the kernel."""
    run = jax.make_jaxpr(lambda: one_pass.value_and_gradient(*args, **options))
    return kernel.NAME in str(run())


def test_which_form_is_taken(monkeypatch):
    params, x, y = problem(50, 3, 0)
    measured = []

    def times_as_fast(features, classes):
        measured.append((features, classes))
        return measured_speed

    monkeypatch.setattr(one_pass, "times_as_fast", times_as_fast)
    measured_speed = 1.4
    assert not taken(params, x, y)  # too small to be worth a measurement
    assert measured == []
    monkeypatch.setattr(one_pass, "LARGE", 600)
    assert taken(params, x, y)
    assert measured == [(3, 0)]
    measured_speed = 1.2
    assert not taken(params, x, y)
    assert taken(params, x, y, form="numba")
    for form in ("numba", "xla"):
        monkeypatch.setenv(one_pass.VARIABLE, form)
        assert taken(params, x, y) == (form == "numba")
        assert not taken(params, x, y, rows=7)  # a block of XLA's
        assert not taken(params, x, y, form="xla")
    assert len(measured) == 2
    monkeypatch.setenv(one_pass.VARIABLE, "fast")
    with pytest.raises(InputError, match=one_pass.VARIABLE):
        taken(params, x, y)


@pytest.mark.parametrize("classes", [0, 3])
def test_the_measurement(monkeypatch, classes):
    monkeypatch.setattr(one_pass, "SAMPLE", 4_000)
    assert 0 < one_pass.times_as_fast.__wrapped__(10, classes) < np.inf


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p, x, y: (p, x, np.eye(3)[y].astype(np.float32)), "a label for each class"),
        (lambda p, x, y: problem(5, 2, 33), "more than 32 classes"),
        (lambda p, x, y: problem(5, 2, 1), "one class"),
        (lambda p, x, y: (Params(*(a.astype(np.float16) for a in p)), x.astype(np.float16), y),
         "dtype float16"),
    ],
)  # fmt: skip
def test_what_it_cannot_take_is_refused_and_left_to_xla(change, reason, monkeypatch):
    args = change(*problem(5, 2, 3))
    with pytest.raises(InputError, match=f"form: .*{reason}"):
        one_pass.value_and_gradient(*args, form="numba")
    monkeypatch.setenv(one_pass.VARIABLE, "numba")
    assert not taken(*args)
