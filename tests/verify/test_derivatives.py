"""Products with a Jacobian, Hessians, rules and objectives: right, wrong and refused ones."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handgrad.errors import InputError
from handgrad.verify import (
    derivatives,
    verify_hessian,
    verify_jvp,
    verify_objective,
    verify_rule,
    verify_vjp,
)

IN_64 = {"dtypes": ("float64",)}
"""Where the question is not one of a dtype."""
A = np.array([[1.0, -2.0, 0.5], [0.3, 0.8, -1.1]])
X = np.array([0.4, -0.7, 1.2])


@pytest.fixture(autouse=True)
def standard_promotion():
    """What people write promotes dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def layer(params, x):
    return {"out": jnp.tanh(params["w"] @ x), "penalty": jnp.sum(params["w"] ** 2)}


def layer_vjp(cotangent, params, x):
    w = params["w"]
    r = cotangent["out"] * (1 - np.tanh(w @ x) ** 2)
    return {"w": r[:, None] * x + 2 * cotangent["penalty"] * w}, w.T @ r


def without_penalty(cotangent, params, x):
    w, along_x = layer_vjp(cotangent, params, x)
    return {"w": w["w"] - 2 * cotangent["penalty"] * params["w"]}, along_x


@pytest.mark.parametrize(("vjp", "ok"), [(layer_vjp, True), (without_penalty, False)])
def test_a_product_from_the_left_in_numpy(vjp, ok):
    verdict = verify_vjp(vjp, of=layer, at=({"w": A}, X), argnums=(0, 1), evaluations=0)
    assert verdict.ok == ok, str(verdict)
    if not ok:
        assert verdict.where.startswith("params['w']")


def test_a_cotangent_that_is_forgotten_is_named():
    verdict = verify_vjp(lambda c, x: jnp.cos(x), of=jnp.sin, at=(X,), evaluations=0)
    assert not verdict.ok
    assert "the cotangent is forgotten" in str(verdict)
    assert "multiply what is returned by the cotangent" in str(verdict)


def layer_jvp(factor=2.0):
    def jvp(primals, tangents):
        (params, x), (moved, by) = primals, tangents
        w, dw = params["w"], moved["w"]
        slope = 1 - jnp.tanh(w @ x) ** 2
        return {"out": slope * (dw @ x + w @ by), "penalty": factor * jnp.sum(w * dw)}

    return jvp


@pytest.mark.usefixtures("without_diagnosis")
def test_a_product_from_the_right():
    at = ({"w": A}, X)
    assert verify_jvp(layer_jvp(), of=layer, at=at).ok
    wrong = verify_jvp(layer_jvp(1.0), of=layer, at=at, **IN_64)
    assert not wrong.ok
    assert wrong.where == "tangent['penalty']"
    with_output = lambda p, t: (layer(*p), layer_jvp()(p, t))
    assert verify_jvp(with_output, of=layer, at=at, **IN_64).ok


@pytest.mark.usefixtures("without_diagnosis")
def test_of_many_outputs_combinations_are_judged(monkeypatch):
    monkeypatch.setattr(derivatives, "MOST_ROWS", 4)
    monkeypatch.setattr(derivatives, "COMBINATIONS", 3)
    at = (np.linspace(-1.0, 1.0, 5),)
    right = verify_jvp(lambda p, t: jnp.cos(p[0]) * t[0], of=jnp.sin, at=at, **IN_64)
    assert right.ok
    assert right.compared == 3 * right.points
    off = np.ones(5)
    off[3] = 1 + 1e-6
    wrong = verify_jvp(lambda p, t: off * jnp.cos(p[0]) * t[0], of=jnp.sin, at=at, **IN_64)
    assert not wrong.ok


@pytest.mark.usefixtures("without_diagnosis")
def test_of_a_long_diagonal_some_entries_are_drawn(monkeypatch):
    monkeypatch.setattr(derivatives, "MOST_DIAGONAL", 4)
    options = {"of": lambda x: jnp.sum(x**3), "at": (np.arange(1.0, 7.0),), "diagonal": True}
    right = verify_hessian(lambda x: 6 * x, **options, **IN_64)
    assert (right.ok, right.compared) == (True, 4)
    assert not verify_hessian(lambda x: 6.1 * x, **options, **IN_64).ok


def test_a_tangent_of_the_wrong_shape_is_told():
    with pytest.raises(InputError, match="jvp: expected a tangent of shapes"):
        verify_jvp(lambda p, t: t[0][:2], of=jnp.sin, at=(X,))


def quadratic(params):
    return params["a"] ** 3 * jnp.sum(params["b"] ** 2)


