"""The verdict as a whole: what passes, what fails and how it is named, and what is refused."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import handgrad as hg
from handgrad._precision import x64
from handgrad.catalogue import CASES, case
from handgrad.errors import InputError
from handgrad.verify import verify
from handgrad.verify.ulp import ALLOWANCE

AT = (np.array([1.0, -0.5, 3.0]),)
SAMPLE = ("sigmoid", "relu", "binary_cross_entropy", "softmax", "logistic_l2")


def energy(x):
    return jnp.sum(x * x)


def double(x):
    return 2 * x


def judged(name, **options):
    entry = case(name)
    with x64():
        at = entry.example(jax.random.key(0))
    return verify(entry.gradient, of=entry.loss, at=at, argnums=entry.argnums, name=name, **options)


# --- the catalogue --------------------------------------------------------------------------------


@pytest.mark.digits
@pytest.mark.parametrize("name", SAMPLE)
def test_the_catalogue_is_identical_to_its_losses_and_within_the_bound(name):
    """At the point given hand's error is at most 64 (1 + conditioning) ulp, in both dtypes."""
    verdict = judged(name, evaluations=0)
    assert verdict.ok, str(verdict)
    assert (verdict.hand, verdict.digits) == ("identical", 60)
    for row in verdict.numerics:
        assert row.exact_points == 1
        assert row.hand_bad == 0
        assert row.hand_max_ulp <= ALLOWANCE * (1 + row.conditioning_ulp), str(verdict)


@pytest.mark.slow
@pytest.mark.parametrize("name", [entry.name for entry in CASES])
def test_the_whole_catalogue_with_its_search(name):
    verdict = judged(name)
    assert (verdict.ok, verdict.hand, verdict.digits) == (True, "identical", 60), str(verdict)


@pytest.mark.digits
def test_autodiff_is_at_fault_for_the_sigmoid_at_17():
    entry = case("sigmoid")
    verdict = verify(entry.gradient, of=entry.loss, at=(np.array([17.0]),), dtypes=("float32",))
    assert verdict.ok
    assert any("in float32, jax.grad is 0 at z[0] = 17" in note for note in verdict.notes)
    at_17 = verify(
        entry.gradient, of=entry.loss, at=(np.array([17.0]),), dtypes=("float32",), evaluations=0
    )
    (row,) = at_17.numerics
    assert (row.autodiff_bad, row.hand_bad) == (1, 0)
    assert float.fromhex(row.autodiff_worst_at.computed) == 0
    assert float(row.autodiff_worst_at.truth) == pytest.approx(4.1399374e-8, rel=1e-7)
    assert row.hand_ulp <= 4


@pytest.mark.digits
def test_half_precision_on_request_and_x64_left_as_it_was():
    before = jax.config.jax_enable_x64
    entry = case("sigmoid")
    verdict = verify(
        entry.gradient, of=entry.loss, at=(np.array([0.5, -3.0]),),
        dtypes=("bfloat16", "float16", "float64"), evaluations=80,
    )  # fmt: skip
    assert verdict.ok
    assert [row.dtype for row in verdict.numerics] == ["bfloat16", "float16", "float64"]
    assert all(row.hand_max_ulp < 4 for row in verdict.numerics)
    assert jax.config.jax_enable_x64 == before
    assert jnp.zeros(()).dtype == ("float64" if before else "float32")


# --- what is wrong is caught and named ------------------------------------------------------------


def test_the_tester_is_tested():
    verdict = verify(lambda x: 2.001 * x, of=energy, at=AT, evaluations=0)
    assert (verdict.ok, verdict.hand) == (False, "different")
    assert "1.0005" in verdict.cause
    assert str(verdict).startswith("<lambda>: NOT right: wrong at x[")


def test_one_coordinate_among_hundreds():
    def planted(x):
        return 2 * x * jnp.ones_like(x).at[77].add(1e-12)

    at = (np.random.default_rng(0).normal(size=300),)
    verdict = verify(planted, of=energy, at=at, evaluations=0, dtypes=("float64",))
    assert (verdict.ok, verdict.where) == (False, "x[77]")
    assert verdict.compared >= 300


