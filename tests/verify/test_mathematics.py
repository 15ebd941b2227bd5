"""The first question, in balls: digits, rounded constants, what is done if autodiff is wrong."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb, ctx

from handgrad._precision import x64
from handgrad.verify import mathematics, verify
from handgrad.verify.mathematics import agreed_digits, compare_with_truth
from handgrad.verify.witnesses import Problem, trace_all

pytestmark = pytest.mark.usefixtures("without_diagnosis")

AT = (np.array([0.3, -1.2]),)


def halves(x):
    """½ x² / √2 with √2 as NumPy rounds it, before JAX sees it."""
    return jnp.sum(0.5 * x * x / np.sqrt(2).astype(x.dtype))


def by_sqrt_2(x):
    return x / jnp.sqrt(jnp.asarray(2.0, x.dtype))


@pytest.fixture
def precise():
    with ctx.workprec(400):
        yield


@pytest.mark.usefixtures("precise")
@pytest.mark.parametrize(
    ("a", "b", "digits"),
    [
        (arb(1), arb(1), math.inf),
        (arb(0), arb(0), math.inf),
        (arb(-1), arb(1), -0.31),
        (arb("nan"), arb(1), -math.inf),
        (arb("nan"), arb("nan"), -math.inf),
        (arb("inf"), arb("inf"), math.inf),
        (arb("inf"), arb("-inf"), -math.inf),
        (arb(1), arb("inf"), -math.inf),
    ],
    ids=str,
)
def test_digits_in_common(a, b, digits):
    assert agreed_digits(a, b) == pytest.approx(digits, abs=0.01)


@pytest.mark.usefixtures("precise")
@pytest.mark.parametrize("size", ["1e-300", "1", "1e300"])
def test_digits_are_relative_to_the_truth_and_to_nothing_else(size):
    truth = arb(size)
    assert agreed_digits(truth * (1 + arb("1e-20")), truth) == pytest.approx(20, abs=0.01)


@pytest.mark.usefixtures("precise")
def test_a_truth_of_zero_is_zero():
    assert agreed_digits(arb("1e-30"), arb(0)) < -200


def test_a_constant_rounded_by_numpy_is_identical_as_far_as_it_goes():
    verdict = verify(by_sqrt_2, of=halves, at=AT, evaluations=100)
    assert (verdict.ok, verdict.hand) == (True, "identical")
    assert 14 <= verdict.digits <= 17
    assert "rounded constants" in verdict.notes
    assert all(row.exact_points > 1 and row.hand_max_ulp < 2 for row in verdict.numerics)


def test_a_rounded_constant_excuses_no_error_of_1e_13():
    verdict = verify(lambda x: by_sqrt_2(x) * (1 + 1e-13), of=halves, at=AT, evaluations=0)
    assert (verdict.ok, verdict.hand) == (False, "different")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_nor_does_it_in_a_narrow_dtype(dtype):
    def one_percent(x):
        return by_sqrt_2(x) * 1.25

    for gradient, ok in ((by_sqrt_2, True), (one_percent, False)):
        assert verify(gradient, of=halves, at=AT, dtypes=(dtype,), evaluations=0).ok == ok


@pytest.mark.parametrize("digits", [10, 200])
def test_as_many_digits_as_are_asked_for(digits):
    verdict = verify(
        lambda z: jax.nn.sigmoid(z), of=lambda z: jnp.sum(jax.nn.softplus(z)), at=AT,
        digits=digits, evaluations=0,
    )  # fmt: skip
    assert (verdict.hand, verdict.digits) == ("identical", digits)


def finding(gradient, loss, at, reference="truth"):
    with x64():
        programs = trace_all(Problem(gradient, loss, at), "float64")
        rng = np.random.default_rng(0)
        return compare_with_truth(programs, jax.tree.leaves(at), 30, rng, reference)


@jax.custom_vjp
def misled(x):
    return jnp.sum(x**3)


misled.defvjp(lambda x: (jnp.sum(x**3), x), lambda x, c: (c * 2 * x**2,))


def test_where_autodiff_is_wrong_hand_is_held_against_differences():
    right = finding(lambda x: 3 * x**2, misled, AT)
    assert (right.hand, right.autodiff) == ("identical", "different")
    assert right.truth.startswith("differences of the loss")
    assert right.digits == 30
    wrong = finding(lambda x: 2 * x**2, misled, AT)
    assert (wrong.hand, wrong.autodiff) == ("different", "different")
    assert any("the gradient is what jax.grad gives" in note for note in wrong.notes)


def test_of_many_coordinates_some_are_drawn_and_the_miss_is_stated(monkeypatch):
    """Where directions can certify nothing, as |x| at 0 has no slope along them."""
    monkeypatch.setattr(mathematics, "MOST_COORDINATES", 4)
    at = (np.array([0.0, *range(1, 10)]),)
    found = finding(lambda x: jnp.sign(x), lambda x: jnp.sum(jnp.abs(x)), at)
    assert found.hand in ("identical", "valid subgradient")
    (note,) = [note for note in found.notes if note.startswith("4 of 10 coordinates")]
    assert "an error that jax.grad shares is missed with probability 0.6 in one coordinate" in note


def test_directions_certify_hand_where_autodiff_is_wrong_and_coordinates_are_many(monkeypatch):
    monkeypatch.setattr(mathematics, "MOST_COORDINATES", 4)
    at = (np.arange(1.0, 11.0),)
    found = finding(lambda x: 3 * x**2, misled, at)
    assert (found.hand, found.autodiff, found.compared) == ("identical", "different", 10)
    wrong = finding(lambda x: (3 * x**2).at[7].add(1), misled, at)
    assert wrong.hand in ("different", "undecided")
    both = finding(lambda x: 2 * x**2, misled, at)
    assert (both.hand, both.autodiff) == ("different", "different")


def test_cancellation_is_no_concern_of_mathematics():
    """1 − cos² for sin², at 1e-9: float64 gives 0."""
    found = finding(
        lambda x: 1 - jnp.cos(x) ** 2, lambda x: jnp.sum(x / 2 - jnp.sin(2 * x) / 4),
        (np.array([1e-9]),),
    )  # fmt: skip
    assert (found.hand, found.digits) == ("identical", 30)


def test_what_jax_approximates_is_held_to_the_digits_of_the_approximation():
    """Spence's function is a ratio of polynomials in JAX: its slope is log x/(1 − x) but nearly."""
    question = {
        "of": lambda x: jax.scipy.special.spence(x), "at": (np.array(1.2),),
        "dtypes": ("float64",), "evaluations": 0,
    }  # fmt: skip
    verdict = verify(lambda x: jnp.log(x) / (1 - x), **question)
    assert (verdict.ok, verdict.hand) == (True, "identical")
    assert any("JAX approximates jax.scipy.special.spence" in note for note in verdict.notes)
    assert verify(lambda x: (1 + 1e-8) * jnp.log(x) / (1 - x), **question).hand == "different"