def quadratic_hessian(params):
    a, b = params["a"], params["b"]
    mixed = 6 * a**2 * b
    return {
        "a": {"a": 6 * a * jnp.sum(b**2), "b": mixed},
        "b": {"a": mixed, "b": 2 * a**3 * jnp.eye(len(b), dtype=b.dtype)},
    }


@pytest.mark.usefixtures("without_diagnosis")
def test_the_hessian_of_a_tree():
    at = ({"a": np.float64(1.5), "b": X[:2]},)
    assert verify_hessian(quadratic_hessian, of=quadratic, at=at).ok

    def careless(params):
        table = quadratic_hessian(params)
        return {**table, "b": {**table["b"], "a": 0 * table["b"]["a"]}}

    wrong = verify_hessian(careless, of=quadratic, at=at, **IN_64)
    assert (wrong.ok, wrong.where) == (False, "hessian[1, 0]")


@pytest.mark.usefixtures("without_diagnosis")
def test_a_diagonal_in_numpy():
    def loss(w, x):
        return jnp.sum(jnp.log1p(jnp.exp(w * x)))

    def diagonal(w, x):
        p = 1 / (1 + np.exp(-np.asarray(w) * x))
        return x**2 * p * (1 - p)

    at = (X, A[0])
    assert verify_hessian(diagonal, of=loss, at=at, diagonal=True).ok
    wrong = lambda *at: diagonal(*at) / at[1]
    assert not verify_hessian(wrong, of=loss, at=at, diagonal=True, **IN_64).ok


def test_beside_a_first_derivative_that_is_wrong_nothing_is_decided():
    def loss(x):
        return jnp.sum(jax.lax.stop_gradient(x) * x)

    verdict = verify_hessian(lambda x: 2 * jnp.eye(3, dtype=x.dtype), of=loss, at=(X,), **IN_64)
    assert (verdict.ok, verdict.hand) == (False, "undecided")
    assert "first derivative" in verdict.cause


@jax.custom_vjp
def scaled(x, by):
    return jnp.tanh(x) * by


scaled.defvjp(
    lambda x, by: (jnp.tanh(x) * by, (jnp.tanh(x), by)),
    lambda kept, c: ((1 - kept[0] ** 2) * c * kept[1], jnp.sum(c * kept[0])),
)


@jax.custom_vjp
def misled(x):
    return jnp.tanh(x)


misled.defvjp(lambda x: (jnp.tanh(x), x), lambda x, c: ((1 - x**2) * c,))


def test_a_rule_against_what_its_function_computes():
    assert verify_rule(scaled, at=(X, 2.0), evaluations=0).ok
    wrong = verify_rule(misled, at=(X,), evaluations=0, **IN_64)
    assert (wrong.ok, wrong.hand, wrong.autodiff) == (False, "different", "identical")
    assert verify_rule(jax.jit(scaled), at=(X, 2.0), evaluations=0, **IN_64).ok
    with pytest.raises(InputError, match="custom_jvp or custom_vjp"):
        verify_rule(jnp.tanh, at=(X,))


# --- objectives of boosting -----------------------------------------------------------------------

Z, Y = np.array([0.3, -1.2, 2.0]), np.array([1.0, 0.0, 1.0])


def binary(z, y):
    return jax.nn.softplus(z) - y * z  # by example: the sum is meant


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def objective(hess):
    return lambda z, y: (sigmoid(z) - y, hess(sigmoid(z)))


@pytest.mark.usefixtures("without_diagnosis")
@pytest.mark.parametrize(
    ("hess", "note"),
    [
        (lambda p: p * (1 - p), "hess is the second derivative"),
        (lambda p: np.maximum(p * (1 - p), 0.15), "held from below by 0.15"),
        (lambda p: 0.25 + 0 * p, "an upper bound of it"),
    ],
)
def test_an_objective_is_right_with_a_second_derivative_a_floor_or_a_bound(hess, note):
    verdict = verify_objective(objective(hess), of=binary, at=(Z, Y), evaluations=0, **IN_64)
    assert verdict.ok, str(verdict)
    assert note in verdict.notes[0]


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (lambda z, y: (y - sigmoid(z), sigmoid(z) * (1 - sigmoid(z))), "sign"),
        (lambda z, y: (z - y, z * (1 - z)), "pass them through the sigmoid"),
        (objective(lambda p: 0.5 * p * (1 - p)), "half"),
    ],
)
def test_what_goes_wrong_in_an_objective_is_named(wrong, cause):
    verdict = verify_objective(wrong, of=binary, at=(Z, Y), evaluations=0, **IN_64)
    assert not verdict.ok
    assert cause in str(verdict)