@pytest.mark.parametrize(
    ("gradient", "words"),
    [(lambda x: -2 * x, "sign"), (lambda x: x * jnp.nan, "NaN"), (lambda x: 0 * x, "zero")],
    ids=["sign", "NaN", "zero"],
)
def test_sign_flips_nan_and_zeros(gradient, words):
    verdict = verify(gradient, of=energy, at=AT, evaluations=0)
    assert (verdict.ok, verdict.hand) == (False, "different")
    assert words in verdict.cause


@pytest.mark.usefixtures("without_diagnosis")
@pytest.mark.parametrize("is_right", [True, False])
def test_a_branch_that_only_large_biases_take(is_right):
    """Where 1/cosh² underflows: weights alone leave an example out of that branch, and hide it."""
    x = np.random.default_rng(0).normal(size=(12, 3))

    def loss(w, b):
        return jnp.sum(jnp.tanh(x @ w + b))

    def gradient(w, b):
        a = -jnp.abs(x @ w + b)
        e, root = jnp.exp(2 * a), 2 * jnp.exp(a)
        far = root**2 if is_right else root
        slope = jnp.where(e < np.finfo(np.float64).tiny, far, 4 * e) / (1 + e) ** 2
        return x.T @ slope, jnp.sum(slope)

    at = (np.array([0.3, -0.5, 0.2]), np.float64(0.1))
    found = verify(gradient, of=loss, at=at, argnums=(0, 1), dtypes=("float64",))
    assert found.ok == is_right
    assert is_right or found.hand == "different"


def test_nan_equals_nothing_not_even_the_nan_of_the_loss():
    verdict = verify(lambda x: x * jnp.nan, of=lambda x: energy(x) * jnp.nan, at=AT)
    assert not verdict.ok


@pytest.mark.parametrize(
    ("gradient", "words"),
    [
        (lambda x: (2 * x,), "the gradient is PyTreeDef"),
        (lambda x: 2 * x[:, None], r"float32[3, 1], jax.grad gives float32[3]"),
        (lambda x: jnp.sum(2 * x), r"float32[], jax.grad gives float32[3]"),
        (lambda x: (2 * x).astype(jnp.float32), "float64: leaf gradient is float32[3]"),
        (lambda x: None, "the gradient is PyTreeDef(None)"),
    ],
    ids=["tree", "shape", "scalar", "dtype", "nothing"],
)
def test_the_structure_must_be_that_of_jax_grad(gradient, words):
    verdict = verify(gradient, of=energy, at=AT)
    assert not verdict.ok
    assert words in verdict.structure
    assert verdict.structure in str(verdict).splitlines()[0]


@pytest.mark.usefixtures("without_diagnosis")
def test_wrong_only_in_the_arithmetic_of_one_dtype():
    def careless(x):
        return x * (2 if x.dtype == np.float64 else 3)

    verdict = verify(careless, of=energy, at=AT, evaluations=0)
    assert (verdict.ok, verdict.hand) == (False, "different")
    assert verdict.evidence.place == "at the point given, in float32"


def test_right_algebra_that_fails_at_the_point_given_is_not_right():
    def textbook(z):
        return jax.nn.sigmoid(z) * (1 - jax.nn.sigmoid(z))

    def total(z):
        return jnp.sum(jax.nn.sigmoid(z))

    verdict = verify(textbook, of=total, at=(np.array([17.0]),), evaluations=0)
    assert (verdict.ok, verdict.hand) == (False, "identical")
    assert str(verdict).startswith("textbook: NOT right: no digit is right in float32 at z[0]\n")
    found = verdict.evidence
    assert (found.coordinate, found.own, found.answer) == ("z[0]", "17", "0")
    assert found.truth.startswith("4.1399374")
    assert verify(textbook, of=total, at=(np.array([1.0]),), evaluations=0).ok


def test_nothing_to_compare_is_not_right():
    verdict = verify(double, of=energy, at=(np.zeros(0),))
    assert (verdict.ok, verdict.compared) == (False, 0)
    assert "nothing was compared" in str(verdict)


# --- reference ------------------------------------------------------------------------------------


def straight_through(x):
    rounded = x + jax.lax.stop_gradient(jnp.round(x) - x)
    return jnp.sum(rounded**2)


REFERENCES = {
    "straight-through": (straight_through, lambda x: 2 * jnp.round(x)),
    "stop_gradient": (lambda x: jnp.sum(x * jax.lax.stop_gradient(x)), lambda x: x),
}


@pytest.mark.usefixtures("without_diagnosis")
@pytest.mark.parametrize("name", REFERENCES)
def test_autodiff_can_be_named_the_reference(name):
    loss, gradient = REFERENCES[name]
    at = (np.array([0.3, 1.7]),)
    verdict = verify(gradient, of=loss, at=at, reference="autodiff", evaluations=100)
    assert (verdict.ok, verdict.hand, verdict.autodiff) == (True, "identical", "reference")
    assert (verdict.reference, verdict.truth) == ("autodiff", "autodiff")
    verdict = verify(gradient, of=loss, at=at, evaluations=100)
    assert (verdict.ok, verdict.hand, verdict.autodiff) == (False, "different", "different")
    assert any("reference='autodiff'" in note for note in verdict.notes)


def test_the_real_derivative_is_right_where_autodiff_is_told_to_stop():
    loss, _ = REFERENCES["stop_gradient"]
    verdict = verify(double, of=loss, at=(np.array([0.3, 1.7]),), evaluations=0)
    assert (verdict.ok, verdict.hand, verdict.autodiff) == (True, "identical", "different")


# --- arguments ------------------------------------------------------------------------------------


def product(a, b):
    return jnp.sum(a * a * b)


@pytest.mark.usefixtures("without_diagnosis")
def test_argnums_is_that_of_jax_grad():
    at = np.array([1.5, 2.0]), np.array([3.0, 4.0])
    options = {"of": product, "at": at, "evaluations": 0}
    assert verify(lambda a, b: (a * a, 2 * a * b), argnums=(1, 0), **options).ok
    assert verify(lambda a, b: a * a, argnums=-1, **options).ok
    swapped = verify(lambda a, b: (2 * a * b, a * a), argnums=(1, 0), **options)
    assert (swapped.ok, swapped.hand) == (False, "different")


def test_argnums_may_be_a_tree():
    def loss(params, x):
        return jnp.sum(params["w"] ** 2 * x) + params["b"] ** 3

    at = ({"w": np.array([1.0, 2.0]), "b": np.array(0.5)}, np.array([3.0, 4.0]))
    verdict = verify(
        lambda p, x: {"w": 2 * p["w"] * x, "b": 3 * p["b"] ** 2 * (1 + 1e-9)},
        of=loss, at=at, evaluations=0,
    )  # fmt: skip
    assert (verdict.ok, verdict.where) == (False, "params['b']")


def test_the_same_seed_gives_the_same_certificate():
    first, second = (judged("sigmoid", evaluations=100, seed=3).to_json() for _ in range(2))
    assert first == second


def test_handgrad_verify_is_this_function():
    assert hg.verify is verify
    assert list(inspect.signature(hg.verify).parameters)[:4] == ["gradient", "of", "at", "argnums"]
    assert hg.verify.__doc__.startswith("Judge `gradient`")


@pytest.mark.parametrize(
    ("args", "options", "words"),
    [
        ((double, energy, AT), {}, "got 3 arguments without names; write verify(gradient, of="),
        ((double, energy), {"at": AT}, "got 2 arguments without names"),
        (
            (double,),
            {"at": AT},
            "verify: expected a gradient, then of= and at= by name, got no of=",
        ),
        ((), {"gradient": double, "of": energy}, "got no at="),
    ],
    ids=["three", "two", "no loss", "no point"],
)
def test_a_positional_call_is_answered_in_words(args, options, words):
    with pytest.raises(InputError) as refusal:
        hg.verify(*args, **options)
    assert words in str(refusal.value)