@pytest.mark.usefixtures("without_diagnosis")
def test_twice_the_diagonal_bounds_the_curvature_of_softmax():
    def loss(z, y):
        return -jnp.sum(jax.nn.log_softmax(z) * jax.nn.one_hot(y, 3, dtype=z.dtype), axis=1)

    def softmax(factor):
        def objective(z, y):
            e = np.exp(z - z.max(1, keepdims=True))
            p = e / e.sum(1, keepdims=True)
            return p - np.eye(3)[y], np.maximum(factor * p * (1 - p), 1e-6)

        return objective

    at = (np.array([[0.3, -1.2, 0.1], [1.0, 2.0, -0.5]]), np.array([1, 0]))
    options = {"of": loss, "at": at, "evaluations": 0, **IN_64}
    bound = verify_objective(softmax(2.0), **options)
    assert bound.ok
    assert "an upper bound of it, 2 times its diagonal" in bound.notes[0]
    assert not verify_objective(softmax(1.2), **options).ok


def test_a_label_of_0_taken_for_minus_1_is_named():
    def exponential(z, y):
        return jnp.exp(-(2 * y - 1) * z)

    def of_signs(z, t):
        e = np.exp(-t * z)
        return -t * e, e

    wrong = verify_objective(of_signs, of=exponential, at=(Z, Y), evaluations=0, **IN_64)
    assert not wrong.ok
    assert "takes labels of −1 and 1, and they are 0 and 1: pass 2y − 1" in wrong.cause


def test_a_loss_that_is_a_scalar_already_has_bounds_too():
    total = lambda z, y: jnp.sum(binary(z, y))
    bound = objective(lambda p: 0.25 + 0 * p)
    verdict = verify_objective(bound, of=total, at=(Z, Y), evaluations=0, **IN_64)
    assert "an upper bound of it" in verdict.notes[0]


@pytest.mark.usefixtures("without_diagnosis")
def test_of_a_loss_that_mixes_examples_no_bound_is_claimed():
    """Σ_j H_ij is small where H_ii is not: it is no bound to be above that."""

    def spread(z, y):
        return jnp.sum((z - jnp.mean(z)) ** 2) + 0 * jnp.sum(y)

    def objective(z, y):
        return 2 * (z - z.mean()), np.full_like(z, 0.5)

    verdict = verify_objective(objective, of=spread, at=(Z, Y), evaluations=0, **IN_64)
    assert not verdict.ok, str(verdict)


@pytest.mark.usefixtures("without_diagnosis")
def test_a_bound_that_float32_loses_is_none():
    """p(1 − p) with p from 1/(1 + e⁻ᶻ): at 17 float32 has 0 for 4e-8, and the floor hides it."""
    at = (np.array([0.3, -1.2, 17.0, 40.0]), np.array([1.0, 0.0, 0.0, 0.0]))

    def clipped(z, y):
        return sigmoid(z) - y, np.maximum(sigmoid(z) * (1 - sigmoid(z)), 1e-16)

    def kept(z, y):
        return sigmoid(z) - y, np.maximum(sigmoid(z) * sigmoid(-z), 1e-16)

    assert not verify_objective(clipped, of=binary, at=at, evaluations=0).ok
    verdict = verify_objective(kept, of=binary, at=at, evaluations=0)
    assert verdict.ok, str(verdict)
    assert "held from below by 1e-16" in verdict.notes[0]


def test_what_is_no_objective_is_refused():
    with pytest.raises(InputError, match=r"objective: expected a function that returns \(grad"):
        verify_objective(lambda z, y: 2 * z, of=binary, at=(Z, Y))
    with pytest.raises(InputError, match="predictions"):
        verify_objective(objective(lambda p: p), of=binary, at=(np.float64(1.0), Y))


@pytest.mark.usefixtures("without_diagnosis")
def test_blocks_of_a_hessian_are_held_against_names():
    def loss(p):
        return jnp.sum(p["a"] ** 2) + jnp.sum(p["b"] ** 3) + jnp.sum(p["a"]) * jnp.sum(p["b"])

    def hessian(p, names="ab"):
        one, other = names
        ones, square, cube = np.ones((2, 2)), 2 * np.eye(2), 6 * np.diag(p["b"])
        return OrderedDict({
            other: OrderedDict({other: cube, one: ones}),
            one: OrderedDict({other: ones, one: square}),
        })  # fmt: skip

    options = {"of": loss, "at": ({"a": np.ones(2), "b": X[:2]},), **IN_64}
    assert verify_hessian(hessian, **options).ok
    assert not verify_hessian(lambda p: hessian(p, "ba"), **options).ok
    with pytest.raises(InputError, match="hessian: expected the structure"):
        verify_hessian(lambda p: hessian(p, "xy"), **options)


def test_a_hessian_of_constants_is_traced():
    options = {"of": lambda x: jnp.sum(x**2), "at": (X,), **IN_64}
    verdict = verify_hessian(lambda x: 2 * np.eye(3), **options)
    assert (verdict.ok, verdict.hand) == (True, "identical")


# --- what cannot be judged ------------------------------------------------------------------------


def test_positions_are_counted_from_the_end_as_well():
    at, options = (A, X), {"argnums": -1, "evaluations": 0, **IN_64}
    of = lambda w, x: jnp.tanh(w @ x)

    def vjp(c, w, x):
        return w.T @ (c * (1 - jnp.tanh(w @ x) ** 2))

    def jvp(primals, tangents):
        (w, x), (_, by) = primals, tangents
        return (1 - jnp.tanh(w @ x) ** 2) * (w @ by)

    assert verify_vjp(vjp, of=of, at=at, **options).ok
    assert verify_jvp(jvp, of=of, at=at, **options).ok
    assert verify_rule(scaled, at=(X, 2.0), **options).ok
    total = lambda w, x: jnp.sum(of(w, x))
    hessian = lambda w, x: jax.hessian(total, 1)(w, x)
    assert verify_hessian(hessian, of=total, at=at, argnums=-1, **IN_64).ok


def times(by, x):
    return by * x


JUDGES = {
    "vjp": lambda claim=times, **options: verify_vjp(claim, **{"of": jnp.sin, **options}),
    "jvp": lambda claim=times, **options: verify_jvp(claim, **{"of": jnp.sin, **options}),
    "hessian": lambda claim=jnp.diag, **options: verify_hessian(
        claim, **{"of": lambda x: jnp.sum(x**3), **options}
    ),
    "f": lambda claim=misled, of=None, **options: verify_rule(claim, **options),
}
BAD_AT = {
    "at: expected a tuple": [X],
    r"at\[0\]: expected an array of numbers, got str": ("abc",),
    r"at\[0\]: expected an array of numbers, got object": (np.array([1.0, None], object),),
    r"at\[0\]: expected an array of numbers, got float64 in a Masked": (
        np.ma.array(X, mask=X > 0),
    ),
    r"at: expected finite numbers in float32, or ±inf, got NaN in leaf \[0\]": (X * np.nan,),
    "at: expected at least one argument of floats|argnums: expected floating": (np.arange(3),),
}


@pytest.mark.parametrize("name", JUDGES)
def test_arguments_that_cannot_be_judged_are_refused_in_one_line(name):
    judge = JUDGES[name]
    for message, at in BAD_AT.items():
        with pytest.raises(InputError, match=message):
            judge(at=at)
    for argnums in (2, -2, "x", [0], ()):
        with pytest.raises(InputError, match=r"^argnums: expected"):
            judge(at=(X,), argnums=argnums)
    with pytest.raises(InputError, match="seed: expected an integer"):
        judge(at=(X,), seed="a")
    with pytest.raises(InputError, match=f"{name}: expected a function of .*, got None"):
        judge(None, at=(X,))
    if name != "f":
        with pytest.raises(InputError, match=r"of: .*(ZeroDivisionError|TypeError)"):
            judge(at=(X,), of=lambda x: 1 / 0)


def test_what_a_claim_raises_is_said_of_it():
    def fails(*args):
        raise RuntimeError("out of ideas")

    calls = {"vjp": r"vjp\(cotangent, \*at\)", "jvp": r"jvp\(at, tangents\)", "hessian": "hessian"}
    for name, call in calls.items():
        with pytest.raises(InputError, match=f"^{name}: .*out of ideas; call {call}"):
            JUDGES[name](fails, at=(X,))
    with pytest.raises(InputError, match=r"^verify_vjp: expected .* no of="):
        verify_vjp(times, at=(X,))


def test_an_objective_is_refused_by_its_own_name():
    options = {"of": binary, "evaluations": 0, **IN_64}
    for hess in (None, 1.0, np.ones(2)):
        with pytest.raises(InputError, match="objective: expected hess of shape"):
            verify_objective(lambda z, y, h=hess: (sigmoid(z) - y, h), at=(Z, Y), **options)
    with pytest.raises(InputError, match=r"at\[1\]: expected an array of numbers"):
        verify_objective(objective(lambda p: p), of=binary, at=(Z, "labels"))
    nothing = verify_objective(objective(lambda p: p), at=(Z[:0], Y[:0]), **options)
    assert nothing.is_undecided
    assert "probabilities" not in nothing.cause