def raises(*_):
    raise RuntimeError("out of ideas")


REFUSED = {
    "at is no tuple": ({"at": AT[0]}, "at: expected a tuple"),
    "NaN in at": ({"at": (np.array([np.nan, 1.0]),)}, "at: expected finite numbers"),
    "too large": ({"at": (np.array([1e6]),), "dtypes": ("float16",)}, "finite numbers in float16"),
    "integers": (
        {"at": (np.arange(3),)},
        "argnums: expected floating leaves, got argument 0 of dtype",
    ),
    "integer leaf": (
        {"of": lambda p: p["a"], "at": ({"a": np.float64(1), "n": np.int32(3)},)},
        r"argument 0\['n'\] of dtype int32",
    ),
    "argnums beyond": ({"argnums": 3}, "argnums: expected positions within 1"),
    "argnums a name": ({"argnums": "x"}, "argnums: expected an integer"),
    "argnums nothing": ({"argnums": ()}, "argnums: expected an integer"),
    "loss not scalar": ({"of": lambda x: x * x}, "of: expected a loss with one real number"),
    "loss raises": ({"of": raises}, "of: .*RuntimeError: out of ideas"),
    "gradient raises": ({"gradient": raises}, "gradient: .*RuntimeError: out of ideas"),
    "evaluations": ({"evaluations": -1}, "evaluations: expected 0 to 10,000,000"),
    "evaluations a float": ({"evaluations": 2.5}, "evaluations: expected an integer"),
    "digits": ({"digits": 0}, "digits: expected 1 to 1,000"),
    "seed": ({"seed": "lucky"}, "seed: expected an integer"),
    "no dtypes": ({"dtypes": ()}, "dtypes: expected some of float64"),
    "one dtype": ({"dtypes": "float32"}, "dtypes: expected some of float64"),
    "unknown dtype": ({"dtypes": ("float8",)}, "dtypes: expected some of float64"),
    "reference": ({"reference": "me"}, "reference: expected 'truth' or 'autodiff'"),
    "points of another shape": ({"points": lambda key: (jnp.ones(4),)}, "points: expected argum"),
    "points no tuple": ({"points": lambda key: jnp.ones(3)}, "points: expected arguments"),
    "points without a key": ({"points": lambda: AT}, "points: expected a function of one random"),
    "points a number": ({"points": 3}, "points: expected a function of a random key"),
    "seed below 0": ({"seed": -1}, "seed: expected 0 or more"),
    "rules a list": ({"rules": []}, "rules: expected a dict"),
    "name a number": ({"name": 3}, "name: expected text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused_in_words(name):
    changes, words = REFUSED[name]
    arguments = {"gradient": double, "of": energy, "at": AT, **changes}
    with pytest.raises(InputError, match=words):
        verify(arguments.pop("gradient"), **arguments)


def bits(x):
    whole = jax.lax.bitcast_convert_type(x, jnp.int32 if x.dtype == jnp.float32 else jnp.int64)
    return jnp.sum(jax.lax.bitcast_convert_type(whole + 1, x.dtype))


def root(x):
    return jnp.sum(jnp.where(x > 0, jnp.sqrt(jnp.maximum(x, 0)), 0))


NEXT = {
    "a jump": (lambda x: jnp.sum(jnp.floor(x)), jnp.ones_like, "undecided", "beside the jump"),
    "bits": (bits, jnp.ones_like, "undecided", "jnp.ldexp"),
    "a NaN at a kink": (root, lambda x: x / 0, "NOT right", "from 0 to inf"),
}


@pytest.mark.parametrize("name", NEXT)
def test_the_next_step_fits_what_was_found(name):
    loss, gradient, said, step = NEXT[name]
    at = (np.array([0.0 if loss is root else 1.0]),)
    text = str(verify(gradient, of=loss, at=at, evaluations=0))
    assert f": {said}: " in text.splitlines()[0]
    assert step in next(line for line in text.splitlines() if line.startswith("  next "))
    assert "output entry" not in text
